//! The cost of ways of scoring: estimated cycles a score, all steps of attention included.
//!
//! One place, so that measuring anew changes one file. The constants are those that `benches/attention.rs` measures;
//! they need to be right to about a quarter, as what lies nearer is as good either way.

use super::attention_table::AttentionTable;
use super::refine::{Refined, Rest};
use crate::kernels::ByteIsa;

/// The numbers of an attention that count for its speed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Dims of a query and a key.
    pub d_head: usize,
    /// Dims of a value.
    pub d_v: usize,
    /// Queries of a head.
    pub seq_q: usize,
    /// Keys of a head.
    pub seq_k: usize,
    /// Query heads that share the keys of one head.
    pub group: usize,
}

/// The rates of instruction sets, in cycles unless said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// f32 multiply-adds a cycle.
    fma: f64,
    /// 8-bit multiply-adds a cycle.
    int8: f64,
    /// A score from 8-bit rows, besides its multiply-adds.
    int8_score: f64,
    /// One lookup of a score in a codebook of 16 entries.
    lookup16: f64,
    /// Of 128 entries.
    lookup128: f64,
    /// A score of a product table, besides its lookups.
    table_score: f64,
    /// A score from a table of pairs of codes.
    pair: f64,
    /// The exponential of a score.
    exp: f64,
    /// How much longer a step takes for keys here and there than for all in a row.
    scattered: f64,
}

impl Rates {
    const VBMI: Self = Self { lookup128: 2.0 / 64.0, ..Self::VNNI };
    const VNNI: Self = Self { int8: 128.0, ..Self::AVX512 };
    const AVX512: Self = Self {
        fma: 32.0,
        int8: 64.0,
        int8_score: 0.2,
        lookup16: 1.0 / 64.0,
        lookup128: 1.0 / 8.0,
        table_score: 0.1,
        pair: 0.4,
        exp: 0.5,
        scattered: 2.0,
    };
    const AVX2: Self = Self {
        fma: 16.0,
        int8: 32.0,
        int8_score: 0.4,
        lookup16: 1.0 / 32.0,
        lookup128: 1.0 / 4.0,
        table_score: 0.2,
        pair: 1.0,
        exp: 1.0,
        scattered: 2.0,
    };
    const SCALAR: Self = Self {
        fma: 1.0,
        int8: 1.0,
        int8_score: 2.0,
        lookup16: 1.0,
        lookup128: 1.0,
        table_score: 1.0,
        pair: 2.0,
        exp: 8.0,
        scattered: 1.2,
    };

    /// Those of the kernels that run here.
    pub fn current() -> Self {
        Self::of(ByteIsa::current())
    }

    /// Those of the kernels for `isa`.
    pub fn of(isa: ByteIsa) -> Self {
        match isa {
            ByteIsa::Scalar => Self::SCALAR,
            ByteIsa::Avx2 => Self::AVX2,
            ByteIsa::Avx512 => Self::AVX512,
            ByteIsa::Avx512Vnni => Self::VNNI,
            ByteIsa::Avx512Vbmi => Self::VBMI,
        }
    }

    /// Of exact attention.
    pub fn exact(&self, s: &Shape) -> f64 {
        s.d_head as f64 / self.fma + self.rest(s)
    }

    /// With scores from 8-bit rows.
    pub fn int8(&self, s: &Shape) -> f64 {
        let rounding = per_score(s, s.d_head as f64 / self.fma, s.d_head as f64 / self.fma);
        s.d_head as f64 / self.int8 + self.int8_score + rounding + self.rest(s)
    }

    /// With scores from `table`, refined as its record says.
    pub fn table(&self, table: &AttentionTable, s: &Shape) -> f64 {
        let d = s.d_head as f64;
        let scan = match table {
            AttentionTable::Palette(..) => self.pair,
            AttentionTable::Product(t, _) => {
                let lookup = match t.entries() {
                    16 => self.lookup16,
                    128 => self.lookup128,
                    // Two lookups and a blend.
                    _ => 2.0 * self.lookup128,
                };
                t.subspaces() as f64 * lookup + self.table_score
            }
        };
        // Finding the nearest entry, and the scores of a query with all entries, are a small product each.
        let entries = match table {
            AttentionTable::Palette(..) => 256.0,
            AttentionTable::Product(t, _) => t.entries() as f64,
        };
        let coding = per_score(s, entries * d / self.fma, entries * d / self.fma);
        scan + coding + self.weights(table.record().refined.as_ref(), s)
    }

    /// Behind the scan: all keys in order, or those chosen and perhaps the rest.
    fn weights(&self, refined: Option<&Refined>, s: &Shape) -> f64 {
        let Some(Refined { refine, chosen, .. }) = refined else { return self.rest(s) };
        let placed = refine.first.saturating_add(refine.last) as f64 / s.seq_k.max(1) as f64;
        let share = (chosen.mean + placed).clamp(0.0, 1.0);
        let rescored = share * (s.d_head as f64 / self.fma + self.rest(s)) * self.scattered;
        match refine.rest {
            Rest::Dropped => rescored,
            Rest::Scored => rescored + (1.0 - share) * self.rest(s),
        }
    }

    /// The work behind a score: its exponential, and the product with the values.
    fn rest(&self, s: &Shape) -> f64 {
        self.exp + s.d_v as f64 / self.fma
    }
}

/// The work done once a key and once a query, for a score of the many it serves.
fn per_score(s: &Shape, key: f64, query: f64) -> f64 {
    key / (s.seq_q.max(1) * s.group.max(1)) as f64 + query / s.seq_k.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(d: usize, seq: usize) -> Shape {
        Shape { d_head: d, d_v: d, seq_q: seq, seq_k: seq, group: 1 }
    }

    /// The work done once a row is nothing for many, and most of the work for few.
    #[test]
    fn int8_pays_from_some_length_on() {
        for isa in [ByteIsa::Avx2, ByteIsa::Avx512, ByteIsa::Avx512Vnni, ByteIsa::Avx512Vbmi] {
            let rates = Rates::of(isa);
            let faster = |seq: usize| rates.int8(&square(64, seq)) < rates.exact(&square(64, seq));
            assert!(!faster(1) && !faster(2) && faster(1024), "{}", isa.name());
        }
    }

    /// Heads that share keys share what is done for each key, too.
    #[test]
    fn shared_keys_are_coded_once() {
        let rates = Rates::of(ByteIsa::Avx512);
        let cost = |group: usize| rates.int8(&Shape { group, ..square(64, 32) });
        assert!(cost(8) < cost(1));
        assert_eq!(per_score(&square(1, 10), 5.0, 20.0), 2.5);
        assert!(per_score(&Shape { seq_q: 0, seq_k: 0, group: 0, ..square(1, 1) }, 1.0, 1.0).is_finite());
    }
}
