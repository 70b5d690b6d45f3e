//! The canonicalise pass: one test a family of rules; each rule has a line that
//! fires and one that does not.

mod common;

use bgz_passes::ir::{DType, Scalar};
use bgz_passes::passes::canonicalise::{clean_up, pass};
use common::{fires, leaves};

#[test]
fn neutral_elements() {
    fires(
        pass(),
        "canonicalise@neutral",
        "in %x : f32[n, 3]
         in %i : i64[n]
         in %b : bool[n]
         const @one : f32[] = 1.0
         const @ones : f32[3] = [1.0, 1.0, 1.0]
         const @zero : f32[] = 0.0
         const @minus_zero : f32[] = -0.0
         const @low : f32[] = -inf
         const @high : f32[] = inf
         const @izero : i64[] = 0
         const @ione : i64[] = 1
         const @true : bool[] = true
         const @false : bool[] = false
         %mul = mul(%x, @one) : f32[n, 3]
         %left = mul(@ones, %x) : f32[n, 3]
         %div = div(%x, @ones) : f32[n, 3]
         %pow = pow(%x, @one) : f32[n, 3]
         %add = add(%x, @minus_zero) : f32[n, 3]
         %sub = sub(%x, @zero) : f32[n, 3]
         %max = max(@low, %x) : f32[n, 3]
         %min = min(%x, @high) : f32[n, 3]
         %iadd = add(@izero, %i) : i64[n]
         %idiv = div(%i, @ione) : i64[n]
         %and = and(%b, @true) : bool[n]
         %or = or(%b, @false) : bool[n]
         out %mul
         out %left
         out %div
         out %pow
         out %add
         out %sub
         out %max
         out %min
         out %iadd
         out %idiv
         out %and
         out %or",
    );
}

#[test]
fn almost_neutral_elements_stay() {
    leaves(
        pass(),
        "canonicalise@almost-neutral",
        "in %x : f32[n, 3]
         in %s : f32[3]
         const @zero : f32[] = 0.0
         const @minus_zero : f32[] = -0.0
         const @wide : f32[2, 3] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
         const @half : f32[] = 0.5
         %add = add(%x, @zero) : f32[n, 3]
         %sub = sub(%x, @minus_zero) : f32[n, 3]
         %from = sub(@zero, %x) : f32[n, 3]
         %broadcast = mul(%s, @wide) : f32[2, 3]
         %root = pow(%x, @half) : f32[n, 3]
         out %add
         out %sub
         out %from
         out %broadcast
         out %root",
    );
}

#[test]
fn elementwise_identities() {
    fires(
        pass(),
        "canonicalise@elementwise",
        "in %x : f32[n]
         in %i : i64[n]
         in %b : bool[n]
         in %y : f32[n]
         const @two : f32[] = 2.0
         const @minus_one : f32[] = -1.0
         const @eight : f32[1] = [8.0]
         const @three : f32[] = 3.0
         const @yes : bool[1] = [true]
         const @no : bool[] = false
         %n1 = neg(%x) : f32[n]
         %n2 = neg(%n1) : f32[n]
         %not1 = not(%b) : bool[n]
         %not2 = not(%not1) : bool[n]
         %square = pow(%x, @two) : f32[n]
         %recip = pow(%x, @minus_one) : f32[n]
         %eighth = div(%x, @eight) : f32[n]
         %third = div(%x, @three) : f32[n]
         const @four : i64[] = 4
         %quarter = div(%i, @four) : i64[n]
         %max = max(%x, %x) : f32[n]
         %both = and(%b, %b) : bool[n]
         %w1 = where(@yes, %x, %y) : f32[n]
         %w2 = where(@no, %x, %y) : f32[n]
         %w3 = where(%b, %x, %x) : f32[n]
         %w4 = where(%b, @three, @three) : f32[n]
         %c1 = cast(%b) : i64[n]
         %c2 = cast(%c1) : f32[n]
         %c3 = cast(%i) : f32[n]
         %c4 = cast(%c3) : i64[n]
         %c5 = cast(%x) : f32[n]
         %right = add(@three, %x) : f32[n]
         %less = sub(@three, %x) : f32[n]
         out %n2
         out %not2
         out %square
         out %recip
         out %eighth
         out %third
         out %quarter
         out %max
         out %both
         out %w1
         out %w2
         out %w3
         out %w4
         out %c2
         out %c4
         out %c5
         out %right
         out %less",
    );
}

