use super::*;
use bgz_passes::ir::{Binary, Expr, Unary};

both!(unary_functions);
fn unary_functions<B: Backend>() {
    for dtype in FLOATS {
        let x = random(dtype, &[3, 7], 1);
        for &f in Unary::ALL {
            // Into the domain of the function.
            let to = |g: fn(f64) -> f64| {
                let v: Vec<f64> = x.to_f64s().into_iter().map(g).collect();
                Tensor::f64s(dtype, [3, 7], &v).unwrap()
            };
            let x = match f {
                Unary::Not => continue,
                Unary::Sqrt | Unary::Rsqrt | Unary::Log | Unary::Recip => to(|v| v.abs() + 0.25),
                Unary::Log1p => to(f64::abs),
                Unary::Asin | Unary::Acos | Unary::Atanh => to(|v| v * 0.45),
                Unary::Acosh => to(|v| v.abs() + 1.25),
                _ => x.clone(),
            };
            check::<B>(Op::Unary(f), std::slice::from_ref(&x));
            check::<B>(Op::Unary(f), &[random_scalar(&x)]);
        }
    }
    for dtype in INTS {
        for f in [Unary::Neg, Unary::Abs, Unary::Sign, Unary::Relu] {
            if (dtype, f) != (DType::U8, Unary::Neg) {
                check::<B>(Op::Unary(f), &[random(dtype, &[3, 5], 2)]);
            }
        }
    }
    check::<B>(Op::Unary(Unary::Not), &[random(DType::Bool, &[3, 5], 3)]);
}

/// A scalar from the first element.
fn random_scalar(x: &Tensor) -> Tensor {
    Tensor::scalar(x.get(0).unwrap())
}

both!(unary_special_values);
fn unary_special_values<B: Backend>() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = f32s(&[7], &[0.0, -0.0, 1.0, -1.0, inf, -inf, nan]);
    for f in [Unary::IsNan, Unary::IsInf, Unary::Exp, Unary::Tanh, Unary::Sigmoid, Unary::Floor, Unary::Abs] {
        check::<B>(Op::Unary(f), std::slice::from_ref(&x));
    }
    // Near zero the difference from 1 would lose it all.
    let tiny = f32s(&[4], &[1e-7, -1e-7, 3e-5, 20.0]);
    let e = node(&Op::Unary(Unary::Expm1), std::slice::from_ref(&tiny)).unwrap();
    let a = on::<B>(&Op::Unary(Unary::Expm1), &[tiny], &[Type::new(DType::F32, [4])]).unwrap();
    for (x, y) in a[0].to_f64s().into_iter().zip(e[0].to_f64s()) {
        assert!((x - y).abs() <= 1e-6 * y.abs(), "{x} {y}");
    }
    let half = f32s(&[6], &[0.5, 1.5, 2.5, -0.5, -1.5, 1e9]);
    check::<B>(Op::Unary(Unary::Round), &[half]);
}

both!(binary_functions);
fn binary_functions<B: Backend>() {
    use Binary::*;
    for (i, dtype) in DType::ALL.into_iter().enumerate() {
        for &f in Binary::ALL {
            if f.output(dtype).is_none() {
                continue;
            }
            for (a, b) in shapes() {
                let (mut x, mut y) = (random(dtype, &a, 4), random(dtype, &b, 5 + i as u64));
                let map = |t: &Tensor, g: &dyn Fn(f64) -> f64| {
                    let v: Vec<_> = t.to_f64s().into_iter().map(|v| Scalar::from_f64(dtype, g(v))).collect();
                    Tensor::new(dtype, t.shape().to_vec(), v).unwrap()
                };
                match f {
                    Div | Rem | Mod => y = map(&y, &|v| if v.abs() < 0.25 { 1.5 } else { v }),
                    Pow if dtype.is_float() => x = map(&x, &|v| v.abs() + 0.25),
                    Pow => y = map(&y, &f64::abs),
                    // Unsigned differences stay above 0: what they do below is the backend's.
                    Sub if dtype == DType::U8 => x = map(&x, &|v| v + 20.0),
                    _ => {}
                }
                // The remainder of a float jumps where the quotient is whole, and so do its roundings.
                let halves = matches!(dtype, DType::F16 | DType::BF16);
                if halves && matches!(f, Rem | Mod) {
                    continue;
                }
                let tolerance = match f {
                    Pow if halves => 0.1,
                    Pow | Rem | Mod => 1e-5,
                    _ if halves => 3e-2,
                    _ => 2e-6,
                };
                check_to::<B>(&Op::Binary(f), &[x, y], tolerance);
            }
        }
    }
}

/// Pairs of shapes that broadcast, each in its way.
fn shapes() -> Vec<(Vec<usize>, Vec<usize>)> {
    vec![
        (vec![2, 3, 4], vec![2, 3, 4]),
        (vec![2, 3, 4], vec![4]),
        (vec![4], vec![2, 3, 4]),
        (vec![2, 3, 4], vec![]),
        (vec![], vec![2, 3, 4]),
        (vec![2, 3, 1], vec![1, 1, 4]),
        (vec![3, 1], vec![2, 1, 4]),
        (vec![1, 1], vec![3]),
        (vec![], vec![]),
        (vec![1], vec![1, 1]),
        (vec![2, 0, 4], vec![4]),
        (vec![2, 1, 2, 1, 2], vec![3, 1, 2, 2]),
    ]
}

