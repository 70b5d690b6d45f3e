//! Several threads on one device, and many runs of many shapes.

use crate::support::{filled, floats};
use bgz_fusion::{BgzFusion, Flex};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, Tolerance};

type B = BgzFusion<Flex>;

fn encoder<B: Backend>() -> TransformerEncoder<B> {
    filled(TransformerEncoderConfig::new(32, 64, 4, 1).init(&B::Device::default()))
}

fn forward<B: Backend>(model: &TransformerEncoder<B>, seed: u64, seq: usize) -> TensorData {
    model.forward(TransformerEncoderInput::new(floats(seed, [1, seq, 32]))).into_data()
}

#[test]
fn threads_share_a_model() {
    let bare = encoder::<Flex>();
    let ours = encoder::<B>();
    // Made here, used there: the weights of the model cross threads.
    forward(&ours, 0, 4);
    std::thread::scope(|scope| {
        for t in 0..4u64 {
            let (bare, ours) = (&bare, &ours);
            scope.spawn(move || {
                for i in 0..8 {
                    let (seed, seq) = (10 * t + i, 3 + (i as usize * 5 + t as usize) % 7);
                    let want = forward(bare, seed, seq);
                    want.assert_approx_eq::<f32>(&forward(ours, seed, seq), Tolerance::rel_abs(2e-5, 2e-5));
                }
            });
        }
    });
}

#[test]
fn a_tensor_crosses_threads() {
    let x = floats::<B, 2>(1, [4, 4]).exp();
    let there = std::thread::scope(|s| s.spawn(|| (x.clone() + 1.0).into_data()).join().unwrap());
    let here = (x + 1.0).into_data();
    here.assert_eq(&there, true);
}

/// Kilobytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Plans are bounded in number, and nothing else is kept of a run. In a process of its own: other tests grow, too.
#[test]
#[cfg(target_os = "linux")]
fn a_thousand_passes_of_changing_length_do_not_grow() {
    const ALONE: &str = "BGZ_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "threads::a_thousand_passes_of_changing_length_do_not_grow";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let out = child.args(["--exact", name]).env(ALONE, "1").output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        return;
    }
    let model = encoder::<B>();
    let pass = |i: usize| drop(forward(&model, i as u64, 1 + i * 37 % 200));
    // Every length once, and every pattern of coinciding extents.
    (0..400).for_each(pass);
    let before = resident();
    (0..1000).for_each(pass);
    let after = resident();
    // A plan more would be 100 kB and more; so would be the activations of a few passes.
    assert!(after < before + 4 * 1024, "from {before} to {after} kB");
}

/// Models that come and go leave nothing behind.
#[test]
fn models_come_and_go() {
    for _ in 0..20 {
        let model = encoder::<B>();
        let first = forward(&model, 1, 5);
        let second = forward(&model, 1, 5);
        first.assert_approx_eq::<f32>(&second, Tolerance::rel_abs(1e-6, 1e-6));
        let x: Tensor<B, 3> = floats(1, [1, 5, 32]);
        drop(model.forward(TransformerEncoderInput::new(x)));
    }
}
