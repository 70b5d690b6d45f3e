//! How far two sets of results are apart.

use super::Tensor;
use std::fmt;

/// An element of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Number of the result.
    pub output: usize,
    /// Index in it.
    pub index: Vec<usize>,
    /// The value on the left.
    pub left: f64,
    /// The value on the right.
    pub right: f64,
}

/// How far two sets of results are apart. Two NaN are equal, and so are two
/// infinities of one sign; anything else against a NaN or an infinity is
/// infinitely far.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Greatest absolute difference of two elements.
    pub max_abs: f64,
    /// Greatest difference as a part of the element on the right, or of the smallest normal `f32` if that is greater.
    pub max_rel: f64,
    /// Cosine of the angle between all finite elements; 1 if both sides are zero.
    pub cosine: f64,
    /// The first elements that differ.
    pub first_place: Option<Place>,
    /// The elements that differ most, absolutely.
    pub worst: Option<Place>,
    /// Different numbers of results, dtypes or shapes; then nothing is compared.
    pub mismatch: Option<String>,
}

impl Difference {
    const NONE: Difference =
        Difference { max_abs: 0.0, max_rel: 0.0, cosine: 1.0, first_place: None, worst: None, mismatch: None };
}

/// Compares element by element.
pub fn compare(left: &[Tensor], right: &[Tensor]) -> Difference {
    within(left, right, 0.0, 0.0)
}

/// As [`compare`], where [`Difference::first_place`] is the first that is
/// farther than `atol + rtol * |right|`; integers and bools must be equal.
pub(super) fn within(left: &[Tensor], right: &[Tensor], atol: f64, rtol: f64) -> Difference {
    let apart = |message: String| Difference {
        max_abs: f64::INFINITY,
        max_rel: f64::INFINITY,
        cosine: 0.0,
        mismatch: Some(message),
        ..Difference::NONE
    };
    if left.len() != right.len() {
        return apart(format!("{} results and {}", left.len(), right.len()));
    }
    let mut out = Difference::NONE;
    let (mut dot, mut norm_left, mut norm_right) = (0.0, 0.0, 0.0);
    for (output, (a, b)) in left.iter().zip(right).enumerate() {
        if a.dtype() != b.dtype() || a.shape() != b.shape() {
            return apart(format!("result {output} is {} and {}", a.ty(), b.ty()));
        }
        let exact = !a.dtype().is_float();
        for (i, (sx, sy)) in a.scalars().zip(b.scalars()).enumerate() {
            let (x, y) = (sx.to_f64(), sy.to_f64());
            if x.is_finite() && y.is_finite() {
                dot += x * y;
                norm_left += x * x;
                norm_right += y * y;
            }
            if if exact { sx == sy } else { x == y || x.is_nan() && y.is_nan() } {
                continue;
            }
            let abs = if x.is_finite() && y.is_finite() { (x - y).abs() } else { f64::INFINITY };
            // Two large i64 may differ by less than f64 shows.
            let abs = if exact { abs.max(1.0) } else { abs };
            let place = || Place { output, index: unravel(i, a.shape()), left: x, right: y };
            if out.first_place.is_none() && (exact || abs > atol + rtol * y.abs() || abs.is_infinite()) {
                out.first_place = Some(place());
            }
            if abs > out.max_abs {
                out.max_abs = abs;
                out.worst = Some(place());
            }
            let scale = y.abs().max(f32::MIN_POSITIVE.into());
            out.max_rel = out.max_rel.max(if scale.is_finite() { abs / scale } else { f64::INFINITY });
        }
    }
    if norm_left > 0.0 || norm_right > 0.0 {
        let norm = (norm_left * norm_right).sqrt();
        out.cosine = if norm > 0.0 { dot / norm } else { 0.0 };
    }
    out
}

fn unravel(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &d) in index.iter_mut().zip(shape).rev() {
        *i = at % d.max(1);
        at /= d.max(1);
    }
    index
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "result {} at {:?}: {} and {}", self.output, self.index, self.left, self.right)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(m) = &self.mismatch {
            return f.write_str(m);
        }
        write!(f, "max abs {:e}, max rel {:e}, cosine {}", self.max_abs, self.max_rel, self.cosine)?;
        if let Some(p) = &self.first_place {
            write!(f, "; first: {p}")?;
        }
        match &self.worst {
            Some(p) if Some(p) != self.first_place.as_ref() => write!(f, "; worst: {p}"),
            _ => Ok(()),
        }
    }
}
