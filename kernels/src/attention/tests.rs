//! Attention against plain f64 loops, on every instruction set of the host.

use super::*;
use crate::Isa;
use crate::isa::forced;
use crate::scan::Shape;

fn data(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| (((i + seed) * 7919 % 2017) as f32 / 1000.0) - 1.0).collect()
}

/// A table that knows nothing of the keys: 16 entries in as many subspaces as there may be.
fn book(d: usize) -> Option<Codebook> {
    let subspaces = [4, 2, 1].into_iter().find(|m| d > 0 && d.is_multiple_of(*m))?;
    Some(super::table_tests::book(Shape { subspaces, entries: 16, adds: 1 }, d))
}

/// The operands of a case, as large as its layouts reach.
pub(super) struct Case {
    pub a: Attention,
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    mask: Vec<u8>,
}

impl Case {
    /// Contiguous heads first; `shape` is batch, heads, kv_heads, seq_q, seq_k, d, d_v.
    pub fn new(shape: [usize; 7], causal: bool) -> Self {
        let [batch, heads, kv_heads, seq_q, seq_k, d, d_v] = shape;
        let a = Attention {
            batch,
            heads,
            kv_heads,
            seq_q,
            seq_k,
            d,
            d_v,
            scale: 0.7,
            causal,
            zero_hidden: false,
            mask: Mask::None,
            q: Layout::heads_first(heads, seq_q, d),
            k: Layout::heads_first(kv_heads, seq_k, d),
            v: Layout::heads_first(kv_heads, seq_k, d_v),
            out: Layout::heads_first(heads, seq_q, d_v),
        };
        Self {
            a,
            q: data(batch * heads * seq_q * d, 1),
            k: data(batch * kv_heads * seq_k * d, 2),
            v: data(batch * kv_heads * seq_k * d_v, 3),
            mask: Vec::new(),
        }
    }

    fn merged(mut self) -> Self {
        let a = &mut self.a;
        a.q = Layout::merged(a.heads, a.seq_q, a.d);
        a.k = Layout::merged(a.kv_heads, a.seq_k, a.d);
        a.v = Layout::merged(a.kv_heads, a.seq_k, a.d_v);
        a.out = Layout::merged(a.heads, a.seq_q, a.d_v);
        self
    }

    /// Components far apart: a transposed view of each.
    fn inner_strided(mut self) -> Self {
        let a = &mut self.a;
        let turn = |l: &mut Layout, seq: usize| (l.seq, l.inner) = (1, seq as isize);
        turn(&mut a.q, a.seq_q);
        turn(&mut a.k, a.seq_k);
        turn(&mut a.v, a.seq_k);
        turn(&mut a.out, a.seq_q);
        self
    }

    /// An additive mask for every score.
    fn additive(mut self) -> Self {
        let a = &mut self.a;
        let n = a.batch * a.heads * a.seq_q * a.seq_k;
        let [h, q, k] = [a.heads, a.seq_q, a.seq_k].map(|n| n as isize);
        a.mask = Mask::Additive { strides: [h * q * k, q * k, k, 1] };
        let hidden = |x: f32| if x > 0.8 { f32::NEG_INFINITY } else { x * 3.0 };
        self.mask = data(n, 5).into_iter().flat_map(|x| hidden(x).to_ne_bytes()).collect();
        self
    }

    /// A mask over keys only, one row a batch.
    fn hidden_keys(mut self, hides: bool) -> Self {
        let a = &mut self.a;
        a.mask = Mask::Bool { strides: [a.seq_k as isize, 0, 0, 1], hides, fill: -1e4 };
        self.mask = (0..a.batch * a.seq_k).map(|i| u8::from(i % 5 < 2)).collect();
        self
    }

    /// One additive number for each query: a mask whose inner stride is 0.
    fn per_query(mut self) -> Self {
        let a = &mut self.a;
        a.mask = Mask::Additive { strides: [0, 0, 1, 0] };
        self.mask = data(a.seq_q, 9).into_iter().flat_map(|x| x.to_ne_bytes()).collect();
        self
    }

    fn mask_at(&self, strides: [isize; 4], index: [usize; 4]) -> isize {
        strides.iter().zip(index).map(|(s, i)| s * i as isize).sum()
    }

