//! The rms-norm pass.

mod common;

use bgz_passes::passes::rms_norm::pass;
use common::{fires_nearly, leaves};

const CONSTANTS: &str = "const @eps : f32[] = 1e-6
         const @one : f32[] = 1.0
         const @two : f32[] = 2.0
         const @g : f32[4] = [0.5, -1.0, 2.0, 0.25]
         const @g2 : f32[1, 4] = [0.5, -1.0, 2.0, 0.25]";

#[test]
fn every_form() {
    let case = fires_nearly(
        pass(),
        "rms-norm@forms",
        &format!(
            "in %x : f32[rows, 4]
         {CONSTANTS}
         // Llama: weight * (x * rsqrt(mean(x^2) + eps)).
         %sq1 = pow(%x, @two) : f32[rows, 4]
         %ms1 = reduce_mean(%sq1) {{axes = [1], keep_dims = true}} : f32[rows, 1]
         %v1 = add(%ms1, @eps) : f32[rows, 1]
         %r1 = rsqrt(%v1) : f32[rows, 1]
         %n1 = mul(%x, %r1) : f32[rows, 4]
         %y1 = mul(@g, %n1) : f32[rows, 4]
         // Divided by the root, no scale.
         %sq2 = mul(%x, %x) : f32[rows, 4]
         %ms2 = reduce_mean(%sq2) {{axes = [1], keep_dims = true}} : f32[rows, 1]
         %v2 = add(@eps, %ms2) : f32[rows, 1]
         %sd2 = sqrt(%v2) : f32[rows, 1]
         %y2 = div(%x, %sd2) : f32[rows, 4]
         // One over the root, as ONNX has no rsqrt.
         %sq3 = mul(%x, %x) : f32[rows, 4]
         %ms3 = reduce_mean(%sq3) {{axes = [1], keep_dims = true}} : f32[rows, 1]
         %v3 = add(%ms3, @eps) : f32[rows, 1]
         %sd3 = sqrt(%v3) : f32[rows, 1]
         %r3 = div(@one, %sd3) : f32[rows, 1]
         %n3 = mul(%r3, %x) : f32[rows, 4]
         %y3 = mul(%n3, @g2) : f32[rows, 4]
         // The scale joins the inverse root.
         %sq4 = mul(%x, %x) : f32[rows, 4]
         %ms4 = reduce_mean(%sq4) {{axes = [1], keep_dims = true}} : f32[rows, 1]
         %v4 = add(%ms4, @eps) : f32[rows, 1]
         %sd4 = sqrt(%v4) : f32[rows, 1]
         %r4 = recip(%sd4) : f32[rows, 1]
         %f4 = mul(%r4, @g) : f32[rows, 4]
         %y4 = mul(%x, %f4) : f32[rows, 4]
         out %y1
         out %y2
         out %y3
         out %y4"
        ),
    );
    assert_eq!(case.ops(), ["rms_norm"; 4]);
}

#[test]
fn not_an_rms_norm() {
    let case = leaves(
        pass(),
        "rms-norm@not-an-rms-norm",
        &format!(
            "in %x : f32[rows, 4]
         in %y : f32[rows, 4]
         {CONSTANTS}
         %sq1 = mul(%y, %y) : f32[rows, 4]
         %ms1 = reduce_mean(%sq1) {{axes = [1], keep_dims = true}} : f32[rows, 1]
         %v1 = add(%ms1, @eps) : f32[rows, 1]
         %r1 = rsqrt(%v1) : f32[rows, 1]
         %other = mul(%x, %r1) : f32[rows, 4]
         %sq2 = mul(%x, %x) : f32[rows, 4]
         %ms2 = reduce_mean(%sq2) {{axes = [0], keep_dims = true}} : f32[1, 4]
         %v2 = add(%ms2, @eps) : f32[1, 4]
         %r2 = rsqrt(%v2) : f32[1, 4]
         %other_axis = mul(%x, %r2) : f32[rows, 4]
         %sq3 = mul(%x, %x) : f32[rows, 4]
         %ms3 = reduce_sum(%sq3) {{axes = [1], keep_dims = true}} : f32[rows, 1]
         %v3 = add(%ms3, @eps) : f32[rows, 1]
         %r3 = rsqrt(%v3) : f32[rows, 1]
         %a_sum = mul(%x, %r3) : f32[rows, 4]
         %n4 = rms_norm(%x) {{eps = 1e-6}} : f32[rows, 4]
         %gated = mul(%n4, %y) : f32[rows, 4]
         %n5 = rms_norm(%x, @g) {{eps = 1e-6}} : f32[rows, 4]
         %scaled_again = mul(%n5, @g) : f32[rows, 4]
         out %other
         out %other_axis
         out %a_sum
         out %gated
         out %scaled_again"
        ),
    );
    assert!(case.trace.contains("is not over the last axis alone"), "{}", case.trace);
}

#[test]
fn intermediate_used_elsewhere() {
    let case = leaves(
        pass(),
        "rms-norm@used-elsewhere",
        &format!(
            "in %x : f32[rows, 4]
         {CONSTANTS}
         %sq = mul(%x, %x) : f32[rows, 4]
         %ms = reduce_mean(%sq) {{axes = [1], keep_dims = true}} : f32[rows, 1]
         %v = add(%ms, @eps) : f32[rows, 1]
         %r = rsqrt(%v) : f32[rows, 1]
         %y = mul(%x, %r) : f32[rows, 4]
         %other = neg(%r) : f32[rows, 1]
         out %y
         out %other"
        ),
    );
    assert!(case.trace.contains("%r is used elsewhere, by %other"), "{}", case.trace);
}

#[test]
fn intermediate_is_an_output() {
    let case = leaves(
        pass(),
        "rms-norm@output",
        &format!(
            "in %x : f32[rows, 4]
         {CONSTANTS}
         %sq = mul(%x, %x) : f32[rows, 4]
         %ms = reduce_mean(%sq) {{axes = [1], keep_dims = true}} : f32[rows, 1]
         %v = add(%ms, @eps) : f32[rows, 1]
         %r = rsqrt(%v) : f32[rows, 1]
         %y = mul(%x, %r) : f32[rows, 4]
         %n = rms_norm(%x) {{eps = 1e-6}} : f32[rows, 4]
         %s = mul(%n, @g) : f32[rows, 4]
         out %y
         out %ms
         out %n
         out %s"
        ),
    );
    assert!(case.trace.contains("%ms is an output"), "{}", case.trace);
}
