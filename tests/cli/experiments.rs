//! `bgz experiments`, as users call it.

#[path = "../support/attention_gguf.rs"]
mod attention_gguf;
#[path = "../support/bgz.rs"]
mod bgz;
#[path = "../support/gguf.rs"]
mod gguf;

use attention_gguf::{entries, matrices, model, value};
use bgz::{Folder, bgz, fails, ok};
use std::process::Command;

fn pixels(folder: &Folder) -> String {
    let values: Vec<f32> = (0..30 * 48).map(|i| value(0, i / 48, i % 48)).collect();
    folder.npz("pixels.npz", |npz| npz.add("pixels", &[30, 48], &values))
}

/// The rho in the line of these rows and this projection.
fn rho(page: &str, rows: &str, projection: &str) -> f64 {
    let cells = |l: &str| l.split('|').map(|c| c.trim().to_string()).collect::<Vec<_>>();
    let line = page.lines().map(cells).find(|c| c.len() > 4 && c[1] == rows && c[2] == projection);
    line.and_then(|c| c[3].parse().ok()).unwrap_or_else(|| panic!("no {rows}, {projection} in {page}"))
}

#[test]
fn synthetic_rows_need_no_file() {
    let folder = Folder::new("experiments_synthetic");
    let run = Command::new(env!("CARGO_BIN_EXE_bgz"))
        .args(["experiments", "--seeds", "3"])
        .current_dir(folder.path(""))
        .output()
        .expect("bgz starts");
    let page = String::from_utf8(run.stdout).expect("UTF-8");
    assert!(run.status.success() && page.starts_with("# "), "{page}");
    for (what, how) in [("real pixels", "models/pixels.py"), ("real weights", "models/fetch.sh gemma")] {
        assert!(page.contains(&format!("Left out: {what}.")) && page.contains(how), "{page}");
    }
    // The output of the tests of the original, and their output for rows that are Gaussian.
    assert_eq!(rho(&page, "sine rows", "golden step"), 0.9244);
    assert_eq!(rho(&page, "sine rows", "sine projection"), 0.9169);
    assert!(rho(&page, "Gaussian rows", "golden step") < 0.5);
    assert_eq!(rho(&page, "Gaussian rows", "golden step"), rho(&page, "Gaussian rows", "mean stride"));
    assert!(!page.contains("NaN") && !page.contains(".svg"), "{page}");
}

#[test]
fn a_page_has_its_drawings_beside_it() {
    let folder = Folder::new("experiments_page");
    let file = folder.file("m.gguf", model(&entries(), &matrices()));
    let (pixels, page) = (pixels(&folder), folder.path("page.md"));
    let said = ok(["experiments", "--pixels", &pixels, "--gguf", &file, "--seeds", "2", "-o", &page]);
    assert!(said.contains("page.md: 2 drawings") && !said.contains("Left out"), "{said}");
    let page = std::fs::read_to_string(page).expect("a page");
    for rows in ["sine rows", "Gaussian rows", "pixels", "rows of W_q", "rows of W_k"] {
        for projection in ["golden step", "mean stride", "Base17 codes, L1", "random projection", "sine projection"] {
            assert!((-1.0..=1.0).contains(&rho(&page, rows, projection)));
        }
    }
    assert!(page.contains("in pixels.npz") && page.contains("30 rows of 48") && page.contains("m.gguf"), "{page}");
    assert!(!page.contains(&folder.path("")), "{page}");
    for name in ["page-rho.svg", "page-distances.svg"] {
        assert!(page.contains(&format!("]({name})")), "{page}");
        let svg = std::fs::read_to_string(folder.path(name)).expect("a drawing");
        assert!(svg.starts_with("<svg ") && svg.contains("pixels") && !svg.contains("NaN"), "{svg}");
    }
}

#[test]
fn the_same_seeds_give_the_same_figures() {
    let folder = Folder::new("experiments_seeds");
    let file = folder.file("m.gguf", model(&entries(), &matrices()));
    let pixels = pixels(&folder);
    let table = || {
        let page = ok(["experiments", "--pixels", &pixels, "--gguf", &file, "--seeds", "2"]);
        let lines = page.lines().filter(|l| l.starts_with('|') && l.contains(" to "));
        lines.map(String::from).collect::<Vec<_>>()
    };
    assert_eq!(table(), table());
}

#[test]
fn what_cannot_be_used_is_said() {
    let folder = Folder::new("experiments_bad");
    let good = pixels(&folder);
    let model_file = folder.file("m.gguf", model(&entries(), &matrices()));
    let refused = |pixels: &str, gguf: &str, want: &[&str]| {
        fails(["experiments", "--seeds", "2", "--pixels", pixels, "--gguf", gguf], want);
    };
    refused(&folder.path("none.npz"), &model_file, &["none.npz"]);
    let other = folder.npz("other.npz", |npz| npz.add("images", &[4, 4], &[0f32; 16]));
    refused(&other, &model_file, &["other.npz", "no array \"pixels\""]);
    let bytes = folder.npz("bytes.npz", |npz| npz.add("pixels", &[4, 4], &[0u8; 16]));
    refused(&bytes, &model_file, &["\"pixels\" is u8[4x4]"]);
    let few = folder.npz("few.npz", |npz| npz.add("pixels", &[2, 4], &[0f32; 8]));
    refused(&few, &model_file, &["2 rows"]);
    let nan = folder.npz("nan.npz", |npz| npz.add("pixels", &[4, 1], &[0.0, 1.0, f32::NAN, 2.0]));
    refused(&nan, &model_file, &["not finite"]);
    refused(&good, &folder.path("none.gguf"), &["none.gguf"]);
    refused(&good, &folder.file("empty.gguf", model(&[], &[])), &["empty.gguf", "general.architecture"]);
    let page = folder.path("no/such/folder/page.md");
    let args = ["experiments", "--seeds", "2", "--pixels", &good, "--gguf", &model_file, "-o", &page];
    fails(args, &["cannot write", "page.md"]);
    for bad in [&["--seeds", "1"][..], &["--seeds", "x"]] {
        assert_eq!(bgz(["experiments"].iter().chain(bad)).code, Some(2));
    }
}