    /// Every output by plain loops: (offset, value).
    fn expected(&self) -> Vec<(usize, f64)> {
        let a = &self.a;
        let mut want = Vec::new();
        for (b, h, i) in (0..a.batch).flat_map(|b| (0..a.heads).flat_map(move |h| (0..a.seq_q).map(move |i| (b, h, i))))
        {
            let kv = h / (a.heads / a.kv_heads);
            let get = |x: &[f32], l: &Layout, head, seq, c: usize| {
                f64::from(x[(l.at(b, head, seq) + l.inner * c as isize) as usize])
            };
            let scores: Vec<f64> = (0..a.seq_k)
                .map(|j| {
                    let dot: f64 = (0..a.d).map(|c| get(&self.q, &a.q, h, i, c) * get(&self.k, &a.k, kv, j, c)).sum();
                    let mut s = dot * f64::from(a.scale);
                    match a.mask {
                        Mask::None => {}
                        Mask::Additive { strides } => {
                            let at = 4 * self.mask_at(strides, [b, h, i, j]) as usize;
                            s += f64::from(f32::from_ne_bytes(self.mask[at..at + 4].try_into().unwrap()));
                        }
                        Mask::Bool { strides, hides, fill } => {
                            if (self.mask[self.mask_at(strides, [b, h, i, j]) as usize] != 0) == hides {
                                s = fill.into();
                            }
                        }
                    }
                    if a.causal && j + a.seq_q > i + a.seq_k { f64::NEG_INFINITY } else { s }
                })
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let e: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
            let sum: f64 = e.iter().sum();
            let hidden = a.zero_hidden && scores.iter().all(|&s| s == f64::NEG_INFINITY);
            for c in 0..a.d_v {
                if hidden {
                    want.push(((a.out.at(b, h, i) + a.out.inner * c as isize) as usize, 0.0));
                    continue;
                }
                let y = e.iter().enumerate().map(|(j, e)| e * get(&self.v, &a.v, kv, j, c)).sum::<f64>() / sum;
                want.push(((a.out.at(b, h, i) + a.out.inner * c as isize) as usize, y));
            }
        }
        want
    }

    pub fn run(&self, isa: ByteIsa, scoring: Scoring) -> Vec<f32> {
        let a = &self.a;
        a.check().unwrap();
        let mut out = vec![f32::MAX; a.batch * a.heads * a.seq_q * a.d_v];
        let (q, k, v, mask) = (self.q.as_ptr(), self.k.as_ptr(), self.v.as_ptr(), self.mask.as_ptr());
        // SAFETY: the operands are as large as the layouts reach.
        unsafe { a.run_on(isa, scoring, Operands { q, k, v, mask, out: out.as_mut_ptr() }) }.unwrap();
        out
    }

    /// [`Case::check`], and that a table hides the same queries.
    fn check_all(self) {
        let want = self.expected();
        let book = book(self.a.d).unwrap();
        forced::on_each_level(|isa| {
            let out = self.run(isa, Scoring::Table(&book));
            for &(at, w) in want.iter().filter(|(_, w)| w.is_nan() || *w == 0.0) {
                let g = f64::from(out[at]);
                assert!(g == w || g.is_nan() && w.is_nan(), "{:?} at {at} on {isa}: {g}, not {w}", self.a);
            }
        });
        self.check();
    }

    fn check(self) {
        let want = self.expected();
        for isa in Isa::ALL {
            if !isa.is_available() {
                println!("SKIPPED {isa}: this CPU lacks it");
                continue;
            }
            close(&self.run(ByteIsa::within(isa), Scoring::Exact), &want, 1e-5, &self.a, isa.name());
        }
        // Every key is in the sample, and chosen: as good as exact attention, from whatever table.
        if let Some(book) = book(self.a.d).filter(|_| self.a.seq_k < 512) {
            for rest in [Rest::Dropped, Rest::Scored] {
                let refine = Refine { dropped_mass: 0.0, first: 2, last: 3, rest };
                forced::on_each_level(|isa| {
                    let out = self.run(isa, Scoring::Refined(&book, refine));
                    close(&out, &want, 1e-5, &self.a, isa.name());
                });
            }
        }
        // Codes of 7 bits and a sign: the largest error is of scores that are large.
        forced::on_each_level(|isa| {
            close(&self.run(isa, Scoring::Int8), &want, 0.03, &self.a, isa.name());
        });
    }
}

