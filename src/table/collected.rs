//! Samples cut from what one long input gave.

use super::error::TableError;
use super::samples::{Samples, Window};

/// Queries, keys and values of all heads of one attention on one text.
#[derive(Clone, Copy, Debug)]
pub struct Collected<'a> {
    /// `[tokens, heads, d_head]`, as their products are taken: after any rotation, before the scale.
    pub q: &'a [f32],
    /// `[tokens, kv_heads, d_head]`
    pub k: &'a [f32],
    /// `[tokens, kv_heads, d_v]`
    pub v: &'a [f32],
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values; consecutive heads of queries share one.
    pub kv_heads: usize,
    /// Dims of a query and a key.
    pub d_head: usize,
    /// Dims of a value.
    pub d_v: usize,
    /// Factor of the scores.
    pub scale: f32,
}

impl Collected<'_> {
    /// Causal samples of one head called `name`: windows of so many tokens, one behind the other. Tokens at the end
    /// that fill no window are left out.
    ///
    /// # Errors
    /// If sizes do not fit each other, there is no such head, or fewer than two windows.
    pub fn head(&self, head: usize, name: &str, window: usize) -> Result<Samples, TableError> {
        let bad = |reason: String| TableError::Samples { head: name.into(), reason };
        let Self { q, k, v, heads, kv_heads, d_head, d_v, scale } = *self;
        if head >= heads || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(bad(format!("no head {head} of {heads} that share {kv_heads} of keys")));
        }
        let row = |heads: usize, width: usize| heads.checked_mul(width).filter(|&n| n > 0);
        let sizes = [(q, row(heads, d_head)), (k, row(kv_heads, d_head)), (v, row(kv_heads, d_v))];
        let counts = sizes.map(|(x, row)| row.filter(|&n| x.len().is_multiple_of(n)).map(|n| x.len() / n));
        let [Some(tokens), Some(keys), Some(values)] = counts else {
            return Err(bad("queries, keys and values are no rows of whole heads".into()));
        };
        if tokens != keys || tokens != values {
            return Err(bad(format!("{tokens} queries, {keys} keys and {values} values")));
        }
        if window == 0 || tokens / window < 2 {
            return Err(bad(format!("{tokens} tokens make fewer than two windows of {window}")));
        }
        let shared = head / (heads / kv_heads);
        let cut = |x: &[f32], heads: usize, head: usize, width: usize, start: usize| -> Vec<f32> {
            let rows = x[start * heads * width..][..window * heads * width].chunks_exact(heads * width);
            rows.flat_map(|row| &row[head * width..][..width]).copied().collect()
        };
        let windows = (0..tokens / window).map(|i| Window {
            head: name.into(),
            q: cut(q, heads, head, d_head, i * window),
            k: cut(k, kv_heads, shared, d_head, i * window),
            v: cut(v, kv_heads, shared, d_v, i * window),
        });
        Ok(Samples { d_head, d_v, scale, causal: true, windows: windows.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every value says which it is: 1000 a token, 10 a head.
    fn values(tokens: usize, heads: usize, width: usize) -> Vec<f32> {
        let value = |t: usize, h: usize, j: usize| (1000 * t + 10 * h + j) as f32;
        (0..tokens).flat_map(|t| (0..heads).flat_map(move |h| (0..width).map(move |j| value(t, h, j)))).collect()
    }

    fn collected<'a>(q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> Collected<'a> {
        Collected { q, k, v, heads: 4, kv_heads: 2, d_head: 2, d_v: 3, scale: 0.5 }
    }

    #[test]
    fn heads_are_cut_and_keys_shared() {
        let (q, k, v) = (values(7, 4, 2), values(7, 2, 2), values(7, 2, 3));
        let s = collected(&q, &k, &v).head(2, "x", 3).unwrap();
        assert_eq!((s.d_head, s.d_v, s.scale, s.causal, s.windows.len()), (2, 3, 0.5, true, 2));
        let w = &s.windows[1];
        assert_eq!(w.head, "x");
        assert_eq!(w.q, [3020.0, 3021.0, 4020.0, 4021.0, 5020.0, 5021.0]);
        assert_eq!(w.k, [3010.0, 3011.0, 4010.0, 4011.0, 5010.0, 5011.0]);
        assert_eq!(w.v[..4], [3010.0, 3011.0, 3012.0, 4010.0]);
        s.check().unwrap();
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let (q, k, v) = (values(6, 4, 2), values(6, 2, 2), values(6, 2, 3));
        let all = collected(&q, &k, &v);
        let refused = |c: Collected<'_>, head, window, want: &str| {
            let e = c.head(head, "x", window).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        };
        refused(all, 4, 3, "no head 4 of 4");
        refused(Collected { kv_heads: 3, ..all }, 0, 3, "share 3");
        refused(Collected { kv_heads: 0, ..all }, 0, 3, "share 0");
        refused(Collected { q: &q[1..], ..all }, 0, 3, "no rows of whole heads");
        refused(Collected { d_head: usize::MAX, ..all }, 0, 3, "no rows of whole heads");
        refused(Collected { d_v: 0, ..all }, 0, 3, "no rows of whole heads");
        refused(Collected { k: &k[4..], ..all }, 0, 3, "6 queries, 5 keys and 6 values");
        refused(all, 0, 4, "6 tokens make fewer than two windows of 4");
        refused(all, 0, 0, "fewer than two windows");
    }
}
