//! k-means: k-means++ seeding and Lloyd's iteration under a weighted squared error.

use super::eigen::symmetric_eigen;
use bgz_passes::random::SplitMix64;
use rayon::prelude::*;

/// Points to a task; a constant, so that no sum depends on the number of threads.
const CHUNK: usize = 256;

/// How to cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KMeans {
    /// Centroids wanted.
    pub clusters: usize,
    /// Lloyd iterations at most.
    pub iterations: usize,
    /// Stop when an iteration lowers the error by less than this share of it.
    pub tolerance: f64,
    /// Seed of the choice of first centroids.
    pub seed: u64,
}

impl KMeans {
    /// `clusters` centroids, 25 iterations at most, tolerance 1e-4.
    pub fn new(clusters: usize, seed: u64) -> Self {
        Self { clusters, iterations: 25, tolerance: 1e-4, seed }
    }
}

/// The `W` of the error `(x - c)^T W (x - c)`.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// The identity.
    Identity,
    /// A diagonal of `dim` values that are not negative.
    Diagonal(&'a [f32]),
    /// A symmetric positive semidefinite `[dim, dim]`.
    Full(&'a [f32]),
}

/// The result of clustering.
#[derive(Clone, Debug, PartialEq)]
pub struct Clustering {
    /// `[clusters, dim]`, means of their points. With fewer distinct points than clusters, some repeat.
    pub centroids: Vec<f32>,
    /// The cluster of each point.
    pub assignment: Vec<u32>,
    /// Mean weighted squared error of a point.
    pub error: f64,
}

/// Why points could not be clustered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KMeansError {
    /// No point, or no dim.
    #[error("there is nothing to cluster")]
    NoPoints,
    /// A number of clusters of which nothing can be made.
    #[error("{0} clusters cannot be made")]
    Clusters(usize),
    /// The values are not rows of the dim.
    #[error("{len} values are no rows of {dim}")]
    NotRows {
        /// Values given.
        len: usize,
        /// Values a row.
        dim: usize,
    },
    /// A point has a NaN or an infinity.
    #[error("point {row} has a value that is not finite")]
    NotFinite {
        /// Which.
        row: usize,
    },
    /// The weight has another size, or is not symmetric positive semidefinite.
    #[error("the weight is no positive semidefinite matrix of {dim} x {dim}")]
    Weight {
        /// Values a point has.
        dim: usize,
    },
}

impl KMeans {
    /// Clusters `points`, `[n, dim]`. The result depends on the arguments only, not on the number of threads.
    ///
    /// # Errors
    /// If there are no points, they or the weight are not finite or sizes do not fit.
    pub fn run(&self, points: &[f32], dim: usize, weight: Weight<'_>) -> Result<Clustering, KMeansError> {
        if points.is_empty() || dim == 0 {
            return Err(KMeansError::NoPoints);
        }
        if self.clusters == 0 || u32::try_from(self.clusters).is_err() || self.clusters.checked_mul(dim).is_none() {
            return Err(KMeansError::Clusters(self.clusters));
        }
        if !points.len().is_multiple_of(dim) {
            return Err(KMeansError::NotRows { len: points.len(), dim });
        }
        if let Some(at) = points.iter().position(|x| !x.is_finite()) {
            return Err(KMeansError::NotFinite { row: at / dim });
        }
        let space = Space::new(points, dim, weight)?;
        let mut centroids = seed_centroids(points, &space, self);
        let mut found = assign(&space, &centroids);
        let mut error = found.error();
        for _ in 0..self.iterations {
            fill_empty(&mut found, self.clusters);
            update(points, dim, &found.cluster, &mut centroids);
            let next = assign(&space, &centroids);
            let (same, before) = (next.cluster == found.cluster, error);
            found = next;
            error = found.error();
            if same || error >= before * (1.0 - self.tolerance) {
                break;
            }
        }
        let rows = (points.len() / dim) as f64;
        Ok(Clustering { centroids, assignment: found.cluster, error: error * space.unit * space.unit / rows })
    }
}

/// The points where the weighted error is the plain squared distance, scaled so that no square overflows.
struct Space {
    dim: usize,
    /// `[n, dim]`
    points: Vec<f32>,
    /// `[dim, dim]`, or absent for the identity: `y = map x / unit`.
    map: Option<Vec<f64>>,
    unit: f64,
}

