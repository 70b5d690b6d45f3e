//! Numbers at the ends: NaN and infinities in every float, the least integers, divisors of 0, what no narrower type holds.

use super::*;
use bgz_passes::ir::{Binary, Expr, FoldKind, Reduce, Unary};

/// Zeros of both signs, infinities, NaN, and numbers near and far.
fn special(dtype: DType) -> Tensor {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let v = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -1.5, 3e-3, -3e-3, 80.0, -80.0, inf, -inf, nan, -nan];
    Tensor::f64s(dtype, [v.len()], &v).unwrap()
}

both!(functions_of_special_numbers);
fn functions_of_special_numbers<B: Backend>() {
    for dtype in FLOATS {
        let x = special(dtype);
        for &f in Unary::ALL {
            // Burn has no erfc, nor an exponential of more than is asked for: the far tail of these is 0.
            let op = Op::Unary(f);
            if f.output(dtype).is_none() || matches!(f, Unary::GeluErf | Unary::GeluTanh | Unary::Silu) {
                continue;
            }
            let tolerance = match dtype {
                DType::F16 => 4e-3,
                DType::BF16 => 3e-2,
                _ => 2e-6,
            };
            check_to::<B>(&op, std::slice::from_ref(&x), tolerance);
        }
    }
}

both!(pairs_of_special_numbers);
fn pairs_of_special_numbers<B: Backend>() {
    for dtype in FLOATS {
        let x = special(dtype);
        let n = x.len();
        let (column, row) = (x.with_extents(&[n, 1]), x.with_extents(&[1, n]));
        for f in [Binary::Min, Binary::Max, Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Lt, Binary::Eq]
        {
            check::<B>(Op::Binary(f), &[column.clone(), row.clone()]);
            for i in 0..n {
                check::<B>(Op::Binary(f), &[x.clone(), Tensor::scalar(x.get(i).unwrap())]);
                check::<B>(Op::Binary(f), &[Tensor::scalar(x.get(i).unwrap()), x.clone()]);
            }
        }
    }
}

/// The same elements under other extents.
trait WithExtents {
    fn with_extents(&self, shape: &[usize]) -> Self;
}

impl WithExtents for Tensor {
    fn with_extents(&self, shape: &[usize]) -> Self {
        Tensor::new(self.dtype(), shape.to_vec(), self.scalars()).unwrap()
    }
}

both!(extremes_with_nan);
fn extremes_with_nan<B: Backend>() {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for dtype in FLOATS {
        let x = [nan, 1.0, 2.0, 1.0, nan, -inf, 3.0, -4.0, nan, inf, -inf, 0.0, -inf, -inf, -inf];
        let x = Tensor::f64s(dtype, [5, 3], &x).unwrap();
        for kind in [FoldKind::Max, FoldKind::Min, FoldKind::Sum] {
            for axes in [vec![0], vec![1], vec![0, 1]] {
                check::<B>(Op::Reduce(Reduce::Fold(Fold { kind, axes, keep_dims: false })), std::slice::from_ref(&x));
            }
        }
    }
}

/// The ends of an integer type and what is near 0.
fn integers(dtype: DType) -> Tensor {
    let (least, most) = match dtype {
        DType::U8 => (0, 255),
        d => (i64::MIN >> (64 - 8 * d.size()), i64::MAX >> (64 - 8 * d.size())),
    };
    let v = [least, least + 1, -7, -2, -1, 0, 1, 2, 7, most - 1, most].map(|v| Scalar::from_i64(dtype, v));
    Tensor::new(dtype, vec![v.len()], v).unwrap()
}

const DIVIDING: [Binary; 3] = [Binary::Div, Binary::Rem, Binary::Mod];

both!(every_integer_over_every_other);
fn every_integer_over_every_other<B: Backend>() {
    for dtype in INTS {
        let x = integers(dtype);
        let divisors: Vec<_> = x.scalars().filter(|s| s.to_i64() != 0).collect();
        let divisors = Tensor::new(dtype, vec![divisors.len()], divisors).unwrap();
        for f in DIVIDING {
            let (column, row) = (x.with_extents(&[x.len(), 1]), divisors.with_extents(&[1, divisors.len()]));
            check::<B>(Op::Binary(f), &[column, row]);
            for d in divisors.scalars() {
                check::<B>(Op::Binary(f), &[x.clone(), Tensor::scalar(d)]);
                check::<B>(Op::Binary(f), &[Tensor::scalar(d), divisors.clone()]);
                check::<B>(Op::Binary(f), &[Tensor::scalar(d), Tensor::scalar(d)]);
            }
        }
        check::<B>(Op::Binary(Binary::Pow), &[x.with_extents(&[x.len(), 1]), x.clone()]);
    }
}

both!(a_division_by_zero_is_an_error);
fn a_division_by_zero_is_an_error<B: Backend>() {
    for dtype in INTS {
        let x = integers(dtype);
        let zero = Tensor::scalar(Scalar::from_i64(dtype, 0));
        let ty = |t: &Tensor| vec![t.ty()];
        for f in DIVIDING {
            let op = Op::Binary(f);
            let all = [
                (vec![x.clone(), x.clone()], ty(&x)),
                (vec![x.clone(), zero.clone()], ty(&x)),
                (vec![zero.clone(), x.clone()], ty(&x)),
                (vec![zero.clone(), zero.clone()], ty(&zero)),
            ];
            for (inputs, out) in all {
                let e = on::<B>(&op, &inputs, &out).unwrap_err();
                assert_eq!(e.to_string(), format!("{}: division by zero", f.name()));
            }
            let e = Expr::Binary(f, Box::new(Expr::Input(0)), Box::new(Expr::Input(1)));
            let e = on::<B>(&Op::Fused(e), &[x.clone(), x.clone()], &ty(&x)).unwrap_err();
            assert_eq!(e.to_string(), "fused: division by zero");
        }
    }
    // Floats have an answer.
    check::<B>(Op::Binary(Binary::Div), &[f32s(&[3], &[1.0, -1.0, 0.0]), f32s(&[], &[0.0])]);
}

both!(casts_to_narrower_integers);
fn casts_to_narrower_integers<B: Backend>() {
    let v = [
        300.7,
        -300.7,
        127.0,
        128.0,
        -128.9,
        255.9,
        256.0,
        70_000.0,
        1e9,
        2147483648.0,
        -2147483648.0,
        1e10,
        -1e10,
        1e20,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        -0.5,
    ];
    for from in FLOATS {
        let x = Tensor::f64s(from, [v.len()], &v).unwrap();
        for to in INTS {
            check_to::<B>(&Op::Cast(Cast(to)), std::slice::from_ref(&x), 0.0);
            for s in x.scalars() {
                check_to::<B>(&Op::Cast(Cast(to)), &[Tensor::scalar(s)], 0.0);
            }
        }
    }
    // As ONNX Runtime has it: the low bits of 32, and 0 for what has more.
    let x = f32s(&[7], &[300.0, -300.0, 50.9, -1.5, 70_000.0, 1e10, f32::NAN]);
    for (to, want) in [
        (DType::I8, [44, -44, 50, -1, 112, 0, 0]),
        (DType::U8, [44, 212, 50, 255, 112, 0, 0]),
        (DType::I16, [300, -300, 50, -1, 4464, 0, 0]),
    ] {
        let want = Tensor::new(to, vec![7], want.map(Scalar::i64)).unwrap();
        expect_to::<B>(&Op::Cast(Cast(to)), std::slice::from_ref(&x), &[want], 0.0);
    }
}
