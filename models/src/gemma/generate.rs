//! Texts from a model, and how well it predicts one.

use burn::tensor::activation::log_softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

use super::{Gemma, GemmaCache, GemmaError, Sampler};

/// Positions whose logits are computed at once where all are wanted: those of a vocabulary of 262144 are 1 MB each.
const ROWS: usize = 64;

impl<B: Backend> Gemma<B> {
    /// The logits of what follows `tokens`, one for each token of the vocabulary. `tokens` follow what `cache` has seen,
    /// and are added to it.
    ///
    /// # Errors
    /// If `tokens` is empty or has one that the model does not know.
    pub fn next_logits(
        &self,
        tokens: &[u32],
        cache: &mut GemmaCache<B>,
        device: &B::Device,
    ) -> Result<Vec<f32>, GemmaError> {
        let hidden = self.forward(self.tensor(tokens, 1, device)?, Some(cache));
        let last = match tokens.len() {
            1 => hidden,
            len => hidden.narrow(1, len - 1, 1),
        };
        Ok(self.logits(last).into_data().iter::<f32>().collect())
    }

    /// At most `count` tokens that follow `prompt`, each given to `each` as soon as there is one; `each` says whether
    /// to go on. Gives how many there were.
    ///
    /// # Errors
    /// If `prompt` is empty or has a token that the model does not know.
    pub fn generate(
        &self,
        prompt: &[u32],
        count: usize,
        sampler: &mut Sampler,
        device: &B::Device,
        mut each: impl FnMut(u32) -> bool,
    ) -> Result<usize, GemmaError> {
        let mut cache = self.cache();
        let mut made = 0;
        let mut next = Vec::new();
        while made < count {
            let seen = if made == 0 { prompt } else { next.as_slice() };
            let token = sampler.pick(&self.next_logits(seen, &mut cache, device)?) as u32;
            made += 1;
            if !each(token) {
                break;
            }
            next = vec![token];
        }
        Ok(made)
    }

    /// The surprise of each token but the first, given those before it: `-ln p`, in nats. The exponential of their mean
    /// is the perplexity.
    ///
    /// # Errors
    /// If there are fewer than two tokens, or one that the model does not know.
    pub fn surprises(&self, tokens: &[u32], device: &B::Device) -> Result<Vec<f64>, GemmaError> {
        let (seen, following) = match tokens.split_last() {
            Some((_, seen)) if !seen.is_empty() => (seen, &tokens[1..]),
            _ => return Err(GemmaError::TooFew { len: tokens.len(), needed: 2 }),
        };
        // The last one too must be known.
        self.tensor(following, 1, device)?;
        let hidden = self.forward(self.tensor(seen, 1, device)?, None);
        let mut surprises = Vec::with_capacity(following.len());
        for (start, chosen) in (0..).step_by(ROWS).zip(following.chunks(ROWS)) {
            let logits = self.logits(hidden.clone().narrow(1, start, chosen.len()));
            let chosen: Tensor<B, 3, Int> = self.tensor(chosen, 1, device)?.unsqueeze_dim(2);
            let likelihoods = log_softmax(logits, 2).gather(2, chosen);
            surprises.extend(likelihoods.into_data().iter::<f32>().map(|l| -f64::from(l)));
        }
        Ok(surprises)
    }

    /// `tokens` as `i64[1, seq]`.
    fn tensor(&self, tokens: &[u32], needed: usize, device: &B::Device) -> Result<Tensor<B, 2, Int>, GemmaError> {
        let vocab = self.vocab();
        if tokens.len() < needed {
            return Err(GemmaError::TooFew { len: tokens.len(), needed });
        }
        if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
            return Err(GemmaError::UnknownToken { token, vocab });
        }
        let values: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        Ok(Tensor::from_data(TensorData::new(values, [1, tokens.len()]), device))
    }
}
