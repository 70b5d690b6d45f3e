//! Einsum, by transposes, reshapes and matrix products.

use super::error::{Res, fail};
use super::node::{Convert, Node, Outs, alias, product};
use bgz_passes::ir::{Fold, FoldKind, Movement, Op, Product, Reduce, ValueId};
use std::collections::HashMap;

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    (domain.is_empty() && op == "Einsum").then_some(einsum as Convert)
}

/// An axis: a letter, or one of those that `...` stands for, counted from the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Label {
    Rest(std::cmp::Reverse<usize>),
    Letter(char),
}

/// As in an equation.
impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Label::Letter(letter) => write!(f, "{letter}"),
            Label::Rest(_) => f.write_str("..."),
        }
    }
}

/// A value with a label for every axis.
#[derive(Clone, Debug)]
struct Term {
    value: ValueId,
    labels: Vec<Label>,
}

fn einsum(n: &mut Node) -> Res<Outs> {
    let values = n.inputs()?;
    let Some(equation) = n.attrs().string("equation")? else { fail!("attribute equation is missing") };
    let equation: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (equation.as_str(), None),
    };
    let sides: Vec<_> = left.split(',').collect();
    if sides.len() != values.len() {
        fail!("equation {equation:?} has {} operands, the node {}", sides.len(), values.len());
    }
    let mut terms = Vec::new();
    for (side, &value) in sides.iter().zip(&values) {
        let labels = labels(side, Some(n.rank(value)), 0)?;
        if (1..labels.len()).any(|i| labels[..i].contains(&labels[i])) {
            fail!("a diagonal (equation {equation:?}) is not supported");
        }
        terms.push(Term { value, labels });
    }
    let all: Vec<Label> = terms.iter().flat_map(|t| t.labels.iter().copied()).collect();
    let rest = all.iter().filter_map(|l| if let Label::Rest(i) = l { Some(i.0 + 1) } else { None }).max().unwrap_or(0);
    let out = match right {
        Some(r) => labels(r, None, rest)?,
        // The axes of `...`, then every letter that comes once, sorted.
        None => {
            let counts = counted(&all).into_iter();
            let mut once: Vec<_> =
                counts.filter(|(l, n)| matches!(l, Label::Rest(_)) || *n == 1).map(|(l, _)| l).collect();
            once.sort();
            once
        }
    };
    if let Some(l) = out.iter().enumerate().find(|(i, l)| !all.contains(l) || out[..*i].contains(l)) {
        fail!("equation {equation:?}: {} is in the result, but in no operand, or twice", l.1);
    }
    let mut terms = terms.into_iter();
    let Some(mut term) = terms.next() else { fail!("operand 0 is missing") };
    let rest: Vec<Term> = terms.collect();
    if rest.is_empty() {
        return single(n, term, &out);
    }
    // How many of the terms to come have a label, which a product in front of them must keep.
    let mut left = counted(rest.iter().flat_map(|t| &t.labels));
    let last = rest.len();
    for (i, b) in rest.into_iter().enumerate() {
        for l in &b.labels {
            left.entry(*l).and_modify(|n| *n -= 1);
        }
        let later = left.iter().filter(|(_, n)| **n > 0).map(|(l, _)| *l);
        let keep: Vec<Label> = out.iter().copied().chain(later).collect();
        term = pair(n, &format!("to_{}", i + 1), term, b, &keep, (i + 1 == last).then_some(out.as_slice()))?;
    }
    alias(term.value)
}

/// How often each label comes.
fn counted<'a>(labels: impl IntoIterator<Item = &'a Label>) -> HashMap<Label, usize> {
    let mut counts = HashMap::new();
    labels.into_iter().for_each(|l| *counts.entry(*l).or_default() += 1);
    counts
}

/// The labels of one side; `rank` says how many axes `...` has, or else `rest` does.
fn labels(side: &str, rank: Option<usize>, rest: usize) -> Res<Vec<Label>> {
    let (before, after) = match side.split_once("...") {
        Some((b, a)) => (b, Some(a)),
        None => (side, None),
    };
    let letters = before.chars().chain(after.unwrap_or("").chars());
    if let Some(c) = letters.clone().find(|c| !c.is_ascii_alphabetic()) {
        fail!("{c:?} in the equation");
    }
    let count = letters.count();
    let extra = match (rank, after) {
        (Some(r), Some(_)) if r >= count => r - count,
        (Some(r), None) if r == count => 0,
        (Some(r), _) => fail!("{side:?} in the equation for a tensor of rank {r}"),
        (None, Some(_)) => rest,
        (None, None) => 0,
    };
    let dots = (0..extra).rev().map(|i| Label::Rest(std::cmp::Reverse(i)));
    let after = after.unwrap_or("").chars().map(Label::Letter);
    Ok(before.chars().map(Label::Letter).chain(dots).chain(after).collect())
}

