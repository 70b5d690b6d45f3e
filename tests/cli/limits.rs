//! Too little memory, too few threads, and divisions by zero: errors that say so and where, on both ways to run a model.
#![cfg(unix)]

#[path = "../support/bgz.rs"]
mod bgz;

use bgz::{Folder, fails, ok};
use std::process::Command;

/// `bgz` with no more than `kb` of addresses: exit code and stderr.
fn limited(kb: usize, args: &[&str]) -> (Option<i32>, String) {
    let script = format!("ulimit -v {kb} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_bgz")]).args(args);
    let output = command.env_remove("BGZ_ISA").output().expect("a shell");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// Graph text whose op makes `%y` of `%x`, and an op behind it that needs it as a whole.
fn text(x: &str, op: &str) -> String {
    format!(
        "graph @g {{\n  in  %x : {x}\n  const @one : f32[] = 1.0\n  const @zero : i64[] = 0\n  const @step : i64[] = 1\n  \
         {op}\n  out %y\n}}\n"
    )
}

/// The memory that the system gives is enough to start, and to run the op on little; not on much.
#[track_caller]
fn refused_beyond(name: &str, x: &str, op: &str, says: &[&str]) {
    let folder = Folder::new(&format!("limits_{name}"));
    let file = folder.file("graph.bgz", text(x, op));
    for extra in [&[][..], &["--no-rewrite"]] {
        let run = |kb: usize, n: usize| {
            let shape = format!("n={n}");
            let args = ["run", &file, "--shape", &shape, "--repeat", "1", "--threads", "2"];
            limited(kb, &[&args[..], extra].concat())
        };
        let (code, err) = run(400_000, 64);
        assert_eq!(code, Some(0), "{name} {extra:?}: {err}");
        // Some hundred MB, and more than there are addresses for.
        for n in [12_000, 1_000_000] {
            let (code, err) = run(400_000, n);
            assert_eq!(code, Some(1), "{name} of {n} {extra:?}: {err}");
            assert!(err.starts_with("bgz: ") && err.lines().count() == 1, "{name} of {n} {extra:?}: {err}");
            for said in [&["bytes are needed, which memory does not suffice for"], says].concat() {
                assert!(err.contains(said), "{said:?} is not in what {name} of {n} says {extra:?}: {err}");
            }
        }
    }
}

#[test]
fn an_expansion() {
    let op = "%e = expand(%x) {shape = [n, n]} : f32[n, n]\n  %y = softmax(%e) {axis = 0} : f32[n, n]";
    refused_beyond("expand", "f32[n, 1]", op, &["cannot run the model"]);
}

#[test]
fn a_broadcast() {
    let op = "%t = transpose(%x) {perm = [1, 0]} : f32[1, n]\n  %y = add(%x, %t) : f32[n, n]";
    refused_beyond("broadcast", "f32[n, 1]", op, &["y"]);
}

#[test]
fn a_product() {
    let op = "%t = transpose(%x) {perm = [1, 0]} : f32[1, n]\n  %y = matmul(%x, %t) : f32[n, n]";
    refused_beyond("product", "f32[n, 1]", op, &["y"]);
}

#[test]
fn a_fill() {
    let op = "%y = full(@one) {shape = [n, n]} : f32[n, n]";
    refused_beyond("full", "f32[n]", op, &["y"]);
}

#[test]
fn a_tile() {
    let op = "%y = tile(%x) {repeats = [1, n]} : f32[n, n]";
    refused_beyond("tile", "f32[n, 1]", op, &["y"]);
}

#[test]
fn scores_of_attention() {
    let op = "%p = attention(%x, %x, %x) {d_head = 4, heads = 1, scale = 0.5, scores = exact} : f32[1, n, 4]\n  \
              %s = transpose(%x) {perm = [0, 2, 1]} : f32[1, 4, n]\n  %m = matmul(%p, %s) : f32[1, n, n]\n  \
              %y = softmax(%m) {axis = 2} : f32[1, n, n]";
    refused_beyond("attention", "f32[1, n, 4]", op, &["cannot run the model"]);
}

#[test]
fn an_image_resized() {
    let op = "%y = resize(%x) {coordinates = \"half_pixel\", mode = \"linear\", sizes = [1, 1, n, n]} \
              : f32[1, 1, n, n]";
    refused_beyond("resize", "f32[1, 1, n, 1]", op, &["y"]);
}

