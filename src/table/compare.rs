//! Every way of scoring, measured on the same held-out samples.

use super::attention_table::{AttentionTable, BuildOptions, Method};
use super::distance_palette::DistancePalette;
use super::error::TableError;
use super::fidelity::{Fidelity, OutputFidelity};
use super::int8::int8_scores;
use super::product::{ProductOptions, ProductTable, Weighting};
use super::rotary::Rotary;
use super::samples::{RowScores, Samples, Window, gather};

/// A way of scoring, and how good it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The way of scoring, in words.
    pub method: &'static str,
    /// Bytes of a coded key.
    pub bytes_per_key: usize,
    /// The fidelity of attention with it on the held-out samples.
    pub fidelity: Fidelity,
    /// With its refinement, if it has one: attention, and the share of keys that is scored exactly.
    pub refined: Option<(OutputFidelity, f64)>,
}

/// Measures distances of Base17 codes, tables of each kind and int8 dot products, from the least to the most bytes a
/// key. `options.method` says how product tables are cut; palettes take the seed from it.
///
/// # Errors
/// As [`AttentionTable::build`].
pub fn compare(samples: &Samples, options: &BuildOptions) -> Result<Vec<Compared>, TableError> {
    samples.check()?;
    let (d, split) = (samples.d_head, samples.split(options.held_out)?);
    let cut = match options.method {
        Method::Product(how) => how,
        Method::Palette { seed } => ProductOptions { seed, ..ProductOptions::default() },
    };
    let queries = gather(&split.train, |w| &w.q, d, options.max_rows);
    let keys = gather(&split.train, |w| &w.k, d, options.max_rows);
    let mut all = Vec::new();
    let mut add =
        |method, bytes_per_key, fidelity| all.push(Compared { method, bytes_per_key, fidelity, refined: None });

    let distance = DistancePalette::learn(&queries, &keys, d, cut.seed)?;
    let scores = |w| Ok(distance_scores(&distance, d, w));
    add("Base17 distance palette, both coded", 1, samples.measure(&split.held_out, scores)?);

    // Weights from second moments made codes of both sides worse.
    let plain = ProductOptions { weighting: Weighting::Plain, ..cut };
    let (query, key) =
        (ProductTable::learn(&keys, &queries, d, &plain)?, ProductTable::learn(&queries, &keys, d, &plain)?);
    let scores = |w| both_coded_scores(&query, &key, w);
    add("product table, both coded", cut.subspaces, samples.measure(&split.held_out, scores)?);

    // A code a dim, and an f32 scale.
    add("int8 dot products", d + 4, samples.measure(&split.held_out, |w| Ok(int8_scores(d, w)))?);

    let one = ProductOptions { subspaces: 1, entries: 256, ..cut };
    // As many bytes a key in codes of half the bits; of as few dims each as go into whole rotary pairs.
    let finest = if cut.rotary == Rotary::None { d } else { d / 2 };
    let short = ProductOptions { subspaces: (2 * cut.subspaces).min(finest), entries: 16, ..cut };
    let built = [
        ("palette of dot products, both coded", Method::Palette { seed: cut.seed }),
        ("key palette, exact query", Method::Product(one)),
        ("product table, exact query", Method::Product(cut)),
        ("product table of 16 entries, exact query", Method::Product(short)),
    ];
    for (method, how) in built {
        let table = AttentionTable::build(samples, &BuildOptions { method: how, ..options.clone() })?;
        let refined = table.record().refined.as_ref().map(|r| (r.fidelity.clone(), r.chosen.mean));
        let (bytes_per_key, fidelity) = (table.bytes_per_key(), table.fidelity().clone());
        all.push(Compared { method, bytes_per_key, fidelity, refined });
    }
    all.sort_by_key(|c| c.bytes_per_key);
    Ok(all)
}

pub(super) fn distance_scores<'a>(table: &'a DistancePalette, d: usize, w: &'a Window) -> RowScores<'a> {
    let keys: Vec<u8> = w.k.chunks_exact(d).map(|k| table.encode_row(k)).collect();
    Box::new(move |i, out| {
        let q = table.encode_row(&w.q[i * d..][..d]);
        out.iter_mut().zip(&keys).for_each(|(o, &k)| *o = table.score(q, k));
    })
}

fn both_coded_scores<'a>(query: &ProductTable, key: &ProductTable, w: &'a Window) -> Result<RowScores<'a>, TableError> {
    let d = key.d_head();
    let decoded = |table: &ProductTable, rows: &[f32]| {
        let mut codes = vec![0; rows.len() / d * table.subspaces()];
        let mut out = vec![0.0; rows.len()];
        table.encode(rows, &mut codes)?;
        table.decode(&codes, &mut out)?;
        Ok::<_, TableError>(out)
    };
    let (mut q, k) = (decoded(query, &w.q)?, decoded(key, &w.k)?);
    // Unlike that of the keys, the mean of the queries tells keys apart.
    for row in q.chunks_exact_mut(d) {
        row.iter_mut().zip(&query.parts().mean).for_each(|(x, m)| *x += m);
    }
    Ok(Box::new(move |i, out| {
        let q = &q[i * d..][..d];
        for (o, k) in out.iter_mut().zip(k.chunks_exact(d)) {
            *o = q.iter().zip(k).map(|(a, b)| a * b).sum();
        }
    }))
}
