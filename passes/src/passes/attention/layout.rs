//! Where the axes of a value come from, through reshapes, transposes and copies.
//!
//! Heads are split and merged in many spellings, of which no list would be
//! complete. So axes are followed instead: every axis is a product of atoms,
//! which a reshape splits and regroups, a transpose reorders and an expand
//! adds to. Two values with the same atoms in the same order have the same
//! elements in the same order.

use crate::ir::{Binary, Dim, Graph, Index, IntArg, Movement, NodeId, Op, ValueId};
use std::collections::VecDeque;

/// A row-major product of atoms, outermost first; empty for extent 1.
pub(super) type Group = Vec<usize>;

/// The axes of a value in terms of those of another, which it is a view of.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    atoms: Vec<Atom>,
    /// Axes of the value that is viewed.
    pub base: Vec<Group>,
    /// Axes of the view.
    pub axes: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Atom {
    extent: Dim,
    /// Not of the base: the same elements again.
    copies: bool,
}

impl Layout {
    /// A value as a view of itself.
    pub fn new(shape: &[Dim]) -> Self {
        let mut layout = Self { atoms: Vec::new(), base: Vec::new(), axes: Vec::new() };
        for extent in shape {
            let group = if extent.is(1) { vec![] } else { vec![layout.atom(extent.clone(), false)] };
            layout.base.push(group);
        }
        layout.axes = layout.base.clone();
        layout
    }

    /// `to` as a view of the last value of `path`, which leads upwards from `to`.
    pub fn along(graph: &Graph, path: &[ValueId]) -> Option<Self> {
        let (&from, steps) = path.split_last()?;
        let mut layout = Self::new(&graph.ty(from).shape);
        for &v in steps.iter().rev() {
            layout.step(graph, graph.producer(v)?)?;
        }
        Some(layout)
    }

    fn atom(&mut self, extent: Dim, copies: bool) -> usize {
        self.atoms.push(Atom { extent, copies });
        self.atoms.len() - 1
    }

    /// Follows one op, applied to the current view.
    pub fn step(&mut self, graph: &Graph, id: NodeId) -> Option<()> {
        let node = graph.node(id);
        let shape = &graph.ty(node.outputs[0]).shape;
        match &node.op {
            Op::Movement(Movement::Transpose { perm }) => self.transpose(perm),
            Op::Movement(Movement::Reshape { .. }) => self.reshape(shape),
            Op::Movement(Movement::Expand { .. }) => self.expand(shape),
            Op::Movement(Movement::Tile { repeats: IntArg::Known(repeats) }) => {
                for (axis, n) in repeats.iter().enumerate() {
                    self.repeat(axis, n.clone(), false)?;
                }
                Some(())
            }
            Op::Movement(Movement::Concat { axis }) => self.repeat(*axis, node.inputs.len().into(), false),
            Op::Index(Index::Gather { axis }) => self.repeat(*axis, repeats_of(graph, id)?.into(), true),
            // A factor does not move anything.
            Op::Binary(_) => Some(()),
            _ => None,
        }
    }

    /// Permutes the axes.
    pub fn transpose(&mut self, perm: &[usize]) -> Option<()> {
        self.axes = perm.iter().map(|&p| self.axes.get(p).cloned()).collect::<Option<_>>()?;
        Some(())
    }

    /// Regroups the atoms into axes of `shape`, splitting them where needed.
    pub fn reshape(&mut self, shape: &[Dim]) -> Option<()> {
        let mut rest: VecDeque<usize> = self.axes.concat().into();
        let mut axes = Vec::with_capacity(shape.len());
        for extent in shape {
            let mut group = Vec::new();
            let mut missing = extent.clone();
            while !missing.is(1) {
                let a = rest.pop_front()?;
                let own = self.atoms[a].extent.clone();
                if let Some(left) = missing.div_exact(&own) {
                    group.push(a);
                    missing = left;
                } else {
                    let inner = own.div_exact(&missing)?;
                    let (outer, inner) = self.split(a, missing, inner);
                    group.push(outer);
                    rest.push_front(inner);
                    missing = Dim::int(1);
                }
            }
            axes.push(group);
        }
        self.axes = axes;
        rest.is_empty().then_some(())
    }

