//! Which instruction set the kernels run on.

use super::simd::{Avx2, Avx512, Base, Vbmi, Vnni};
use std::fmt;
use std::sync::OnceLock;

/// An instruction set the kernels are compiled for, slowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// One lane, no instruction beyond the target's baseline.
    Scalar,
    /// AVX2, FMA and F16C: 8 lanes.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 16 lanes.
    Avx512,
}

/// `BGZ_ISA` asks for something this host or this library does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// Not one of the words it may be.
    #[error("BGZ_ISA={0:?}: expected scalar, avx2 or avx512")]
    Unknown(String),
    /// Known, but this CPU cannot run it.
    #[error("BGZ_ISA={asked}: this CPU has {}", names(.available))]
    Missing {
        /// The instruction set that was asked for.
        asked: Isa,
        /// The instruction sets that there are.
        available: &'static [Isa],
    },
}

fn names(isas: &[Isa]) -> String {
    isas.iter().map(|i| i.name()).collect::<Vec<_>>().join(", ")
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// The instruction set to use: the one `BGZ_ISA` names if it is set and not
    /// empty, else the best of this host. Read once; later changes of the
    /// environment have no effect.
    pub fn detect() -> Result<Isa, IsaError> {
        static CHOICE: OnceLock<Result<Isa, IsaError>> = OnceLock::new();
        CHOICE
            .get_or_init(|| {
                Self::choose(std::env::var_os("BGZ_ISA").map(|v| v.to_string_lossy().into_owned()).as_deref())
            })
            .clone()
    }

    /// [`Isa::detect`], or the best of this host where `BGZ_ISA` is not usable:
    /// for functions that have no way to say so. Programs report the error of
    /// `detect` when they start.
    pub fn current() -> Isa {
        #[cfg(test)]
        if let Some(isa) = forced::get() {
            return isa;
        }
        Self::detect().unwrap_or_else(|_| Self::best())
    }

    /// The instruction set that `BGZ_ISA` = `asked` would select here.
    pub fn choose(asked: Option<&str>) -> Result<Isa, IsaError> {
        let asked = match asked {
            None | Some("") => return Ok(Self::best()),
            Some(word) => {
                Self::ALL.into_iter().find(|i| i.name() == word).ok_or_else(|| IsaError::Unknown(word.into()))?
            }
        };
        if asked.is_available() { Ok(asked) } else { Err(IsaError::Missing { asked, available: Self::available() }) }
    }

    /// Those this host can run, slowest first; never empty.
    pub fn available() -> &'static [Isa] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(|| Self::ALL.into_iter().filter(|i| i.is_available()).collect())
    }

    /// True if this host can run the instruction set.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => Avx2::new().is_some(),
            Isa::Avx512 => Avx512::<Base>::new().is_some(),
        }
    }

    /// f32 lanes of a vector; 1 where the host lacks the instruction set, since
    /// the baseline then runs.
    pub(super) fn lanes(self) -> usize {
        match self {
            Isa::Avx512 if self.is_available() => 16,
            Isa::Avx2 if self.is_available() => 8,
            _ => 1,
        }
    }

    /// The word of `BGZ_ISA`.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    fn best() -> Isa {
        Self::available().last().copied().unwrap_or(Isa::Scalar)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The instruction sets that the kernels on bytes are compiled for, slowest first: [`Isa`], with the extensions of AVX-512
/// told apart that have instructions for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ByteIsa {
    /// [`Isa::Scalar`].
    Scalar,
    /// [`Isa::Avx2`].
    Avx2,
    /// [`Isa::Avx512`] and nothing more.
    Avx512,
    /// With VNNI: products of bytes, summed.
    Avx512Vnni,
    /// With VNNI and VBMI: lookups of bytes across a vector.
    Avx512Vbmi,
}

