//! rten, with its weights packed ahead.

use crate::arrays::{Array, Data};
use crate::{Failure, Peer};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value};
use rten_tensor::{AsView, Layout};
use std::path::Path;
use std::sync::Arc;

pub struct ByRten {
    model: Model,
    inputs: Vec<(NodeId, Value)>,
    options: RunOptions,
    outputs: Vec<Value>,
}

impl ByRten {
    /// Packing happens on rten's own pool, which `RTEN_NUM_THREADS` sizes; runs happen on one of `threads`.
    pub fn new(path: &Path, inputs: &[Array], threads: usize) -> Result<Self, Failure> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = options.load_file(path)?;
        let inputs = inputs.iter().map(|a| Ok((model.node_id(&a.name)?, value(a)?)));
        let inputs = inputs.collect::<Result<_, Failure>>()?;
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        Ok(Self { model, inputs, options: RunOptions::default().with_thread_pool(Some(pool)), outputs: Vec::new() })
    }
}

impl Peer for ByRten {
    fn run(&mut self) -> Result<(), Failure> {
        let inputs = self.inputs.iter().map(|(id, v)| (*id, v.as_view().into())).collect();
        self.outputs = self.model.run(inputs, self.model.output_ids(), Some(self.options.clone()))?;
        Ok(())
    }

    fn outputs(&self) -> Result<Vec<Array>, Failure> {
        self.outputs.iter().enumerate().map(|(i, v)| array(i, v)).collect()
    }
}

/// rten's integers have 32 bits, and its booleans are such integers.
fn value(array: &Array) -> Result<Value, Failure> {
    let shape = &array.shape[..];
    Ok(match &array.data {
        Data::F32(v) => Value::from_shape(shape, v.clone())?,
        Data::I32(v) => Value::from_shape(shape, v.clone())?,
        Data::I64(v) => Value::from_shape(shape, v.iter().map(|&i| i32::try_from(i)).collect::<Result<Vec<_>, _>>()?)?,
        Data::Bool(v) => Value::from_shape(shape, v.iter().map(|&b| i32::from(b)).collect::<Vec<_>>())?,
    })
}

fn array(number: usize, value: &Value) -> Result<Array, Failure> {
    let (shape, data) = match value {
        Value::FloatTensor(t) => (t.shape(), Data::F32(t.to_vec())),
        Value::Int32Tensor(t) => (t.shape(), Data::I32(t.to_vec())),
        other => return Err(format!("output {number} is a {}, which this does not write", other.dtype()).into()),
    };
    Ok(Array { name: number.to_string(), shape: shape.to_vec(), data })
}
