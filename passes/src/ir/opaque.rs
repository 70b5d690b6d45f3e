//! Types of the results of opaque ops whose names are known: convolution,
//! pooling and resizing. Along a spatial axis an extent stays symbolic where it
//! is linear in the operand's, is exact where that is a number, and is a new
//! dim otherwise.

use super::{Attr, DType, Dim, InferError, Opaque, Operand, Type};

type Res<T> = Result<T, InferError>;

macro_rules! fail {
    ($($arg:tt)*) => { return Err(InferError(format!($($arg)*))) };
}

/// Types of the results of `op`, or `None` if its name is not one that is known here.
///
/// | name | operands | attributes |
/// | --- | --- | --- |
/// | `conv` | `x [n, c, ..], w [m, c / group, ..], [bias [m]]` | `kernel, strides, dilations, pads` or `auto_pad, group` |
/// | `conv_transpose` | `x [n, c, ..], w [c, m / group, ..], [bias [m]]` | the same and `output_padding` |
/// | `max_pool`, `average_pool` | `x [n, c, ..]` | `kernel, strides, dilations, pads` or `auto_pad, ceil_mode` |
/// | `resize` | `x` | `sizes` or `scales`, one entry an axis |
///
/// They are of floats; `max_pool` is of bytes, too, and `resize` of anything.
pub(super) fn types(op: &Opaque, operands: &[Operand], fresh: &mut dyn FnMut() -> Dim) -> Res<Option<Vec<Type>>> {
    let arity = match op.name.as_str() {
        "conv" | "conv_transpose" => 2..=3,
        "max_pool" | "average_pool" | "resize" => 1..=1,
        _ => return Ok(None),
    };
    if !arity.contains(&operands.len()) {
        fail!("takes {} to {} operands, not {}", arity.start(), arity.end(), operands.len());
    }
    let x = operands[0].ty;
    let defined = match op.name.as_str() {
        "resize" => true,
        "max_pool" => x.dtype.is_float() || matches!(x.dtype, DType::I8 | DType::U8),
        _ => x.dtype.is_float(),
    };
    if !defined {
        fail!("not defined for {}", x.dtype);
    }
    let shape = match op.name.as_str() {
        "conv" => conv(op, operands, fresh)?,
        "conv_transpose" => conv_transpose(op, operands)?,
        "resize" => resize(op, x, fresh)?,
        _ => {
            let spatial = spatial(x)?;
            let ceil = flag(op, "ceil_mode")?;
            let mut shape = x.shape[..2].to_vec();
            shape.extend(Window::of(op, spatial.len())?.extents(spatial, ceil, fresh)?);
            shape
        }
    };
    Ok(Some(vec![Type { dtype: x.dtype, shape }]))
}

/// The numbers of an attribute, one for each of `count`.
fn ints(op: &Opaque, name: &str, count: usize, least: i64) -> Res<Option<Vec<i64>>> {
    let Some(attr) = op.attrs.get(name) else { return Ok(None) };
    let all: Option<Vec<i64>> = match attr {
        Attr::Dims(v) => v.iter().map(Dim::as_int).collect(),
        _ => None,
    };
    match all {
        Some(v) if v.len() == count && v.iter().all(|&i| i >= least) => Ok(Some(v)),
        _ => fail!("{name} must be {count} numbers from {least}"),
    }
}

fn flag(op: &Opaque, name: &str) -> Res<bool> {
    match op.attrs.get(name) {
        None => Ok(false),
        Some(Attr::Bool(b)) => Ok(*b),
        Some(_) => fail!("{name} must be true or false"),
    }
}

fn spatial(x: &Type) -> Res<&[Dim]> {
    if x.rank() < 3 {
        fail!("{x} has no spatial axes");
    }
    Ok(&x.shape[2..])
}

/// A window that moves over the spatial axes.
struct Window {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    dilations: Vec<i64>,
    /// Beginnings, then ends; `None` if chosen so that there are `ceil(extent / stride)` results.
    pads: Option<Vec<i64>>,
}

fn overflow() -> InferError {
    InferError("an extent is beyond what can be held".into())
}

impl Window {
    fn of(op: &Opaque, count: usize) -> Res<Window> {
        let Some(kernel) = ints(op, "kernel", count, 1)? else { fail!("kernel is missing") };
        let ones = || vec![1; count];
        let pads = match op.attrs.get("auto_pad") {
            None => Some(ints(op, "pads", 2 * count, 0)?.unwrap_or_else(|| vec![0; 2 * count])),
            Some(Attr::Str(s)) if s == "same_upper" || s == "same_lower" => None,
            Some(_) => fail!("auto_pad must be same_upper or same_lower"),
        };
        Ok(Window {
            kernel,
            strides: ints(op, "strides", count, 1)?.unwrap_or_else(ones),
            dilations: ints(op, "dilations", count, 1)?.unwrap_or_else(ones),
            pads,
        })
    }

    /// Entries from the first to the last that the kernel touches along axis `i`.
    fn reach(&self, i: usize) -> Res<i64> {
        (self.kernel[i] - 1).checked_mul(self.dilations[i]).and_then(|v| v.checked_add(1)).ok_or_else(overflow)
    }

