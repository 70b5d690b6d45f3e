use super::*;
use bgz_passes::ir::{
    ArgReduce, Attention, Cumulative, Dim, Float, FoldKind, IntArg, MaskKind, Pad, PadMode, Precision, Reduce, Scores,
    Slice, TopK,
};

fn ints(v: &[i64]) -> IntArg {
    IntArg::Known(v.iter().map(|&i| Dim::int(i)).collect())
}

both!(products);
fn products<B: Backend>() {
    for (a, b) in [
        (&[2, 3][..], &[3, 4][..]),
        (&[5, 2, 3], &[3, 4]),
        (&[2, 3], &[5, 3, 4]),
        (&[5, 1, 2, 3], &[2, 3, 4]),
        (&[3], &[3]),
        (&[3], &[3, 4]),
        (&[2, 3], &[3]),
        (&[5, 2, 3], &[3]),
        (&[3], &[5, 3, 4]),
        (&[2, 0], &[0, 3]),
        (&[0, 2], &[2, 3]),
    ] {
        for dtype in FLOATS.into_iter().chain(INTS) {
            check::<B>(Op::Product(Product::MatMul), &[random(dtype, a, 1), random(dtype, b, 2)]);
        }
    }
    for x in [&[2, 3][..], &[4, 2, 3], &[3], &[2, 0], &[1, 2, 1, 3]] {
        let k = *x.last().unwrap();
        for trans_w in [false, true] {
            for dtype in [DType::F32, DType::F64, DType::I32, DType::F16] {
                let w = if trans_w { [5, k] } else { [k, 5] };
                let (x, w, b) = (random(dtype, x, 1), random(dtype, &w, 2), random(dtype, &[5], 3));
                let linear = || Op::Product(Product::Linear { trans_w, precision: Precision::Exact });
                check::<B>(linear(), &[x.clone(), w.clone(), b]);
                check::<B>(linear(), &[x, w]);
            }
        }
    }
}

both!(attentions);
fn attentions<B: Backend>() {
    let attention = |heads, kv_heads, merged, mask, causal| {
        let (scale, scores, zero_hidden) = (Float(0.5), Scores::Exact, false);
        Op::Attention(Attention { heads, kv_heads, d_head: 3, scale, merged, mask, causal, zero_hidden, scores })
    };
    let f = |shape: &[usize], seed| random(DType::F32, shape, seed);
    for merged in [false, true] {
        let none = MaskKind::None;
        let (q, k, v) = (f(&[2, 4, 12], 1), f(&[2, 5, 12], 2), f(&[2, 5, 8], 3));
        check::<B>(attention(4, 4, merged, none, false), &[q.clone(), k.clone(), v.clone()]);
        check::<B>(attention(4, 4, merged, none, true), &[q.clone(), k.clone(), v.clone()]);
        let (ks, vs) = (f(&[2, 4, 5, 3], 4), f(&[2, 4, 5, 2], 5));
        check::<B>(attention(4, 4, merged, none, false), &[f(&[2, 4, 4, 3], 6), ks, vs]);
        // Two query heads a key head, one batch of keys for two of queries.
        check::<B>(attention(4, 2, merged, none, false), &[q.clone(), f(&[1, 5, 6], 7), f(&[1, 2, 5, 3], 8)]);
        for mask in [&[4, 5][..], &[2, 1, 1, 5], &[5], &[4, 1, 5], &[2, 4, 4, 5]] {
            let additive = MaskKind::Additive;
            check::<B>(attention(4, 4, merged, additive, false), &[q.clone(), k.clone(), v.clone(), f(mask, 9)]);
            let b = random(DType::Bool, mask, 10);
            for kind in [MaskKind::Keep { fill: Float(-10000.0) }, MaskKind::Drop { fill: Float(-3.5) }] {
                check::<B>(attention(4, 4, merged, kind, false), &[q.clone(), k.clone(), v.clone(), b.clone()]);
            }
        }
    }
}

