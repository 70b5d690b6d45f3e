//! Training of the character language model.

use std::f64::consts::{LN_2, PI};
use std::time::{Duration, Instant};

use bgz_passes::random::SplitMix64;
use burn::grad_clipping::GradientClippingConfig;
use burn::optim::{AdamWConfig, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{ElementConversion, Tensor};

use crate::decoder::{CharLm, token_tensor};

/// How a model is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingConfig {
    /// Sequences a step.
    pub batch: usize,
    /// Tokens a sequence, at most the model's context.
    pub seq: usize,
    /// The greatest learning rate. It rises to this over the first twentieth and falls to a twentieth of it, as a cosine.
    pub learning_rate: f64,
    /// AdamW's decay of weights.
    pub weight_decay: f32,
    /// Decides which text a step sees.
    pub seed: u64,
    /// When it is over.
    pub budget: Budget,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            batch: 8,
            seq: 256,
            learning_rate: 3e-3,
            weight_decay: 0.05,
            seed: 1,
            budget: Budget { steps: None, time: Some(Duration::from_secs(300)) },
        }
    }
}

/// How much is trained: whichever of the two is used up first. Neither means not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Number of steps. Alone, it makes training repeatable.
    pub steps: Option<usize>,
    /// Time on the clock.
    pub time: Option<Duration>,
}

impl Budget {
    /// How much of it is used up after `steps` and `time`, 0 to 1.
    fn used(&self, steps: usize, time: Duration) -> f64 {
        let by_steps = self.steps.map(|all| steps as f64 / all as f64);
        let by_time = self.time.map(|all| time.as_secs_f64() / all.as_secs_f64());
        let used = match (by_steps, by_time) {
            (Some(a), Some(b)) => a.max(b),
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) => 1.0,
        };
        // Of a budget of nothing, 0 / 0 is used.
        if used.is_nan() { 1.0 } else { used.min(1.0) }
    }
}

/// The figures that are told after a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Steps done.
    pub step: usize,
    /// The mean cross-entropy of its batch in nats a character.
    pub loss: f64,
    /// How much of the budget is used up, 0 to 1.
    pub used: f64,
}

/// Why a model cannot be trained or measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// There is not one sequence in the text.
    #[error("the text has {len} characters, and one sequence with what follows it needs {needed}")]
    TextTooShort {
        /// Characters of text.
        len: usize,
        /// Characters needed.
        needed: usize,
    },
    /// The batch is empty, or the sequence is empty or longer than the model's context.
    #[error("batches of {batch} sequences of {seq} do not go with a context of {context}")]
    BatchShape {
        /// Sequences a batch.
        batch: usize,
        /// Tokens a sequence.
        seq: usize,
        /// The model's context.
        context: usize,
    },
    /// The text has a token that the model does not.
    #[error("token {token} is not among the model's {vocab}")]
    UnknownToken {
        /// The token.
        token: u8,
        /// Number of tokens of the model.
        vocab: usize,
    },
}

fn check<B: Backend>(model: &CharLm<B>, text: &[u8], batch: usize, seq: usize) -> Result<(), TrainingError> {
    let (context, vocab) = (model.context(), model.vocab());
    if batch == 0 || seq == 0 || seq > context {
        return Err(TrainingError::BatchShape { batch, seq, context });
    }
    if text.len() <= seq {
        return Err(TrainingError::TextTooShort { len: text.len(), needed: seq + 1 });
    }
    match text.iter().find(|&&token| usize::from(token) >= vocab) {
        Some(&token) => Err(TrainingError::UnknownToken { token, vocab }),
        None => Ok(()),
    }
}

