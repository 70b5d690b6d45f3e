//! Against the definitions of the ops.

use super::*;
use crate::reference::{bytes, close, finite, numbers, on_threads, random, result};
use crate::{DenseError, Lanes};
use bgz_passes::eval::testing::Rng;
use bgz_passes::ir::{self, DType, Float, MaskKind, Norm, Op, Scores, Tensor};

const TOLERANCE: f64 = 1e-12;

#[test]
fn softmax_along_any_axis() {
    let mut rng = Rng::new(1);
    for (shape, axis) in
        [(&[7][..], 0), (&[3, 5], 1), (&[5, 3], 0), (&[2, 4, 19], 1), (&[2, 1, 3], 1), (&[0, 3], 1), (&[3, 0], 1)]
    {
        for x in [finite(DType::F64, shape, &mut rng), random(DType::F64, shape, &mut rng)] {
            let (lanes, v) = (Lanes::new(shape, axis).unwrap(), numbers::<f64>(&x));
            let mut out = vec![0.0; v.len()];
            softmax(lanes, &v, &mut out).unwrap();
            close(&out, &result(Op::Norm(Norm::Softmax { axis }), &[&x]), TOLERANCE);
            log_softmax(lanes, &v, &mut out).unwrap();
            close(&out, &result(Op::Norm(Norm::LogSoftmax { axis }), &[&x]), TOLERANCE);
        }
    }
}

#[test]
fn norms_of_rows() {
    let mut rng = Rng::new(2);
    for (rows, cols) in [(3, 1), (1, 7), (4, 33), (0, 3), (3, 0)] {
        // Far from zero: a mean square less the square of the mean would have no digit left.
        for mean in [0.0, 1e9] {
            let values: Vec<f64> = (0..rows * cols).map(|_| mean + rng.normal()).collect();
            let x = Tensor::f64s(DType::F64, [rows, cols], &values).unwrap();
            let [scale, bias] = [0, 1].map(|_| finite(DType::F64, &[cols], &mut rng));
            let (s, b) = (numbers::<f64>(&scale), numbers::<f64>(&bias));
            let mut out = vec![0.0; x.len()];
            let tolerance = if mean == 0.0 { TOLERANCE } else { 1e-6 };
            layer_norm(&values, Some(&s), Some(&b), 1e-5, &mut out, cols).unwrap();
            close(&out, &result(Op::layer_norm(1e-5), &[&x, &scale, &bias]), tolerance);
            layer_norm(&values, None, None, 1e-5, &mut out, cols).unwrap();
            close(&out, &result(Op::layer_norm(1e-5), &[&x]), tolerance);
            rms_norm(&values, Some(&s), 1e-5, &mut out, cols).unwrap();
            close(&out, &result(Op::rms_norm(1e-5), &[&x, &scale]), TOLERANCE);
            rms_norm(&values, None, 1e-5, &mut out, cols).unwrap();
            close(&out, &result(Op::rms_norm(1e-5), &[&x]), TOLERANCE);
        }
    }
}

fn op(heads: usize, kv_heads: usize, merged: bool) -> ir::Attention {
    ir::Attention {
        heads,
        kv_heads,
        d_head: 5,
        scale: Float(0.4),
        merged,
        mask: MaskKind::None,
        causal: false,
        zero_hidden: false,
        scores: Scores::Exact,
    }
}

#[track_caller]
fn same(op: ir::Attention, [q, k, v]: [&Tensor; 3], mask: Option<&Tensor>) -> Vec<f64> {
    let attention = Attention::new(&op, [q.shape(), k.shape(), v.shape()], mask.map(Tensor::shape)).unwrap();
    let floats = [q, k, v].map(numbers::<f64>);
    let bools = mask.map(bytes).unwrap_or_default();
    let added = mask.filter(|m| m.dtype() == DType::F64).map(numbers::<f64>).unwrap_or_default();
    let given = match mask.map(Tensor::dtype) {
        None => Mask::None,
        Some(DType::Bool) => Mask::Bool(&bools),
        Some(_) => Mask::Additive(&added),
    };
    let operands: Vec<&Tensor> = [q, k, v].into_iter().chain(mask).collect();
    let want = result(Op::Attention(op), &operands);
    assert_eq!(attention.shape(), want.shape());
    // By their bits, for NaN is not itself.
    let got = on_threads(|| {
        let mut out = vec![7.0; want.len()];
        attention.run(floats.each_ref().map(Vec::as_slice), given, &mut out).unwrap();
        out.into_iter().map(f64::to_bits).collect::<Vec<_>>()
    });
    let got: Vec<f64> = got.into_iter().map(f64::from_bits).collect();
    close(&got, &want, TOLERANCE);
    got
}

#[test]
fn attention_split_and_merged() {
    let mut rng = Rng::new(3);
    for (heads, kv_heads) in [(1, 1), (4, 4), (4, 2), (3, 1)] {
        for (batch, queries, keys) in [(2, 3, 7), (1, 1, 4), (2, 5, 2), (1, 0, 3), (1, 3, 0)] {
            for merged in [false, true] {
                for causal in [false, true] {
                    let shape = |n: usize, seq: usize, w: usize| {
                        if merged { vec![batch, seq, n * w] } else { vec![batch, n, seq, w] }
                    };
                    let q = finite(DType::F64, &shape(heads, queries, 5), &mut rng);
                    let k = finite(DType::F64, &shape(kv_heads, keys, 5), &mut rng);
                    let v = finite(DType::F64, &shape(kv_heads, keys, 6), &mut rng);
                    for zero_hidden in [false, true] {
                        same(ir::Attention { causal, zero_hidden, ..op(heads, kv_heads, merged) }, [&q, &k, &v], None);
                    }
                }
            }
        }
    }
}

