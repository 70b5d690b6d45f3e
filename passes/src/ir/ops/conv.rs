//! Convolutions, plain and transposed.

use super::cost::{elements, extents, product};
use super::window::{Tap, Window, overflow, signed};
use super::{Evaluated, Family, Fields, Fresh, Inferred, Padding};
use crate::ir::broadcast::checked_len;
use crate::ir::infer::{Operand, fail, may_equal};
use crate::ir::tensor::Tensor;
use crate::ir::{Dim, Type};
use std::borrow::Cow;

/// Convolutions of floats, over any number of spatial axes. Channels are in groups that do not meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Conv {
    /// `x [n, c, ..], w [m, c / groups, ..], [bias [m]]`: each result is a sum over a window of `x`.
    Plain {
        /// The window, whose kernel has the spatial extents of `w`.
        window: Window,
        /// Groups of channels.
        groups: usize,
    },
    /// `x [n, c, ..], w [c, m / groups, ..], [bias [m]]`: each entry of `x` is spread over a window of the result.
    Transposed {
        /// The window, whose kernel has the spatial extents of `w`. Padding is cut off the result.
        window: Window,
        /// Groups of channels.
        groups: usize,
        /// Entries added at the end of each spatial axis of the result.
        output_padding: Vec<usize>,
    },
}

impl Conv {
    /// The window.
    pub fn window(&self) -> &Window {
        match self {
            Conv::Plain { window, .. } | Conv::Transposed { window, .. } => window,
        }
    }

    /// Groups of channels.
    pub fn groups(&self) -> usize {
        match self {
            Conv::Plain { groups, .. } | Conv::Transposed { groups, .. } => *groups,
        }
    }
}

