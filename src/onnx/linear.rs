//! Matrix products and attention.

use super::error::{Res, fail};
use super::node::{Convert, Node, Outs};
use bgz_passes::ir::{
    Attention, Binary, Blocks, Cast, Constant, DType, Dim, Float, MaskKind, Movement, Nbits, Op, Precision, Product,
    Scores, ValueId,
};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    let found: Convert = match (domain, op) {
        ("", "MatMul") => matmul,
        ("", "Gemm") => gemm,
        ("com.microsoft", "FusedMatMul") => fused_matmul,
        ("com.microsoft", "MatMulNBits") => matmul_nbits,
        ("", "Attention") => attention,
        _ => return None,
    };
    Some(found)
}

fn matmul(n: &mut Node) -> Res<Outs> {
    let (a, b) = (n.input(0)?, n.input(1)?);
    n.emit(Op::Product(Product::MatMul), &[a, b])
}

/// The last two axes swapped.
fn swapped(n: &mut Node, part: &str, v: ValueId) -> Res<ValueId> {
    let rank = n.rank(v);
    if rank < 2 {
        fail!("it transposes a tensor of rank {rank}");
    }
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    n.part(part, Op::Movement(Movement::Transpose { perm }), &[v])
}

/// `alpha * A . B + beta * C`: one linear op where it is nothing else.
fn gemm(n: &mut Node) -> Res<Outs> {
    let (mut a, b) = (n.input(0)?, n.input(1)?);
    let attrs = n.attrs();
    let (alpha, beta) = (attrs.float_or("alpha", 1.0)?, attrs.float_or("beta", 1.0)?);
    let (trans_a, trans_w) = (attrs.flag("transA", false)?, attrs.flag("transB", false)?);
    if n.rank(a) != 2 || n.rank(b) != 2 {
        fail!("it multiplies matrices, not {} and {}", n.ty(a), n.ty(b));
    }
    if trans_a {
        a = swapped(n, "a_transposed", a)?;
    }
    let columns = n.shape(b)[usize::from(!trans_w)].clone();
    let linear = Op::Product(Product::Linear { trans_w, precision: Precision::Exact });
    if !n.has(2) || beta == 0.0 {
        if alpha == 1.0 {
            return n.emit(linear, &[a, b]);
        }
        let y = n.part("product", linear, &[a, b])?;
        let alpha = n.number("alpha", y, alpha.into());
        return n.emit(Op::Binary(Binary::Mul), &[y, alpha]);
    }
    if alpha == 1.0
        && beta == 1.0
        && let Some(bias) = bias(n, &columns)?
    {
        return n.emit(linear, &[a, b, bias]);
    }
    let mut y = n.part("product", linear, &[a, b])?;
    let mut c = n.input(2)?;
    if alpha != 1.0 {
        let alpha = n.number("alpha", y, alpha.into());
        y = n.part("scaled", Op::Binary(Binary::Mul), &[y, alpha])?;
    }
    if beta != 1.0 {
        let beta = n.number("beta", y, beta.into());
        c = n.part("c_scaled", Op::Binary(Binary::Mul), &[c, beta])?;
    }
    n.emit(Op::Binary(Binary::Add), &[y, c])
}

/// `C` as the bias of a linear op, if it is one number a column.
fn bias(n: &mut Node, columns: &Dim) -> Res<Option<ValueId>> {
    let Some(ty) = n.input_ty(2) else { return Ok(None) };
    if ty.shape.last() != Some(columns) {
        return Ok(None);
    }
    Ok(match (ty.rank(), n.constant(2)) {
        (1, _) => Some(n.input(2)?),
        (2, Some(c)) if ty.shape[0].is(1) => c.reshaped(vec![c.len()]).map(|c| n.const_part("bias", c)),
        _ => None,
    })
}

fn fused_matmul(n: &mut Node) -> Res<Outs> {
    let (mut a, mut b) = (n.input(0)?, n.input(1)?);
    let attrs = n.attrs();
    let alpha = attrs.float_or("alpha", 1.0)?;
    if attrs.flag("transBatchA", false)? || attrs.flag("transBatchB", false)? {
        fail!("attributes transBatchA and transBatchB are not supported");
    }
    if attrs.flag("transA", false)? {
        a = swapped(n, "a_transposed", a)?;
    }
    if attrs.flag("transB", false)? {
        b = swapped(n, "b_transposed", b)?;
    }
    if alpha == 1.0 {
        return n.emit(Op::Product(Product::MatMul), &[a, b]);
    }
    let y = n.part("product", Op::Product(Product::MatMul), &[a, b])?;
    let alpha = n.number("alpha", y, alpha.into());
    n.emit(Op::Binary(Binary::Mul), &[y, alpha])
}

