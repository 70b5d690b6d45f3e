use super::*;
use crate::ir::{Pad, PadMode, Slice};

fn slice(axes: &[usize], starts: &[i64], ends: &[i64], steps: &[i64]) -> Op {
    Op::Movement(Movement::Slice(Slice {
        axes: axes.to_vec(),
        starts: known(starts),
        ends: known(ends),
        steps: known(steps),
    }))
}

#[test]
fn reshape_takes_onnx_shorthand_as_an_operand() {
    let op = |zero_copies| Op::Movement(Movement::Reshape { shape: IntArg::Operand, zero_copies });
    let x = count(&[2, 3, 4]);
    assert_eq!(eval(op(true), &[x.clone(), i(&[2], &[0, -1])]).shape(), &[2, 12]);
    assert_eq!(eval(op(true), &[x.clone(), i(&[3], &[-1, 3, 2])]).shape(), &[4, 3, 2]);
    assert_eq!(eval(op(true), &[count(&[1]), i(&[0], &[])]).shape(), &[] as &[usize]);
    assert_eq!(eval(op(false), &[count(&[0, 3]), i(&[2], &[3, 0])]).shape(), &[3, 0]);
    assert_eq!(eval(op(true), &[count(&[0, 3]), i(&[2], &[0, -1])]).shape(), &[0, 0]);
    refused(op(true), &[x.clone(), i(&[2], &[-1, -1])], "more than one -1");
    refused(op(true), &[x.clone(), i(&[2], &[5, -1])], "do not divide");
    refused(op(true), &[x, i(&[1], &[-2])], "extent -2");
    refused(Op::reshape([5]), &[count(&[2, 3])], "6 elements do not fit [5]");
    refused(Op::reshape(["n"]), &[count(&[2])], "extent n is not known");
}

#[test]
fn transpose_permutes() {
    let x = count(&[2, 3]);
    assert_eq!(
        eval(Op::Movement(Movement::Transpose { perm: vec![1, 0] }), &[x]),
        f(&[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0])
    );
    let y = eval(Op::Movement(Movement::Transpose { perm: vec![2, 0, 1] }), &[count(&[2, 1, 3])]);
    assert_eq!(y, f(&[3, 2, 1], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]));
    refused(Op::Movement(Movement::Transpose { perm: vec![0, 0] }), &[count(&[2, 3])], "perm [0, 0]");
}

#[test]
fn expand_broadcasts_both_ways() {
    let op = |s: &[i64]| Op::Movement(Movement::Expand { shape: known(s) });
    assert_eq!(eval(op(&[2, 1]), &[count(&[3])]), f(&[2, 3], &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0]));
    assert_eq!(eval(op(&[1]), &[count(&[2, 2])]), count(&[2, 2]));
    assert_eq!(eval(op(&[0, 2]), &[one(1.0)]).shape(), &[0, 2]);
    refused(op(&[2]), &[count(&[3])], "does not broadcast");
}

#[test]
fn slices_follow_python() {
    let x = count(&[5]);
    let cut = |start, end, step| eval(slice(&[0], &[start], &[end], &[step]), std::slice::from_ref(&x)).to_f64s();
    assert_eq!(cut(1, 4, 1), [1.0, 2.0, 3.0]);
    assert_eq!(cut(-2, i64::MAX, 1), [3.0, 4.0]);
    assert_eq!(cut(0, -1, 2), [0.0, 2.0]);
    assert_eq!(cut(-1, i64::MIN, -1), [4.0, 3.0, 2.0, 1.0, 0.0]);
    assert_eq!(cut(i64::MAX, i64::MIN, -2), [4.0, 2.0, 0.0]);
    // A start before the first entry is the first; of a cut forwards it is so anyway.
    assert_eq!(cut(-9, i64::MIN, -1), [0.0]);
    assert_eq!(cut(-9, 2, 1), [0.0, 1.0]);
    assert_eq!(cut(3, 0, -1), [3.0, 2.0, 1.0]);
    // As in Python, -1 is the last entry here too, not one before the first.
    assert_eq!(cut(3, -1, -1), [] as [f64; 0]);
    assert_eq!(cut(3, -6, -1), [3.0, 2.0, 1.0, 0.0]);
    assert_eq!(cut(4, 1, 1), [] as [f64; 0]);
    assert_eq!(cut(-100, 2, 1), [0.0, 1.0]);
    assert_eq!(cut(0, 5, i64::MAX), [0.0]);
    assert_eq!(cut(4, i64::MIN, i64::MIN), [4.0]);
    refused(slice(&[0], &[0], &[5], &[0]), &[x], "a step of 0");
    let empty = count(&[0]);
    assert_eq!(eval(slice(&[0], &[-1], &[i64::MIN], &[-1]), &[empty]).shape(), &[0]);
}