impl Family for Conv {
    fn blanks() -> Vec<Self> {
        let (window, groups) = (Window::new(vec![]), 1);
        vec![
            Conv::Plain { window: window.clone(), groups },
            Conv::Transposed { window, groups, output_padding: vec![] },
        ]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self {
            Conv::Plain { .. } => "conv",
            Conv::Transposed { .. } => "conv_transpose",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        let (Conv::Plain { window, groups } | Conv::Transposed { window, groups, .. }) = self;
        window.fields(fields);
        fields.optional_int("groups", groups, 1);
        let zeros = vec![0; window.kernel.len()];
        if let Conv::Transposed { output_padding, .. } = self {
            fields.ints_or("output_padding", output_padding, zeros);
        }
    }

    fn arity(&self) -> (usize, usize) {
        (2, 3)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let (image, w, bias) = (x[0].ty, x[1].ty, x.get(2).map(|o| o.ty));
        if !image.dtype.is_float() {
            fail!("not defined for {}", image.dtype);
        }
        let window = self.window();
        let spatial = window.check(image)?;
        if w.rank() != image.rank() || w.dtype != image.dtype {
            fail!("{} of {image} by {w}", self.mnemonic());
        }
        if w.shape[2..].iter().zip(&window.kernel).any(|(d, &k)| !may_equal(d, &k.into())) {
            fail!("a kernel of {:?} with the weight {w}", window.kernel);
        }
        if self.groups() == 0 {
            fail!("groups must be a number from 1");
        }
        let groups = Dim::from(self.groups());
        let (channels, wanted, made) = match self {
            Conv::Plain { .. } => (&image.shape[1], &w.shape[1] * &groups, w.shape[0].clone()),
            Conv::Transposed { .. } => (&image.shape[1], w.shape[0].clone(), &w.shape[1] * &groups),
        };
        if !may_equal(channels, &wanted) {
            fail!("{channels} channels in {groups} groups with the weight {w}");
        }
        if w.shape[0].as_int().is_some_and(|n| n.checked_rem(self.groups() as i64) != Some(0)) {
            fail!("{} channels in {groups} groups", w.shape[0]);
        }
        if let Some(b) = bias
            && (b.rank() != 1 || !may_equal(&b.shape[0], &made) || b.dtype != image.dtype)
        {
            fail!("bias {b} for {made} channels of {}", image.dtype);
        }
        let mut shape = vec![image.shape[0].clone(), made];
        shape.extend(match self {
            Conv::Plain { .. } => window.extents(spatial, false, fresh)?,
            Conv::Transposed { output_padding, .. } => transposed_extents(window, spatial, output_padding)?,
        });
        Ok(vec![Type { dtype: image.dtype, shape }])
    }

    fn flops(&self, x: &[&Type], results: &[&Type]) -> u64 {
        // A sum over a filter for each result; or each entry times a filter for each channel that it makes.
        let filtered = match self {
            Conv::Plain { .. } => results[0],
            Conv::Transposed { .. } => x[0],
        };
        product([2, elements(filtered)].into_iter().chain(extents(x[1]).into_iter().skip(1)))
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let floats =
            |t: &Tensor| t.floats().map(<[f64]>::to_vec).ok_or_else(|| format!("not defined for {}", t.dtype()));
        let (image, w) = (floats(&x[0])?, floats(&x[1])?);
        let bias = x.get(2).map(floats).transpose()?;
        let spatial = &x[0].shape()[2..];
        let known: Vec<Dim> = spatial.iter().map(|&n| n.into()).collect();
        let mut none = || Dim::int(-1);
        let made = match self {
            Conv::Plain { window, .. } => window.extents(&known, false, &mut none),
            Conv::Transposed { window, output_padding, .. } => transposed_extents(window, &known, output_padding),
        };
        let made: Vec<usize> = made.map_err(|e| e.0)?.iter().filter_map(Dim::as_usize).collect();
        let (n, c) = (x[0].shape()[0], x[0].shape()[1]);
        let [first, second, ..] = *x[1].shape() else { return Err("weights without channels".into()) };
        let (window, groups) = (self.window(), self.groups());
        let (channels, pads) = match self {
            Conv::Plain { .. } => (first, window.pads(spatial)),
            Conv::Transposed { .. } => (second * groups, window.transposed_pads()),
        };
        let shape = [&[n, channels], &made[..]].concat();
        let mut out = vec![0.0; checked_len(&shape)?];
        let (plane, result, taps) = (spatial.iter().product::<usize>(), made.iter().product::<usize>(), window.taps());
        let (from, to) = (c / groups, channels / groups);
        for (b, m) in (0..n).flat_map(|b| (0..channels).map(move |m| (b, m))) {
            let out = &mut out[(b * channels + m) * result..][..result];
            out.fill(bias.as_ref().map_or(0.0, |b| b[m]));
            for i in 0..from {
                let channel = m / to * from + i;
                let image = &image[(b * c + channel) * plane..][..plane];
                match self {
                    Conv::Plain { .. } => {
                        let w = &w[(m * from + i) * taps..][..taps];
                        for (window_at, out) in out.iter_mut().enumerate() {
                            for (tap, w) in w.iter().enumerate() {
                                if let Tap::Inside(at) = window.tap((window_at, &made), tap, spatial, &pads) {
                                    *out += image[at] * w;
                                }
                            }
                        }
                    }
                    Conv::Transposed { .. } => {
                        let w = &w[(channel * second + m % to) * taps..][..taps];
                        for (window_at, x) in image.iter().enumerate() {
                            for (tap, w) in w.iter().enumerate() {
                                if let Tap::Inside(at) = window.tap((window_at, spatial), tap, &made, &pads) {
                                    out[at] += x * w;
                                }
                            }
                        }
                    }
                }
            }
        }
        Ok(vec![Tensor::rounded(x[0].dtype(), shape, out)?])
    }
}

fn transposed_extents(window: &Window, spatial: &[Dim], output_padding: &[usize]) -> Inferred<Vec<Dim>> {
    let n = spatial.len();
    if output_padding.len() != n {
        fail!("output_padding must be {n} numbers, not {output_padding:?}");
    }
    let mut out = Vec::with_capacity(n);
    for (i, extent) in spatial.iter().enumerate() {
        let stride = signed(window.strides[i])?;
        let Padding::Explicit(pads) = &window.padding else {
            out.push(extent * &Dim::int(stride));
            continue;
        };
        let cut = pads[i].checked_add(pads[n + i]).ok_or_else(overflow)?;
        let rest = signed(window.reach(i))?
            .checked_add(signed(output_padding[i])?)
            .and_then(|v| v.checked_sub(signed(cut).ok()?)?.checked_sub(stride))
            .ok_or_else(overflow)?;
        let d = &(extent * &Dim::int(stride)) + &Dim::int(rest);
        if d.as_int().is_some_and(|d| d < 0) {
            fail!("a result of extent {d}");
        }
        out.push(d);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Op};

    fn dims(shape: &[&str]) -> Type {
        let dim = |s: &&str| s.parse().map_or_else(|_| Dim::sym(*s), |n: i64| Dim::int(n));
        Type { dtype: DType::F32, shape: shape.iter().map(dim).collect() }
    }

    fn conv(window: Window, x: &Type, w: &Type) -> Result<String, String> {
        let operands = [x, w].map(|ty| Operand { ty, ints: None });
        let op = Op::Conv(Conv::Plain { window, groups: 1 });
        let types = op.types(&operands, &mut || Dim::sym("_0")).map_err(|e| e.0)?;
        Ok(types[0].to_string())
    }

    #[test]
    fn extents_stay_symbolic_where_they_are_linear() {
        let (x, w) = (dims(&["n", "4", "h"]), dims(&["6", "4", "3"]));
        let kept = Window { padding: Padding::Explicit(vec![1, 1]), ..Window::new(vec![3]) };
        assert_eq!(conv(kept, &x, &w).as_deref(), Ok("f32[n, 6, h]"));
        let halved = Window { strides: vec![2], ..Window::new(vec![3]) };
        assert_eq!(conv(halved, &x, &w).as_deref(), Ok("f32[n, 6, _0]"));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let (x, w) = (dims(&["1", "4", "5"]), dims(&["6", "3", "3"]));
        let wrong = |kernel| conv(Window::new(kernel), &x, &w);
        assert_eq!(wrong(vec![]), Err("kernel must be 1 numbers from 1, not []".into()));
        assert_eq!(wrong(vec![0]), Err("kernel must be 1 numbers from 1, not [0]".into()));
        assert_eq!(wrong(vec![3]), Err("4 channels in 1 groups with the weight f32[6, 3, 3]".into()));
        let w = dims(&["6", "4", "9"]);
        assert_eq!(
            conv(Window::new(vec![9]), &x, &w),
            Err("a window of 9 does not fit an extent of 5 with padding of 0 and 0".into())
        );
    }
}
