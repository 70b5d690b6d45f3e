//! Ops that the graph passes through by name, and their attributes.

use super::{Cx, Fault, InnerTensor, Operands, Res, conv, pool, resize};
use bgz_passes::ir::{Attr, Attrs, Opaque};
use burn_backend::Backend;

pub(super) fn run<B: Backend>(o: &Opaque, x: Operands<B>, cx: &Cx<'_, B>) -> Res<Vec<InnerTensor<B>>> {
    if cx.outputs.len() != 1 {
        return Err(Fault::Unsupported(format!("{} with {} results", o.name, cx.outputs.len())));
    }
    let result = match o.name.as_str() {
        "conv" => conv::conv(&o.attrs, x, cx)?,
        "conv_transpose" => conv::conv_transpose(&o.attrs, x, cx)?,
        "max_pool" => pool::pool(pool::Kind::Max, &o.attrs, x, cx)?,
        "average_pool" => pool::pool(pool::Kind::Average, &o.attrs, x, cx)?,
        "resize" => resize::resize(&o.attrs, x, cx)?,
        _ => return Err(Fault::Unsupported("Burn has no such op".into())),
    };
    Ok(vec![result])
}

/// Padding with which a window that spans `span` entries gives `ceil(extent / stride)` results.
pub(super) fn same_total(extent: usize, span: usize, stride: usize) -> i64 {
    let last = (extent.div_ceil(stride).max(1) - 1).saturating_mul(stride);
    i64::try_from(last.saturating_add(span).saturating_sub(extent)).unwrap_or(i64::MAX)
}

/// Entries from the first to the last that a kernel touches.
pub(super) fn span(kernel: usize, dilation: usize) -> usize {
    (kernel.max(1) - 1).saturating_mul(dilation).saturating_add(1)
}

/// The attributes of an op, of which every one is understood.
pub(super) struct Reader<'a>(&'a Attrs);

fn bad(name: &str, reason: impl Into<String>) -> Fault {
    Fault::Attribute { name: name.into(), reason: reason.into() }
}

impl<'a> Reader<'a> {
    /// Refuses attributes that are not among `understood`.
    pub fn new(attrs: &'a Attrs, understood: &[&str]) -> Res<Self> {
        match attrs.keys().find(|k| !understood.contains(&k.as_str())) {
            Some(k) => Err(bad(k, "is not understood")),
            None => Ok(Self(attrs)),
        }
    }

    /// Integers; one integer is a list of one.
    pub fn ints(&self, name: &str) -> Res<Option<Vec<i64>>> {
        let dims = match self.0.get(name) {
            None => return Ok(None),
            Some(Attr::Dims(v)) => v.as_slice(),
            Some(Attr::Dim(d)) => std::slice::from_ref(d),
            Some(_) => return Err(bad(name, "must be integers")),
        };
        let int = |d: &bgz_passes::ir::Dim| d.as_int().ok_or_else(|| bad(name, format!("{d} is not bound")));
        dims.iter().map(int).collect::<Res<Vec<_>>>().map(Some)
    }

    /// `N` integers that are at least `least`; `default` where the attribute is left out.
    pub fn sizes<const N: usize>(&self, name: &str, least: i64, default: usize) -> Res<[usize; N]> {
        let Some(values) = self.ints(name)? else { return Ok([default; N]) };
        let sizes: Vec<usize> =
            values.iter().filter(|&&v| v >= least).filter_map(|&v| usize::try_from(v).ok()).collect();
        <[usize; N]>::try_from(sizes)
            .map_err(|_| bad(name, format!("must be {N} integers of at least {least}, not {values:?}")))
    }

    /// One integer that is at least 1.
    pub fn size(&self, name: &str, default: usize) -> Res<usize> {
        self.sizes::<1>(name, 1, default).map(|[v]| v)
    }

    /// Entries added before and after each of `N` axes. Where it is for the op to choose them, there are `total`
    /// on both sides of an axis together.
    pub fn pads<const N: usize>(&self, total: impl Fn(usize) -> i64) -> Res<[(i64, i64); N]> {
        let upper = match self.text("auto_pad")? {
            None => {
                let Some(values) = self.ints("pads")? else { return Ok([(0, 0); N]) };
                if values.len() != 2 * N {
                    return Err(bad("pads", format!("must be {} integers, not {values:?}", 2 * N)));
                }
                return Ok(std::array::from_fn(|i| (values[i], values[N + i])));
            }
            Some("same_upper") => true,
            Some("same_lower") => false,
            Some(other) => return Err(bad("auto_pad", format!("{other} is not understood"))),
        };
        // The odd one is at the end, or at the beginning.
        Ok(std::array::from_fn(|i| {
            let (small, large) = (total(i) / 2, total(i) - total(i) / 2);
            if upper { (small, large) } else { (large, small) }
        }))
    }

    /// A flag; false where it is left out.
    pub fn flag(&self, name: &str) -> Res<bool> {
        match self.0.get(name) {
            None => Ok(false),
            Some(Attr::Bool(b)) => Ok(*b),
            Some(Attr::Dim(d)) if d.is(0) || d.is(1) => Ok(d.is(1)),
            Some(_) => Err(bad(name, "must be true or false")),
        }
    }

    /// Text.
    pub fn text(&self, name: &str) -> Res<Option<&'a str>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Attr::Str(s)) => Ok(Some(s)),
            Some(_) => Err(bad(name, "must be text")),
        }
    }

    /// A number.
    pub fn float(&self, name: &str) -> Res<Option<f64>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Attr::Float(f)) => Ok(Some(f.0.into())),
            Some(_) => Err(bad(name, "must be a number")),
        }
    }

    /// Numbers; one number is a list of one.
    pub fn floats(&self, name: &str) -> Res<Option<Vec<f64>>> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Attr::Floats(v)) => Ok(Some(v.iter().map(|f| f.0.into()).collect())),
            Some(Attr::Float(f)) => Ok(Some(vec![f.0.into()])),
            Some(Attr::Dims(v)) if v.is_empty() => Ok(Some(Vec::new())),
            Some(_) => Err(bad(name, "must be numbers")),
        }
    }
}
