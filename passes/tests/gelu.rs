//! The gelu pass.

mod common;

use bgz_passes::passes::gelu::pass;
use common::{fires_nearly, leaves};

/// `%t` is `erf(x / sqrt(2))`.
const ERF: &str = "in %x : f32[n]
         const @root : f32[] = 1.4142135
         const @inverse : f32[] = 0.70710677
         const @half : f32[] = 0.5
         const @one : f32[] = 1.0
         const @two : f32[] = 2.0
         %a = div(%x, @root) : f32[n]
         %t = erf(%a) : f32[n]";

#[test]
fn erf_in_every_association() {
    for (name, body) in [
        // PyTorch: x * (erf(x / sqrt 2) + 1) * 0.5.
        ("outside", "%e = add(%t, @one) : f32[n]\n%p = mul(%x, %e) : f32[n]\n%y = mul(%p, @half) : f32[n]"),
        // Burn: the same, divided by 2.
        ("divided", "%e = add(%t, @one) : f32[n]\n%p = mul(%e, %x) : f32[n]\n%y = div(%p, @two) : f32[n]"),
        ("on-x", "%e = add(%t, @one) : f32[n]\n%h = mul(@half, %x) : f32[n]\n%y = mul(%h, %e) : f32[n]"),
        ("inside", "%e = add(%t, @one) : f32[n]\n%h = mul(%e, @half) : f32[n]\n%y = mul(%x, %h) : f32[n]"),
        ("distributed", "%h = mul(%t, @half) : f32[n]\n%c = add(@half, %h) : f32[n]\n%y = mul(%c, %x) : f32[n]"),
        ("sum", "%h = mul(%x, @half) : f32[n]\n%ht = mul(%h, %t) : f32[n]\n%y = add(%ht, %h) : f32[n]"),
    ] {
        let case = fires_nearly(pass(), &format!("gelu@erf-{name}"), &format!("{ERF}\n{body}\nout %y"));
        assert!(case.ops().contains(&"gelu_erf".into()), "{}", case.after);
        assert!(!case.ops().contains(&"mul".into()), "{}", case.after);
    }
}

#[test]
fn erf_of_a_product() {
    let case = fires_nearly(
        pass(),
        "gelu@erf-product",
        "in %x : f32[n]
         const @inverse : f32[] = 0.70710677
         const @half : f32[] = 0.5
         const @one : f32[] = 1.0
         // x may itself be a multiple of something.
         %x2 = mul(%x, @half) : f32[n]
         %a = mul(@inverse, %x2) : f32[n]
         %t = erf(%a) : f32[n]
         %e = add(@one, %t) : f32[n]
         %h = mul(%x2, @half) : f32[n]
         %y = mul(%e, %h) : f32[n]
         out %y",
    );
    assert_eq!(case.ops(), ["gelu_erf", "mul"]);
}

/// A constant in half precision is as near to `sqrt(2)` as it can be.
#[test]
fn half_precision() {
    let case = common::run(
        pass(),
        "in %x : f16[n]
         const @inverse : f16[] = 0.70703125
         const @half : f16[] = 0.5
         const @one : f16[] = 1.0
         %a = mul(@inverse, %x) : f16[n]
         %t = erf(%a) : f16[n]
         %e = add(@one, %t) : f16[n]
         %h = mul(%x, @half) : f16[n]
         %y = mul(%e, %h) : f16[n]
         out %y",
    );
    assert_eq!(case.ops(), ["gelu_erf"]);
}

/// The ops before the last products of the tanh form.
const TANH: &str = "in %x : f32[n]
         const @s : f32[] = 0.7978846
         const @k : f32[] = 0.044715
         const @sk : f32[] = 0.035677407
         const @half : f32[] = 0.5
         const @one : f32[] = 1.0
         const @three : f32[] = 3.0";

