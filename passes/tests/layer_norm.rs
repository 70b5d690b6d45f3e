//! The layer-norm pass.

mod common;

use bgz_passes::passes::layer_norm::pass;
use common::{fires_nearly, leaves};

const CONSTANTS: &str = "const @eps : f32[] = 1e-5
         const @two : f32[] = 2.0
         const @half : f32[] = 0.5
         const @minus_half : f32[] = -0.5
         const @g : f32[4] = [0.5, -1.0, 2.0, 0.25]
         const @g3 : f32[1, 1, 4] = [0.5, -1.0, 2.0, 0.25]
         const @b : f32[4] = [1.0, 0.5, -0.25, 2.0]
         const @b3 : f32[1, 1, 4] = [1.0, 0.5, -0.25, 2.0]";

fn statements(inputs: &str, body: &str) -> String {
    format!("{inputs}\n{CONSTANTS}\n{body}")
}

/// `%c` and `%v`: `x - mean(x)` and its mean square plus epsilon.
const CENTRED: &str = "%m = reduce_mean(%x) {axes = [2], keep_dims = true} : f32[batch, seq, 1]
         %c = sub(%x, %m) : f32[batch, seq, 4]
         %sq = mul(%c, %c) : f32[batch, seq, 4]
         %var = reduce_mean(%sq) {axes = [2], keep_dims = true} : f32[batch, seq, 1]
         %v = add(%var, @eps) : f32[batch, seq, 1]";

#[test]
fn as_pytorch_exports_it() {
    let case = fires_nearly(
        pass(),
        "layer-norm@pytorch",
        &statements(
            "in %x : f32[batch, seq, 4]",
            "%m = reduce_mean(%x) {axes = [2], keep_dims = true} : f32[batch, seq, 1]
         %c = sub(%x, %m) : f32[batch, seq, 4]
         %sq = pow(%c, @two) : f32[batch, seq, 4]
         %var = reduce_mean(%sq) {axes = [2], keep_dims = true} : f32[batch, seq, 1]
         %v = add(%var, @eps) : f32[batch, seq, 1]
         %sd = sqrt(%v) : f32[batch, seq, 1]
         %n = div(%c, %sd) : f32[batch, seq, 4]
         %s = mul(%n, @g) : f32[batch, seq, 4]
         %y = add(%s, @b) : f32[batch, seq, 4]
         out %y",
        ),
    );
    assert_eq!(case.ops(), ["layer_norm"]);
    assert_eq!(case.rewrites, 3);
}

/// The mean is taken twice, and scale and bias are reshaped to rank 3.
#[test]
fn as_burn_traces_it() {
    let case = fires_nearly(
        pass(),
        "layer-norm@burn",
        &statements(
            "in %x : f32[batch, seq, 4]
         in %gamma : f32[4]
         in %beta : f32[4]",
            "%m = reduce_mean(%x) {axes = [2], keep_dims = true} : f32[batch, seq, 1]
         %c = sub(%x, %m) : f32[batch, seq, 4]
         %m2 = reduce_mean(%x) {axes = [2], keep_dims = true} : f32[batch, seq, 1]
         %c2 = sub(%x, %m2) : f32[batch, seq, 4]
         %sq = mul(%c2, %c2) : f32[batch, seq, 4]
         %var = reduce_mean(%sq) {axes = [2], keep_dims = true} : f32[batch, seq, 1]
         %v = add(%var, @eps) : f32[batch, seq, 1]
         %sd = sqrt(%v) : f32[batch, seq, 1]
         %n = div(%c, %sd) : f32[batch, seq, 4]
         %g3d = reshape(%gamma) {shape = [1, 1, 4]} : f32[1, 1, 4]
         %s = mul(%n, %g3d) : f32[batch, seq, 4]
         %b3d = reshape(%beta) {shape = [1, 1, 4]} : f32[1, 1, 4]
         %y = add(%s, %b3d) : f32[batch, seq, 4]
         out %y",
        ),
    );
    assert_eq!(case.ops(), ["layer_norm"]);
}

