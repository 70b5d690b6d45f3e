//! The attention pass.

mod common;

use bgz_passes::eval::testing::Check;
use bgz_passes::passes::attention::pass;
use common::attention::{QKV, SCORES, SPLIT, attentions, block, masked, only};
use common::{fires_nearly, leaves};

/// As BERT is exported: keys transposed with the split, divided scores, an added mask.
#[test]
fn bert() {
    let case = fires_nearly(
        pass(),
        "attention@bert",
        &block(
            "in %mask : f32[batch, 1, 1, seq]",
            &format!(
                "%qk = matmul(%qh, %kt) : {SCORES}
         %s = div(%qk, @root) : {SCORES}
         %m = add(%s, %mask) : {SCORES}
         %p = softmax(%m) {{axis = 3}} : {SCORES}"
            ),
        ),
    );
    let a = only(&case, &[]);
    assert_eq!((a.heads, a.kv_heads, a.d_head, a.scale.0, a.merged), (2, 2, 4, 0.5, true));
}

/// The scale in every place, and the transpose in every form.
#[test]
fn scales() {
    for (name, scores) in [
        ("none", "%m = matmul(%qh, %kt) : f32[batch, 2, seq, seq]"),
        (
            "by-left-mul",
            "%qk = matmul(%qh, %kt) : f32[batch, 2, seq, seq]\n%m = mul(@half, %qk) : f32[batch, 2, seq, seq]",
        ),
        ("on-q", "%qs = mul(%qh, @half) : f32[batch, 2, seq, 4]\n%m = matmul(%qs, %kt) : f32[batch, 2, seq, seq]"),
        ("on-k", "%ks = div(%kt, @root) : f32[batch, 2, 4, seq]\n%m = matmul(%qh, %ks) : f32[batch, 2, seq, seq]"),
        (
            "split",
            "%qs = mul(%qh, @sqrt) : f32[batch, 2, seq, 4]
         %ks = mul(@sqrt, %kt) : f32[batch, 2, 4, seq]
         %m = matmul(%qs, %ks) : f32[batch, 2, seq, seq]",
        ),
    ] {
        let text = block("", &format!("{scores}\n%p = softmax(%m) {{axis = 3}} : {SCORES}"));
        let case = fires_nearly(pass(), &format!("attention@scale-{name}"), &text);
        let a = only(&case, &[]);
        let want = if name == "none" { 1.0 } else { 0.5 };
        assert!((a.scale.0 - want).abs() < 1e-6, "{name}: {}", a.scale);
    }
}

/// PyTorch scales what the split makes heads of.
#[test]
fn scale_before_the_split() {
    let case = fires_nearly(
        pass(),
        "attention@scale-before-split",
        "in %q : f32[batch, seq, 8]
         in %k : f32[batch, keys, 8]
         in %v : f32[batch, keys, 6]
         const @half : f32[] = 0.5
         %qs = mul(%q, @half) : f32[batch, seq, 8]
         %q4 = reshape(%qs) {shape = [batch, seq, 2, 4]} : f32[batch, seq, 2, 4]
         %qh = transpose(%q4) {perm = [0, 2, 1, 3]} : f32[batch, 2, seq, 4]
         %k4 = reshape(%k) {shape = [batch, keys, 2, 4]} : f32[batch, keys, 2, 4]
         %kh = transpose(%k4) {perm = [0, 2, 1, 3]} : f32[batch, 2, keys, 4]
         %kt = transpose(%kh) {perm = [0, 1, 3, 2]} : f32[batch, 2, 4, keys]
         %v4 = reshape(%v) {shape = [batch, keys, 2, 3]} : f32[batch, keys, 2, 3]
         %vh = transpose(%v4) {perm = [0, 2, 1, 3]} : f32[batch, 2, keys, 3]
         %qk = matmul(%qh, %kt) : f32[batch, 2, seq, keys]
         %p = softmax(%qk) {axis = 3} : f32[batch, 2, seq, keys]
         %ctx = matmul(%p, %vh) : f32[batch, 2, seq, 3]
         %ctx4 = transpose(%ctx) {perm = [0, 2, 1, 3]} : f32[batch, seq, 2, 3]
         %y = reshape(%ctx4) {shape = [batch*seq, 6]} : f32[batch*seq, 6]
         out %y",
    );
    let a = only(&case, &["reshape"]);
    assert_eq!((a.scale.0, a.merged), (0.5, true));
}

