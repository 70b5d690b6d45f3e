//! Tables made of the weights of a GGUF file.

#[path = "../support/attention_gguf.rs"]
mod attention_gguf;
#[path = "../support/bgz.rs"]
mod bgz;
#[path = "../support/gguf.rs"]
mod gguf;

use attention_gguf::{Entry, count, counts, entries, matrices, model, text, value};
use bgz::{Folder, Npz, bgz, fails, ok};
use bgz_fusion::gguf::Gguf;
use bgz_fusion::table::weights::{LayerHeads, Projections, WeightFigures};
use bgz_fusion::table::{Base17, DistancePalette, spearman};
use serde_json::Value;

fn read(entries: &[Entry], matrices: &[(String, usize, usize)]) -> Gguf {
    Gguf::from_bytes(model(entries, matrices)).expect("a file")
}

/// The entries without one, and with others.
fn changed(without: &str, with: &[Entry]) -> Vec<Entry> {
    entries().into_iter().filter(|e| e.0 != without).chain(with.iter().cloned()).collect()
}

#[test]
fn rows_are_those_of_a_head() {
    let file = read(&entries(), &matrices());
    let p = Projections::new(&file).expect("a model");
    assert_eq!((p.architecture(), p.layers()), ("toy", 2));
    let heads = p.heads(1).expect("heads");
    assert_eq!(heads, LayerHeads { heads: 4, kv_heads: 2, d_head: 8, width: 34 });
    assert_eq!([0, 1, 2, 3].map(|h| heads.kv_head(h)), [0, 0, 1, 1]);
    let rows = |m: usize, first: usize| -> Vec<f32> {
        (first..first + 8).flat_map(|i| (0..34).map(move |j| value(m, i, j))).collect()
    };
    assert_eq!(p.queries(1, 3).expect("rows"), rows(2, 24));
    assert_eq!(p.keys(0, 1).expect("rows"), rows(1, 8));
}

#[test]
fn what_the_metadata_leaves_out_is_usual() {
    // As many heads of keys as of queries; the share of a head in the width of the model.
    let fewer = changed("toy.attention.head_count_kv", &[]);
    let fewer: Vec<Entry> = fewer.into_iter().filter(|e| e.0 != "toy.attention.key_length").collect();
    let shapes = [("blk.0.attn_q.weight".to_string(), 32, 34), ("blk.0.attn_k.weight".into(), 32, 34)];
    let file = read(&fewer, &shapes);
    assert_eq!(Projections::new(&file).expect("a model").heads(0).expect("heads").kv_heads, 4);
    // A count for each layer.
    let each = changed("toy.attention.head_count_kv", &[counts("toy.attention.head_count_kv", &[4, 2])]);
    let file = read(&each, &matrices());
    let p = Projections::new(&file).expect("a model");
    assert_eq!(p.heads(1).expect("heads").kv_heads, 2);
    assert!(p.heads(0).is_err());
}

#[test]
fn files_without_such_heads_are_refused() {
    let refused = |entries: &[Entry], matrices: &[(String, usize, usize)], want: &[&str]| {
        let file = read(entries, matrices);
        let e = Projections::new(&file).and_then(|p| p.heads(0)).expect_err("no such heads");
        let mut said = e.to_string();
        if let Some(source) = std::error::Error::source(&e) {
            said = format!("{said}: {source}");
        }
        assert!(want.iter().all(|w| said.contains(w)), "{said}");
    };
    let all = matrices();
    refused(&[], &[], &["no metadata entry \"general.architecture\""]);
    refused(&[count("general.architecture", 1)], &[], &["\"general.architecture\" is no text"]);
    refused(&changed("toy.block_count", &[]), &all, &["no metadata entry \"toy.block_count\""]);
    let head_count = "toy.attention.head_count";
    refused(&changed(head_count, &[]), &all, &["no metadata entry \"toy.attention.head_count\""]);
    refused(&changed(head_count, &[text(head_count, "4")]), &all, &[head_count, "no count"]);
    refused(&changed(head_count, &[counts(head_count, &[])]), &all, &[head_count, "no count"]);
    refused(&changed(head_count, &[count(head_count, 3)]), &all, &["layer 0: 3 heads of queries cannot share 2"]);
    refused(&changed(head_count, &[count(head_count, 0)]), &all, &["layer 0: 0 heads"]);
    let shape = ["\"blk.0.attn_q.weight\" is [32, 34]", "8 heads of 8 are a matrix of 64 rows"];
    refused(&changed(head_count, &[count(head_count, 8)]), &all, &shape);
    let key_length = "toy.attention.key_length";
    refused(&changed(key_length, &[count(key_length, 0)]), &all, &["4 heads of 0"]);
    refused(&changed("toy.block_count", &[count("toy.block_count", 0)]), &all, &["no layer 0: there are 0"]);
    refused(
        &entries(),
        &[("blk.0.attn_qkv.weight".into(), 64, 34)],
        &["layer 0: queries and keys each", "blk.0.attn_qkv"],
    );
    let widths = [("blk.0.attn_q.weight".to_string(), 32, 34), ("blk.0.attn_k.weight".into(), 16, 32)];
    refused(&entries(), &widths, &["layer 0: rows of 34 values for queries and of 32 for keys"]);

    let file = read(&entries(), &all);
    let p = Projections::new(&file).expect("a model");
    assert!(p.queries(0, 4).is_err() && p.keys(0, 2).is_err() && p.queries(2, 0).is_err());
    assert!(p.queries(0, usize::MAX).is_err());
}