impl Space {
    fn new(points: &[f32], dim: usize, weight: Weight<'_>) -> Result<Self, KMeansError> {
        let map = root(weight, dim)?;
        let mut space = Self { dim, points: Vec::new(), map, unit: 1.0 };
        let largest = points
            .par_chunks(dim)
            .map_init(
                || vec![0.0; dim],
                |y, x| {
                    space.apply(x, y);
                    y.iter().fold(0.0_f64, |m, v| m.max(v.abs()))
                },
            )
            .reduce(|| 0.0, f64::max);
        if largest > 0.0 {
            space.unit = largest;
        }
        space.points = space.transform(points);
        Ok(space)
    }

    fn apply(&self, x: &[f32], y: &mut [f64]) {
        match &self.map {
            None => y.iter_mut().zip(x).for_each(|(y, &x)| *y = f64::from(x)),
            Some(map) => {
                for (y, row) in y.iter_mut().zip(map.chunks_exact(self.dim)) {
                    *y = row.iter().zip(x).map(|(m, &x)| m * f64::from(x)).sum();
                }
            }
        }
    }

    fn transform(&self, rows: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len()];
        out.par_chunks_mut(self.dim).zip(rows.par_chunks(self.dim)).for_each_init(
            || vec![0.0; self.dim],
            |y, (to, x)| {
                self.apply(x, y);
                to.iter_mut().zip(y).for_each(|(to, y)| *to = (*y / self.unit) as f32);
            },
        );
        out
    }
}

/// A matrix `R` with `R^T R = W`; `None` for the identity.
fn root(weight: Weight<'_>, dim: usize) -> Result<Option<Vec<f64>>, KMeansError> {
    let bad = KMeansError::Weight { dim };
    let finite = |w: &[f32], len: Option<usize>| Some(w.len()) == len && w.iter().all(|x| x.is_finite());
    match weight {
        Weight::Identity => Ok(None),
        Weight::Diagonal(w) => {
            if !finite(w, Some(dim)) || w.iter().any(|&x| x < 0.0) {
                return Err(bad);
            }
            let mut map = vec![0.0; dim * dim];
            w.iter().enumerate().for_each(|(i, &x)| map[i * dim + i] = f64::from(x).sqrt());
            Ok(Some(map))
        }
        Weight::Full(w) => {
            if !finite(w, dim.checked_mul(dim)) {
                return Err(bad);
            }
            let w: Vec<f64> = w.iter().map(|&x| f64::from(x)).collect();
            let largest = w.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            let slack = largest * 1e-5;
            let symmetric = (0..dim).all(|i| (0..i).all(|j| (w[i * dim + j] - w[j * dim + i]).abs() <= slack));
            let (values, mut vectors) = symmetric_eigen(&w, dim);
            if !symmetric || values.iter().any(|&x| x < -slack * dim as f64) {
                return Err(bad);
            }
            for (value, row) in values.iter().zip(vectors.chunks_exact_mut(dim)) {
                let r = value.max(0.0).sqrt();
                row.iter_mut().for_each(|x| *x *= r);
            }
            Ok(Some(vectors))
        }
    }
}

/// k-means++ (Arthur, Vassilvitskii 2007): each next centroid is a point drawn by its squared distance to those
/// there are.
fn seed_centroids(points: &[f32], space: &Space, how: &KMeans) -> Vec<f32> {
    let dim = space.dim;
    let n = points.len() / dim;
    let mut rng = SplitMix64::new(how.seed);
    let mut centroids = Vec::with_capacity(how.clusters * dim);
    let mut nearest = vec![f32::INFINITY; n];
    let mut chosen = rng.below(n);
    for _ in 0..how.clusters {
        centroids.extend_from_slice(&points[chosen * dim..][..dim]);
        let centre = &space.points[chosen * dim..][..dim];
        nearest.par_chunks_mut(CHUNK).zip(space.points.par_chunks(CHUNK * dim)).for_each(|(near, rows)| {
            for (d, x) in near.iter_mut().zip(rows.chunks_exact(dim)) {
                *d = d.min(x.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum());
            }
        });
        let total: f64 = nearest.iter().map(|&d| f64::from(d)).sum();
        let target = rng.unit() * total;
        let mut sum = 0.0;
        // Of points that all coincide with centroids, `chosen` is as good as any.
        for (i, &d) in nearest.iter().enumerate().filter(|(_, d)| **d > 0.0) {
            chosen = i;
            sum += f64::from(d);
            if sum > target {
                break;
            }
        }
    }
    centroids
}

/// The nearest centroid of each point, and the squared distance to it.
struct Assignment {
    cluster: Vec<u32>,
    distance: Vec<f32>,
}

impl Assignment {
    fn error(&self) -> f64 {
        self.distance.iter().map(|&d| f64::from(d)).sum()
    }
}

