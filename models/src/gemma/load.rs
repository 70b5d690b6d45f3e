//! The weights of a file as a Gemma module.

use burn::module::Param;
use burn::nn::{Embedding, Linear, RmsNorm};
use burn::tensor::TensorData;
use burn::tensor::backend::Backend;

use super::{Attention, Block, FeedForward, Gemma, GemmaConfig};

/// Why a file does not become a model, or a model does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GemmaError {
    /// The metadata lacks a size.
    #[error("the file's metadata has no number {0}: it is no Gemma 3 model, or an incomplete one")]
    MissingKey(String),
    /// The metadata has an impossible size.
    #[error("{key} is {value}, but must be {wanted}")]
    InvalidKey {
        /// The key.
        key: String,
        /// Its value.
        value: f64,
        /// The values that it may have, in words.
        wanted: &'static str,
    },
    /// The reader gave no tensor.
    #[error("cannot read the tensor {name}")]
    Tensor {
        /// Its name.
        name: String,
        /// The error of the reader.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tensor does not have the shape that the metadata asks for, or not as many elements as its shape.
    #[error("the tensor {name} has the shape {found:?} and {len} elements, but the metadata asks for {expected:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The shape it should have; 0 stands for any extent.
        expected: Vec<usize>,
        /// The shape it has.
        found: Vec<usize>,
        /// Its elements.
        len: usize,
    },
    /// A token that the model has no row for.
    #[error("there is no token {token}: the model has {vocab}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Number of tokens.
        vocab: usize,
    },
    /// Nothing to predict from.
    #[error("{len} tokens are too few: {needed} are needed at least")]
    TooFew {
        /// How many there are.
        len: usize,
        /// How many are needed.
        needed: usize,
    },
}

impl<B: Backend> Gemma<B> {
    /// The model of the sizes of `config` whose weights `tensor` hands out by their names in a GGUF file: shape, rows
    /// first (the reverse of what the file says), and elements in row-major order. Each is asked for once; the number
    /// of tokens is that of the rows of `token_embd.weight`.
    ///
    /// # Errors
    /// When `tensor` fails, or a shape is not that of [`GemmaConfig::shapes`].
    pub fn load<E>(
        config: &GemmaConfig,
        mut tensor: impl FnMut(&str) -> Result<(Vec<usize>, Vec<f32>), E>,
        device: &B::Device,
    ) -> Result<Self, GemmaError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut read = |name: &str, expected: &[usize]| {
            let (shape, values) =
                tensor(name).map_err(|e| GemmaError::Tensor { name: name.to_owned(), source: e.into() })?;
            let same = shape.len() == expected.len()
                && shape.iter().zip(expected).all(|(&found, &wanted)| found == wanted || wanted == 0 && found > 0);
            let len = shape.iter().try_fold(1usize, |len, &extent| len.checked_mul(extent));
            if !same || len != Some(values.len()) {
                let (name, expected, len) = (name.to_owned(), expected.to_vec(), values.len());
                return Err(GemmaError::Shape { name, expected, found: shape, len });
            }
            Ok(TensorData::new(values, shape))
        };
        let embedding =
            Embedding { weight: Param::from_data(read("token_embd.weight", &[0, config.d_model])?, device) };

        let mut norm = |name: &str, width: usize| -> Result<RmsNorm<B>, GemmaError> {
            Ok(RmsNorm { gamma: Param::from_data(read(name, &[width])?, device), epsilon: config.epsilon })
        };
        let output_norm = norm("output_norm.weight", config.d_model)?;
        let mut blocks = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let mut norm = |name: &str, width| {
                let data = read(&format!("blk.{layer}.{name}.weight"), &[width])?;
                Ok(RmsNorm { gamma: Param::from_data(data, device), epsilon: config.epsilon })
            };
            let attention_norm = norm("attn_norm", config.d_model)?;
            let post_attention_norm = norm("post_attention_norm", config.d_model)?;
            let feed_forward_norm = norm("ffn_norm", config.d_model)?;
            let post_feed_forward_norm = norm("post_ffw_norm", config.d_model)?;
            let query_norm = norm("attn_q_norm", config.d_head)?;
            let key_norm = norm("attn_k_norm", config.d_head)?;
            let mut linear = |name: &str, to: usize, from: usize| -> Result<Linear<B>, GemmaError> {
                let data = read(&format!("blk.{layer}.{name}.weight"), &[to, from])?;
                Ok(Linear { weight: Param::from_data(transposed(data, to, from), device), bias: None })
            };
            let (heads, kv_heads) = (config.heads * config.d_head, config.kv_heads * config.d_head);
            let attention = Attention {
                query: linear("attn_q", heads, config.d_model)?,
                key: linear("attn_k", kv_heads, config.d_model)?,
                value: linear("attn_v", kv_heads, config.d_model)?,
                output: linear("attn_output", config.d_model, heads)?,
                query_norm,
                key_norm,
            };
            let feed_forward = FeedForward {
                gate: linear("ffn_gate", config.d_ff, config.d_model)?,
                up: linear("ffn_up", config.d_ff, config.d_model)?,
                down: linear("ffn_down", config.d_model, config.d_ff)?,
            };
            blocks.push(Block {
                attention_norm,
                attention,
                post_attention_norm,
                feed_forward_norm,
                feed_forward,
                post_feed_forward_norm,
            });
        }
        Ok(Self { embedding, blocks, norm: output_norm, config: config.clone() })
    }
}

/// `[rows, columns]` as `[columns, rows]`: a file has what a row of the result is made of in one row, `Linear` in one
/// column.
fn transposed(data: TensorData, rows: usize, columns: usize) -> TensorData {
    /// Rows and columns of a part that stays in the L1 cache.
    const TILE: usize = 32;
    let from: Vec<f32> = data.iter::<f32>().collect();
    let mut to = vec![0f32; from.len()];
    for row in (0..rows).step_by(TILE) {
        for column in (0..columns).step_by(TILE) {
            for r in row..rows.min(row + TILE) {
                for c in column..columns.min(column + TILE) {
                    to[c * rows + r] = from[r * columns + c];
                }
            }
        }
    }
    TensorData::new(to, [columns, rows])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed_over_edges_of_tiles() {
        let (rows, columns) = (35, 67);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let data = transposed(TensorData::new(values, [rows, columns]), rows, columns);
        let got: Vec<f32> = data.iter::<f32>().collect();
        for (row, column) in [(0, 0), (34, 66), (31, 32), (32, 31), (17, 64)] {
            assert_eq!(got[column * rows + row], (row * columns + column) as f32);
        }
    }
}