/// Where nothing merges the heads again, they stay split; so do operands that are not merged anywhere.
#[test]
fn split_heads_stay() {
    let case = fires_nearly(
        pass(),
        "attention@split",
        "in %q : f32[batch, 2, seq, 4]
         in %k : f32[batch, 2, keys, 4]
         in %v : f32[batch, 2, keys, 3]
         %kt = transpose(%k) {perm = [0, 1, 3, 2]} : f32[batch, 2, 4, keys]
         %qk = matmul(%q, %kt) : f32[batch, 2, seq, keys]
         %p = softmax(%qk) {axis = 3} : f32[batch, 2, seq, keys]
         %y = matmul(%p, %v) : f32[batch, 2, seq, 3]
         out %y",
    );
    assert!(!only(&case, &[]).merged);
}

/// Heads in front of the sequence, keys with yet another layout: one transpose remains.
#[test]
fn keys_in_another_layout() {
    let case = fires_nearly(
        pass(),
        "attention@layout",
        "in %q : f32[batch, 2, seq, 4]
         in %k : f32[2, keys, batch, 4]
         in %v : f32[batch, 2, keys, 3]
         %kt = transpose(%k) {perm = [2, 0, 3, 1]} : f32[batch, 2, 4, keys]
         %qk = matmul(%q, %kt) : f32[batch, 2, seq, keys]
         %p = softmax(%qk) {axis = 3} : f32[batch, 2, seq, keys]
         %y = matmul(%p, %v) : f32[batch, 2, seq, 3]
         out %y",
    );
    only(&case, &["transpose"]);
}

