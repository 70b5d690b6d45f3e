use super::*;
use crate::ir::{Binary, Unary};

#[test]
fn functions_of_one_number() {
    let x = f(&[5], &[-2.5, -0.5, 0.0, 0.5, 2.5]);
    let unary = |g| eval(Op::Unary(g), std::slice::from_ref(&x));
    close(&unary(Unary::Neg), &[5], &[2.5, 0.5, 0.0, -0.5, -2.5]);
    close(&unary(Unary::Round), &[5], &[-2.0, 0.0, 0.0, 0.0, 2.0]);
    close(&unary(Unary::Floor), &[5], &[-3.0, -1.0, 0.0, 0.0, 2.0]);
    close(&unary(Unary::Ceil), &[5], &[-2.0, 0.0, 0.0, 1.0, 3.0]);
    close(&unary(Unary::Trunc), &[5], &[-2.0, 0.0, 0.0, 0.0, 2.0]);
    close(&unary(Unary::Sign), &[5], &[-1.0, -1.0, 0.0, 1.0, 1.0]);
    close(&unary(Unary::Relu), &[5], &[0.0, 0.0, 0.0, 0.5, 2.5]);
    close(&unary(Unary::Sigmoid), &[5], &[0.075_858_18, 0.377_540_67, 0.5, 0.622_459_33, 0.924_141_82]);
    close(&unary(Unary::Silu), &[5], &[-0.189_645_454, -0.188_770_334, 0.0, 0.311_229_665, 2.310_354_546]);
    close(&unary(Unary::Erf), &[5], &[-0.999_593_048, -0.520_499_878, 0.0, 0.520_499_878, 0.999_593_048]);
    close(&unary(Unary::GeluErf), &[5], &[-0.015_524_163, -0.154_268_769, 0.0, 0.345_731_231, 2.484_475_837]);
    close(&unary(Unary::GeluTanh), &[5], &[-0.015_084_267, -0.154_285_99, 0.0, 0.345_714_01, 2.484_915_733]);
    close(
        &unary(Unary::Softplus),
        &[5],
        &[0.078_889_734, 0.474_076_984, std::f64::consts::LN_2, 0.974_076_984, 2.578_889_734],
    );
    let odd = f(&[3], &[f32::NAN, f32::INFINITY, 1.0]);
    assert_eq!(eval(Op::Unary(Unary::IsNan), std::slice::from_ref(&odd)), b(&[3], &[true, false, false]));
    assert_eq!(eval(Op::Unary(Unary::IsInf), &[odd]), b(&[3], &[false, true, false]));
    assert_eq!(eval(Op::Unary(Unary::Not), &[b(&[2], &[true, false])]), b(&[2], &[false, true]));
    assert_eq!(eval(Op::Unary(Unary::Abs), &[i(&[2], &[-3, 3])]), i(&[2], &[3, 3]));
    refused(Op::Unary(Unary::Exp), &[i(&[1], &[1])], "not defined for i64");
}

#[test]
fn broadcasting_goes_both_ways() {
    let (column, row) = (count(&[2, 1]), f(&[3], &[10.0, 20.0, 30.0]));
    let sum = eval(Op::Binary(Binary::Add), &[column.clone(), row.clone()]);
    assert_eq!(sum, f(&[2, 3], &[10.0, 20.0, 30.0, 11.0, 21.0, 31.0]));
    let difference = eval(Op::Binary(Binary::Sub), &[row, column]);
    assert_eq!(difference, f(&[2, 3], &[10.0, 20.0, 30.0, 9.0, 19.0, 29.0]));
    assert_eq!(eval(Op::Binary(Binary::Mul), &[one(2.0), count(&[2, 2])]), f(&[2, 2], &[0.0, 2.0, 4.0, 6.0]));
    refused(Op::Binary(Binary::Add), &[count(&[2]), count(&[3])], "does not broadcast");
}

#[test]
fn an_extent_of_zero_broadcasts_with_one_only() {
    assert_eq!(eval(Op::Binary(Binary::Add), &[count(&[0, 1]), count(&[1, 3])]).shape(), &[0, 3]);
    refused(Op::Binary(Binary::Add), &[count(&[0]), count(&[2])], "does not broadcast");
}

