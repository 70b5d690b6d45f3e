//! SentencePiece's byte-pair tokens, from the vocabulary that a GGUF file has.
//!
//! Such a file has no list of merges, only each piece's score, so that merging is as llama.cpp's `llm_tokenizer_spm`
//! does it: of all neighbours that together are a piece, those of the greatest score become one, the leftmost first.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// The character that stands for a space in a piece.
const SPACE: char = '\u{2581}';

/// Kinds of tokens by their numbers in `tokenizer.ggml.token_type`.
mod kind {
    pub const CONTROL: i64 = 3;
    pub const USER_DEFINED: i64 = 4;
    pub const BYTE: i64 = 6;
}

/// Why a vocabulary cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The arrays differ in length.
    #[error("{tokens} tokens have {scores} scores and {kinds} types")]
    Lengths {
        /// Number of tokens.
        tokens: usize,
        /// Number of scores.
        scores: usize,
        /// Number of types.
        kinds: usize,
    },
    /// There are more than 32 bits count.
    #[error("{0} tokens are too many")]
    TooMany(usize),
    /// A byte has no token.
    #[error("there is no token for the byte {0:#04x}, so that not every text has tokens")]
    NoByte(u8),
}

/// Text to tokens and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pieces: Vec<Piece>,
    ids: HashMap<String, u32>,
    bytes: [u32; 256],
    /// Pieces that are found in a text before anything is merged, by their first byte, the longest first.
    whole: HashMap<u8, Vec<u32>>,
}

#[derive(Debug, Clone)]
struct Piece {
    text: String,
    score: f32,
    kind: i64,
}

impl Tokenizer {
    /// A tokenizer of `tokenizer.ggml.tokens`, `.scores` and `.token_type`, for a file whose `tokenizer.ggml.model` is
    /// `llama` and which does not ask for a space before a text (`tokenizer.ggml.add_space_prefix`).
    ///
    /// # Errors
    /// If the three differ in length, or a byte has no token.
    pub fn new(tokens: Vec<String>, scores: &[f32], kinds: &[i64]) -> Result<Self, TokenizerError> {
        let lengths = (tokens.len(), scores.len(), kinds.len());
        if lengths.0 != lengths.1 || lengths.0 != lengths.2 {
            return Err(TokenizerError::Lengths { tokens: lengths.0, scores: lengths.1, kinds: lengths.2 });
        }
        u32::try_from(lengths.0).map_err(|_| TokenizerError::TooMany(lengths.0))?;
        let mut ids = HashMap::with_capacity(tokens.len());
        let mut bytes = [None; 256];
        let mut whole: HashMap<u8, Vec<u32>> = HashMap::new();
        let mut pieces = Vec::with_capacity(tokens.len());
        for (id, (text, (&score, &kind))) in (0u32..).zip(tokens.into_iter().zip(scores.iter().zip(kinds))) {
            // Of two that are spelled alike, the later one counts, as in llama.cpp.
            ids.insert(text.clone(), id);
            match kind {
                kind::BYTE => {
                    if let Some(byte) = byte(&text) {
                        bytes[usize::from(byte)] = Some(id);
                    }
                }
                kind::CONTROL | kind::USER_DEFINED => {
                    if let Some(&first) = text.as_bytes().first() {
                        whole.entry(first).or_default().push(id);
                    }
                }
                _ => {}
            }
            pieces.push(Piece { text, score, kind });
        }
        for ids in whole.values_mut() {
            ids.sort_by_key(|&id| std::cmp::Reverse(pieces[id as usize].text.len()));
        }
        let mut known = [0u32; 256];
        for (byte, (known, id)) in (0u8..=255).zip(known.iter_mut().zip(bytes)) {
            *known = id.ok_or(TokenizerError::NoByte(byte))?;
        }
        Ok(Self { pieces, ids, bytes: known, whole })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// True if there are no pieces.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The token of this text, if there is one.
    pub fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The tokens of `text`. With `special`, the names of control tokens, `<eos>` say, become those tokens; without,
    /// they are text like any other. Nothing is added at the beginning or the end.
    pub fn encode(&self, text: &str, special: bool) -> Vec<u32> {
        let mut tokens = Vec::new();
        let (mut start, mut at) = (0, 0);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            match self.whole_at(rest, special) {
                Some(id) => {
                    self.merge(&text[start..at], &mut tokens);
                    tokens.push(id);
                    at += self.pieces[id as usize].text.len();
                    start = at;
                }
                None => at += rest.chars().next().map_or(1, char::len_utf8),
            }
        }
        self.merge(&text[start..], &mut tokens);
        tokens
    }

