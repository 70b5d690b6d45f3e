//! The parts that the tests of the attention pass share: a block with a gap for the scores.

use super::Case;
use bgz_passes::ir::{Graph, Op};

/// Queries, keys and values `[batch, seq, 2 heads * 4]`.
pub const QKV: &str = "in %q : f32[batch, seq, 8]
         in %k : f32[batch, seq, 8]
         in %v : f32[batch, seq, 8]
         const @root : f32[] = 2.0
         const @half : f32[] = 0.5
         const @sqrt : f32[] = 0.70710677";

/// Split of the three; the keys are transposed at once.
pub const SPLIT: &str = "%q4 = reshape(%q) {shape = [batch, seq, 2, 4]} : f32[batch, seq, 2, 4]
         %qh = transpose(%q4) {perm = [0, 2, 1, 3]} : f32[batch, 2, seq, 4]
         %k4 = reshape(%k) {shape = [batch, seq, 2, 4]} : f32[batch, seq, 2, 4]
         %kt = transpose(%k4) {perm = [0, 2, 3, 1]} : f32[batch, 2, 4, seq]
         %v4 = reshape(%v) {shape = [batch, seq, 2, 4]} : f32[batch, seq, 2, 4]
         %vh = transpose(%v4) {perm = [0, 2, 1, 3]} : f32[batch, 2, seq, 4]";

/// From `%p`, the weights, to the merged result.
pub const MERGE: &str = "%ctx = matmul(%p, %vh) : f32[batch, 2, seq, 4]
         %ctx4 = transpose(%ctx) {perm = [0, 2, 1, 3]} : f32[batch, seq, 2, 4]
         %y = reshape(%ctx4) {shape = [batch, seq, 8]} : f32[batch, seq, 8]
         out %y";

/// The type of scores.
pub const SCORES: &str = "f32[batch, 2, seq, seq]";

/// Everything but what is between the split and the merge.
pub fn block(inputs: &str, scores: &str) -> String {
    format!("{QKV}\n{inputs}\n{SPLIT}\n{scores}\n{MERGE}")
}

/// `block` with a mask in the place of `{mask}` that takes `%s` to `%m`.
pub fn masked(inputs: &str, mask: &str) -> String {
    block(
        inputs,
        &format!(
            "%qk = matmul(%qh, %kt) : {SCORES}
         %s = mul(%qk, @half) : {SCORES}
         {mask}
         %p = softmax(%m) {{axis = 3}} : {SCORES}"
        ),
    )
}

/// The attention ops of a graph.
pub fn attentions(graph: &Graph) -> Vec<bgz_passes::ir::Attention> {
    graph
        .nodes()
        .filter_map(|(_, n)| match &n.op {
            Op::Attention(a) => Some(a.clone()),
            _ => None,
        })
        .collect()
}

/// There is one attention, and nothing else but what `besides` names.
#[track_caller]
pub fn only(case: &Case, besides: &[&str]) -> bgz_passes::ir::Attention {
    let mut ops = case.ops();
    let at = ops.iter().position(|o| o == "attention").unwrap_or_else(|| panic!("{}\n{}", case.after, case.trace));
    ops.remove(at);
    assert_eq!(ops, besides, "{}\n{}", case.after, case.trace);
    attentions(&case.after).remove(0)
}
