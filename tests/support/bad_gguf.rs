//! GGUF files with one thing wrong each. The fuzzer starts from these too: `tests/fuzz/corpus/gguf/` has them.

use super::support::{Bytes, file};

/// Element types by number.
const F32: u32 = 0;
const Q4_0: u32 = 2;
const Q4_K: u32 = 12;

/// Value types by number.
const U8: u32 = 0;
const U32: u32 = 4;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The function that makes a file.
pub type Made = fn() -> Vec<u8>;

/// Every file, by name.
pub const ALL: &[(&str, Made)] = &[
    ("empty", empty),
    ("short_magic", short_magic),
    ("wrong_magic", wrong_magic),
    ("version_1", version_1),
    ("version_99", version_99),
    ("big_endian", big_endian),
    ("short_header", short_header),
    ("many_tensors", many_tensors),
    ("many_entries", many_entries),
    ("long_key", long_key),
    ("long_string", long_string),
    ("huge_string", huge_string),
    ("long_name", long_name),
    ("key_not_utf8", key_not_utf8),
    ("name_not_utf8", name_not_utf8),
    ("unknown_value", unknown_value),
    ("unknown_item", unknown_item),
    ("bad_bool", bad_bool),
    ("bad_bool_in_array", bad_bool_in_array),
    ("long_array", long_array),
    ("huge_array", huge_array),
    ("short_strings", short_strings),
    ("deep_arrays", deep_arrays),
    ("short_value", short_value),
    ("alignment_0", alignment_0),
    ("alignment_24", alignment_24),
    ("alignment_text", alignment_text),
    ("same_key", same_key),
    ("same_name", same_name),
    ("rank_5", rank_5),
    ("dims_overflow", dims_overflow),
    ("dims_overflow_around_0", dims_overflow_around_0),
    ("bytes_overflow", bytes_overflow),
    ("unknown_type", unknown_type),
    ("removed_type", removed_type),
    ("part_of_block", part_of_block),
    ("part_of_large_block", part_of_large_block),
    ("misaligned", misaligned),
    ("offset_beyond", offset_beyond),
    ("offset_overflow", offset_overflow),
    ("truncated_data", truncated_data),
    ("no_data", no_data),
    ("short_record", short_record),
];

pub fn empty() -> Vec<u8> {
    vec![]
}

pub fn short_magic() -> Vec<u8> {
    b"GGU".to_vec()
}

pub fn wrong_magic() -> Vec<u8> {
    b"GGML\x03\0\0\0".to_vec()
}

pub fn version_1() -> Vec<u8> {
    // It had counts of 32 bits.
    Bytes::default().raw(b"GGUF").u32(1).u32(0).u32(0).0
}

pub fn version_99() -> Vec<u8> {
    Bytes::header(99, 0, 0).0
}

pub fn big_endian() -> Vec<u8> {
    let counts = [0u64, 1].map(u64::to_be_bytes).concat();
    Bytes::default().raw(b"GGUF").raw(&3u32.to_be_bytes()).raw(&counts).0
}

pub fn short_header() -> Vec<u8> {
    Bytes::header(3, 0, 0).0[..20].to_vec()
}

pub fn many_tensors() -> Vec<u8> {
    Bytes::header(3, 3, 0).tensor("a", &[], F32, 0).tensor("b", &[], F32, 0).0
}

pub fn many_entries() -> Vec<u8> {
    Bytes::header(3, 0, u64::MAX).entry("a", U8, &[1]).0
}

pub fn long_key() -> Vec<u8> {
    Bytes::header(3, 0, 1).u64(1000).raw(b"general.name").u32(U8).raw(&[1]).0
}

pub fn long_string() -> Vec<u8> {
    Bytes::header(3, 0, 1).string("general.name").u32(STRING).u64(6).raw(b"short").0
}

pub fn huge_string() -> Vec<u8> {
    Bytes::header(3, 0, 1).string("general.name").u32(STRING).u64(u64::MAX).raw(b"short").0
}

pub fn long_name() -> Vec<u8> {
    Bytes::header(3, 1, 0).u64(1 << 40).raw(b"weight").u32(0).u32(F32).u64(0).0
}

pub fn key_not_utf8() -> Vec<u8> {
    Bytes::header(3, 0, 1).string(b"k\xc3").u32(U8).raw(&[1]).0
}

pub fn name_not_utf8() -> Vec<u8> {
    Bytes::header(3, 1, 0).string(b"\xffw").u32(0).u32(F32).u64(0).pad(32).raw(&[0; 4]).0
}

pub fn unknown_value() -> Vec<u8> {
    Bytes::header(3, 0, 1).entry("odd", 13, &[0; 8]).0
}

pub fn unknown_item() -> Vec<u8> {
    Bytes::header(3, 0, 1).entry("odd", ARRAY, &Bytes::default().u32(77).u64(0).0).0
}