#[test]
fn integers_wrap_and_division_by_zero_is_an_error() {
    let binary = |g, a: &[i64], c: &[i64]| eval(Op::Binary(g), &[i(&[a.len()], a), i(&[c.len()], c)]);
    assert_eq!(binary(Binary::Div, &[7, -7], &[2, 2]), i(&[2], &[3, -3]));
    assert_eq!(binary(Binary::Rem, &[7, -7], &[3, 3]), i(&[2], &[1, -1]));
    assert_eq!(binary(Binary::Mod, &[7, -7, 7, -1], &[3, 3, -3, i64::MIN]), i(&[4], &[1, 2, -2, -1]));
    assert_eq!(binary(Binary::Add, &[i64::MAX], &[1]), i(&[1], &[i64::MIN]));
    assert_eq!(binary(Binary::Div, &[i64::MIN], &[-1]), i(&[1], &[i64::MIN]));
    assert_eq!(binary(Binary::Pow, &[3, -1, 2, -1], &[4, 1 << 40, -1, -3]), i(&[4], &[81, 1, 0, -1]));
    let narrow = |v| of(DType::U8, &[1], &[v]);
    assert_eq!(eval(Op::Binary(Binary::Sub), &[narrow(3.0), narrow(5.0)]), narrow(254.0));
    for g in [Binary::Div, Binary::Rem, Binary::Mod] {
        refused(Op::Binary(g), &[i(&[1], &[1]), i(&[1], &[0])], "division by zero");
    }
    close(&eval(Op::Binary(Binary::Div), &[one(1.0), one(0.0)]), &[], &[f64::INFINITY]);
}

#[test]
fn nan_spreads_through_min_and_max_and_compares_false() {
    let (nan, x) = (one(f32::NAN), one(1.0));
    for g in [Binary::Min, Binary::Max] {
        close(&eval(Op::Binary(g), &[nan.clone(), x.clone()]), &[], &[f64::NAN]);
        close(&eval(Op::Binary(g), &[x.clone(), nan.clone()]), &[], &[f64::NAN]);
    }
    assert_eq!(eval(Op::Binary(Binary::Eq), &[nan.clone(), nan.clone()]), b(&[], &[false]));
    assert_eq!(eval(Op::Binary(Binary::Ne), &[nan.clone(), nan]), b(&[], &[true]));
}

#[test]
fn where_takes_bools_and_broadcasts_all_three() {
    let c = b(&[2, 1], &[true, false]);
    assert_eq!(eval(Op::Where(Where), &[c, one(1.0), f(&[2], &[5.0, 6.0])]), f(&[2, 2], &[1.0, 1.0, 5.0, 6.0]));
    refused(Op::Where(Where), &[one(1.0), one(1.0), one(2.0)], "not bool");
}

#[test]
fn casts_truncate_saturate_and_round() {
    let x = f(&[4], &[-1.9, 300.0, f32::NAN, 0.5]);
    // By way of 32 bits, of which the low ones stay.
    assert_eq!(
        eval(Op::Cast(Cast(DType::U8)), std::slice::from_ref(&x)),
        of(DType::U8, &[4], &[255.0, 44.0, 0.0, 0.0])
    );
    assert_eq!(eval(Op::Cast(Cast(DType::I8)), std::slice::from_ref(&x)), of(DType::I8, &[4], &[-1.0, 44.0, 0.0, 0.0]));
    let beyond = f(&[6], &[70_000.0, -2147483648.0, 2147483648.0, 1e10, f32::INFINITY, f32::NEG_INFINITY]);
    let kept = eval(Op::Cast(Cast(DType::I16)), std::slice::from_ref(&beyond));
    assert_eq!(kept, of(DType::I16, &[6], &[4464.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    let kept = eval(Op::Cast(Cast(DType::I32)), &[beyond]);
    let (least, most) = (f64::from(i32::MIN), f64::from(i32::MAX));
    assert_eq!(kept, of(DType::I32, &[6], &[70_000.0, least, most, most, most, least]));
    assert_eq!(eval(Op::Cast(Cast(DType::I64)), std::slice::from_ref(&x)), i(&[4], &[-1, 300, 0, 0]));
    assert_eq!(eval(Op::Cast(Cast(DType::Bool)), &[x]), b(&[4], &[true; 4]));
    assert_eq!(eval(Op::Cast(Cast(DType::I8)), &[i(&[1], &[200])]), of(DType::I8, &[1], &[-56.0]));
    assert_eq!(eval(Op::Cast(Cast(DType::F16)), &[one(2049.0)]).to_f64s(), [2048.0]);
    assert_eq!(eval(Op::Cast(Cast(DType::BF16)), &[one(1.01)]).to_f64s(), [1.007_812_5]);
}

#[test]
fn every_step_rounds_to_its_dtype() {
    let big = of(DType::F16, &[], &[2048.0]);
    let one = of(DType::F16, &[], &[1.0]);
    assert_eq!(eval(Op::Binary(Binary::Add), &[big.clone(), one.clone()]).to_f64s(), [2048.0]);
    // Rounded between the steps, as the unfused ops would.
    let e = "a + b + b".parse().unwrap();
    assert_eq!(eval(Op::Fused(e), &[big, one]).to_f64s(), [2048.0]);
}

#[test]
fn fused_is_its_expression() {
    let e = "where(gt(a, b), a * 2.0, neg(b))".parse().unwrap();
    assert_eq!(eval(Op::Fused(e), &[count(&[3]), one(1.0)]), f(&[3], &[-1.0, -1.0, 4.0]));
    let e = "a / b".parse().unwrap();
    refused(Op::Fused(e), &[int(1), int(0)], "division by zero");
}