#[test]
fn by_the_inverse_root() {
    let case = fires_nearly(
        pass(),
        "layer-norm@inverse-root",
        &statements(
            "in %x : f32[batch, seq, 4]",
            &format!(
                "{CENTRED}
         %r1 = rsqrt(%v) : f32[batch, seq, 1]
         %y1 = mul(%c, %r1) : f32[batch, seq, 4]
         out %y1"
            ),
        ),
    );
    assert_eq!(case.ops(), ["layer_norm"]);
    for (name, root) in [
        ("power", "%r = pow(%v, @minus_half) : f32[batch, seq, 1]"),
        ("recip-of-root", "%sd = pow(%v, @half) : f32[batch, seq, 1]\n%r = recip(%sd) : f32[batch, seq, 1]"),
        ("root-of-recip", "%q = recip(%v) : f32[batch, seq, 1]\n%r = sqrt(%q) : f32[batch, seq, 1]"),
    ] {
        let body = format!(
            "{CENTRED}
         {root}
         %n = mul(%r, %c) : f32[batch, seq, 4]
         %s = mul(@g3, %n) : f32[batch, seq, 4]
         %y = add(@b3, %s) : f32[batch, seq, 4]
         out %y"
        );
        let case =
            fires_nearly(pass(), &format!("layer-norm@{name}"), &statements("in %x : f32[batch, seq, 4]", &body));
        assert_eq!(case.ops(), ["layer_norm"]);
    }
}

/// The scale joins the inverse root, and the mean the bias.
#[test]
fn as_tensorflow_writes_it() {
    let case = fires_nearly(
        pass(),
        "layer-norm@tensorflow",
        &statements(
            "in %x : f32[batch, seq, 4]",
            &format!(
                "{CENTRED}
         %r = rsqrt(%v) : f32[batch, seq, 1]
         %f = mul(%r, @g) : f32[batch, seq, 4]
         %xf = mul(%x, %f) : f32[batch, seq, 4]
         %mf = mul(%m, %f) : f32[batch, seq, 4]
         %rest = sub(@b, %mf) : f32[batch, seq, 4]
         %y = add(%xf, %rest) : f32[batch, seq, 4]
         out %y"
            ),
        ),
    );
    assert_eq!(case.ops(), ["layer_norm"]);
}

/// A LayerNorm of any origin takes in what is behind it; a missing scale is one.
#[test]
fn existing_ones_take_scale_and_bias() {
    let case = fires_nearly(
        pass(),
        "layer-norm@absorbed",
        &statements(
            "in %x : f32[rows, 4]
         in %row : f32[1, 4]",
            "%n1 = layer_norm(%x) {eps = 1e-5} : f32[rows, 4]
         %s1 = mul(%n1, %row) : f32[rows, 4]
         %y1 = add(%s1, @b) : f32[rows, 4]
         %n2 = layer_norm(%x) {eps = 1e-5} : f32[rows, 4]
         %y2 = add(@b, %n2) : f32[rows, 4]
         out %y1
         out %y2",
        ),
    );
    assert_eq!(case.ops(), ["layer_norm", "layer_norm", "reshape"]);
}

#[test]
fn neither_scale_nor_bias() {
    leaves(
        pass(),
        "layer-norm@neither-scale-nor-bias",
        &statements(
            "in %x : f32[rows, 4]
         in %y : f32[rows, 4]
         in %column : f32[rows, 1]
         in %deep : f32[2, 1, 4]",
            "%n1 = layer_norm(%x) {eps = 1e-5} : f32[rows, 4]
         %gated = mul(%n1, %y) : f32[rows, 4]
         %n2 = layer_norm(%x, @g) {eps = 1e-5} : f32[rows, 4]
         %scaled_again = mul(%n2, @g) : f32[rows, 4]
         %n3 = layer_norm(%x) {eps = 1e-5} : f32[rows, 4]
         %by_row = mul(%n3, %column) : f32[rows, 4]
         %n4 = layer_norm(%x) {eps = 1e-5} : f32[rows, 4]
         %deeper = mul(%n4, %deep) : f32[2, rows, 4]
         %n5 = layer_norm(%x, @g, @b) {eps = 1e-5} : f32[rows, 4]
         %biased_again = add(%n5, @b) : f32[rows, 4]
         %n6 = layer_norm(%x) {eps = 1e-5} : f32[rows, 4]
         %halved = mul(%n6, @half) : f32[rows, 4]
         out %gated
         out %scaled_again
         out %by_row
         out %deeper
         out %biased_again
         out %halved",
        ),
    );
}

