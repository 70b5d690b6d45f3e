//! `--shape` and `--case`: extents of inputs and of named dims.

use std::str::FromStr;

/// `ids=1x128` or `seq=128`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Of an input or of a dim; which, the model decides.
    pub name: String,
    /// One extent for a dim, one an axis for an input.
    pub sizes: Vec<usize>,
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, sizes(&self.sizes))
    }
}

/// Extents as in `1x128`; `scalar` if there is none.
pub fn sizes(sizes: &[usize]) -> String {
    match sizes {
        [] => "scalar".into(),
        _ => sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("x"),
    }
}

/// The extents of one row of a bench.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case(pub Vec<Extent>);

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, e) in self.0.iter().enumerate() {
            write!(f, "{}{e}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Reads `NAME=1x128`.
pub fn extent(text: &str) -> Result<Extent, String> {
    // Names of tensors may have an equals sign in them, sizes have not.
    let (name, sizes) = text.rsplit_once('=').ok_or("expected NAME=1x128 or NAME=128")?;
    if name.is_empty() {
        return Err("expected the name of an input or of a dim before =".into());
    }
    let size = |s: &str| usize::from_str(s).map_err(|e| format!("{s:?} is not a size: {e}"));
    Ok(Extent { name: name.into(), sizes: sizes.split('x').map(size).collect::<Result<_, _>>()? })
}

/// Reads `batch=1,seq=16`.
pub fn case(text: &str) -> Result<Case, String> {
    text.split(',').map(extent).collect::<Result<_, _>>().map(Case)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_prints() {
        for text in ["ids=1x128", "seq=128", "a=b=3", "x=0"] {
            assert_eq!(extent(text).expect(text).to_string(), text);
        }
        assert_eq!(case("b=1,s=16").expect("a case").to_string(), "b=1,s=16");
    }

    #[test]
    fn refuses_what_is_no_shape() {
        for text in ["", "ids", "=3", "ids=", "ids=1x", "ids=axb", "ids=-1", "ids=1.5", "ids=99999999999999999999"] {
            assert!(extent(text).is_err(), "{text}");
        }
    }
}
