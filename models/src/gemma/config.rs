//! The sizes of a Gemma 3 model, from a file's metadata.

use std::collections::BTreeMap;

use super::GemmaError;

/// The sizes of a Gemma 3 model, all above 0.
#[derive(Debug, Clone, PartialEq)]
pub struct GemmaConfig {
    /// Width of the model.
    pub d_model: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values; a divisor of [`Self::heads`].
    pub kv_heads: usize,
    /// Width of a head, even. `heads * d_head` need not be `d_model`.
    pub d_head: usize,
    /// Width inside a block's feed-forward part.
    pub d_ff: usize,
    /// The number that RMSNorm adds to the mean square.
    pub epsilon: f64,
    /// How many tokens a block with a window sees, that of the query included.
    pub window: usize,
    /// One block in so many, the last of each, sees all tokens.
    pub pattern: usize,
    /// Base of the rotary angles of blocks that see all tokens.
    pub rope_base: f64,
    /// The number that positions are divided by in blocks that see all tokens.
    pub rope_factor: f64,
    /// Base of the rotary angles of blocks with a window.
    pub local_rope_base: f64,
    /// Greatest length of a sequence the model was trained for.
    pub context: usize,
}

/// The values of llama.cpp where the file says nothing: one block in six, and the base of blocks with a window.
const PATTERN: f64 = 6.0;
const LOCAL_ROPE_BASE: f64 = 10_000.0;

/// The number of blocks of the one model whose scores are scaled by another width than that of a head: a file does not
/// say.
const LAYERS_OF_27B: usize = 62;

impl GemmaConfig {
    /// The sizes that the metadata of a GGUF file of the architecture `gemma3` states; `number` gives the value of a
    /// key, if it is there and a number.
    ///
    /// # Errors
    /// When a key is missing, or its value is no possible size, or asks for something that this module does not do.
    pub fn from_metadata(number: impl Fn(&str) -> Option<f64>) -> Result<Self, GemmaError> {
        let optional = |key: &str| number(&format!("gemma3.{key}"));
        let real = |key: &str| {
            let value = optional(key).ok_or_else(|| GemmaError::MissingKey(format!("gemma3.{key}")))?;
            if value.is_finite() && value > 0.0 { Ok(value) } else { Err(invalid(key, value, "a number above 0")) }
        };
        let whole = |key: &str| {
            let value = real(key)?;
            // No size is near what an f64 has no whole numbers of, and products of two do not overflow.
            let fits = value.fract() == 0.0 && value < f64::from(1 << 30);
            if fits { Ok(value as usize) } else { Err(invalid(key, value, "a whole number below 2^30")) }
        };
        let whole_or = |key: &str, default: f64| optional(key).map_or(Ok(default as usize), |_| whole(key));
        let real_or = |key: &str, default: f64| optional(key).map_or(Ok(default), |_| real(key));

        let config = Self {
            d_model: whole("embedding_length")?,
            layers: whole("block_count")?,
            heads: whole("attention.head_count")?,
            kv_heads: whole("attention.head_count_kv")?,
            d_head: whole("attention.key_length")?,
            d_ff: whole("feed_forward_length")?,
            epsilon: real("attention.layer_norm_rms_epsilon")?,
            window: whole("attention.sliding_window")?,
            pattern: whole_or("attention.sliding_window_pattern", PATTERN)?,
            rope_base: real("rope.freq_base")?,
            rope_factor: real_or("rope.scaling.factor", 1.0)?,
            local_rope_base: real_or("rope.freq_base_swa", LOCAL_ROPE_BASE)?,
            context: whole("context_length")?,
        };
        let d_value = whole("attention.value_length")?;
        if d_value != config.d_head {
            return Err(invalid("attention.value_length", d_value as f64, "that of keys"));
        }
        if !config.d_head.is_multiple_of(2) {
            return Err(invalid("attention.key_length", config.d_head as f64, "even"));
        }
        if !config.heads.is_multiple_of(config.kv_heads) {
            return Err(invalid("attention.head_count_kv", config.kv_heads as f64, "a divisor of the head count"));
        }
        if let Some(cap) = optional("final_logit_softcapping").filter(|&cap| cap != 0.0) {
            return Err(invalid("final_logit_softcapping", cap, "absent: Gemma 3 has no such cap"));
        }
        Ok(config)
    }

    /// True if a block sees all tokens.
    pub fn is_global(&self, layer: usize) -> bool {
        (layer + 1).is_multiple_of(self.pattern)
    }

