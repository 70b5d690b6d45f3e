//! The dead-code pass.

mod common;

use bgz_passes::passes::dead_code::pass;
use common::{fires, leaves};

#[test]
fn unused_nodes_and_constants() {
    let case = fires(
        pass(),
        "dead-code@unused",
        "in %x : f32[n]
         in %unused : f32[n]
         const @one : f32[] = 1.0
         const @two : f32[] = 2.0
         %y = add(%x, @one) : f32[n]
         %a = mul(%y, @two) : f32[n]
         %b = exp(%a) : f32[n]
         %c = neg(%a) : f32[n]
         out %y",
    );
    assert_eq!(case.ops(), ["add"]);
    assert_eq!(case.after.constants().count(), 1);
    assert_eq!(case.after.inputs().len(), 2, "the inputs are the caller's");
}

/// One of two results is enough to keep a node.
#[test]
fn used_nodes_stay() {
    leaves(
        pass(),
        "dead-code@used",
        "in %x : f32[n]
         %v, %i = top_k(%x) {axis = 0, k = [1], largest = true} : f32[1], i64[1]
         %y = exp(%x) : f32[n]
         %z = neg(%y) : f32[n]
         out %i
         out %y
         out %z",
    );
}
