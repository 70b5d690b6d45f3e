//! The attention pass and masks.

mod common;

use bgz_passes::eval::testing::Check;
use bgz_passes::passes::attention::pass;
use common::attention::{masked, only};
use common::{fires_nearly, leaves};

#[test]
fn masks() {
    let bools = "in %b : bool[batch, 1, seq, seq]\nconst @low : f32[] = -3.4028235e38\nconst @zero : f32[] = 0.0";
    for (name, inputs, mask, attr) in [
        ("added-left", "in %mask : f32[seq, seq]", "%m = add(%mask, %s) : f32[batch, 2, seq, seq]", "Additive"),
        ("per-head", "in %mask : f32[1, 2, seq, seq]", "%m = add(%s, %mask) : f32[batch, 2, seq, seq]", "Additive"),
        ("keep", bools, "%m = where(%b, %s, @low) : f32[batch, 2, seq, seq]", "Keep"),
        ("drop", bools, "%m = where(%b, @low, %s) : f32[batch, 2, seq, seq]", "Drop"),
        (
            "keep-not",
            bools,
            "%n = not(%b) : bool[batch, 1, seq, seq]\n%m = where(%n, %s, @low) : f32[batch, 2, seq, seq]",
            "Drop",
        ),
        (
            "drop-not",
            bools,
            "%n = not(%b) : bool[batch, 1, seq, seq]\n%m = where(%n, @low, %s) : f32[batch, 2, seq, seq]",
            "Keep",
        ),
    ] {
        let case = fires_nearly(pass(), &format!("attention@mask-{name}"), &masked(inputs, mask));
        let a = only(&case, &[]);
        assert!(format!("{:?}", a.mask).starts_with(attr), "{name}: {:?}", a.mask);
    }
}

/// A mask that is copied for every head is used as it was before.
#[test]
fn expanded_mask() {
    let case = fires_nearly(
        pass(),
        "attention@mask-expanded",
        &masked(
            "in %mask : f32[batch, seq]",
            "%m4 = reshape(%mask) {shape = [batch, 1, 1, seq]} : f32[batch, 1, 1, seq]
         %me = expand(%m4) {shape = [batch, 2, seq, seq]} : f32[batch, 2, seq, seq]
         %m = add(%s, %me) : f32[batch, 2, seq, seq]",
        ),
    );
    only(&case, &["reshape"]);
}

/// Two masks become one where the sum is small: here it is the same for all heads.
#[test]
fn two_masks() {
    let case = fires_nearly(
        pass(),
        "attention@mask-sum",
        &masked(
            "in %m1 : f32[batch, 1, 1, seq]
         in %m2 : f32[seq, seq]",
            "%a = add(%s, %m1) : f32[batch, 2, seq, seq]
         %m = add(%m2, %a) : f32[batch, 2, seq, seq]",
        ),
    );
    only(&case, &["add"]);
    let case = fires_nearly(
        pass(),
        "attention@mask-and",
        &masked(
            "in %m1 : bool[batch, 1, 1, seq]
         in %m2 : bool[seq, seq]
         const @low : f32[] = -1e9",
            "%a = where(%m1, %s, @low) : f32[batch, 2, seq, seq]
         %m = where(%m2, %a, @low) : f32[batch, 2, seq, seq]",
        ),
    );
    only(&case, &["and"]);
}

/// Masks that cannot be one operand.
#[test]
fn masks_that_do_not_join() {
    for (name, inputs, mask, reason) in [
        (
            "large-sum",
            "in %m1 : f32[batch, 1, 1, seq]\nin %m2 : f32[1, 2, seq, seq]",
            "%a = add(%s, %m1) : f32[batch, 2, seq, seq]\n%m = add(%m2, %a) : f32[batch, 2, seq, seq]",
            "together are as large as the scores",
        ),
        (
            "two-kinds",
            "in %m1 : bool[batch, 1, 1, seq]\nin %m2 : f32[seq, seq]\nconst @low : f32[] = -1e9",
            "%a = where(%m1, %s, @low) : f32[batch, 2, seq, seq]\n%m = add(%m2, %a) : f32[batch, 2, seq, seq]",
            "are applied in different ways",
        ),
        (
            "before-the-scale",
            "in %m1 : f32[batch, 1, 1, seq]",
            "%a = add(%s, %m1) : f32[batch, 2, seq, seq]\n%m = mul(%a, @half) : f32[batch, 2, seq, seq]",
            "mask %m1 is added before the scale",
        ),
    ] {
        let case = leaves(pass(), &format!("attention@mask-{name}"), &masked(inputs, mask));
        assert!(case.trace.contains(reason), "{}", case.trace);
    }
}

/// A constant triangle, cut to the sequence, needs no operand.
#[test]
fn causal() {
    let triangle = |low: &str, high: &str| {
        let rows: Vec<_> = (0..4).flat_map(|i| (0..4).map(move |j| j <= i)).collect();
        rows.iter().map(|&v| if v { low } else { high }).collect::<Vec<_>>().join(", ")
    };
    let check = Check::new().bind("seq", 3).tolerance(2e-6, 2e-6);
    for (name, constant, fill, ty) in
        [("additive", triangle("0.0", "-inf"), "", "f32"), ("keep", triangle("true", "false"), "-3.4028235e38", "bool")]
    {
        let apply = if fill.is_empty() {
            "%m = add(%s, %cut) : f32[batch, 2, seq, seq]".into()
        } else {
            format!("const @low : f32[] = {fill}\n%m = where(%cut, %s, @low) : f32[batch, 2, seq, seq]")
        };
        let (constants, apply) = match apply.split_once('\n') {
            Some((c, a)) => (c.to_string(), a.to_string()),
            None => (String::new(), apply),
        };
        let text = masked(
            &format!("const @triangle : {ty}[4, 4] = [{constant}]\n{constants}"),
            &format!(
                "%cut = slice(@triangle) {{axes = [0, 1], starts = [0, 0], ends = [seq, seq]}} : {ty}[seq, seq]\n{apply}"
            ),
        );
        let case = common::fires_with(pass(), &check, &format!("attention@causal-{name}"), &text);
        let a = only(&case, &[]);
        assert!(a.causal);
    }
}

/// Nearly a triangle is a mask.
#[test]
fn not_causal() {
    let text =
        masked("const @cut : f32[1, 1, 2, 2] = [0.0, -1.0, 0.0, 0.0]", "%m = add(%s, @cut) : f32[batch, 2, seq, seq]")
            .replace("seq", "2");
    let case = fires_nearly(pass(), "attention@not-causal", &text);
    assert!(!only(&case, &[]).causal);
}

/// One element for all scores is no triangle, though it is one of a row and a column.
#[test]
fn one_number_is_not_causal() {
    for shape in ["1, 1", "1, 1, 1", "1, 1, 1, 1"] {
        let constant = format!("const @zero : f32[{shape}] = [0.0]");
        let text = masked(&constant, "%m = add(%s, @zero) : f32[batch, 2, seq, seq]").replace("seq", "3");
        let check = Check::new().bind("batch", 2).tolerance(2e-6, 2e-6);
        let case =
            common::fires_with(pass(), &check, &format!("attention@one-number-{}", shape.split(", ").count()), &text);
        assert!(!only(&case, &[]).causal);
    }
}
