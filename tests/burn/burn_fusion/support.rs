//! The same code on several backends, with the same numbers.

use bgz_fusion::random::SplitMix64;
use bgz_fusion::{BgzFusion, Flex, NdArray, trace};
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData, Tolerance};

/// Code that is run on any backend; equal numbers must come out.
pub trait Case {
    /// The results of the code.
    fn run<B: Backend>(&self) -> Vec<TensorData>;
}

/// Runs a case bare and rewritten, four times over: the first time small traces are run as recorded; the second they are
/// captured, and so planned whatever they are; then weights become constants of the graph; the last time a plan is met
/// again.
#[track_caller]
pub fn check(case: &impl Case, tolerance: f32) {
    check_flex(case, tolerance);
    same("NdArray", &case.run::<NdArray>(), &case.run::<BgzFusion<NdArray>>(), tolerance);
}

/// [`check`] on Flex alone.
#[track_caller]
pub fn check_flex(case: &impl Case, tolerance: f32) {
    let want = case.run::<Flex>();
    for time in 0..4 {
        let run = || case.run::<BgzFusion<Flex>>();
        let got = if time == 1 { trace::capture(run).0 } else { run() };
        same("Flex", &want, &got, tolerance);
    }
}

/// [`check`] where bare NdArray cannot run the case: both backends are compared with Flex.
#[track_caller]
pub fn check_with_flex(case: &impl Case, tolerance: f32) {
    check_flex(case, tolerance);
    let want = case.run::<Flex>();
    for _ in 0..3 {
        same("NdArray", &want, &case.run::<BgzFusion<NdArray>>(), tolerance);
    }
}

#[track_caller]
fn same(backend: &str, want: &[TensorData], got: &[TensorData], tolerance: f32) {
    assert_eq!(want.len(), got.len());
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        assert_eq!(want.shape, got.shape, "result {i} on {backend}");
        assert_eq!(want.dtype, got.dtype, "result {i} on {backend}");
        if want.dtype.is_float() {
            want.assert_approx_eq::<f32>(got, Tolerance::rel_abs(tolerance, tolerance));
        } else {
            want.assert_eq(got, true);
        }
    }
}

/// Numbers in -1..1 that look like none in particular, and never repeat between seeds.
pub fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = SplitMix64::new(seed);
    (0..n).map(|_| (rng.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// A tensor of such numbers.
pub fn floats<B: Backend, const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(numbers(seed, shape.iter().product()), shape), &B::Device::default())
}

/// A tensor of indices below `end`.
pub fn indices<B: Backend, const D: usize>(seed: u64, shape: [usize; D], end: usize) -> Tensor<B, D, Int> {
    let values: Vec<i64> = numbers(seed, shape.iter().product())
        .into_iter()
        .map(|x| ((x + 1.0) / 2.0 * end as f32).min(end as f32 - 1.0) as i64)
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &B::Device::default())
}

/// A module with the same numbers on every backend, scaled by the root of the fan-in.
pub fn filled<B: Backend, M: Module<B>>(module: M) -> M {
    struct Fill(u64);
    impl<B: Backend> ModuleMapper<B> for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let seed = self.0;
            self.0 += 1;
            param.map(|t| {
                let shape: [usize; D] = t.dims();
                let fan_in = if D > 1 { shape[0] as f32 } else { 4.0 };
                floats::<B, D>(seed, shape).div_scalar(fan_in.sqrt()).set_require_grad(t.is_require_grad())
            })
        }
    }
    module.map(&mut Fill(100))
}
