//! Sessions: outputs of a run that are inputs of the next.

use bgz_fusion::exec::ExecError;
use bgz_fusion::{DType, Error, Model, Tensor};
use bgz_passes::eval;
use bgz_passes::ir::parse;

/// One head of attention over all tokens so far.
const DECODER: &str = "graph @decoder {
    in  %x : f32[batch, seq, 4]
    in  %past_k : f32[batch, 2, past, 2]
    in  %past_v : f32[batch, 2, past, 2]
    %split = reshape(%x) {shape = [batch, seq, 2, 2]} : f32[batch, seq, 2, 2]
    %new = transpose(%split) {perm = [0, 2, 1, 3]} : f32[batch, 2, seq, 2]
    %k = concat(%past_k, %new) {axis = 2} : f32[batch, 2, past + seq, 2]
    %wave = sin(%new) : f32[batch, 2, seq, 2]
    %v = concat(%past_v, %wave) {axis = 2} : f32[batch, 2, past + seq, 2]
    %y = attention(%new, %k, %v) {d_head = 2, heads = 2, merged = false, scale = 0.7, scores = exact} : f32[batch, 2, seq, 2]
    out %y
    out k = %k
    out v = %v
}";

const STATES: [(&str, &str); 2] = [("k", "past_k"), ("v", "past_v")];

fn tokens(batch: usize, seq: usize, seed: usize) -> Tensor {
    let values: Vec<f32> =
        (0..batch * seq * 4).map(|i| ((i + 31 * seed) * 7919 % 2017) as f32 / 1000.0 - 1.0).collect();
    Tensor::new(&[batch, seq, 4], &values).unwrap()
}

fn oracle(t: &Tensor) -> eval::Tensor {
    eval::Tensor::new(t.dtype(), t.shape().to_vec(), t.scalars()).unwrap()
}

fn near(got: &Tensor, want: &eval::Tensor) {
    assert_eq!(got.ty(), want.ty());
    let difference = eval::compare(&[oracle(got)], std::slice::from_ref(want));
    assert!(difference.max_abs <= 1e-5, "{difference:?}");
}

#[test]
fn a_cache_grows_where_it_lies() {
    let graph = parse(DECODER).unwrap();
    let model = Model::from_graph(graph.clone());
    let mut session = model.session(&STATES).unwrap();
    for round in 0..2 {
        let mut past = [(); 2].map(|_| eval::Tensor::f32s([3, 2, 0, 2], &[]).unwrap());
        assert!(session.state("past_k").unwrap().is_none());
        // A prompt, then token by token beyond the room there is at first, then many at once.
        for (i, seq) in [5, 1, 1].into_iter().chain([1; 70]).chain([150, 1]).enumerate() {
            let x = tokens(3, seq, i + round);
            let [k, v] = past;
            let mut want = eval::run(&graph, &[oracle(&x), k, v]).unwrap();
            let got = session.run(&[("x", x)]).unwrap();
            let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["y"]);
            near(&got[0].1, &want[0]);
            past = [want.remove(1), want.remove(1)];
        }
        near(&session.state("past_k").unwrap().unwrap(), &past[0]);
        near(&session.state("past_v").unwrap().unwrap(), &past[1]);
        session.reset();
    }
}

#[test]
fn only_what_is_new_is_written() {
    let model = Model::from_graph(parse(DECODER).unwrap());
    let mut session = model.session(&STATES).unwrap();
    session.run(&[("x", tokens(1, 3, 0))]).unwrap();
    let kernels: Vec<&str> = session.steps().map(|s| s.kernel).collect();
    assert_eq!(kernels, ["copy", "append", "elementwise", "append", "attention"]);
}

#[test]
fn a_state_can_be_set() {
    let graph = parse(DECODER).unwrap();
    let model = Model::from_graph(graph.clone());
    let mut session = model.session(&STATES).unwrap();
    let past = |seed| Tensor::new(&[1, 2, 3, 2], tokens(1, 3, seed).as_slice::<f32>().unwrap()).unwrap();
    session.set("past_k", past(1)).unwrap();
    session.set("past_v", past(2)).unwrap();
    let want = eval::run(&graph, &[oracle(&tokens(1, 2, 3)), oracle(&past(1)), oracle(&past(2))]).unwrap();
    let got = session.run(&[("x", tokens(1, 2, 3))]).unwrap();
    near(&got[0].1, &want[0]);
    near(&session.state("past_v").unwrap().unwrap(), &want[2]);
}

/// `h' = tanh(h + x)`, and the number of runs.
const RECURRENT: &str = "graph @recurrent {
    const @one : i64[1] = [1]
    in  %x : f32[n]
    in  %h : f32[n]
    in  %count : i64[1]
    %sum = add(%x, %h) : f32[n]
    %next = tanh(%sum) : f32[n]
    %more = add(%count, @one) : i64[1]
    out %next
    out %more
    out y = %sum
}";

#[test]
fn a_state_that_does_not_grow_is_handed_over() {
    let model = Model::from_graph(parse(RECURRENT).unwrap());
    let mut session = model.session(&[("next", "h"), ("more", "count")]).unwrap();
    let x = || Tensor::new(&[2], &[0.5f32, -1.0]).unwrap();
    let missing = session.run(&[("x", x())]);
    assert!(matches!(missing, Err(Error::Exec(ExecError::MissingInput { name, .. })) if name == "h"));
    session.set("h", Tensor::zeros(DType::F32, &[2]).unwrap()).unwrap();
    session.set("count", Tensor::zeros(DType::I64, &[1]).unwrap()).unwrap();
    let mut h = [0f32; 2];
    for _ in 0..3 {
        let y = session.run(&[("x", x())]).unwrap()[0].1.clone();
        let want = [h[0] + 0.5, h[1] - 1.0];
        assert_eq!(y.as_slice::<f32>().unwrap(), want);
        h = want.map(f32::tanh);
    }
    assert_eq!(session.state("count").unwrap().unwrap().as_slice::<i64>().unwrap(), [3]);
}

