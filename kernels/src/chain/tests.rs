//! Chains against the reference evaluator, on every instruction set of the host.

use super::*;
use crate::{Isa, ulp};
use bgz_passes::ir::{Binary, DType, Expr, Scalar, Unary};

fn input(i: usize) -> Box<Expr> {
    Expr::Input(i).into()
}

fn number(x: f32) -> Box<Expr> {
    Expr::Literal(Scalar::f32(x)).into()
}

fn unary(f: Unary, x: Box<Expr>) -> Box<Expr> {
    Expr::Unary(f, x).into()
}

fn binary(f: Binary, x: Box<Expr>, y: Box<Expr>) -> Box<Expr> {
    Expr::Binary(f, x, y).into()
}

/// `round(exp(tanh(floor(a))) * 0.5 + 1)`
fn long_chain() -> Box<Expr> {
    let inner = unary(Unary::Exp, unary(Unary::Tanh, unary(Unary::Floor, input(0))));
    unary(Unary::Round, binary(Binary::Add, binary(Binary::Mul, inner, number(0.5)), number(1.0)))
}

/// One input: bytes, the element offset of index 0, and element strides.
struct Operand {
    dtype: DType,
    bytes: Vec<u8>,
    base: usize,
    strides: Vec<isize>,
}

impl Operand {
    fn new(dtype: DType, values: impl IntoIterator<Item = f64>, base: usize, strides: &[isize]) -> Self {
        let mut bytes = Vec::new();
        for v in values {
            Scalar::from_f64(dtype, v).write_le_bytes(&mut bytes);
        }
        Self { dtype, bytes, base, strides: strides.to_vec() }
    }

    fn get(&self, index: &[usize]) -> Scalar {
        let offset: isize = index.iter().zip(&self.strides).map(|(i, s)| *i as isize * s).sum();
        let at = (self.base as isize + offset) as usize * self.dtype.size();
        Scalar::from_le_bytes(self.dtype, &self.bytes[at..]).unwrap()
    }
}

fn run(isa: Isa, e: &Expr, shape: &[usize], inputs: &[Operand]) -> (DType, Vec<u8>) {
    let dtypes: Vec<_> = inputs.iter().map(|i| i.dtype).collect();
    let strides: Vec<_> = inputs.iter().map(|i| i.strides.clone()).collect();
    let program = Program::compile_for(isa, e, &dtypes).unwrap();
    let dtype = program.output();
    let plan = Elementwise::new(program, shape, &strides).unwrap();
    let mut out = vec![0xaau8; plan.len() * dtype.size()];
    let pointers: Vec<_> = inputs.iter().map(|i| i.bytes[i.base * i.dtype.size()..].as_ptr()).collect();
    // SAFETY: the tests give operands that hold what their strides reach.
    unsafe { plan.run(&pointers, out.as_mut_ptr()) }.unwrap();
    (dtype, out)
}

/// Runs on every instruction set and compares each element with the evaluator:
/// floats within `bound` ULP, the rest exactly.
fn check(e: &Expr, shape: &[usize], inputs: &[Operand], bound: u32) {
    for isa in Isa::ALL {
        if !isa.is_available() {
            println!("SKIPPED {isa}: this CPU lacks it");
            continue;
        }
        let (dtype, out) = run(isa, e, shape, inputs);
        let len: usize = shape.iter().product();
        for n in 0..len {
            let mut index = vec![0; shape.len()];
            let mut rest = n;
            for (i, d) in index.iter_mut().zip(shape).rev() {
                *i = rest % d;
                rest /= d;
            }
            let args: Vec<_> = inputs.iter().map(|i| i.get(&index)).collect();
            let want = e.eval(&args).unwrap();
            let got = Scalar::from_le_bytes(dtype, &out[n * dtype.size()..]).unwrap();
            if dtype == DType::F64 {
                let same = got == want || got.to_f64().is_nan() && want.to_f64().is_nan();
                assert!(same, "{e} of {args:?} at {index:?} on {isa}: {got}, not {want}");
            } else if dtype.is_float() {
                let d = ulp::distance(got.to_f64() as f32, want.to_f64() as f32);
                assert!(d <= bound, "{e} of {args:?} at {index:?} on {isa}: {got}, not {want}");
            } else {
                assert_eq!(got, want, "{e} of {args:?} at {index:?} on {isa}");
            }
        }
    }
}

fn wave(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(|i| (i as f64 * 0.37).sin() * 6.0)
}

