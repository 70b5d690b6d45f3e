//! Weights made ready once and shared by all plans: packed for the matrix
//! product, or aligned for the kernels that read them as they are.

use super::ExecError;
use crate::tensor::Tensor;
use bgz_kernels::Isa;
use bgz_kernels::linear::{self, Float, LinearError, Weights};
use bgz_passes::ir::{Constant, DType, Precision, Unavailable};
use bgz_passes::memory::obtainable;
use bytes::Bytes;
use rten_gemm::{GemmExecutor, PackedBMatrix};
use rten_tensor::NdTensorView;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Packed weights of a product.
pub(crate) enum PackedMatrix {
    /// For the kernel that is written for this CPU's vectors; in bf16 where the graph allows it, or in the blocks they came in.
    Kernel(linear::Packed),
    /// In i8, where the graph allows it.
    Int8(linear::PackedInt8),
    /// For the library's product, where there is none.
    Library(PackedBMatrix<f32>),
}

impl PackedMatrix {
    pub fn kernel(&self) -> Option<&linear::Packed> {
        if let Self::Kernel(packed) = self { Some(packed) } else { None }
    }

    /// True if one kernel takes both as weights of the same rows.
    pub fn goes_with(&self, other: &Self) -> bool {
        let numbers = |packed: &Self| packed.kernel().map(linear::Packed::float);
        std::mem::discriminant(self) == std::mem::discriminant(other) && numbers(self) == numbers(other)
    }

    pub fn int8(&self) -> Option<&linear::PackedInt8> {
        if let Self::Int8(packed) = self { Some(packed) } else { None }
    }

    pub fn library(&self) -> Option<&PackedBMatrix<f32>> {
        if let Self::Library(packed) = self { Some(packed) } else { None }
    }
}

/// Packed in i8, unless there are too many for that.
fn int8(weights: Weights<'_>) -> Result<Option<linear::PackedInt8>, LinearError> {
    match linear::PackedInt8::new(weights) {
        Ok(packed) => Ok(Some(packed)),
        Err(e @ LinearError::Memory { .. }) => Err(e),
        Err(_) => Ok(None),
    }
}

/// How a weight is a matrix.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Arrangement {
    /// `[depth, width]`.
    Plain,
    /// `[width, depth]`.
    Transposed,
    /// `[width, channels, ..]` of a convolution, its depth being positions by channels.
    Windows,
    /// `[depth, channels, ..]` of a transposed convolution, its width being positions by channels.
    Spread,
}

/// [`Constant::identity`], and what it is packed for.
type Key = ((usize, usize), Arrangement, Precision);

/// Packed weights; the constant is kept so that its identity stays its own.
struct Entry {
    _constant: Constant,
    packed: Arc<PackedMatrix>,
}

/// The identity of a constant's bytes and the dtype they are read as: another dtype has other elements in the same bytes.
type Elements = ((usize, usize), DType);

/// Prepared weights by the bytes they came from.
#[derive(Default)]
pub struct PackedWeights {
    entries: Mutex<HashMap<Key, Entry>>,
    aligned: Mutex<HashMap<Elements, (Constant, Bytes)>>,
}

/// Bytes of a constant, as a plan reads them.
pub(crate) type ConstantBytes = Bytes;