#[test]
fn slices_of_some_axes_with_bounds_as_operands() {
    let op = Op::Movement(Movement::Slice(Slice {
        axes: vec![1],
        starts: IntArg::Operand,
        ends: known(&[3]),
        steps: IntArg::Operand,
    }));
    let y = eval(op, &[count(&[2, 3]), i(&[1], &[0]), i(&[1], &[2])]);
    assert_eq!(y, f(&[2, 2], &[0.0, 2.0, 3.0, 5.0]));
}

#[test]
fn concat_joins_along_an_axis() {
    let (x, y) = (count(&[2, 2]), f(&[2, 1], &[8.0, 9.0]));
    assert_eq!(
        eval(Op::Movement(Movement::Concat { axis: 1 }), &[x.clone(), y]),
        f(&[2, 3], &[0.0, 1.0, 8.0, 2.0, 3.0, 9.0])
    );
    assert_eq!(eval(Op::Movement(Movement::Concat { axis: 0 }), &[x.clone(), count(&[0, 2])]), x);
    refused(Op::Movement(Movement::Concat { axis: 0 }), &[x, count(&[1, 3])], "cannot join");
}

#[test]
fn pads_fill_mirror_repeat_and_crop() {
    let op = |pads: &[i64], mode| Op::Movement(Movement::Pad(Pad { pads: known(pads), mode }));
    let x = count(&[3]);
    let pad = |pads: &[i64], mode| eval(op(pads, mode), std::slice::from_ref(&x)).to_f64s();
    assert_eq!(pad(&[1, 2], PadMode::Constant), [0.0, 0.0, 1.0, 2.0, 0.0, 0.0]);
    assert_eq!(pad(&[2, 2], PadMode::Reflect), [2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0]);
    assert_eq!(pad(&[2, 1], PadMode::Edge), [0.0, 0.0, 0.0, 1.0, 2.0, 2.0]);
    assert_eq!(pad(&[-1, 1], PadMode::Constant), [1.0, 2.0, 0.0]);
    assert_eq!(eval(op(&[1, 0], PadMode::Constant), &[x.clone(), one(7.0)]).to_f64s(), [7.0, 0.0, 1.0, 2.0]);
    let square = eval(op(&[0, 1, 1, 0], PadMode::Constant), &[count(&[1, 2])]);
    assert_eq!(square, f(&[2, 3], &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]));
    refused(op(&[-4, 0], PadMode::Constant), std::slice::from_ref(&x), "not a size");
    refused(op(&[1, 0], PadMode::Edge), &[count(&[0])], "no border");
    refused(op(&[1, 0], PadMode::Constant), &[x, int(1)], "i64");
}

#[test]
fn tile_repeats_every_axis() {
    let y = eval(Op::Movement(Movement::Tile { repeats: known(&[2, 2]) }), &[count(&[1, 2])]);
    assert_eq!(y, f(&[2, 4], &[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]));
    assert_eq!(eval(Op::Movement(Movement::Tile { repeats: known(&[0]) }), &[count(&[3])]).shape(), &[0]);
    refused(Op::Movement(Movement::Tile { repeats: known(&[1]) }), &[count(&[1, 2])], "1 repeats for rank 2");
}
