//! For tests: random tensors, their elements in memory, and ops evaluated from their definitions.

use bgz_passes::eval::testing::Rng;
use bgz_passes::ir::{DType, Op, Tensor};

/// Dtypes of every size of an element, and bool.
pub(crate) const DTYPES: [DType; 10] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::F64,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::U8,
    DType::Bool,
];

/// A tensor of small numbers, some of them equal, and a few that are not numbers where floats are.
pub(crate) fn random(dtype: DType, shape: &[usize], rng: &mut Rng) -> Tensor {
    let n = shape.iter().product();
    let values: Vec<f64> = (0..n)
        .map(|_| match rng.below(40) {
            0 if dtype.is_float() => f64::NAN,
            1 if dtype.is_float() => f64::NEG_INFINITY,
            2 => 0.0,
            _ if dtype.is_float() => rng.below(400) as f64 / 16.0 - 12.0,
            _ => rng.below(250) as f64 - if dtype == DType::U8 { 0.0 } else { 125.0 },
        })
        .collect();
    Tensor::f64s(dtype, shape, &values).unwrap()
}

/// A tensor of finite numbers.
pub(crate) fn finite(dtype: DType, shape: &[usize], rng: &mut Rng) -> Tensor {
    let n = shape.iter().product();
    let values: Vec<f64> =
        (0..n).map(|_| if dtype.is_float() { rng.normal() } else { rng.below(250) as f64 }).collect();
    Tensor::f64s(dtype, shape, &values).unwrap()
}

/// Integers of an axis of some extent, from both ends.
pub(crate) fn indices(dtype: DType, shape: &[usize], extent: usize, rng: &mut Rng) -> Tensor {
    let n: usize = shape.iter().product();
    let extent = extent as i64;
    let values: Vec<f64> = (0..n).map(|_| (rng.below(2 * extent) - extent) as f64).collect();
    Tensor::f64s(dtype, shape, &values).unwrap()
}

/// Its elements as they are in memory.
pub(crate) fn bytes(t: &Tensor) -> Vec<u8> {
    t.to_constant().elements().unwrap().to_vec()
}

/// Its elements as numbers of its type.
pub(crate) fn numbers<T: bytemuck::Pod>(t: &Tensor) -> Vec<T> {
    bytemuck::pod_collect_to_vec(&bytes(t))
}

/// The results of an op by its definition.
pub(crate) fn results(op: &Op, operands: &[&Tensor]) -> Result<Vec<Tensor>, String> {
    let operands: Vec<Tensor> = operands.iter().map(|&t| t.clone()).collect();
    bgz_passes::eval::node(op, &operands).map_err(|e| e.to_string())
}

/// The one result of an op by its definition.
#[track_caller]
pub(crate) fn result(op: Op, operands: &[&Tensor]) -> Tensor {
    results(&op, operands).unwrap().remove(0)
}

/// `f` with the indices of a tensor of i32 or i64.
pub(crate) fn with_indices<R>(t: &Tensor, mut f: impl FnMut(crate::index::Indices) -> R) -> R {
    match t.dtype() {
        DType::I32 => f(crate::index::Indices::I32(&numbers(t))),
        _ => f(crate::index::Indices::I64(&numbers(t))),
    }
}

/// `$body` with `$t` the type of the elements of a dtype of kernels that compute with them.
macro_rules! by_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            other => panic!("{other} is no number of a kernel"),
        }
    };
}
pub(crate) use by_dtype;

/// Panics unless numbers are those of a tensor, up to a part of them.
#[track_caller]
pub(crate) fn close<T: crate::number::Number>(got: &[T], want: &Tensor, tolerance: f64) {
    let want_floats = want.to_f64s();
    assert_eq!(got.len(), want_floats.len());
    if want.ints().is_some() {
        assert_eq!(bytemuck::cast_slice::<T, u8>(got), bytes(want), "{}", want.ty());
        return;
    }
    for (i, (&g, w)) in got.iter().zip(want_floats).enumerate() {
        let g = float(g);
        let same = g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= tolerance * w.abs().max(1.0);
        assert!(same, "element {i} of {}: {g}, not {w}", want.ty());
    }
}

fn float<T: crate::number::Number>(v: T) -> f64 {
    // Any wide number prints so that it can be read.
    format!("{:?}", v.wide()).parse().unwrap()
}

/// Runs `f` with one thread, and with several, and returns what it gives, which has to be the same.
#[track_caller]
pub(crate) fn on_threads<R: PartialEq + std::fmt::Debug + Send>(f: impl Fn() -> R + Sync) -> R {
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let one = pool(1).install(&f);
    let many = pool(5).install(&f);
    assert!(one == many, "results depend on the number of threads");
    one
}