/// Keys and values are copied for the query heads that share them.
#[test]
fn grouped_heads() {
    let text = |expand: &str| {
        format!(
            "in %q : f32[batch, seq, 16]
         in %k : f32[batch, seq, 8]
         in %v : f32[batch, seq, 8]
         const @twice : i64[4] = [0, 0, 1, 1]
         %q4 = reshape(%q) {{shape = [batch, seq, 4, 4]}} : f32[batch, seq, 4, 4]
         %qh = transpose(%q4) {{perm = [0, 2, 1, 3]}} : f32[batch, 4, seq, 4]
         %k4 = reshape(%k) {{shape = [batch, seq, 2, 4]}} : f32[batch, seq, 2, 4]
         %kh = transpose(%k4) {{perm = [0, 2, 1, 3]}} : f32[batch, 2, seq, 4]
         %v4 = reshape(%v) {{shape = [batch, seq, 2, 4]}} : f32[batch, seq, 2, 4]
         %vh = transpose(%v4) {{perm = [0, 2, 1, 3]}} : f32[batch, 2, seq, 4]
         {expand}
         %kt = transpose(%kx) {{perm = [0, 1, 3, 2]}} : f32[batch, 4, 4, seq]
         %qk = matmul(%qh, %kt) : f32[batch, 4, seq, seq]
         %p = softmax(%qk) {{axis = 3}} : f32[batch, 4, seq, seq]
         %ctx = matmul(%p, %vx) : f32[batch, 4, seq, 4]
         %ctx4 = transpose(%ctx) {{perm = [0, 2, 1, 3]}} : f32[batch, seq, 4, 4]
         %y = reshape(%ctx4) {{shape = [batch, seq, 16]}} : f32[batch, seq, 16]
         out %y"
        )
    };
    let each = |f: &dyn Fn(&str) -> String| format!("{}\n{}", f("k"), f("v"));
    for (name, expand) in [
        (
            "expand",
            each(&|n| {
                format!(
                    "%{n}5 = reshape(%{n}h) {{shape = [batch, 2, 1, seq, 4]}} : f32[batch, 2, 1, seq, 4]
         %{n}e = expand(%{n}5) {{shape = [batch, 2, 2, seq, 4]}} : f32[batch, 2, 2, seq, 4]
         %{n}x = reshape(%{n}e) {{shape = [batch, 4, seq, 4]}} : f32[batch, 4, seq, 4]"
                )
            }),
        ),
        ("gather", each(&|n| format!("%{n}x = gather(%{n}h, @twice) {{axis = 1}} : f32[batch, 4, seq, 4]"))),
        (
            "concat",
            each(&|n| {
                format!(
                    "%{n}5 = reshape(%{n}h) {{shape = [batch, 2, 1, seq, 4]}} : f32[batch, 2, 1, seq, 4]
         %{n}e = concat(%{n}5, %{n}5) {{axis = 2}} : f32[batch, 2, 2, seq, 4]
         %{n}x = reshape(%{n}e) {{shape = [batch, 4, seq, 4]}} : f32[batch, 4, seq, 4]"
                )
            }),
        ),
    ] {
        let case = fires_nearly(pass(), &format!("attention@grouped-{name}"), &text(&expand));
        let a = only(&case, &[]);
        assert_eq!((a.heads, a.kv_heads, a.d_head), (4, 2, 4));
    }
    // Copied in turn, 0 1 0 1: not what groups of heads are.
    let tiled = each(&|n| format!("%{n}x = tile(%{n}h) {{repeats = [1, 2, 1, 1]}} : f32[batch, 4, seq, 4]"));
    let case = fires_nearly(pass(), "attention@grouped-tile", &text(&tiled));
    let a = only(&case, &["reshape", "reshape", "tile", "tile", "transpose", "transpose"]);
    assert_eq!((a.heads, a.kv_heads), (4, 4));
}

/// One head of keys for all queries, by broadcasting.
#[test]
fn one_key_head() {
    let case = fires_nearly(
        pass(),
        "attention@one-key-head",
        "in %q : f32[batch, 4, seq, 4]
         in %k : f32[batch, seq, 4]
         in %v : f32[batch, seq, 4]
         %k4 = reshape(%k) {shape = [batch, 1, seq, 4]} : f32[batch, 1, seq, 4]
         %kt = transpose(%k4) {perm = [0, 1, 3, 2]} : f32[batch, 1, 4, seq]
         %v4 = reshape(%v) {shape = [batch, 1, seq, 4]} : f32[batch, 1, seq, 4]
         %qk = matmul(%q, %kt) : f32[batch, 4, seq, seq]
         %p = softmax(%qk) {axis = 3} : f32[batch, 4, seq, seq]
         %y = matmul(%p, %v4) : f32[batch, 4, seq, 4]
         out %y",
    );
    let a = only(&case, &[]);
    assert_eq!((a.heads, a.kv_heads), (4, 1));
}

/// One head: `[batch, seq, d]` is merged already.
#[test]
fn single_head() {
    let case = fires_nearly(
        pass(),
        "attention@single-head",
        "in %q : f32[batch, seq, 4]
         in %k : f32[batch, seq, 4]
         in %v : f32[batch, seq, 4]
         %kt = transpose(%k) {perm = [0, 2, 1]} : f32[batch, 4, seq]
         %qk = matmul(%q, %kt) : f32[batch, seq, seq]
         %p = softmax(%qk) {axis = 2} : f32[batch, seq, seq]
         %y = matmul(%p, %v) : f32[batch, seq, 4]
         out %y",
    );
    let a = only(&case, &[]);
    assert_eq!((a.heads, a.merged), (1, true));
    let case = fires_nearly(
        pass(),
        "attention@matrices",
        "in %q : f32[seq, 4]
         in %k : f32[keys, 4]
         in %v : f32[keys, 4]
         %kt = transpose(%k) {perm = [1, 0]} : f32[4, keys]
         %qk = matmul(%q, %kt) : f32[seq, keys]
         %p = softmax(%qk) {axis = 1} : f32[seq, keys]
         %y = matmul(%p, %v) : f32[seq, 4]
         out %y",
    );
    only(&case, &["reshape"; 4]);
}

