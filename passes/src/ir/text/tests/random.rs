//! Random graphs of every op and attribute, made with the graph's own API.

use crate::eval::testing::Rng;
use crate::ir::{
    ArgReduce, Attention, Attr, Attrs, Binary, Cast, Constant, Control, Cumulative, DType, Dim, Expr, Float, Fold,
    FoldKind, Generate, Graph, Index, IntArg, MaskKind, Movement, Norm, Op, Opaque, Pad, PadMode, Precision, Product,
    Reduce, Scalar, Scores, Slice, Subgraph, TopK, Type, Unary, ValueId, Where,
};

fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.below(from.len() as i64) as usize].clone()
}

fn chance(rng: &mut Rng, percent: i64) -> bool {
    rng.below(100) < percent
}

fn name(rng: &mut Rng) -> String {
    let odd = ["", "a b", "//x", "\"", "\\", "é\n\t", "\u{202e}\u{0}", "in", "true", "%x", "x,y", "'", "1", "-"];
    match rng.below(4) {
        0 => pick(rng, &odd).to_string(),
        1 => format!("/encoder/layer.{}/MatMul_output_0:{}", rng.below(3), rng.below(3)),
        _ => format!("v{}", rng.below(1000)),
    }
}

fn float(rng: &mut Rng) -> f32 {
    match rng.below(4) {
        0 => pick(rng, &[0.0, -0.0, 1.0, -1.0, 1e-12, 1e16, 0.176_776_69, f32::MAX, f32::MIN_POSITIVE, 1e-45]),
        1 => pick(rng, &[f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7fc0_0000)]),
        2 => rng.normal() as f32,
        _ => {
            let x = f32::from_bits(rng.bits() as u32);
            // A payload is not shown.
            if x.is_nan() { f32::from_bits(0x7fc0_0000) } else { x }
        }
    }
}

fn scalar(rng: &mut Rng, dtype: DType) -> Scalar {
    match dtype {
        DType::F64 if chance(rng, 50) => Scalar::from_f64(dtype, rng.normal() * 1e-300),
        d if d.is_float() => Scalar::from_f64(d, float(rng).into()),
        d => Scalar::from_i64(d, if chance(rng, 30) { rng.bits() as i64 } else { rng.below(5) - 2 }),
    }
}

fn dtype(rng: &mut Rng) -> DType {
    pick(rng, &DType::ALL)
}

fn symbol(rng: &mut Rng) -> Dim {
    let names = ["batch", "seq", "n", "_3", "batch size", "", "inf", "true", "2x", "a'b", "x*y", "f32", "e1", "nan"];
    Dim::sym(pick(rng, &names))
}

fn dim(rng: &mut Rng) -> Dim {
    match rng.below(6) {
        0 => symbol(rng),
        1 => &(&symbol(rng) * &Dim::int(rng.below(5))) + &Dim::int(rng.below(3)),
        2 => &(&symbol(rng) * &symbol(rng)) - &symbol(rng),
        _ => Dim::int(rng.below(4) + 1),
    }
}

/// Any integers an attribute can hold.
fn int_dims(rng: &mut Rng, n: usize) -> Vec<Dim> {
    (0..n)
        .map(|_| match rng.below(5) {
            0 => pick(rng, &[i64::MIN, i64::MAX, -1, 0]).into(),
            1 => -&symbol(rng),
            _ => dim(rng),
        })
        .collect()
}

fn ty(rng: &mut Rng) -> Type {
    let dtype = if chance(rng, 50) { DType::F32 } else { dtype(rng) };
    let rank = rng.below(5) as usize;
    Type { dtype, shape: (0..rank).map(|_| dim(rng)).collect() }
}

pub(super) fn random_expr(rng: &mut Rng, depth: usize) -> Expr {
    let leaf = depth == 0 || chance(rng, 20);
    let sub = |rng: &mut Rng| Box::new(random_expr(rng, depth.saturating_sub(1)));
    match rng.below(if leaf { 2 } else { 6 }) {
        0 => Expr::Input(rng.below(26) as usize),
        1 => {
            let d = dtype(rng);
            Expr::Literal(scalar(rng, d))
        }
        2 => Expr::Unary(pick(rng, Unary::ALL), sub(rng)),
        3 => Expr::Where(sub(rng), sub(rng), sub(rng)),
        4 => Expr::Cast(dtype(rng), sub(rng)),
        _ => Expr::Binary(pick(rng, Binary::ALL), sub(rng), sub(rng)),
    }
}