/// A palette of 256 loses nothing of 16 rows, so the figures are those of the codes, by their definition.
#[test]
fn figures_are_those_of_all_pairs() {
    let file = read(&entries(), &matrices());
    let p = Projections::new(&file).expect("a model");
    let (q, k) = (p.queries(0, 2).expect("rows"), p.keys(0, 1).expect("rows"));
    let table = DistancePalette::of_rows(&q, &k, 34, 0).expect("a table");
    let found = WeightFigures::measure(&table, &q, &k, 34).expect("figures");
    let (mut codes, mut squares, mut products) = (vec![], vec![], vec![]);
    for a in q.chunks(34) {
        for b in k.chunks(34) {
            codes.push(f64::from(Base17::encode(a).distance(&Base17::encode(b))));
            squares.push(a.iter().zip(b).map(|(x, y)| f64::from(x - y).powi(2)).sum());
            products.push(-a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>());
        }
    }
    let near = |a: f64, b: f64| assert!((a - b).abs() < 0.01, "{a} {b}: {found:?}");
    near(found.codes_to_distances, spearman(&codes, &squares));
    near(found.table_to_distances, found.codes_to_distances);
    near(found.table_to_products, spearman(&codes, &products));
    near(found.distances_to_products, spearman(&squares, &products));
    assert!(found.distances_to_products > 0.5, "{found:?}");

    let e = WeightFigures::measure(&table, &q, &[], 34).expect_err("no keys");
    assert!(e.to_string().contains("0 rows"), "{e}");
    assert!(WeightFigures::measure(&table, &q[1..], &k, 34).is_err());
    assert!(DistancePalette::of_rows(&[], &[], 34, 0).is_err());
    assert!(DistancePalette::of_rows(&q[1..], &k, 34, 0).is_err());
    assert!(table.clone().fitted(&q, &[], 34).is_err() && table.fitted(&q[1..], &k, 34).is_err());
}

/// Tokens of the samples: four windows of 100, three of which are enough for a palette.
const TOKENS: usize = 400;

fn made_up(seed: usize, heads: usize) -> Vec<f32> {
    (0..TOKENS * heads * 8).map(|i| value(seed, i / 8, i % 8)).collect()
}