/// `torch.nn.MultiheadAttention`, sequence first: batch and heads in one axis,
/// told apart for the mask only.
#[test]
fn batch_and_heads_in_one_axis() {
    let split = |n: &str| {
        format!(
            "%{n}3 = reshape(%{n}) {{shape = [seq, 2*batch, 4]}} : f32[seq, 2*batch, 4]
         %{n}h = transpose(%{n}3) {{perm = [1, 0, 2]}} : f32[2*batch, seq, 4]"
        )
    };
    let text = |mask: &str| {
        format!(
            "in %q : f32[seq, batch, 8]
         in %k : f32[seq, batch, 8]
         in %v : f32[seq, batch, 8]
         in %hide : bool[batch, seq]
         const @half : f32[] = 0.5
         const @low : f32[] = -1e9
         {}
         {}
         {}
         %qs = mul(%qh, @half) : f32[2*batch, seq, 4]
         %kt = transpose(%kh) {{perm = [0, 2, 1]}} : f32[2*batch, 4, seq]
         %s = matmul(%qs, %kt) : f32[2*batch, seq, seq]
         {mask}
         %p = softmax(%m) {{axis = 2}} : f32[2*batch, seq, seq]
         %ctx = matmul(%p, %vh) : f32[2*batch, seq, 4]
         %ctx3 = transpose(%ctx) {{perm = [1, 0, 2]}} : f32[seq, 2*batch, 4]
         %y = reshape(%ctx3) {{shape = [seq, batch, 8]}} : f32[seq, batch, 8]
         out %y",
            split("q"),
            split("k"),
            split("v"),
        )
    };
    let case = fires_nearly(
        pass(),
        "attention@fused-batch",
        &text(
            "%s4 = reshape(%s) {shape = [batch, 2, seq, seq]} : f32[batch, 2, seq, seq]
         %h4 = reshape(%hide) {shape = [batch, 1, 1, seq]} : bool[batch, 1, 1, seq]
         %m4 = where(%h4, @low, %s4) : f32[batch, 2, seq, seq]
         %m = reshape(%m4) {shape = [2*batch, seq, seq]} : f32[2*batch, seq, seq]",
        ),
    );
    let a = attentions(&case.after).remove(0);
    assert_eq!((a.heads, a.d_head, a.scale.0), (2, 4, 0.5));
    // No word of heads but the split of the operands.
    let case = fires_nearly(
        pass(),
        "attention@fused-batch-mask",
        &text(
            "%h4 = reshape(%hide) {shape = [batch, 1, 1, seq]} : bool[batch, 1, 1, seq]
         %he = expand(%h4) {shape = [batch, 2, 1, seq]} : bool[batch, 2, 1, seq]
         %h3 = reshape(%he) {shape = [2*batch, 1, seq]} : bool[2*batch, 1, seq]
         %m = where(%h3, @low, %s) : f32[2*batch, seq, seq]",
        ),
    );
    let a = attentions(&case.after).remove(0);
    assert_eq!((a.heads, a.d_head), (2, 4));
}