#[test]
fn movements() {
    fires(
        pass(),
        "canonicalise@movement",
        "in %x : f32[a, b, 4]
         in %p : f32[2, 3, 4]
         %t1 = transpose(%x) {perm = [1, 0, 2]} : f32[b, a, 4]
         %t2 = transpose(%t1) {perm = [1, 0, 2]} : f32[a, b, 4]
         %t3 = transpose(%t1) {perm = [2, 0, 1]} : f32[4, b, a]
         %r0 = reshape(%x) {shape = [a, b, 4]} : f32[a, b, 4]
         %r1 = reshape(%x) {shape = [a, b, 2, 2]} : f32[a, b, 2, 2]
         %r2 = reshape(%r1) {shape = [a, 4*b]} : f32[a, 4*b]
         %e0 = expand(%x) {shape = [1, b, 1]} : f32[a, b, 4]
         %u = reshape(%p) {shape = [2, 1, 3, 4]} : f32[2, 1, 3, 4]
         %e1 = expand(%u) {shape = [2, 5, 3, 4]} : f32[2, 5, 3, 4]
         %e2 = expand(%e1) {shape = [6, 2, 5, 3, 4]} : f32[6, 2, 5, 3, 4]
         %s0 = slice(%x) {axes = [0, 2], starts = [0, 0], ends = [9223372036854775807, 4]} : f32[a, b, 4]
         %s1 = slice(%p) {axes = [2], starts = [1], ends = [4]} : f32[2, 3, 3]
         %s2 = slice(%s1) {axes = [1, 2], starts = [1, -2], ends = [3, 9]} : f32[2, 2, 2]
         %s3 = slice(%s1) {axes = [1, 2], starts = [1, 1], ends = [3, 9]} : f32[2, 2, 2]
         %back = slice(%p) {axes = [2], starts = [-1], ends = [-9223372036854775807], steps = [-1]} : f32[2, 3, 4]
         %pad = pad(%p) {pads = [0, 0, 0, 0, 0, 0]} : f32[2, 3, 4]
         %tile = tile(%p) {repeats = [1, 1, 1]} : f32[2, 3, 4]
         %one = concat(%p) {axis = 1} : f32[2, 3, 4]
         %none = reduce_sum(%p) {axes = [], keep_dims = true} : f32[2, 3, 4]
         out %t2
         out %t3
         out %r0
         out %r2
         out %e0
         out %e2
         out %s0
         out %s2
         out %s3
         out %back
         out %pad
         out %tile
         out %one
         out %none",
    );
}

/// An expansion goes where the op broadcasts anyway, and stays where it gives the shape.
#[test]
fn implied_expansions() {
    let case = fires(
        pass(),
        "canonicalise@expand",
        "in %x : f32[n, 1, 3]
         in %y : f32[n, 4, 3]
         in %m : bool[n, 1, 1]
         const @low : f32[] = -100.0
         %e = expand(%x) {shape = [n, 4, 3]} : f32[n, 4, 3]
         %sum = add(%e, %y) : f32[n, 4, 3]
         %em = expand(%m) {shape = [n, 4, 3]} : bool[n, 4, 3]
         %w = where(%em, %y, @low) : f32[n, 4, 3]
         %lone = mul(%e, @low) : f32[n, 4, 3]
         %both = mul(%e, %e) : f32[n, 4, 3]
         %not = not(%em) : bool[n, 4, 3]
         %cast = cast(%not) : f32[n, 4, 3]
         %scaled = mul(%y, %cast) : f32[n, 4, 3]
         %count = reduce_sum(%cast) {axes = [1], keep_dims = false} : f32[n, 3]
         out %sum
         out %w
         out %lone
         out %both
         out %scaled
         out %count",
    );
    // The values that give %lone its shape, %both, and %count; and the summand, along the axis of the sum only.
    assert_eq!(case.ops().iter().filter(|o| *o == "expand").count(), 4);
}

