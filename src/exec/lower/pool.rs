//! Pooling: channels last where an image lies so, else channel by channel.

use super::super::ExecError;
use super::super::view::{Extents, View};
use super::Lowering;
use super::convolution::{channels_first, channels_last};
use crate::kernels::pool::{Kind, Pool as Kernel};
use bgz_passes::ir::{DType, Node, Pool, PoolKind};

impl Lowering<'_> {
    pub(super) fn pool(&mut self, node: &Node, op: &Pool) -> Result<(), ExecError> {
        let (image, shape) = (self.shape(node.inputs[0])?, self.shape(node.outputs[0])?);
        let geometry = self.geometry(node, &op.window, false, &image[2..], &shape[2..])?;
        let kind = match op.kind {
            PoolKind::Max => Kind::Max,
            PoolKind::Average { count_pads } => Kind::Average { count_pads },
        };
        let x = self.view(node.inputs[0])?;
        let turned = x.transposed(&channels_last(image.len()));
        let last = !x.is_contiguous() && turned.is_contiguous();
        let (x, channels) = if last { (turned, image[1]) } else { (self.contiguous(node.inputs[0])?, 1) };
        let extents: Extents =
            if last { channels_last(shape.len()).iter().map(|&a| shape[a]).collect() } else { shape.clone() };
        let pool = Kernel::new(geometry, channels, kind);
        let out: View = match x.dtype {
            DType::F32 => self.run_between(node, "pool", &x, (x.dtype, &extents), move |r, w| {
                pool.run::<f32>(r.slice(0), w.slice(0))
            }),
            DType::F64 => self.run_between(node, "pool", &x, (x.dtype, &extents), move |r, w| {
                pool.run::<f64>(r.slice(0), w.slice(0))
            }),
            DType::I8 => self
                .run_between(node, "pool", &x, (x.dtype, &extents), move |r, w| pool.run::<i8>(r.slice(0), w.slice(0))),
            DType::U8 => self
                .run_between(node, "pool", &x, (x.dtype, &extents), move |r, w| pool.run::<u8>(r.slice(0), w.slice(0))),
            other => return Err(self.fail(node, format!("not defined for {other}"))),
        }?;
        self.alias(node.outputs[0], if last { out.transposed(&channels_first(shape.len())) } else { out });
        Ok(())
    }
}
