//! The softmax pass.

mod common;

use bgz_passes::passes::softmax::pass;
use common::{fires_nearly, leaves};

#[test]
fn quotients() {
    let case = fires_nearly(
        pass(),
        "softmax@quotients",
        "in %x : f32[batch, n]
         const @one : f32[] = 1.0
         // The exponentials are shared, as PyTorch and Burn write it.
         %max = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred = sub(%x, %max) : f32[batch, n]
         %exp = exp(%centred) : f32[batch, n]
         %sum = reduce_sum(%exp) {axes = [1], keep_dims = true} : f32[batch, 1]
         %shared = div(%exp, %sum) : f32[batch, n]
         // Everything is computed twice.
         %max2 = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred2 = sub(%x, %max2) : f32[batch, n]
         %exp2 = exp(%centred2) : f32[batch, n]
         %max3 = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred3 = sub(%x, %max3) : f32[batch, n]
         %exp3 = exp(%centred3) : f32[batch, n]
         %sum2 = reduce_sum(%exp3) {axes = [1], keep_dims = true} : f32[batch, 1]
         %twice = div(%exp2, %sum2) : f32[batch, n]
         // The first axis, times the reciprocal, from the left.
         %max4 = reduce_max(%x) {axes = [0], keep_dims = true} : f32[1, n]
         %centred4 = sub(%x, %max4) : f32[batch, n]
         %exp4 = exp(%centred4) : f32[batch, n]
         %sum4 = reduce_sum(%exp4) {axes = [0], keep_dims = true} : f32[1, n]
         %recip4 = recip(%sum4) : f32[1, n]
         %by_recip = mul(%recip4, %exp4) : f32[batch, n]
         // Reductions that drop the axis, and one divided by the sum.
         %max5 = reduce_max(%x) {axes = [1], keep_dims = false} : f32[batch]
         %max5k = reshape(%max5) {shape = [batch, 1]} : f32[batch, 1]
         %centred5 = sub(%x, %max5k) : f32[batch, n]
         %exp5 = exp(%centred5) : f32[batch, n]
         %sum5 = reduce_sum(%exp5) {axes = [1], keep_dims = false} : f32[batch]
         %sum5k = reshape(%sum5) {shape = [batch, 1]} : f32[batch, 1]
         %recip5 = div(@one, %sum5k) : f32[batch, 1]
         %dropped = mul(%exp5, %recip5) : f32[batch, n]
         out %shared
         out %twice
         out %by_recip
         out %dropped",
    );
    assert_eq!(case.ops(), ["softmax"; 4]);
}

#[test]
fn logarithms() {
    let case = fires_nearly(
        pass(),
        "softmax@logarithms",
        "in %x : f32[batch, n]
         %softmax = softmax(%x) {axis = 0} : f32[batch, n]
         %log = log(%softmax) : f32[batch, n]
         %max = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred = sub(%x, %max) : f32[batch, n]
         %exp = exp(%centred) : f32[batch, n]
         %sum = reduce_sum(%exp) {axes = [1], keep_dims = true} : f32[batch, 1]
         %logsum = log(%sum) : f32[batch, 1]
         %less = sub(%centred, %logsum) : f32[batch, n]
         %max2 = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred2 = sub(%x, %max2) : f32[batch, n]
         %exp2 = exp(%centred2) : f32[batch, n]
         %sum2 = reduce_sum(%exp2) {axes = [1], keep_dims = true} : f32[batch, 1]
         %logsum2 = log(%sum2) : f32[batch, 1]
         %lse = add(%logsum2, %max2) : f32[batch, 1]
         %less2 = sub(%x, %lse) : f32[batch, n]
         // The quotient becomes a softmax first.
         %max3 = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred3 = sub(%x, %max3) : f32[batch, n]
         %exp3 = exp(%centred3) : f32[batch, n]
         %sum3 = reduce_sum(%exp3) {axes = [1], keep_dims = true} : f32[batch, 1]
         %quotient = div(%exp3, %sum3) : f32[batch, n]
         %log3 = log(%quotient) : f32[batch, n]
         out %log
         out %less
         out %less2
         out %log3",
    );
    assert_eq!(case.ops(), ["log_softmax"; 4]);
}

