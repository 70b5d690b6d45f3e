//! Resizing along one axis of `[outer, from, inner]`: each entry of the result is a sum of some entries of the operand, with
//! weights that are found once. Several axes are resized one after the other.

use super::simd::{self, Kernel, Simd};
use super::strided::MOST_LANES;
use super::{Isa, parallel};
use bgz_passes::memory::{collected, room};

/// Resizing that is not possible, or slices that do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResizeError {
    /// An entry that the operand has not.
    #[error("entry {to} of the result is made of entry {place} where there are {from}")]
    Place {
        /// Entry of the result.
        to: usize,
        /// Entry of the operand.
        place: usize,
        /// Entries of the operand.
        from: usize,
    },
    /// Elements beyond what there are addresses for, or more entries than 2^32.
    #[error("{from} to {to} entries of {inner} elements are too many")]
    TooLarge {
        /// Entries of the operand.
        from: usize,
        /// Entries of the result.
        to: usize,
        /// Elements of an entry.
        inner: usize,
    },
    /// A slice of another length.
    #[error("{name}: {got} elements where {want} are needed")]
    Length {
        /// Which.
        name: &'static str,
        /// Its length.
        got: usize,
        /// The length it needs.
        want: usize,
    },
    /// A sum where entries were to be copied.
    #[error("entries of the result are sums of several, which need floats")]
    Sums,
    /// More memory than there is.
    #[error("{bytes} bytes are needed, which memory does not suffice for")]
    Memory {
        /// For places and weights.
        bytes: usize,
    },
}

/// An entry of the operand and its weight.
#[derive(Clone, Copy, Debug)]
struct Tap {
    place: u32,
    weight: f32,
}

/// Resizing of one axis, whatever its elements are.
#[derive(Clone, Debug)]
pub struct Resize {
    from: usize,
    to: usize,
    inner: usize,
    /// Where the taps of each entry begin, and where those of the last end.
    starts: Vec<u32>,
    taps: Vec<Tap>,
    /// The weights as they were given.
    weights: Vec<f64>,
    /// True if each entry is one of the operand.
    copies: bool,
    /// Where entries have one element and as many taps each, the taps again as vectors take them.
    columns: Option<Columns>,
}

/// As many taps for each entry of the result: the places of all first ones, then those of all second ones; their weights so,
/// too. No place is before that of the entry or of the tap before.
#[derive(Clone, Debug)]
struct Columns {
    each: usize,
    places: Vec<u32>,
    weights: Vec<f32>,
}

impl Columns {
    fn new(to: usize, starts: &[u32], taps: &[Tap]) -> Result<Option<Self>, usize> {
        let each = taps.len().checked_div(to).unwrap_or(0);
        let even = starts.iter().enumerate().all(|(i, &s)| s as usize == i * each);
        let ordered = |taps: &[Tap]| taps.is_sorted_by_key(|t| t.place);
        if each == 0 || !even || !taps.chunks_exact(each).all(ordered) {
            return Ok(None);
        }
        let column = |k: usize| taps.iter().skip(k).step_by(each);
        if !(0..each).all(|k| column(k).is_sorted_by_key(|t| t.place)) {
            return Ok(None);
        }
        let places = collected(taps.len(), (0..each).flat_map(|k| column(k).map(|t| t.place)))?;
        let weights = collected(taps.len(), (0..each).flat_map(|k| column(k).map(|t| t.weight)))?;
        Ok(Some(Self { each, places, weights }))
    }
}

/// Floats that a lookup chooses from.
const TABLE: usize = 32;

impl Resize {
    /// From `from` to `to` entries of `inner` elements. `taps` gives the entries of the operand, with their weights, that an entry
    /// of the result is the sum of; one alone is taken as it is, whatever its weight.
    ///
    /// # Errors
    /// There is no such entry; there are too many; or memory does not suffice.
    pub fn new(
        from: usize,
        to: usize,
        inner: usize,
        taps: impl Fn(usize) -> Vec<(usize, f64)>,
    ) -> Result<Self, ResizeError> {
        let too_large = || ResizeError::TooLarge { from, to, inner };
        for n in [from, to] {
            let elements = n.checked_mul(inner).filter(|&n| isize::try_from(n).is_ok());
            if elements.is_none() || u32::try_from(n).is_err() {
                return Err(too_large());
            }
        }
        let memory = |bytes| ResizeError::Memory { bytes };
        let mut starts = room(to + 1).map_err(memory)?;
        // As many as the first has are most likely what all have.
        let most = if to > 0 { taps(to / 2).len() } else { 0 };
        let size = to.checked_mul(most).ok_or_else(too_large)?;
        let (mut all, mut weights) = (room(size).map_err(memory)?, room(size).map_err(memory)?);
        let mut copies = true;
        starts.push(0);
        for i in 0..to {
            let own = taps(i);
            copies &= own.len() == 1;
            for (place, weight) in own {
                if place >= from {
                    return Err(ResizeError::Place { to: i, place, from });
                }
                all.push(Tap { place: place as u32, weight: weight as f32 });
                weights.push(weight);
            }
            starts.push(u32::try_from(all.len()).map_err(|_| too_large())?);
        }
        let columns = if inner == 1 { Columns::new(to, &starts, &all).map_err(memory)? } else { None };
        Ok(Self { from, to, inner, starts, taps: all, weights, copies, columns })
    }