fn attr(rng: &mut Rng) -> Attr {
    let n = rng.below(4) as usize;
    match rng.below(7) {
        0 => Attr::Bool(chance(rng, 50)),
        1 => Attr::Dim(int_dims(rng, 1).remove(0)),
        2 => Attr::Dims(int_dims(rng, n)),
        3 => Attr::Float(Float(float(rng))),
        4 => Attr::Floats((0..n).map(|_| Float(float(rng))).collect()),
        5 => Attr::Str(name(rng)),
        _ => Attr::Call(name(rng), name(rng)),
    }
}

fn arg(rng: &mut Rng, n: usize) -> IntArg {
    if chance(rng, 40) { IntArg::Operand } else { IntArg::Known(int_dims(rng, n)) }
}

/// An op that may fit an operand of `x`, and how many operands it is given.
fn op(rng: &mut Rng, x: &Type) -> Op {
    let rank = x.rank();
    let axis = rng.below(rank as i64) as usize;
    let coin = chance(rng, 50);
    let shape = |rng: &mut Rng| {
        let n = rng.below(4) as usize;
        let known = (0..n).map(|_| dim(rng)).collect();
        if chance(rng, 30) { IntArg::Operand } else { IntArg::Known(known) }
    };
    let axes: Vec<usize> = (0..rank).filter(|_| chance(rng, 50)).collect();
    match rng.below(34) {
        0 => Op::Unary(pick(rng, Unary::ALL)),
        1 => Op::Binary(pick(rng, Binary::ALL)),
        2 => Op::Where(Where),
        3 => Op::Cast(Cast(dtype(rng))),
        4 => Op::Fused(Expr::Binary(
            pick(rng, Binary::ALL),
            Box::new(Expr::Input(0)),
            Box::new(Expr::Literal(scalar(rng, x.dtype))),
        )),
        5 => Op::Product(Product::MatMul),
        6 => Op::Product(Product::Linear { trans_w: coin, precision: pick(rng, &Precision::ALL) }),
        7 => {
            let fill = Float(float(rng));
            Op::Attention(Attention {
                heads: pick(rng, &[1, 2, 4]),
                kv_heads: pick(rng, &[1, 2]),
                d_head: pick(rng, &[1, 2, 4]),
                scale: Float(float(rng)),
                merged: coin,
                mask: pick(
                    rng,
                    &[MaskKind::None, MaskKind::Additive, MaskKind::Keep { fill }, MaskKind::Drop { fill }],
                ),
                causal: chance(rng, 50),
                zero_hidden: chance(rng, 50),
                scores: match rng.below(3) {
                    0 => Scores::Exact,
                    1 => Scores::Int8,
                    _ => Scores::Table(name(rng)),
                },
            })
        }
        8 => Op::Norm(Norm::Softmax { axis }),
        9 => Op::Norm(Norm::LogSoftmax { axis }),
        10 => Op::Norm(Norm::LayerNorm { eps: Float(float(rng)) }),
        11 => Op::Norm(Norm::RmsNorm { eps: Float(float(rng)) }),
        12 => Op::Reduce(Reduce::Fold(Fold { kind: pick(rng, &FoldKind::ALL), axes, keep_dims: coin })),
        13 => Op::Reduce(Reduce::Arg(ArgReduce { max: coin, axis, keep_dims: chance(rng, 50), last: chance(rng, 50) })),
        14 => Op::Reduce(Reduce::Cumulative(Cumulative {
            product: chance(rng, 50),
            axis,
            exclusive: coin,
            reverse: chance(rng, 50),
        })),
        15 => Op::Reduce(Reduce::TopK(TopK {
            axis,
            largest: coin,
            k: if coin { IntArg::Operand } else { IntArg::Known(vec![dim(rng)]) },
        })),
        16 => Op::Movement(Movement::Reshape { shape: shape(rng), zero_copies: coin }),
        17 => {
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.rotate_left(axis);
            Op::Movement(Movement::Transpose { perm })
        }
        18 => Op::Movement(Movement::Expand { shape: shape(rng) }),
        19 => {
            let n = axes.len();
            let steps = match rng.below(3) {
                0 => IntArg::Operand,
                1 => IntArg::Known(vec![1.into(); n]),
                _ => IntArg::Known(vec![pick(rng, &[-1, 1, 2]).into(); n]),
            };
            Op::Movement(Movement::Slice(Slice { axes, starts: arg(rng, n), ends: arg(rng, n), steps }))
        }
        20 => Op::Movement(Movement::Concat { axis }),
        21 => {
            let mode = pick(rng, &[PadMode::Constant, PadMode::Reflect, PadMode::Edge]);
            let known = (0..2 * rank).map(|_| dim(rng)).collect();
            Op::Movement(Movement::Pad(Pad { pads: if coin { IntArg::Operand } else { IntArg::Known(known) }, mode }))
        }
        22 => {
            let known = (0..rank).map(|_| dim(rng)).collect();
            Op::Movement(Movement::Tile { repeats: if coin { IntArg::Operand } else { IntArg::Known(known) } })
        }
        23 => Op::Index(Index::Gather { axis }),
        24 => Op::Index(Index::GatherElements { axis }),
        25 => Op::Index(Index::GatherNd { batch_dims: rng.below(2) as usize }),
        26 => pick(rng, &[Op::Index(Index::ScatterNd), Op::Index(Index::ScatterElements { axis })]),
        27 => Op::Generate(Generate::Shape { start: axis, end: rank }),
        28 => Op::Generate(Generate::Dims { values: int_dims(rng, 1), scalar: coin }),
        29 => Op::Generate(Generate::Full { shape: shape(rng) }),
        30 => pick(rng, &[Op::Generate(Generate::Range), Op::Index(Index::NonZero)]),
        31 => Op::Generate(Generate::OneHot { axis }),
        32 => pick(rng, &[Op::Movement(Movement::Trilu { upper: coin }), Op::Movement(Movement::Bits(DType::I32))]),
        _ => {
            let n = rng.below(4);
            Op::Opaque(Opaque { name: name(rng), attrs: (0..n).map(|_| (name(rng), attr(rng))).collect::<Attrs>() })
        }
    }
}