/// Without the maximum it overflows; with another axis, another sum or another
/// numerator it is no softmax.
#[test]
fn not_a_softmax() {
    let case = leaves(
        pass(),
        "softmax@not-a-softmax",
        "in %x : f32[batch, n]
         in %y : f32[batch, n]
         %exp = exp(%x) : f32[batch, n]
         %sum = reduce_sum(%exp) {axes = [1], keep_dims = true} : f32[batch, 1]
         %no_max = div(%exp, %sum) : f32[batch, n]
         %max2 = reduce_max(%x) {axes = [0], keep_dims = true} : f32[1, n]
         %centred2 = sub(%x, %max2) : f32[batch, n]
         %exp2 = exp(%centred2) : f32[batch, n]
         %sum2 = reduce_sum(%exp2) {axes = [1], keep_dims = true} : f32[batch, 1]
         %other_axis = div(%exp2, %sum2) : f32[batch, n]
         %max3 = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred3 = sub(%x, %max3) : f32[batch, n]
         %exp3 = exp(%centred3) : f32[batch, n]
         %mean3 = reduce_mean(%exp3) {axes = [1], keep_dims = true} : f32[batch, 1]
         %a_mean = div(%exp3, %mean3) : f32[batch, n]
         %max4 = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred4 = sub(%y, %max4) : f32[batch, n]
         %exp4 = exp(%centred4) : f32[batch, n]
         %sum4 = reduce_sum(%exp4) {axes = [1], keep_dims = true} : f32[batch, 1]
         %other_max = div(%exp4, %sum4) : f32[batch, n]
         %max5 = reduce_max(%x) {axes = [0, 1], keep_dims = true} : f32[1, 1]
         %centred5 = sub(%x, %max5) : f32[batch, n]
         %exp5 = exp(%centred5) : f32[batch, n]
         %sum5 = reduce_sum(%exp5) {axes = [0, 1], keep_dims = true} : f32[1, 1]
         %two_axes = div(%exp5, %sum5) : f32[batch, n]
         out %no_max
         out %other_axis
         out %a_mean
         out %other_max
         out %two_axes",
    );
    assert!(case.trace.contains("not over one and the same axis"), "{}", case.trace);
}

#[test]
fn intermediate_used_elsewhere() {
    let case = leaves(
        pass(),
        "softmax@used-elsewhere",
        "in %x : f32[batch, n]
         %max = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred = sub(%x, %max) : f32[batch, n]
         %exp = exp(%centred) : f32[batch, n]
         %sum = reduce_sum(%exp) {axes = [1], keep_dims = true} : f32[batch, 1]
         %y = div(%exp, %sum) : f32[batch, n]
         %other = neg(%exp) : f32[batch, n]
         out %y
         out %other",
    );
    assert!(case.trace.contains("%exp is used elsewhere, by %other"), "{}", case.trace);
}

#[test]
fn intermediate_is_an_output() {
    let case = leaves(
        pass(),
        "softmax@output",
        "in %x : f32[batch, n]
         %max = reduce_max(%x) {axes = [1], keep_dims = true} : f32[batch, 1]
         %centred = sub(%x, %max) : f32[batch, n]
         %exp = exp(%centred) : f32[batch, n]
         %sum = reduce_sum(%exp) {axes = [1], keep_dims = true} : f32[batch, 1]
         %y = div(%exp, %sum) : f32[batch, n]
         %log = softmax(%x) {axis = 1} : f32[batch, n]
         %z = log(%log) : f32[batch, n]
         out %y
         out %sum
         out %log
         out %z",
    );
    assert!(case.trace.contains("%sum is an output"), "{}", case.trace);
}
