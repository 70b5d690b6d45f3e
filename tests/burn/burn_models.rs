//! A Burn module computes the same as its file does here, be it exported from it or read into it.

use bgz_fusion::random::SplitMix64;
use bgz_fusion::{BgzFusion, Model, ModelOptions, NdArray, Tensor};
use bgz_models::decoder::{CharLm, CharLmConfig, token_tensor};
use bgz_models::encoder::mean_over_tokens;
use bgz_models::{export, fetched, import};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, TensorData};
use burn_flex::{Flex, FlexDevice};

fn tiny() -> CharLmConfig {
    CharLmConfig { vocab: 96, context: 24, heads: 2, d_head: 16, layers: 2, d_ff: 48 }
}

/// The greatest difference between the logits of the module and those of its exported file, rewritten or not.
fn difference(model: &CharLm<Flex>, batch: usize, seq: usize, rewritten: bool) -> f32 {
    let mut rng = SplitMix64::new(1);
    let tokens: Vec<u8> = (0..batch * seq).map(|_| rng.below(96) as u8).collect();
    let expected = model.forward(token_tensor(&tokens, [batch, seq], &FlexDevice)).into_data();

    let options = if rewritten { ModelOptions::new() } else { ModelOptions::new().as_imported() };
    let exported = options.from_bytes("char_lm", export::to_bytes(model).unwrap()).unwrap();
    let ids: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
    let outputs = exported.run(&[("ids", Tensor::new(&[batch, seq], &ids).unwrap())]).unwrap();
    assert_eq!(outputs[0].0, "logits");
    let got = &outputs[0].1;
    assert_eq!(got.shape(), [batch, seq, 96]);
    let got = got.as_slice::<f32>().unwrap();
    assert!(got.iter().any(|v| v.abs() > 0.01), "logits of nothing");
    got.iter().zip(expected.iter::<f32>()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_exported_file_gives_the_modules_logits() {
    let tiny = tiny().init::<Flex>(3, &FlexDevice);
    let default = CharLmConfig::default().init::<Flex>(4, &FlexDevice);
    for rewritten in [false, true] {
        for (batch, seq) in [(1, 1), (2, 7), (3, 24)] {
            let d = difference(&tiny, batch, seq, rewritten);
            assert!(d < 1e-5, "tiny at {batch}x{seq}, rewritten {rewritten}: {d}");
        }
        let d = difference(&default, 2, 40, rewritten);
        assert!(d < 1e-5, "default, rewritten {rewritten}: {d}");
    }
}

/// Its gains and biases are no ones and zeros, so one that is dropped or swapped shows.
#[test]
fn the_committed_file_gives_its_modules_logits() {
    let bytes = std::fs::read(bgz_models::default_model()).unwrap();
    let model = import::from_bytes::<Flex>(&CharLmConfig::default(), &bytes, &FlexDevice).unwrap();
    for rewritten in [false, true] {
        let d = difference(&model, 2, 40, rewritten);
        assert!(d < 1e-4, "rewritten {rewritten}: {d}");
    }
}

/// Vectors of tokens and of sentences, of two sentences, the second of them shorter.
fn minilm<B: Backend>(file: &[u8], ids: &[i64], mask: &[i64], dims: [usize; 2]) -> [Vec<f32>; 2] {
    let device = B::Device::default();
    let model = import::minilm_from_bytes::<B>(file, &device).unwrap();
    let ids = burn::tensor::Tensor::<B, 2, Int>::from_data(TensorData::new(ids.to_vec(), dims), &device);
    let padding = mask.iter().map(|&m| m == 0).collect::<Vec<_>>();
    let padding = burn::tensor::Tensor::<B, 2, Bool>::from_data(TensorData::new(padding, dims), &device);
    let tokens = model.forward(ids, padding.clone());
    let sentences = mean_over_tokens(tokens.clone(), padding);
    [tokens.into_data().iter::<f32>().collect(), sentences.into_data().iter::<f32>().collect()]
}

#[test]
fn minilm_as_a_module_gives_what_its_file_gives() {
    let Some(path) = fetched("minilm") else { return };
    let file = std::fs::read(path).unwrap();
    let dims = [2, 9];
    let mut rng = SplitMix64::new(1);
    let ids: Vec<i64> = (0..18).map(|_| rng.below(30522) as i64).collect();
    let mask: Vec<i64> = (0..18).map(|i| i64::from(i < 14)).collect();

    let exported = Model::from_bytes("minilm", file.clone()).unwrap();
    let tensor = |values: &[i64]| Tensor::new(&dims, values).unwrap();
    let outputs = exported.run(&[("input_ids", tensor(&ids)), ("attention_mask", tensor(&mask))]).unwrap();
    // The file gives its inputs, too, before these.
    let expected: Vec<Vec<f32>> =
        outputs.iter().filter_map(|(_, t)| t.as_slice::<f32>().ok().map(<[f32]>::to_vec)).collect();
    assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>(), [18 * 384, 2 * 384]);

    let backends = [
        ("Flex", minilm::<Flex>(&file, &ids, &mask, dims)),
        ("BgzFusion<Flex>", minilm::<BgzFusion<Flex>>(&file, &ids, &mask, dims)),
        ("BgzFusion<NdArray>", minilm::<BgzFusion<NdArray>>(&file, &ids, &mask, dims)),
    ];
    for (backend, got) in backends {
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got.len(), expected.len(), "{backend}");
            let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{backend}: {worst}");
        }
    }
}
