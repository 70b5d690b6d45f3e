//! Pooling over spatial axes.

use super::window::{Tap, Window};
use super::{Evaluated, Family, Fields, Fresh, Inferred};
use crate::ir::broadcast::checked_len;
use crate::ir::infer::{Operand, fail};
use crate::ir::tensor::Tensor;
use crate::ir::{DType, Dim, Type};
use std::borrow::Cow;

/// `x [n, c, ..]`: one number of each window of each channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Which number.
    pub kind: PoolKind,
    /// The window.
    pub window: Window,
    /// True if there is one more window for what is left at the end of an axis.
    pub ceil: bool,
}

/// The number that is taken of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// The greatest entry, NaN if there is one; of floats, i8 and u8.
    Max,
    /// The mean, of floats.
    Average {
        /// True if entries of the padding count, as zeros.
        count_pads: bool,
    },
}

impl Family for Pool {
    fn blanks() -> Vec<Self> {
        let of = |kind| Pool { kind, window: Window::new(vec![]), ceil: false };
        vec![of(PoolKind::Max), of(PoolKind::Average { count_pads: false })]
    }

    fn mnemonic(&self) -> Cow<'static, str> {
        match self.kind {
            PoolKind::Max => "max_pool",
            PoolKind::Average { .. } => "average_pool",
        }
        .into()
    }

    fn fields(&mut self, fields: &mut Fields<'_>) {
        self.window.fields(fields);
        fields.optional_flag("ceil_mode", &mut self.ceil, false);
        if let PoolKind::Average { count_pads } = &mut self.kind {
            fields.optional_flag("count_include_pad", count_pads, false);
        }
    }

    fn arity(&self) -> (usize, usize) {
        (1, 1)
    }

    fn types(&self, x: &[Operand], fresh: Fresh) -> Inferred<Vec<Type>> {
        let ty = x[0].ty;
        let bytes = self.kind == PoolKind::Max && matches!(ty.dtype, DType::I8 | DType::U8);
        if !ty.dtype.is_float() && !bytes {
            fail!("not defined for {}", ty.dtype);
        }
        let spatial = self.window.check(ty)?;
        let mut shape = ty.shape[..2].to_vec();
        shape.extend(self.window.extents(spatial, self.ceil, fresh)?);
        Ok(vec![Type { dtype: ty.dtype, shape }])
    }

    fn eval(&self, x: &[Tensor]) -> Evaluated<Vec<Tensor>> {
        let x = &x[0];
        let spatial = &x.shape()[2..];
        let known: Vec<Dim> = spatial.iter().map(|&n| n.into()).collect();
        let windows = self.window.extents(&known, self.ceil, &mut || Dim::int(-1)).map_err(|e| e.0)?;
        let windows: Vec<usize> = windows.iter().filter_map(Dim::as_usize).collect();
        let shape = [&x.shape()[..2], &windows].concat();
        let mut out = Vec::with_capacity(checked_len(&shape)?);
        // A kernel has no memory of its own that would bound it.
        checked_len(&[&shape, &self.window.kernel[..]].concat())?;
        let (plane, pads) = (spatial.iter().product::<usize>(), self.window.pads(spatial));
        let data = x.to_f64s();
        for plane in data.chunks_exact(plane.max(1)) {
            for window in 0..windows.iter().product() {
                let (mut best, mut sum, mut elements, mut counted) = (f64::NEG_INFINITY, 0.0, 0usize, 0usize);
                for tap in 0..self.window.taps() {
                    match self.window.tap((window, &windows), tap, spatial, &pads) {
                        Tap::Inside(at) => {
                            let v = plane[at];
                            best = if v.is_nan() || v > best { v } else { best };
                            sum += v;
                            elements += 1;
                            counted += 1;
                        }
                        Tap::Padding => counted += 1,
                        Tap::Beyond => {}
                    }
                }
                out.push(match self.kind {
                    PoolKind::Max => best,
                    PoolKind::Average { count_pads } => sum / if count_pads { counted } else { elements } as f64,
                });
            }
        }
        Ok(vec![Tensor::rounded(x.dtype(), shape, out)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::Padding;
    use super::*;

    fn made(window: &Window, extent: i64, ceil: bool) -> Result<String, String> {
        let ty = Type::new(DType::F32, [1, 1, extent]);
        let pool = Pool { kind: PoolKind::Max, window: window.clone(), ceil };
        let types = pool.types(&[Operand { ty: &ty, ints: None }], &mut || Dim::int(-1));
        types.map(|t| t[0].to_string()).map_err(|e| e.0)
    }

    #[test]
    fn the_last_window_may_be_larger_than_the_image() {
        let window = Window { strides: vec![2], ..Window::new(vec![3]) };
        assert_eq!(made(&window, 2, true).as_deref(), Ok("f32[1, 1, 1]"));
        assert!(made(&window, 2, false).is_err() && made(&window, 1, true).is_err());
    }

    #[test]
    fn a_window_does_not_begin_in_the_padding_at_the_end() {
        let padding = Padding::Explicit(vec![0, 1]);
        let window = Window { strides: vec![3], padding, ..Window::new(vec![2]) };
        let extent = |n, ceil| made(&window, n, ceil);
        assert_eq!(extent(5, true).as_deref(), Ok("f32[1, 1, 2]"));
        assert_eq!(extent(7, false).as_deref(), Ok("f32[1, 1, 3]"));
        assert_eq!(extent(6, true).as_deref(), Ok("f32[1, 1, 2]"));
    }
}