#[test]
fn every_length_and_alignment_gives_the_same_bits() {
    let e = long_chain();
    for &isa in Isa::available() {
        let x: Vec<f32> = wave(600).map(|x| x as f32).collect();
        let f32s = |v: &[u8]| v.chunks(4).map(|b| u32::from_ne_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
        let one = |x: f32| f32s(&run(isa, &e, &[1], &[Operand::new(DType::F32, [f64::from(x)], 0, &[1])]).1)[0];
        let want: Vec<u32> = x.iter().map(|x| one(*x)).collect();
        for n in (0..=33).chain([511, 512, 513, 600]) {
            for offset in 0..4usize.min(601 - n) {
                let program = Program::compile_for(isa, &e, &[DType::F32]).unwrap();
                let plan = Elementwise::new(program, &[n], &[vec![1]]).unwrap();
                // One byte off any alignment.
                let mut from = vec![0u8; 1];
                from.extend(x[offset..].iter().flat_map(|x| x.to_ne_bytes()));
                let mut out = vec![0u8; 1 + 4 * n + 8];
                // SAFETY: both hold n floats past the first byte.
                unsafe { plan.run(&[from.as_ptr().add(1)], out.as_mut_ptr().add(1)) }.unwrap();
                assert_eq!(f32s(&out[1..1 + 4 * n]), want[offset..offset + n], "{n} at {offset} on {isa}");
                assert_eq!(out[1 + 4 * n..], [0; 8], "nothing past the end");
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let e = long_chain();
    let n = 300_001;
    let x: Vec<f32> = wave(n).map(|x| x as f32).collect();
    let outputs = [1, 2, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let plan = Elementwise::new(Program::compile(&e, &[DType::F32]).unwrap(), &[n], &[vec![1]]).unwrap();
            let mut out = vec![0.0f32; n];
            // SAFETY: both hold n floats.
            unsafe { plan.run(&[x.as_ptr().cast()], out.as_mut_ptr().cast()) }.unwrap();
            out
        })
    });
    assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2]);
}

#[test]
fn chains_of_floats() {
    let x = || Operand::new(DType::F32, wave(700), 0, &[1]);
    check(&long_chain(), &[700], &[x()], 1);
    check(&unary(Unary::Relu, input(0)), &[700], &[x()], 0);
    check(&Expr::Input(0), &[700], &[x()], 0);
    check(&Expr::Literal(Scalar::f32(2.5)), &[700], &[], 0);
    let twice = binary(Binary::Add, input(0), input(0));
    check(&binary(Binary::Mul, twice.clone(), twice), &[700], &[x()], 0);
}

#[test]
fn broadcasts_and_views() {
    let e = binary(Binary::Add, binary(Binary::Mul, input(0), input(1)), input(2));
    let f = |n, base, strides: &[isize]| Operand::new(DType::F32, wave(n), base, strides);
    for (rows, cols) in [(3, 1000), (7, 5), (20, 60), (1, 1), (0, 4), (600, 1), (1, 600)] {
        let (r, c) = (rows as isize, cols as isize);
        let n = rows * cols + 1;
        // a trailing vector and a scalar
        check(&e, &[rows, cols], &[f(n, 0, &[c, 1]), f(cols, 0, &[0, 1]), f(1, 0, &[0, 0])], 1);
        // a leading axis, a transpose
        check(&e, &[rows, cols], &[f(n, 0, &[1, r]), f(n, 0, &[c, 1]), f(rows + 1, 0, &[1, 0])], 1);
        // backwards
        check(&e, &[rows, cols], &[f(n, n - 1, &[-c, -1]), f(n, 0, &[c, 1]), f(cols, 0, &[0, 1])], 1);
    }
    // a middle axis
    check(&e, &[4, 3, 70], &[f(840, 0, &[210, 70, 1]), f(3, 0, &[0, 1, 0]), f(280, 0, &[70, 0, 1])], 1);
    check(&e, &[2, 3, 4, 5], &[f(240, 0, &[1, 2, 6, 24]), f(120, 0, &[60, 20, 5, 1]), f(5, 0, &[0, 0, 0, 1])], 1);
}