    /// Splits an atom wherever it occurs.
    fn split(&mut self, atom: usize, outer: Dim, inner: Dim) -> (usize, usize) {
        let copies = self.atoms[atom].copies;
        let (o, i) = (self.atom(outer, copies), self.atom(inner, copies));
        for group in self.base.iter_mut().chain(&mut self.axes) {
            if let Some(at) = group.iter().position(|&a| a == atom) {
                group.splice(at..=at, [o, i]);
            }
        }
        (o, i)
    }

    fn expand(&mut self, shape: &[Dim]) -> Option<()> {
        let missing = shape.len().checked_sub(self.axes.len())?;
        self.axes.splice(0..0, vec![vec![]; missing]);
        for (axis, extent) in shape.iter().enumerate() {
            if self.axes[axis].is_empty() && !extent.is(1) {
                let a = self.atom(extent.clone(), true);
                self.axes[axis].push(a);
            } else if self.extent(&self.axes[axis]) != *extent {
                return None;
            }
        }
        Some(())
    }

    /// Repeats an axis: as a whole, or each entry of it before the next. `None` if its extent would be too long a term.
    fn repeat(&mut self, axis: usize, n: Dim, each: bool) -> Option<()> {
        if !n.is(1) {
            Dim::product(self.axes[axis].iter().map(|&a| &self.atoms[a].extent).chain([&n]))?;
            let a = self.atom(n, true);
            let at = if each { self.axes[axis].len() } else { 0 };
            self.axes[axis].insert(at, a);
        }
        Some(())
    }

    /// The number of entries of a group.
    pub fn extent(&self, group: &[usize]) -> Dim {
        group.iter().fold(Dim::int(1), |p, &a| &p * &self.atoms[a].extent)
    }

    /// True if an atom is copies of elements of the base.
    pub fn is_copies(&self, atom: usize) -> bool {
        self.atoms[atom].copies
    }

    /// A group without copies.
    pub fn without_copies(&self, group: &[usize]) -> Group {
        group.iter().copied().filter(|&a| !self.atoms[a].copies).collect()
    }

    /// The extent of one atom.
    pub fn atom_extent(&self, atom: usize) -> &Dim {
        &self.atoms[atom].extent
    }
}

/// How often a gather takes each entry of its axis, all in order: indices `0 0 1 1 2 2`.
fn repeats_of(graph: &Graph, gather: NodeId) -> Option<usize> {
    let node = graph.node(gather);
    let Op::Index(Index::Gather { axis }) = node.op else { return None };
    let entries = graph.ty(node.inputs[0]).shape[axis].as_usize()?;
    let indices = graph.constant(node.inputs[1]).filter(|c| c.shape().len() == 1)?.to_i64s()?;
    let n = indices.len().checked_div(entries).filter(|n| n * entries == indices.len() && *n > 0)?;
    indices.iter().enumerate().all(|(i, &at)| usize::try_from(at) == Ok(i / n)).then_some(n)
}

/// The value that a value is a view of, and the factor by which it differs: the step [`Layout`] follows.
pub(super) fn upstream(graph: &Graph, v: ValueId) -> Option<(ValueId, f64)> {
    let id = graph.producer(v)?;
    let node = graph.node(id);
    let x = *node.inputs.first()?;
    match node.op {
        Op::Movement(Movement::Transpose { .. } | Movement::Reshape { .. } | Movement::Expand { .. }) => Some((x, 1.0)),
        Op::Movement(Movement::Tile { repeats: IntArg::Known(_) }) => Some((x, 1.0)),
        Op::Movement(Movement::Concat { .. }) => node.inputs.iter().all(|&i| i == x).then_some((x, 1.0)),
        Op::Index(Index::Gather { .. }) => repeats_of(graph, id).map(|_| (x, 1.0)),
        Op::Binary(_) => factor(graph, v),
        _ => None,
    }
}

