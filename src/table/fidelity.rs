//! How far approximate scores lead attention astray.

use rayon::prelude::*;
use std::fmt;
use std::str::FromStr;

/// A figure over the heads it was measured on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figure {
    /// Mean of the heads.
    pub mean: f64,
    /// Of the head where it is worst.
    pub worst: f64,
}

/// The quality of attention from approximate scores on data that the table had not seen, against exact attention.
///
/// As text, one line: `name=mean,worst` of each figure, then the number of heads and the worst head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fidelity {
    /// Correlation of scores, exact and approximate, each less the mean of its row.
    pub pearson: Figure,
    /// Mean rank correlation of the scores in a row.
    pub spearman: Figure,
    /// Share of queries whose highest score is that of the same key.
    pub top1: Figure,
    /// L2 norm of the error of the attention output over that of the output.
    pub output_error: Figure,
    /// Mean divergence of the attention weights of a row, KL(exact || approximate), in nats.
    pub kl: Figure,
    /// Heads measured.
    pub heads: usize,
    /// The head of the largest output error.
    pub worst_head: String,
}

/// The quality of attention where not every key has a score, so that scores cannot be compared one by one.
///
/// As text, one line, as [`Fidelity`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputFidelity {
    /// Share of queries whose highest score is that of the same key.
    pub top1: Figure,
    /// L2 norm of the error of the attention output over that of the output.
    pub output_error: Figure,
    /// Heads measured.
    pub heads: usize,
    /// The head of the largest output error.
    pub worst_head: String,
}

/// One window of one head: what its attention works on.
#[derive(Clone, Copy, Debug)]
pub struct HeadInput<'a> {
    /// `[n_q, d]`
    pub q: &'a [f32],
    /// `[n_k, d]`
    pub k: &'a [f32],
    /// `[n_k, d_v]`
    pub v: &'a [f32],
    /// Width of a query and a key.
    pub d: usize,
    /// Width of a value.
    pub d_v: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// True if key `j` is hidden from query `i` where `j > i + n_k - n_q`.
    pub causal: bool,
}

/// The figures of one head, summed over its windows.
#[derive(Clone, Debug, Default)]
pub struct HeadTally {
    /// Of rows less their means: sums of products and squares.
    products: f64,
    exact: f64,
    approximate: f64,
    spearman: f64,
    ranked: usize,
    top1: usize,
    kl: f64,
    error: f64,
    norm: f64,
    rows: usize,
}

impl HeadTally {
    /// Adds a window. `scores(i, out)` writes the approximate `q . k` of query `i` with all keys, without the scale;
    /// a constant added to a row changes nothing. The sum does not depend on the number of threads.
    ///
    /// Sizes of the window must fit each other, else rows beyond them are left out. Scores that are not finite make
    /// figures that are not numbers, which pass no test for being below a floor.
    pub fn add(&mut self, window: &HeadInput<'_>, scores: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.add_rows(window, scores, true);
    }

    /// As [`add`](Self::add), where the score of a key that is left out is minus infinity: for [`OutputFidelity`].
    pub fn add_outputs(&mut self, window: &HeadInput<'_>, scores: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        self.add_rows(window, scores, false);
    }

    fn add_rows(&mut self, window: &HeadInput<'_>, scores: &(dyn Fn(usize, &mut [f32]) + Sync), compare: bool) {
        let (d, d_v) = (window.d.max(1), window.d_v.max(1));
        let (n_q, n_k) = (window.q.len() / d, (window.k.len() / d).min(window.v.len() / d_v));
        let rows: Vec<Option<Self>> = (0..n_q)
            .into_par_iter()
            .map(|i| {
                let visible = window.visible(i);
                let mut approximate = vec![0.0; n_k];
                scores(i, &mut approximate);
                (visible > 0).then(|| row(window, i, &approximate[..visible], compare))
            })
            .collect();
        for r in rows.into_iter().flatten() {
            self.products += r.products;
            self.exact += r.exact;
            self.approximate += r.approximate;
            self.spearman += r.spearman;
            self.ranked += r.ranked;
            self.top1 += r.top1;
            self.kl += r.kl;
            self.error += r.error;
            self.norm += r.norm;
            self.rows += r.rows;
        }
    }
}

impl HeadInput<'_> {
    /// Keys that query `i` sees, from the first on.
    pub fn visible(&self, i: usize) -> usize {
        let (d, d_v) = (self.d.max(1), self.d_v.max(1));
        let (n_q, n_k) = (self.q.len() / d, (self.k.len() / d).min(self.v.len() / d_v));
        if self.causal { (i + 1 + n_k).saturating_sub(n_q).min(n_k) } else { n_k }
    }
}

