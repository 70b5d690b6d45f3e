//! Accuracy of every function on every instruction set of the host, against
//! `Unary::eval` and `Binary::eval`, which compute in f64.

use crate::chain::{Elementwise, Program, unary_tile};
use crate::simd::{Tile, TileFn};
use crate::{Isa, sweep, ulp};
use bgz_passes::ir::{Binary, DType, Expr, Scalar, Unary};

/// Every instruction set of the host; a line on those it lacks.
fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| {
        if !isa.is_available() {
            println!("SKIPPED {isa}: this CPU lacks it");
        }
        isa.is_available()
    })
}

/// Zeros, infinities, NaNs, subnormals, every power of two with its
/// neighbours, range ends of the functions, and hard angles.
fn edges() -> Vec<f32> {
    let mut x = vec![f32::NAN, f32::from_bits(0x7f80_0001), f32::INFINITY, 0.0, f32::MIN_POSITIVE, f32::MAX];
    for e in 0..=254u32 {
        for bits in [(e << 23).wrapping_sub(1), e << 23, (e << 23) + 1, (e << 23) + 0x40_0000] {
            x.push(f32::from_bits(bits & 0x7fff_ffff));
        }
    }
    use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
    let ends: [f32; 36] = [
        88.0,
        88.722_83,
        88.722_84,
        89.0,
        89.415_98,
        103.278_93,
        103.972_08,
        104.0,
        87.336_55,
        9.010_913,
        9.1,
        0.625,
        0.93,
        4.0,
        5.6,
        14.0,
        20.0,
        0.5,
        FRAC_1_SQRT_2,
        SQRT_2,
        0.414_213_57,
        2.414_213_7,
        0.346_573_6,
        16.635_532,
        4096.0,
        32_768.0,
        120.0,
        0.0625,
        9.25,
        10.2,
        87.0,
        87.68,
        17.0,
        18.0,
        150.0,
        0.173_286_8,
    ];
    for end in ends {
        for near in -40..=40 {
            x.push(f32::from_bits(end.to_bits().wrapping_add_signed(near)));
        }
    }
    // The float nearest to a multiple of pi/2 (J.-M. Muller, "Elementary Functions", table 11.1), and others.
    x.push(16_367_173.0 * 2f32.powi(72));
    for k in 1..3000u32 {
        x.push((f64::from(k) * std::f64::consts::FRAC_PI_2) as f32);
        x.push((f64::from(k) * 7919.0 * std::f64::consts::FRAC_PI_4) as f32);
    }
    let negative: Vec<f32> = x.iter().map(|x| -x).collect();
    x.extend(negative);
    x
}

