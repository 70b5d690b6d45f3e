use super::*;
use proptest::prelude::*;

fn types() -> impl Iterator<Item = (GgmlType, Unpacker)> {
    GgmlType::ALL.iter().filter_map(|&t| Some((t, unpacker(t)?)))
}

proptest! {
    /// Any bytes, infinite and NaN scales among them, are the same on every instruction set, NaNs but for their
    /// payload.
    #[test]
    fn instruction_sets_agree(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        for (ty, unpack) in types() {
            let blocks = bytes.len() / ty.block_bytes();
            let run = |isa| {
                let mut out = vec![0.5f32; blocks * ty.block_len()];
                unpack.run(isa, &bytes, &mut out);
                out.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect::<Vec<_>>()
            };
            let scalar = run(Isa::Scalar);
            for &isa in Isa::available() {
                prop_assert_eq!(&run(isa), &scalar, "{} on {}", ty, isa);
            }
        }
    }
}

#[test]
fn sizes_are_those_of_the_blocks() {
    for (ty, unpack) in types() {
        // One block and a byte too few for two: one is written.
        let bytes = vec![0xff; 2 * ty.block_bytes() - 1];
        let mut out = vec![0.5; 2 * ty.block_len()];
        unpack.run(Isa::Scalar, &bytes, &mut out);
        let written = out.iter().filter(|&&v| v.to_bits() != 0.5f32.to_bits()).count();
        assert_eq!(written, ty.block_len(), "{ty}");
        assert_eq!(TASK % ty.block_len(), 0, "{ty}");
    }
}

#[test]
fn blocks_are_as_large_as_files_have_them() {
    for &ty in GgmlType::ALL {
        let Some(format) = ty.blocks() else { continue };
        assert_eq!((format.len(), format.bytes()), (ty.block_len(), ty.block_bytes()), "{ty}");
        assert_eq!(format.to_string(), ty.name().to_lowercase());
    }
    assert_eq!(GgmlType::ALL.iter().filter(|t| t.blocks().is_some()).count(), BlockFormat::GGML.len());
}

#[test]
fn every_f16_is_that_of_half() {
    for h in 0..=u16::MAX {
        let (got, want) = (crate::kernels::f16_to_f32(h), half::f16::from_bits(h).to_f32());
        assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{h:04x}: {got} for {want}");
    }
}