/// The figures of one query; those of scores one by one if `compare`.
fn row(window: &HeadInput<'_>, i: usize, approximate: &[f32], compare: bool) -> HeadTally {
    let (d, n) = (window.d, approximate.len());
    let q = &window.q[i * d..][..d];
    let dot = |k: &[f32]| q.iter().zip(k).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let exact: Vec<f64> = window.k.chunks_exact(d).take(n).map(dot).collect();
    let approximate: Vec<f64> = approximate.iter().map(|&x| f64::from(x)).collect();
    let mut t = HeadTally { rows: 1, ..HeadTally::default() };
    if compare {
        (t.products, t.exact, t.approximate) = centred_products(&exact, &approximate);
    }
    if t.exact > 0.0 {
        t.spearman = spearman(&exact, &approximate);
        t.ranked = 1;
    }
    let highest = |x: &[f64]| x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let top = highest(&approximate);
    let at = approximate.iter().position(|&x| x == top);
    t.top1 = usize::from(at.is_some_and(|at| exact[at] == highest(&exact)));
    let scale = f64::from(window.scale);
    let (p, q) = (log_softmax(&exact, scale), log_softmax(&approximate, scale));
    if compare {
        t.kl = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
    }
    let (mut out, mut error) = (vec![0.0; window.d_v], vec![0.0; window.d_v]);
    for ((p, q), v) in p.iter().zip(&q).zip(window.v.chunks_exact(window.d_v.max(1))) {
        let (p, q) = (p.exp(), q.exp());
        for ((o, e), &v) in out.iter_mut().zip(&mut error).zip(v) {
            *o += p * f64::from(v);
            *e += (q - p) * f64::from(v);
        }
    }
    t.norm = out.iter().map(|x| x * x).sum();
    t.error = error.iter().map(|x| x * x).sum();
    t
}

/// Sums of products and of squares of two lists less their means.
fn centred_products(x: &[f64], y: &[f64]) -> (f64, f64, f64) {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    x.iter().zip(y).fold((0.0, 0.0, 0.0), |(xy, xx, yy), (x, y)| {
        let (x, y) = (x - mx, y - my);
        (xy + x * y, xx + x * x, yy + y * y)
    })
}

/// Spearman's rank correlation of two lists of one length, equals sharing their mean rank. 0 if all values of one are
/// alike: they have no order, and agree with none. NaN if a value is.
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    let (products, a, b) = centred_products(&ranks(x), &ranks(y));
    if a == 0.0 || b == 0.0 { 0.0 } else { products / (a * b).sqrt() }
}

/// Ranks from 0, equals sharing their mean; all NaN if one value is.
fn ranks(x: &[f64]) -> Vec<f64> {
    if x.iter().any(|v| v.is_nan()) {
        return vec![f64::NAN; x.len()];
    }
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_unstable_by(|&a, &b| x[a].total_cmp(&x[b]));
    let mut out = vec![0.0; x.len()];
    let mut start = 0;
    while start < order.len() {
        let end = (start..order.len()).find(|&i| x[order[i]] != x[order[start]]).unwrap_or(order.len());
        for &i in &order[start..end] {
            out[i] = (start + end - 1) as f64 / 2.0;
        }
        start = end;
    }
    out
}

fn log_softmax(x: &[f64], scale: f64) -> Vec<f64> {
    let top = x.iter().map(|x| x * scale).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x * scale - top).exp()).sum();
    x.iter().map(|x| x * scale - top - sum.ln()).collect()
}

impl Fidelity {
    /// Of named heads. A head whose exact scores never differ correlates fully; one whose output is zero has the
    /// absolute error instead of the relative one.
    pub fn of_heads(heads: &[(String, HeadTally)]) -> Self {
        let each = |f: &dyn Fn(&HeadTally) -> f64| heads.iter().map(|(_, t)| f(t)).collect::<Vec<f64>>();
        let pearson = |t: &HeadTally| match t.exact == 0.0 {
            true => 1.0,
            false => share(t.products, (t.exact * t.approximate).sqrt(), 0.0),
        };
        let OutputFidelity { top1, output_error, worst_head, .. } = OutputFidelity::of_heads(heads);
        Self {
            pearson: Figure::of(&each(&pearson), false),
            spearman: Figure::of(&each(&|t| share(t.spearman, t.ranked as f64, 1.0)), false),
            top1,
            output_error,
            kl: Figure::of(&each(&|t| share(t.kl, t.rows as f64, 0.0)), true),
            heads: heads.len(),
            worst_head,
        }
    }