#[test]
fn f16_and_bf16_are_converted_at_the_ends() {
    let e = unary(Unary::Tanh, binary(Binary::Mul, input(0), input(1)));
    for d in [DType::F16, DType::BF16] {
        // One operation, so that there is nothing to round in between.
        let x = || Operand::new(d, wave(333), 0, &[1]);
        check(&unary(Unary::Exp, input(0)), &[333], &[x()], 0);
        check(&binary(Binary::Lt, input(0), Expr::Literal(Scalar::from_f64(d, 0.5)).into()), &[333], &[x()], 0);
        check(&Expr::Cast(DType::F32, input(0)), &[333], &[x()], 0);
        check(&Expr::Cast(d, input(0)), &[333], &[Operand::new(DType::F32, wave(333), 0, &[1])], 0);
        let rounded = Expr::Cast(DType::F32, Expr::Cast(d, input(0)).into());
        check(&rounded, &[333], &[Operand::new(DType::F32, wave(333), 0, &[1])], 0);
        // Halves of different widths in one chain would be a type error.
        assert!(Program::compile(&e, &[d, DType::F32]).is_err());
    }
}

#[test]
fn masks_and_casts() {
    let bools = |n: usize| Operand::new(DType::Bool, (0..n).map(|i| f64::from(u8::from(i % 3 == 0))), 0, &[1]);
    let ints = |d, n: usize| Operand::new(d, (0..n).map(|i| (i % 7) as f64 - 3.0), 0, &[1]);
    let x = |n| Operand::new(DType::F32, wave(n), 0, &[1]);
    let n = 203;
    let fill: Box<Expr> = number(f32::NEG_INFINITY);
    check(&Expr::Where(input(0), fill.clone(), input(1)), &[n], &[bools(n), x(n)], 0);
    let zero = |d| Box::new(Expr::Literal(Scalar::from_i64(d, 0)));
    for d in [DType::I32, DType::I64] {
        let is_zero = binary(Binary::Eq, input(0), zero(d));
        check(&Expr::Where(is_zero.clone(), fill.clone(), input(1)), &[n], &[ints(d, n), x(n)], 0);
        check(&unary(Unary::Not, is_zero.clone()), &[n], &[ints(d, n)], 0);
        check(&Expr::Where(is_zero, input(0), binary(Binary::Mul, input(0), input(0))), &[n], &[ints(d, n)], 0);
        for to in [DType::F32, DType::I32, DType::I64, DType::Bool] {
            check(&Expr::Cast(to, input(0)), &[n], &[ints(d, n)], 0);
            check(&Expr::Cast(to, input(0)), &[n], &[x(n)], 0);
            check(&Expr::Cast(to, input(0)), &[n], &[bools(n)], 0);
        }
        for f in Binary::ALL {
            let e = binary(*f, input(0), Box::new(Expr::Literal(Scalar::from_i64(d, 2))));
            if *f != Binary::Pow {
                check(&e, &[n], &[ints(d, n)], 0);
            }
        }
    }
    for f in [Binary::And, Binary::Or, Binary::Xor, Binary::Eq, Binary::Ne] {
        let flipped = Operand::new(DType::Bool, (0..n).map(|i| f64::from(u8::from(i % 2 == 0))), 0, &[1]);
        check(&binary(f, input(0), input(1)), &[n], &[bools(n), flipped], 0);
    }
    // Bytes that are neither 0 nor 1 are true.
    let odd = Operand { dtype: DType::Bool, bytes: vec![0, 2, 255, 1], base: 0, strides: vec![1] };
    check(&Expr::Cast(DType::F32, input(0)), &[4], &[odd], 0);
    let wild = [f64::NAN, 1e30, -1e30, f64::INFINITY, 2.5, -2.5, -0.0, 3e9];
    for to in [DType::I32, DType::I64, DType::Bool] {
        check(&Expr::Cast(to, input(0)), &[8], &[Operand::new(DType::F32, wild, 0, &[1])], 0);
    }
}

/// As the first step of a chain, as the last, and between two.
#[test]
fn every_cast_between_two_dtypes() {
    let n = 203;
    // Beyond the narrow ones, and between two numbers of the short ones.
    let wild =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -1e30, 2.5, -2.5, 3e9, 300.7, -129.5, 65_519.0, 2049.0];
    for from in DType::ALL {
        let x = || Operand::new(from, (0..n).map(|i| ((i * 5) % 11) as f64 - 4.0), 0, &[1]);
        let w = || Operand::new(from, wild, 0, &[1]);
        for to in DType::ALL {
            let cast = Expr::Cast(to, input(0));
            check(&cast, &[n], &[x()], 0);
            check(&cast, &[wild.len()], &[w()], 0);
            let mask = binary(Binary::Gt, input(0), Expr::Cast(from, number(0.0)).into());
            if from != DType::Bool {
                check(&Expr::Cast(to, mask.clone()), &[n], &[x()], 0);
                check(&Expr::Cast(DType::F32, Expr::Cast(to, mask).into()), &[n], &[x()], 0);
            }
            check(&Expr::Cast(DType::I64, cast.clone().into()), &[n], &[x()], 0);
            check(&Expr::Cast(from, cast.clone().into()), &[n], &[x()], 0);
            // A mask that closes: 0 where it is open, the lowest number elsewhere.
            if from == DType::Bool && to.is_float() {
                let number = |v| Box::new(Expr::Literal(Scalar::from_f64(to, v)));
                let closed = binary(Binary::Sub, number(1.0), cast.into());
                check(&binary(Binary::Mul, closed, number(-1024.0)), &[n], &[x()], 0);
            }
        }
    }
}