    fn padding(&self, i: usize) -> Res<(i64, i64)> {
        let Some(p) = &self.pads else { return Ok((0, 0)) };
        let (begin, end) = (p[i], p[self.kernel.len() + i]);
        begin.checked_add(end).ok_or_else(overflow)?;
        Ok((begin, end))
    }

    /// How often the window fits.
    fn extents(&self, spatial: &[Dim], ceil: bool, fresh: &mut dyn FnMut() -> Dim) -> Res<Vec<Dim>> {
        let mut out = Vec::with_capacity(spatial.len());
        for (i, extent) in spatial.iter().enumerate() {
            let stride = self.strides[i];
            if self.pads.is_none() {
                out.push(match extent.as_int() {
                    Some(x) => Dim::int(x.checked_add(stride - 1).ok_or_else(overflow)?.div_euclid(stride)),
                    None if stride == 1 => extent.clone(),
                    None => extent.div_exact(&Dim::int(stride)).unwrap_or_else(&mut *fresh),
                });
                continue;
            }
            let ((begin, end), reach) = (self.padding(i)?, self.reach(i)?);
            out.push(match extent.as_int() {
                Some(x) => {
                    let padded = x.checked_add(begin + end).ok_or_else(overflow)?;
                    let Some(room) = padded.checked_sub(reach).filter(|&r| r >= 0) else {
                        fail!("a window of {reach} does not fit an extent of {x} with padding of {begin} and {end}");
                    };
                    let mut n = room / stride + 1;
                    // One more for the rest, but a window must not begin in the padding at the end.
                    if ceil && room % stride != 0 && n.checked_mul(stride).is_some_and(|at| at < x + begin) {
                        n += 1;
                    }
                    Dim::int(n)
                }
                None => {
                    let room = extent + &Dim::int(begin + end - reach);
                    match room.div_exact(&Dim::int(stride)) {
                        Some(n) => &n + &Dim::int(1),
                        None => fresh(),
                    }
                }
            });
        }
        Ok(out)
    }
}

/// The weight and, of it, the spatial extents that must be the kernel's.
fn weight<'a>(op: &Opaque, operands: &'a [Operand], window: &Window) -> Res<(&'a Type, Dim)> {
    let (x, w) = (operands[0].ty, operands[1].ty);
    if w.rank() != x.rank() || w.dtype != x.dtype || !x.dtype.is_float() {
        fail!("{} of {x} by {w}", op.name);
    }
    for (d, &k) in w.shape[2..].iter().zip(&window.kernel) {
        if d.as_int().is_some_and(|d| d != k) {
            fail!("a kernel of {:?} with the weight {w}", window.kernel);
        }
    }
    let group = match op.attrs.get("group") {
        None => Dim::int(1),
        Some(Attr::Dim(d)) if d.as_int().is_some_and(|g| g > 0) => d.clone(),
        Some(_) => fail!("group must be a number from 1"),
    };
    Ok((w, group))
}

fn check_bias(operands: &[Operand], channels: &Dim) -> Res<()> {
    match operands.get(2) {
        Some(b) if b.ty.rank() != 1 || !super::infer::may_equal(&b.ty.shape[0], channels) => {
            fail!("bias {} for {channels} channels", b.ty)
        }
        _ => Ok(()),
    }
}

fn conv(op: &Opaque, operands: &[Operand], fresh: &mut dyn FnMut() -> Dim) -> Res<Vec<Dim>> {
    let x = operands[0].ty;
    let spatial = spatial(x)?;
    let window = Window::of(op, spatial.len())?;
    let (w, group) = weight(op, operands, &window)?;
    if !super::infer::may_equal(&x.shape[1], &(&w.shape[1] * &group)) {
        fail!("{} channels in {group} groups with the weight {w}", x.shape[1]);
    }
    check_bias(operands, &w.shape[0])?;
    let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
    shape.extend(window.extents(spatial, false, fresh)?);
    Ok(shape)
}

fn conv_transpose(op: &Opaque, operands: &[Operand]) -> Res<Vec<Dim>> {
    let x = operands[0].ty;
    let spatial = spatial(x)?;
    let count = spatial.len();
    let window = Window::of(op, count)?;
    let (w, group) = weight(op, operands, &window)?;
    if !super::infer::may_equal(&x.shape[1], &w.shape[0]) {
        fail!("{} channels with the weight {w}", x.shape[1]);
    }
    let channels = &w.shape[1] * &group;
    check_bias(operands, &channels)?;
    let extra = ints(op, "output_padding", count, 0)?.unwrap_or_else(|| vec![0; count]);
    let mut shape = vec![x.shape[0].clone(), channels];
    for (i, extent) in spatial.iter().enumerate() {
        let stride = Dim::int(window.strides[i]);
        if window.pads.is_none() {
            shape.push(extent * &stride);
            continue;
        }
        let (begin, end) = window.padding(i)?;
        let rest = window.reach(i)?.checked_add(extra[i]).and_then(|v| v.checked_sub(begin + end));
        let rest = rest.and_then(|v| v.checked_sub(window.strides[i])).ok_or_else(overflow)?;
        let d = &(extent * &stride) + &Dim::int(rest);
        if d.as_int().is_some_and(|d| d < 0) {
            fail!("a result of extent {d}");
        }
        shape.push(d);
    }
    Ok(shape)
}

