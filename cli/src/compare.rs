//! How far two tensors are apart.

use bgz_fusion::Tensor;

/// The difference of two tensors of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Greatest absolute difference; NaN if only one of two elements is NaN.
    pub max_abs: f64,
    /// Greatest difference relative to the expected element, where that is not zero.
    pub max_rel: f64,
    /// Cosine of the angle between them, over the elements that are finite in both.
    pub cosine: f64,
    /// Elements that differ by more than the tolerance.
    pub beyond: usize,
    /// The one of them that is furthest off.
    pub worst: Option<usize>,
}

/// Compares `got` with `want`: floats within `atol + rtol * |want|`, other
/// elements exactly. `None` if their types differ.
pub fn compare(got: &Tensor, want: &Tensor, atol: f64, rtol: f64) -> Option<Difference> {
    if got.ty() != want.ty() {
        return None;
    }
    let exact = !got.dtype().is_float();
    let mut out = Difference { max_abs: 0.0, max_rel: 0.0, cosine: 1.0, beyond: 0, worst: None };
    let mut furthest = -1.0;
    let (mut dot, mut norm_a, mut norm_b) = (0.0, 0.0, 0.0);
    for (i, (x, y)) in got.scalars().zip(want.scalars()).enumerate() {
        let (a, b) = (x.to_f64(), y.to_f64());
        if a.is_finite() && b.is_finite() {
            dot += a * b;
            norm_a += a * a;
            norm_b += b * b;
        }
        let (difference, same) = match exact {
            true => ((i128::from(x.to_i64()) - i128::from(y.to_i64())).unsigned_abs() as f64, x == y),
            false => ((a - b).abs(), a == b || a.is_nan() && b.is_nan()),
        };
        if same {
            continue;
        }
        out.max_abs = max(out.max_abs, difference);
        if b != 0.0 {
            out.max_rel = max(out.max_rel, difference / b.abs());
        }
        let passes = !exact && difference.is_finite() && difference <= atol + rtol * b.abs();
        if !passes {
            out.beyond += 1;
            let far = if difference.is_nan() { f64::INFINITY } else { difference };
            if far > furthest {
                furthest = far;
                out.worst = Some(i);
            }
        }
    }
    out.cosine = match norm_a * norm_b {
        0.0 if norm_a == norm_b => 1.0,
        0.0 => 0.0,
        norms => (dot / norms.sqrt()).clamp(-1.0, 1.0),
    };
    Some(out)
}

/// The greater; NaN if either is.
fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Indices of element `i` of a tensor.
pub fn indices(shape: &[usize], mut i: usize) -> Vec<usize> {
    let mut out = vec![0; shape.len()];
    for (at, &d) in out.iter_mut().zip(shape).rev() {
        if d > 0 {
            (*at, i) = (i % d, i / d);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Tensor {
        Tensor::new(&[values.len()], values).expect("a tensor")
    }

    fn beyond(got: &[f32], want: &[f32]) -> usize {
        compare(&floats(got), &floats(want), 1e-4, 1e-4).expect("one type").beyond
    }

    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;

    #[test]
    fn tolerance_is_absolute_and_relative() {
        assert_eq!(beyond(&[1.0, 1000.0], &[1.00019, 1000.1]), 0);
        assert_eq!(beyond(&[1.0, 1000.0], &[1.0003, 1000.2]), 2);
        assert_eq!(beyond(&[0.0], &[0.00011]), 1);
    }

    #[test]
    fn what_is_not_finite_must_be_the_same() {
        assert_eq!(beyond(&[NAN, INF, -INF], &[NAN, INF, -INF]), 0);
        assert_eq!(beyond(&[NAN, 1.0, INF, 1.0, INF], &[1.0, NAN, 1.0, INF, -INF]), 5);
        assert!(compare(&floats(&[NAN]), &floats(&[1.0]), 0.0, 0.0).expect("one type").max_abs.is_nan());
    }

    #[test]
    fn figures_are_those_of_the_definition() {
        let d = compare(&floats(&[3.0, 0.0]), &floats(&[2.0, 2.0]), 0.0, 0.0).expect("one type");
        assert_eq!((d.max_abs, d.max_rel, d.beyond, d.worst), (2.0, 1.0, 2, Some(1)));
        assert!((d.cosine - 0.5f64.sqrt()).abs() < 1e-12);
        let zero = compare(&floats(&[0.0]), &floats(&[0.0]), 0.0, 0.0).expect("one type");
        assert_eq!(zero.cosine, 1.0);
        assert_eq!(compare(&floats(&[]), &floats(&[]), 0.0, 0.0).expect("one type").beyond, 0);
    }

    #[test]
    fn integers_must_be_equal_however_large() {
        let t = |v: i64| Tensor::new(&[1], &[v]).expect("a tensor");
        let d = compare(&t(i64::MAX), &t(i64::MAX - 1), 10.0, 10.0).expect("one type");
        assert_eq!((d.beyond, d.max_abs), (1, 1.0));
    }

    #[test]
    fn types_must_be_equal() {
        assert_eq!(compare(&floats(&[1.0]), &floats(&[1.0, 1.0]), 0.0, 0.0), None);
    }

    #[test]
    fn indices_are_row_major() {
        assert_eq!(indices(&[2, 3, 4], 23), [1, 2, 3]);
        assert_eq!(indices(&[], 0), [] as [usize; 0]);
    }
}