both!(queries_that_see_no_key);
fn queries_that_see_no_key<B: Backend>() {
    let inf = f32::INFINITY;
    let fill = Float(-inf);
    for dtype in FLOATS {
        let f = |shape: &[usize], seed| random(dtype, shape, seed);
        for (zero_hidden, merged) in [(false, true), (true, true), (true, false)] {
            let attention = |mask, causal| {
                let (scale, scores, heads) = (Float(0.5), Scores::Exact, 2);
                let a = Attention { heads, kv_heads: 2, d_head: 3, scale, merged, mask, causal, zero_hidden, scores };
                Op::Attention(a)
            };
            let qkv = |q: usize| [f(&[1, q, 6], 1), f(&[1, 3, 6], 2), f(&[1, 3, 4], 3)];
            let with = |q: usize, mask: Tensor| qkv(q).into_iter().chain([mask]).collect::<Vec<_>>();
            let added = [-inf, -inf, -inf, 0.0, -inf, 1.0];
            let added = Tensor::new(dtype, vec![2, 3], added.map(Scalar::f32)).unwrap();
            let seen = Tensor::bools([2, 3], &[false, false, false, true, false, true]).unwrap();
            check::<B>(attention(MaskKind::Additive, false), &with(2, added.clone()));
            check::<B>(attention(MaskKind::Additive, true), &with(2, added.clone()));
            check::<B>(attention(MaskKind::Keep { fill }, false), &with(2, seen.clone()));
            check::<B>(attention(MaskKind::Drop { fill }, false), &with(2, seen));
            check::<B>(attention(MaskKind::None, true), &qkv(5));
            // A query that is NaN does not show through a mask that hides everything from it.
            let nan = Tensor::f64s(dtype, [1, 2, 6], &[f64::NAN; 12]).unwrap();
            let [_, k, v] = qkv(2);
            check::<B>(attention(MaskKind::Additive, false), &[nan, k, v, added]);
        }
    }
}

both!(a_large_mean_takes_nothing_from_a_norm);
fn a_large_mean_takes_nothing_from_a_norm<B: Backend>() {
    for (dtype, mean, tolerance) in
        [(DType::F32, 1e4, 2e-3), (DType::F32, -3e6, 0.3), (DType::F64, 1e8, 1e-6), (DType::F16, 300.0, 0.01)]
    {
        let x: Vec<f64> = random(DType::F64, &[4, 64], 5).to_f64s().iter().map(|v| v + mean).collect();
        let x = Tensor::f64s(dtype, [4, 64], &x).unwrap();
        let (s, b) = (random(dtype, &[64], 2), random(dtype, &[64], 3));
        check_to::<B>(&Op::layer_norm(1e-5), std::slice::from_ref(&x), tolerance);
        check_to::<B>(&Op::layer_norm(1e-5), &[x, s, b], 2.0 * tolerance);
    }
    // Squares beyond f16, and rows of one number.
    let far = Tensor::f64s(DType::F16, [2, 4], &[800.0, -3.0, 1.0, 500.0, 6e4, 6e4, 6e4, 6e4]).unwrap();
    check_to::<B>(&Op::layer_norm(1e-5), std::slice::from_ref(&far), 4e-3);
    check_to::<B>(&Op::rms_norm(1e-5), std::slice::from_ref(&far), 4e-3);
}

both!(normalisations);
fn normalisations<B: Backend>() {
    for dtype in FLOATS {
        let x = random(dtype, &[2, 3, 8], 1);
        for axis in 0..3 {
            check::<B>(Op::Norm(Norm::Softmax { axis }), std::slice::from_ref(&x));
            check::<B>(Op::Norm(Norm::LogSoftmax { axis }), std::slice::from_ref(&x));
        }
        let (s, b) = (random(dtype, &[8], 2), random(dtype, &[8], 3));
        let t = if dtype == DType::BF16 {
            6e-2
        } else if dtype == DType::F16 {
            8e-3
        } else {
            4e-6
        };
        check_to::<B>(&Op::layer_norm(1e-5), std::slice::from_ref(&x), t);
        check_to::<B>(&Op::layer_norm(1e-5), &[x.clone(), s.clone()], t);
        check_to::<B>(&Op::layer_norm(1e-5), &[x.clone(), s.clone(), b], t);
        check_to::<B>(&Op::rms_norm(1e-5), std::slice::from_ref(&x), t);
        check_to::<B>(&Op::rms_norm(1e-5), &[x, s], t);
    }
    check::<B>(Op::layer_norm(1e-5), &[random(DType::F32, &[8], 1)]);
    check::<B>(Op::Norm(Norm::Softmax { axis: 0 }), &[random(DType::F32, &[1], 1)]);
}

