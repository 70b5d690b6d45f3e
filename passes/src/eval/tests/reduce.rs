use super::*;
use crate::ir::{ArgReduce, Cumulative, TopK};

fn reduce(kind: FoldKind, axes: &[usize], keep_dims: bool) -> Op {
    Op::Reduce(Reduce::Fold(Fold { kind, axes: axes.to_vec(), keep_dims }))
}

#[test]
fn reductions_over_some_axes() {
    let x = count(&[2, 3, 2]);
    let r = |kind, axes: &[usize], keep| eval(reduce(kind, axes, keep), std::slice::from_ref(&x));
    assert_eq!(r(FoldKind::Sum, &[1], false), f(&[2, 2], &[6.0, 9.0, 24.0, 27.0]));
    assert_eq!(r(FoldKind::Mean, &[0, 2], true), f(&[1, 3, 1], &[3.5, 5.5, 7.5]));
    assert_eq!(r(FoldKind::Max, &[0, 1, 2], false), one(11.0));
    assert_eq!(r(FoldKind::Min, &[2], false), f(&[2, 3], &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]));
    assert_eq!(r(FoldKind::Prod, &[2], true).to_f64s(), [0.0, 6.0, 20.0, 42.0, 72.0, 110.0]);
    assert_eq!(r(FoldKind::Sum, &[], false), x);
}

#[test]
fn reductions_of_nothing_and_of_nan() {
    let none = count(&[2, 0]);
    let r = |kind| eval(reduce(kind, &[1], false), std::slice::from_ref(&none));
    close(&r(FoldKind::Sum), &[2], &[0.0, 0.0]);
    close(&r(FoldKind::Prod), &[2], &[1.0, 1.0]);
    close(&r(FoldKind::Max), &[2], &[f64::NEG_INFINITY; 2]);
    close(&r(FoldKind::Mean), &[2], &[f64::NAN; 2]);
    refused(reduce(FoldKind::Mean, &[0], false), &[i(&[0], &[])], "mean of no integers");
    assert_eq!(eval(reduce(FoldKind::Max, &[0], false), &[i(&[0], &[])]), int(i64::MIN));
    let bytes = of(DType::U8, &[0], &[]);
    assert_eq!(eval(reduce(FoldKind::Min, &[0], false), &[bytes]).to_f64s(), [255.0]);
    let nan = f(&[3], &[1.0, f32::NAN, 2.0]);
    close(&eval(reduce(FoldKind::Max, &[0], false), &[nan]), &[], &[f64::NAN]);
    assert_eq!(eval(reduce(FoldKind::Mean, &[0], false), &[i(&[2], &[-3, 0])]), int(-1));
}

#[test]
fn sums_of_small_dtypes_round_once() {
    let x = of(DType::F16, &[3], &[2048.0, 1.0, 1.0]);
    assert_eq!(eval(reduce(FoldKind::Sum, &[0], false), &[x]).to_f64s(), [2050.0]);
}

#[test]
fn the_index_of_an_extreme() {
    let x = f(&[2, 3], &[1.0, 3.0, 3.0, 2.0, 0.0, 0.0]);
    let arg = |max, last| {
        let op = Op::Reduce(Reduce::Arg(ArgReduce { max, axis: 1, keep_dims: false, last }));
        eval(op, std::slice::from_ref(&x)).ints().unwrap().to_vec()
    };
    assert_eq!(arg(true, false), [1, 0]);
    assert_eq!(arg(true, true), [2, 0]);
    assert_eq!(arg(false, false), [0, 1]);
    assert_eq!(arg(false, true), [0, 2]);
    let op = Op::Reduce(Reduce::Arg(ArgReduce { max: true, axis: 0, keep_dims: true, last: false }));
    assert_eq!(eval(op.clone(), &[x]), i(&[1, 3], &[1, 0, 0]));
    refused(op, &[count(&[0, 3])], "no extreme");
}

