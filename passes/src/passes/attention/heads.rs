//! Which values an attention can take its operands from and give its result
//! to, so that splits and merges of heads need not be computed.

use super::layout::{Layout, views};
use crate::ir::{Dim, Graph, Movement, Op, ValueId, is_fresh};
use crate::rewrite::{Patch, Ref};

/// A way to get an operand: a value of the graph, then reshaped, then transposed.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    value: ValueId,
    shape: Option<Vec<Dim>>,
    perm: Option<Vec<usize>>,
    /// Heads it has.
    pub heads: usize,
    /// Extent of its batch axis.
    pub batch: Dim,
    /// The factor that it has to be multiplied by.
    pub factor: f64,
    /// How little has to be computed for it.
    pub ease: Ease,
}

/// The best comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ease {
    /// A transpose is needed.
    Transposed,
    /// A reshape to `[batch, heads, seq, d]`.
    SplitByReshape,
    /// A value `[batch, heads, seq, d]`.
    Split,
    /// A transpose of batch and seq, which is none where either is 1.
    MergedByTranspose,
    /// A reshape to `[batch, seq, heads * d]`.
    MergedByReshape,
    /// A value `[batch, seq, heads * d]`.
    Merged,
}

impl Operand {
    /// The operand, with what it takes added to `patch`.
    pub fn build(&self, patch: &mut Patch, part: &str) -> Ref {
        let mut at = Ref::from(self.value);
        if let Some(shape) = &self.shape {
            at = patch.add(part, Op::reshape(shape.iter().cloned()), [at]);
        }
        if let Some(perm) = &self.perm {
            at = patch.add(part, Op::Movement(Movement::Transpose { perm: perm.clone() }), [at]);
        }
        at
    }
}

/// An operand as it is in the graph.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The value.
    pub value: ValueId,
    /// Its shape, seen as `[batch, heads, seq, d]`, or the last two swapped.
    pub shape: [Dim; 4],
    /// True if the last two axes are swapped, as they are in the second operand of `q . k^T`.
    pub swapped: bool,
    /// True if a factor may be left out and accounted for.
    pub scaled: bool,
    /// True if several query heads may share one of its heads.
    pub grouped: bool,
    /// True if copies along the batch axis may be left out.
    pub broadcast: bool,
}

/// Every way to get an operand, from the nearest value upwards.
pub(super) fn operands(graph: &Graph, source: &Source) -> Vec<Operand> {
    let path = views(graph, source.value, source.scaled);
    let values: Vec<_> = path.iter().map(|p| p.0).collect();
    let mut found = Vec::new();
    let mut evident = false;
    for (i, &(value, factor)) in path.iter().enumerate() {
        let Some(layout) = Layout::along(graph, &values[..=i]) else { continue };
        if let Some((operand, straight)) = operand(source, layout, value, factor) {
            evident |= straight;
            found.extend(operand);
        }
    }
    // A transpose that nothing upstream makes needless; without one in the
    // graph this is some matrix, not the transpose of keys.
    if source.swapped && evident && found.is_empty() {
        found.extend(transposed(graph, source, &path));
    }
    found
}

/// The operand a value can be, and whether its `seq` lies outside its `d`.
fn operand(source: &Source, mut layout: Layout, value: ValueId, factor: f64) -> Option<(Option<Operand>, bool)> {
    layout.reshape(&source.shape)?;
    let [b, h, s, d] = layout.axes.as_slice() else { return None };
    let (s, d) = if source.swapped { (d, s) } else { (s, d) };
    let flat = layout.base.concat();
    let place = |a: Option<&usize>| flat.iter().position(|x| Some(x) == a);
    let straight = match (place(s.last()), place(d.first())) {
        (Some(s), Some(d)) => s < d,
        _ => true,
    };
    let (b, copied) = (layout.without_copies(b), layout.without_copies(b).len() != b.len());
    let own = layout.without_copies(h);
    let fits = !s.iter().chain(d).any(|&a| layout.is_copies(a))
        // Copies of the batch can be left out as a whole only, those of a head only where they are consecutive.
        && (!copied || source.broadcast && b.is_empty())
        && h.starts_with(&own)
        && (source.grouped || own.len() == h.len());
    let heads = layout.extent(&own).as_usize();
    let (Some(heads), true) = (heads, fits) else { return Some((None, straight)) };
    let merged = [b.clone(), s.clone(), [own.as_slice(), d].concat()];
    let split = [b.clone(), own, s.clone(), d.clone()];
    let extents = |groups: &[Vec<usize>]| groups.iter().map(|g| layout.extent(g)).collect::<Vec<_>>();
    let [batch, seq, width] = merged.clone();
    let swapped = [seq, batch, width];
    let (ease, shape) = if layout.base == merged {
        (Ease::Merged, None)
    } else if flat == merged.concat() {
        (Ease::MergedByReshape, Some(extents(&merged)))
    } else if layout.base == swapped {
        (Ease::MergedByTranspose, None)
    } else if flat == swapped.concat() {
        (Ease::MergedByTranspose, Some(extents(&swapped)))
    } else if layout.base == split {
        (Ease::Split, None)
    } else if flat == split.concat() {
        (Ease::SplitByReshape, Some(extents(&split)))
    } else {
        return Some((None, straight));
    };
    // The plan could not bind an extent that only an absorbed value has.
    if shape.as_ref().is_some_and(|s| s.iter().any(is_fresh)) {
        return Some((None, straight));
    }
    let perm = (ease == Ease::MergedByTranspose).then(|| vec![1, 0, 2]);
    let batch = layout.extent(&b);
    Some((Some(Operand { value, shape, perm, heads, batch, factor, ease }), straight))
}