/// Scores in f32 of a model in f16.
#[test]
fn cast_pair() {
    let text = "in %q : f16[batch, 2, seq, 4]
         in %k : f16[batch, 2, seq, 4]
         in %v : f16[batch, 2, seq, 4]
         %kt = transpose(%k) {perm = [0, 1, 3, 2]} : f16[batch, 2, 4, seq]
         %qk = matmul(%q, %kt) : f16[batch, 2, seq, seq]
         %wide = cast(%qk) : f32[batch, 2, seq, seq]
         %p = softmax(%wide) {axis = 3} : f32[batch, 2, seq, seq]
         %narrow = cast(%p) : f16[batch, 2, seq, seq]
         %y = matmul(%narrow, %v) : f16[batch, 2, seq, 4]
         out %y";
    // Rounding of scores and weights to f16 is no longer there.
    let check = Check::new().tolerance(4e-3, 4e-3);
    let case = common::fires_with(pass(), &check, "attention@casts", text);
    only(&case, &[]);
}

/// An attention that a front end brings as one gets rid of splits and merges, too.
#[test]
fn heads_of_any_origin() {
    let case = fires_nearly(
        pass(),
        "attention@heads",
        &format!(
            "{QKV}
         {}
         %kh = transpose(%k4) {{perm = [0, 2, 1, 3]}} : f32[batch, 2, seq, 4]
         %ctx = attention(%qh, %kh, %vh) {{heads = 2, d_head = 4, scale = 0.5, merged = false, scores = exact}} : f32[batch, 2, seq, 4]
         %ctx4 = transpose(%ctx) {{perm = [0, 2, 1, 3]}} : f32[batch, seq, 2, 4]
         %y = reshape(%ctx4) {{shape = [batch, seq, 8]}} : f32[batch, seq, 8]
         out %y",
            SPLIT.replace("%kt = transpose(%k4) {perm = [0, 2, 3, 1]} : f32[batch, 2, 4, seq]", "")
        ),
    );
    assert!(only(&case, &[]).merged);
}

/// ViT and nanoGPT: one product for all three, cut by gathers of an axis of three.
#[test]
fn packed_operands() {
    let text = "in %x : f32[batch, seq, 6]
         const @w : f32[6, 24] 0badcafe
         const @i0 : i64[] = 0
         const @i1 : i64[] = 1
         const @i2 : i64[] = 2
         const @half : f32[] = 0.5
         %qkv = linear(%x, @w) : f32[batch, seq, 24]
         %five = reshape(%qkv) {shape = [batch, seq, 3, 2, 4]} : f32[batch, seq, 3, 2, 4]
         %packed = transpose(%five) {perm = [2, 0, 3, 1, 4]} : f32[3, batch, 2, seq, 4]
         %qh = gather(%packed, @i0) {axis = 0} : f32[batch, 2, seq, 4]
         %kh = gather(%packed, @i1) {axis = 0} : f32[batch, 2, seq, 4]
         %vh = gather(%packed, @i2) {axis = 0} : f32[batch, 2, seq, 4]
         %kt = transpose(%kh) {perm = [0, 1, 3, 2]} : f32[batch, 2, 4, seq]
         %qk = matmul(%qh, %kt) : f32[batch, 2, seq, seq]
         %s = mul(%qk, @half) : f32[batch, 2, seq, seq]
         %p = softmax(%s) {axis = 3} : f32[batch, 2, seq, seq]
         %ctx = matmul(%p, %vh) : f32[batch, 2, seq, 4]
         %ctx4 = transpose(%ctx) {perm = [0, 2, 1, 3]} : f32[batch, seq, 2, 4]
         %y = reshape(%ctx4) {shape = [batch, seq, 8]} : f32[batch, seq, 8]
         out %y";
    let mut graph = common::graph(text);
    bgz_passes::pipeline::Pipeline::exact().run(&mut graph).expect("the pipeline runs");
    common::snapshot("attention@packed", &graph.to_string());
    let mut ops: Vec<_> = graph.nodes().map(|(_, n)| n.op.mnemonic()).collect();
    ops.sort();
    assert_eq!(ops, ["attention", "linear", "slice", "slice", "slice"], "{graph}");
}