/// `A . dequantised(B)^T + bias`, in f32: `A` is `[.., K]`, `B` `[N, blocks of a row, bytes of a block]`.
fn matmul_nbits(n: &mut Node) -> Res<Outs> {
    let attrs = n.attrs();
    // How far it may be from exact.
    attrs.int("accuracy_level")?;
    if attrs.int_or("weight_prepacked", 0)? != 0 {
        fail!("weights in the order of one device (weight_prepacked) are not supported: export them without");
    }
    let size = |name: &str, default: Option<i64>| -> Res<usize> {
        match attrs.int(name)?.or(default) {
            Some(v) if v > 0 && usize::try_from(v).is_ok() => Ok(v as usize),
            Some(v) => fail!("attribute {name} is {v}, not a size"),
            None => fail!("attribute {name} is missing"),
        }
    };
    let (depth, width) = (size("K", None)?, size("N", None)?);
    let (bits, block) = (size("bits", Some(4))?, size("block_size", None)?);
    let Some(format) = Nbits::new(bits, block) else {
        fail!("{bits} bits in blocks of {block} are not supported: bits are 2, 4 or 8, blocks 16, 32, 64, 128 or 256");
    };
    if n.has(4) {
        fail!("operand 4 (g_idx, an order of columns) is not supported");
    }
    n.at_most(6)?;
    let constant = |i: usize, what: &str| -> Res<Constant> {
        match n.constant(i) {
            Some(c) => Ok(c),
            None if n.has(i) => fail!("operand {i} ({what}) must be constant"),
            None => fail!("operand {i} ({what}) is missing"),
        }
    };
    let (codes, scales) = (constant(1, "B")?, constant(2, "scales")?);
    let zeros = if n.has(3) { Some(constant(3, "zero_points")?) } else { None };
    let blocks = match Blocks::nbits(format, [width, depth], codes, scales, zeros) {
        Ok(blocks) => blocks,
        Err(e) => fail!("{e}"),
    };
    let Some(weights) = Constant::of_blocks(vec![width, depth], blocks) else {
        fail!("weights of {width} x {depth} are too many");
    };
    let x = n.input(0)?;
    let dtype = n.dtype(x);
    if !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) {
        fail!("operand 0 is of {dtype}, not of f32, f16 or bf16");
    }
    if n.shape(x).last().and_then(Dim::as_usize).is_some_and(|k| k != depth) {
        fail!("K is {depth}, but operand 0 is {}", n.ty(x));
    }
    let mut operands = vec![n.cast("a_f32", x, DType::F32)?, n.const_part("weights", weights)];
    if let Some(bias) = n.maybe(5)? {
        if n.shape(bias) != [Dim::from(width)] {
            fail!("N is {width}, but operand 5 (bias) is {}", n.ty(bias));
        }
        operands.push(n.cast("bias_f32", bias, DType::F32)?);
    }
    let linear = Op::Product(Product::Linear { trans_w: true, precision: Precision::Exact });
    if dtype == DType::F32 {
        return n.emit(linear, &operands);
    }
    let y = n.part("product", linear, &operands)?;
    n.emit(Op::Cast(Cast(dtype)), &[y])
}

/// ONNX Attention without a cache.
fn attention(n: &mut Node) -> Res<Outs> {
    let (q, k, v) = (n.input(0)?, n.input(1)?, n.input(2)?);
    n.at_most(4)?;
    let a = n.attrs();
    if a.float_or("softcap", 0.0)? != 0.0 {
        fail!("attribute softcap is not supported");
    }
    if n.wants(1) || n.wants(2) || n.wants(3) {
        fail!("only its first result is supported");
    }
    a.int("qk_matmul_output_mode")?;
    let (q_heads, kv_heads) = (a.int("q_num_heads")?, a.int("kv_num_heads")?);
    let merged = n.rank(q) == 3;
    let heads = |v: ValueId, given: Option<i64>, n: &Node| -> Res<usize> {
        let found = if merged { given } else { n.shape(v).get(1).and_then(Dim::as_int) };
        match found.and_then(|h| usize::try_from(h).ok()) {
            Some(h) if h > 0 && n.rank(v) == if merged { 3 } else { 4 } => Ok(h),
            _ => fail!("the number of heads of {} is not known", n.ty(v)),
        }
    };
    let (heads, kv_heads) = (heads(q, q_heads, n)?, heads(k, kv_heads, n)?);
    let width = n.shape(q).last().and_then(Dim::as_usize);
    let d_head = width.map(|w| if merged { w / heads } else { w });
    let Some(d_head) = d_head.filter(|&d| d > 0) else {
        fail!("the head width of {} is not known", n.ty(q));
    };
    let scale = a.float("scale")?.unwrap_or((1.0 / (d_head as f64).sqrt()) as f32);
    let causal = a.flag("is_causal", false)?;
    let (seq_q, seq_k) = (n.shape(q)[n.rank(q) - 2].clone(), n.shape(k)[n.rank(k) - 2].clone());
    if causal && seq_q != seq_k {
        // ONNX counts from the first key, our op from the last.
        fail!("attribute is_causal is supported for as many keys as queries only, not {seq_k} and {seq_q}");
    }
    let mask = n.maybe(3)?;
    let kind = match mask.map(|m| n.dtype(m)) {
        None => MaskKind::None,
        Some(DType::Bool) => MaskKind::Keep { fill: Float(f32::NEG_INFINITY) },
        Some(_) => MaskKind::Additive,
    };
    let op = Op::Attention(Attention {
        heads,
        kv_heads,
        d_head,
        scale: Float(scale),
        merged,
        mask: kind,
        causal,
        // onnx.proto's Operators.md, Attention: a row whose every key is masked is 0.
        zero_hidden: true,
        scores: Scores::Exact,
    });
    let operands: Vec<_> = [q, k, v].into_iter().chain(mask).collect();
    n.emit(op, &operands)
}