    /// True if entries of the result are entries of the operand, which [`copy`](Self::copy) takes for any dtype.
    pub fn is_copy(&self) -> bool {
        self.copies
    }

    /// Resizes `x [outer, from, inner]` to `out [outer, to, inner]`, which decides `outer`. Large ones are cut for the threads of
    /// the current rayon pool, whose number does not change a bit of the result.
    ///
    /// # Errors
    /// A slice has another length.
    pub fn run(&self, x: &[f32], out: &mut [f32]) -> Result<(), ResizeError> {
        let isa = Isa::current();
        self.each(x, out, |x, out, start| simd::run(isa, Entries { of: self, x, out, start }))
    }

    /// [`run`](Self::run) in f64.
    ///
    /// # Errors
    /// A slice has another length.
    pub fn run_f64(&self, x: &[f64], out: &mut [f64]) -> Result<(), ResizeError> {
        let isa = Isa::current();
        self.each(x, out, |x, out, start| simd::run(isa, Doubles { of: self, x, out, start }))
    }

    /// [`run`](Self::run) of elements of any type, where each entry of the result is one of the operand.
    ///
    /// # Errors
    /// It is not, or a slice has another length.
    pub fn copy<T: Copy + Send + Sync>(&self, x: &[T], out: &mut [T]) -> Result<(), ResizeError> {
        if !self.copies {
            return Err(ResizeError::Sums);
        }
        let inner = self.inner;
        self.each(x, out, |x, out, start| {
            for (out, (x, o)) in out.chunks_exact_mut(inner).zip(self.entries(x, start)) {
                let place = self.taps[o].place as usize * inner;
                match out {
                    // One element is sooner copied than a function called for it.
                    [out] => *out = x[place],
                    _ => out.copy_from_slice(&x[place..][..inner]),
                }
            }
        })
    }

    /// Calls `f` with the operand and entries from number `start` on of all that the result has, in parts.
    fn each<T: Copy + Send + Sync>(
        &self,
        x: &[T],
        out: &mut [T],
        f: impl Fn(&[T], &mut [T], usize) + Sync,
    ) -> Result<(), ResizeError> {
        let Self { from, to, inner, .. } = *self;
        let outer = out.len().checked_div(to * inner).unwrap_or(0);
        let check = |name, got, want| if got == want { Ok(()) } else { Err(ResizeError::Length { name, got, want }) };
        check("out", out.len(), outer * to * inner)?;
        if out.is_empty() {
            return Ok(());
        }
        check("x", x.len(), outer.saturating_mul(from * inner))?;
        let per = (self.taps.len() / to).saturating_add(1);
        let all = Shared(out.as_mut_ptr());
        // Entries of one element take a few instructions each, not a lane of one.
        let work = if inner == 1 { out.len() } else { outer * to * inner.div_ceil(16) };
        parallel::split(0, outer * to, parallel::pieces(work.saturating_mul(per)), &|start, end| {
            // SAFETY: entries start..end of the result, which no other part has.
            let out = unsafe { std::slice::from_raw_parts_mut(all.at(start * inner), (end - start) * inner) };
            f(x, out, start);
        });
        Ok(())
    }

    /// For all entries of the result from number `start` on: the part of the operand, and the number along the axis.
    #[inline(always)]
    fn entries<'a, T>(&self, x: &'a [T], start: usize) -> impl Iterator<Item = (&'a [T], usize)> {
        let part = self.from * self.inner;
        let (mut at, mut o, to) = (start / self.to * part, start % self.to, self.to);
        std::iter::from_fn(move || {
            let entry = (x.get(at..at + part)?, o);
            o += 1;
            if o == to {
                (at, o) = (at + part, 0);
            }
            Some(entry)
        })
    }

    #[inline(always)]
    fn range(&self, o: usize) -> std::ops::Range<usize> {
        self.starts[o] as usize..self.starts[o + 1] as usize
    }
}

/// A result that threads share.
struct Shared<T>(*mut T);

// SAFETY: a slice that lives while the threads run; each writes entries of its own.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn at(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}