/// A value that is only repeated is reduced once, along whatever axes.
#[test]
fn expansions_behind_reductions() {
    fires(
        pass(),
        "canonicalise@reduce-expand",
        "in %x : f32[n, s, 1]
         in %row : f32[3]
         %e = expand(%x) {shape = [n, s, 5]} : f32[n, s, 5]
         %sum = reduce_sum(%e) {axes = [1], keep_dims = false} : f32[n, 5]
         %most = reduce_max(%e) {axes = [0, 1], keep_dims = true} : f32[1, 1, 5]
         %all = reduce_mean(%e) {axes = [1, 2], keep_dims = false} : f32[n]
         %rows = expand(%row) {shape = [4, 2, 3]} : f32[4, 2, 3]
         %wide = reduce_sum(%rows) {axes = [2], keep_dims = true} : f32[4, 2, 1]
         %first = reduce_prod(%rows) {axes = [0], keep_dims = false} : f32[2, 3]
         %along = expand(%x) {shape = [2, n, s, 1]} : f32[2, n, s, 1]
         %copies = reduce_min(%along) {axes = [0], keep_dims = false} : f32[n, s, 1]
         out %sum
         out %most
         out %all
         out %wide
         out %first
         out %copies",
    );
}

/// The three parts of a packed projection become cuts of it.
#[test]
fn packed_projection() {
    let case = fires(
        pass(),
        "canonicalise@packed-qkv",
        "in %qkv : f32[batch, seq, 24]
         const @i0 : i64[] = 0
         const @i1 : i64[] = 1
         const @i2 : i64[] = -1
         %split = reshape(%qkv) {shape = [batch, seq, 3, 2, 4]} : f32[batch, seq, 3, 2, 4]
         %parts = transpose(%split) {perm = [2, 0, 3, 1, 4]} : f32[3, batch, 2, seq, 4]
         %q = gather(%parts, @i0) {axis = 0} : f32[batch, 2, seq, 4]
         %k = gather(%parts, @i1) {axis = 0} : f32[batch, 2, seq, 4]
         %v = gather(%parts, @i2) {axis = 0} : f32[batch, 2, seq, 4]
         out %q
         out %k
         out %v",
    );
    assert_eq!(
        case.ops(),
        ["reshape", "reshape", "reshape", "slice", "slice", "slice", "transpose", "transpose", "transpose"]
    );
}

/// A softmax as TensorFlow writes it: reductions drop the axis, reshapes put it back.
#[test]
fn reductions_keep_the_axis() {
    let case = fires(
        pass(),
        "canonicalise@keep-dims",
        "in %x : f32[n, 4]
         const @low : f32[] = -inf
         %m = reduce_max(%x) {axes = [1], keep_dims = false} : f32[n]
         %most = max(@low, %m) : f32[n]
         %column = reshape(%most) {shape = [n, 1]} : f32[n, 1]
         %d = sub(%x, %column) : f32[n, 4]
         %e = exp(%d) : f32[n, 4]
         %s = reduce_sum(%e) {axes = [1], keep_dims = false} : f32[n]
         %sums = reshape(%s) {shape = [n, 1]} : f32[n, 1]
         %row = reshape(%s) {shape = [1, n]} : f32[1, n]
         %y = div(%e, %sums) : f32[n, 4]
         out %y
         out %row",
    );
    assert_eq!(case.ops(), ["div", "exp", "reduce_max", "reduce_sum", "reshape", "reshape", "sub"]);
}

