//! Tables on made-up attention.

mod fidelity;
mod file;
mod registry;
mod source;
mod tables;

use super::*;
use bgz_passes::random::SplitMix64;

/// Near to normal: by twelve numbers, which other samples than these would rank otherwise where methods are close.
fn drawn(rng: &mut SplitMix64) -> f32 {
    ((0..12).map(|_| rng.unit()).sum::<f64>() - 6.0) as f32
}

/// Two heads of six windows of `n` rows, whose queries and keys lie near few directions, with keys far from zero.
fn samples(d: usize, n: usize) -> Samples {
    let mut rng = SplitMix64::new(7);
    let rank = d.min(6);
    let basis: Vec<f32> = (0..2 * rank * d).map(|_| drawn(&mut rng)).collect();
    let mut rows = |head: usize, shift: f32| -> Vec<f32> {
        let basis = &basis[head * rank * d..][..rank * d];
        (0..n)
            .flat_map(|_| {
                let at: Vec<f32> = (0..rank).map(|_| drawn(&mut rng)).collect();
                let noise: Vec<f32> = (0..d).map(|_| 0.2 * drawn(&mut rng)).collect();
                let dim = |j: usize| (0..rank).map(|r| at[r] * basis[r * d + j]).sum::<f32>() + noise[j] + shift;
                (0..d).map(dim).collect::<Vec<f32>>()
            })
            .collect()
    };
    let windows = (0..12)
        .map(|i| Window {
            head: format!("layer{}", i % 2),
            q: rows(i % 2, 0.0),
            k: rows(i % 2, 3.0),
            v: rows(i % 2, 0.0),
        })
        .collect();
    Samples { d_head: d, d_v: d, scale: 1.0 / (d as f32).sqrt(), causal: false, windows }
}

fn product(subspaces: usize, rotary: Rotary, weighting: Weighting) -> BuildOptions {
    let how = ProductOptions { subspaces, entries: 128, rotary, weighting, seed: 1 };
    BuildOptions { method: Method::Product(how), ..BuildOptions::default() }
}

/// A product table that is quick to make; `mark` can be read back from its record.
fn marked(d_head: usize, site: Option<&str>, mark: u64) -> AttentionTable {
    let parts = ProductParts {
        entries: 128,
        subspaces: 2,
        rotary: Rotary::Halves,
        permutation: Rotary::Halves.permutation(d_head, 2).unwrap(),
        mean: vec![0.5; d_head],
        codebook: (0..128 * d_head).map(|i| (i % 37) as f32 - 18.0).collect(),
        metric: (0..d_head * d_head / 2).map(|i| if i % (d_head / 2 + 1) == 0 { 1.0 } else { 0.0 }).collect(),
    };
    let record = Record { site: site.map(String::from), samples: mark, ..Record::default() };
    AttentionTable::Product(ProductTable::from_parts(parts).unwrap(), record)
}
