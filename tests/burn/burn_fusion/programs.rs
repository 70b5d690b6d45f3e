//! Random programs of tensor ops: whatever a program does, it does the same on `BgzFusion<B>` as on `B`.

use crate::support::{Case, check_flex, floats, indices};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, DType, Int, Tensor, TensorData, activation};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// One op. Numbers choose operands, from those there are, and variants.
#[derive(Clone, Debug)]
enum Step {
    Unary(u8, usize),
    Binary(u8, usize, usize),
    WithScalar(u8, usize, i8),
    Matmul(usize, usize),
    Reduce(u8, usize, usize),
    Move(u8, usize),
    Slice(usize, usize, usize),
    SliceAssign(usize, usize),
    Cat(usize, usize),
    MaskFill(usize, usize),
    MaskWhere(usize, usize, usize),
    Select(usize, usize),
    Compare(u8, usize, usize),
    Logic(u8, usize, usize),
    IntBinary(u8, usize, usize),
    ToInt(usize),
    ToFloat(u8, usize),
    /// Reads a value in the middle.
    Read(usize),
    Forget(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let n = || 0usize..16;
    prop_oneof![
        4 => (0u8..10, n()).prop_map(|(k, a)| Step::Unary(k, a)),
        4 => (0u8..6, n(), n()).prop_map(|(k, a, b)| Step::Binary(k, a, b)),
        3 => (0u8..7, n(), -8i8..8).prop_map(|(k, a, s)| Step::WithScalar(k, a, s)),
        2 => (n(), n()).prop_map(|(a, b)| Step::Matmul(a, b)),
        2 => (0u8..8, n(), 0usize..2).prop_map(|(k, a, d)| Step::Reduce(k, a, d)),
        3 => (0u8..5, n()).prop_map(|(k, a)| Step::Move(k, a)),
        2 => (n(), 0usize..3, 1usize..3).prop_map(|(a, s, l)| Step::Slice(a, s, l)),
        1 => (n(), n()).prop_map(|(a, b)| Step::SliceAssign(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Step::Cat(a, b)),
        1 => (n(), n()).prop_map(|(a, m)| Step::MaskFill(a, m)),
        1 => (n(), n(), n()).prop_map(|(a, m, b)| Step::MaskWhere(a, m, b)),
        1 => (n(), n()).prop_map(|(a, i)| Step::Select(a, i)),
        2 => (0u8..5, n(), n()).prop_map(|(k, a, b)| Step::Compare(k, a, b)),
        1 => (0u8..3, n(), n()).prop_map(|(k, a, b)| Step::Logic(k, a, b)),
        2 => (0u8..5, n(), n()).prop_map(|(k, a, b)| Step::IntBinary(k, a, b)),
        1 => n().prop_map(Step::ToInt),
        1 => (0u8..2, n()).prop_map(|(k, a)| Step::ToFloat(k, a)),
        1 => n().prop_map(Step::Read),
        1 => n().prop_map(Step::Forget),
    ]
}

/// Tensors of rank 2 with few extents, so that operands often fit.
struct Machine<B: Backend> {
    dtype: DType,
    floats: Vec<Tensor<B, 2>>,
    ints: Vec<Tensor<B, 2, Int>>,
    bools: Vec<Tensor<B, 2, Bool>>,
    read: Vec<TensorData>,
}

fn pick<T: Clone>(from: &[T], i: usize) -> T {
    from[i % from.len()].clone()
}

fn fits(a: [usize; 2], b: [usize; 2]) -> bool {
    a.iter().zip(b).all(|(&x, y)| x == y || x == 1 || y == 1)
}

/// In -2..2 and away from where a comparison or a rounding could go either way.
fn tame<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    x.clamp(-2.0, 2.0)
}

impl<B: Backend> Machine<B> {
    fn new(dtype: DType) -> Self {
        let shapes = [[3, 4], [1, 4], [3, 1], [4, 3], [3, 3]];
        Self {
            dtype,
            floats: shapes.iter().zip(1..).map(|(&shape, seed)| floats(seed, shape).cast(dtype)).collect(),
            ints: vec![indices(6, [3, 4], 9), indices(7, [1, 4], 9), indices(8, [3, 1], 9)],
            bools: vec![floats::<B, 2>(9, [3, 4]).greater_elem(0.0), floats::<B, 2>(10, [3, 1]).greater_elem(0.0)],
            read: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        let f = |i: usize| pick(&self.floats, i);
        let made = match *step {
            Step::Unary(k, a) => {
                let x = f(a);
                match k {
                    0 => x.exp(),
                    1 => x.tanh(),
                    2 => x.abs(),
                    3 => (x.abs() + 0.25).sqrt(),
                    4 => x.sin(),
                    5 => x.erf(),
                    6 => activation::gelu(x),
                    7 => activation::softmax(x, 1),
                    8 => activation::silu(x),
                    _ => -x,
                }
            }
            Step::Binary(k, a, b) => {
                let (x, y) = (f(a), f(b));
                if !fits(x.dims(), y.dims()) {
                    return;
                }
                match k {
                    0 => x + y,
                    1 => x - y,
                    2 => x * y,
                    3 => x / (y.abs() + 0.5),
                    // The same tensor twice.
                    4 => x.clone() * x + y,
                    _ => x.clone() - x,
                }
            }
            Step::WithScalar(k, a, s) => {
                let (x, s) = (f(a), f32::from(s) / 4.0 + 0.125);
                match k {
                    0 => x + s,
                    1 => x - s,
                    2 => x * s,
                    3 => x / s,
                    4 => x.clamp(-s.abs(), s.abs()),
                    5 => x.powf_scalar(2.0),
                    _ => x.neg() + s,
                }
            }
            Step::Matmul(a, b) => {
                let (x, y) = (f(a), f(b));
                if x.dims()[1] != y.dims()[0] {
                    return;
                }
                x.matmul(y)
            }
            Step::Reduce(k, a, d) => {
                let x = f(a);
                match k {
                    0 => x.sum_dim(d),
                    1 => x.mean_dim(d),
                    2 => x.max_dim(d),
                    3 => x.min_dim(d),
                    4 => x.sum().reshape([1, 1]),
                    5 => x.cumsum(d),
                    6 => x.clone().sub(x.mean_dim(d)),
                    _ => x.var(1),
                }
            }
            Step::Move(k, a) => {
                let x = f(a);
                let [m, n] = x.dims();
                match k {
                    0 => x.transpose(),
                    1 => x.reshape([n, m]),
                    2 if m == 1 => x.expand([3, n]),
                    3 => x.flip([0]),
                    _ => x.repeat_dim(0, 2).slice(0..m),
                }
            }
            Step::Slice(a, start, len) => {
                let x = f(a);
                let [m, n] = x.dims();
                if start + len > n {
                    return;
                }
                x.slice([0..m, start..start + len])
            }
            Step::SliceAssign(a, b) => {
                let (x, y) = (f(a), f(b));
                let (m, n) = (x.dims(), y.dims());
                if n[0] > m[0] || n[1] > m[1] {
                    return;
                }
                let at = m[0] - n[0];
                x.slice_assign([at..m[0], 0..n[1]], y)
            }
            Step::Cat(a, b) => {
                let (x, y) = (f(a), f(b));
                if x.dims()[0] != y.dims()[0] || x.dims()[1] + y.dims()[1] > 8 {
                    return;
                }
                Tensor::cat(vec![x, y], 1)
            }
            Step::MaskFill(a, m) => {
                let (x, mask) = (f(a), pick(&self.bools, m));
                if x.dims() != mask.dims() {
                    return;
                }
                x.mask_fill(mask, -1.5)
            }
            Step::MaskWhere(a, m, b) => {
                let (x, mask, y) = (f(a), pick(&self.bools, m), f(b));
                if x.dims() != mask.dims() || x.dims() != y.dims() {
                    return;
                }
                x.mask_where(mask, y)
            }
            Step::Select(a, i) => {
                let (x, i) = (f(a), pick(&self.ints, i));
                let rows = x.dims()[0] as i64;
                x.select(0, i.clamp(0, rows - 1).slice(0..1).flatten::<1>(0, 1))
            }
            Step::ToFloat(k, a) => match k {
                0 => pick(&self.ints, a).float().cast(self.dtype),
                _ => pick(&self.bools, a).float().cast(self.dtype),
            },
            Step::Compare(k, a, b) => {
                let made = if k < 3 {
                    let (i, j) = (pick(&self.ints, a), pick(&self.ints, b));
                    if !fits(i.dims(), j.dims()) {
                        return;
                    }
                    match k {
                        0 => i.lower(j),
                        1 => i.greater_equal_elem(3),
                        _ => i.equal(j),
                    }
                } else {
                    // Exact on both sides: what is compared has been copied, not computed.
                    let copied = |seed| floats::<B, 2>(seed, [3, 4]).cast(self.dtype);
                    let x = copied(a as u64);
                    if k == 3 { x.greater_elem(0.0) } else { x.lower(copied(b as u64 + 100)) }
                };
                self.bools.push(made);
                return;
            }
            Step::Logic(k, a, b) => {
                let (p, q) = (pick(&self.bools, a), pick(&self.bools, b));
                if p.dims() != q.dims() {
                    return;
                }
                let made = match k {
                    0 => p.bool_and(q),
                    1 => p.bool_or(q),
                    _ => p.bool_not(),
                };
                self.bools.push(made);
                return;
            }
            Step::IntBinary(k, a, b) => {
                let (i, j) = (pick(&self.ints, a), pick(&self.ints, b));
                if !fits(i.dims(), j.dims()) {
                    return;
                }
                let made = match k {
                    0 => i + j,
                    1 => i - j,
                    2 => i.clamp(-50, 50) * j.clamp(-50, 50),
                    3 => i.clamp(-3, 3),
                    _ => i.remainder_scalar(5),
                };
                self.ints.push(made);
                return;
            }
            Step::ToInt(a) => {
                let made = pick(&self.bools, a).int() + 1;
                self.ints.push(made);
                return;
            }
            Step::Read(a) => {
                let data = f(a).into_data();
                self.read.push(data);
                return;
            }
            Step::Forget(a) => {
                if self.floats.len() > 3 {
                    let at = a % self.floats.len();
                    self.floats.remove(at);
                }
                return;
            }
        };
        self.floats.push(tame(made));
    }
}

struct Program(Vec<Step>, DType);

impl Case for Program {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let mut machine = Machine::<B>::new(self.1);
        self.0.iter().for_each(|s| machine.step(s));
        let Machine { floats, ints, bools, mut read, .. } = machine;
        read.extend(floats.into_iter().map(Tensor::into_data));
        read.extend(ints.into_iter().map(Tensor::into_data));
        read.extend(bools.into_iter().map(Tensor::into_data));
        read
    }
}

/// Runs fifty of them in a dtype, the same ones each time.
fn fifty(dtype: DType, tolerance: f32) {
    let config = Config { cases: 50, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    runner
        .run(&prop::collection::vec(step(), 5..60), |steps| {
            check_flex(&Program(steps, dtype), tolerance);
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_programs() {
    fifty(DType::F32, 2e-4);
}

#[test]
fn random_programs_in_double_precision() {
    fifty(DType::F64, 2e-4);
}

/// Chains are computed in f32 and rounded where a value is stored, which Flex does after every op.
#[test]
fn random_programs_in_half_precision() {
    fifty(DType::F16, 2e-2);
    fifty(DType::BF16, 0.15);
}