#[test]
fn attention_with_masks() {
    let mut rng = Rng::new(4);
    let q = finite(DType::F64, &[2, 2, 3, 5], &mut rng);
    // A batch of 1 serves all.
    let k = finite(DType::F64, &[1, 2, 4, 5], &mut rng);
    let v = finite(DType::F64, &[2, 2, 4, 6], &mut rng);
    for shape in [&[2, 2, 3, 4][..], &[3, 4], &[2, 1, 1, 4], &[1], &[]] {
        let n = shape.iter().product();
        let some: Vec<f64> = (0..n).map(|i| if i % 3 == 0 { f64::NEG_INFINITY } else { rng.normal() }).collect();
        for (values, zero_hidden) in [(&some, false), (&some, true), (&vec![f64::NEG_INFINITY; n], true)] {
            let added = Tensor::f64s(DType::F64, shape, values).unwrap();
            let hides =
                Tensor::f64s(DType::Bool, shape, &values.iter().map(|v| f64::from(v.is_finite())).collect::<Vec<_>>());
            let hides = hides.unwrap();
            for fill in [-1e30, f32::NEG_INFINITY] {
                let fill = Float(fill);
                for mask in [MaskKind::Additive, MaskKind::Keep { fill }, MaskKind::Drop { fill }] {
                    let given = if mask == MaskKind::Additive { &added } else { &hides };
                    same(ir::Attention { mask, zero_hidden, ..op(2, 2, false) }, [&q, &k, &v], Some(given));
                }
            }
        }
    }
}

#[test]
fn large_ones_do_not_depend_on_threads() {
    let mut rng = Rng::new(5);
    let x = finite(DType::F64, &[300, 1000], &mut rng);
    let v = numbers::<f64>(&x);
    for axis in [0, 1] {
        let got = on_threads(|| {
            let mut out = vec![0.0; v.len()];
            softmax(Lanes::new(&[300, 1000], axis).unwrap(), &v, &mut out).unwrap();
            out
        });
        close(&got, &result(Op::Norm(Norm::Softmax { axis }), &[&x]), TOLERANCE);
    }
    let got = on_threads(|| {
        let mut out = vec![0.0; v.len()];
        layer_norm(&v, None, None, 1e-5, &mut out, 1000).unwrap();
        out
    });
    close(&got, &result(Op::layer_norm(1e-5), &[&x]), TOLERANCE);
    let [q, k, w] = [[2, 4, 100, 5], [2, 4, 200, 5], [2, 4, 200, 5]].map(|shape| finite(DType::F64, &shape, &mut rng));
    same(op(4, 4, false), [&q, &k, &w], None);
}

#[test]
fn what_does_not_fit_is_refused() {
    let length = |name, got, want| Err(DenseError::Length { name, got, want });
    let lanes = Lanes::new(&[2, 3], 1).unwrap();
    assert_eq!(softmax(lanes, &[0.0; 5], &mut [0.0; 6]), length("x", 5, 6));
    assert_eq!(log_softmax(lanes, &[0.0; 6], &mut [0.0; 5]), length("out", 5, 6));
    assert_eq!(layer_norm(&[0.0; 6], Some(&[0.0]), None, 0.0, &mut [0.0; 6], 3), length("scale", 1, 3));
    assert_eq!(layer_norm(&[0.0; 6], None, Some(&[0.0]), 0.0, &mut [0.0; 6], 3), length("bias", 1, 3));
    assert_eq!(rms_norm(&[0.0; 5], None, 0.0, &mut [0.0; 6], 3), length("x", 5, 6));
    assert_eq!(rms_norm(&[0.0; 6], None, 0.0, &mut [0.0; 6], 4), length("out", 6, 4));
    let shapes: [&[usize]; 3] = [&[1, 2, 3, 5], &[1, 2, 4, 5], &[1, 2, 4, 6]];
    let refused =
        |op, shapes, mask| assert!(matches!(Attention::new(&op, shapes, mask), Err(DenseError::Shape { .. })));
    refused(op(3, 2, false), shapes, None);
    refused(op(0, 0, false), shapes, None);
    refused(op(4, 2, false), shapes, None);
    refused(op(2, 2, false), [shapes[0], shapes[1], shapes[0]], None);
    refused(op(2, 2, false), shapes, Some(&[3, 4]));
    let masked = || ir::Attention { mask: MaskKind::Additive, ..op(2, 2, false) };
    refused(masked(), shapes, None);
    refused(masked(), shapes, Some(&[3, 5]));
    refused(masked(), shapes, Some(&[1, 1, 1, 1, 1]));
    let attention = Attention::new(&masked(), shapes, Some(&[3, 4])).unwrap();
    let (q, k, v) = ([0.0; 30], [0.0; 40], [0.0; 48]);
    let run = |q: &[f64], mask, n| attention.run([q, &k, &v], mask, &mut vec![0.0; n]);
    assert_eq!(run(&q[1..], Mask::Additive(&[0.0; 12]), 36), length("q", 29, 30));
    assert_eq!(run(&q, Mask::Additive(&[0.0; 11]), 36), length("mask", 11, 12));
    assert_eq!(run(&q, Mask::Bool(&[0; 12]), 36), length("mask of its kind", 0, 12));
    assert_eq!(run(&q, Mask::Additive(&[0.0; 12]), 35), length("out", 35, 36));
}
