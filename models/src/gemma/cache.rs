//! Keys and values of what a model has seen.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::GemmaConfig;

/// Rooms are made for so many tokens more. In between, the shapes of a pass for one token are the same, so that what
/// a backend has made for them, a plan say, serves again.
const BLOCK: usize = 256;

/// Keys and values of the tokens that a model has seen, for each of its blocks.
///
/// A block that sees all tokens keeps all; one with a window keeps as many as its window, a new one in the place of the
/// oldest. Rooms that nothing is in yet are hidden by masks.
#[derive(Debug, Clone)]
pub struct GemmaCache<B: Backend> {
    layers: Vec<Layer<B>>,
    window: usize,
    len: usize,
    capacity: usize,
}

#[derive(Debug, Clone)]
struct Layer<B: Backend> {
    global: bool,
    kept: Option<Context<B>>,
}

/// Keys and values, `f32[batch, kv_heads, keys, d_head]` each.
#[derive(Debug, Clone)]
pub(super) struct Context<B: Backend> {
    pub key: Tensor<B, 4>,
    pub value: Tensor<B, 4>,
}

/// The state in which a pass finds a cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Tokens before those of the pass.
    pub len: usize,
    /// Where keys are in blocks that see all.
    pub global: Rooms,
    /// Where they are in blocks with a window.
    pub local: Rooms,
}

/// The keys of a block in a pass.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rooms {
    /// Those of the pass.
    Own,
    /// The rooms of the cache, those of the pass among them.
    Kept { capacity: usize },
    /// The rooms as they were before the pass, and then those of the pass.
    Both { capacity: usize },
}

impl Rooms {
    /// The position of each key, `None` for an empty room, in a pass of `seq` tokens behind `len`.
    pub fn keys(self, len: usize, seq: usize) -> Vec<Option<usize>> {
        let own = (len..len + seq).map(Some);
        match self {
            Self::Own => own.collect(),
            Self::Kept { capacity } => (0..capacity).map(|room| inhabitant(room, capacity, len + seq)).collect(),
            Self::Both { capacity } => (0..capacity).map(|room| inhabitant(room, capacity, len)).chain(own).collect(),
        }
    }
}

/// The last of the positions below `len` that goes to a room, position `p` going to room `p % capacity`.
fn inhabitant(room: usize, capacity: usize, len: usize) -> Option<usize> {
    let last = len.checked_sub(1)?.checked_sub(room)?;
    Some(last / capacity * capacity + room)
}

impl Seen {
    /// A pass without a cache.
    pub fn nothing() -> Self {
        Self { len: 0, global: Rooms::Own, local: Rooms::Own }
    }
}

impl<B: Backend> GemmaCache<B> {
    /// An empty one.
    pub fn new(config: &GemmaConfig) -> Self {
        let layers = (0..config.layers).map(|layer| Layer { global: config.is_global(layer), kept: None }).collect();
        Self { layers, window: config.window, len: 0, capacity: 0 }
    }

    /// How many tokens it has seen.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if the cache has seen no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Prepares for a pass of `seq` tokens.
    pub(super) fn begin(&mut self, seq: usize) -> Seen {
        self.capacity = self.capacity.max((self.len + seq).next_multiple_of(BLOCK));
        let rooms = |capacity| match (self.len, seq) {
            (0, _) => Rooms::Own,
            // A token does not see the entry that it takes the place of.
            (_, 1) => Rooms::Kept { capacity },
            _ => Rooms::Both { capacity },
        };
        let local = self.capacity.min(self.window);
        Seen { len: self.len, global: rooms(self.capacity), local: rooms(local) }
    }

    /// Adds the keys and values of the pass to those of a block, and gives those that its attention is to see.
    pub(super) fn extend(&mut self, layer: usize, own: Context<B>) -> Context<B> {
        let (start, seq) = (self.len, own.key.dims()[2]);
        let layer = &mut self.layers[layer];
        let capacity = if layer.global { self.capacity } else { self.capacity.min(self.window) };
        let put = |rooms: Context<B>| rooms.with(&own, start, seq, capacity);
        match layer.kept.take().map(|kept| kept.with_rooms(capacity)) {
            None => {
                layer.kept = Some(put(own.empty(capacity)));
                own
            }
            // The rooms are not held elsewhere, so that a backend can write to them in place.
            Some(before) if seq == 1 => layer.kept.insert(put(before)).clone(),
            Some(before) => {
                layer.kept = Some(put(before.clone()));
                before.followed_by(own)
            }
        }
    }

    /// Counts what a pass has added.
    pub(super) fn end(&mut self, seq: usize) {
        self.len += seq;
    }
}

impl<B: Backend> Context<B> {
    /// Empty rooms for what is like this.
    fn empty(&self, capacity: usize) -> Self {
        let [batch, heads, _, d_head] = self.key.dims();
        let zeros = || Tensor::zeros([batch, heads, capacity, d_head], &self.key.device());
        Self { key: zeros(), value: zeros() }
    }

    /// The same in more rooms. Before there are as many as a window has, no room was used twice.
    fn with_rooms(self, capacity: usize) -> Self {
        let missing = capacity.saturating_sub(self.key.dims()[2]);
        if missing == 0 {
            return self;
        }
        let empty = self.empty(missing);
        self.followed_by(empty)
    }

    fn followed_by(self, other: Self) -> Self {
        let join = |a, b| Tensor::cat(vec![a, b], 2);
        Self { key: join(self.key, other.key), value: join(self.value, other.value) }
    }

    /// With the `seq` of `own`, whose first position is `start`, in their rooms.
    fn with(self, own: &Self, start: usize, seq: usize, capacity: usize) -> Self {
        // Of more than there are rooms for, the last stay.
        let first = seq.saturating_sub(capacity);
        let room = (start + first) % capacity;
        let upto = (capacity - room).min(seq - first);
        // Up to the last room, and on from the first.
        let parts = [(room, first..first + upto), (0, first + upto..seq)];
        let put = |into: Tensor<B, 4>, from: &Tensor<B, 4>| {
            let [batch, heads, _, d_head] = into.dims();
            let put = |into: Tensor<B, 4>, (room, part): (usize, Range<usize>)| {
                if part.is_empty() {
                    return into;
                }
                let rooms = room..room + part.len();
                let whole = part.len() == from.dims()[2];
                let values = if whole { from.clone() } else { from.clone().narrow(2, part.start, part.len()) };
                into.slice_assign([0..batch, 0..heads, rooms, 0..d_head], values)
            };
            parts.iter().cloned().fold(into, put)
        };
        Self { key: put(self.key, &own.key), value: put(self.value, &own.value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_has_the_last_position_that_went_to_it() {
        let keys = |len: usize| Rooms::Kept { capacity: 4 }.keys(len - 1, 1);
        assert_eq!(keys(1), [Some(0), None, None, None]);
        assert_eq!(keys(4), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(keys(6), [Some(4), Some(5), Some(2), Some(3)]);
        assert_eq!(keys(9), [Some(8), Some(5), Some(6), Some(7)]);
    }

    #[test]
    fn several_tokens_come_behind_the_rooms() {
        let keys = Rooms::Both { capacity: 3 }.keys(4, 2);
        assert_eq!(keys, [Some(3), Some(1), Some(2), Some(4), Some(5)]);
        assert_eq!(Rooms::Own.keys(0, 2), [Some(0), Some(1)]);
    }
}
