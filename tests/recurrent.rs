//! Recurrent layers: imported and planned, compared with the oracle.

#[path = "onnx_build/mod.rs"]
mod onnx_build;

use bgz_fusion::{Graph, Model, Pipeline, Tensor};
use bgz_passes::eval::{self, testing::Rng};
use bgz_passes::ir::DType;
use onnx_build::*;
use proptest::prelude::*;

/// The form of a random layer.
#[derive(Clone, Debug)]
struct Layer {
    op: &'static str,
    gates: usize,
    direction: &'static str,
    layout: i64,
    seq: usize,
    batch: usize,
    width: usize,
    hidden: usize,
    clip: Option<f32>,
    /// Of bias, lengths, initial state, and whether weights are constant.
    has: [bool; 4],
    /// An attribute that only this op has.
    own: bool,
    dtype: DType,
    seed: u64,
}

impl Layer {
    fn directions(&self) -> usize {
        if self.direction == "bidirectional" { 2 } else { 1 }
    }

    /// The model and its inputs.
    fn made(&self) -> (Graph, Vec<Tensor>) {
        let mut rng = Rng::new(self.seed);
        let (d, g, h, b) = (self.directions(), self.gates, self.hidden, self.batch);
        let states = if self.layout == 1 { [b, d, h] } else { [d, b, h] };
        let x = if self.layout == 1 { [b, self.seq, self.width] } else { [self.seq, b, self.width] };
        let operands = [
            ("x", Some(x.to_vec()), false),
            ("w", Some(vec![d, g * h, self.width]), true),
            ("r", Some(vec![d, g * h, h]), true),
            ("b", self.has[0].then(|| vec![d, 2 * g * h]), true),
            ("lens", self.has[1].then(|| vec![b]), false),
            ("h0", self.has[2].then(|| states.to_vec()), false),
            ("c0", (self.gates == 4 && self.has[2]).then(|| states.to_vec()), false),
            ("p", (self.gates == 4 && self.own).then(|| vec![d, 3 * h]), false),
        ];
        let mut inputs = Vec::new();
        let graph = graph(14, |build| {
            let mut names = Vec::new();
            for (name, shape, weight) in &operands {
                let Some(shape) = shape else {
                    names.push("_");
                    continue;
                };
                names.push(name);
                let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
                let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
                if *name == "lens" {
                    build.input(name, I32, &dims);
                    let lens: Vec<i32> = (0..b).map(|_| rng.below(self.seq as i64 + 1) as i32).collect();
                    inputs.push(Tensor::new(shape, &lens).expect("the length fits"));
                    continue;
                }
                // With larger ones a step amplifies the rounding of those before.
                let scale = if *name == "r" { 0.8 / (h as f64).sqrt() } else { 0.5 };
                let values: Vec<f64> = (0..shape.iter().product()).map(|_| rng.normal() * scale).collect();
                let narrow: Vec<f32> = values.iter().map(|&v| v as f32).collect();
                match self.dtype {
                    DType::F64 => {
                        build.input(name, 11, &dims);
                        inputs.push(Tensor::new(shape, &values).expect("the length fits"));
                    }
                    _ if *weight && self.has[3] => {
                        let dims: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
                        build.f32s(name, &dims, &narrow);
                    }
                    _ => {
                        build.input(name, F32, &dims);
                        inputs.push(Tensor::new(shape, &narrow).expect("the length fits"));
                    }
                }
            }
            while names.last() == Some(&"_") {
                names.pop();
            }
            let mut attrs =
                vec![text("direction", self.direction), int("layout", self.layout), int("hidden_size", h as i64)];
            attrs.extend(self.clip.map(|c| float("clip", c)));
            match self.op {
                "GRU" => attrs.push(int("linear_before_reset", self.own.into())),
                "LSTM" => attrs.push(int("input_forget", i64::from(self.has[3] && self.own))),
                _ => {}
            }
            let results: &[&str] = if self.op == "LSTM" { &["y", "y_h", "y_c"] } else { &["y", "y_h"] };
            build.node(self.op, &names.join(" "), &results.join(" "), attrs);
            results.iter().for_each(|r| build.output(r));
        });
        (graph, inputs)
    }

    fn check(&self) {
        let (graph, inputs) = self.made();
        let oracle = |t: &Tensor| eval::Tensor::new(t.dtype(), t.shape().to_vec(), t.scalars()).expect("as many");
        let given: Vec<eval::Tensor> = inputs.iter().map(oracle).collect();
        let want = eval::run(&graph, &given).unwrap_or_else(|e| panic!("oracle: {e}\n{graph}"));
        let mut model = Model::from_graph(graph);
        model.rewrite(&Pipeline::exact()).expect("the pipeline runs");
        let types: Vec<_> = inputs.iter().map(Tensor::ty).collect();
        let plans = [model.plan(&types).expect("a plan"), model.op_by_op(&types).expect("a plan").into()];
        for plan in plans {
            for _ in 0..2 {
                let got = plan.run(&inputs).expect("it runs");
                for (got, want) in got.iter().zip(&want) {
                    assert_eq!(got.shape(), want.shape());
                    let tolerance = if self.dtype == DType::F64 { 1e-12 } else { 2e-5 };
                    for (a, b) in got.to_f64s().iter().zip(want.to_f64s()) {
                        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{a} is not {b}: {self:?}");
                    }
                }
            }
        }
    }
}

