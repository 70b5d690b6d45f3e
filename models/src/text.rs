//! The vocabulary of the character language model, and the text it is trained on.
//!
//! A token is a printable ASCII character less 32; 95 stands for the line feed.

use std::path::{Path, PathBuf};

/// Number of tokens.
pub const VOCAB: usize = 96;

/// The token of the line feed.
const LINE_FEED: u8 = 95;

/// The tokens of `text`; characters outside the vocabulary are left out.
pub fn encode(text: &str) -> Vec<u8> {
    text.bytes()
        .filter_map(|byte| match byte {
            b' '..=b'~' => Some(byte - b' '),
            b'\n' => Some(LINE_FEED),
            _ => None,
        })
        .collect()
}

/// The text of `tokens`; numbers outside the vocabulary are left out.
pub fn decode(tokens: &[u8]) -> String {
    tokens
        .iter()
        .filter_map(|&token| match token {
            LINE_FEED => Some('\n'),
            token if token < LINE_FEED => Some(char::from(token + b' ')),
            _ => None,
        })
        .collect()
}

/// Why there is no corpus.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// Text as tokens, whole files of it held out from training.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Corpus {
    /// The bytes that are trained on.
    pub training: Vec<u8>,
    /// The bytes that the loss is measured on.
    pub held_out: Vec<u8>,
    /// How many files there are in both.
    pub files: usize,
}

impl Corpus {
    /// One file in this many is held out.
    const HELD_OUT: usize = 10;

    /// The README, ARCHITECTURE and the Rust sources under `src/` and `passes/` of the repository at `root`, in the
    /// order of their paths; every tenth file is held out.
    ///
    /// # Errors
    /// When a file or a folder cannot be read.
    pub fn read(root: &Path) -> Result<Self, CorpusError> {
        let mut paths = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
        rust_sources(&root.join("src"), &mut paths)?;
        rust_sources(&root.join("passes"), &mut paths)?;
        paths.sort();
        let texts: Result<Vec<String>, CorpusError> = paths.iter().map(|path| read(path)).collect();
        Ok(Self::from_texts(texts?.iter().map(String::as_str)))
    }

    /// The same of texts at hand.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut corpus = Self::default();
        for text in texts {
            corpus.files += 1;
            let part = if corpus.files % Self::HELD_OUT == 0 { &mut corpus.held_out } else { &mut corpus.training };
            part.extend(encode(text));
        }
        corpus
    }
}

fn read(path: &Path) -> Result<String, CorpusError> {
    std::fs::read_to_string(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source })
}

/// Adds the `.rs` files below `folder`.
fn rust_sources(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), CorpusError> {
    let failed = |source| CorpusError::Read { path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        // The type of the entry itself: a link to a folder above would never end.
        if entry.file_type().map_err(failed)?.is_dir() {
            rust_sources(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Corpus, VOCAB, decode, encode};

    #[test]
    fn printable_ascii_and_the_line_feed_come_back() {
        let text: String = (' '..='~').chain(['\n']).collect();
        let tokens = encode(&text);
        assert_eq!(tokens, (0..VOCAB as u8).collect::<Vec<_>>());
        assert_eq!(decode(&tokens), text);
    }

    #[test]
    fn what_is_outside_the_vocabulary_is_left_out() {
        assert_eq!(decode(&encode("a\t\u{e9}b\r\n")), "ab\n");
        assert_eq!(decode(&[33, 96, 255, 34]), "AB");
    }

    #[test]
    fn every_tenth_file_is_held_out() {
        let texts: Vec<String> = (0..20).map(|i| char::from(b'a' + i).to_string()).collect();
        let corpus = Corpus::from_texts(texts.iter().map(String::as_str));
        assert_eq!(decode(&corpus.held_out), "jt");
        assert_eq!((corpus.training.len(), corpus.files), (18, 20));
    }

    #[test]
    fn the_repository_has_text_of_both_kinds() {
        let corpus = Corpus::read(crate::root()).expect("the repository's text");
        assert!(corpus.training.len() > 100_000 && corpus.held_out.len() > 10_000, "{:?}", corpus.files);
        assert!(Corpus::read(&crate::root().join("no such folder")).is_err());
    }
}
