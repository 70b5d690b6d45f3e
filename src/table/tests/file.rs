use super::super::file::{KEY, from_bytes, load, save, to_bytes};
use super::*;
use proptest::prelude::*;
use std::path::PathBuf;

fn tables() -> Vec<AttentionTable> {
    vec![marked(8, None, 1), marked(8, Some("/encoder/layer.0/MatMul"), u64::MAX), palette()]
}

fn palette() -> AttentionTable {
    let parts = PaletteParts {
        d_head: 2,
        mean: vec![0.1; 2],
        queries: (0..512).map(|i| i as f32 / 3.0).collect(),
        keys: (0..512).map(|i| 7.0 - i as f32).collect(),
        table: (0..=u16::MAX).collect(),
        scale: 0.1,
        offset: -1.0 / 3.0,
    };
    AttentionTable::Palette(PaletteTable::from_parts(parts).unwrap(), Record::default())
}

/// A place of this test's own, removed in the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("bgz-table-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The bytes with `from` in the header replaced by `to`, and the header's length set right.
fn edited(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + n]).unwrap();
    assert!(header.contains(from), "{from} in {header}");
    let header = header.replacen(from, to, 1);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[8 + n..]].concat()
}

/// The error of reading a product table after an edit, with its causes.
fn error_of(from: &str, to: &str) -> String {
    chain(from_bytes(&edited(&to_bytes(&[marked(8, None, 1)]).unwrap(), from, to)).unwrap_err())
}

fn chain(e: TableFileError) -> String {
    let source = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
    format!("{e}{source}")
}

#[test]
fn what_is_saved_is_loaded() {
    let place = Place::new("round-trip");
    let path = place.0.join("t.safetensors");
    for _ in 0..2 {
        save(&path, &tables()).unwrap();
        assert_eq!(load(&path).unwrap(), tables());
    }
    // No part of a file is left behind.
    assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), 1);
    assert_eq!(to_bytes(&tables()).unwrap(), to_bytes(&tables()).unwrap());
    assert_eq!(from_bytes(&to_bytes(&[]).unwrap()).unwrap(), []);
}

#[test]
fn built_tables_keep_their_fidelity() {
    let soft = Samples { scale: 0.03, ..samples(8, 100) };
    let built = AttentionTable::build(&soft, &product(4, Rotary::Halves, Weighting::Full)).unwrap();
    assert!(built.record().refined.is_some() && built.record().heads.len() == 2, "{:?}", built.record());
    let back = from_bytes(&to_bytes(std::slice::from_ref(&built)).unwrap()).unwrap();
    assert_eq!(back, [built]);
}

#[test]
fn an_absent_or_empty_file_is_an_error() {
    let place = Place::new("empty");
    assert!(matches!(load(&place.0.join("none")), Err(TableFileError::Io(_))));
    assert!(matches!(load(&place.0), Err(TableFileError::Io(_))));
    let path = place.0.join("empty");
    std::fs::write(&path, b"").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("empty"));
    assert!(from_bytes(b"").is_err());
}

#[test]
fn a_truncated_file_is_an_error() {
    let bytes = to_bytes(&tables()).unwrap();
    for n in [1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(from_bytes(&bytes[..n]), Err(TableFileError::Container(_))), "{n}");
    }
}

#[test]
fn what_is_no_safetensors_file_is_an_error() {
    assert!(matches!(from_bytes(b"GGUF\x03\0\0\0\0\0\0\0"), Err(TableFileError::Container(_))));
    assert!(matches!(from_bytes(b"\x04\0\0\0\0\0\0\0{{{{"), Err(TableFileError::Container(_))));
    // One of somebody else's.
    assert!(from_bytes(b"\x02\0\0\0\0\0\0\0{}").unwrap_err().to_string().contains(KEY));
}

