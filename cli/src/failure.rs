//! Errors of the command line: one readable chain.

use std::error::Error;
use std::fmt;

/// Anything that ends a command.
pub type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug)]
struct Because {
    what: String,
    source: Failure,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Because {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

/// `what` failed because of `source`.
pub fn because(what: impl Into<String>, source: impl Into<Failure>) -> Failure {
    Box::new(Because { what: what.into(), source: source.into() })
}

/// Every error from the outermost on, with colons between. One that its
/// successor's message already ends in is not repeated.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(e) = next {
        let message = e.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_everything_once() {
        let inner = because("cannot read x", std::io::Error::other("gone"));
        assert_eq!(chain(&*because("cannot import y", inner)), "cannot import y: cannot read x: gone");
        let repeats = because("no x: gone", std::io::Error::other("gone"));
        assert_eq!(chain(&*repeats), "no x: gone");
    }
}
