//! Files that `bgz` writes, whatever becomes of them under way, and archives that say a thing twice.
#![cfg(unix)]

#[path = "../support/bgz.rs"]
mod bgz;

use bgz::{Folder, bgz, fails, ok, read};
use std::process::Command;

/// A shell script, `$BGZ` being the program.
fn sh(folder: &Folder, script: &str) -> (Option<i32>, Vec<u8>, String) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder.path(".")).env("BGZ", env!("CARGO_BIN_EXE_bgz"));
    let output = command.env_remove("BGZ_ISA").output().expect("a shell");
    (output.status.code(), output.stdout, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn files(folder: &Folder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path(".")).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

const RUN: &str = "\"$BGZ\" run @default --shape batch=1,seq=64 --repeat 1";

/// A disk that is full after some KB, as the system has it for a process: the file before stays.
#[test]
fn an_output_that_cannot_be_written_leaves_the_old_one() {
    let folder = Folder::new("outputs_full");
    folder.file("out.npz", "what was there");
    for (command, output) in [
        (format!("{RUN} --output out.npz"), "out.npz"),
        ("\"$BGZ\" profile @default --shape batch=1,seq=8 --repeat 1 --trace out.npz".into(), "out.npz"),
        ("\"$BGZ\" gguf export $TYPES --tensor \"$NAME\" -o out.npz".into(), "out.npz"),
        ("\"$BGZ\" experiments --seeds 2 -o out.npz".into(), "out.npz"),
    ] {
        // A tensor that is large enough.
        let types = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/types.gguf");
        let listed: serde_json::Value = serde_json::from_str(&ok(["gguf", "ls", types, "--json"])).expect("JSON");
        let name = listed["tensors"][0]["name"].as_str().expect("a name").to_owned();
        let command = command.replace("$TYPES", types).replace("$NAME", &name);
        // The signal that comes with it would end the process.
        let (code, _, err) = sh(&folder, &format!("trap '' XFSZ; ulimit -f 1; {command} > /dev/null"));
        assert_eq!(code, Some(1), "{command}: {err}");
        assert!(err.contains(&format!("cannot write {output}")), "{command}: {err}");
        assert_eq!(std::fs::read(folder.path(output)).expect("it is there"), b"what was there", "{command}");
        assert_eq!(files(&folder), ["out.npz"], "{command}");
    }
    let (code, _, err) = sh(&folder, &format!("{RUN} --output no/out.npz"));
    assert!(code == Some(1) && err.contains("cannot write no/out.npz"), "{err}");
}

#[test]
fn a_pipe_gets_the_output() {
    let folder = Folder::new("outputs_pipe");
    let (code, out, err) = sh(&folder, &format!("{RUN} --output /dev/stdout --json"));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with(b"PK"), "an archive first");
    let (code, _, err) = sh(
        &folder,
        &format!("mkfifo pipe && (cat pipe > got.npz & {RUN} --output pipe > /dev/null; s=$?; wait; exit $s)"),
    );
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(read::<f32>(&folder.path("got.npz"), "logits").0, [1, 64, 96]);
    let (code, _, err) = sh(&folder, &format!("{RUN} --output /dev/full"));
    assert!(code == Some(1) && err.contains("cannot write /dev/full"), "{err}");
    assert_eq!(files(&folder), ["got.npz", "pipe"]);
}

/// An archive with one name for two arrays.
fn twice(folder: &Folder, file: &str, name: &str) -> String {
    let other: String = name.chars().rev().collect();
    assert_ne!(name, other);
    let path = folder.npz(file, |npz| {
        npz.add(name, &[1, 3], &[1i64, 2, 3]);
        npz.add(&other, &[1, 3], &[4i64, 5, 6]);
    });
    let mut bytes = std::fs::read(&path).expect("it is there");
    let (from, to) = (format!("{other}.npy").into_bytes(), format!("{name}.npy").into_bytes());
    let at: Vec<usize> = bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(i, _)| i).collect();
    assert_eq!(at.len(), 2, "before the array and in the directory");
    at.into_iter().for_each(|i| bytes[i..i + to.len()].copy_from_slice(&to));
    folder.file(file, bytes)
}

#[test]
fn an_archive_with_a_name_twice() {
    let folder = Folder::new("outputs_twice");
    let good = folder.npz("good.npz", |npz| npz.add("ids", &[1, 3], &[7i64, 8, 9]));
    let ids = twice(&folder, "ids.npz", "ids");
    let logits = twice(&folder, "logits.npz", "logits");
    let says = |name: &str| format!("array {name:?} is there twice");
    fails(["run", "@default", "--inputs", &ids], &["ids.npz", &says("ids")]);
    fails(["profile", "@default", "--inputs", &ids], &["ids.npz", &says("ids")]);
    fails(["check", "@default", "--inputs", &ids, "--expect", &good], &["ids.npz", &says("ids")]);
    fails(["check", "@default", "--inputs", &good, "--expect", &logits], &["logits.npz", &says("logits")]);
    assert_eq!(bgz(["run", "@default", "--inputs", &good, "--repeat", "1"]).code, Some(0));
}

#[test]
fn an_output_does_not_replace_the_model_or_its_inputs() {
    let folder = Folder::new("outputs_read");
    let model = folder.file("m.bgz", "graph @g {\n  in  %x : f32[n]\n  %y = relu(%x) : f32[n]\n  out %y\n}\n");
    let inputs = folder.npz("in.npz", |npz| npz.add("x", &[2], &[1f32, -1.0]));
    for output in [&model, &inputs] {
        let before = std::fs::read(output).expect("it is there");
        bgz::fails(["run", &model, "--inputs", &inputs, "--output", output], &["is read, too"]);
        assert_eq!(std::fs::read(output).expect("it is there"), before);
    }
}