#[test]
fn a_description_that_cannot_be_read_is_an_error() {
    assert!(error_of(r#"\"version\":1}"#, r#"\"version\":1"#).contains("EOF"));
    assert!(error_of(r#"\"version\":1"#, r#"\"other\":1"#).contains("no version"));
    assert!(error_of(r#"\"tables\":["#, r#"\"other\":["#).contains("no list of tables"));
}

#[test]
fn another_version_is_an_error() {
    assert_eq!(error_of(r#"\"version\":1"#, r#"\"version\":99"#), "layout version 99, this program reads 1");
}

#[test]
fn numbers_that_are_not_finite_are_an_error() {
    let bytes = to_bytes(&[marked(8, None, 1)]).unwrap();
    for name in ["codebook", "mean", "metric"] {
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let at = file.tensor(&format!("0.{name}")).unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
        for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
            let mut bytes = bytes.clone();
            bytes[at + 4..at + 8].copy_from_slice(&bad.to_le_bytes());
            let read = from_bytes(&bytes);
            if bad == f32::MAX && name != "codebook" {
                continue;
            }
            let message = chain(read.unwrap_err());
            assert!(message.starts_with("table 0") && message.contains(name), "{message}");
        }
    }
    assert!(error_of("pearson=0,0", "pearson=NaN,0").contains("fidelity"));
    let palette = to_bytes(&[palette()]).unwrap();
    assert!(chain(from_bytes(&edited(&palette, r#"\"0.1\""#, r#"\"NaN\""#)).unwrap_err()).contains("scale"));
    assert!(chain(from_bytes(&edited(&palette, r#"\"0.1\""#, r#"\"x\""#)).unwrap_err()).contains("scale"));
}

#[test]
fn a_wrong_shape_or_type_is_an_error_with_its_name() {
    assert!(error_of("[2,128,4]", "[128,2,4]").contains("tensor \"0.codebook\" is F32[128, 2, 4], not F32[2, 128, 4]"));
    assert!(error_of(r#""dtype":"U32""#, r#""dtype":"F32""#).contains("tensor \"0.permutation\" is F32"));
}

#[test]
fn a_head_that_is_not_divisible_is_an_error() {
    for (from, to) in [
        (r#"d_head\":8"#, r#"d_head\":0"#),
        (r#"subspaces\":2"#, r#"subspaces\":3"#),
        (r#"subspaces\":2"#, r#"subspaces\":0"#),
        (r#"subspaces\":2"#, r#"subspaces\":8"#),
        (r#"d_head\":8"#, r#"d_head\":9007199254740992"#),
    ] {
        assert!(error_of(from, to).contains("cannot be cut into"), "{to}: {}", error_of(from, to));
    }
    assert!(error_of(r#"d_head\":8"#, r#"d_head\":-8"#).contains("no size"));
    assert!(error_of(r#"entries\":128"#, r#"entries\":100"#).contains("tensor"));
}

#[test]
fn a_permutation_that_is_none_is_an_error() {
    let mut bytes = to_bytes(&[marked(8, None, 1)]).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let at = file.tensor("0.permutation").unwrap().data().as_ptr() as usize - bytes.as_ptr() as usize;
    for bad in [1u32, 8, u32::MAX] {
        bytes[at..at + 4].copy_from_slice(&bad.to_le_bytes());
        assert!(chain(from_bytes(&bytes).unwrap_err()).contains("permutation"));
    }
}

#[test]
fn unknown_words_are_errors() {
    assert!(error_of(r#"\"product\""#, r#"\"magic\""#).contains("method is \"magic\""));
    assert!(error_of("halves", "thirds").contains("rotary is \"thirds\""));
    assert!(error_of(r#"samples\":\"0"#, r#"samples\":\"z"#).contains("samples"));
    assert!(error_of(r#"\"method\""#, r#"\"m\""#).contains("method is missing"));
}

/// Whatever a record says of how a table is used is checked, as a kernel relies on it.
#[test]
fn a_record_that_cannot_be_used_is_an_error() {
    let soft = Samples { scale: 0.03, ..samples(8, 100) };
    let built = AttentionTable::build(&soft, &product(4, Rotary::Halves, Weighting::Full)).unwrap();
    let bytes = to_bytes(&[built]).unwrap();
    for (from, to, named) in [
        (r#"dropped_mass\":\"0"#, r#"dropped_mass\":\"1"#, "dropped mass"),
        (r#"dropped_mass\":\"0"#, r#"dropped_mass\":\"x"#, "dropped_mass"),
        (r#"first\":4"#, r#"first\":-4"#, "first"),
        (r#"last\":128"#, r#"last\":1.5"#, "last"),
        (r#"rest\":\"dropped"#, r#"rest\":\"kept"#, "rest"),
        (r#"chosen\":[\""#, r#"chosen\":[\"7"#, "chosen"),
        (r#"heads\":["#, r#"others\":["#, "heads"),
        (r#"int8\":\"pearson"#, r#"int8\":\"spearman"#, "int8"),
    ] {
        let message = chain(from_bytes(&edited(&bytes, from, to)).unwrap_err());
        assert!(message.starts_with("table 0") && message.contains(named), "{message}");
    }
}

#[test]
fn an_absent_tensor_is_an_error() {
    assert!(error_of("\"0.codebook\"", "\"1.codebook\"").contains("tensor \"0.codebook\" is missing"));
}

#[test]
fn two_tables_for_one_site_are_an_error() {
    let twice = [marked(8, Some("a"), 1), marked(8, None, 1), marked(8, Some("a"), 2)];
    let message = to_bytes(&twice).unwrap_err().to_string();
    assert_eq!(message, "tables 0 and 2 are both for d_head 8, site \"a\"");
    let two = to_bytes(&[marked(8, Some("a"), 1), marked(8, Some("b"), 2)]).unwrap();
    let same = edited(&two, r#"site\":\"b"#, r#"site\":\"a"#);
    assert!(matches!(from_bytes(&same), Err(TableFileError::Duplicate { first: 0, second: 1, .. })));
}

proptest! {
    /// Damage is an error or another table, never a panic.
    #[test]
    fn damaged_bytes_do_not_panic(edits in prop::collection::vec((0usize..3000, any::<u8>()), 1..8)) {
        let mut bytes = to_bytes(&[marked(8, Some("a"), 1)]).unwrap();
        let n = bytes.len();
        for (at, byte) in edits {
            bytes[at % n] = byte;
        }
        let _ = from_bytes(&bytes);
    }
}