/// Functions of f32 have tests and bounds of their own.
#[test]
fn every_function_of_every_other_dtype() {
    let n = 130;
    for dtype in DType::ALL.into_iter().filter(|d| *d == DType::F64 || !d.is_float()) {
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e300];
        let wide = |i: usize| match dtype {
            DType::F64 if i.is_multiple_of(7) => special[i / 7 % special.len()],
            DType::F64 => (i as f64 * 0.37).sin() * 6.0,
            // Wraps in every dtype but the widest.
            _ => (i * 7919 % 509) as f64 * if i.is_multiple_of(3) { -1.0 } else { 37.0 },
        };
        let x = || Operand::new(dtype, (0..n).map(wide), 0, &[1]);
        let y =
            || Operand::new(dtype, (0..n).map(|i| wide(n - 1 - i)).map(|v| if v == 0.0 { 3.0 } else { v }), 0, &[1]);
        for &f in Unary::ALL.iter().filter(|f| f.output(dtype).is_some()) {
            check(&unary(f, input(0)), &[n], &[x()], 0);
        }
        for &f in Binary::ALL.iter().filter(|f| f.output(dtype).is_some()) {
            let divides = matches!(f, Binary::Div | Binary::Rem | Binary::Mod) && dtype.is_int();
            let by = || {
                let mut y = y();
                let zero = |b: &[u8]| Scalar::from_le_bytes(dtype, b).unwrap().to_i64() == 0;
                for b in y.bytes.chunks_exact_mut(dtype.size()).filter(|b| divides && zero(b)) {
                    b[0] = 1;
                }
                y
            };
            check(&binary(f, input(0), input(1)), &[n], &[x(), by()], 0);
            // A result that another function reads.
            let again = Expr::Cast(DType::F64, binary(f, input(0), input(1)));
            check(&again, &[n], &[x(), by()], 0);
        }
        let two = Box::new(Expr::Literal(Scalar::from_i64(dtype, 2)));
        let chosen = Expr::Where(binary(Binary::Eq, input(0), two), input(0), input(1));
        check(&chosen, &[n], &[x(), y()], 0);
    }
}

#[test]
fn division_by_zero_is_an_error_on_any_thread() {
    let ints: Vec<DType> = DType::ALL.into_iter().filter(|d| d.is_int()).collect();
    let n = 100_000;
    for (dtype, f) in ints.iter().flat_map(|d| [Binary::Div, Binary::Rem, Binary::Mod].map(|f| (*d, f))) {
        for &isa in Isa::available() {
            let program = Program::compile_for(isa, &binary(f, input(0), input(1)), &[dtype; 2]).unwrap();
            let plan = Elementwise::new(program, &[n], &[vec![1], vec![1]]).unwrap();
            for at in [None, Some(0), Some(n - 1), Some(n / 2)] {
                let x = Operand::new(dtype, (0..n).map(|i| (i % 50) as f64), 0, &[1]);
                let y = Operand::new(dtype, (0..n).map(|i| if Some(i) == at { 0.0 } else { 3.0 }), 0, &[1]);
                let mut out = vec![0u8; n * dtype.size()];
                // SAFETY: all three have n elements.
                let done = unsafe { plan.run(&[x.bytes.as_ptr(), y.bytes.as_ptr()], out.as_mut_ptr()) };
                assert_eq!(done.is_err(), at.is_some(), "{} of {dtype} at {at:?} on {isa}", f.name());
            }
        }
    }
    let by_nothing = binary(Binary::Div, input(0), Box::new(Expr::Literal(Scalar::i64(0))));
    let program = Program::compile(&by_nothing, &[DType::I64]).unwrap();
    let mut out = 0i64;
    let plan = Elementwise::new(program, &[1], &[vec![1]]).unwrap();
    // SAFETY: one element each.
    let done = unsafe { plan.run(&[std::ptr::from_ref(&5i64).cast()], std::ptr::from_mut(&mut out).cast()) };
    assert_eq!(done, Err(DivisionByZero));
}

