//! Burn models on `BgzFusion<B>` beside the same models on `B`, in one run.
//!
//! ```text
//! cargo bench --bench fusion_backend
//! RAYON_NUM_THREADS=1 cargo bench --bench fusion_backend
//! ```
//!
//! `encoder layer/<backend>/<seq>`: one burn-nn encoder layer, d_model 384, 12 heads, d_ff 1536, batch 1, from host
//! data to host data. `overhead/<backend>/<ops>`: that many additions to a tensor of 8 numbers; the difference to the
//! bare backend over the number of ops is what recording, planning and running cost an op.

use bgz_fusion::{BgzFusion, Flex, NdArray};
use burn::nn::transformer::{TransformerEncoderConfig, TransformerEncoderInput};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn input(shape: [usize; 3]) -> TensorData {
    let n = shape.iter().product::<usize>();
    TensorData::new((0..n).map(|i| (i * 7919 % 4001) as f32 / 2000.0 - 1.0).collect::<Vec<_>>(), shape)
}

fn layer<B: Backend>(group: &mut Group<'_>, backend: &str) {
    let device = B::Device::default();
    let model = TransformerEncoderConfig::new(384, 1536, 12, 1).with_dropout(0.0).init::<B>(&device);
    for seq in [16, 128, 512] {
        let x = input([1, seq, 384]);
        let forward = || {
            let x = Tensor::<B, 3>::from_data(black_box(x.clone()), &device);
            model.forward(TransformerEncoderInput::new(x)).into_data()
        };
        // The first makes the weights, the second meets them again, the third packs them.
        (0..3).for_each(|_| drop(forward()));
        group.bench_function(BenchmarkId::new(backend, seq), |b| b.iter(forward));
    }
}

fn additions<B: Backend>(group: &mut Group<'_>, backend: &str) {
    let device = B::Device::default();
    for ops in [100, 300] {
        group.bench_function(BenchmarkId::new(backend, ops), |b| {
            b.iter(|| {
                let mut x = Tensor::<B, 1>::from_floats([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], &device);
                for _ in 0..ops {
                    x = x + 1.0;
                }
                x.into_data()
            });
        });
    }
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("encoder layer");
    group.sample_size(30).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    layer::<BgzFusion<Flex>>(&mut group, "bgz-flex");
    layer::<Flex>(&mut group, "flex");
    layer::<BgzFusion<NdArray>>(&mut group, "bgz-ndarray");
    layer::<NdArray>(&mut group, "ndarray");
    group.finish();
    let mut group = c.benchmark_group("overhead");
    group.sample_size(30).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1));
    additions::<BgzFusion<Flex>>(&mut group, "bgz-flex");
    additions::<Flex>(&mut group, "flex");
    group.finish();
}

criterion_group!(fusion_backend, benches);
criterion_main!(fusion_backend);
