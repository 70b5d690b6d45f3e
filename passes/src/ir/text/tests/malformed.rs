//! One case a malformation: the message names the line, and the node if there is one.

use crate::ir::parse;

/// Asserts that `text` is refused at `line` with a message that has all of `parts`.
#[track_caller]
fn refused(text: &str, line: usize, parts: &[&str]) {
    let Err(e) = parse(text) else { panic!("accepted:\n{text}") };
    let shown = e.to_string();
    assert_eq!(e.line, line, "{shown}");
    for p in parts {
        assert!(shown.contains(p), "no {p:?} in:\n{shown}");
    }
    let offending = text.split('\n').nth(line - 1).unwrap_or_default();
    assert!(shown.contains(offending) || offending.len() > 100, "{shown}");
}

/// A graph of one input `%x : f32[n, 4]` and these lines from line 3 on.
fn around(lines: &str) -> String {
    format!("graph @g {{\n  in  %x : f32[n, 4]\n{lines}\n}}\n")
}

#[track_caller]
fn node_refused(node: &str, parts: &[&str]) {
    refused(&around(&format!("  {node}\n  out %x")), 3, parts);
}

#[test]
fn truncated() {
    refused("", 1, &["expected graph @name {", "the end of the text"]);
    refused("graph @g {\n  in  %x : f32[n", 2, &["',' or ']'", "the end of the text"]);
    refused("graph @g {\n  in  %x : f32[4]\n  %y = relu(", 3, &["%value or @constant"]);
    refused("graph @g {\n  in  %x : f32[4]\n  %y = relu(%x)\n}", 3, &["':'", "the end of the line"]);
}

#[test]
fn missing_closing_brace() {
    refused("graph @g {\n  in  %x : f32[4]\n  out %x\n", 4, &["} to close the graph"]);
}

#[test]
fn text_behind_the_graph() {
    refused("graph @g {\n}\n}", 3, &["nothing but comments"]);
}

#[test]
fn unknown_op() {
    node_refused("%y = frobnicate(%x) : f32[n, 4]", &["%y = there is no op frobnicate", "column 8"]);
}

#[test]
fn unknown_attribute() {
    node_refused("%y = softmax(%x) {axis = 1, beta = 2} : f32[n, 4]", &["%y = softmax: there is no attribute beta"]);
    node_refused("%y = relu(%x) {axis = 1} : f32[n, 4]", &["%y = relu: there is no attribute axis"]);
}

#[test]
fn missing_or_odd_attribute() {
    node_refused("%y = softmax(%x) : f32[n, 4]", &["%y = softmax: attribute axis is missing"]);
    node_refused("%y = softmax(%x) {axis = n} : f32[n, 4]", &["axis must be a non-negative integer, not n"]);
    node_refused("%y = softmax(%x) {axis = -1} : f32[n, 4]", &["axis must be a non-negative integer, not -1"]);
    node_refused("%y = softmax(%x) {axis = 1, axis = 1} : f32[n, 4]", &["attribute axis is given twice"]);
    node_refused(
        "%y = pad(%x) {mode = \"wrap\", pads = [0, 0, 0, 0]} : f32[n, 4]",
        &["\"reflect\" or \"edge\"", "wrap"],
    );
    node_refused("%y = fused(%x) {expr = \"a +\"} : f32[n, 4]", &["%y = fused: attribute expr", "character 4"]);
    node_refused("%y = opaque.f(%x) {a = [1, 2.0]} : f32[n, 4]", &["not of both"]);
    node_refused(
        "%y = attention(%x, %x, %x, %x) {heads = 1, d_head = 4, keep = 0.0, drop = 0.0, scale = 1.0, scores = exact} : f32[n, 4]",
        &["%y = attention: a mask has keep or drop, not both"],
    );
}

#[test]
fn bad_dtype() {
    refused("graph @g {\n  in  %x : f33[4]\n}", 2, &["%x: there is no dtype \"f33\""]);
    node_refused("%y = relu(%x) : float[n, 4]", &["%y: there is no dtype \"float\""]);
}

#[test]
fn ill_typed_node() {
    node_refused("%y = relu(%x) : f32[n, 5]", &["%y: f32[n, 5] is claimed, f32[n, 4] follows"]);
    node_refused("%y = relu(%x) : i64[n, 4]", &["%y: i64[n, 4] is claimed"]);
    node_refused("%y = softmax(%x) {axis = 2} : f32[n, 4]", &["%y = softmax: axis 2 of a tensor of rank 2"]);
    node_refused("%y = not(%x) : f32[n, 4]", &["%y = not: not defined for f32"]);
    node_refused("%y, %z = relu(%x) : f32[n, 4], f32[n, 4]", &["%y = relu: makes 1 values, 2 named"]);
    node_refused("%y, %z = top_k(%x) {axis = 1, k = [1], largest = true} : f32[n, 1]", &["%y: 2 results of 1 types"]);
}

