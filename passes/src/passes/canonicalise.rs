//! One way to write things, so that the recognisers behind it need to know one
//! form only: what does nothing goes, what undoes something goes with it,
//! constants stand on the right, and cuts sit as near to the source as they can.
//!
//! Every rule is exact to the bit (NaN payloads aside); what is only almost
//! exact, such as `x + 0.0` (it turns -0.0 into 0.0), stays. A reduction is of
//! the same numbers as before; in which order they are taken is its kernel's.

mod arithmetic;
mod indexing;
mod movement;

use crate::ir::{Dim, Graph, IntArg, ValueId};
use crate::rewrite::{Pass, Patch, Rule, Rules, Skip};

const NAME: &str = "canonicalise";

/// The pass, in front of the recognisers.
pub fn pass() -> Box<dyn Pass> {
    Box::new(Rules::new(NAME, rules()))
}

/// The pass again, behind the recognisers: with the rules that would hide a
/// head split from them.
pub fn clean_up() -> Box<dyn Pass> {
    let mut rules = rules();
    rules.extend(movement::late_rules());
    Box::new(Rules::new(NAME, rules))
}

fn rules() -> Vec<Box<dyn Rule>> {
    let mut rules = arithmetic::rules();
    rules.extend(movement::rules());
    rules.extend(indexing::rules());
    rules
}

/// Lets `new` take the place of `old`, if they have one type.
fn same(g: &Graph, old: ValueId, new: ValueId) -> Result<Patch, Skip> {
    if g.ty(old) != g.ty(new) {
        return Err(Skip::NoEffect);
    }
    let mut patch = Patch::new();
    patch.replace(old, new);
    Ok(patch)
}

/// The extents, if an attribute may hold them: an invented dim is bound by the
/// value it was invented for, which a rewrite may remove.
fn lasting(shape: &[Dim]) -> Result<Vec<Dim>, Skip> {
    if shape.iter().any(crate::ir::is_fresh) { Err(Skip::NoEffect) } else { Ok(shape.to_vec()) }
}

/// The integers of an argument that is not an operand.
fn known(arg: &IntArg) -> Result<&[Dim], Skip> {
    match arg {
        IntArg::Known(v) => Ok(v),
        IntArg::Operand => Err(Skip::NoEffect),
    }
}
