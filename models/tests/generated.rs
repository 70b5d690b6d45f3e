//! The model that burn-import generates gives what the same weights give through this crate's own module.
#![cfg(feature = "generated")]

use bgz_models::decoder::{CharLmConfig, token_tensor};
use bgz_models::rng::SplitMix64;
use bgz_models::{default_model, generated, import};
use burn_flex::{Flex, FlexDevice};

#[test]
fn the_generated_model_gives_the_modules_logits() {
    let bytes = std::fs::read(default_model()).expect("models/default/char_lm.onnx");
    let module = import::from_bytes::<Flex>(&CharLmConfig::default(), &bytes, &FlexDevice).expect("its weights");
    let generated = generated::Model::<Flex>::from_embedded(&FlexDevice);
    let mut rng = SplitMix64::new(1);
    for dims in [[1, 1], [1, 16], [3, 40]] {
        let tokens: Vec<u8> = (0..dims[0] * dims[1]).map(|_| rng.below(96) as u8).collect();
        let expected = module.forward(token_tensor(&tokens, dims, &FlexDevice));
        let got = generated.forward(token_tensor(&tokens, dims, &FlexDevice));
        assert_eq!(got.dims(), expected.dims());
        let difference = (got - expected).abs().max().into_scalar();
        assert!(difference < 1e-4, "{dims:?}: {difference}");
    }
}