both!(reductions);
fn reductions<B: Backend>() {
    for dtype in FLOATS.into_iter().chain(INTS) {
        let x = random(dtype, &[2, 3, 4], 1);
        for kind in FoldKind::ALL {
            for axes in [&[][..], &[0], &[1], &[2], &[0, 2], &[0, 1, 2]] {
                for keep_dims in [false, true] {
                    let op = Op::Reduce(Reduce::Fold(Fold { kind, axes: axes.to_vec(), keep_dims }));
                    check::<B>(op, std::slice::from_ref(&x));
                }
            }
        }
        for axis in 0..3 {
            for (max, last, keep_dims) in
                [(true, false, false), (true, true, true), (false, false, true), (false, true, false)]
            {
                let op = Op::Reduce(Reduce::Arg(ArgReduce { max, axis, keep_dims, last }));
                check::<B>(op, std::slice::from_ref(&x));
            }
            for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
                check::<B>(
                    Op::Reduce(Reduce::Cumulative(Cumulative { axis, exclusive, reverse })),
                    std::slice::from_ref(&x),
                );
            }
        }
    }
    let empty = random(DType::F32, &[2, 0], 1);
    for kind in FoldKind::ALL {
        check::<B>(
            Op::Reduce(Reduce::Fold(Fold { kind, axes: vec![1], keep_dims: false })),
            std::slice::from_ref(&empty),
        );
    }
    check::<B>(
        Op::Reduce(Reduce::Arg(ArgReduce { max: true, axis: 1, keep_dims: false, last: false })),
        &[random(DType::Bool, &[3, 4], 1)],
    );
    let one = random(DType::F32, &[3, 1], 1);
    check::<B>(Op::Reduce(Reduce::Cumulative(Cumulative { axis: 1, exclusive: true, reverse: false })), &[one]);
}

both!(top_entries);
fn top_entries<B: Backend>() {
    for dtype in FLOATS.into_iter().chain(INTS) {
        for axis in 0..3 {
            for largest in [false, true] {
                let op = Op::Reduce(Reduce::TopK(TopK { axis, largest, k: ints(&[2]) }));
                check::<B>(op, &[random(dtype, &[2, 3, 4], 1)]);
            }
        }
    }
    let ties = f32s(&[6], &[1.0, 3.0, 3.0, f32::NAN, 1.0, 3.0]);
    for largest in [false, true] {
        check::<B>(Op::Reduce(Reduce::TopK(TopK { axis: 0, largest, k: ints(&[5]) })), std::slice::from_ref(&ties));
    }
    check::<B>(
        Op::Reduce(Reduce::TopK(TopK { axis: 0, largest: true, k: IntArg::Operand })),
        &[ties, i64s(&[1], &[3])],
    );
}

both!(movements);
fn movements<B: Backend>() {
    for dtype in DType::ALL {
        let x = random(dtype, &[2, 3, 4], 1);
        let of = std::slice::from_ref(&x);
        check::<B>(Op::reshape([6, 4]), of);
        check::<B>(Op::reshape([2, 3, 2, 2]), of);
        check::<B>(
            Op::Movement(Movement::Reshape { shape: IntArg::Operand, zero_copies: true }),
            &[x.clone(), i64s(&[2], &[0, -1])],
        );
        for perm in [[0, 1, 2], [2, 0, 1], [1, 0, 2], [2, 1, 0]] {
            check::<B>(Op::Movement(Movement::Transpose { perm: perm.to_vec() }), of);
        }
        check::<B>(Op::Movement(Movement::Expand { shape: ints(&[5, 2, 3, 4]) }), of);
        check::<B>(Op::Movement(Movement::Expand { shape: ints(&[3, 1, 4]) }), &[random(dtype, &[1, 2, 1], 2)]);
        check::<B>(
            Op::Movement(Movement::Expand { shape: IntArg::Operand }),
            &[random(dtype, &[], 2), i64s(&[2], &[2, 3])],
        );
        check::<B>(Op::Movement(Movement::Expand { shape: ints(&[2, 0]) }), &[random(dtype, &[1], 2)]);
        for axis in 0..3 {
            let parts = [x.clone(), x.clone(), random(dtype, &[2, 3, 4], 4)];
            check::<B>(Op::Movement(Movement::Concat { axis }), &parts);
            check::<B>(Op::Movement(Movement::Concat { axis }), of);
        }
        check::<B>(Op::Movement(Movement::Concat { axis: 0 }), &[random(dtype, &[0, 4], 1), random(dtype, &[2, 4], 2)]);
        check::<B>(Op::Movement(Movement::Tile { repeats: ints(&[2, 1, 3]) }), of);
        check::<B>(Op::Movement(Movement::Tile { repeats: ints(&[2, 0, 3]) }), of);
        check::<B>(Op::Generate(Generate::Shape { start: 1, end: 3 }), of);
        check::<B>(Op::Generate(Generate::Shape { start: 1, end: 1 }), of);
        check::<B>(Op::Generate(Generate::Full { shape: ints(&[2, 3]) }), &[random(dtype, &[1], 3)]);
        check::<B>(Op::Generate(Generate::Full { shape: ints(&[]) }), &[random(dtype, &[1, 1], 3)]);
        check::<B>(Op::Generate(Generate::Full { shape: ints(&[0, 3]) }), &[random(dtype, &[], 3)]);
    }
    check::<B>(Op::reshape::<usize>([]), &[random(DType::F32, &[1, 1], 1)]);
    check::<B>(Op::reshape([1, 1, 1]), &[random(DType::F32, &[], 1)]);
    check::<B>(Op::Movement(Movement::Transpose { perm: vec![] }), &[random(DType::F32, &[], 1)]);
    check::<B>(Op::Generate(Generate::Shape { start: 0, end: 0 }), &[random(DType::F32, &[], 1)]);
    check::<B>(Op::Generate(Generate::Dims { values: vec![Dim::int(3), Dim::int(-1)], scalar: false }), &[]);
    check::<B>(Op::Generate(Generate::Dims { values: vec![Dim::int(7)], scalar: true }), &[]);
    check::<B>(Op::Generate(Generate::Dims { values: vec![], scalar: false }), &[]);
}

