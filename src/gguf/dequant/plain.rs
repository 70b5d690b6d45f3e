//! Numbers without blocks.

use super::Number;
use crate::kernels::f16_to_f32;

macro_rules! plain {
    ($($name:ident, $bytes:literal, $from:expr;)*) => {$(
        pub struct $name;

        impl Number<$bytes> for $name {
            #[inline(always)]
            fn read(bytes: [u8; $bytes]) -> f32 {
                $from(bytes)
            }
        }
    )*};
}

plain! {
    F32, 4, f32::from_le_bytes;
    F16, 2, |b| f16_to_f32(u16::from_le_bytes(b));
    Bf16, 2, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16);
    F64, 8, |b| f64::from_le_bytes(b) as f32;
    I8, 1, |b| f32::from(i8::from_le_bytes(b));
    I16, 2, |b| f32::from(i16::from_le_bytes(b));
    I32, 4, |b| i32::from_le_bytes(b) as f32;
    I64, 8, |b| i64::from_le_bytes(b) as f32;
}
