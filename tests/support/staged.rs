//! Runs of graphs in stages, against the oracle.

use bgz_fusion::{Graph, Model, Pipeline, Tensor};
use bgz_passes::eval;

pub fn oracle(t: &Tensor) -> eval::Tensor {
    eval::Tensor::new(t.dtype(), t.shape().to_vec(), t.scalars()).expect("as many elements as the shape says")
}

/// Runs a graph as it is and rewritten, in stages and op by op, on each of some inputs.
#[track_caller]
pub fn check(graph: &Graph, runs: &[Vec<Tensor>]) {
    let mut rewritten = graph.clone();
    Pipeline::exact().run(&mut rewritten).expect("the pipeline runs");
    for graph in [graph, &rewritten] {
        let model = Model::from_graph(graph.clone());
        let by_ops = model.stages_op_by_op().expect("its halves can be widened");
        for inputs in runs.iter().chain(runs) {
            let given: Vec<eval::Tensor> = inputs.iter().map(oracle).collect();
            let want = eval::run(graph, &given).unwrap_or_else(|e| panic!("oracle: {e}\n{graph}"));
            let names: Vec<&str> = graph.inputs().iter().map(|&v| graph.name(v)).collect();
            let named: Vec<(&str, Tensor)> = names.into_iter().zip(inputs.iter().cloned()).collect();
            let got = model.run(&named).unwrap_or_else(|e| panic!("{e}\n{graph}"));
            let got: Vec<Tensor> = got.into_iter().map(|(_, t)| t).collect();
            for got in [got, by_ops.run(inputs).expect("it runs op by op")] {
                for (got, want) in got.iter().zip(&want) {
                    assert_eq!(oracle(got), *want, "{graph}");
                }
            }
        }
    }
}