fn samples(npz: &mut Npz, layers: std::ops::Range<usize>) {
    for i in layers {
        for (seed, (kind, heads)) in [("q", 4), ("k", 2), ("v", 2)].into_iter().enumerate() {
            let shape = [TOKENS as u64, heads as u64, 8];
            npz.add(&format!("layer{i}.{kind}"), &shape, &made_up(10 * i + seed, heads));
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn every_head_has_figures() {
    let folder = Folder::new("tables_gguf");
    let file = folder.file("m.gguf", model(&entries(), &matrices()));
    let out = ok(["tables", "from-gguf", &file]);
    assert!(out.contains("toy, 2 layers, 4 heads of queries and 2 of keys, 8 rows of 34 each"), "{out}");
    let rows: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
    let head = rows.iter().find(|r| r.starts_with(&["1", "3", "1"])).expect("a row");
    assert_eq!(head.len(), 7, "{out}");
    assert_eq!(rows.iter().filter(|r| r.first().is_some_and(|c| ["mean", "worst"].contains(c))).count(), 2, "{out}");

    let all = json(&ok(["tables", "from-gguf", &file, "--json"]));
    let heads = all["heads"].as_array().expect("heads");
    assert_eq!(heads.len(), 8);
    for head in heads {
        let rho = head["rho"].as_object().expect("figures");
        assert_eq!(rho.len(), 4);
        assert!(rho.values().all(|v| v.as_f64().is_some_and(|v| (-1.0..=1.0).contains(&v))), "{head}");
        assert!(head["served"].is_null());
    }
    let one = json(&ok(["tables", "from-gguf", &file, "--json", "--layers", "1"]));
    assert_eq!(one["heads"].as_array().map(Vec::as_slice), Some(&heads[4..]));
}

#[test]
fn samples_show_how_tables_serve() {
    let folder = Folder::new("tables_gguf_samples");
    let file = folder.file("m.gguf", model(&entries(), &matrices()));
    let npz = folder.npz("s.npz", |npz| samples(npz, 0..2));
    let args = ["tables", "from-gguf", &file, "--samples", &npz, "--window", "100"];
    let out = ok(args);
    assert!(out.contains("Real queries and keys") && out.contains("weights rho"), "{out}");
    let all = json(&ok(args.into_iter().chain(["--json"])));
    for head in all["heads"].as_array().expect("heads") {
        let figure = |method: &str, name: &str| head["served"][method][name].as_f64().expect("a figure");
        // Exact scores but for rounding, learned ones, and those of weights, which know nothing of these rows.
        assert!(figure("int8", "output_error") < 0.05, "{head}");
        assert!(figure("int8", "spearman") > figure("product", "spearman"), "{head}");
        assert!(figure("product", "spearman") > figure("weights", "spearman"), "{head}");
        assert!(figure("palette", "spearman") > figure("weights", "spearman"), "{head}");
    }
    let other =
        json(&ok(args[..5].iter().copied().chain(["--json", "--scale", "2", "--held-out", "0.125", "--window", "50"])));
    assert_ne!(other["heads"][0]["served"], all["heads"][0]["served"]);
    assert_eq!(other["heads"][0]["rho"], all["heads"][0]["rho"]);
}

#[test]
fn what_cannot_be_used_is_said() {
    let folder = Folder::new("tables_gguf_bad");
    let good = folder.file("m.gguf", model(&entries(), &matrices()));
    let from = |file: &str, extra: &[&str], want: &[&str]| {
        fails(["tables", "from-gguf", file].into_iter().chain(extra.iter().copied()), want);
    };
    from(&folder.path("none.gguf"), &[], &["none.gguf"]);
    from(&folder.file("text.gguf", "hello"), &[], &["not a GGUF file"]);
    from(&folder.file("empty.gguf", model(&[], &[])), &[], &["empty.gguf", "general.architecture"]);
    let none = changed("toy.block_count", &[count("toy.block_count", 0)]);
    from(&folder.file("layers.gguf", model(&none, &[])), &[], &["the model has no layers"]);
    from(&good, &["--layers", "0,2"], &["no layer 2: there are 2"]);
    assert_eq!(bgz(["tables", "from-gguf", &good, "--window", "9"]).code, Some(2));

    from(&good, &["--samples", &folder.path("none.npz")], &["none.npz"]);
    let npz = |name: &str, fill: &dyn Fn(&mut Npz)| folder.npz(name, fill);
    let half = npz("half.npz", &|npz| samples(npz, 0..1));
    from(&good, &["--samples", &half, "--window", "100"], &["half.npz", "no array \"layer1.q\""]);
    from(&good, &["--samples", &half, "--window", "300", "--layers", "0"], &["layer 0, head 0", "two windows of 300"]);
    from(&good, &["--samples", &half, "--window", "50", "--layers", "0", "--held-out", "0.9"], &["at least 256"]);
    let wide = npz("wide.npz", &|npz| npz.add("layer0.q", &[2, 4, 8], &[0f64; 64]));
    from(&good, &["--samples", &wide, "--layers", "0"], &["\"layer0.q\" is f64[2x4x8]"]);
    let flat = npz("flat.npz", &|npz| npz.add("layer0.q", &[8, 8], &[0f32; 64]));
    from(&good, &["--samples", &flat, "--layers", "0"], &["\"layer0.q\" is f32[8x8]"]);
    let heads = npz("heads.npz", &|npz| {
        ["q", "k", "v"].iter().for_each(|k| npz.add(&format!("layer0.{k}"), &[2, 4, 8], &[0f32; 64]))
    });
    from(
        &good,
        &["--samples", &heads, "--layers", "0"],
        &["layer0: q, k, v are 2x4x8", "4 heads of queries and 2 of keys, of 8"],
    );
}