#[test]
fn tanh_in_every_association() {
    for (name, body) in [
        // 0.5 * x * (1 + tanh(s * (x + k * pow(x, 3))))
        (
            "pow",
            "%c = pow(%x, @three) : f32[n]
         %kc = mul(@k, %c) : f32[n]
         %i = add(%x, %kc) : f32[n]
         %a = mul(@s, %i) : f32[n]
         %t = tanh(%a) : f32[n]
         %e = add(%t, @one) : f32[n]
         %h = mul(@half, %x) : f32[n]
         %y = mul(%h, %e) : f32[n]",
        ),
        // x * x * x, the half outside
        (
            "cube",
            "%q = mul(%x, %x) : f32[n]
         %c = mul(%q, %x) : f32[n]
         %kc = mul(%c, @k) : f32[n]
         %i = add(%kc, %x) : f32[n]
         %a = mul(%i, @s) : f32[n]
         %t = tanh(%a) : f32[n]
         %e = add(@one, %t) : f32[n]
         %p = mul(%x, %e) : f32[n]
         %y = mul(%p, @half) : f32[n]",
        ),
        // s * x * (1 + k * x * x), x taken out
        (
            "horner",
            "%kx = mul(@k, %x) : f32[n]
         %kxx = mul(%kx, %x) : f32[n]
         %i = add(%kxx, @one) : f32[n]
         %sx = mul(%x, @s) : f32[n]
         %a = mul(%sx, %i) : f32[n]
         %t = tanh(%a) : f32[n]
         %e = add(@one, %t) : f32[n]
         %h = mul(%e, @half) : f32[n]
         %y = mul(%h, %x) : f32[n]",
        ),
        // x * (s + s*k * x^2)
        (
            "distributed",
            "%q = mul(%x, %x) : f32[n]
         %skq = mul(%q, @sk) : f32[n]
         %i = add(%skq, @s) : f32[n]
         %a = mul(%x, %i) : f32[n]
         %t = tanh(%a) : f32[n]
         %ht = mul(%t, @half) : f32[n]
         %e = add(%ht, @half) : f32[n]
         %y = mul(%x, %e) : f32[n]",
        ),
    ] {
        let case = fires_nearly(pass(), &format!("gelu@tanh-{name}"), &format!("{TANH}\n{body}\nout %y"));
        assert_eq!(case.ops(), ["gelu_tanh"]);
    }
}

#[test]
fn not_a_gelu() {
    let case = leaves(
        pass(),
        "gelu@not-a-gelu",
        "in %x : f32[n]
         in %z : f32[n]
         in %w : f32[n, 1]
         const @root : f32[] = 1.4142135
         const @three : f32[] = 3.0
         const @half : f32[] = 0.5
         const @one : f32[] = 1.0
         const @wide : f32[1, 2] = [0.5, 0.5]
         // Another divisor.
         %a1 = div(%x, @three) : f32[n]
         %t1 = erf(%a1) : f32[n]
         %e1 = add(%t1, @one) : f32[n]
         %p1 = mul(%x, %e1) : f32[n]
         %divisor = mul(%p1, @half) : f32[n]
         // Two different values.
         %a2 = div(%z, @root) : f32[n]
         %t2 = erf(%a2) : f32[n]
         %e2 = add(%t2, @one) : f32[n]
         %p2 = mul(%x, %e2) : f32[n]
         %gate = mul(%p2, @half) : f32[n]
         // No one is added.
         %a3 = div(%x, @root) : f32[n]
         %t3 = erf(%a3) : f32[n]
         %p3 = mul(%x, %t3) : f32[n]
         %no_one = mul(%p3, @half) : f32[n]
         // A factor makes the result wider.
         %a4 = div(%w, @root) : f32[n, 1]
         %t4 = erf(%a4) : f32[n, 1]
         %e4 = add(%t4, @one) : f32[n, 1]
         %p4 = mul(%w, %e4) : f32[n, 1]
         %wider = mul(%p4, @wide) : f32[n, 2]
         // The half is missing.
         %a5 = div(%x, @root) : f32[n]
         %t5 = erf(%a5) : f32[n]
         %e5 = add(%t5, @one) : f32[n]
         %twice = mul(%x, %e5) : f32[n]
         out %divisor
         out %gate
         out %no_one
         out %wider
         out %twice",
    );
    assert!(case.trace.contains("the result is f32[n, 2], but %w is f32[n, 1]"), "{}", case.trace);
}

#[test]
fn intermediate_used_elsewhere() {
    let body = "%e = add(%t, @one) : f32[n]
         %p = mul(%x, %e) : f32[n]
         %y = mul(%p, @half) : f32[n]
         %other = neg(%t) : f32[n]
         out %y
         out %other";
    let case = leaves(pass(), "gelu@used-elsewhere", &format!("{ERF}\n{body}"));
    assert!(case.trace.contains("%t is used elsewhere, by %other"), "{}", case.trace);
}

#[test]
fn intermediate_is_an_output() {
    let body = "%e = add(%t, @one) : f32[n]
         %p = mul(%x, %e) : f32[n]
         %y = mul(%p, @half) : f32[n]
         out %y
         out %p";
    let case = leaves(pass(), "gelu@output", &format!("{ERF}\n{body}"));
    assert!(case.trace.contains("%p is an output"), "{}", case.trace);
}
