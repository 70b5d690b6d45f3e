//! `bgz gguf`, as users call it.

#[path = "../support/bgz.rs"]
mod bgz;
#[path = "../support/gguf.rs"]
mod support;

use bgz::{Folder, bgz, fails, ok};
use bgz_fusion::gguf::Gguf;
use serde_json::Value;

const TYPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/types.gguf");

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn help_has_examples() {
    assert!(ok(["gguf", "--help"]).contains("Examples:\n  bgz gguf ls"));
    for command in ["ls", "meta", "export"] {
        assert!(ok(["gguf", command, "--help"]).contains("Examples:\n  bgz gguf"), "{command}");
    }
    assert!(ok(["--help"]).contains("gguf"));
    assert_eq!(bgz(["gguf"]).code, Some(2));
}

#[test]
fn ls_lists_every_tensor() {
    let text = ok(["gguf", "ls", TYPES]);
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    assert!(lines[0].join(" ").contains("GGUF version 3, 44 tensors, 67,584 elements in"), "{text}");
    assert_eq!(lines[2], ["tensor", "type", "shape", "elements", "bytes", "offset"]);
    assert_eq!(lines.len(), 3 + 44);
    let line = lines.iter().find(|l| l.first() == Some(&"Q6_K")).expect("it is there");
    assert_eq!(line[1..5], ["Q6_K", "3x2x256", "1536", "1260"]);
    let all = json(&ok(["gguf", "ls", TYPES, "--json"]));
    assert_eq!((all["version"].as_u64(), all["alignment"].as_u64()), (Some(3), Some(32)));
    let tensors = all["tensors"].as_array().expect("a list");
    let tensor = tensors.iter().find(|t| t["name"] == "Q6_K").expect("it is there");
    assert_eq!(tensor["shape"], serde_json::json!([3, 2, 256]));
    assert_eq!(tensor["offset"].as_u64().map(|n| n.to_string()).as_deref(), Some(line[5]));
}