    /// The factor of the scores of attention.
    pub fn scale(&self) -> f64 {
        let width = if self.layers == LAYERS_OF_27B { self.d_model / self.heads } else { self.d_head };
        1.0 / (width as f64).sqrt()
    }

    /// The tensors of such a model with `vocab` tokens, by their names in a GGUF file, with their shapes, rows first.
    pub fn shapes(&self, vocab: usize) -> BTreeMap<String, Vec<usize>> {
        let (heads, kv_heads) = (self.heads * self.d_head, self.kv_heads * self.d_head);
        let mut shapes = BTreeMap::new();
        shapes.insert("token_embd.weight".to_owned(), vec![vocab, self.d_model]);
        shapes.insert("output_norm.weight".to_owned(), vec![self.d_model]);
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[usize]| {
                shapes.insert(format!("blk.{layer}.{name}.weight"), shape.to_vec());
            };
            for norm in ["attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"] {
                add(norm, &[self.d_model]);
            }
            add("attn_q_norm", &[self.d_head]);
            add("attn_k_norm", &[self.d_head]);
            add("attn_q", &[heads, self.d_model]);
            add("attn_k", &[kv_heads, self.d_model]);
            add("attn_v", &[kv_heads, self.d_model]);
            add("attn_output", &[self.d_model, heads]);
            add("ffn_gate", &[self.d_ff, self.d_model]);
            add("ffn_up", &[self.d_ff, self.d_model]);
            add("ffn_down", &[self.d_model, self.d_ff]);
        }
        shapes
    }
}

fn invalid(key: &str, value: f64, wanted: &'static str) -> GemmaError {
    GemmaError::InvalidKey { key: format!("gemma3.{key}"), value, wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The metadata of Gemma 3 270M, with one key changed.
    fn with(changed: &str, to: Option<f64>) -> Result<GemmaConfig, GemmaError> {
        GemmaConfig::from_metadata(|key| {
            let key = key.strip_prefix("gemma3.")?;
            if key == changed {
                return to;
            }
            Some(match key {
                "context_length" => 32768.0,
                "embedding_length" => 640.0,
                "block_count" => 18.0,
                "feed_forward_length" => 2048.0,
                "attention.head_count" => 4.0,
                "attention.head_count_kv" => 1.0,
                "attention.key_length" | "attention.value_length" => 256.0,
                "attention.layer_norm_rms_epsilon" => 1e-6,
                "attention.sliding_window" => 512.0,
                "rope.freq_base" => 1e6,
                _ => return None,
            })
        })
    }

    #[test]
    fn sizes_are_those_of_the_metadata() {
        let config = with("", None).unwrap();
        assert_eq!((config.d_model, config.layers, config.heads, config.kv_heads), (640, 18, 4, 1));
        assert_eq!((config.d_head, config.d_ff, config.window, config.context), (256, 2048, 512, 32768));
        assert_eq!((config.rope_base, config.local_rope_base, config.rope_factor), (1e6, 1e4, 1.0));
        assert_eq!(config.scale(), 1.0 / 16.0);
        let global: Vec<usize> = (0..18).filter(|&layer| config.is_global(layer)).collect();
        assert_eq!(global, [5, 11, 17]);
        let config = with("attention.sliding_window_pattern", Some(2.0)).unwrap();
        assert!(!config.is_global(0) && config.is_global(1));
        assert_eq!(with("rope.scaling.factor", Some(8.0)).unwrap().rope_factor, 8.0);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let refused = |key: &str, to: Option<f64>| {
            let error = with(key, to).unwrap_err().to_string();
            assert!(error.contains(&format!("gemma3.{key}")), "{key}: {error}");
        };
        refused("block_count", None);
        refused("block_count", Some(0.0));
        refused("embedding_length", Some(-1.0));
        refused("embedding_length", Some(640.5));
        refused("feed_forward_length", Some(1e18));
        refused("rope.freq_base", Some(f64::NAN));
        refused("attention.head_count_kv", Some(3.0));
        refused("attention.value_length", Some(128.0));
        refused("attention.sliding_window_pattern", Some(0.0));
        refused("final_logit_softcapping", Some(30.0));
        // That of keys and that of values are one.
        let odd = GemmaConfig::from_metadata(|key| match key {
            "gemma3.attention.key_length" | "gemma3.attention.value_length" => Some(7.0),
            _ => Some(1.0),
        });
        assert!(odd.unwrap_err().to_string().contains("even"));
    }
}