fn assign(space: &Space, centroids: &[f32]) -> Assignment {
    let dim = space.dim;
    let (n, k) = (space.points.len() / dim, centroids.len() / dim);
    // Transposed, so that the inner loop runs over centroids and no sum changes its order.
    let rows = space.transform(centroids);
    let mut columns = vec![0.0; rows.len()];
    for (c, row) in rows.chunks_exact(dim).enumerate() {
        row.iter().enumerate().for_each(|(j, &x)| columns[j * k + c] = x);
    }
    let mut found = Assignment { cluster: vec![0; n], distance: vec![0.0; n] };
    let tasks = found.cluster.par_chunks_mut(CHUNK).zip(found.distance.par_chunks_mut(CHUNK));
    tasks.zip(space.points.par_chunks(CHUNK * dim)).for_each_init(
        || vec![0.0_f32; k],
        |sums, ((cluster, distance), rows)| {
            for ((cluster, distance), x) in cluster.iter_mut().zip(distance).zip(rows.chunks_exact(dim)) {
                sums.fill(0.0);
                for (&x, column) in x.iter().zip(columns.chunks_exact(k)) {
                    sums.iter_mut().zip(column).for_each(|(s, c)| *s += (x - c) * (x - c));
                }
                let (mut best, mut least) = (0, f32::INFINITY);
                for (c, &s) in sums.iter().enumerate() {
                    if s < least {
                        (best, least) = (c, s);
                    }
                }
                (*cluster, *distance) = (best as u32, least);
            }
        },
    );
    found
}

/// Gives every empty cluster the point that is farthest from its centroid, of those that leave no other empty.
fn fill_empty(found: &mut Assignment, clusters: usize) {
    let mut counts = vec![0usize; clusters];
    found.cluster.iter().for_each(|&c| counts[c as usize] += 1);
    let empty: Vec<usize> = (0..clusters).filter(|&c| counts[c] == 0).collect();
    if empty.is_empty() {
        return;
    }
    let mut far: Vec<usize> = (0..found.cluster.len()).filter(|&i| found.distance[i] > 0.0).collect();
    far.sort_by(|&a, &b| found.distance[b].total_cmp(&found.distance[a]).then(a.cmp(&b)));
    let mut far = far.into_iter();
    for c in empty {
        let Some(i) = far.by_ref().find(|&i| counts[found.cluster[i] as usize] > 1) else { return };
        counts[found.cluster[i] as usize] -= 1;
        counts[c] = 1;
        (found.cluster[i], found.distance[i]) = (c as u32, 0.0);
    }
}

