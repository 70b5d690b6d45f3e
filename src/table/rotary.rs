//! Orders of the dims of a head that keep rotary pairs together.

use super::error::TableError;
use std::fmt;
use std::str::FromStr;

/// Which dims of a head are rotated together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rotary {
    /// None: any cut into subspaces is as good.
    #[default]
    None,
    /// `2 i` and `2 i + 1`.
    Interleaved,
    /// `i` and `i + d_head / 2`.
    Halves,
}

impl Rotary {
    /// The dims of a head in the order in which they are cut into subspaces: place `p` holds dim `permutation[p]`.
    ///
    /// # Errors
    /// If `d_head` cannot be cut into `subspaces` equal ones, of whole pairs where there are pairs.
    pub fn permutation(self, d_head: usize, subspaces: usize) -> Result<Vec<u32>, TableError> {
        let pairs = self != Self::None;
        let fits = d_head > 0
            && subspaces > 0
            && d_head.is_multiple_of(subspaces)
            && u32::try_from(d_head).is_ok()
            && (!pairs || (d_head / subspaces).is_multiple_of(2));
        if !fits {
            return Err(TableError::Subspaces { d_head, subspaces, pairs });
        }
        let d = d_head as u32;
        Ok(match self {
            Self::None | Self::Interleaved => (0..d).collect(),
            Self::Halves => (0..d / 2).flat_map(|i| [i, i + d / 2]).collect(),
        })
    }

    /// True if `permutation` has every dim once, and pairs at places `2 i` and `2 i + 1`.
    pub(super) fn allows(self, permutation: &[u32]) -> bool {
        let d = permutation.len();
        let mut seen = vec![false; d];
        let each_once =
            permutation.iter().all(|&p| seen.get_mut(p as usize).is_some_and(|s| !std::mem::replace(s, true)));
        let partner = |p: u32| match self {
            Self::None => None,
            Self::Interleaved => Some(p ^ 1),
            Self::Halves => Some(if (p as usize) < d / 2 { p + (d / 2) as u32 } else { p - (d / 2) as u32 }),
        };
        let paired = |pair: &[u32]| match (pair, self) {
            (_, Self::None) => true,
            ([a, b], _) => partner(*a) == Some(*b),
            _ => false,
        };
        each_once && permutation.chunks(2).all(paired)
    }
}

impl fmt::Display for Rotary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Interleaved => "interleaved",
            Self::Halves => "halves",
        })
    }
}

impl FromStr for Rotary {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "none" => Ok(Self::None),
            "interleaved" => Ok(Self::Interleaved),
            "halves" => Ok(Self::Halves),
            _ => Err(format!("{s:?} is no rotary layout; there are none, interleaved, halves")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_stay_in_one_subspace() {
        assert_eq!(Rotary::Halves.permutation(8, 2).unwrap(), [0, 4, 1, 5, 2, 6, 3, 7]);
        assert_eq!(Rotary::Interleaved.permutation(4, 2).unwrap(), [0, 1, 2, 3]);
        for rotary in [Rotary::None, Rotary::Interleaved, Rotary::Halves] {
            assert!(rotary.allows(&rotary.permutation(32, 8).unwrap()));
            assert_eq!(rotary.to_string().parse(), Ok(rotary));
        }
    }

    #[test]
    fn what_cannot_be_cut_is_an_error() {
        for (d, m) in [(0, 1), (8, 0), (8, 3)] {
            assert!(Rotary::None.permutation(d, m).is_err());
        }
        // Subspaces of one dim cannot hold a pair.
        assert!(Rotary::None.permutation(8, 8).is_ok());
        assert!(Rotary::Halves.permutation(8, 8).is_err());
    }

    #[test]
    fn other_orders_are_refused() {
        assert!(!Rotary::None.allows(&[0, 0]));
        assert!(!Rotary::None.allows(&[0, 2]));
        assert!(!Rotary::Halves.allows(&[0, 1, 2, 3]));
        assert!(!Rotary::Interleaved.allows(&[0, 2, 1, 3]));
        assert!(!Rotary::Interleaved.allows(&[0, 1, 2]));
    }
}
