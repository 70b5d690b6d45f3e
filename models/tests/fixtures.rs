//! The models and fixtures that this crate names are those that the manifest and the folder hold.

use std::collections::BTreeSet;

use bgz_models::{FETCHED, GEMMA_FIXTURES, fixture, fixture_file, fixture_shapes};

#[test]
fn the_fetched_models_are_those_of_the_manifest() {
    let manifest = include_str!("../MANIFEST.toml");
    // Models that are fetched only if named are none of them.
    let entries = manifest.split("[[model]]").skip(1).filter(|entry| !entry.lines().any(|l| l == "optional = true"));
    let name = |entry: &'static str| entry.lines().find_map(|line| line.strip_prefix("name = "));
    let names: Vec<&str> = entries.filter_map(name).map(|name| name.trim_matches('"')).collect();
    assert_eq!(names, FETCHED);
    for name in names {
        assert!(manifest.contains(&format!("file = \"{name}.onnx\"")), "{name}");
    }
}

#[test]
fn the_fixtures_are_those_that_lie_in_the_folder() {
    let mut named = BTreeSet::new();
    for model in FETCHED.into_iter().chain(["char_lm"]) {
        for shape in fixture_shapes(model).unwrap_or_else(|| panic!("{model} has no fixtures")) {
            let fixture = fixture(model, shape);
            named.insert(fixture.inputs);
            named.insert(fixture.expected);
        }
    }
    named.extend(GEMMA_FIXTURES.map(fixture_file));
    let folder = fixture("char_lm", "1x16").inputs.with_file_name("");
    let present: BTreeSet<_> = std::fs::read_dir(folder)
        .expect("tests/fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "npz"))
        .collect();
    assert_eq!(named, present);
}

#[test]
fn the_default_model_has_its_own_name() {
    assert!(!FETCHED.contains(&"char_lm"));
    assert!(bgz_models::default_model().is_file());
    assert_eq!(fixture_shapes("no such model"), None);
}

#[test]
fn every_fetched_model_is_found() {
    for name in FETCHED {
        if let Some(path) = bgz_models::fetched(name) {
            assert!(std::fs::metadata(&path).expect("a file").len() > 10_000, "{name}");
        }
    }
}