#[test]
fn running_sums_and_products() {
    let x = f(&[3], &[1.0, 2.0, 3.0]);
    let of = |product, exclusive, reverse| {
        let op = Cumulative { product, axis: 0, exclusive, reverse };
        eval(Op::Reduce(Reduce::Cumulative(op)), std::slice::from_ref(&x)).to_f64s()
    };
    assert_eq!(of(false, false, false), [1.0, 3.0, 6.0]);
    assert_eq!(of(false, true, false), [0.0, 1.0, 3.0]);
    assert_eq!(of(false, false, true), [6.0, 5.0, 3.0]);
    assert_eq!(of(false, true, true), [5.0, 3.0, 0.0]);
    assert_eq!(of(true, false, false), [1.0, 2.0, 6.0]);
    assert_eq!(of(true, true, false), [1.0, 1.0, 2.0]);
    assert_eq!(of(true, false, true), [6.0, 6.0, 3.0]);
    assert_eq!(of(true, true, true), [6.0, 3.0, 1.0]);
}

#[test]
fn the_best_come_first_and_equals_in_order() {
    let x = f(&[2, 4], &[1.0, 4.0, 4.0, 2.0, 0.0, -1.0, f32::NAN, 3.0]);
    let top = |largest| {
        node(&Op::Reduce(Reduce::TopK(TopK { axis: 1, largest, k: known(&[2]) })), std::slice::from_ref(&x)).unwrap()
    };
    let best = top(true);
    close(&best[0], &[2, 2], &[4.0, 4.0, f64::NAN, 3.0]);
    assert_eq!(best[1], i(&[2, 2], &[1, 2, 2, 3]));
    let least = top(false);
    close(&least[0], &[2, 2], &[1.0, 2.0, -1.0, 0.0]);
    assert_eq!(least[1], i(&[2, 2], &[0, 3, 1, 0]));
    refused(
        Op::Reduce(Reduce::TopK(TopK { axis: 0, largest: true, k: known(&[3]) })),
        std::slice::from_ref(&x),
        "3 of 2 entries",
    );
    refused(Op::Reduce(Reduce::TopK(TopK { axis: 0, largest: true, k: IntArg::Operand })), &[x, int(-1)], "not a size");
}

#[test]
fn softmax_sums_to_one_along_its_axis() {
    let x = f(&[2, 2], &[0.0, 1.0, 1000.0, -1000.0]);
    close(
        &eval(Op::Norm(Norm::Softmax { axis: 1 }), std::slice::from_ref(&x)),
        &[2, 2],
        &[0.268_941_421, 0.731_058_579, 1.0, 0.0],
    );
    close(&eval(Op::Norm(Norm::Softmax { axis: 0 }), std::slice::from_ref(&x)), &[2, 2], &[0.0, 1.0, 1.0, 0.0]);
    let log = eval(Op::Norm(Norm::LogSoftmax { axis: 1 }), &[x]);
    close(&log, &[2, 2], &[-1.313_261_688, -0.313_261_688, 0.0, -2000.0]);
    let hidden = f(&[2], &[f32::NEG_INFINITY; 2]);
    close(&eval(Op::Norm(Norm::Softmax { axis: 0 }), &[hidden]), &[2], &[f64::NAN; 2]);
}

#[test]
fn norms() {
    let x = f(&[1, 4], &[1.0, 2.0, 3.0, 4.0]);
    let (scale, bias) = (f(&[4], &[1.0, 1.0, 2.0, 1.0]), f(&[4], &[0.0, 0.0, 0.0, 1.0]));
    let y = eval(Op::layer_norm(0.75), &[x.clone(), scale.clone(), bias]);
    // Mean 2.5, variance 1.25, and 0.75 make a root of sqrt(2).
    let r = 2f64.sqrt();
    close(&y, &[1, 4], &[-1.5 / r, -0.5 / r, 1.0 / r, 1.5 / r + 1.0]);
    let y = eval(Op::rms_norm(1.5), &[x.clone(), scale]);
    // Mean square 7.5, so a root of 3.
    close(&y, &[1, 4], &[1.0 / 3.0, 2.0 / 3.0, 2.0, 4.0 / 3.0]);
    refused(Op::layer_norm(0.0), &[x, one(1.0)], "scale or bias");
}
