//! Gradients and training through `Autodiff<BgzFusion<B>>`.

use crate::support::{Case, check, check_flex, filled, floats, indices};
use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by whoever draws random numbers: the generator of a backend is one for the process.
pub fn random_numbers_alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Module, Debug)]
struct Classifier<B: Backend> {
    encoder: TransformerEncoder<B>,
    head: Linear<B>,
}

impl<B: Backend> Classifier<B> {
    fn new() -> Self {
        let device = B::Device::default();
        // No dropout: the numbers it draws differ between backends.
        let encoder = TransformerEncoderConfig::new(16, 32, 2, 1).with_dropout(0.0).init(&device);
        filled(Self { encoder, head: LinearConfig::new(16, 5).init(&device) })
    }

    fn logits(&self, x: Tensor<B, 3>) -> Tensor<B, 2> {
        let y = self.encoder.forward(TransformerEncoderInput::new(x));
        self.head.forward(y.mean_dim(1).flatten::<2>(1, 2))
    }
}

struct Gradients;

impl Case for Gradients {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        gradients::<Autodiff<B>>()
    }
}

fn gradients<B: AutodiffBackend>() -> Vec<TensorData> {
    let device = B::Device::default();
    let model = Classifier::<B>::new();
    let x = floats::<B, 3>(1, [3, 4, 16]).require_grad();
    let loss = CrossEntropyLossConfig::new().init(&device).forward(model.logits(x.clone()), indices::<B, 1>(2, [3], 5));
    let grads = loss.backward();
    vec![
        loss.into_data(),
        x.grad(&grads).unwrap().into_data(),
        model.head.weight.val().grad(&grads).unwrap().into_data(),
        model.encoder.layers[0].mha.query.weight.val().grad(&grads).unwrap().into_data(),
        model.encoder.layers[0].norm_1.gamma.val().grad(&grads).unwrap().into_data(),
    ]
}

#[test]
fn gradients_are_those_of_the_bare_backend() {
    check(&Gradients, 1e-4);
}

struct Training;

impl Case for Training {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let (losses, model) = train::<Autodiff<B>>(20);
        assert!(losses[19] < losses[0] * 0.7, "{losses:?}");
        let logits = model.valid().logits(floats(3, [2, 4, 16]));
        vec![TensorData::new(losses, [20]), logits.into_data()]
    }
}

fn train<B: AutodiffBackend>(steps: usize) -> (Vec<f32>, Classifier<B>) {
    let device = B::Device::default();
    let mut model = Classifier::<B>::new();
    let mut optimizer = AdamConfig::new().init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let losses = (0..steps)
        .map(|_| {
            let value = loss.forward(model.logits(floats(1, [6, 4, 16])), indices::<B, 1>(2, [6], 5));
            let grads = GradientsParams::from_grads(value.backward(), &model);
            model = optimizer.step(0.01, model.clone(), grads);
            value.into_scalar().to_string().parse::<f32>().unwrap()
        })
        .collect();
    (losses, model)
}

/// Adam divides by the root of a running mean of squares: small differences grow, so the bound is wide.
#[test]
fn training_lowers_the_loss_as_on_the_bare_backend() {
    check_flex(&Training, 2e-2);
}