/// The keys by a transpose of the transposed ones, or of what those are the transpose of.
fn transposed(graph: &Graph, source: &Source, path: &[(ValueId, f64)]) -> Option<Operand> {
    let heads = source.shape[1].as_usize()?;
    let plain = path.iter().take_while(|(v, _)| graph.ty(*v) == graph.ty(source.value)).last()?;
    let id = graph.producer(plain.0);
    let from = id
        .map(|id| graph.node(id))
        .filter(|n| matches!(&n.op, Op::Movement(Movement::Transpose { perm }) if perm.len() == 4));
    let (value, shape, perm) = match from.map(|n| (&n.op, n.inputs[0])) {
        Some((Op::Movement(Movement::Transpose { perm: p }), x)) => (x, None, vec![p[0], p[1], p[3], p[2]]),
        _ => {
            let shape = (graph.ty(plain.0).rank() != 4).then(|| source.shape.to_vec());
            (plain.0, shape, vec![0, 1, 3, 2])
        }
    };
    if shape.as_ref().is_some_and(|s| s.iter().any(is_fresh)) {
        return None;
    }
    let batch = source.shape[0].clone();
    Some(Operand { value, shape, perm: Some(perm), heads, batch, factor: plain.1, ease: Ease::Transposed })
}

/// The best way among those with `heads` heads: of equal ones, the one furthest up.
pub(super) fn best(ways: &[Operand], heads: usize) -> Option<&Operand> {
    ways.iter().filter(|o| o.heads == heads).max_by_key(|o| o.ease)
}

/// The best ways to get keys and values with the same number of heads, as few as can be.
pub(super) fn best_pair<'a>(k: &'a [Operand], v: &'a [Operand]) -> Option<(&'a Operand, &'a Operand)> {
    let heads = k.iter().map(|o| o.heads).filter(|&h| v.iter().any(|o| o.heads == h)).min()?;
    Some((best(k, heads)?, best(v, heads)?))
}

/// The part of the graph that the result of an attention takes the place of.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The value it replaces.
    pub at: ValueId,
    /// True if the attention makes `[batch, seq, heads * d]`.
    pub merged: bool,
    /// How the replacement is transposed.
    perm: Option<Vec<usize>>,
    /// The shape that it is given then.
    shape: Option<Vec<Dim>>,
    /// The values that are no longer computed.
    pub between: Vec<ValueId>,
}

impl Place {
    /// Replaces by the result of an attention.
    pub fn build(self, patch: &mut Patch, op: Op, operands: Vec<Ref>) {
        let plain = self.perm.is_none() && self.shape.is_none();
        let mut new = patch.add(if plain { "" } else { "heads" }, op, operands);
        if let Some(perm) = self.perm {
            new = patch.add(
                if self.shape.is_none() { "" } else { "heads" },
                Op::Movement(Movement::Transpose { perm }),
                [new],
            );
        }
        if let Some(shape) = self.shape {
            new = patch.add("", Op::reshape(shape), [new]);
        }
        patch.replace(self.at, new);
        patch.consume(self.between);
    }
}

/// Where the heads of `context`, seen as `shape` (`[batch, heads, seq, d]`), are merged again, if they are.
pub(super) fn result(graph: &Graph, context: ValueId, shape: &[Dim; 4]) -> Option<Place> {
    let mut layout = Layout::new(shape);
    let own = &graph.ty(context).shape;
    let reshaped = |v: ValueId| {
        let s = graph.ty(v).shape.clone();
        (!s.iter().any(is_fresh)).then_some(s)
    };
    let split = if own.len() == 4 { None } else { Some(reshaped(context)?) };
    layout.reshape(own)?;
    let mut best = Place { at: context, merged: false, perm: None, shape: split, between: Vec::new() };
    let (mut at, mut between, mut ease) = (context, Vec::new(), Ease::Split);
    loop {
        let [b, h, s, d] = layout.base.as_slice() else { return None };
        let merged = [b.clone(), s.clone(), [h.as_slice(), d].concat()];
        let swapped = [s.clone(), b.clone(), [h.as_slice(), d].concat()];
        let flat = layout.axes.concat();
        let (found, shape) = if layout.axes == merged {
            (Ease::Merged, None)
        } else if flat == merged.concat() {
            (Ease::MergedByReshape, reshaped(at))
        } else if layout.axes == swapped {
            (Ease::MergedByTranspose, None)
        } else if flat == swapped.concat() {
            (Ease::MergedByTranspose, reshaped(at))
        } else {
            (Ease::Split, None)
        };
        let possible = shape.is_some() || layout.axes == merged || layout.axes == swapped;
        if found > Ease::Split && found >= ease && possible {
            let perm = (found == Ease::MergedByTranspose).then(|| vec![1, 0, 2]);
            best = Place { at, merged: true, perm, shape, between: between.clone() };
            ease = found;
        }
        let [user] = graph.users(at) else { break };
        let node = graph.node(*user);
        let moves = matches!(node.op, Op::Movement(Movement::Transpose { .. } | Movement::Reshape { .. }));
        if graph.is_output(at) || !moves || node.inputs[0] != at || layout.step(graph, *user).is_none() {
            break;
        }
        between.push(at);
        at = node.outputs[0];
    }
    Some(best)
}
