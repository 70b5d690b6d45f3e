//! Eigenvalues of small symmetric matrices.

/// Eigenvalues and eigenvectors of the symmetric `a`, `[n, n]`; vector `i` is row `i` of the second.
/// Cyclic Jacobi rotations (Golub, Van Loan: "Matrix Computations", 8.5): exact to rounding, O(n^3) a sweep.
pub(super) fn symmetric_eigen(a: &[f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = a.to_vec();
    let mut v = vec![0.0; n * n];
    for i in 0..n {
        v[i * n + i] = 1.0;
    }
    for _ in 0..60 {
        let off: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i * n + j].powi(2)).sum();
        let all: f64 = a.iter().map(|x| x * x).sum();
        if off <= all * 1e-28 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut v, n, p, q);
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), v)
}

/// One rotation that makes `a[p, q]` zero.
fn rotate(a: &mut [f64], v: &mut [f64], n: usize, p: usize, q: usize) {
    let apq = a[p * n + q];
    if apq == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    for k in 0..n {
        let (x, y) = (a[k * n + p], a[k * n + q]);
        (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
    }
    for k in 0..n {
        let (x, y) = (a[p * n + k], a[q * n + k]);
        (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
        let (x, y) = (v[p * n + k], v[q * n + k]);
        (v[p * n + k], v[q * n + k]) = (c * x - s * y, s * x + c * y);
    }
}

/// `sum_i f(lambda_i) v_i v_i^T`, `[n, n]`.
pub(super) fn spectral_map(a: &[f64], n: usize, f: impl Fn(f64) -> f64) -> Vec<f64> {
    let (values, vectors) = symmetric_eigen(a, n);
    let mut out = vec![0.0; n * n];
    for (i, &value) in values.iter().enumerate() {
        let (w, v) = (f(value), &vectors[i * n..][..n]);
        for r in 0..n {
            for c in 0..n {
                out[r * n + c] += w * v[r] * v[c];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_eigenvalues() {
        let (mut values, _) = symmetric_eigen(&[2.0, 1.0, 1.0, 2.0], 2);
        values.sort_by(f64::total_cmp);
        assert!((values[0] - 1.0).abs() < 1e-12 && (values[1] - 3.0).abs() < 1e-12, "{values:?}");
    }

    proptest! {
        #[test]
        fn the_decomposition_gives_the_matrix(n in 1usize..9, seed in prop::collection::vec(-5.0..5.0_f64, 81)) {
            let a: Vec<f64> = (0..n * n).map(|i| seed[(i / n) * 9 + i % n] + seed[(i % n) * 9 + i / n]).collect();
            let back = spectral_map(&a, n, |x| x);
            for (x, y) in a.iter().zip(back) {
                prop_assert!((x - y).abs() < 1e-10, "{x} {y}");
            }
        }
    }
}