    /// The figures with their names.
    fn figures(&self) -> [(&'static str, Figure); 5] {
        [
            ("pearson", self.pearson),
            ("spearman", self.spearman),
            ("top1", self.top1),
            ("output_error", self.output_error),
            ("kl", self.kl),
        ]
    }

    /// True if every figure is a finite number.
    pub fn is_finite(&self) -> bool {
        self.figures().iter().all(|(_, f)| f.mean.is_finite() && f.worst.is_finite())
    }
}

impl HeadTally {
    /// L2 norm of the error of the attention output over that of the output; of a zero output, the norm of the error.
    pub fn output_error(&self) -> f64 {
        share(self.error.sqrt(), self.norm.sqrt(), self.error.sqrt())
    }
}

fn share(part: f64, whole: f64, or: f64) -> f64 {
    if whole == 0.0 { or } else { part / whole }
}

impl OutputFidelity {
    /// Of named heads.
    pub fn of_heads(heads: &[(String, HeadTally)]) -> Self {
        let errors: Vec<f64> = heads.iter().map(|(_, t)| t.output_error()).collect();
        let top1: Vec<f64> = heads.iter().map(|(_, t)| share(t.top1 as f64, t.rows as f64, 1.0)).collect();
        let worst = errors.iter().enumerate().max_by(|a, b| beyond(*a.1).total_cmp(&beyond(*b.1)));
        Self {
            top1: Figure::of(&top1, false),
            output_error: Figure::of(&errors, true),
            heads: heads.len(),
            worst_head: worst.map(|(i, _)| heads[i].0.clone()).unwrap_or_default(),
        }
    }

    fn figures(&self) -> [(&'static str, Figure); 2] {
        [("top1", self.top1), ("output_error", self.output_error)]
    }

    /// True if every figure is a finite number.
    pub fn is_finite(&self) -> bool {
        self.figures().iter().all(|(_, f)| f.mean.is_finite() && f.worst.is_finite())
    }
}

/// NaN is worse than any error.
fn beyond(error: f64) -> f64 {
    if error.is_nan() { f64::INFINITY } else { error }
}

impl Figure {
    fn of(heads: &[f64], larger_is_worse: bool) -> Self {
        if heads.is_empty() || heads.iter().any(|x| x.is_nan()) {
            return Self { mean: f64::NAN, worst: f64::NAN };
        }
        let mean = heads.iter().sum::<f64>() / heads.len() as f64;
        let worse = if larger_is_worse { f64::max } else { f64::min };
        Self { mean, worst: heads.iter().copied().reduce(worse).unwrap_or(f64::NAN) }
    }
}

fn write(f: &mut fmt::Formatter<'_>, figures: &[(&str, Figure)], heads: usize, worst_head: &str) -> fmt::Result {
    for (name, figure) in figures {
        write!(f, "{name}={},{} ", figure.mean, figure.worst)?;
    }
    write!(f, "heads={heads} worst_head={worst_head}")
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.figures(), self.heads, &self.worst_head)
    }
}

impl fmt::Display for OutputFidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.figures(), self.heads, &self.worst_head)
    }
}

/// The rest of a text of `name=value` fields.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn next(&mut self, name: &str) -> Result<&'a str, String> {
        let after = self.0.strip_prefix(name).and_then(|r| r.strip_prefix('='));
        let (value, rest) = after.and_then(|r| r.split_once(' ')).ok_or_else(|| format!("{name} is missing"))?;
        self.0 = rest;
        Ok(value)
    }

    fn figure(&mut self, name: &str) -> Result<Figure, String> {
        let value = self.next(name)?;
        let number = |s: &str| s.parse::<f64>().ok().filter(|x| x.is_finite());
        let pair = value.split_once(',').and_then(|(a, b)| Some((number(a)?, number(b)?)));
        let (mean, worst) = pair.ok_or_else(|| format!("{name} is {value:?}"))?;
        Ok(Figure { mean, worst })
    }

    /// Their number, and the worst of them: all that is left.
    fn heads(mut self) -> Result<(usize, String), String> {
        let heads = self.next("heads")?;
        let heads = heads.parse().map_err(|_| format!("heads is {heads:?}"))?;
        let worst = self.0.strip_prefix("worst_head=").ok_or("worst_head is missing")?;
        Ok((heads, worst.into()))
    }
}

impl FromStr for Fidelity {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut fields = Fields(s);
        let [pearson, spearman, top1] = [fields.figure("pearson")?, fields.figure("spearman")?, fields.figure("top1")?];
        let [output_error, kl] = [fields.figure("output_error")?, fields.figure("kl")?];
        let (heads, worst_head) = fields.heads()?;
        Ok(Self { pearson, spearman, top1, output_error, kl, heads, worst_head })
    }
}

impl FromStr for OutputFidelity {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let mut fields = Fields(s);
        let [top1, output_error] = [fields.figure("top1")?, fields.figure("output_error")?];
        let (heads, worst_head) = fields.heads()?;
        Ok(Self { top1, output_error, heads, worst_head })
    }
}