    /// The longest token at the beginning of `text` that is not made by merging.
    fn whole_at(&self, text: &str, special: bool) -> Option<u32> {
        let first = text.as_bytes().first()?;
        let usable = |kind| kind == kind::USER_DEFINED || special;
        let fits = |&&id: &&u32| {
            let piece = &self.pieces[id as usize];
            usable(piece.kind) && text.starts_with(&piece.text)
        };
        self.whole.get(first)?.iter().find(fits).copied()
    }

    /// Adds the tokens of a text without special ones.
    fn merge(&self, text: &str, tokens: &mut Vec<u32>) {
        let text = text.replace(' ', SPACE.encode_utf8(&mut [0; 4]));
        let mut symbols: Vec<Symbol> = Vec::new();
        for (start, c) in text.char_indices() {
            let i = symbols.len();
            symbols.push(Symbol { start, end: start + c.len_utf8(), previous: i.wrapping_sub(1), next: i + 1 });
        }
        let mut queue = BinaryHeap::new();
        (1..symbols.len()).for_each(|right| self.consider(&text, &symbols, right - 1, right, &mut queue));
        while let Some(pair) = queue.pop() {
            let (left, right) = (symbols[pair.left], symbols[pair.right]);
            // One of them has been merged with another since.
            if left.next != pair.right || left.start == left.end || right.end - left.start != pair.len {
                continue;
            }
            symbols[pair.left] = Symbol { end: right.end, next: right.next, ..left };
            symbols[pair.right].end = right.start;
            if let Some(next) = symbols.get_mut(right.next) {
                next.previous = pair.left;
                self.consider(&text, &symbols, pair.left, right.next, &mut queue);
            }
            if left.previous < symbols.len() {
                self.consider(&text, &symbols, left.previous, pair.left, &mut queue);
            }
        }
        let mut at = 0;
        while let Some(symbol) = symbols.get(at) {
            let piece = &text[symbol.start..symbol.end];
            match self.ids.get(piece) {
                Some(&id) => tokens.push(id),
                None => tokens.extend(piece.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
            at = symbol.next;
        }
    }

    /// Queues two neighbours if they are a piece together.
    fn consider(&self, text: &str, symbols: &[Symbol], left: usize, right: usize, queue: &mut BinaryHeap<Pair>) {
        let (start, end) = (symbols[left].start, symbols[right].end);
        if let Some(&id) = self.ids.get(&text[start..end]) {
            queue.push(Pair { score: self.pieces[id as usize].score, left, right, len: end - start });
        }
    }

    /// The text of `tokens`. What is no UTF-8 becomes U+FFFD, and control tokens nothing.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let mut stream = StreamDecoder::default();
        let mut text: String = tokens.iter().map(|&token| stream.push(self, token)).collect();
        text.push_str(&stream.finish());
        text
    }

    /// The bytes of a token; none for a control token, or one that does not exist.
    fn bytes(&self, token: u32) -> Vec<u8> {
        let Some(piece) = self.pieces.get(token as usize) else { return Vec::new() };
        match piece.kind {
            kind::CONTROL => Vec::new(),
            kind::BYTE => byte(&piece.text).into_iter().collect(),
            kind::USER_DEFINED => piece.text.clone().into_bytes(),
            _ => piece.text.replace(SPACE, " ").into_bytes(),
        }
    }
}

/// The byte that `<0x0A>` says.
fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// A part of a text, empty if it has become part of another. The neighbours of the first and the last are beyond the
/// others.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    previous: usize,
    next: usize,
}

/// Two neighbours that together are a piece, of `len` bytes.
#[derive(Debug)]
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