/// Adds an op that carries two graphs, of some ops each and perhaps of such an op again.
fn branch(rng: &mut Rng, g: &mut Graph, values: &mut Vec<ValueId>, depth: usize) {
    let n = name(rng);
    let condition = g.add_const(&n, Constant::scalar(Scalar::bool(chance(rng, 50))));
    let operands: Vec<ValueId> = (0..1 + rng.below(2)).map(|_| pick(rng, values)).collect();
    let graph = |rng: &mut Rng| {
        let mut inner = Graph::new(name(rng));
        let mut own = Vec::new();
        for &v in &operands {
            let n = inner.free_name(&name(rng));
            own.extend(inner.add_input(&n, g.ty(v).clone()));
        }
        let n = name(rng);
        let wide = inner.add(&n, Op::Cast(Cast(DType::F32)), &[own[0]]).expect("any tensor can be cast");
        own.push(wide);
        for _ in 0..rng.below(4) {
            let v = pick(rng, &own);
            let (n, op) = (name(rng), op(rng, inner.ty(v)));
            if op.outputs() == 1 && op.arity().0 == 1 && !matches!(op, Op::Opaque(_)) {
                own.extend(inner.add(&n, op, &[v]));
            }
        }
        if depth > 0 && chance(rng, 40) {
            branch(rng, &mut inner, &mut own, depth - 1);
        }
        inner.add_output("r", wide).expect("the only one");
        Subgraph::new(inner)
    };
    let (then_branch, else_branch) = (graph(rng), graph(rng));
    let n = name(rng);
    let inputs: Vec<ValueId> = std::iter::once(condition).chain(operands.iter().copied()).collect();
    values.extend(g.add(&n, Op::Control(Control::If { then_branch, else_branch }), &inputs));
}