both!(binary_special_values);
fn binary_special_values<B: Backend>() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = f32s(&[6], &[1.0, nan, inf, -inf, 0.0, nan]);
    let y = f32s(&[6], &[nan, 1.0, -inf, 2.0, -0.0, nan]);
    for f in [Binary::Min, Binary::Max, Binary::Eq, Binary::Ne, Binary::Lt, Binary::Ge, Binary::Add] {
        check::<B>(Op::Binary(f), &[x.clone(), y.clone()]);
        check::<B>(Op::Binary(f), &[x.clone(), f32s(&[], &[0.5])]);
        check::<B>(Op::Binary(f), &[x.clone(), f32s(&[], &[inf])]);
        check::<B>(Op::Binary(f), &[x.clone(), f32s(&[], &[nan])]);
    }
    // Powers: whole ones, broken ones, and one that no integer holds.
    let base = f32s(&[4], &[0.5, -2.0, 3.0, 1.0]);
    for e in [0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 5.0, inf] {
        check_to::<B>(&Op::Binary(Binary::Pow), &[base.clone(), f32s(&[], &[e])], 1e-5);
    }
    let big = i64s(&[3], &[(1 << 53) + 1, -(1 << 53) - 1, 7]);
    for f in [Binary::Mod, Binary::Rem, Binary::Div] {
        check::<B>(Op::Binary(f), &[big.clone(), i64s(&[3], &[10, 10, -4])]);
        check::<B>(Op::Binary(f), &[big.clone(), i64s(&[], &[-10])]);
    }
    check::<B>(Op::Binary(Binary::Pow), &[i64s(&[3], &[3, -2, 10]), i64s(&[3], &[30, 3, -1])]);
}

both!(choices);
fn choices<B: Backend>() {
    for dtype in DType::ALL {
        for (c, a, b) in [
            (&[2, 3][..], &[2, 3][..], &[2, 3][..]),
            (&[3], &[2, 3], &[]),
            (&[2, 3], &[], &[3]),
            (&[2, 1], &[1, 3], &[1]),
            (&[], &[2, 1], &[3]),
            (&[2, 3], &[], &[1]),
            (&[1, 2, 1, 3], &[4, 1, 2, 3], &[3]),
        ] {
            let inputs = [random(DType::Bool, c, 6), random(dtype, a, 7), random(dtype, b, 8)];
            check::<B>(Op::Where(Where), &inputs);
        }
    }
}

both!(casts);
fn casts<B: Backend>() {
    for from in DType::ALL {
        for to in DType::ALL {
            check_to::<B>(&Op::Cast(Cast(to)), &[random(from, &[3, 4], 9)], 0.0);
            check_to::<B>(&Op::Cast(Cast(to)), &[random(from, &[], 9)], 0.0);
        }
    }
    // Beyond the range: floats saturate, or lose their high bits; integers wrap.
    let x = f32s(&[8], &[1e9, -1e9, 300.7, -300.7, f32::NAN, f32::INFINITY, -0.5, 1e20]);
    for to in DType::ALL.into_iter().filter(|d| !matches!(d, DType::F16 | DType::BF16)) {
        check_to::<B>(&Op::Cast(Cast(to)), std::slice::from_ref(&x), 0.0);
        check_to::<B>(&Op::Cast(Cast(to)), &[i64s(&[5], &[300, -300, 1 << 40, -1, 0])], 0.0);
    }
}

both!(fused_expressions);
fn fused_expressions<B: Backend>() {
    let [a, b, c] = [0, 1, 2].map(|i| Box::new(Expr::Input(i)));
    let num = |v: f32| Box::new(Expr::Literal(Scalar::f32(v)));
    let un = |f, x: &Expr| Box::new(Expr::Unary(f, Box::new(x.clone())));
    let bin = |f, x: &Expr, y: &Expr| Box::new(Expr::Binary(f, Box::new(x.clone()), Box::new(y.clone())));
    let exprs = [
        *bin(Binary::Add, &un(Unary::GeluErf, &bin(Binary::Add, &a, &b)), &c),
        *bin(Binary::Sub, &num(1.0), &bin(Binary::Mul, &a, &a)),
        *bin(Binary::Div, &num(1.0), &bin(Binary::Add, &un(Unary::Exp, &a), &num(1.0))),
        Expr::Where(bin(Binary::Gt, &a, &num(0.0)), num(-1.0), bin(Binary::Max, &b, &c)),
        Expr::Where(bin(Binary::Gt, &a, &b), a.clone(), num(0.5)),
        Expr::Where(bin(Binary::Gt, &num(2.0), &num(1.0)), a.clone(), c.clone()),
        Expr::Cast(DType::I64, bin(Binary::Mul, &a, &num(10.0))),
        *un(Unary::Exp, &num(1.0)),
        *un(Unary::Not, &bin(Binary::Le, &a, &c)),
        *a.clone(),
    ];
    for e in exprs {
        let inputs =
            [random(DType::F32, &[2, 3, 4], 10), random(DType::F32, &[4], 11), random(DType::F32, &[3, 1], 12)];
        check::<B>(Op::Fused(e.clone()), &inputs);
        let inputs = [random(DType::F32, &[4], 10), random(DType::F32, &[], 11), random(DType::F32, &[3, 1], 12)];
        check::<B>(Op::Fused(e), &inputs);
    }
}
