//! Element types of tensors.

use bgz_passes::ir::{BlockFormat, DType};
use std::fmt;

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $label:literal, $block:literal, $bytes:literal;)*) => {
        /// The element type of a tensor, by the names of ggml: plain numbers, or blocks of a few bits a number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(non_camel_case_types, reason = "ggml's names")]
        pub enum GgmlType { $($(#[$doc])* $name,)* }

        impl GgmlType {
            /// Every type whose size is known, by the number that files have for it.
            pub const ALL: &[GgmlType] = &[$(GgmlType::$name),*];

            /// The type of this number in a file.
            pub fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(GgmlType::$name),)*
                    _ => None,
                }
            }

            /// The number that files have for it.
            pub const fn id(self) -> u32 {
                match self { $(GgmlType::$name => $id,)* }
            }

            /// ggml's name for it.
            pub const fn name(self) -> &'static str {
                match self { $(GgmlType::$name => $label,)* }
            }

            /// Elements of a block; a row is made of whole blocks.
            pub const fn block_len(self) -> usize {
                match self { $(GgmlType::$name => $block,)* }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(GgmlType::$name => $bytes,)* }
            }
        }
    };
}

// Sizes are those of ggml's structs (ggml/src/ggml-common.h in llama.cpp). The types from IQ2_XXS on that are not
// dequantised are here so that a file which has them can be opened for its other tensors.
types! {
    /// IEEE 754 single precision.
    F32 = 0, "F32", 1, 4;
    /// IEEE 754 half precision.
    F16 = 1, "F16", 1, 2;
    /// 4 bits, a scale.
    Q4_0 = 2, "Q4_0", 32, 18;
    /// 4 bits, a scale and a minimum.
    Q4_1 = 3, "Q4_1", 32, 20;
    /// 5 bits, a scale.
    Q5_0 = 6, "Q5_0", 32, 22;
    /// 5 bits, a scale and a minimum.
    Q5_1 = 7, "Q5_1", 32, 24;
    /// 8 bits, a scale.
    Q8_0 = 8, "Q8_0", 32, 34;
    /// 8 bits, a scale, and the sum of the block times the scale. 36 bytes as in ggml; the Python package `gguf` has
    /// 40, the size of an older layout.
    Q8_1 = 9, "Q8_1", 32, 36;
    /// 2 bits in groups of 16 with a scale and a minimum of 4 bits.
    Q2_K = 10, "Q2_K", 256, 84;
    /// 3 bits in groups of 16 with a scale of 6 bits.
    Q3_K = 11, "Q3_K", 256, 110;
    /// 4 bits in groups of 32 with a scale and a minimum of 6 bits.
    Q4_K = 12, "Q4_K", 256, 144;
    /// 5 bits in groups of 32 with a scale and a minimum of 6 bits.
    Q5_K = 13, "Q5_K", 256, 176;
    /// 6 bits in groups of 16 with a scale of 8 bits.
    Q6_K = 14, "Q6_K", 256, 210;
    /// 8 bits, an f32 scale, and sums of groups of 16.
    Q8_K = 15, "Q8_K", 256, 292;
    /// Not dequantised.
    IQ2_XXS = 16, "IQ2_XXS", 256, 66;
    /// Not dequantised.
    IQ2_XS = 17, "IQ2_XS", 256, 74;
    /// Not dequantised.
    IQ3_XXS = 18, "IQ3_XXS", 256, 98;
    /// Not dequantised.
    IQ1_S = 19, "IQ1_S", 256, 50;
    /// 4 bits that choose from a table, a scale.
    IQ4_NL = 20, "IQ4_NL", 32, 18;
    /// Not dequantised.
    IQ3_S = 21, "IQ3_S", 256, 110;
    /// Not dequantised.
    IQ2_S = 22, "IQ2_S", 256, 82;
    /// 4 bits that choose from a table, in groups of 32 with a scale of 6 bits.
    IQ4_XS = 23, "IQ4_XS", 256, 136;
    /// Integers of 8 bits.
    I8 = 24, "I8", 1, 1;
    /// Integers of 16 bits.
    I16 = 25, "I16", 1, 2;
    /// Integers of 32 bits.
    I32 = 26, "I32", 1, 4;
    /// Integers of 64 bits.
    I64 = 27, "I64", 1, 8;
    /// IEEE 754 double precision.
    F64 = 28, "F64", 1, 8;
    /// Not dequantised.
    IQ1_M = 29, "IQ1_M", 256, 56;
    /// The upper half of an f32.
    BF16 = 30, "BF16", 1, 2;
    /// Not dequantised.
    TQ1_0 = 34, "TQ1_0", 256, 54;
    /// Not dequantised.
    TQ2_0 = 35, "TQ2_0", 256, 66;
    /// Not dequantised.
    MXFP4 = 39, "MXFP4", 32, 17;
    /// Not dequantised.
    NVFP4 = 40, "NVFP4", 64, 36;
    /// Not dequantised.
    Q1_0 = 41, "Q1_0", 128, 18;
}

impl GgmlType {
    /// True if [`GgufTensor::to_f32`](super::GgufTensor::to_f32) knows it.
    pub fn is_dequantised(self) -> bool {
        super::dequant::unpacker(self).is_some()
    }

    /// The format of its blocks, if they are known: what a constant of a graph can be held in.
    pub const fn blocks(self) -> Option<BlockFormat> {
        Some(match self {
            GgmlType::Q4_0 => BlockFormat::Q4_0,
            GgmlType::Q4_1 => BlockFormat::Q4_1,
            GgmlType::Q5_0 => BlockFormat::Q5_0,
            GgmlType::Q5_1 => BlockFormat::Q5_1,
            GgmlType::Q8_0 => BlockFormat::Q8_0,
            GgmlType::Q8_1 => BlockFormat::Q8_1,
            GgmlType::IQ4_NL => BlockFormat::IQ4_NL,
            GgmlType::Q2_K => BlockFormat::Q2_K,
            GgmlType::Q3_K => BlockFormat::Q3_K,
            GgmlType::Q4_K => BlockFormat::Q4_K,
            GgmlType::Q5_K => BlockFormat::Q5_K,
            GgmlType::Q6_K => BlockFormat::Q6_K,
            GgmlType::Q8_K => BlockFormat::Q8_K,
            GgmlType::IQ4_XS => BlockFormat::IQ4_XS,
            _ => return None,
        })
    }

    /// The dtype of its elements in a graph, if they are plain numbers.
    pub(super) const fn dtype(self) -> Option<DType> {
        Some(match self {
            GgmlType::F32 => DType::F32,
            GgmlType::F16 => DType::F16,
            GgmlType::BF16 => DType::BF16,
            GgmlType::F64 => DType::F64,
            GgmlType::I8 => DType::I8,
            GgmlType::I16 => DType::I16,
            GgmlType::I32 => DType::I32,
            GgmlType::I64 => DType::I64,
            _ => return None,
        })
    }

    /// Bytes of that many elements; `None` if they are no whole blocks, or too many.
    pub fn bytes_of(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
