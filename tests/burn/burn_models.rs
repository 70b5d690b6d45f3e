//! What a Burn module computes is what the file that is exported from it computes here.

use bgz_fusion::{OnnxModel, Pipeline, Tensor};
use bgz_models::decoder::{CharLm, CharLmConfig, token_tensor};
use bgz_models::rng::SplitMix64;
use bgz_models::{export, import};
use burn_flex::{Flex, FlexDevice};

fn tiny() -> CharLmConfig {
    CharLmConfig { vocab: 96, context: 24, heads: 2, d_head: 16, layers: 2, d_ff: 48 }
}

/// The greatest difference between the logits of the module and those of its exported file, rewritten or not.
fn difference(model: &CharLm<Flex>, batch: usize, seq: usize, rewritten: bool) -> f32 {
    let mut rng = SplitMix64::new(1);
    let tokens: Vec<u8> = (0..batch * seq).map(|_| rng.below(96) as u8).collect();
    let expected = model.forward(token_tensor(&tokens, [batch, seq], &FlexDevice)).into_data();

    let mut exported: OnnxModel = OnnxModel::from_bytes("char_lm", export::to_bytes(model).unwrap()).unwrap();
    if rewritten {
        exported.rewrite(&Pipeline::exact()).unwrap();
    }
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