#[test]
fn quotients_of_integers() {
    let op = "%t = transpose(%x) {perm = [1, 0]} : i64[1, n]\n  %y = div(%x, %t) : i64[n, n]";
    refused_beyond("division", "i64[n, 1]", op, &["y"]);
}

/// An input, made up or read, of which there is no copy to be had.
#[test]
fn an_input() {
    let folder = Folder::new("limits_input");
    let file = folder.file("graph.bgz", text("f32[n]", "%y = relu(%x) : f32[n]"));
    let (code, err) = limited(500_000, &["run", &file, "--shape", "n=1000000000"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("input \"x\": 4000000000 bytes are needed"), "{err}");
    let ones = vec![1f32; 50_000_000];
    let inputs = folder.npz("in.npz", |npz| npz.add("x", &[ones.len() as u64], &ones));
    let (code, err) = limited(250_000, &["run", &file, "--inputs", &inputs]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("array \"x\"") && err.contains("bytes are needed, which memory does not"), "{err}");
}

#[test]
fn threads_that_cannot_be_started() {
    let (code, err) = limited(600_000, &["run", "@default", "--shape", "batch=1,seq=8", "--threads", "1000"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("bgz: cannot start threads: ") && err.lines().count() == 1, "{err}");
}

/// `%y` of the op on integers, given as `a` and `b`.
#[track_caller]
fn divided(folder: &Folder, graph: &str, [a, b]: [&[i64]; 2]) -> (String, String) {
    let file = folder.file("graph.bgz", graph);
    let inputs = folder.npz("in.npz", |npz| {
        npz.add("a", &[a.len() as u64], a);
        npz.add("b", &[b.len() as u64], b);
    });
    (file, inputs)
}

#[test]
fn a_division_by_zero() {
    let folder = Folder::new("limits_zero");
    for dtype in ["i64", "i32", "i16", "i8", "u8"] {
        for f in ["div", "mod", "rem"] {
            for (zero, a, b) in [("%b", &[5i64, 7][..], &[1i64, 0][..]), ("@none", &[5, 7], &[1, 1])] {
                let divisor = if zero == "%b" { "%d" } else { zero };
                let graph = format!(
                    "graph @g {{\n  in  %a : i64[n]\n  in  %b : i64[n]\n  const @none : {dtype}[] = 0\n  \
                     %c = cast(%a) : {dtype}[n]\n  %d = cast(%b) : {dtype}[n]\n  %s = add(%c, %d) : {dtype}[n]\n  \
                     %y = {f}(%s, {divisor}) : {dtype}[n]\n  out %y\n}}\n"
                );
                let (file, inputs) = divided(&folder, &graph, [a, b]);
                for extra in [&[][..], &["--no-rewrite"]] {
                    let args = ["run", &file, "--inputs", &inputs, "--repeat", "1"];
                    fails(args.iter().chain(extra), &["%y = ", "division by zero"]);
                }
            }
        }
    }
}

/// A number that overflows wraps: the least number has no opposite.
#[test]
fn the_least_number_over_minus_one() {
    let folder = Folder::new("limits_least");
    for (dtype, least) in
        [("i64", i64::MIN), ("i32", i32::MIN.into()), ("i16", i16::MIN.into()), ("i8", i8::MIN.into())]
    {
        for constant in [false, true] {
            let divisor = if constant { "@minus" } else { "%d" };
            let graph = format!(
                "graph @g {{\n  in  %a : i64[n]\n  in  %b : i64[n]\n  const @minus : {dtype}[] = -1\n  \
                 %c = cast(%a) : {dtype}[n]\n  %d = cast(%b) : {dtype}[n]\n  %q = div(%c, {divisor}) : {dtype}[n]\n  \
                 %r = mod(%c, {divisor}) : {dtype}[n]\n  %y = cast(%q) : i64[n]\n  %z = cast(%r) : i64[n]\n  \
                 out %y\n  out %z\n}}\n"
            );
            let (file, inputs) = divided(&folder, &graph, [&[least, 6, least], &[-1, -1, -1]]);
            for extra in [&[][..], &["--no-rewrite"]] {
                let output = folder.path("out.npz");
                let args = ["run", &file, "--inputs", &inputs, "--output", &output, "--repeat", "1"];
                ok(args.iter().chain(extra));
                assert_eq!(bgz::read::<i64>(&output, "y").1, [least, -6, least], "{dtype} {extra:?}");
                assert_eq!(bgz::read::<i64>(&output, "z").1, [0; 3], "{dtype} {extra:?}");
            }
        }
    }
}
