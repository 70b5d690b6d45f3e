//! The model that burn-import generates gives what the same weights give through this crate's own module.

use bgz_fusion::random::SplitMix64;
use bgz_models::decoder::{CharLmConfig, token_tensor};
use bgz_models::import::ImportError;
use bgz_models::{default_model, generated, import};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use onnx_ir::{Message, ModelProto};

fn file() -> Vec<u8> {
    std::fs::read(default_model()).expect("cli/model/char_lm.onnx")
}

/// Calls `f` with tokens and what the module makes of them.
fn with_logits(f: impl Fn(&[u8], [usize; 2], Tensor<Flex, 3>)) {
    let module = import::from_bytes::<Flex>(&CharLmConfig::default(), &file(), &FlexDevice).expect("its weights");
    let mut rng = SplitMix64::new(1);
    for dims in [[1, 1], [1, 16], [3, 40]] {
        let tokens: Vec<u8> = (0..dims[0] * dims[1]).map(|_| rng.below(96) as u8).collect();
        f(&tokens, dims, module.forward(token_tensor(&tokens, dims, &FlexDevice)));
    }
}

#[test]
fn the_generated_model_gives_the_modules_logits() {
    let generated = generated::from_bytes::<Flex>(&file(), &FlexDevice).expect("its weights");
    with_logits(|tokens, dims, expected| {
        let got = generated.forward(token_tensor(tokens, dims, &FlexDevice));
        assert_eq!(got.dims(), expected.dims());
        let difference = (got - expected).abs().max().into_scalar();
        assert!(difference < 1e-4, "{dims:?}: {difference}");
    });
}

#[test]
fn weights_of_another_model_are_refused() {
    let changed = |change: fn(&mut ModelProto)| {
        let mut proto = ModelProto::parse_from_bytes(&file()).expect("a protobuf");
        change(&mut proto);
        generated::from_bytes::<Flex>(&proto.write_to_bytes().expect("bytes"), &FlexDevice).err()
    };
    assert_eq!(changed(|_| ()), None);
    let fewer = changed(|proto| proto.graph.as_mut().unwrap().initializer.retain(|t| t.name != "head.weight"));
    assert!(matches!(fewer, Some(ImportError::Missing(_))), "{fewer:?}");
    let other = changed(|proto| proto.graph.as_mut().unwrap().initializer.retain(|t| t.name != "norm.bias"));
    assert!(matches!(other, Some(ImportError::Mismatch { .. })), "{other:?}");
    let shorter = changed(|proto| proto.graph.as_mut().unwrap().initializer[4].dims = vec![127]);
    assert!(matches!(shorter, Some(ImportError::Mismatch { .. })), "{shorter:?}");
}

#[cfg(feature = "generated")]
#[test]
fn the_kept_code_is_what_burn_import_writes() {
    let (kept, fresh) = (generated::CODE, generated::fresh::CODE);
    let first = kept.lines().zip(fresh.lines()).position(|(a, b)| a != b);
    assert!(
        kept == fresh,
        "models/generated/char_lm.rs differs, first in line {:?}: replace it by {}",
        first.map(|line| line + 1),
        concat!(env!("OUT_DIR"), "/code/char_lm.rs")
    );
}

#[cfg(feature = "generated")]
#[test]
fn the_weights_that_burn_import_embeds_are_those_of_the_file() {
    let kept = generated::from_bytes::<Flex>(&file(), &FlexDevice).expect("its weights");
    let fresh = generated::fresh::Model::<Flex>::from_embedded(&FlexDevice);
    with_logits(|tokens, dims, _| {
        let kept = kept.forward(token_tensor(tokens, dims, &FlexDevice)).into_data();
        kept.assert_eq(&fresh.forward(token_tensor(tokens, dims, &FlexDevice)).into_data(), true);
    });
}