#[test]
fn names_and_types_are_checked() {
    let model = Model::from_graph(parse(DECODER).unwrap());
    let fails = |states: &[(&str, &str)]| match model.session(states) {
        Err(e) => format!("{e:?}"),
        Ok(_) => panic!("{states:?} are states"),
    };
    assert!(fails(&[("z", "past_k")]).contains("UnknownOutput"));
    assert!(fails(&[("k", "past")]).contains("UnknownInput"));
    assert!(fails(&[("k", "x")]).contains("InputType"));
    assert!(fails(&[("k", "past_k"), ("k", "past_v")]).contains("StateTwice"));
    assert!(fails(&[("k", "past_k"), ("v", "past_k")]).contains("StateTwice"));
    let mut session = model.session(&STATES).unwrap();
    assert!(session.set("past_k", Tensor::zeros(DType::I64, &[1, 2, 3, 2]).unwrap()).is_err());
    assert!(session.set("x", tokens(1, 1, 0)).is_err());
    assert!(session.run(&[("x", tokens(1, 1, 0)), ("past_k", tokens(1, 1, 0))]).is_err());
    // Another batch than that of the state.
    session.run(&[("x", tokens(1, 2, 0))]).unwrap();
    assert!(matches!(session.run(&[("x", tokens(2, 2, 0))]), Err(Error::Exec(ExecError::InputType { .. }))));
}

/// The cache is cut where a count says so, which is known when it runs only.
const COUNTED: &str = "graph @counted {
    in  %x : f32[n]
    in  %past : f32[past]
    %all = concat(%past, %x) {axis = 0} : f32[past + n]
    %at = non_zero(%x) : i64[1, _0]
    %rows = transpose(%at) {perm = [1, 0]} : i64[_0, 1]
    %kept = gather_nd(%x, %rows) {batch_dims = 0} : f32[_0]
    out %kept
    out %all
}";

/// Values say how much is appended.
const CHOSEN: &str = "graph @chosen {
    in  %x : f32[n]
    in  %past : f32[past]
    %at = non_zero(%x) : i64[1, _0]
    %rows = transpose(%at) {perm = [1, 0]} : i64[_0, 1]
    %kept = gather_nd(%x, %rows) {batch_dims = 0} : f32[_0]
    %all = concat(%past, %kept) {axis = 0} : f32[past + _0]
    %sum = reduce_sum(%all) {axes = [0], keep_dims = true} : f32[1]
    out %sum
    out %all
}";

#[test]
fn values_say_how_much_is_appended() {
    let model = Model::from_graph(parse(CHOSEN).unwrap());
    let mut session = model.session(&[("all", "past")]).unwrap();
    let mut want = 0f32;
    for x in [[1f32, 0.0, 2.0], [0.0, 0.0, 3.0], [4.0, 5.0, 6.0]] {
        want += x.iter().sum::<f32>();
        let got = session.run(&[("x", Tensor::new(&[3], &x).unwrap())]).unwrap();
        assert_eq!(got[0].1.as_slice::<f32>().unwrap(), [want]);
    }
    let all = session.state("past").unwrap().unwrap();
    assert_eq!(all.as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

/// Of which shape arithmetic is left, so that passes are run again where there are numbers: a concat with nothing is none.
const ARITHMETIC: &str = "graph @arithmetic {
    in  %x : f32[n]
    in  %past : f32[past]
    %all = concat(%past, %x) {axis = 0} : f32[past + n]
    %extent = shape(%all) {end = 1, start = 0} : i64[1]
    %y = neg(%all) : f32[past + n]
    out %y
    out %extent
    out %all
}";

#[test]
fn passes_that_run_again_lose_no_state() {
    let graph = parse(ARITHMETIC).unwrap();
    let model = Model::from_graph(graph.clone());
    let mut session = model.session(&[("all", "past")]).unwrap();
    let mut past = eval::Tensor::f32s([0], &[]).unwrap();
    let mut extent = 0;
    for n in [2, 0, 1, 3] {
        let x = Tensor::new(&[n], &[1.5f32, 0.5, -2.0][..n]).unwrap();
        extent += n as i64;
        let want = eval::run(&graph, &[oracle(&x), past]).unwrap();
        let got = session.run(&[("x", x)]).unwrap();
        near(&got[0].1, &want[0]);
        assert_eq!(got[1].1.as_slice::<i64>().unwrap(), [extent]);
        past = want[2].clone();
    }
    near(&session.state("past").unwrap().unwrap(), &past);
}

#[test]
fn values_that_say_extents_go_together_with_states() {
    let model = Model::from_graph(parse(COUNTED).unwrap());
    let mut session = model.session(&[("all", "past")]).unwrap();
    for kept in [vec![1f32, 2.0], vec![3.0]] {
        let x: Vec<f32> = kept.iter().copied().chain([0.0]).collect();
        let got = session.run(&[("x", Tensor::new(&[x.len()], &x).unwrap())]).unwrap();
        assert_eq!(got[0].1.as_slice::<f32>().unwrap(), kept);
    }
    assert_eq!(session.state("past").unwrap().unwrap().as_slice::<f32>().unwrap(), [1.0, 2.0, 0.0, 3.0, 0.0]);
}
