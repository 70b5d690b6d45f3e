//! The linear pass.

mod common;

use bgz_passes::passes::linear::pass;
use common::{fires_nearly, leaves};

const WEIGHTS: &str = "const @w : f32[4, 2] = [0.5, -1.0, 2.0, 0.25, 1.0, -0.5, 0.125, 3.0]
         const @wt : f32[2, 4] = [0.5, 2.0, 1.0, 0.125, -1.0, 0.25, -0.5, 3.0]
         const @b : f32[2] = [0.5, -0.25]
         const @brow : f32[1, 1, 2] = [0.5, -0.25]
         const @ones : f32[1] = [0.5]";

#[test]
fn products_with_a_bias() {
    let case = fires_nearly(
        pass(),
        "linear@bias",
        &format!(
            "in %x : f32[batch, seq, 4]
         in %v : f32[4]
         in %bias : f32[2]
         {WEIGHTS}
         %m1 = matmul(%x, @w) : f32[batch, seq, 2]
         %y1 = add(%m1, @b) : f32[batch, seq, 2]
         %m2 = matmul(%x, @w) : f32[batch, seq, 2]
         %y2 = add(@b, %m2) : f32[batch, seq, 2]
         %t = transpose(@wt) {{perm = [1, 0]}} : f32[4, 2]
         %m3 = matmul(%x, %t) : f32[batch, seq, 2]
         %y3 = add(%m3, @brow) : f32[batch, seq, 2]
         %m4 = matmul(%v, @w) : f32[2]
         %y4 = add(%m4, %bias) : f32[2]
         %m5 = matmul(%x, @w) : f32[batch, seq, 2]
         %l6 = linear(%x, @w) : f32[batch, seq, 2]
         %y6 = add(%l6, @b) : f32[batch, seq, 2]
         out %y1
         out %y2
         out %y3
         out %y4
         out %m5
         out %y6"
        ),
    );
    assert_eq!(case.ops(), ["linear"; 6]);
}

#[test]
fn not_a_bias() {
    let case = fires_nearly(
        pass(),
        "linear@not-a-bias",
        &format!(
            "in %x : f32[n, 4]
         in %x2 : f32[2, 4]
         in %r : f32[n, 2]
         {WEIGHTS}
         const @column : f32[2, 1] = [1.0, 2.0]
         const @two : f32[2, 2] = [1.0, 2.0, 3.0, 4.0]
         %m1 = matmul(%x, @w) : f32[n, 2]
         %scalar = add(%m1, @ones) : f32[n, 2]
         %m2 = matmul(%x, @w) : f32[n, 2]
         %residual = add(%m2, %r) : f32[n, 2]
         %m3 = matmul(%x, @w) : f32[n, 2]
         %rank = add(%m3, @brow) : f32[1, n, 2]
         %m4 = matmul(%x2, @w) : f32[2, 2]
         %rows = add(%m4, @two) : f32[2, 2]
         %m5 = matmul(%x, @w) : f32[n, 2]
         %sub = sub(%m5, @b) : f32[n, 2]
         out %scalar
         out %residual
         out %rank
         out %rows
         out %sub"
        ),
    );
    assert!(!case.after.to_string().contains("@b)\n"), "{}", case.after);
}

/// The product is used, or is a result: it becomes a linear, the sum stays.
#[test]
fn product_used_elsewhere() {
    let case = fires_nearly(
        pass(),
        "linear@used-elsewhere",
        &format!(
            "in %x : f32[n, 4]
         {WEIGHTS}
         %m1 = matmul(%x, @w) : f32[n, 2]
         %y1 = add(%m1, @b) : f32[n, 2]
         %z = neg(%m1) : f32[n, 2]
         %m2 = matmul(%x, @w) : f32[n, 2]
         %y2 = add(%m2, @b) : f32[n, 2]
         out %y1
         out %z
         out %m2
         out %y2"
        ),
    );
    assert_eq!(case.ops(), ["add", "add", "linear", "linear", "neg"]);
}

#[test]
fn other_products_stay() {
    leaves(
        pass(),
        "linear@other",
        "in %x : f32[n, 4]
         in %y : f32[4, m]
         in %c : f32[2, 4, n]
         const @left : f32[2, 4] = [0.5, 2.0, 1.0, 0.125, -1.0, 0.25, -0.5, 3.0]
         const @batch : f32[2, 4, 1] = [0.5, 2.0, 1.0, 0.125, -1.0, 0.25, -0.5, 3.0]
         const @vector : f32[4] = [1.0, 2.0, 3.0, 4.0]
         %a = matmul(%x, %y) : f32[n, m]
         %b = matmul(@left, %y) : f32[2, m]
         %d = matmul(%x, @batch) : f32[2, n, 1]
         %e = matmul(%x, @vector) : f32[n]
         %f = matmul(@left, %c) : f32[2, 2, n]
         out %a
         out %b
         out %d
         out %e
         out %f",
    );
}

/// The ops that burn-nn emits for a linear layer whose weights are not constants.
#[test]
fn weights_that_are_given() {
    let case = fires_nearly(
        pass(),
        "linear@given",
        "in %x : f32[2, 3, 4]
         in %w : f32[4, 2]
         in %wt : f32[2, 4]
         in %b : f32[2]
         %w1 = reshape(%w) {shape = [1, 4, 2]} : f32[1, 4, 2]
         %m1 = matmul(%x, %w1) : f32[2, 3, 2]
         %b1 = reshape(%b) {shape = [1, 1, 2]} : f32[1, 1, 2]
         %y1 = add(%m1, %b1) : f32[2, 3, 2]
         %w2 = reshape(%wt) {shape = [1, 2, 4]} : f32[1, 2, 4]
         %t2 = transpose(%w2) {perm = [0, 2, 1]} : f32[1, 4, 2]
         %y2 = matmul(%x, %t2) : f32[2, 3, 2]
         out %y1
         out %y2",
    );
    assert_eq!(case.ops(), ["linear"; 2]);
}

/// The rows of a batch each have a matrix of their own, or there is no batch.
#[test]
fn products_of_two_activations() {
    leaves(
        pass(),
        "linear@two-activations",
        "in %x : f32[2, 3, 4]
         in %k : f32[2, 4, 3]
         in %a : f32[3, 4]
         in %b : f32[4, 3]
         in %r : f32[8, 3]
         %y1 = matmul(%x, %k) : f32[2, 3, 3]
         %y2 = matmul(%a, %b) : f32[3, 3]
         %k2 = reshape(%r) {shape = [2, 4, 3]} : f32[2, 4, 3]
         %y3 = matmul(%x, %k2) : f32[2, 3, 3]
         %b4 = reshape(%b) {shape = [1, 1, 4, 3]} : f32[1, 1, 4, 3]
         %y4 = matmul(%x, %b4) : f32[1, 2, 3, 3]
         out %y1
         out %y2
         out %y3
         out %y4",
    );
}