#[test]
fn gathers() {
    fires(
        pass(),
        "canonicalise@gather",
        "in %x : f32[n, 6]
         in %s : f32[seq, 2]
         const @first : i64[] = 0
         const @last : i64[] = -1
         const @range : i64[3] = [2, 3, 4]
         const @end : i64[2] = [-2, -1]
         const @order : i64[2] = [1, 0]
         const @grid : i64[1, 2] = [0, 1]
         %a = gather(%s, @first) {axis = 0} : f32[2]
         %b = gather(%s, @last) {axis = 0} : f32[2]
         %c = gather(%x, @range) {axis = 1} : f32[n, 3]
         %d = gather(%x, @end) {axis = 1} : f32[n, 2]
         %e = gather(%x, @order) {axis = 1} : f32[n, 2]
         %g = gather(%x, @grid) {axis = 1} : f32[n, 1, 2]
         out %a
         out %b
         out %c
         out %d
         out %e
         out %g",
    );
    // A cut of a shorter axis would come out empty where the gather fails.
    leaves(
        pass(),
        "canonicalise@gather-unknown-extent",
        "in %s : f32[seq, 2]
         const @two : i64[] = 2
         const @outside : i64[] = 7
         %f = gather(%s, @two) {axis = 0} : f32[2]
         %g = gather(%s, @outside) {axis = 1} : f32[seq]
         out %f
         out %g",
    );
}

/// Cuts that do not fall on a boundary of the reshape, and a reshape that joins, stay.
#[test]
fn cuts_that_cannot_move() {
    leaves(
        pass(),
        "canonicalise@cuts-stay",
        "in %x : f32[n, 12]
         %r = reshape(%x) {shape = [n, 3, 4]} : f32[n, 3, 4]
         %inner = slice(%r) {axes = [2], starts = [0], ends = [2]} : f32[n, 3, 2]
         %two = slice(%r) {axes = [1, 2], starts = [0, 0], ends = [2, 2]} : f32[n, 2, 2]
         %every = slice(%r) {axes = [1], starts = [0], ends = [3], steps = [2]} : f32[n, 2, 4]
         %join = reshape(%x) {shape = [3*n, 4]} : f32[3*n, 4]
         %head = slice(%join) {axes = [1], starts = [0], ends = [2]} : f32[3*n, 2]
         out %inner
         out %two
         out %every
         out %head",
    );
}

/// A value that a rule looks through stays for its other users, and an output keeps its name.
#[test]
fn intermediates_that_are_needed() {
    let case = fires(
        pass(),
        "canonicalise@needed",
        "in %x : f32[a, b]
         %t = transpose(%x) {perm = [1, 0]} : f32[b, a]
         %u = transpose(%t) {perm = [1, 0]} : f32[a, b]
         %e = exp(%t) : f32[b, a]
         %n = neg(%x) : f32[a, b]
         %m = neg(%n) : f32[a, b]
         out %t
         out %e
         out %u
         out %n
         out %m",
    );
    assert_eq!(case.ops(), ["exp", "neg", "transpose"]);
}

/// A transpose that only moves axes of extent 1 is one until the recognisers have seen it.
#[test]
fn unit_transposes() {
    let text = "in %x : f32[1, n, 1, 4]
         %t = transpose(%x) {perm = [2, 1, 0, 3]} : f32[1, n, 1, 4]
         %u = transpose(%x) {perm = [0, 2, 1, 3]} : f32[1, 1, n, 4]
         %v = transpose(%x) {perm = [0, 2, 3, 1]} : f32[1, 1, 4, n]
         out %t
         out %u
         out %v";
    leaves(pass(), "canonicalise@unit-transpose-kept", text);
    fires(clean_up(), "canonicalise@unit-transpose", text);
}

/// Every value of f16 divided by every power of two: the reciprocal gives the same bits.
#[test]
fn powers_of_two_divide_exactly() {
    use bgz_passes::ir::Binary;
    for e in -14..=14 {
        let c = f64::from(e).exp2();
        for bits in 0..=u16::MAX {
            let x = Scalar::from_le_bytes(DType::F16, &bits.to_le_bytes()).expect("two bytes");
            let (c, r): (Scalar, Scalar) = (Scalar::from_f64(DType::F16, c), Scalar::from_f64(DType::F16, 1.0 / c));
            let (d, m) = (Binary::Div.eval(x, c), Binary::Mul.eval(x, r));
            if x.to_f64().is_nan() {
                continue;
            }
            assert_eq!(d, m, "{x} / {c}");
        }
    }
}

#[test]
fn both_are_called_canonicalise() {
    assert_eq!(pass().name(), clean_up().name());
}