/// A graph of so many nodes; ops that do not fit their operands are left out.
pub(crate) fn random_graph(rng: &mut Rng, nodes: usize) -> Graph {
    let mut g = Graph::new(name(rng));
    let mut values: Vec<ValueId> = Vec::new();
    for _ in 0..1 + rng.below(3) {
        let (n, t) = (name(rng), ty(rng));
        values.extend(g.add_input(&n, t));
    }
    // Shapes that something fits: q, k, v, weights, scalars, indices.
    for t in [
        Type::new(DType::F32, ["batch", "seq"].map(Dim::sym).into_iter().chain([Dim::int(4)])),
        Type::new(DType::F32, [4, 4]),
        Type::new(DType::F32, [4]),
        Type::new(DType::I64, [2, 2]),
        Type::new(DType::Bool, ["seq"]),
    ] {
        let n = name(rng);
        values.extend(g.add_input(&n, t));
    }
    for _ in 0..rng.below(5) {
        let d = dtype(rng);
        let shape = pick(rng, &[vec![], vec![0], vec![1], vec![3], vec![2, 2], vec![9], vec![2, 5]]);
        let len = shape.iter().product();
        let data: Vec<_> = (0..len).map(|_| scalar(rng, d)).collect();
        let n = name(rng);
        values.extend(Constant::from_scalars(d, shape, data).map(|c| g.add_const(&n, c)));
    }
    for ints in [vec![], vec![2], vec![1, -1], vec![0, 3, 2]] {
        let n = name(rng);
        values.push(g.add_const(&n, Constant::i64s(&ints)));
    }
    let mut left_out = 0;
    while g.len() < nodes && left_out < 100 {
        if chance(rng, 5) {
            branch(rng, &mut g, &mut values, 2);
            continue;
        }
        let first = pick(rng, &values);
        let op = op(rng, g.ty(first));
        let (least, most) = op.arity();
        let n = least + rng.below((most.min(least + 2) - least + 1) as i64) as usize;
        let operands: Vec<_> = (0..n)
            .map(|i| {
                // Queries, keys and values, or the ends of a range, are seldom met by chance.
                let same = i < 3 && matches!(op, Op::Attention(_) | Op::Generate(Generate::Range));
                if i == 0 || same { first } else { pick(rng, &values) }
            })
            .collect();
        let count = if matches!(op, Op::Opaque(_)) { 1 + rng.below(2) as usize } else { op.outputs() };
        let names: Vec<_> = (0..count).map(|_| name(rng)).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let types: Vec<_> = (0..count).map(|_| ty(rng)).collect();
        let declared = matches!(op, Op::Opaque(_)).then_some(types.as_slice());
        match g.add_node(op, &operands, &names, declared) {
            Ok(made) => values.extend(made),
            Err(_) => left_out += 1,
        }
    }
    for _ in 0..1 + rng.below(4) {
        let v = pick(rng, &values);
        let n = if chance(rng, 50) { g.name(v).to_string() } else { name(rng) };
        let _ = g.add_output(&n, v);
    }
    g
}

/// The generator is of use only if nearly every op gets into a graph.
#[test]
fn every_op_is_tried() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..3000 {
        for (_, n) in random_graph(&mut Rng::new(seed), 8).nodes() {
            let m = n.op.mnemonic();
            seen.insert(m.split_once('.').map_or(m.as_str(), |p| p.0).to_string());
        }
    }
    let fixed = [
        "where",
        "cast",
        "fused",
        "matmul",
        "linear",
        "attention",
        "softmax",
        "log_softmax",
        "layer_norm",
        "rms_norm",
        "reduce_mean",
        "arg_max",
        "arg_min",
        "cum_sum",
        "cum_prod",
        "top_k",
        "reshape",
        "transpose",
        "expand",
        "slice",
        "concat",
        "pad",
        "tile",
        "gather",
        "gather_elements",
        "gather_nd",
        "scatter_nd",
        "scatter_elements",
        "shape",
        "dims",
        "full",
        "range",
        "one_hot",
        "trilu",
        "bits",
        "non_zero",
        "if",
        "opaque",
    ];
    let functions = Unary::ALL.iter().map(|f| f.name()).chain(Binary::ALL.iter().map(|f| f.name()));
    let missing: Vec<_> = fixed.into_iter().chain(functions).filter(|m| !seen.contains(*m)).collect();
    assert!(missing.is_empty(), "never in a graph: {missing:?}");
}
