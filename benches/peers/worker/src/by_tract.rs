//! tract, optimised for the shapes of the inputs.

use crate::arrays::{Array, Data};
use crate::{Failure, Peer};
use std::path::Path;
use std::sync::Arc;
use tract_onnx::prelude::multithread::Executor;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoTValue, RunOptions, TValue, TVec, Tensor, TractError,
    TypedRunnableModel, onnx,
};

pub struct ByTract {
    model: Arc<TypedRunnableModel>,
    inputs: TVec<TValue>,
    outputs: TVec<TValue>,
}

impl ByTract {
    /// With one thread nothing is handed to a pool; tract itself decides which ops of a model more threads share.
    pub fn new(path: &Path, inputs: &[Array], threads: usize) -> Result<Self, Failure> {
        let executor = if threads > 1 { Executor::multithread(threads) } else { Executor::SingleThread };
        let mut model = onnx().model_for_path(path).map_err(failure)?;
        let names: Vec<String> = model.inputs.iter().map(|outlet| model.node(outlet.node).name.clone()).collect();
        let mut values = TVec::new();
        for (i, name) in names.iter().enumerate() {
            let array = inputs.iter().find(|a| a.name == *name).ok_or_else(|| format!("no array {name:?}"))?;
            let value = tensor(array).map_err(failure)?;
            model =
                model.with_input_fact(i, InferenceFact::dt_shape(value.datum_type(), &array.shape)).map_err(failure)?;
            values.push(value.into_tvalue());
        }
        let options = RunOptions { executor: Some(executor), ..RunOptions::default() };
        let model = model.into_optimized().and_then(|m| m.into_runnable_with_options(&options)).map_err(failure)?;
        Ok(Self { model, inputs: values, outputs: TVec::new() })
    }
}

impl Peer for ByTract {
    fn run(&mut self) -> Result<(), Failure> {
        self.outputs = self.model.run(self.inputs.clone()).map_err(failure)?;
        Ok(())
    }

    fn outputs(&self) -> Result<Vec<Array>, Failure> {
        self.outputs.iter().enumerate().map(|(i, v)| array(i, v)).collect()
    }
}

fn failure(e: TractError) -> Failure {
    format!("{e:#}").into()
}

fn tensor(array: &Array) -> Result<Tensor, TractError> {
    match &array.data {
        Data::F32(v) => Tensor::from_shape(&array.shape, v),
        Data::I32(v) => Tensor::from_shape(&array.shape, v),
        Data::I64(v) => Tensor::from_shape(&array.shape, v),
        Data::Bool(v) => Tensor::from_shape(&array.shape, v),
    }
}

fn array(number: usize, value: &Tensor) -> Result<Array, Failure> {
    let data = match value.datum_type() {
        DatumType::F32 => Data::F32(value.to_plain_array_view().map_err(failure)?.iter().copied().collect()),
        DatumType::I32 => Data::I32(value.to_plain_array_view().map_err(failure)?.iter().copied().collect()),
        DatumType::I64 => Data::I64(value.to_plain_array_view().map_err(failure)?.iter().copied().collect()),
        DatumType::Bool => Data::Bool(value.to_plain_array_view().map_err(failure)?.iter().copied().collect()),
        other => return Err(format!("output {number} is of {other:?}, which this does not write").into()),
    };
    Ok(Array { name: number.to_string(), shape: value.shape().to_vec(), data })
}
