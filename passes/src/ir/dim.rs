//! Symbolic extents: polynomials with integer coefficients over named dims.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Neg, Sub};
use std::sync::Arc;

/// The number each named dim stands for.
pub type Bindings = BTreeMap<Arc<str>, i64>;

/// A product of named dims, sorted; empty is the constant term.
type Monomial = Vec<Arc<str>>;

/// An extent, or any integer that is computed from extents: a polynomial over
/// named dims in canonical form, so that equal polynomials compare equal.
///
/// Arithmetic saturates at `i64`; a saturated extent is refused wherever a
/// number of elements is computed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Dim {
    constant: i64,
    /// The other terms. No coefficient is zero, and a number has none of them: it takes no memory of its own, for where a
    /// graph is bound all extents are numbers.
    named: Option<Arc<Terms>>,
}

/// Coefficients of products of named dims.
type Terms = BTreeMap<Monomial, i64>;

impl Dim {
    /// The dim called `name`.
    pub fn sym(name: impl Into<Arc<str>>) -> Self {
        Self { constant: 0, named: Some(Arc::new(BTreeMap::from([(vec![name.into()], 1)]))) }
    }

    /// A constant; negative ones occur in shape arithmetic only.
    pub fn int(value: i64) -> Self {
        Self { constant: value, named: None }
    }

    /// Terms with named dims.
    fn named(&self) -> impl Iterator<Item = (&Monomial, i64)> {
        self.named.iter().flat_map(|terms| terms.iter().map(|(m, &c)| (m, c)))
    }

    /// The value if no named dim is involved.
    pub fn as_int(&self) -> Option<i64> {
        self.named.is_none().then_some(self.constant)
    }

    /// The value if it is a number that can be an extent.
    pub fn as_usize(&self) -> Option<usize> {
        self.as_int().and_then(|v| usize::try_from(v).ok())
    }

    /// The one term, if there is no other: a product of named dims and its coefficient. The number 0 has none.
    fn as_term(&self) -> Option<(&[Arc<str>], i64)> {
        match &self.named {
            None => (self.constant != 0).then_some((&[], self.constant)),
            Some(named) if self.constant == 0 && named.len() == 1 => {
                named.first_key_value().map(|(m, &c)| (m.as_slice(), c))
            }
            Some(_) => None,
        }
    }

    /// The name if this is one named dim and nothing else.
    pub fn as_sym(&self) -> Option<&Arc<str>> {
        match self.as_term()? {
            ([name], 1) => Some(name),
            _ => None,
        }
    }

    /// True if this is the constant `value`.
    pub fn is(&self, value: i64) -> bool {
        self.as_int() == Some(value)
    }

    /// True if the extent is short enough to be followed through arithmetic; real
    /// extents are far shorter.
    pub(crate) fn is_simple(&self) -> bool {
        self.terms().count() <= 64 && self.named().all(|(m, _)| m.len() <= 16)
    }

    /// Every named dim in it, sorted.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        let mut all: Vec<_> = self.named().flat_map(|(m, _)| m).cloned().collect();
        all.sort();
        all.dedup();
        all
    }

    /// Replaces the bound dims by their numbers.
    pub fn bind(&self, bindings: &Bindings) -> Dim {
        let mut out = Dim::int(self.constant);
        for (m, c) in self.named() {
            let mut coefficient = c;
            let mut rest = Monomial::new();
            for s in m {
                match bindings.get(s) {
                    Some(&v) => coefficient = coefficient.saturating_mul(v),
                    None => rest.push(s.clone()),
                }
            }
            out.add_term(rest, coefficient);
        }
        out
    }

    /// Replaces named dims by polynomials.
    pub fn substitute(&self, with: &BTreeMap<Arc<str>, Dim>) -> Dim {
        let mut out = Dim::int(self.constant);
        for (m, c) in self.named() {
            let mut product = Dim::int(c);
            for s in m {
                let factor = with.get(s).cloned().unwrap_or_else(|| Dim::sym(s.clone()));
                product = &product * &factor;
            }
            out = &out + &product;
        }
        out
    }

    /// `self / by` if that is a polynomial: `by` must be a single term that
    /// divides every term of `self`, or equal `self`.
    pub fn div_exact(&self, by: &Dim) -> Option<Dim> {
        if self == by && !self.is(0) {
            return Some(Dim::int(1));
        }
        let (bm, bc) = by.as_term()?;
        let mut out = Dim::default();
        for (m, c) in self.terms() {
            if c.checked_rem(bc)? != 0 {
                return None;
            }
            let mut rest = m.to_vec();
            for s in bm {
                let at = rest.iter().position(|r| r == s)?;
                rest.remove(at);
            }
            out.add_term(rest, c.checked_div(bc)?);
        }
        Some(out)
    }

    /// The product of extents, or `None` if it is longer than what is followed through arithmetic: the product of many sums
    /// has more terms than memory can hold.
    pub fn product<'a>(parts: impl IntoIterator<Item = &'a Dim>) -> Option<Dim> {
        parts.into_iter().try_fold(Dim::int(1), |product, d| Some(&product * d).filter(Dim::is_simple))
    }

    /// The sum of many, without a copy for each.
    pub(crate) fn sum(parts: impl IntoIterator<Item = Dim>) -> Dim {
        let mut out = Dim::default();
        for d in parts {
            out.add_dim(&d);
        }
        out
    }

    fn add_dim(&mut self, other: &Dim) {
        self.constant = self.constant.saturating_add(other.constant);
        for (m, c) in other.named() {
            self.add_term(m.clone(), c);
        }
    }

    fn add_term(&mut self, monomial: Monomial, coefficient: i64) {
        if monomial.is_empty() {
            self.constant = self.constant.saturating_add(coefficient);
            return;
        }
        if coefficient == 0 {
            return;
        }
        let named = Arc::make_mut(self.named.get_or_insert_default());
        let at = named.entry(monomial.clone()).or_insert(0);
        *at = at.saturating_add(coefficient);
        if *at == 0 {
            named.remove(&monomial);
        }
        if named.is_empty() {
            self.named = None;
        }
    }

    /// Terms as (named dims, coefficient), products first, the constant last.
    pub(crate) fn terms(&self) -> impl Iterator<Item = (&[Arc<str>], i64)> {
        let constant = (self.constant != 0).then_some((&[][..], self.constant));
        self.named().map(|(m, c)| (m.as_slice(), c)).chain(constant)
    }
}