/// The value that a value is a multiple of by a constant number, and the number.
pub(super) fn factor(graph: &Graph, v: ValueId) -> Option<(ValueId, f64)> {
    let node = graph.node(graph.producer(v)?);
    let number = |i: usize| graph.constant(node.inputs[i])?.as_splat().map(|s| s.to_f64());
    let (x, c) = match node.op {
        Op::Binary(Binary::Mul) => match (number(0), number(1)) {
            (_, Some(c)) => (node.inputs[0], c),
            (Some(c), _) => (node.inputs[1], c),
            _ => return None,
        },
        Op::Binary(Binary::Div) => (node.inputs[0], 1.0 / number(1)?),
        _ => return None,
    };
    // A zero or infinite factor is no scale, and a constant may have broadcast.
    (c.is_normal() && graph.ty(x) == graph.ty(v)).then_some((x, c))
}

/// `v` and what it is a view of, upwards, with the factor up to there.
pub(super) fn views(graph: &Graph, v: ValueId, scaled: bool) -> Vec<(ValueId, f64)> {
    const LONGEST: usize = 24;
    let mut path = vec![(v, 1.0)];
    while let Some(&(last, total)) = path.last()
        && let Some((up, f)) = upstream(graph, last)
        && (scaled || f == 1.0)
        && path.len() < LONGEST
    {
        path.push((up, total * f));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims<const N: usize>(d: [Dim; N]) -> Vec<Dim> {
        d.to_vec()
    }

    #[test]
    fn split_heads_keep_their_order() {
        let (b, s) = (Dim::sym("b"), Dim::sym("s"));
        let mut l = Layout::new(&[b.clone(), s.clone(), 384.into()]);
        l.reshape(&dims([b, s, 12.into(), 32.into()])).unwrap();
        l.transpose(&[0, 2, 1, 3]).unwrap();
        let [batch, heads, seq, width] = l.axes.as_slice() else { panic!() };
        assert_eq!(l.base, [batch.clone(), seq.clone(), [heads.clone(), width.clone()].concat()]);
    }

    #[test]
    fn batch_and_heads_in_one_axis() {
        let (b, s) = (Dim::sym("b"), Dim::sym("s"));
        let mut l = Layout::new(&[s.clone(), b.clone(), 192.into()]);
        let fused = &b * &6.into();
        l.reshape(&dims([s.clone(), fused, 32.into()])).unwrap();
        l.transpose(&[1, 0, 2]).unwrap();
        l.reshape(&dims([b.clone(), 6.into(), s, 32.into()])).unwrap();
        assert_eq!(l.extent(&l.axes[0]), b);
        assert_eq!(l.base[2], [l.axes[1].clone(), l.axes[3].clone()].concat());
    }

    #[test]
    fn a_reshape_that_mixes_axes_is_refused() {
        let (b, s) = (Dim::sym("b"), Dim::sym("s"));
        let mut l = Layout::new(&[s.clone(), b.clone(), 192.into()]);
        assert!(l.reshape(&dims([b.clone(), s.clone(), 192.into()])).is_none());
        let mut l = Layout::new(&[4.into(), 6.into()]);
        assert!(l.reshape(&dims([3.into(), 8.into()])).is_none());
    }

    #[test]
    fn copies_are_known_as_such() {
        let s = Dim::sym("s");
        let mut l = Layout::new(&[1.into(), 2.into(), s.clone(), 8.into()]);
        l.reshape(&dims([1.into(), 2.into(), 1.into(), s.clone(), 8.into()])).unwrap();
        l.expand(&dims([1.into(), 2.into(), 3.into(), s.clone(), 8.into()])).unwrap();
        l.reshape(&dims([1.into(), 6.into(), s, 8.into()])).unwrap();
        let heads = l.axes[1].clone();
        assert_eq!((heads.len(), l.is_copies(heads[0]), l.is_copies(heads[1])), (2, false, true));
    }
}