fn close(out: &[f32], want: &[(usize, f64)], within: f64, a: &Attention, isa: &str) {
    assert_eq!(out.len(), want.len());
    for &(at, w) in want {
        let g = f64::from(out[at]);
        assert!((g - w).abs() < within || g.is_nan() && w.is_nan(), "{a:?} at {at} on {isa}: {g}, not {w}");
    }
}

#[test]
fn shapes() {
    for s in [1, 2, 5, 16, 17, 33, 70] {
        Case::new([1, 2, 2, s, s, 32, 32], false).check();
        Case::new([2, 2, 2, s, s, 8, 20], false).merged().check();
        Case::new([1, 2, 1, s, s + 3, 5, 40], false).check();
    }
    Case::new([1, 1, 1, 30, 300, 64, 64], false).merged().check();
    Case::new([1, 4, 2, 3, 9, 16, 16], false).inner_strided().check();
}

#[test]
fn grouped_heads() {
    Case::new([2, 6, 2, 7, 11, 16, 16], false).check();
    Case::new([1, 6, 1, 7, 11, 16, 16], false).merged().check();
    Case::new([3, 4, 1, 7, 11, 16, 16], false).inner_strided().check();
}

#[test]
fn causal() {
    for (q, k) in [(1, 1), (20, 20), (40, 40), (3, 50), (1, 33), (70, 70)] {
        Case::new([1, 2, 2, q, k, 16, 16], true).check();
    }
    // Queries before the first key see nothing: NaN.
    Case::new([1, 1, 1, 5, 3, 16, 16], true).check();
}

#[test]
fn masks() {
    for s in [4, 17, 50] {
        Case::new([2, 2, 2, s, s, 16, 16], false).additive().check();
        Case::new([2, 2, 2, s, s, 16, 16], true).hidden_keys(true).check();
        Case::new([2, 2, 2, s, s, 16, 16], false).hidden_keys(false).merged().check();
        Case::new([2, 2, 2, s, s, 16, 16], false).per_query().check();
    }
}

/// More keys than a block, so that sums and outputs are corrected under way.
#[test]
fn several_blocks_of_keys() {
    Case::new([1, 1, 1, 3, 513, 8, 8], false).check();
    Case::new([1, 2, 1, 30, 1100, 8, 40], false).merged().check();
    Case::new([1, 1, 1, 700, 700, 4, 4], true).check();
    Case::new([1, 1, 1, 20, 1100, 4, 4], true).check();
    Case::new([1, 1, 1, 5, 1030, 8, 8], false).additive().check();
    Case::new([2, 1, 1, 5, 1030, 8, 8], false).hidden_keys(true).merged().check();
    Case::new([1, 1, 1, 9, 600, 8, 8], false).per_query().inner_strided().check();
}

/// A block in which every key is hidden, before one that is seen and behind it.
#[test]
fn blocks_without_a_visible_key() {
    let mut case = Case::new([1, 1, 1, 4, 1536, 8, 8], false);
    case.a.mask = Mask::Additive { strides: [0, 0, 0, 1] };
    let visible = |j: usize| (512..1024).contains(&j);
    case.mask = (0..1536).flat_map(|j| if visible(j) { 0.5f32 } else { f32::NEG_INFINITY }.to_ne_bytes()).collect();
    case.check();
    // Nowhere: NaN.
    let mut case = Case::new([1, 1, 1, 4, 1536, 8, 8], false);
    case.a.mask = Mask::Additive { strides: [0, 0, 0, 1] };
    case.mask = (0..1536).flat_map(|_| f32::NEG_INFINITY.to_ne_bytes()).collect();
    case.check();
}

/// Rows that see no key between others that do: 0 where that is asked for, NaN where not, by scores from anywhere.
#[test]
fn queries_that_see_no_key() {
    let inf = f32::INFINITY;
    for (seq_q, seq_k) in [(1, 5), (4, 40), (9, 40), (30, 600)] {
        let shape = [1, 2, 1, seq_q, seq_k, 16, 20];
        let strides = [0, 0, seq_k as isize, 1];
        let hidden = |i: usize| i.is_multiple_of(3);
        let rows = || (0..seq_q).flat_map(move |i| (0..seq_k).map(move |j| (i, j)));
        for zero_hidden in [false, true] {
            let mut added = Case::new(shape, false);
            added.a.mask = Mask::Additive { strides };
            added.mask = rows().flat_map(|(i, _)| if hidden(i) { -inf } else { 0.5 }.to_ne_bytes()).collect();
            let mut chosen = Case::new(shape, false).merged();
            chosen.a.mask = Mask::Bool { strides, hides: true, fill: -inf };
            chosen.mask = rows().map(|(i, j)| u8::from(hidden(i) || j % 2 == 0)).collect();
            let causal = Case::new([1, 1, 1, seq_k + 3, seq_k, 16, 20], true).inner_strided();
            for mut case in [added, chosen, causal] {
                case.a.zero_hidden = zero_hidden;
                case.check_all();
            }
        }
    }
}