/// Extents that are numbers, and equal ones, are not mixed up.
#[test]
fn numbers_for_names() {
    let mask = |m: &str| masked("in %mask : f32[batch, 1, 1, seq]", m);
    let texts = [
        mask("%m = add(%s, %mask) : f32[batch, 2, seq, seq]"),
        masked(
            "in %hide : bool[batch, seq]\nconst @low : f32[] = -1e9",
            "%h4 = reshape(%hide) {shape = [batch, 1, 1, seq]} : bool[batch, 1, 1, seq]
         %he = expand(%h4) {shape = [batch, 2, seq, seq]} : bool[batch, 2, seq, seq]
         %m = where(%he, @low, %s) : f32[batch, 2, seq, seq]",
        ),
    ];
    for text in texts {
        for (batch, seq) in [("2", "2"), ("1", "2"), ("2", "1"), ("1", "1"), ("4", "8"), ("n", "4"), ("8", "n")] {
            let text = text.replace("batch", batch).replace("seq", seq);
            let case = common::run(pass(), &text);
            assert_eq!(attentions(&case.after).len(), 1, "{}\n{}", case.after, case.trace);
            Check::new().tolerance(2e-6, 2e-6).assert_same(&case.before, &case.after, 0..2);
        }
    }
}

#[test]
fn not_attention() {
    for (name, text, reason) in [
        (
            // The same inner dim, but no transpose of keys anywhere.
            "no-transpose",
            "in %q : f32[batch, 2, seq, 4]
         in %w : f32[batch, 2, 4, keys]
         in %v : f32[batch, 2, keys, 4]
         %qk = matmul(%q, %w) : f32[batch, 2, seq, keys]
         %p = softmax(%qk) {axis = 3} : f32[batch, 2, seq, keys]
         %y = matmul(%p, %v) : f32[batch, 2, seq, 4]
         out %y",
            "%w is no transpose of keys",
        ),
        (
            "no-product",
            "in %s : f32[batch, 2, seq, keys]
         in %v : f32[batch, 2, keys, 4]
         %e = exp(%s) : f32[batch, 2, seq, keys]
         %p = softmax(%e) {axis = 3} : f32[batch, 2, seq, keys]
         %y = matmul(%p, %v) : f32[batch, 2, seq, 4]
         out %y",
            "the scores %e are not a matrix product",
        ),
        (
            "other-axis",
            "in %q : f32[batch, 2, seq, 4]
         in %k : f32[batch, 2, keys, 4]
         in %v : f32[batch, 2, keys, 4]
         %kt = transpose(%k) {perm = [0, 1, 3, 2]} : f32[batch, 2, 4, keys]
         %qk = matmul(%q, %kt) : f32[batch, 2, seq, keys]
         %p = softmax(%qk) {axis = 2} : f32[batch, 2, seq, keys]
         %y = matmul(%p, %v) : f32[batch, 2, seq, 4]
         out %y",
            "softmax %p is not over the last axis",
        ),
        (
            "guarded",
            "in %q : f32[batch, 2, seq, 4]
         in %k : f32[batch, 2, keys, 4]
         in %v : f32[batch, 2, keys, 4]
         const @zero : f32[] = 0.0
         %kt = transpose(%k) {perm = [0, 1, 3, 2]} : f32[batch, 2, 4, keys]
         %qk = matmul(%q, %kt) : f32[batch, 2, seq, keys]
         %p = softmax(%qk) {axis = 3} : f32[batch, 2, seq, keys]
         %nan = is_nan(%p) : bool[batch, 2, seq, keys]
         %g = where(%nan, @zero, %p) : f32[batch, 2, seq, keys]
         %y = matmul(%g, %v) : f32[batch, 2, seq, 4]
         out %y",
            "%g replaces NaN weights",
        ),
        (
            "five-axes",
            "in %q : f32[batch, 3, 2, seq, 4]
         in %k : f32[batch, 3, 2, keys, 4]
         in %v : f32[batch, 3, 2, keys, 4]
         %kt = transpose(%k) {perm = [0, 1, 2, 4, 3]} : f32[batch, 3, 2, 4, keys]
         %qk = matmul(%q, %kt) : f32[batch, 3, 2, seq, keys]
         %p = softmax(%qk) {axis = 4} : f32[batch, 3, 2, seq, keys]
         %y = matmul(%p, %v) : f32[batch, 3, 2, seq, 4]
         out %y",
            "scores or result of rank 5",
        ),
        (
            "unknown-heads",
            "in %q : f32[batch, heads, seq, 4]
         in %k : f32[batch, heads, keys, 4]
         in %v : f32[batch, heads, keys, 4]
         %kt = transpose(%k) {perm = [0, 1, 3, 2]} : f32[batch, heads, 4, keys]
         %qk = matmul(%q, %kt) : f32[batch, heads, seq, keys]
         %p = softmax(%qk) {axis = 3} : f32[batch, heads, seq, keys]
         %y = matmul(%p, %v) : f32[batch, heads, seq, 4]
         out %y",
            "the number of heads of %qk is not known",
        ),
        (
            "larger-mask",
            "in %q : f32[batch, 2, 1, 4]
         in %k : f32[batch, 2, keys, 4]
         in %v : f32[batch, 2, keys, 4]
         in %mask : f32[seq, keys]
         %kt = transpose(%k) {perm = [0, 1, 3, 2]} : f32[batch, 2, 4, keys]
         %qk = matmul(%q, %kt) : f32[batch, 2, 1, keys]
         %m = add(%qk, %mask) : f32[batch, 2, seq, keys]
         %p = softmax(%m) {axis = 3} : f32[batch, 2, seq, keys]
         %y = matmul(%p, %v) : f32[batch, 2, seq, 4]
         out %y",
            "mask %mask does not broadcast to the scores",
        ),
        (
            "no-values",
            "in %q : f32[batch, 2, seq, 4]
         in %k : f32[batch, 2, keys, 4]
         %kt = transpose(%k) {perm = [0, 1, 3, 2]} : f32[batch, 2, 4, keys]
         %qk = matmul(%q, %kt) : f32[batch, 2, seq, keys]
         %p = softmax(%qk) {axis = 3} : f32[batch, 2, seq, keys]
         out %p",
            "",
        ),
    ] {
        let case = leaves(pass(), &format!("attention@not-{name}"), text);
        assert!(case.trace.contains(reason), "{name}: {}", case.trace);
    }
}

#[test]
fn intermediate_used_elsewhere() {
    let text = masked("", &format!("%m = mul(%s, @half) : {SCORES}"));
    for (name, value) in [("scores", "s"), ("weights", "p")] {
        let more = format!("{text}\n%other = neg(%{value}) : {SCORES}\nout %other");
        let case = leaves(pass(), &format!("attention@used-{name}"), &more);
        let reason = format!("intermediate %{value} is used elsewhere, by %other");
        assert!(case.trace.contains(&reason), "{}", case.trace);
    }
}

#[test]
fn intermediate_is_an_output() {
    let text = masked("", &format!("%m = mul(%s, @half) : {SCORES}"));
    for (name, value) in [("scores", "s"), ("weights", "p")] {
        let case = leaves(pass(), &format!("attention@output-{name}"), &format!("{text}\nout %{value}"));
        assert!(case.trace.contains(&format!("%{value} is an output")), "{}", case.trace);
    }
    // The result before its merge: heads stay split, and are merged for the other output.
    let case = fires_nearly(pass(), "attention@output-context", &format!("{text}\nout %ctx"));
    assert!(!only(&case, &["reshape", "transpose"]).merged);
}