impl PackedWeights {
    /// `weight`, f32 and of at least two axes, packed for the node that makes `node`.
    pub(crate) fn get(
        &self,
        node: &str,
        weight: &Constant,
        arrangement: Arrangement,
        precision: Precision,
    ) -> Result<Arc<PackedMatrix>, ExecError> {
        let unfit = || ExecError::Internal(format!("{} cannot be packed", weight.ty()));
        let failed = |e: LinearError| match e {
            LinearError::Memory { bytes } => {
                ExecError::Memory { what: format!("packed weights {} of %{node}", weight.ty()), bytes }
            }
            _ => unfit(),
        };
        let ([rows, rest @ ..], DType::F32) = (weight.shape(), weight.dtype()) else {
            return Err(unfit());
        };
        let key = (weight.identity(), arrangement, precision);
        if let Some(e) = self.lock().get(&key) {
            return Ok(e.packed.clone());
        }
        let absent = |reason| ExecError::AbsentConstant { name: format!("{} of %{node}", weight.ty()), reason };
        if let Some(blocks) = weight.blocks()
            && arrangement == Arrangement::Transposed
            && weight.shape() == [blocks.rows(), blocks.row_len()]
        {
            // Fewer bits than any precision would take, and exact: nothing is packed, so the bytes stay where they are.
            let rows = blocks.read().map_err(absent)?;
            let packed = Arc::new(PackedMatrix::Kernel(linear::Packed::of_blocks(rows).map_err(failed)?));
            self.lock().insert(key, Entry { _constant: weight.clone(), packed: packed.clone() });
            return Ok(packed);
        }
        let bytes = weight.bytes().map_err(absent)?;
        let (rows, cols) = (*rows, rest.iter().product());
        let transposed = matches!(arrangement, Arrangement::Transposed | Arrangement::Windows);
        let (depth, width) = if transposed { (cols, rows) } else { (rows, cols) };
        let mut weights = Weights::from_bytes(&bytes, depth, width).transposed(transposed);
        if let Arrangement::Windows | Arrangement::Spread = arrangement {
            weights = weights.channels_last(*rest.first().ok_or_else(unfit)?);
        }
        let packed = if Isa::current() == Isa::Scalar {
            let values = weights.values().map_err(failed)?;
            // The library cannot fail.
            if !obtainable(bytes.len()) {
                return Err(failed(LinearError::Memory { bytes: bytes.len() }));
            }
            let view = NdTensorView::from_data([depth, width], &*values);
            PackedMatrix::Library(GemmExecutor::<f32>::new().prepack_b(view))
        } else if precision == Precision::Int8
            && let Some(packed) = int8(weights).map_err(failed)?
        {
            PackedMatrix::Int8(packed)
        } else {
            let float = if precision == Precision::Bf16 { Float::Bf16 } else { Float::F32 };
            PackedMatrix::Kernel(linear::Packed::new(weights, float).map_err(failed)?)
        };
        let packed = Arc::new(packed);
        // Kernels read what was packed.
        drop(bytes);
        weight.release();
        self.lock().insert(key, Entry { _constant: weight.clone(), packed: packed.clone() });
        Ok(packed)
    }

    /// The elements of a constant, copied once if they share bytes or do not lie at a multiple of their size.
    pub(crate) fn aligned(&self, constant: &Constant) -> Result<ConstantBytes, Unavailable> {
        let key = (constant.identity(), constant.dtype());
        let mut aligned = self.aligned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, b)) = aligned.get(&key) {
            return Ok(b.clone());
        }
        let bytes = constant.elements()?;
        // Elements that were made are kept, for they would be made again.
        if constant.dtype().is_packed() || constant.blocks().is_some() {
            aligned.insert(key, (constant.clone(), bytes.clone()));
            return Ok(bytes);
        }
        if (bytes.as_ptr() as usize).is_multiple_of(constant.dtype().size()) {
            return Ok(bytes);
        }
        let Ok(copy) = Tensor::from_bytes(constant.dtype(), constant.shape(), &bytes).map(Bytes::from_owner) else {
            return Err(Unavailable::Unreadable("there is no memory for an aligned copy".into()));
        };
        aligned.insert(key, (constant.clone(), copy.clone()));
        Ok(copy)
    }

    /// Forgets what no plan uses any more.
    pub(crate) fn prune(&self) {
        self.lock().retain(|_, e| Arc::strong_count(&e.packed) > 1);
        self.aligned.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, b)| !b.is_unique());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Entry>> {
        // An entry is inserted whole, so a panic elsewhere leaves the map sound.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