fn layer() -> impl Strategy<Value = Layer> {
    let sizes = (0usize..5, 1usize..4, 1usize..6, 1usize..20);
    let clip = prop::option::of(0.1f32..1.0);
    let op = prop::sample::select(OPS);
    let direction = prop::sample::select(&["forward", "reverse", "bidirectional"][..]);
    let dtype = prop::sample::select(&[DType::F32, DType::F64][..]);
    (op, direction, 0i64..2, sizes, clip, any::<([bool; 4], bool)>(), dtype, any::<u64>()).prop_map(
        |((op, gates), direction, layout, (seq, batch, width, hidden), clip, (has, own), dtype, seed)| Layer {
            op,
            gates,
            direction,
            layout,
            seq,
            batch,
            width,
            hidden,
            clip,
            has,
            own,
            dtype,
            seed,
        },
    )
}

/// Ops and how many gates they have.
const OPS: &[(&str, usize)] = &[("RNN", 1), ("GRU", 3), ("LSTM", 4)];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_random_layer_gives_what_the_oracle_gives(layer in layer()) {
        layer.check();
    }
}

/// A layer that is long and wide enough for packed weights and several threads.
#[test]
fn a_large_layer_gives_what_the_oracle_gives() {
    for &(op, gates) in OPS {
        let (direction, layout, dtype) = ("bidirectional", 0, DType::F32);
        let has = [true, false, false, true];
        Layer {
            op,
            gates,
            direction,
            layout,
            seq: 20,
            batch: 3,
            width: 40,
            hidden: 64,
            clip: None,
            has,
            own: false,
            dtype,
            seed: 7,
        }
        .check();
    }
}

#[test]
fn activations_take_their_parameters_in_order() {
    let g = graph(14, |b| {
        b.input("x", F32, &["2", "1", "1"]);
        b.f32s("w", &[2, 1, 1], &[1.0, -2.0]);
        b.f32s("r", &[2, 1, 1], &[0.5, 1.0]);
        let mut functions = text("activations", "");
        functions.type_ = onnx_ir::AttributeType::STRINGS.into();
        functions.s = Default::default();
        functions.strings = vec!["Affine".into(), "LeakyRelu".into()];
        let attrs = vec![
            text("direction", "bidirectional"),
            functions,
            floats("activation_alpha", &[2.0, 0.25]),
            floats("activation_beta", &[1.0]),
        ];
        b.node("RNN", "x w r", "y", attrs);
        b.output("y");
    });
    let attrs = g.nodes().last().expect("a node").1.op.attrs();
    assert_eq!(attrs["activations"].to_string(), "\"affine 2.0 1.0, leakyrelu 0.25\"");
    let x = eval::Tensor::f32s([2, 1, 1], &[1.0, -1.0]).expect("two");
    // Forward: 2 * 1 + 1 = 3, 2 * (-1 + 1.5) + 1 = 2. Backward: 2, and -2 + 2 = 0.
    close(&run(&g, &[x])[0], &[3.0, 0.0, 2.0, 2.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let attempt = |r: &[i64], attrs: Vec<_>| {
        refused(14, |b| {
            b.input("x", F32, &["2", "1", "4"]);
            b.input("w", F32, &["1", "3", "4"]);
            b.f32s("r", r, &vec![0.0; r.iter().product::<i64>() as usize]);
            b.node("RNN", "x w r", "y", attrs);
            b.output("y");
        })
    };
    assert!(attempt(&[1, 3, 2], vec![]).contains("with weights"));
    assert!(attempt(&[1, 3, 3], vec![int("hidden_size", 5)]).contains("hidden_size is 5"));
    assert!(attempt(&[1, 3, 3], vec![text("direction", "up")]).contains("direction is \"up\""));
    assert!(attempt(&[1, 3, 3], vec![text("direction", "bidirectional")]).contains("with weights"));
    assert!(attempt(&[1, 3, 3], vec![int("layout", 2)]).contains("layout is 2"));
}

#[test]
fn a_length_beyond_the_sequence_is_an_error() {
    let g = graph(14, |b| {
        b.input("x", F32, &["2", "1", "1"]);
        b.f32s("w", &[1, 1, 1], &[1.0]);
        b.f32s("r", &[1, 1, 1], &[0.5]);
        b.input("lens", I32, &["1"]);
        b.node("RNN", "x w r _ lens", "y", vec![]);
        b.output("y");
    });
    let model = Model::from_graph(g);
    for length in [3, -1] {
        let inputs = [
            ("x", Tensor::new(&[2, 1, 1], &[1.0f32, 2.0]).expect("two")),
            ("lens", Tensor::new(&[1], &[length]).expect("one")),
        ];
        let Err(bgz_fusion::Error::Exec(e)) = model.run(&inputs) else { panic!("{length} is a length") };
        assert!(e.to_string().contains(&format!("the length {length} of a sequence of 2")), "{e}");
    }
}
