//! The silu pass.

mod common;

use bgz_passes::passes::silu::pass;
use common::{fires_nearly, leaves};

#[test]
fn every_form() {
    let case = fires_nearly(
        pass(),
        "silu@forms",
        "in %x : f32[n]
         const @one : f32[] = 1.0
         %s1 = sigmoid(%x) : f32[n]
         %y1 = mul(%x, %s1) : f32[n]
         %s2 = sigmoid(%x) : f32[n]
         %y2 = mul(%s2, %x) : f32[n]
         %neg3 = neg(%x) : f32[n]
         %exp3 = exp(%neg3) : f32[n]
         %d3 = add(@one, %exp3) : f32[n]
         %y3 = div(%x, %d3) : f32[n]
         %neg4 = neg(%x) : f32[n]
         %exp4 = exp(%neg4) : f32[n]
         %d4 = add(%exp4, @one) : f32[n]
         %s4 = recip(%d4) : f32[n]
         %y4 = mul(%x, %s4) : f32[n]
         %neg5 = neg(%x) : f32[n]
         %exp5 = exp(%neg5) : f32[n]
         %d5 = add(%exp5, @one) : f32[n]
         %sigmoid = div(@one, %d5) : f32[n]
         %neg6 = neg(%x) : f32[n]
         %exp6 = exp(%neg6) : f32[n]
         %d6 = add(%exp6, @one) : f32[n]
         %log6 = log(%d6) : f32[n]
         %minus6 = neg(%log6) : f32[n]
         %s6 = exp(%minus6) : f32[n]
         %y6 = mul(%x, %s6) : f32[n]
         out %y1
         out %y2
         out %y3
         out %y4
         out %sigmoid
         out %y6",
    );
    assert_eq!(case.ops(), ["sigmoid", "silu", "silu", "silu", "silu", "silu"]);
}

#[test]
fn not_a_silu() {
    leaves(
        pass(),
        "silu@not-a-silu",
        "in %x : f32[n]
         in %y : f32[n]
         const @one : f32[] = 1.0
         const @two : f32[] = 2.0
         %s1 = sigmoid(%y) : f32[n]
         %gate = mul(%x, %s1) : f32[n]
         %exp2 = exp(%x) : f32[n]
         %d2 = add(@one, %exp2) : f32[n]
         %rising = div(%x, %d2) : f32[n]
         %neg3 = neg(%x) : f32[n]
         %exp3 = exp(%neg3) : f32[n]
         %d3 = add(@two, %exp3) : f32[n]
         %two_plus = div(%x, %d3) : f32[n]
         out %gate
         out %rising
         out %two_plus",
    );
}

#[test]
fn intermediate_used_elsewhere() {
    let case = leaves(
        pass(),
        "silu@used-elsewhere",
        "in %x : f32[n]
         %s = sigmoid(%x) : f32[n]
         %y = mul(%x, %s) : f32[n]
         %other = neg(%s) : f32[n]
         out %y
         out %other",
    );
    assert!(case.trace.contains("%s is used elsewhere, by %other"), "{}", case.trace);
}

#[test]
fn intermediate_is_an_output() {
    let case = leaves(
        pass(),
        "silu@output",
        "in %x : f32[n]
         %s = sigmoid(%x) : f32[n]
         %y = mul(%x, %s) : f32[n]
         out %y
         out %s",
    );
    assert!(case.trace.contains("%s is an output"), "{}", case.trace);
}