/// Moves centroids to the means of their points, which minimise the error under every weight. One of no points stays.
fn update(points: &[f32], dim: usize, cluster: &[u32], centroids: &mut [f32]) {
    let mut sums = vec![0.0_f64; centroids.len()];
    let mut counts = vec![0usize; centroids.len() / dim];
    // In the order of the points: the share of this loop in the whole is that of one centroid.
    for (&c, x) in cluster.iter().zip(points.chunks_exact(dim)) {
        let c = c as usize;
        counts[c] += 1;
        sums[c * dim..][..dim].iter_mut().zip(x).for_each(|(s, &x)| *s += f64::from(x));
    }
    let rows = centroids.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)).zip(counts);
    for ((to, sum), count) in rows.filter(|(_, count)| *count > 0) {
        to.iter_mut().zip(sum).for_each(|(to, s)| *to = (s / count as f64) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cloud(n: usize, dim: usize, seed: u64) -> Vec<f32> {
        let mut rng = SplitMix64::new(seed);
        (0..n * dim).map(|_| rng.near_normal() as f32).collect()
    }

    /// Four tight clouds far apart.
    fn corners() -> Vec<f32> {
        let mut rng = SplitMix64::new(3);
        (0..400)
            .flat_map(|i| {
                let (x, y) = ((i % 2) as f32 * 10.0, (i / 2 % 2) as f32 * 10.0);
                [x + 0.1 * rng.near_normal() as f32, y + 0.1 * rng.near_normal() as f32]
            })
            .collect()
    }

    #[test]
    fn separated_clouds_are_found() {
        for seed in 0..20 {
            let found = KMeans::new(4, seed).run(&corners(), 2, Weight::Identity).unwrap();
            assert!(found.error < 0.05, "seed {seed}: {}", found.error);
            for i in 4..400 {
                assert_eq!(found.assignment[i], found.assignment[i - 4]);
            }
        }
    }

    #[test]
    fn the_result_does_not_depend_on_the_number_of_threads() {
        let points = cloud(3000, 6, 1);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| KMeans::new(32, 9).run(&points, 6, Weight::Identity).unwrap())
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(5));
    }

    #[test]
    fn iterations_lower_the_error() {
        let points = cloud(2000, 4, 2);
        let error = |iterations| {
            let how = KMeans { iterations, tolerance: 0.0, ..KMeans::new(16, 4) };
            how.run(&points, 4, Weight::Identity).unwrap().error
        };
        let errors: Vec<f64> = (0..8).map(error).collect();
        assert!(errors.windows(2).all(|w| w[1] <= w[0] * (1.0 + 1e-6)), "{errors:?}");
        assert!(errors[7] < 0.9 * errors[0], "{errors:?}");
    }

    #[test]
    fn the_error_is_that_of_the_definition() {
        let points = cloud(500, 3, 5);
        let w = [2.0, 0.5, 0.0, 0.5, 1.0, 0.25, 0.0, 0.25, 3.0];
        let found = KMeans::new(8, 1).run(&points, 3, Weight::Full(&w)).unwrap();
        let mut sum = 0.0;
        for (x, &c) in points.chunks(3).zip(&found.assignment) {
            let error = |c: &[f32]| {
                let d: Vec<f64> = x.iter().zip(c).map(|(a, b)| f64::from(a - b)).collect();
                (0..9).map(|i| d[i / 3] * f64::from(w[i]) * d[i % 3]).sum::<f64>()
            };
            let mine = error(&found.centroids[c as usize * 3..][..3]);
            assert!(found.centroids.chunks(3).all(|c| mine <= error(c) + 1e-5));
            sum += mine;
        }
        assert!((sum / 500.0 - found.error).abs() < 1e-5);
    }

    /// Of two dims of equal spread, the clusters must split the one that counts.
    #[test]
    fn the_weight_decides_what_is_told_apart() {
        let points = cloud(1000, 2, 6);
        for (weight, along) in [([100.0, 0.0], 0), ([0.0, 100.0], 1)] {
            let found = KMeans::new(2, 1).run(&points, 2, Weight::Diagonal(&weight)).unwrap();
            let gap = |d: usize| (found.centroids[d] - found.centroids[2 + d]).abs();
            assert!(gap(along) > 5.0 * gap(1 - along), "{:?}", found.centroids);
        }
    }

    #[test]
    fn an_empty_cluster_takes_the_farthest_point() {
        let mut found = Assignment { cluster: vec![0, 0, 0, 2], distance: vec![0.5, 3.0, 1.0, 9.0] };
        fill_empty(&mut found, 4);
        // Point 3 is alone in its cluster, so 1 and then 2 move.
        assert_eq!(found.cluster, [0, 1, 3, 2]);
    }

    #[test]
    fn fewer_distinct_points_than_clusters() {
        let found = KMeans::new(8, 1).run(&[1.0, 1.0, 2.0, 2.0, 1.0, 1.0], 2, Weight::Identity).unwrap();
        assert_eq!(found.centroids.len(), 16);
        assert_eq!(found.error, 0.0);
    }

    #[test]
    fn bad_input_is_an_error() {
        let run = |points: &[f32], dim, weight| KMeans::new(2, 1).run(points, dim, weight).unwrap_err();
        assert_eq!(run(&[], 2, Weight::Identity), KMeansError::NoPoints);
        assert_eq!(run(&[1.0], 0, Weight::Identity), KMeansError::NoPoints);
        assert_eq!(run(&[1.0; 3], 2, Weight::Identity), KMeansError::NotRows { len: 3, dim: 2 });
        assert_eq!(run(&[1.0, 2.0, f32::NAN], 1, Weight::Identity), KMeansError::NotFinite { row: 2 });
        let weights: [&[f32]; 4] = [&[1.0], &[1.0, 2.0, 0.0, 1.0], &[1.0, 2.0, 2.0, 1.0], &[1.0, 0.0, 0.0, f32::NAN]];
        for w in weights {
            assert_eq!(run(&[1.0; 4], 2, Weight::Full(w)), KMeansError::Weight { dim: 2 });
        }
        assert_eq!(run(&[1.0; 4], 2, Weight::Diagonal(&[1.0, -1.0])), KMeansError::Weight { dim: 2 });
        let none = KMeans::new(0, 1).run(&[1.0], 1, Weight::Identity);
        assert_eq!(none, Err(KMeansError::Clusters(0)));
    }

    proptest! {
        #[test]
        fn any_finite_points_cluster(points in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::ZERO, 1..60), k in 1usize..9) {
            let found = KMeans::new(k, 1).run(&points, 1, Weight::Identity).unwrap();
            prop_assert!(found.error.is_finite());
            prop_assert!(found.centroids.iter().all(|c| c.is_finite()));
            prop_assert!(found.assignment.iter().all(|&c| (c as usize) < k));
        }
    }
}