pub fn bad_bool() -> Vec<u8> {
    Bytes::header(3, 0, 1).entry("flag", BOOL, &[2]).0
}

pub fn bad_bool_in_array() -> Vec<u8> {
    Bytes::header(3, 0, 1).entry("flags", ARRAY, &Bytes::default().u32(BOOL).u64(3).raw(&[1, 0, 255]).0).0
}

pub fn long_array() -> Vec<u8> {
    Bytes::header(3, 0, 1).entry("numbers", ARRAY, &Bytes::default().u32(U32).u64(4).raw(&[0; 15]).0).0
}

pub fn huge_array() -> Vec<u8> {
    // Times four it is 4.
    Bytes::header(3, 0, 1).entry("numbers", ARRAY, &Bytes::default().u32(U32).u64((1 << 62) + 1).raw(&[0; 4]).0).0
}

pub fn short_strings() -> Vec<u8> {
    let items = Bytes::default().u32(STRING).u64(2).string("first and long enough").string("second");
    let whole = Bytes::header(3, 0, 1).entry("tokens", ARRAY, &items.0).0;
    whole[..whole.len() - 1].to_vec()
}

pub fn deep_arrays() -> Vec<u8> {
    let nested = (0..10_000).fold(Bytes::default(), |b, _| b.u32(ARRAY).u64(1));
    Bytes::header(3, 0, 1).entry("deep", ARRAY, &nested.u32(U8).u64(0).0).0
}

pub fn short_value() -> Vec<u8> {
    Bytes::header(3, 0, 1).entry("number", 12, &[0; 7]).0
}

fn alignment(value: u32) -> Vec<u8> {
    let head = Bytes::header(3, 1, 1).entry("general.alignment", U32, &value.to_le_bytes());
    head.tensor("t", &[1], F32, 0).pad(32).raw(&[0; 4]).0
}

pub fn alignment_0() -> Vec<u8> {
    alignment(0)
}

pub fn alignment_24() -> Vec<u8> {
    alignment(24)
}

pub fn alignment_text() -> Vec<u8> {
    Bytes::header(3, 0, 1).string("general.alignment").u32(STRING).string("32").0
}

pub fn same_key() -> Vec<u8> {
    Bytes::header(3, 0, 3).entry("a.b", U8, &[1]).entry("a.c", U8, &[2]).entry("a.b", U8, &[3]).0
}

pub fn same_name() -> Vec<u8> {
    file(&[("w", &[1], F32, &[0; 4]), ("v", &[1], F32, &[0; 4]), ("w", &[1], F32, &[0; 4])])
}

pub fn rank_5() -> Vec<u8> {
    file(&[("w", &[1; 5], F32, &[0; 4])])
}

pub fn dims_overflow() -> Vec<u8> {
    // The product is 0 in 64 bits.
    file(&[("w", &[1 << 32, 1 << 32], F32, &[0; 4])])
}

pub fn dims_overflow_around_0() -> Vec<u8> {
    file(&[("w", &[1 << 40, 0, 1 << 40], F32, &[])])
}

pub fn bytes_overflow() -> Vec<u8> {
    file(&[("w", &[1 << 62], F32, &[0; 4])])
}

pub fn unknown_type() -> Vec<u8> {
    file(&[("w", &[1], 1000, &[0; 4])])
}

pub fn removed_type() -> Vec<u8> {
    // Q4_2 was taken out of ggml in 2023.
    file(&[("w", &[32], 4, &[0; 20])])
}

pub fn part_of_block() -> Vec<u8> {
    file(&[("w", &[33, 32], Q4_0, &[0; 594])])
}

pub fn part_of_large_block() -> Vec<u8> {
    // Their product is a multiple.
    file(&[("w", &[128, 2], Q4_K, &[0; 144])])
}

pub fn misaligned() -> Vec<u8> {
    Bytes::header(3, 1, 0).tensor("w", &[1], F32, 4).pad(32).raw(&[0; 64]).0
}

pub fn offset_beyond() -> Vec<u8> {
    Bytes::header(3, 1, 0).tensor("w", &[1], F32, 64).pad(32).raw(&[0; 64]).0
}

pub fn offset_overflow() -> Vec<u8> {
    Bytes::header(3, 1, 0).tensor("w", &[64], F32, u64::MAX - 31).pad(32).raw(&[0; 64]).0
}

pub fn truncated_data() -> Vec<u8> {
    let whole = file(&[("a", &[1], F32, &[0; 4]), ("w", &[256], Q4_K, &[0; 144])]);
    // Behind the last block is padding, which may be missing.
    whole[..whole.len() - 17].to_vec()
}

pub fn no_data() -> Vec<u8> {
    Bytes::header(3, 1, 0).tensor("w", &[1], F32, 0).0
}

pub fn short_record() -> Vec<u8> {
    let whole = Bytes::header(3, 1, 0).tensor("weight", &[1, 2, 3], F32, 0).0;
    whole[..whole.len() - 9].to_vec()
}