#[test]
fn random_chains() {
    use Binary::*;
    use Unary::*;
    let mut state = 7u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    // Exact functions, so that errors cannot grow along the chain.
    let (us, bs) = ([Neg, Abs, Sign, Floor, Ceil, Round, Trunc, Relu], [Add, Sub, Mul, Min, Max]);
    for _ in 0..200 {
        let mut pool: Vec<Box<Expr>> = vec![input(0), input(1), input(2), number(0.5), number(-2.0)];
        for _ in 0..1 + below(20) {
            let pick = |k: usize, pool: &[Box<Expr>]| pool[k % pool.len()].clone();
            let (i, j, k) = (below(99), below(99), below(99));
            let (x, y) = (pick(i, &pool), pick(j, &pool));
            let e = match k % 5 {
                0 | 1 => unary(us[below(us.len())], x),
                2 | 3 => binary(bs[below(bs.len())], x, y),
                _ => Box::new(Expr::Where(binary(Lt, x.clone(), y.clone()), x, y)),
            };
            if e.size() < 60 {
                pool.push(e);
            }
        }
        let e = pool.last().unwrap().clone();
        let x = |n, strides: &[isize]| Operand::new(DType::F32, wave(n).map(|x| (x * 4.0).round() / 4.0), 0, strides);
        // Products of quarters stay exact for a while; infinities and NaN are equal anyway.
        check(&e, &[3, 61], &[x(183, &[61, 1]), x(61, &[0, 1]), x(3, &[1, 0])], 1);
    }
}

#[test]
fn runs_of_light_functions_are_one_step() {
    let scaled = binary(Binary::Add, binary(Binary::Mul, input(0), number(0.5)), number(1.0));
    let steps = |e: &Expr| Program::compile(e, &[DType::F32]).unwrap().steps();
    assert_eq!(steps(&unary(Unary::Round, scaled.clone())), 1);
    assert_eq!(steps(&long_chain()), 4);
    // The middle of a run that is used elsewhere ends it.
    let used_twice = binary(Binary::Mul, unary(Unary::Floor, scaled.clone()), scaled);
    assert_eq!(steps(&used_twice), 3);
    let x = || Operand::new(DType::F32, wave(700).chain([f64::NAN, f64::INFINITY]), 0, &[1]);
    check(&used_twice, &[702], &[x()], 0);
    for f in [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div, Binary::Min, Binary::Max] {
        check(&unary(Unary::Neg, binary(f, input(0), number(1.5))), &[702], &[x()], 0);
        check(&unary(Unary::Abs, binary(f, number(-1.5), input(0))), &[702], &[x()], 0);
    }
}

#[test]
fn equal_parts_are_computed_once() {
    let part = unary(Unary::Exp, binary(Binary::Add, input(0), number(1.0)));
    let e = binary(Binary::Mul, part.clone(), binary(Binary::Sub, part, number(1.0)));
    assert_eq!(Program::compile(&e, &[DType::F32]).unwrap().steps(), 4);
}

#[test]
fn numbers_are_folded() {
    let e = binary(Binary::Mul, input(0), unary(Unary::Sqrt, number(4.0)));
    assert_eq!(Program::compile(&e, &[DType::F32]).unwrap().steps(), 1);
}

#[test]
fn what_has_no_type_is_refused() {
    let refused = |e: &Expr, inputs: &[DType]| Program::compile(e, inputs).unwrap_err().0;
    let div = binary(Binary::Div, input(0), input(1));
    assert_eq!(refused(&div, &[DType::I64, DType::F32]), "div of i64 and f32");
    assert_eq!(refused(&input(1), &[DType::F32]), "b is not one of the 1 operands");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    assert_eq!(broadcast_strides(&[3, 1, 5], &[2, 3, 4, 5]), Ok(vec![0, 5, 0, 1]));
    assert_eq!(broadcast_strides(&[3], &[4]).unwrap_err().to_string(), "shape [3] does not broadcast to [4]");
    assert!(broadcast_strides(&[1, 1], &[1]).is_err());
    let program = || Program::compile(&input(0), &[DType::F32]).unwrap();
    assert!(matches!(Elementwise::new(program(), &[4], &[]), Err(PlanError::Operands { .. })));
    assert!(matches!(Elementwise::new(program(), &[4], &[vec![1, 1]]), Err(PlanError::Rank { .. })));
    assert!(matches!(Elementwise::new(program(), &[usize::MAX, 9], &[vec![0, 0]]), Err(PlanError::TooLarge(_))));
}