impl ByteIsa {
    /// Every level, slowest first.
    pub const ALL: [Self; 5] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Vnni, Self::Avx512Vbmi];

    /// The best level of this host within [`Isa::current`].
    pub fn current() -> Self {
        #[cfg(test)]
        if let Some(isa) = forced::get_bytes() {
            return isa;
        }
        Self::within(Isa::current())
    }

    /// The best level of this host that `isa` allows; the baseline if the host lacks `isa`.
    pub fn within(isa: Isa) -> Self {
        Self::available().filter(|b| b.isa() == isa).last().unwrap_or(Self::Scalar)
    }

    /// Those this host can run, slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|b| b.is_available())
    }

    /// True if this host can run the instruction set.
    pub fn is_available(self) -> bool {
        match self {
            Self::Avx512Vnni => Avx512::<Vnni>::new().is_some(),
            Self::Avx512Vbmi => Avx512::<Vbmi>::new().is_some(),
            Self::Scalar | Self::Avx2 | Self::Avx512 => self.isa().is_available(),
        }
    }

    /// The instruction set it is a level of.
    pub const fn isa(self) -> Isa {
        match self {
            Self::Scalar => Isa::Scalar,
            Self::Avx2 => Isa::Avx2,
            Self::Avx512 | Self::Avx512Vnni | Self::Avx512Vbmi => Isa::Avx512,
        }
    }

    /// f32 lanes of a vector; 1 where the host lacks the level, since the baseline then runs.
    pub(super) fn lanes(self) -> usize {
        if self.is_available() { self.isa().lanes() } else { 1 }
    }

    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512+vnni",
            Self::Avx512Vbmi => "avx512+vnni+vbmi",
            Self::Scalar | Self::Avx2 | Self::Avx512 => self.isa().name(),
        }
    }
}

impl fmt::Display for ByteIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Lets a test choose what [`Isa::current`] and [`ByteIsa::current`] are on its thread.
#[cfg(test)]
pub(super) mod forced {
    use super::{ByteIsa, Isa};
    use std::cell::Cell;

    thread_local! {
        static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
        static FORCED_BYTES: Cell<Option<ByteIsa>> = const { Cell::new(None) };
    }

    pub(super) fn get() -> Option<Isa> {
        FORCED.get()
    }

    pub(super) fn get_bytes() -> Option<ByteIsa> {
        FORCED_BYTES.get()
    }

    /// Runs `f` once for each level of the host, which is then [`ByteIsa::current`], and its [`Isa`] the current one;
    /// a line on those it lacks.
    pub fn on_each_level(f: impl Fn(ByteIsa)) {
        for level in ByteIsa::ALL {
            if level.is_available() {
                FORCED.set(Some(level.isa()));
                FORCED_BYTES.set(Some(level));
                f(level);
                FORCED.set(None);
                FORCED_BYTES.set(None);
            } else {
                println!("SKIPPED {level}: this CPU lacks it");
            }
        }
    }

    /// Runs `f` once for each instruction set of the host; a line on those it lacks.
    pub fn on_each(f: impl Fn()) {
        for isa in Isa::ALL {
            if isa.is_available() {
                FORCED.set(Some(isa));
                f();
                FORCED.set(None);
            } else {
                println!("SKIPPED {isa}: this CPU lacks it");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_is_refused() {
        assert_eq!(Isa::choose(Some("sse9")), Err(IsaError::Unknown("sse9".into())));
        assert_eq!(
            Isa::choose(Some("sse9")).unwrap_err().to_string(),
            r#"BGZ_ISA="sse9": expected scalar, avx2 or avx512"#
        );
    }

    #[test]
    fn every_known_word_is_taken_or_refused_with_what_there_is() {
        for isa in Isa::ALL {
            match Isa::choose(Some(isa.name())) {
                Ok(got) => assert_eq!(got, isa),
                Err(e) => {
                    println!("SKIPPED {isa}: not on this host");
                    assert!(e.to_string().contains("this CPU has scalar"), "{e}");
                }
            }
        }
    }

    #[test]
    fn levels_stay_within_the_instruction_set() {
        for isa in Isa::ALL {
            let best = ByteIsa::within(isa);
            assert!(best.isa() == isa || !isa.is_available(), "{best} for {isa}");
            assert!(best.is_available());
        }
        forced::on_each(|| assert_eq!(ByteIsa::current().isa(), Isa::current()));
        forced::on_each_level(|level| {
            assert_eq!(ByteIsa::current(), level);
            assert_eq!(Isa::current(), level.isa());
        });
    }

    #[test]
    fn unset_and_empty_take_the_best() {
        assert_eq!(Isa::choose(None), Ok(*Isa::available().last().unwrap()));
        assert_eq!(Isa::choose(Some("")), Isa::choose(None));
    }
}