impl Add for &Dim {
    type Output = Dim;
    fn add(self, rhs: &Dim) -> Dim {
        let mut out = self.clone();
        out.add_dim(rhs);
        out
    }
}

impl Neg for &Dim {
    type Output = Dim;
    fn neg(self) -> Dim {
        let named = self.named.as_ref().map(|_| self.named().map(|(m, c)| (m.clone(), c.saturating_neg())).collect());
        Dim { constant: self.constant.saturating_neg(), named: named.map(Arc::new) }
    }
}

impl Sub for &Dim {
    type Output = Dim;
    fn sub(self, rhs: &Dim) -> Dim {
        self + &-rhs
    }
}

impl Mul for &Dim {
    type Output = Dim;
    fn mul(self, rhs: &Dim) -> Dim {
        if let (Some(a), Some(b)) = (self.as_int(), rhs.as_int()) {
            return Dim::int(a.saturating_mul(b));
        }
        let mut out = Dim::default();
        for (a, ca) in self.terms() {
            for (b, cb) in rhs.terms() {
                let mut m: Monomial = a.iter().chain(b).cloned().collect();
                m.sort();
                out.add_term(m, ca.saturating_mul(cb));
            }
        }
        out
    }
}

impl From<usize> for Dim {
    fn from(v: usize) -> Self {
        Dim::int(i64::try_from(v).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Dim {
    fn from(v: i64) -> Self {
        Dim::int(v)
    }
}

impl From<i32> for Dim {
    fn from(v: i32) -> Self {
        Dim::int(v.into())
    }
}

impl From<&str> for Dim {
    fn from(name: &str) -> Self {
        Dim::sym(name)
    }
}

impl From<&Dim> for Dim {
    fn from(d: &Dim) -> Self {
        d.clone()
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is(0) {
            return f.write_str("0");
        }
        for (i, (m, c)) in self.terms().enumerate() {
            match (i, c < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let magnitude = c.unsigned_abs();
            if m.is_empty() || magnitude != 1 {
                write!(f, "{magnitude}")?;
            }
            for (j, s) in m.iter().enumerate() {
                if j > 0 || magnitude != 1 {
                    f.write_str("*")?;
                }
                super::text::write_ident(f, s)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_canonical() {
        let (b, s) = (Dim::sym("batch"), Dim::sym("seq"));
        assert_eq!(&(&b * &s) * &Dim::int(2), &(&s * &Dim::int(2)) * &b);
        assert_eq!(&(&s + &Dim::int(3)) - &s, Dim::int(3));
        assert_eq!((&(&b * &s) * &Dim::int(12)).to_string(), "12*batch*seq");
        assert_eq!((&(&s - &Dim::int(1)) - &b).to_string(), "-batch + seq - 1");
    }

    #[test]
    fn exact_division() {
        let (b, s) = (Dim::sym("b"), Dim::sym("s"));
        let bs384 = &(&b * &s) * &Dim::int(384);
        assert_eq!(bs384.div_exact(&Dim::int(32)), Some(&(&b * &s) * &Dim::int(12)));
        assert_eq!(bs384.div_exact(&b), Some(&s * &Dim::int(384)));
        assert_eq!(bs384.div_exact(&Dim::int(5)), None);
        assert_eq!(Dim::int(4).div_exact(&Dim::int(0)), None);
        let s1 = &s + &Dim::int(1);
        assert_eq!(s1.div_exact(&s1), Some(Dim::int(1)));
    }

    #[test]
    fn a_product_of_many_sums_is_not_followed() {
        let sum = |i: usize| &Dim::sym(format!("d{i}")) + &Dim::int(1);
        let sums: Vec<Dim> = (0..64).map(sum).collect();
        assert_eq!(Dim::product(&sums[..2]), Some(&sums[0] * &sums[1]));
        assert_eq!(Dim::product(&sums), None);
        assert_eq!(Dim::product([]), Some(Dim::int(1)));
    }

    #[test]
    fn binding_leaves_the_unknown() {
        let d = &(&Dim::sym("b") * &Dim::sym("s")) + &Dim::int(1);
        let bound = d.bind(&Bindings::from([("s".into(), 7)]));
        assert_eq!(bound.to_string(), "7*b + 1");
    }
}