/// A query that is NaN does not show where it sees nothing; one that sees something shows it.
#[test]
fn a_nan_in_a_query_that_sees_no_key() {
    for seq_q in [2, 20] {
        let mut case = Case::new([1, 1, 1, seq_q, 40, 16, 16], false);
        case.a.zero_hidden = true;
        case.q.fill(f32::NAN);
        case.a.mask = Mask::Additive { strides: [0, 0, 1, 0] };
        let mask = (0..seq_q).map(|i| if i == 0 { f32::NEG_INFINITY } else { 0.0 });
        case.mask = mask.flat_map(f32::to_ne_bytes).collect();
        for isa in Isa::ALL.into_iter().filter(|i| i.is_available()) {
            let out = case.run(ByteIsa::within(isa), Scoring::Exact);
            assert!(out[..16].iter().all(|v| *v == 0.0) && out[16..].iter().all(|v| v.is_nan()), "{out:?} on {isa}");
        }
    }
}

/// Greater scores from block to block, each of which takes the weight from those before.
#[test]
fn scores_that_rise_and_fall_over_blocks() {
    for sign in [1.0, -1.0] {
        let mut case = Case::new([1, 1, 1, 14, 1300, 4, 4], false);
        case.a.mask = Mask::Additive { strides: [0, 0, 0, 1] };
        case.mask = (0..1300).flat_map(|j| (sign * j as f32 / 8.0).to_ne_bytes()).collect();
        case.check();
    }
}

#[test]
fn a_nan_reaches_the_output_of_its_query_from_any_block() {
    for key in [3, 700, 1200] {
        let mut case = Case::new([1, 1, 1, 3, 1300, 4, 4], false);
        case.k[key * 4] = f32::NAN;
        case.check();
    }
}

#[test]
fn empty() {
    Case::new([0, 2, 2, 4, 4, 8, 8], false).check();
    Case::new([1, 2, 2, 0, 4, 8, 8], false).check();
    Case::new([1, 2, 2, 4, 4, 8, 0], false).check();
    // No component: every score is 0. No key: NaN.
    Case::new([1, 2, 2, 4, 4, 0, 8], false).check();
    Case::new([1, 2, 2, 4, 0, 8, 8], false).check();
}

#[test]
fn heads_that_cannot_be_shared_are_refused() {
    let mut a = Case::new([1, 4, 4, 1, 1, 8, 8], false).a;
    a.kv_heads = 3;
    assert_eq!(a.check(), Err(AttentionError::Heads { heads: 4, kv_heads: 3 }));
    a.kv_heads = 0;
    assert!(a.check().is_err());
    a.kv_heads = 4;
    a.seq_k = usize::MAX / 64;
    assert!(matches!(a.check(), Err(AttentionError::TooLarge { .. })));
}

/// More threads than heads share what is made of keys and values.
#[test]
fn threads_do_not_change_a_bit() {
    let cases = [
        Case::new([1, 3, 3, 200, 200, 32, 32], true).merged(),
        Case::new([1, 1, 1, 700, 1100, 16, 16], true),
        Case::new([2, 2, 1, 150, 300, 32, 40], false),
        Case::new([1, 4, 2, 90, 500, 16, 16], false).inner_strided(),
    ];
    for case in cases {
        let book = book(case.a.d).unwrap();
        let refined = |rest| Scoring::Refined(&book, Refine { dropped_mass: 0.01, first: 2, last: 3, rest });
        let scorings =
            [Scoring::Exact, Scoring::Int8, Scoring::Table(&book), refined(Rest::Dropped), refined(Rest::Scored)];
        for scoring in scorings {
            let outputs = [1, 2, 5].map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| case.run(ByteIsa::current(), scoring)).into_iter().map(f32::to_bits).collect::<Vec<_>>()
            });
            assert!(outputs[0] == outputs[1] && outputs[0] == outputs[2], "{:?} {scoring:?}", case.a);
        }
    }
}
