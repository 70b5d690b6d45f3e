//! The first entries of an order.

use super::super::Isa;
use super::super::dense::{self, DenseError, Lanes};
use super::super::number::{Number, with_number};
use super::super::parallel::{self, Cells};
use super::super::simd::{Kernel, Simd, run};
use super::{best_rank, rank};
use bgz_passes::ir::DType;
use bgz_passes::memory::room;
use std::cmp::Reverse;
use std::sync::OnceLock;

/// The `k` greatest entries of each lane, or the smallest: values and indices, `[outer, k, inner]`, the best first, of equal
/// ones that with the lower index. NaN is above every number. Many lanes are cut for the threads of the current rayon pool.
///
/// Only entries that are better than the k best so far are kept until there are twice as many, and sorted at the end.
///
/// # Errors
/// The dtype is not f32, f64, i32 or i64, there are not so many entries, a slice has another length, or memory does not
/// suffice for some `2 * k` entries a thread.
pub fn top_k(
    dtype: DType,
    greatest: bool,
    k: usize,
    lanes: Lanes,
    x: &[u8],
    values: &mut [u8],
    indices: &mut [i64],
) -> Result<(), DenseError> {
    with_number!(dtype, [F32 = f32, F64 = f64, I32 = i32, I64 = i64], T => {
        first_entries::<T>(greatest, k, lanes, dense::cast("x", x)?, dense::cast_mut("values", values)?, indices)
    })
}

fn first_entries<T: Number>(
    greatest: bool,
    k: usize,
    lanes: Lanes,
    x: &[T],
    values: &mut [T],
    indices: &mut [i64],
) -> Result<(), DenseError> {
    let Lanes { outer, count, inner } = lanes;
    if k > count {
        return Err(DenseError::TooMany { k, count });
    }
    dense::length("x", x.len(), lanes.elements())?;
    dense::length("values", values.len(), outer * k * inner)?;
    dense::length("indices", indices.len(), outer * k * inner)?;
    if values.is_empty() {
        return Ok(());
    }
    let job = Job { k, lanes, x, values: Cells::new(values), indices: Cells::new(indices), isa: Isa::current() };
    if greatest { job.all::<true>() } else { job.all::<false>() }
}

/// Lanes side by side, where they are not contiguous.
const WIDTH: usize = 16;

/// Entries of which it is seen first whether any is good enough.
const BLOCK: usize = 64;

/// Room for entries beyond the best: else many would be sorted out for few of them.
const MORE: usize = 256;

struct Job<'a, T> {
    k: usize,
    lanes: Lanes,
    x: &'a [T],
    values: Cells<T>,
    indices: Cells<i64>,
    isa: Isa,
}

/// A key, and the index that it is at.
type Entry<K> = (Reverse<K>, usize);

impl<T: Number> Job<'_, T> {
    fn all<const GREATEST: bool>(&self) -> Result<(), DenseError> {
        let Lanes { outer, count, inner } = self.lanes;
        let strips = inner.div_ceil(WIDTH);
        // The best, and as many or a few more that came since.
        let most = count.min(self.k.saturating_add(self.k.max(MORE)));
        let failed = OnceLock::new();
        let pieces = parallel::pieces(self.x.len() / 16 * 8);
        parallel::split(0, outer * strips, pieces, &|start, end| {
            let made: Result<Vec<_>, usize> = (0..WIDTH.min(inner)).map(|_| Best::new(self.k, most)).collect();
            match made {
                Ok(mut best) => {
                    for i in start..end {
                        self.strip::<GREATEST>(i / strips, i % strips * WIDTH, &mut best);
                    }
                }
                Err(bytes) => {
                    failed.set(bytes).ok();
                }
            }
        });
        failed.get().map_or(Ok(()), |&bytes| Err(DenseError::Memory { bytes }))
    }

    fn strip<const GREATEST: bool>(&self, outer: usize, first: usize, best: &mut [Best<T::Key>]) {
        let Lanes { count, inner, .. } = self.lanes;
        let n = best.len().min(inner - first);
        let base = outer * count * inner + first;
        run(self.isa, Scan::<T, GREATEST> { x: &self.x[base..], lanes: self.lanes, best: &mut best[..n] });
        for (j, best) in best[..n].iter_mut().enumerate() {
            let to = outer * self.k * inner + first + j;
            for (place, &(_, i)) in best.sorted().iter().enumerate() {
                // SAFETY: a lane of the results, which belongs to one strip only.
                let (value, index) = unsafe {
                    let at = to + place * inner;
                    (self.values.part(at, 1), self.indices.part(at, 1))
                };
                value[0] = self.x[base + j + i * inner];
                index[0] = i as i64;
            }
        }
    }
}

/// The best entries of a lane so far.
struct Best<K> {
    k: usize,
    most: usize,
    /// The entries better than the k-th best when it was last known.
    entries: Vec<Entry<K>>,
    /// That one's key, once there are k.
    least: Option<K>,
}

impl<K: Ord + Copy> Best<K> {
    fn new(k: usize, most: usize) -> Result<Self, usize> {
        Ok(Self { k, most, entries: room(most)?, least: None })
    }

    /// Entries come by their indices, so that an equal one is not better.
    #[inline(always)]
    fn is_better(&self, key: K) -> bool {
        self.least.is_none_or(|least| key > least)
    }

    fn push(&mut self, key: K, index: usize) {
        if self.entries.len() == self.most {
            let (_, kth, _) = self.entries.select_nth_unstable(self.k - 1);
            let least = kth.0.0;
            self.least = Some(least);
            self.entries.truncate(self.k);
            if key <= least {
                return;
            }
        }
        self.entries.push((Reverse(key), index));
    }

    fn sorted(&mut self) -> &[Entry<K>] {
        if self.entries.len() > self.k {
            self.entries.select_nth_unstable(self.k - 1);
            self.entries.truncate(self.k);
        }
        self.entries.sort_unstable();
        &self.entries
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.least = None;
    }
}

struct Scan<'a, T: Number, const GREATEST: bool> {
    /// From the first entry of the first lane on.
    x: &'a [T],
    lanes: Lanes,
    best: &'a mut [Best<T::Key>],
}

impl<T: Number, const GREATEST: bool> Kernel for Scan<'_, T, GREATEST> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let rank = rank::<T, GREATEST>;
        let Lanes { count, inner, .. } = self.lanes;
        self.best.iter_mut().for_each(Best::clear);
        if let ([best], 1) = (&mut *self.best, inner) {
            for (b, block) in self.x[..count].chunks(BLOCK).enumerate() {
                let most = best_rank::<T, GREATEST>(block);
                if best.is_better(most) {
                    for (i, &v) in block.iter().enumerate() {
                        if best.is_better(rank(v)) {
                            best.push(rank(v), b * BLOCK + i);
                        }
                    }
                }
            }
            return;
        }
        for i in 0..count {
            for (&v, best) in self.x[i * inner..].iter().zip(&mut *self.best) {
                if best.is_better(rank(v)) {
                    best.push(rank(v), i);
                }
            }
        }
    }
}
