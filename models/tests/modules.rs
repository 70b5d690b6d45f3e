//! The promises of the Burn modules about shapes, masks and training.

use bgz_fusion::random::SplitMix64;
use bgz_models::decoder::{CharLmConfig, Sampling, token_tensor};
use bgz_models::encoder::SentenceEncoderConfig;
use bgz_models::text::{VOCAB, encode};
use bgz_models::training::{Budget, TrainingConfig, TrainingError, evaluate, train};
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};

fn char_lm() -> CharLmConfig {
    CharLmConfig { vocab: VOCAB, context: 16, heads: 2, d_head: 8, layers: 2, d_ff: 32 }
}

fn encoder() -> SentenceEncoderConfig {
    SentenceEncoderConfig { vocab: 50, context: 12, heads: 2, d_head: 8, layers: 2, d_ff: 32 }
}

/// Ids and padding of sentences that are `seq` long with what they are padded by.
fn sentences(rows: &[&[i64]], seq: usize) -> (Tensor<Flex, 2, Int>, Tensor<Flex, 2, Bool>) {
    let mut ids = Vec::new();
    let mut padding = Vec::new();
    for row in rows {
        ids.extend(row.iter().copied().chain(std::iter::repeat_n(0, seq - row.len())));
        padding.extend((0..seq).map(|at| at >= row.len()));
    }
    let dims = [rows.len(), seq];
    (
        Tensor::from_data(TensorData::new(ids, dims), &FlexDevice),
        Tensor::from_data(TensorData::new(padding, dims), &FlexDevice),
    )
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn greatest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn a_sentence_vector_has_length_one_and_the_models_width() {
    let model = encoder().init::<Flex>(1, &FlexDevice);
    let (ids, padding) = sentences(&[&[1, 2, 3], &[4, 5, 6, 7, 8]], 6);
    let tokens = model.forward(ids.clone(), padding.clone());
    assert_eq!(tokens.dims(), [2, 6, 16]);
    let vectors = model.embed(ids, padding);
    assert_eq!(vectors.dims(), [2, 16]);
    for row in values(vectors).chunks(16) {
        let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

#[test]
fn padding_does_not_change_a_sentence_vector() {
    let model = encoder().init::<Flex>(1, &FlexDevice);
    let embed = |rows: &[&[i64]], seq| {
        let (ids, padding) = sentences(rows, seq);
        values(model.embed(ids, padding))
    };
    let alone = embed(&[&[1, 2, 3]], 3);
    let padded = embed(&[&[1, 2, 3], &[9; 12]], 12);
    assert!(greatest_difference(&alone, &padded[..16]) < 1e-5);
    assert!(greatest_difference(&alone, &embed(&[&[1, 2, 4]], 3)) > 1e-3, "a token changes it");
}

#[test]
fn a_sentence_of_padding_is_finite() {
    let model = encoder().init::<Flex>(1, &FlexDevice);
    let (ids, padding) = sentences(&[&[]], 4);
    assert!(values(model.embed(ids, padding)).iter().all(|v| v.is_finite()));
}

#[test]
fn the_encoder_has_minilms_width_by_default() {
    let config = SentenceEncoderConfig::default();
    assert_eq!((config.d_model(), config.heads, config.d_ff), (384, 12, 1536));
}

#[test]
fn a_later_token_does_not_change_an_earlier_logit() {
    let model = char_lm().init::<Flex>(1, &FlexDevice);
    let logits = |tokens: &[u8]| {
        let logits = model.forward(token_tensor(tokens, [1, tokens.len()], &FlexDevice));
        assert_eq!(logits.dims(), [1, tokens.len(), VOCAB]);
        values(logits)
    };
    let a = logits(&[1, 2, 3, 4, 5, 6]);
    let b = logits(&[1, 2, 3, 90, 5, 6]);
    let at = 3 * VOCAB;
    assert_eq!(a[..at], b[..at]);
    assert!(greatest_difference(&a[at..at + VOCAB], &b[at..at + VOCAB]) > 1e-4, "its own changes");
    assert!(greatest_difference(&a[5 * VOCAB..], &b[5 * VOCAB..]) > 1e-4, "a later one changes");
    // Nor does the length.
    assert!(greatest_difference(&a[..at], &logits(&[1, 2, 3])) < 1e-5);
}

#[test]
fn a_seed_decides_the_weights() {
    let logits =
        |seed| values(char_lm().init::<Flex>(seed, &FlexDevice).forward(token_tensor(&[1, 2], [1, 2], &FlexDevice)));
    assert_eq!(logits(1), logits(1));
    assert_ne!(logits(1), logits(2));
}

#[test]
fn training_lowers_the_loss_and_repeats_itself() {
    let text = encode(&"the quick brown fox jumps over the lazy dog\n".repeat(20));
    let config = TrainingConfig {
        batch: 4,
        seq: 16,
        learning_rate: 1e-2,
        budget: Budget { steps: Some(30), time: None },
        ..TrainingConfig::default()
    };
    let run = || {
        let mut losses = Vec::new();
        let model = char_lm().init::<Autodiff<Flex>>(1, &FlexDevice);
        let model = train(model, &text, &config, &FlexDevice, |step| losses.push(step.loss)).expect("enough text");
        (losses, evaluate(&model.valid(), &text, 4, 16, &FlexDevice).expect("enough text"))
    };
    let (losses, after) = run();
    assert_eq!(losses.len(), 30);
    // A uniform guess has ln 96 = 4.56.
    assert!((losses[0] - 4.56).abs() < 0.3, "{losses:?}");
    assert!(losses[29] < 0.8 * losses[0] && after < 0.8 * losses[0], "{losses:?}, then {after}");
    assert_eq!(run(), (losses, after));
}

#[test]
fn text_that_does_not_fit_is_an_error() {
    let model = char_lm().init::<Flex>(1, &FlexDevice);
    let of = |text: &[u8], batch, seq| evaluate(&model, text, batch, seq, &FlexDevice).unwrap_err();
    assert_eq!(of(&[1; 16], 1, 16), TrainingError::TextTooShort { len: 16, needed: 17 });
    assert_eq!(of(&[1; 40], 1, 17), TrainingError::BatchShape { batch: 1, seq: 17, context: 16 });
    assert_eq!(of(&[1; 40], 0, 16), TrainingError::BatchShape { batch: 0, seq: 16, context: 16 });
    assert_eq!(of(&[96; 40], 1, 16), TrainingError::UnknownToken { token: 96, vocab: VOCAB });
}

#[test]
fn it_writes_on_beyond_its_context() {
    let model = char_lm().init::<Flex>(1, &FlexDevice);
    let prompt = encode("fn main() {");
    let generate = |sampling: &mut Sampling| model.generate(&prompt, 20, sampling, &FlexDevice);
    let greedy = generate(&mut Sampling::Greedy);
    assert_eq!((greedy.len(), greedy.iter().all(|&token| usize::from(token) < VOCAB)), (20, true));
    let drawn = |temperature, seed| generate(&mut Sampling::Temperature { temperature, rng: SplitMix64::new(seed) });
    assert_eq!(drawn(0.0, 1), greedy);
    assert_eq!(drawn(1.0, 1), drawn(1.0, 1));
    assert_ne!(drawn(1.0, 1), drawn(1.0, 2));
    assert_eq!(model.generate(&[], 3, &mut Sampling::Greedy, &FlexDevice).len(), 3);
}
