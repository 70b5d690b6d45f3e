//! The model that burn-import generates, on `BgzFusion<B>` beside `B`.

use crate::support::{Case, check_with_flex};
use bgz_fusion::trace::capture;
use bgz_fusion::{BgzFusion, Flex};
use bgz_models::{default_model, generated};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

/// The generated model with the weights of its file.
fn model<B: Backend>() -> generated::Model<B> {
    let bytes = std::fs::read(default_model()).unwrap();
    generated::from_bytes(&bytes, &B::Device::default()).unwrap()
}

fn tokens<B: Backend>([batch, seq]: [usize; 2]) -> Tensor<B, 2, Int> {
    let values: Vec<i64> = (0..(batch * seq) as i64).map(|i| i * 31 % 90).collect();
    Tensor::from_data(TensorData::new(values, [batch, seq]), &B::Device::default())
}

struct Generated;

impl Case for Generated {
    fn run<B: Backend>(&self) -> Vec<TensorData> {
        let model = model::<B>();
        // Weights that are met again become constants of the graph, and lengths that come again meet plans again.
        [[1, 1], [1, 16], [3, 40], [1, 16], [1, 16]].map(|dims| model.forward(tokens(dims)).into_data()).to_vec()
    }
}

/// burn-import fills masked scores by a `mask_where` on a tensor of one number, which burn-ndarray does not broadcast: it
/// panics.
#[test]
fn the_model_that_burn_import_generates() {
    check_with_flex(&Generated, 2e-5);
}

/// All but attention: what burn-import fills masked scores with is data that is made anew in each pass, so the graph
/// cannot know that it hides them.
#[test]
fn it_is_recognised() {
    let model = model::<BgzFusion<Flex>>();
    let forward = || model.forward(tokens([1, 16])).into_data();
    (0..2).for_each(|_| drop(forward()));
    let (_, seen) = capture(forward);
    let after = seen.after();
    for (op, times) in [("layer_norm", 7), ("gelu_erf", 3), ("linear", 19), ("softmax", 3)] {
        assert_eq!(after.matches(&format!("= {op}(")).count(), times, "{op} in\n{after}");
    }
}