#[test]
fn cycle() {
    refused(
        &around("  %a = relu(%b) : f32[n, 4]\n  %b = relu(%a) : f32[n, 4]\n  out %b"),
        3,
        &["%a: %b is used before it is made"],
    );
    node_refused("%a = relu(%a) : f32[n, 4]", &["%a: %a is used before it is made"]);
    node_refused("%a = relu(%nowhere) : f32[n, 4]", &["%a: %nowhere is not defined"]);
    refused(&around("  out %nowhere"), 3, &["the outputs: %nowhere is not defined"]);
}

#[test]
fn wrong_sigil() {
    node_refused("%a = relu(@x) : f32[n, 4]", &["@x is not a constant: write %x"]);
    refused(&around("  const @c : f32[] = 1.0\n  out %c"), 4, &["%c is a constant: write @c"]);
}

#[test]
fn duplicate_name() {
    node_refused("%x = relu(%x) : f32[n, 4]", &["%x is defined twice"]);
    node_refused("const @x : f32[] = 1.0", &["%x is defined twice"]);
    node_refused("in  %x : f32[4]", &["%x is defined twice"]);
    node_refused(
        "%y, %y = top_k(%x) {axis = 1, k = [1], largest = true} : f32[n, 1], i64[n, 1]",
        &["%y is defined twice"],
    );
    refused(&around("  out y = %x\n  out y = %x"), 4, &["out %y is defined twice"]);
}

#[test]
fn huge_dims() {
    refused("graph @g {\n  in  %x : f32[99999999999999999999]\n}", 2, &["beyond 64 bits"]);
    refused("graph @g {\n  in  %x : f32[4294967296, 4294967296]\n}", 2, &["%x: ", "not a size that can be held"]);
    refused("graph @g {\n  in  %x : f32[0, 9223372036854775807, 8]\n}", 2, &["%x: ", "not a size that can be held"]);
    refused("graph @g {\n  in  %x : f32[-1]\n}", 2, &["%x: f32[-1] is not a size"]);
    refused("graph @g {\n  const @w : f32[4611686018427387904] 00000000\n}", 2, &["@w", "not a size"]);
    node_refused("%y = reshape(%x) {shape = [-1]} : f32[n]", &["%y = reshape: f32[-1] is not a size"]);
    let long = vec!["a"; 2000].join("*");
    refused(&format!("graph @g {{\n  in  %x : f32[{long}]\n}}"), 2, &["a product of more than"]);
}

#[test]
fn wrong_operand_count() {
    node_refused("%y = add(%x) : f32[n, 4]", &["%y = add: takes 2 to 2 operands, not 1"]);
    node_refused("%y = relu() : f32[n, 4]", &["%y = relu: takes 1 to 1 operands, not 0"]);
    node_refused("%y = reshape(%x) : f32[n, 4]", &["%y = reshape: takes 2 to 2 operands, not 1"]);
}

#[test]
fn deep_nesting() {
    let open = "(".repeat(100_000);
    node_refused(
        &format!("%y = fused(%x) {{expr = \"{open}\"}} : f32[n, 4]"),
        &["%y = fused", "nested deeper than 256"],
    );
    let calls = "neg(".repeat(100_000);
    node_refused(&format!("%y = fused(%x) {{expr = \"{calls}\"}} : f32[n, 4]"), &["%y = fused", "nested deeper"]);
    let sum = "a + ".repeat(100_000) + "a";
    node_refused(&format!("%y = fused(%x) {{expr = \"{sum}\"}} : f32[n, 4]"), &["%y = fused", "nested deeper"]);
    let list = "[".repeat(100_000);
    node_refused(&format!("%y = opaque.f(%x) {{a = {list}}} : f32[n, 4]"), &["expected an extent"]);
}

#[test]
fn bad_strings() {
    node_refused("%\"y = relu(%x) : f32[n, 4]", &["the string does not end on its line"]);
    node_refused("%\"y\\q\" = relu(%x) : f32[n, 4]", &["expected an escape"]);
    node_refused("%\"\\u{110000}\" = relu(%x) : f32[n, 4]", &["expected an escape"]);
}

#[test]
fn bad_constants() {
    node_refused("const @c : f32[2] = [1.0]", &["@c: 1 elements for f32[2]"]);
    node_refused("const @c : f32[n] = [1.0]", &["@c: the extents of a constant are numbers"]);
    node_refused("const @c : u8[] = 256", &["\"256\" is not a number of u8"]);
    node_refused("const @c : f32[4] 12345", &["@c: expected = values or a hash"]);
    node_refused("const @c : bool[] = 1", &["\"1\" is not a number of bool"]);
}

/// The product of these extents has 2^30 terms: nothing may write it out.
#[test]
fn products_of_sums_stay_small() {
    let sums = vec!["a + b"; 30].join(", ");
    let text = format!(
        "graph @g {{
  in  %x : f32[{sums}]
  const @rest : i64[1] = [-1]
  %y = reshape(%x, @rest) : f32[_0]
  %s = shape(%x) {{end = 30, start = 0}} : i64[30]
  %p = reduce_prod(%s) {{axes = [0], keep_dims = false}} : i64[]
  out %y
  out %p
}}
"
    );
    let g = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(g.to_string(), text);
}
