//! The most that a machine can do, which times are measured against.

use super::Isa;
use super::simd::{Kernel, Simd, run};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Sums that do not wait for each other: more than any CPU has multiply-adds under way.
const SUMS: usize = 16;

/// Multiply-adds of vectors on registers.
struct MultiplyAdds {
    rounds: u32,
}

impl Kernel for MultiplyAdds {
    /// Floats in a vector.
    type Out = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let (a, b) = (s.splat(black_box(0.5)), s.splat(black_box(1.0)));
        let mut sums = [a; SUMS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, a, b);
            }
        }
        for sum in sums {
            black_box(s.reduce_add(sum));
        }
        S::LANES
    }
}

/// The rate of f32 multiply-adds, a multiply-add counting twice, of all threads of the current rayon pool at once, in operations a
/// second: of each the best of some 20 ms.
pub fn flops(isa: Isa) -> f64 {
    const ROUNDS: u32 = 20_000;
    // Each thread for itself: one that is not let run would else be waited for by the others.
    let of_a_thread = || best(|| (2 * SUMS * run(isa, MultiplyAdds { rounds: ROUNDS })) as f64 * f64::from(ROUNDS));
    rayon::broadcast(|_| of_a_thread()).into_iter().sum()
}

/// The rate at which all threads of the current rayon pool together copy memory that no cache holds, in bytes read and
/// written a second: the best of some 20 ms.
pub fn bytes() -> f64 {
    /// Numbers that are copied, however many threads do it: 128 MB, and as many to copy them to.
    const LEN: usize = 32 << 20;
    let chunk = LEN.div_ceil(rayon::current_num_threads());
    let from = vec![1.0f32; LEN];
    let mut to = vec![0.0f32; LEN];
    best(|| {
        to.par_chunks_mut(chunk).zip(from.par_chunks(chunk)).for_each(|(to, from)| to.copy_from_slice(black_box(from)));
        black_box(&mut to);
        (2 * size_of::<f32>() * LEN) as f64
    })
}

/// How long a thread of the current rayon pool takes to begin with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// One that sleeps, having had nothing to do for two milliseconds.
    pub asleep: Duration,
    /// One that has just done something and looks for more.
    pub awake: Duration,
}

/// Medians of the last thread to begin; `None` where a pool has one.
pub fn start() -> Option<Start> {
    const ROUNDS: usize = 31;
    if rayon::current_num_threads() < 2 {
        return None;
    }
    let last_to_begin = || {
        let start = Instant::now();
        rayon::broadcast(|_| start.elapsed()).into_iter().max().unwrap_or_default()
    };
    let mut rounds = [(); ROUNDS].map(|()| {
        std::thread::sleep(Duration::from_millis(2));
        [last_to_begin(), last_to_begin()]
    });
    let mut median = |i: usize| {
        rounds.sort_by_key(|r| r[i]);
        rounds[ROUNDS / 2][i]
    };
    Some(Start { asleep: median(0), awake: median(1) })
}

/// The best rate of what `run` says it did.
fn best(mut run: impl FnMut() -> f64) -> f64 {
    let mut best = 0.0f64;
    let start = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || start.elapsed() < Duration::from_millis(20) {
        let start = Instant::now();
        let done = run();
        best = best.max(done / start.elapsed().as_secs_f64().max(1e-9));
        rounds += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No CPU is outside of these: the loop is neither removed nor waits for itself.
    #[test]
    fn rates_are_those_of_a_machine() {
        for &isa in Isa::available() {
            let rate = flops(isa);
            assert!((1e7..1e14).contains(&rate), "{}: {rate}", isa.name());
        }
        let rate = bytes();
        assert!((1e7..1e14).contains(&rate), "{rate}");
    }

    #[test]
    fn a_thread_begins_where_there_is_another() {
        let start = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(start);
        assert_eq!(start(1), None);
        let Start { asleep, awake } = start(2).expect("two threads");
        assert!([asleep, awake].iter().all(|t| (1..1_000_000_000).contains(&t.as_nanos())), "{asleep:?} {awake:?}");
    }
}