fn resize(op: &Opaque, x: &Type, fresh: &mut dyn FnMut() -> Dim) -> Res<Vec<Dim>> {
    match (op.attrs.get("sizes"), op.attrs.get("scales")) {
        (Some(Attr::Dims(s)), None) if s.len() == x.rank() => {
            match s.iter().find(|d| d.as_int().is_some_and(|d| d < 0)) {
                Some(d) => fail!("a size of {d}"),
                None => Ok(s.clone()),
            }
        }
        (None, Some(Attr::Floats(s))) if s.len() == x.rank() => {
            x.shape.iter().zip(s).map(|(d, s)| scaled(d, s.0, fresh)).collect()
        }
        _ => fail!("one of sizes and scales must have an entry for each of {} axes", x.rank()),
    }
}

/// `floor(extent * scale)`.
fn scaled(extent: &Dim, scale: f32, fresh: &mut dyn FnMut() -> Dim) -> Res<Dim> {
    if !(scale.is_finite() && scale > 0.0) {
        fail!("a scale of {scale}");
    }
    Ok(match extent.as_int() {
        // In f32, as ONNX Runtime computes it.
        Some(x) => Dim::int((x as f32 * scale).floor() as i64),
        None if scale.fract() == 0.0 && scale < i32::MAX as f32 => extent * &Dim::int(scale as i64),
        None => fresh(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{DType, Float};
    use super::*;

    fn dims(v: &[i64]) -> Attr {
        Attr::Dims(v.iter().map(|&i| Dim::int(i)).collect())
    }

    fn run(name: &str, attrs: &[(&str, Attr)], operands: &[Type]) -> Res<String> {
        let op = Opaque { name: name.into(), attrs: attrs.iter().map(|(n, a)| ((*n).into(), a.clone())).collect() };
        let operands: Vec<_> = operands.iter().map(|ty| Operand { ty, ints: None }).collect();
        let found = types(&op, &operands, &mut || Dim::sym("_0"))?;
        Ok(found.map_or("unknown".into(), |t| t[0].to_string()))
    }

    fn f32s<D: Into<Dim>>(shape: impl IntoIterator<Item = D>) -> Type {
        Type::new(DType::F32, shape)
    }

    #[test]
    fn extents_stay_symbolic_where_they_are_linear() {
        let (x, w) = (Type { dtype: DType::F32, shape: vec!["n".into(), 4.into(), "h".into()] }, f32s([6, 4, 3]));
        let conv = |attrs: &[(&str, Attr)]| run("conv", attrs, &[x.clone(), w.clone()]);
        assert_eq!(conv(&[("kernel", dims(&[3])), ("pads", dims(&[1, 1]))]).as_deref(), Ok("f32[n, 6, h]"));
        assert_eq!(conv(&[("kernel", dims(&[3])), ("strides", dims(&[2]))]).as_deref(), Ok("f32[n, 6, _0]"));
        let scales = Attr::Floats(vec![Float(1.0), Float(1.0), Float(2.0)]);
        assert_eq!(run("resize", &[("scales", scales)], &[x]).as_deref(), Ok("f32[n, 4, 2*h]"));
    }

    #[test]
    fn a_window_does_not_begin_in_the_padding_at_the_end() {
        let pool = |extent: i64, ceil: bool| {
            let attrs = [
                ("kernel", dims(&[2])),
                ("strides", dims(&[3])),
                ("pads", dims(&[0, 1])),
                ("ceil_mode", Attr::Bool(ceil)),
            ];
            run("max_pool", &attrs, &[f32s([1, 1, extent])])
        };
        assert_eq!(pool(5, true).as_deref(), Ok("f32[1, 1, 2]"));
        assert_eq!(pool(7, false).as_deref(), Ok("f32[1, 1, 3]"));
        assert_eq!(pool(6, true).as_deref(), Ok("f32[1, 1, 2]"));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let (x, w) = (f32s([1, 4, 5]), f32s([6, 3, 3]));
        let conv = |attrs: &[(&str, Attr)]| run("conv", attrs, &[x.clone(), w.clone()]).map_err(|e| e.0);
        assert_eq!(conv(&[]), Err("kernel is missing".into()));
        assert_eq!(conv(&[("kernel", dims(&[0]))]), Err("kernel must be 1 numbers from 1".into()));
        assert_eq!(conv(&[("kernel", dims(&[3]))]), Err("4 channels in 1 groups with the weight f32[6, 3, 3]".into()));
        assert_eq!(
            run("max_pool", &[("kernel", dims(&[9]))], &[x]).map_err(|e| e.0),
            Err("a window of 9 does not fit an extent of 5 with padding of 0 and 0".into())
        );
        assert_eq!(run("other", &[], &[]).as_deref(), Ok("unknown"));
    }
}