#[test]
fn every_function_keeps_its_bound() {
    let edges = edges();
    let mut failed = Vec::new();
    let isas: Vec<Isa> = isas().collect();
    for &f in Unary::ALL {
        let (Some(a), Some(b)) = (sweep::unary(f, &isas, 100_003), sweep::inputs(f, &isas, &edges)) else { continue };
        for results in [a, b] {
            for (isa, r) in isas.iter().zip(results) {
                if !r.within_bound(f) {
                    failed.push(format!("{} on {isa}: {} ULP at {:e}", f.name(), r.max_ulp, r.at));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// `xs` through a function, `n` at a time.
fn in_pieces(f: TileFn, xs: &[f32], n: usize) -> Vec<u32> {
    let mut y = vec![0.0f32; xs.len()];
    for (xs, y) in xs.chunks(n).zip(y.chunks_mut(n)) {
        let none = std::ptr::null();
        let t = Tile { out: y.as_mut_ptr().cast(), a: xs.as_ptr().cast(), b: none, c: none, n: xs.len() };
        // SAFETY: both hold that many floats, and the function has one operand.
        unsafe { f(&t) };
    }
    y.into_iter().map(f32::to_bits).collect()
}

#[test]
fn the_length_does_not_change_a_bit() {
    // Neighbours of all kinds, so that branches for a whole vector are taken for some of its lanes.
    let mut xs = edges();
    xs.extend((0..xs.len()).map(|i| xs[i * 7919 % xs.len()]).collect::<Vec<_>>());
    // NaNs in every lane: a compiler may swap operands in one of them.
    for bits in [0x7fc0_0001, 0xffc0_0001, 0x7f80_0001, 0xff80_000c] {
        xs.extend([f32::from_bits(bits); 131]);
    }
    for isa in isas() {
        for &f in Unary::ALL {
            let Some(tile) = unary_tile(isa, f) else { continue };
            let want = in_pieces(tile, &xs, 1);
            for n in [xs.len(), 7, 67] {
                let got = in_pieces(tile, &xs, n);
                let differs = got.iter().zip(&want).position(|(a, b)| a != b);
                assert_eq!(differs.map(|i| xs[i]), None, "{} on {isa}, {n} at a time", f.name());
            }
        }
    }
}

fn binary(isa: Isa, f: Binary, a: &[f32], b: &[f32]) -> Vec<f32> {
    let e = Expr::Binary(f, Expr::Input(0).into(), Expr::Input(1).into());
    let p = Program::compile_for(isa, &e, &[DType::F32; 2]).unwrap();
    let run = Elementwise::new(p, &[a.len()], &[vec![1], vec![1]]).unwrap();
    let mut out = vec![0.0f32; a.len()];
    // SAFETY: all three are of the same length.
    unsafe { run.run(&[a.as_ptr().cast(), b.as_ptr().cast()], out.as_mut_ptr().cast()) }.unwrap();
    out
}

#[test]
fn functions_of_two_numbers() {
    let special = [
        0.0,
        1.0,
        0.5,
        2.0,
        3.0,
        1.5,
        2.5,
        1e-45,
        1e-38,
        1e30,
        3e38,
        0.999_999_94,
        1.000_000_1,
        127.0,
        16_777_215.0,
        16_777_216.0,
        7.0,
        1e-3,
        f32::INFINITY,
        f32::NAN,
        149.0,
        150.5,
        0.1,
    ];
    let special: Vec<f32> = special.iter().flat_map(|x| [*x, -x]).collect();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for x in &special {
        for y in &special {
            a.push(*x);
            b.push(*y);
        }
    }
    // A walk over bit patterns, and one over moderate numbers.
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    for _ in 0..100_000 {
        a.push(f32::from_bits(next()));
        b.push(f32::from_bits(next()));
        a.push(next() as f32 / 1e9);
        b.push((next() as f32 - 2e9) / 3e7);
        a.push(1.0 + (next() as f32 - 2e9) / 1e12);
        b.push((next() as f32 - 2e9) / 1e5);
    }
    for isa in isas() {
        for &f in Binary::ALL {
            if f.output(DType::F32) != Some(DType::F32) {
                continue;
            }
            let bound = if f == Binary::Pow { 2 } else { 0 };
            for ((x, y), got) in a.iter().zip(&b).zip(binary(isa, f, &a, &b)) {
                let want = f.eval(Scalar::f32(*x), Scalar::f32(*y)).unwrap().to_f64() as f32;
                let d = ulp::distance(got, want);
                assert!(d <= bound, "{}({x:e}, {y:e}) on {isa}: {got:e}, not {want:e}", f.name());
            }
        }
    }
}

#[test]
fn zeros_are_ordered_by_min_and_max() {
    for isa in isas() {
        let (a, b) = ([0.0, -0.0, 0.0, -0.0], [-0.0, 0.0, 0.0, -0.0]);
        let bits = |v: Vec<f32>| v.into_iter().map(|x| x.is_sign_negative()).collect::<Vec<_>>();
        assert_eq!(bits(binary(isa, Binary::Min, &a, &b)), [true, true, false, true], "{isa}");
        assert_eq!(bits(binary(isa, Binary::Max, &a, &b)), [false, false, false, true], "{isa}");
    }
}

/// Each is `x` times what vanishes there.
#[test]
fn activations_of_minus_infinity_are_what_their_formulas_give() {
    use Unary::*;
    for isa in isas() {
        for (f, want) in [(GeluErf, f32::NAN), (GeluTanh, f32::NAN), (Silu, f32::NAN), (Relu, 0.0), (Softplus, 0.0)] {
            let xs = [f32::NEG_INFINITY, f32::MIN, f32::INFINITY, f32::NAN];
            // Whole vectors, and less than one.
            for n in [1, 131] {
                let xs: Vec<f32> = xs.iter().flat_map(|&x| vec![x; n]).collect();
                let tile = unary_tile(isa, f).expect("a function of f32");
                let y: Vec<f32> = in_pieces(tile, &xs, n).into_iter().map(f32::from_bits).collect();
                for (x, y) in xs.into_iter().zip(y) {
                    let want = match x {
                        f32::NEG_INFINITY => want,
                        f32::MIN => 0.0,
                        _ => x,
                    };
                    let same = y == want || y.is_nan() && want.is_nan();
                    assert!(same, "{}({x}) on {isa}: {y}, not {want}", f.name());
                    let eval = f.eval(Scalar::f32(x)).map(Scalar::to_f64);
                    assert!(eval.is_some_and(|e| e as f32 == want || e.is_nan() && want.is_nan()), "{}({x})", f.name());
                }
            }
        }
    }
}

#[test]
fn odd_functions_keep_the_sign_of_zero() {
    use Unary::*;
    for isa in isas() {
        for f in
            [Neg, Floor, Ceil, Round, Trunc, Sqrt, Sin, Tan, Asin, Atan, Sinh, Tanh, Asinh, Atanh, Expm1, Log1p, Erf]
        {
            let e = Expr::Unary(f, Expr::Input(0).into());
            let p = Program::compile_for(isa, &e, &[DType::F32]).unwrap();
            let run = Elementwise::new(p, &[2], &[vec![1]]).unwrap();
            let (x, mut y) = ([0.0f32, -0.0], [1.0f32; 2]);
            // SAFETY: both are of length 2.
            unsafe { run.run(&[x.as_ptr().cast()], y.as_mut_ptr().cast()) }.unwrap();
            let want = if f == Neg { [true, false] } else { [false, true] };
            assert_eq!(y.map(|y| y.is_sign_negative()), want, "{} on {isa}", f.name());
        }
    }
}