#[test]
fn meta_shortens_unless_asked_not_to() {
    let line = |text: &str, key: &str| {
        let line = text.lines().find(|l| l.split_whitespace().next() == Some(key));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    let text = ok(["gguf", "meta", TYPES]);
    assert_eq!(line(&text, "general.name"), "string \"types\"");
    assert_eq!(line(&text, "test.u64"), "u64 9223372036854775809");
    assert_eq!(line(&text, "test.i64"), "i64 -9223372036854775808");
    assert_eq!(line(&text, "test.f32"), "f32 0.1");
    assert_eq!(line(&text, "test.bool"), "bool true");
    assert_eq!(line(&text, "test.string"), "string \"größer\\n\"");
    assert_eq!(line(&text, "test.strings"), "string[3] [\"<pad>\", \"\", \"▁the\"]");
    assert_eq!(line(&text, "test.arrays"), "array[2] [[1, 2], [3]]");
    assert_eq!(line(&text, "test.many"), "i32[1000] [0, 1, 2, 3, 4, 5, 6, 7, ...]");
    let text = ok(["gguf", "meta", TYPES, "--all"]);
    assert!(line(&text, "test.many").ends_with("997, 998, 999]"));
    let all = json(&ok(["gguf", "meta", TYPES, "--json"]));
    assert_eq!(all["test.u64"], serde_json::json!({"type": "u64", "value": 9223372036854775809u64}));
    assert_eq!(all["test.f32"]["value"].as_f64(), Some(0.1));
    assert_eq!(
        (all["test.many"]["len"].as_u64(), all["test.many"]["value"].as_array().map(Vec::len)),
        (Some(1000), Some(8))
    );
    let all = json(&ok(["gguf", "meta", TYPES, "--json", "--all"]));
    assert_eq!(all["test.many"]["value"].as_array().map(Vec::len), Some(1000));
    assert_eq!(all["test.arrays"]["value"], serde_json::json!([[1, 2], [3]]));
}

#[test]
fn long_text_is_cut_and_control_characters_are_not_printed() {
    let folder = Folder::new("gguf_meta");
    let text = format!("{}\u{1b}[31m", "é".repeat(150));
    let head = support::Bytes::header(3, 1, 1).string("a\u{7}").u32(8).string(&text);
    let file = folder.file("t.gguf", head.tensor("w\u{1b}c", &[1], 0, 0).pad(32).raw(&[0; 4]).0);
    let short = ok(["gguf", "meta", &file]);
    assert!(short.contains(&format!("\"{}\"... (305 bytes in all)", "é".repeat(100))), "{short}");
    for text in [short, ok(["gguf", "meta", &file, "--all"]), ok(["gguf", "ls", &file])] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
}

#[test]
fn export_writes_what_the_library_reads() {
    let folder = Folder::new("gguf_export");
    let file = Gguf::open(TYPES.as_ref()).expect("the fixture is read");
    for name in ["Q4_K", "IQ4_XS", "I64", "F32.f32"] {
        let out = folder.path(&format!("{name}.npy"));
        let said = ok(["gguf", "export", TYPES, "--tensor", name, "-o", &out]);
        assert!(said.contains("f32[3x2x256]"), "{said}");
        let npy = npyz::NpyFile::new(std::io::BufReader::new(std::fs::File::open(&out).expect("it is there")));
        let npy = npy.expect("an npy file");
        assert_eq!(npy.shape(), [3, 2, 256]);
        let values: Vec<f32> = npy.into_vec().expect("f32");
        let want = file.tensor(name).expect("it is there").to_f32().expect("it is read");
        assert!(values.iter().map(|v| v.to_bits()).eq(want.iter().map(|v| v.to_bits())), "{name}");
    }
    // Nothing else is left behind.
    let left = std::fs::read_dir(folder.path("")).expect("the folder is there").count();
    assert_eq!(left, 4);
}

/// In several pieces, the last of which is not full; over the file that is read.
#[test]
fn export_takes_pieces_and_replaces() {
    let folder = Folder::new("gguf_pieces");
    let data: Vec<u8> = (0..700 * 4096u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let file = folder.file("large.gguf", support::file(&[("w", &[4096, 700], 0, &data)]));
    ok(["gguf", "export", &file, "--tensor", "w", "--output", &file]);
    let written = std::fs::read(&file).expect("it is there");
    assert!(written.starts_with(b"\x93NUMPY"));
    assert!(written.ends_with(&data));
    let empty = folder.file("empty.gguf", support::file(&[("w", &[0, 3], 0, &[]), ("x", &[], 0, &1f32.to_le_bytes())]));
    let out = folder.path("out.npy");
    let said = ok(["gguf", "export", &empty, "--tensor", "w", "-o", &out]);
    assert!(said.contains("f32[3x0], 0 bytes"), "{said}");
    ok(["gguf", "export", &empty, "--tensor", "x", "-o", &out]);
    let bytes = std::fs::read(&out).expect("it is there");
    assert!(bytes.ends_with(&1f32.to_le_bytes()) && bytes.len() == 132, "{}", bytes.len());
}

#[test]
fn what_cannot_be_done_is_an_error() {
    let folder = Folder::new("gguf_errors");
    let out = folder.path("x.npy");
    let export = |file: &str, name: &str, names: &[&str]| {
        fails(["gguf", "export", file, "--tensor", name, "-o", &out], names);
        assert!(!std::path::Path::new(&out).exists(), "a file was written");
    };
    export(TYPES, "Q4K", &["types.gguf", "no tensor \"Q4K\"", "there is \"Q4_K\""]);
    export("no/such.gguf", "x", &["cannot read no/such.gguf", "No such file"]);
    let odd = folder.file("odd.gguf", support::file(&[("w", &[256], 16, &[0; 66])]));
    export(&odd, "w", &["cannot write", "x.npy", "\"w\"", "IQ2_XXS is not dequantised"]);
    assert!(ok(["gguf", "ls", &odd]).contains("IQ2_XXS"));
    assert_eq!(std::fs::read_dir(folder.path("")).expect("the folder is there").count(), 1);
    let nowhere = folder.path("no/such/folder.npy");
    fails(
        ["gguf", "export", TYPES, "--tensor", "F16", "-o", &nowhere],
        &["cannot write", "folder.npy", "No such file"],
    );
    let bad = folder.file("bad.gguf", "PK");
    for command in ["ls", "meta"] {
        let run = fails(["gguf", command, &bad], &["cannot read", "bad.gguf", "magic number"]);
        assert_eq!(run.lines().count(), 1, "{run}");
        fails(["gguf", command, "no/such.gguf"], &["cannot read no/such.gguf", "No such file"]);
        fails(["gguf", command, env!("CARGO_MANIFEST_DIR")], &["cannot read", "it is a directory"]);
    }
    assert_eq!(bgz(["gguf", "export", TYPES, "-o", &out]).code, Some(2));
}