/// Sums over the axes whose labels `keep` does not have.
fn summed(n: &mut Node, part: &str, t: Term, keep: impl Fn(&Label) -> bool) -> Res<Term> {
    let axes: Vec<usize> = (0..t.labels.len()).filter(|&i| !keep(&t.labels[i])).collect();
    if axes.is_empty() {
        return Ok(t);
    }
    let op = Op::Reduce(Reduce::Fold(Fold { kind: FoldKind::Sum, axes, keep_dims: false }));
    let value = n.part(part, op, &[t.value])?;
    Ok(Term { value, labels: t.labels.into_iter().filter(|l| keep(l)).collect() })
}

/// Where each of `order` is in `labels`.
fn permutation(labels: &[Label], order: &[Label]) -> Res<Vec<usize>> {
    let find = |l: &Label| labels.iter().position(|m| m == l).ok_or_else(|| "an axis was lost".into());
    order.iter().map(find).collect()
}

fn ordered(n: &mut Node, part: &str, t: &Term, order: &[Label]) -> Res<ValueId> {
    if t.labels == order {
        return Ok(t.value);
    }
    n.part(part, Op::Movement(Movement::Transpose { perm: permutation(&t.labels, order)? }), &[t.value])
}

fn single(n: &mut Node, t: Term, out: &[Label]) -> Res<Outs> {
    let t = summed(n, "sum", t, |l| out.contains(l))?;
    if t.labels == out {
        return alias(t.value);
    }
    n.emit(Op::Movement(Movement::Transpose { perm: permutation(&t.labels, out)? }), &[t.value])
}

/// The product of two terms, summed over what `keep` does not have. For the
/// last pair `out` is the order of the result.
fn pair(n: &mut Node, part: &str, a: Term, b: Term, keep: &[Label], out: Option<&[Label]>) -> Res<Term> {
    let (la, lb) = (a.labels.clone(), b.labels.clone());
    let a = summed(n, &format!("{part}.a_sum"), a, |l| lb.contains(l) || keep.contains(l))?;
    let b = summed(n, &format!("{part}.b_sum"), b, |l| la.contains(l) || keep.contains(l))?;
    let pick =
        |t: &Term, f: &dyn Fn(&Label) -> bool| -> Vec<Label> { t.labels.iter().copied().filter(|l| f(l)).collect() };
    let batch = pick(&a, &|l| b.labels.contains(l) && keep.contains(l));
    let inner = pick(&a, &|l| b.labels.contains(l) && !keep.contains(l));
    let rows = pick(&a, &|l| !b.labels.contains(l));
    let columns = pick(&b, &|l| !a.labels.contains(l));

    let x = ordered(n, &format!("{part}.a_transposed"), &a, &[&batch[..], &rows, &inner].concat())?;
    let y = ordered(n, &format!("{part}.b_transposed"), &b, &[&batch[..], &inner, &columns].concat())?;
    let (sx, sy) = (n.shape(x), n.shape(y));
    let (nb, ni) = (batch.len(), inner.len());
    let mut shape = sx[..nb].to_vec();
    shape.extend([product(&sx[nb..nb + rows.len()])?, product(&sx[nb + rows.len()..])?]);
    let x = n.reshape_part(&format!("{part}.a"), x, shape)?;
    let mut shape = sy[..nb].to_vec();
    shape.extend([product(&sy[nb..nb + ni])?, product(&sy[nb + ni..])?]);
    let y = n.reshape_part(&format!("{part}.b"), y, shape)?;

    let labels = [&batch[..], &rows, &columns].concat();
    let transposes = out.is_some_and(|o| o != labels);
    let splits = rows.len() != 1 || columns.len() != 1;
    let value = if out.is_some() && !splits && !transposes {
        n.result(0, Op::Product(Product::MatMul), &[x, y])?
    } else {
        n.part(&format!("{part}.product"), Op::Product(Product::MatMul), &[x, y])?
    };
    let mut t = Term { value, labels };
    if splits {
        let mut shape = n.shape(value)[..nb].to_vec();
        shape.extend_from_slice(&sx[nb..nb + rows.len()]);
        shape.extend_from_slice(&sy[nb + ni..]);
        t.value = if out.is_some() && !transposes {
            n.result(0, Op::reshape(shape), &[value])?
        } else {
            n.part(&format!("{part}.split"), Op::reshape(shape), &[value])?
        };
    }
    if let Some(out) = out.filter(|_| transposes) {
        let perm = permutation(&t.labels, out)?;
        t = Term { value: n.result(0, Op::Movement(Movement::Transpose { perm }), &[t.value])?, labels: out.to_vec() };
    }
    Ok(t)
}