/// Trains `model` on `text` with AdamW and tells `on_step` of every step.
///
/// # Errors
/// When the text does not hold one sequence or the batch does not fit the model.
pub fn train<B: AutodiffBackend>(
    mut model: CharLm<B>,
    text: &[u8],
    config: &TrainingConfig,
    device: &B::Device,
    mut on_step: impl FnMut(Step),
) -> Result<CharLm<B>, TrainingError> {
    let (batch, seq) = (config.batch, config.seq);
    check(&model, text, batch, seq)?;
    let mut optimizer = AdamWConfig::new()
        .with_beta_2(0.99)
        .with_epsilon(1e-8)
        .with_weight_decay(config.weight_decay)
        .with_grad_clipping(Some(GradientClippingConfig::Norm(1.0)))
        .init();
    let mut rng = SplitMix64::for_name(config.seed, "batches");
    let start = Instant::now();
    let mut step = 0;
    loop {
        let used = config.budget.used(step, start.elapsed());
        if used >= 1.0 {
            return Ok(model);
        }
        let starts: Vec<usize> = (0..batch).map(|_| rng.below(text.len() - seq)).collect();
        let loss = loss(&model, text, &starts, seq, device);
        let value = loss.clone().into_scalar().elem::<f64>();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(learning_rate(config.learning_rate, used), model, gradients);
        step += 1;
        on_step(Step { step, loss: value, used: config.budget.used(step, start.elapsed()) });
    }
}

/// The mean cross-entropy, `f32[1]`, of the windows of `seq` tokens that begin at `starts`.
fn loss<B: Backend>(model: &CharLm<B>, text: &[u8], starts: &[usize], seq: usize, device: &B::Device) -> Tensor<B, 1> {
    let windows = |shift: usize| {
        let tokens: Vec<u8> = starts.iter().flat_map(|&at| &text[at + shift..at + shift + seq]).copied().collect();
        token_tensor(&tokens, [starts.len(), seq], device)
    };
    model.loss(windows(0), windows(1))
}

/// A linear rise over the first twentieth, then a cosine down to a twentieth of `greatest`.
fn learning_rate(greatest: f64, used: f64) -> f64 {
    const RISE: f64 = 0.05;
    const LEAST: f64 = 0.05;
    if used < RISE {
        // Not from zero, which would waste the first step.
        return greatest * (used / RISE).max(0.02);
    }
    let fall = 0.5 * (1.0 + (PI * (used - RISE) / (1.0 - RISE)).cos());
    greatest * (LEAST + (1.0 - LEAST) * fall)
}

/// The mean cross-entropy of `text` in nats a character, over windows of `seq` that follow one another.
///
/// A window's first characters have little before them, so this is more than the model makes of a running text.
///
/// # Errors
/// When the text does not hold one window or the batch does not fit the model.
pub fn evaluate<B: Backend>(
    model: &CharLm<B>,
    text: &[u8],
    batch: usize,
    seq: usize,
    device: &B::Device,
) -> Result<f64, TrainingError> {
    check(model, text, batch, seq)?;
    let starts: Vec<usize> = (0..(text.len() - 1) / seq).map(|window| window * seq).collect();
    let mut sum = 0.0;
    for starts in starts.chunks(batch) {
        let mean = loss(model, text, starts, seq, device).into_scalar().elem::<f64>();
        sum += mean * starts.len() as f64;
    }
    Ok(sum / starts.len() as f64)
}

/// Nats as bits.
pub fn bits(nats: f64) -> f64 {
    nats / LN_2
}

#[cfg(test)]
mod tests {
    use super::{Budget, learning_rate};
    use std::time::Duration;

    #[test]
    fn a_budget_is_used_up_by_what_ends_first() {
        let second = Duration::from_secs(1);
        let both = Budget { steps: Some(10), time: Some(4 * second) };
        assert_eq!(both.used(5, second), 0.5);
        assert_eq!(both.used(1, 2 * second), 0.5);
        assert_eq!(both.used(99, second), 1.0);
        assert_eq!(Budget { steps: None, time: None }.used(0, Duration::ZERO), 1.0);
        assert_eq!(Budget { steps: Some(0), time: None }.used(0, Duration::ZERO), 1.0);
        assert_eq!(Budget { steps: None, time: Some(Duration::ZERO) }.used(0, Duration::ZERO), 1.0);
    }

    #[test]
    fn the_learning_rate_rises_and_falls() {
        let rates: Vec<f64> = [0.0, 0.02, 0.05, 0.5, 1.0].iter().map(|&used| learning_rate(1.0, used)).collect();
        assert!(rates[0] > 0.0 && rates[0] < rates[1] && rates[1] < rates[2], "{rates:?}");
        assert!(rates[2] > rates[3] && rates[3] > rates[4] && rates[4] > 0.0, "{rates:?}");
    }
}