/// Text of tokens that come one by one: a character of several bytes may be spread over several tokens.
#[derive(Debug, Clone, Default)]
pub struct StreamDecoder {
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// The text that `token` adds; empty as long as a character is not complete.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> String {
        self.pending.extend(tokenizer.bytes(token));
        let mut text = String::new();
        loop {
            let (valid, error) = match std::str::from_utf8(&self.pending) {
                Ok(_) => (self.pending.len(), None),
                Err(error) => (error.valid_up_to(), Some(error.error_len())),
            };
            text.push_str(&String::from_utf8_lossy(&self.pending[..valid]));
            match error {
                // The beginning of a character: more may come.
                Some(None) => {
                    self.pending.drain(..valid);
                    return text;
                }
                Some(Some(wrong)) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending.drain(..valid + wrong);
                }
                None => {
                    self.pending.clear();
                    return text;
                }
            }
        }
    }

    /// The rest of a character that was never completed.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes, letters, a few pieces, `<s>` as control and two spaces as user-defined.
    fn tokenizer() -> Tokenizer {
        let mut tokens: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
        let mut kinds = vec![kind::BYTE; 256];
        let mut scores = vec![0.0; 256];
        for (i, piece) in ["ab", "bc", "abc", "\u{2581}a", "a", "b", "c", "\u{2581}"].iter().enumerate() {
            tokens.push((*piece).to_owned());
            kinds.push(1);
            scores.push(-(i as f32));
        }
        for (piece, kind) in [("<s>", kind::CONTROL), ("  ", kind::USER_DEFINED), ("   ", kind::USER_DEFINED)] {
            tokens.push(piece.to_owned());
            kinds.push(kind);
            scores.push(-1000.0);
        }
        Tokenizer::new(tokens, &scores, &kinds).unwrap()
    }

    fn pieces(text: &str, special: bool) -> Vec<String> {
        let tokenizer = tokenizer();
        let tokens = tokenizer.encode(text, special);
        tokens.into_iter().map(|token| tokenizer.pieces[token as usize].text.clone()).collect()
    }

    #[test]
    fn the_greatest_score_merges_first_and_the_leftmost_of_equals() {
        // `ab` before `bc`, and then `abc` from it.
        assert_eq!(pieces("abc", false), ["abc"]);
        assert_eq!(pieces("abbc", false), ["ab", "bc"]);
        assert_eq!(pieces("ababcb", false), ["ab", "abc", "b"]);
        // `▁a` would be a piece, but `ab` has the greater score.
        assert_eq!(pieces(" ab", false), ["\u{2581}", "ab"]);
        assert_eq!(pieces(" ac", false), ["\u{2581}a", "c"]);
    }

    #[test]
    fn what_is_no_piece_becomes_bytes() {
        assert_eq!(pieces("a\u{e9}", false), ["a", "<0xC3>", "<0xA9>"]);
        assert_eq!(pieces("", false), [""; 0]);
    }

    #[test]
    fn special_tokens_are_text_unless_asked_for() {
        assert_eq!(pieces("a<s>b", true), ["a", "<s>", "b"]);
        assert_eq!(pieces("a<s>b", false), ["a", "<0x3C>", "<0x73>", "<0x3E>", "b"]);
        // The longest run of spaces, as it is.
        assert_eq!(pieces("a    b", false), ["a", "   ", "\u{2581}", "b"]);
    }

    #[test]
    fn text_comes_back() {
        let tokenizer = tokenizer();
        for text in ["abc ab  c", "caf\u{e9} \u{1F600}", "\u{6771}\n", ""] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text, false)), text);
        }
        assert_eq!(tokenizer.decode(&tokenizer.encode("a<s>b", true)), "ab");
        assert_eq!(tokenizer.decode(&[u32::MAX]), "");
    }

    #[test]
    fn a_character_comes_when_it_is_complete() {
        let tokenizer = tokenizer();
        let mut stream = StreamDecoder::default();
        let parts: Vec<String> =
            tokenizer.encode("a\u{20ac}", false).iter().map(|&token| stream.push(&tokenizer, token)).collect();
        assert_eq!(parts, ["a", "", "", "\u{20ac}"]);
        // The beginning of a character and then a letter, and one that the text ends in.
        let mut stream = StreamDecoder::default();
        let parts: Vec<String> = [0xe2, 0x61, 0xff, 0xe2].map(|byte| stream.push(&tokenizer, byte)).into();
        assert_eq!(parts, ["", "\u{fffd}a", "\u{fffd}", ""]);
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    #[test]
    fn a_vocabulary_that_does_not_fit_is_an_error() {
        let error = Tokenizer::new(vec!["a".to_owned()], &[], &[1]).unwrap_err();
        assert_eq!(error, TokenizerError::Lengths { tokens: 1, scores: 0, kinds: 1 });
        let error = Tokenizer::new(vec!["a".to_owned()], &[0.0], &[1]).unwrap_err();
        assert_eq!(error, TokenizerError::NoByte(0));
    }
}