#[test]
fn not_a_layer_norm() {
    let case = leaves(
        pass(),
        "layer-norm@not-a-layer-norm",
        &statements(
            "in %x : f32[a, b, 4]
         in %y : f32[a, b, 4]",
            "%m1 = reduce_mean(%x) {axes = [1], keep_dims = true} : f32[a, 1, 4]
         %c1 = sub(%x, %m1) : f32[a, b, 4]
         %sq1 = mul(%c1, %c1) : f32[a, b, 4]
         %var1 = reduce_mean(%sq1) {axes = [1], keep_dims = true} : f32[a, 1, 4]
         %v1 = add(%var1, @eps) : f32[a, 1, 4]
         %sd1 = sqrt(%v1) : f32[a, 1, 4]
         %other_axis = div(%c1, %sd1) : f32[a, b, 4]
         %m2 = reduce_mean(%x) {axes = [1, 2], keep_dims = true} : f32[a, 1, 1]
         %c2 = sub(%x, %m2) : f32[a, b, 4]
         %sq2 = mul(%c2, %c2) : f32[a, b, 4]
         %var2 = reduce_mean(%sq2) {axes = [1, 2], keep_dims = true} : f32[a, 1, 1]
         %v2 = add(%var2, @eps) : f32[a, 1, 1]
         %sd2 = sqrt(%v2) : f32[a, 1, 1]
         %two_axes = div(%c2, %sd2) : f32[a, b, 4]
         %m3 = reduce_mean(%x) {axes = [2], keep_dims = true} : f32[a, b, 1]
         %c3 = sub(%x, %m3) : f32[a, b, 4]
         %sq3 = mul(%y, %y) : f32[a, b, 4]
         %var3 = reduce_mean(%sq3) {axes = [2], keep_dims = true} : f32[a, b, 1]
         %v3 = add(%var3, @eps) : f32[a, b, 1]
         %sd3 = sqrt(%v3) : f32[a, b, 1]
         %other_variance = div(%c3, %sd3) : f32[a, b, 4]
         %m4 = reduce_mean(%x) {axes = [2], keep_dims = true} : f32[a, b, 1]
         %c4 = sub(%x, %m4) : f32[a, b, 4]
         %sq4 = mul(%c4, %c4) : f32[a, b, 4]
         %var4 = reduce_sum(%sq4) {axes = [2], keep_dims = true} : f32[a, b, 1]
         %v4 = add(%var4, @eps) : f32[a, b, 1]
         %sd4 = sqrt(%v4) : f32[a, b, 1]
         %a_sum = div(%c4, %sd4) : f32[a, b, 4]
         out %other_axis
         out %two_axes
         out %other_variance
         out %a_sum",
        ),
    );
    assert!(case.trace.contains("is not over the last axis alone"), "{}", case.trace);
}

#[test]
fn intermediate_used_elsewhere() {
    let body = format!(
        "{CENTRED}
         %sd = sqrt(%v) : f32[batch, seq, 1]
         %y = div(%c, %sd) : f32[batch, seq, 4]
         %other = neg(%sd) : f32[batch, seq, 1]
         out %y
         out %other"
    );
    let case = leaves(pass(), "layer-norm@used-elsewhere", &statements("in %x : f32[batch, seq, 4]", &body));
    assert!(case.trace.contains("%sd is used elsewhere, by %other"), "{}", case.trace);
}

#[test]
fn intermediate_is_an_output() {
    let body = format!(
        "{CENTRED}
         %sd = sqrt(%v) : f32[batch, seq, 1]
         %y = div(%c, %sd) : f32[batch, seq, 4]
         %n2 = layer_norm(%x) {{eps = 1e-5}} : f32[batch, seq, 4]
         %s = mul(%n2, @g) : f32[batch, seq, 4]
         out %y
         out %m
         out %n2
         out %s"
    );
    let case = leaves(pass(), "layer-norm@output", &statements("in %x : f32[batch, seq, 4]", &body));
    assert!(case.trace.contains("%m is an output"), "{}", case.trace);
}