/// Entries of a result in f32, from number `start` on.
struct Entries<'a> {
    of: &'a Resize,
    x: &'a [f32],
    out: &'a mut [f32],
    start: usize,
}

impl Kernel for Entries<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { of, x, out, start } = self;
        if let Some(columns) = &of.columns {
            return columns.run(s, x, out, (of.from, of.to, start));
        }
        let inner = of.inner;
        for (out, (x, o)) in out.chunks_exact_mut(inner).zip(of.entries(x, start)) {
            let taps = &of.taps[of.range(o)];
            match (taps, &mut *out) {
                ([], out) => out.fill(0.0),
                ([tap], [out]) => *out = x[tap.place as usize],
                ([tap], out) => out.copy_from_slice(&x[tap.place as usize * inner..][..inner]),
                ([first, more @ ..], out) => {
                    for i in (0..inner).step_by(S::LANES) {
                        let n = S::LANES.min(inner - i);
                        // SAFETY: n elements of each entry; places were checked to be below `from`.
                        unsafe {
                            let at = |tap: &Tap| x.as_ptr().wrapping_add(tap.place as usize * inner + i);
                            let mut sum = s.mul(s.load_upto(at(first), n), s.splat(first.weight));
                            for tap in more {
                                sum = s.mul_add(s.load_upto(at(tap), n), s.splat(tap.weight), sum);
                            }
                            s.store_upto(out.as_mut_ptr().add(i), sum, n);
                        }
                    }
                }
            }
        }
    }
}

impl Columns {
    /// Entries of one element from number `start` on: vectors of them, each tap of which is looked up in a part of the operand.
    #[inline(always)]
    fn run<S: Simd>(&self, s: S, x: &[f32], out: &mut [f32], (from, to, start): (usize, usize, usize)) {
        let (mut done, mut row, mut o) = (0, start / to * from, start % to);
        while done < out.len() {
            let n = (to - o).min(out.len() - done);
            let x = &x[row..][..from];
            // A short row is copied, so that it can be read as a whole table.
            let mut short = [0.0; TABLE];
            if from < TABLE {
                short[..from].copy_from_slice(x);
            }
            let x = if from < TABLE { &short[..] } else { x };
            for (i, out) in out[done..][..n].chunks_mut(S::LANES).enumerate() {
                self.vector(s, x, out, o + i * S::LANES, to);
            }
            (done, row, o) = (done + n, row + from, 0);
        }
    }

    /// At most a vector of entries, from `o` on; `x` is at least a table.
    #[inline(always)]
    fn vector<S: Simd>(&self, s: S, x: &[f32], out: &mut [f32], o: usize, to: usize) {
        let n = out.len();
        let first = (self.places[o] as usize).min(x.len() - TABLE);
        let end = self.places[(self.each - 1) * to + o + n - 1] as usize;
        let table = if end < first + TABLE { x[first..].first_chunk::<TABLE>() } else { None };
        let base = s.isplat(first as i32);
        let mut sum = s.splat(0.0);
        for k in 0..self.each {
            let column = k * to + o;
            let (places, weights) = (&self.places[column..][..n], &self.weights[column..][..n]);
            // SAFETY: n places and weights; n elements of an array of the largest vector.
            unsafe {
                let v = if let Some(table) = table {
                    let which = s.bits(s.load_upto(places.as_ptr().cast(), n));
                    s.lookup(table, s.isub(which, base))
                } else {
                    let mut parts = [0.0; MOST_LANES];
                    for (part, &place) in parts.iter_mut().zip(places) {
                        *part = x[place as usize];
                    }
                    s.load(parts.as_ptr())
                };
                let weight = s.load_upto(weights.as_ptr(), n);
                sum = match (self.each, k) {
                    (1, _) => v,
                    (_, 0) => s.mul(v, weight),
                    _ => s.mul_add(v, weight, sum),
                };
            }
        }
        // SAFETY: n entries of the result.
        unsafe { s.store_upto(out.as_mut_ptr(), sum, n) };
    }
}

/// [`Entries`] in f64; the compiler makes vectors of the instruction set of it.
struct Doubles<'a> {
    of: &'a Resize,
    x: &'a [f64],
    out: &'a mut [f64],
    start: usize,
}

impl Kernel for Doubles<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { of, x, out, start } = self;
        let inner = of.inner;
        for (out, (x, o)) in out.chunks_exact_mut(inner).zip(of.entries(x, start)) {
            let range = of.range(o);
            let lone = range.len() == 1;
            out.fill(0.0);
            for (tap, &weight) in of.taps[range.clone()].iter().zip(&of.weights[range]) {
                let x = &x[tap.place as usize * inner..][..inner];
                if lone {
                    out.copy_from_slice(x);
                } else {
                    for (out, x) in out.iter_mut().zip(x) {
                        *out += x * weight;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
