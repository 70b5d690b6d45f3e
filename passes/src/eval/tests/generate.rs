use super::*;

#[test]
fn shapes_and_dims() {
    assert_eq!(eval(Op::Generate(Generate::Shape { start: 1, end: 3 }), &[count(&[2, 3, 0])]), i(&[2], &[3, 0]));
    assert_eq!(
        eval(Op::Generate(Generate::Dims { values: vec![3.into(), 4.into()], scalar: false }), &[]),
        i(&[2], &[3, 4])
    );
    assert_eq!(eval(Op::Generate(Generate::Dims { values: vec![3.into()], scalar: true }), &[]), int(3));
    refused(Op::Generate(Generate::Dims { values: vec!["n".into()], scalar: true }), &[], "extent n is not known");
}

#[test]
fn full_repeats_a_value() {
    assert_eq!(
        eval(Op::Generate(Generate::Full { shape: known(&[2, 1]) }), &[f(&[1], &[7.0])]),
        f(&[2, 1], &[7.0, 7.0])
    );
    assert_eq!(eval(Op::Generate(Generate::Full { shape: IntArg::Operand }), &[one(1.0), i(&[0], &[])]), one(1.0));
    refused(Op::Generate(Generate::Full { shape: known(&[1 << 40]) }), &[one(1.0)], "is more than");
    refused(Op::Generate(Generate::Full { shape: known(&[1 << 40, 1 << 40]) }), &[one(1.0)], "not a size");
    refused(Op::Generate(Generate::Full { shape: IntArg::Operand }), &[one(1.0), i(&[1], &[-1])], "not a size");
}

#[test]
fn ranges_stop_before_the_limit() {
    let range = |a, b, c| eval(Op::Generate(Generate::Range), &[int(a), int(b), int(c)]);
    assert_eq!(range(1, 8, 3), i(&[3], &[1, 4, 7]));
    assert_eq!(range(3, 0, -1), i(&[3], &[3, 2, 1]));
    assert_eq!(range(0, 5, -1), i(&[0], &[]));
    assert_eq!(range(i64::MAX - 1, i64::MAX, 5), i(&[1], &[i64::MAX - 1]));
    assert_eq!(eval(Op::Generate(Generate::Range), &[one(0.0), one(1.0), one(0.4)]), f(&[3], &[0.0, 0.4, 0.8]));
    refused(Op::Generate(Generate::Range), &[int(0), int(5), int(0)], "a step of 0");
    refused(Op::Generate(Generate::Range), &[int(i64::MIN), int(i64::MAX), int(1)], "is more than");
    refused(Op::Generate(Generate::Range), &[one(0.0), one(1e30), one(1.0)], "more than");
    refused(Op::Generate(Generate::Range), &[one(0.0), one(f32::NAN), one(1.0)], "range(");
}

#[test]
fn one_hot_puts_the_new_axis_anywhere() {
    let values = f(&[2], &[0.0, 5.0]);
    let y = eval(Op::Generate(Generate::OneHot { axis: 1 }), &[i(&[3], &[1, -1, 9]), int(2), values.clone()]);
    assert_eq!(y, f(&[3, 2], &[0.0, 5.0, 0.0, 5.0, 0.0, 0.0]));
    let y = eval(Op::Generate(Generate::OneHot { axis: 0 }), &[i(&[3], &[1, -1, 9]), int(2), values.clone()]);
    assert_eq!(y, f(&[2, 3], &[0.0, 0.0, 0.0, 5.0, 5.0, 0.0]));
    refused(Op::Generate(Generate::OneHot { axis: 0 }), &[i(&[1], &[0]), int(2), f(&[1], &[0.0])], "[off, on]");
}

#[test]
fn triangles_are_of_the_last_two_axes() {
    let x = f(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let upper = eval(Op::Movement(Movement::Trilu { upper: true }), std::slice::from_ref(&x));
    assert_eq!(upper, f(&[2, 3], &[1.0, 2.0, 3.0, 0.0, 5.0, 6.0]));
    let lower = eval(Op::Movement(Movement::Trilu { upper: false }), &[x.clone(), int(-1)]);
    assert_eq!(lower, f(&[2, 3], &[0.0, 0.0, 0.0, 4.0, 0.0, 0.0]));
    assert_eq!(eval(Op::Movement(Movement::Trilu { upper: true }), &[x, int(i64::MIN)]).to_f64s()[3], 4.0);
}

#[test]
fn non_zero_lists_indices_row_by_row() {
    let y = eval(Op::Index(Index::NonZero), &[f(&[2, 2], &[0.0, 1.0, f32::NAN, -0.0])]);
    assert_eq!(y, i(&[2, 2], &[0, 1, 1, 0]));
    assert_eq!(eval(Op::Index(Index::NonZero), &[b(&[2], &[false, false])]).shape(), &[1, 0]);
}
