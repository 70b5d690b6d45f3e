//! Runs of bytes that are copied at once.

/// Copies runs of one length.
pub(super) trait Run: Copy + Sync {
    /// Both are as long as a run.
    fn copy(self, from: &[u8], to: &mut [u8]);
}

/// Runs of N bytes, which fit registers: a call would take longer than the copy.
#[derive(Clone, Copy)]
pub(super) struct Short<const N: usize>;

/// Runs of any length.
#[derive(Clone, Copy)]
pub(super) struct Long;

impl<const N: usize> Run for Short<N> {
    #[inline(always)]
    fn copy(self, from: &[u8], to: &mut [u8]) {
        if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
            *to = *from;
        }
    }
}

impl Run for Long {
    #[inline(always)]
    fn copy(self, from: &[u8], to: &mut [u8]) {
        to.copy_from_slice(from);
    }
}

/// `$body` with `$run` what copies runs of so many bytes.
macro_rules! by_run {
    ($bytes:expr, $run:ident => $body:expr) => {{
        use $crate::index::run::{Long, Short};
        match $bytes {
            1 => {
                let $run = Short::<1>;
                $body
            }
            2 => {
                let $run = Short::<2>;
                $body
            }
            4 => {
                let $run = Short::<4>;
                $body
            }
            8 => {
                let $run = Short::<8>;
                $body
            }
            16 => {
                let $run = Short::<16>;
                $body
            }
            _ => {
                let $run = Long;
                $body
            }
        }
    }};
}
pub(super) use by_run;