both!(slices);
fn slices<B: Backend>() {
    let x = random(DType::F32, &[3, 7, 4], 1);
    let (low, high) = (i64::MIN, i64::MAX);
    for (start, end, step) in [
        (0, 7, 1),
        (1, 6, 2),
        (-3, high, 1),
        (6, low, -1),
        (-1, low, -1),
        (5, 1, -2),
        (6, 0, -3),
        (100, -100, -1),
        (2, 2, 1),
        (4, 2, 1),
        (-100, 3, 1),
        (0, high, 100),
        (5, low, low + 1),
        (0, 7, high),
        (6, 5, -1),
    ] {
        let cut = |axes: &[usize], s: &[i64], e: &[i64], t: &[i64]| {
            Op::Movement(Movement::Slice(Slice { axes: axes.to_vec(), starts: ints(s), ends: ints(e), steps: ints(t) }))
        };
        check::<B>(cut(&[1], &[start], &[end], &[step]), std::slice::from_ref(&x));
        check::<B>(cut(&[0, 1], &[2, start], &[low, end], &[-1, step]), std::slice::from_ref(&x));
        for dtype in DType::ALL {
            check::<B>(cut(&[1], &[start], &[end], &[step]), &[random(dtype, &[3, 7, 4], 1)]);
        }
    }
    let op = Op::Movement(Movement::Slice(Slice {
        axes: vec![0],
        starts: IntArg::Operand,
        ends: IntArg::Operand,
        steps: ints(&[1]),
    }));
    check::<B>(op, &[x, i64s(&[1], &[1]), i64s(&[1], &[3])]);
}

both!(pads);
fn pads<B: Backend>() {
    for dtype in DType::ALL {
        let x = random(dtype, &[3, 4], 1);
        let pad = |v: &[i64], mode| Op::Movement(Movement::Pad(Pad { pads: ints(v), mode }));
        for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge] {
            for v in [[0, 0, 0, 0], [1, 0, 0, 2], [2, 1, 2, 3]] {
                check::<B>(pad(&v, mode), std::slice::from_ref(&x));
            }
        }
        for v in [[-1, 0, 0, -2], [-1, 2, 1, -1]] {
            check::<B>(pad(&v, PadMode::Constant), std::slice::from_ref(&x));
        }
        check::<B>(pad(&[1, 0, 0, 2], PadMode::Constant), &[x.clone(), random(dtype, &[], 5)]);
        check::<B>(pad(&[0, 1, 0, 1], PadMode::Constant), &[random(dtype, &[2, 0], 1)]);
    }
}

