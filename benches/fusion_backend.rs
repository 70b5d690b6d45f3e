//! Burn models on `BgzFusion<B>` beside the same models on `B`, in one run.
//!
//! ```text
//! cargo bench --bench fusion_backend
//! RAYON_NUM_THREADS=1 cargo bench --bench fusion_backend
//! ```
//!
//! `encoder layer/<backend>/<seq>`: one burn-nn encoder layer, d_model 384, 12 heads, d_ff 1536, batch 1, from host
//! data to host data. `overhead/<backend>/<ops>`: that many additions to a tensor of 8 numbers; the difference to the
//! bare backend over the number of ops is what recording, planning and running cost an op. `language model/<how>/<seq>`:
//! the default model as its ONNX file (`onnx`) and as a Burn module with the same weights. `minilm/<how>/<seq>`: the same
//! for MiniLM, a vector for each token and for the sentence, if `models/fetch.sh` has got it.

use bgz_fusion::{BgzFusion, Flex, Model, NdArray};
use bgz_models::decoder::{CharLmConfig, token_tensor};
use bgz_models::encoder::mean_over_tokens;
use burn::nn::transformer::{TransformerEncoderConfig, TransformerEncoderInput};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn input(shape: [usize; 3]) -> TensorData {
    let n = shape.iter().product::<usize>();
    TensorData::new((0..n).map(|i| (i * 7919 % 4001) as f32 / 2000.0 - 1.0).collect::<Vec<_>>(), shape)
}

const ENCODER_SEQUENCES: [usize; 3] = [16, 128, 512];

fn layer<B: Backend>(group: &mut Group<'_>, backend: &str) {
    let device = B::Device::default();
    let model = TransformerEncoderConfig::new(384, 1536, 12, 1).with_dropout(0.0).init::<B>(&device);
    for seq in ENCODER_SEQUENCES {
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

/// Tokens that look like none in particular.
fn tokens(seq: usize) -> Vec<u8> {
    (0..seq).map(|i| (i * 31 % 90) as u8).collect()
}

const SEQUENCES: [usize; 3] = [16, 64, 256];

fn language_model<B: Backend>(group: &mut Group<'_>, backend: &str) {
    let device = B::Device::default();
    let bytes = std::fs::read(bgz_models::default_model()).expect("the default model is in the repository");
    let model = bgz_models::import::from_bytes::<B>(&CharLmConfig::default(), &bytes, &device).expect("its weights");
    for seq in SEQUENCES {
        let tokens = tokens(seq);
        let forward = || model.forward(token_tensor(black_box(&tokens), [1, seq], &device)).into_data();
        (0..3).for_each(|_| drop(forward()));
        group.bench_function(BenchmarkId::new(backend, seq), |b| b.iter(forward));
    }
}

fn language_model_file(group: &mut Group<'_>) {
    let model = Model::load(bgz_models::default_model()).expect("the default model is ONNX");
    let name = model.graph().name(model.graph().inputs()[0]).to_owned();
    for seq in SEQUENCES {
        let tokens: Vec<i64> = tokens(seq).into_iter().map(i64::from).collect();
        let tokens = bgz_fusion::Tensor::new(&[1, seq], &tokens).expect("as many as the shape says");
        group.bench_function(BenchmarkId::new("onnx", seq), |b| {
            b.iter(|| model.run(&[(&name, black_box(tokens.clone()))]).expect("its shape fits"));
        });
    }
}

fn minilm<B: Backend>(group: &mut Group<'_>, backend: &str, file: &[u8]) {
    let device = B::Device::default();
    let model = bgz_models::import::minilm_from_bytes::<B>(file, &device).expect("the weights of MiniLM");
    for seq in ENCODER_SEQUENCES {
        let ids = TensorData::new(ids(seq), [1, seq]);
        let padding = TensorData::new(vec![false; seq], [1, seq]);
        let forward = || {
            let ids = Tensor::<B, 2, Int>::from_data(black_box(ids.clone()), &device);
            let padding = Tensor::<B, 2, Bool>::from_data(black_box(padding.clone()), &device);
            let tokens = model.forward(ids, padding.clone());
            let sentence = mean_over_tokens(tokens.clone(), padding);
            (tokens.into_data(), sentence.into_data())
        };
        (0..3).for_each(|_| drop(forward()));
        group.bench_function(BenchmarkId::new(backend, seq), |b| b.iter(forward));
    }
}

fn minilm_file(group: &mut Group<'_>, file: &[u8]) {
    let model = Model::from_bytes("minilm", file.to_vec()).expect("the file is ONNX");
    for seq in ENCODER_SEQUENCES {
        let tensor = |values: Vec<i64>| bgz_fusion::Tensor::new(&[1, seq], &values).expect("as many as the shape says");
        let (ids, mask) = (tensor(ids(seq)), tensor(vec![1; seq]));
        group.bench_function(BenchmarkId::new("onnx", seq), |b| {
            let inputs = || [("input_ids", black_box(ids.clone())), ("attention_mask", black_box(mask.clone()))];
            b.iter(|| model.run(&inputs()).expect("its shape fits"));
        });
    }
}

fn ids(seq: usize) -> Vec<i64> {
    (0..seq as i64).map(|i| i * 7919 % 30522).collect()
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("encoder layer");
    group.sample_size(30).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    layer::<BgzFusion<Flex>>(&mut group, "bgz-flex");
    layer::<Flex>(&mut group, "flex");
    layer::<BgzFusion<NdArray>>(&mut group, "bgz-ndarray");
    layer::<NdArray>(&mut group, "ndarray");
    group.finish();
    let mut group = c.benchmark_group("language model");
    group.sample_size(30).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    language_model_file(&mut group);
    language_model::<BgzFusion<Flex>>(&mut group, "bgz-flex");
    language_model::<Flex>(&mut group, "flex");
    group.finish();
    if let Some(path) = bgz_models::fetched("minilm") {
        let file = std::fs::read(path).expect("it is there");
        let mut group = c.benchmark_group("minilm");
        group.sample_size(30).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
        minilm_file(&mut group, &file);
        minilm::<BgzFusion<Flex>>(&mut group, "bgz-flex", &file);
        minilm::<Flex>(&mut group, "flex", &file);
        group.finish();
    }
    let mut group = c.benchmark_group("overhead");
    group.sample_size(30).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_secs(1));
    additions::<BgzFusion<Flex>>(&mut group, "bgz-flex");
    additions::<Flex>(&mut group, "flex");
    group.finish();
}

criterion_group!(fusion_backend, benches);
criterion_main!(fusion_backend);