both!(gathers);
fn gathers<B: Backend>() {
    for dtype in DType::ALL {
        let x = random(dtype, &[3, 4, 5], 1);
        for axis in 0..3 {
            for index in [DType::I64, DType::I32] {
                let indices = |shape: &[usize], v: &[f64]| Tensor::f64s(index, shape, v).unwrap();
                check::<B>(Op::Index(Index::Gather { axis }), &[x.clone(), indices(&[2, 2], &[0.0, 2.0, -1.0, 1.0])]);
                check::<B>(Op::Index(Index::Gather { axis }), &[x.clone(), indices(&[], &[-2.0])]);
                check::<B>(Op::Index(Index::Gather { axis }), &[x.clone(), indices(&[0], &[])]);
            }
            let by = i64s(&[2, 3, 2], &[0, 1, 2, -1, -2, -3, 0, 1, 2, 1, 1, 1]);
            check::<B>(Op::Index(Index::GatherElements { axis }), &[x.clone(), by.clone()]);
            let updates = random(dtype, &[2, 3, 2], 2);
            check::<B>(Op::Index(Index::ScatterElements { axis }), &[x.clone(), by, updates]);
        }
        let nd = |shape: &[usize], v: &[i64]| i64s(shape, v);
        check::<B>(Op::Index(Index::GatherNd { batch_dims: 0 }), &[x.clone(), nd(&[2, 3], &[0, 1, 2, -1, -1, -1])]);
        check::<B>(Op::Index(Index::GatherNd { batch_dims: 0 }), &[x.clone(), nd(&[2, 2, 1], &[0, 2, 1, -1])]);
        check::<B>(Op::Index(Index::GatherNd { batch_dims: 1 }), &[x.clone(), nd(&[3, 2], &[0, 1, 3, -1, 2, 2])]);
        check::<B>(Op::Index(Index::GatherNd { batch_dims: 1 }), &[x.clone(), nd(&[3, 2, 1], &[0, 1, 2, 3, -1, -2])]);
        check::<B>(Op::Index(Index::ScatterNd), &[x.clone(), nd(&[2, 2], &[0, 1, -1, 2]), random(dtype, &[2, 5], 3)]);
        check::<B>(Op::Index(Index::ScatterNd), &[x.clone(), nd(&[3, 1], &[1, 1, 0]), random(dtype, &[3, 4, 5], 3)]);
        check::<B>(Op::Index(Index::ScatterNd), &[x.clone(), nd(&[0, 1], &[]), random(dtype, &[0, 4, 5], 3)]);
        let vector = random(dtype, &[6], 1);
        check::<B>(Op::Index(Index::Gather { axis: 0 }), &[vector, i64s(&[], &[3])]);
    }
}

both!(made);
fn made<B: Backend>() {
    for dtype in DType::ALL {
        for axis in 0..3 {
            let values = random(dtype, &[2], 1);
            let (indices, depth) = (i64s(&[2, 2], &[0, 3, -1, 7]), i64s(&[], &[4]));
            check::<B>(Op::Generate(Generate::OneHot { axis }), &[indices, depth, values.clone()]);
            let floats = f32s(&[2, 2], &[1.0, 0.0, 2.0, 3.0]);
            check::<B>(Op::Generate(Generate::OneHot { axis }), &[floats, i64s(&[1], &[4]), values]);
        }
        let x = random(dtype, &[2, 3, 4], 2);
        for upper in [false, true] {
            check::<B>(Op::Movement(Movement::Trilu { upper }), std::slice::from_ref(&x));
            for k in [-2, 1, i64::MAX, i64::MIN] {
                check::<B>(Op::Movement(Movement::Trilu { upper }), &[x.clone(), i64s(&[], &[k])]);
            }
        }
        check::<B>(Op::Index(Index::NonZero), &[x]);
        check::<B>(
            Op::Index(Index::NonZero),
            &[Tensor::new(dtype, vec![3], [0, 1, 0].map(|v| Scalar::from_i64(dtype, v))).unwrap()],
        );
    }
    for dtype in FLOATS.into_iter().chain(INTS) {
        for (start, limit, delta) in [(0.0, 5.0, 1.0), (1.0, 10.0, 3.0), (9.0, 0.0, -2.0), (3.0, 3.0, 1.0)] {
            if dtype == DType::U8 && delta < 0.0 {
                continue;
            }
            let inputs = [start, limit, delta].map(|v| Tensor::scalar(Scalar::from_f64(dtype, v)));
            check::<B>(Op::Generate(Generate::Range), &inputs);
        }
    }
    check_to::<B>(&Op::Generate(Generate::Range), &[0.0, 1.0, 0.1].map(|v| Tensor::scalar(Scalar::f32(v))), 1e-6);
}
