//! Whatever is wrong with a GGUF file: an error that says what and where, no panic, and no memory that the file could
//! not fill.

#[path = "support/bad_gguf.rs"]
mod bad;
#[path = "support/gguf.rs"]
mod support;

use bgz_fusion::gguf::{Gguf, GgufError, Place};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

/// Keeps the largest allocation of each thread.
struct Largest;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(size: usize) {
    // A thread that ends has none any more.
    let _ = LARGEST.try_with(|l| l.set(l.get().max(size)));
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;

/// The memory that an error message may take beside the size of the file.
const MESSAGE: usize = 1024;

/// The error of a file that has to fail, with no allocation larger than the file or a message.
fn error(bytes: Vec<u8>) -> GgufError {
    let size = bytes.len();
    LARGEST.set(0);
    let result = Gguf::from_bytes(bytes);
    let largest = LARGEST.get();
    assert!(largest <= size.max(MESSAGE), "{largest} bytes for a file of {size}");
    result.expect_err("the file is bad")
}

/// The error's text, which has to say this.
fn says(bytes: Vec<u8>, text: &str) {
    assert_eq!(error(bytes).to_string(), text);
}

#[test]
fn an_empty_file() {
    says(bad::empty(), "the header: the magic number at byte 0 takes 4 bytes, the file has 0 there");
}

#[test]
fn a_file_that_ends_in_the_magic() {
    says(bad::short_magic(), "the header: the magic number at byte 0 takes 4 bytes, the file has 3 there");
}

#[test]
fn a_wrong_magic() {
    let e = error(bad::wrong_magic());
    assert!(matches!(&e, GgufError::Magic { found } if found == b"GGML"), "{e:?}");
    assert!(e.to_string().starts_with("not a GGUF file: it begins with [47, 47, 4d, 4c]"), "{e}");
}

#[test]
fn version_1_and_version_99() {
    for (bytes, n) in [(bad::version_1(), 1), (bad::version_99(), 99)] {
        let e = error(bytes);
        assert!(matches!(e, GgufError::Version { version } if version == n), "{e:?}");
        assert!(e.to_string().starts_with(&format!("GGUF version {n}, this reader has versions 2 and 3")), "{e}");
    }
    // Zero is no version in either byte order.
    assert!(matches!(error(support::Bytes::header(0, 0, 0).0), GgufError::Version { version: 0 }));
}

#[test]
fn the_other_byte_order() {
    let e = error(bad::big_endian());
    assert!(matches!(e, GgufError::BigEndian { version: 3 }), "{e:?}");
    assert!(e.to_string().starts_with("a big-endian file (GGUF version 3)"), "{e}");
}

#[test]
fn a_file_that_ends_in_the_header() {
    says(
        bad::short_header(),
        "the header: the number of metadata entries at byte 16 takes 8 bytes, the file has 4 there",
    );
}

#[test]
fn more_tensors_than_the_file_has_room_for() {
    let e = error(bad::many_tensors());
    assert!(matches!(e, GgufError::Count { what: "tensors", count: 3, most: 2, at: 24, .. }), "{e:?}");
}

#[test]
fn more_entries_than_the_file_has_room_for() {
    says(
        bad::many_entries(),
        "the header: 18446744073709551615 metadata entries from byte 24 on, the file has room for 1 at most",
    );
}

#[test]
fn a_key_beyond_the_file() {
    says(bad::long_key(), "metadata entry 0: key at byte 32 takes 1000 bytes, the file has 17 there");
}

#[test]
fn a_string_beyond_the_file() {
    let entry = "metadata entry 0 (\"general.name\"): a string at byte 56 takes";
    says(bad::long_string(), &format!("{entry} 6 bytes, the file has 5 there"));
    says(bad::huge_string(), &format!("{entry} 18446744073709551615 bytes, the file has 5 there"));
}

#[test]
fn a_name_beyond_the_file() {
    says(bad::long_name(), "tensor 0: name at byte 32 takes 1099511627776 bytes, the file has 22 there");
}

#[test]
fn a_key_that_is_not_utf8() {
    says(bad::key_not_utf8(), "metadata entry 0: its key at byte 32 is not UTF-8");
}

#[test]
fn a_name_that_is_not_utf8() {
    says(bad::name_not_utf8(), "tensor 0: its name at byte 32 is not UTF-8");
}

#[test]
fn an_unknown_type_of_value() {
    says(bad::unknown_value(), "metadata entry 0 (\"odd\"): value type 13 at byte 35 is not known");
    says(bad::unknown_item(), "metadata entry 0 (\"odd\"): value type 77 at byte 39 is not known");
}

#[test]
fn a_bool_that_is_none() {
    says(bad::bad_bool(), "metadata entry 0 (\"flag\"): the bool at byte 40 is 2, it can be 0 or 1");
    says(bad::bad_bool_in_array(), "metadata entry 0 (\"flags\"): the bool at byte 55 is 255, it can be 0 or 1");
}

#[test]
fn an_array_beyond_the_file() {
    let entry = "metadata entry 0 (\"numbers\"):";
    says(bad::long_array(), &format!("{entry} 4 items of an array from byte 55 on, the file has room for 3 at most"));
    let huge = (1u64 << 62) + 1;
    says(
        bad::huge_array(),
        &format!("{entry} {huge} items of an array from byte 55 on, the file has room for 1 at most"),
    );
}

#[test]
fn strings_of_an_array_beyond_the_file() {
    says(
        bad::short_strings(),
        "metadata entry 0 (\"tokens\"): a string at byte 91 takes 6 bytes, the file has 5 there",
    );
}

#[test]
fn arrays_in_arrays_in_arrays() {
    let e = error(bad::deep_arrays());
    assert!(matches!(&e, GgufError::Nesting { at: 88, place: Place::Entry { index: 0, .. } }), "{e:?}");
    assert_eq!(e.to_string(), "metadata entry 0 (\"deep\"): arrays in arrays at byte 88, more than 4 deep");
}

#[test]
fn a_value_cut_off() {
    says(bad::short_value(), "metadata entry 0 (\"number\"): a value at byte 42 takes 8 bytes, the file has 7 there");
}

#[test]
fn an_alignment_that_is_none() {
    says(bad::alignment_0(), "general.alignment is 0; it has to be a power of two, as u32");
    says(bad::alignment_24(), "general.alignment is 24; it has to be a power of two, as u32");
    says(bad::alignment_text(), "general.alignment is of type string; it has to be a power of two, as u32");
}

#[test]
fn a_key_that_is_there_twice() {
    says(bad::same_key(), "metadata entries 0 and 2 both have the key \"a.b\"");
}

#[test]
fn a_name_that_is_there_twice() {
    says(bad::same_name(), "tensors 0 and 2 are both named \"w\"");
}

#[test]
fn more_extents_than_there_can_be() {
    says(bad::rank_5(), "tensor 0 (\"w\"): 5 extents at byte 33, a tensor has 4 at most");
}

#[test]
fn extents_whose_product_overflows() {
    says(bad::dims_overflow(), "tensor 0 (\"w\"): a tensor of [4294967296, 4294967296] overflows");
    says(bad::dims_overflow_around_0(), "tensor 0 (\"w\"): a tensor of [1099511627776, 0, 1099511627776] overflows");
    says(bad::bytes_overflow(), "tensor 0 (\"w\"): a tensor of [4611686018427387904] overflows");
}

#[test]
fn an_unknown_element_type() {
    says(bad::unknown_type(), "tensor 0 (\"w\"): element type 1000 at byte 45 is not known");
    says(bad::removed_type(), "tensor 0 (\"w\"): element type 4 at byte 45 is not known");
}

#[test]
fn rows_of_a_part_of_a_block() {
    says(bad::part_of_block(), "tensor 0 (\"w\"): rows of 33 elements are no multiple of the 32 of a block of Q4_0");
    let large = "tensor 0 (\"w\"): rows of 128 elements are no multiple of the 256 of a block of Q4_K";
    says(bad::part_of_large_block(), large);
}

#[test]
fn an_offset_that_is_not_aligned() {
    says(bad::misaligned(), "tensor 0 (\"w\"): its offset 4 is no multiple of the alignment, 32");
}

#[test]
fn a_tensor_beyond_the_file() {
    says(bad::offset_beyond(), "tensor 0 (\"w\"): 4 bytes from offset 64 on, the file has 64 bytes of tensors");
    says(bad::truncated_data(), "tensor 1 (\"w\"): 144 bytes from offset 32 on, the file has 175 bytes of tensors");
    says(bad::no_data(), "tensor 0 (\"w\"): 4 bytes from offset 0 on, the file has 0 bytes of tensors");
}

#[test]
fn an_offset_and_a_size_that_overflow() {
    let text = "tensor 0 (\"w\"): 256 bytes from offset 18446744073709551584 on, the file has 64 bytes of tensors";
    says(bad::offset_overflow(), text);
}

#[test]
fn a_record_cut_off() {
    says(bad::short_record(), "tensor 0 (\"weight\"): the element type at byte 66 takes 4 bytes, the file has 3 there");
}

#[test]
fn every_bad_file_has_an_error_wherever_it_ends() {
    for (name, make) in bad::ALL {
        let bytes = make();
        error(bytes.clone());
        // The deep one is long, and the same from end to end.
        for end in 0..bytes.len().min(500) {
            // Cut short it may end in a good file only where it said so: none of these does.
            assert!(Gguf::from_bytes(bytes[..end].to_vec()).is_err(), "{name} cut to {end} bytes");
        }
    }
}

/// A good file cut anywhere in its directory, or with any byte of it changed, gives an error or a file, and no panic.
#[test]
fn damage_anywhere_is_survived() {
    let good = good();
    let file = Gguf::from_bytes(good.clone()).expect("the file is good");
    let directory = file.tensors().map(|t| t.offset()).min().expect("there are tensors");
    for end in 0..directory {
        assert!(Gguf::from_bytes(good[..end].to_vec()).is_err(), "cut to {end} bytes");
    }
    for at in 0..directory {
        for change in [1, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            LARGEST.set(0);
            let file = Gguf::from_bytes(bytes);
            assert!(LARGEST.get() <= good.len().max(MESSAGE), "byte {at} changed by {change}");
            for tensor in file.iter().flat_map(Gguf::tensors) {
                // A type that is not dequantised is an error.
                let _ = tensor.to_f32();
            }
        }
    }
}

/// A small file with a bit of everything.
fn good() -> Vec<u8> {
    let items = support::Bytes::default().u32(8).u64(2).string("ab").string("");
    let nested = support::Bytes::default().u32(9).u64(1).u32(0).u64(3).raw(&[1, 2, 3]);
    let head = support::Bytes::header(3, 3, 5)
        .entry("general.alignment", 4, &16u32.to_le_bytes())
        .entry("flag", 7, &[1])
        .entry("strings", 9, &items.0)
        .entry("nested", 9, &nested.0)
        .entry("number", 12, &1.5f64.to_le_bytes());
    let head = head.tensor("a", &[2, 2], 0, 0).tensor("b", &[32], 2, 16).tensor("c", &[256, 1], 12, 48).pad(16);
    head.raw(&[1; 16]).raw(&[2; 18]).pad(16).raw(&[3; 144]).0
}

#[test]
fn a_file_that_cannot_be_read() {
    let missing = Gguf::open(Path::new("no/such.gguf")).expect_err("there is none");
    assert!(matches!(&missing, GgufError::Io { path, .. } if path == Path::new("no/such.gguf")), "{missing:?}");
    assert_eq!(missing.to_string(), "cannot read no/such.gguf");
    let folder = Gguf::open(Path::new(env!("CARGO_MANIFEST_DIR"))).expect_err("it is a folder");
    assert!(matches!(folder, GgufError::Io { .. }), "{folder:?}");
}

#[test]
fn long_names_are_shortened_in_messages() {
    let name = "x".repeat(10_000);
    let e = error(support::file(&[(&name, &[1], 1000, &[0; 4])])).to_string();
    assert!(e.len() < 200, "{e}");
}

/// `BGZ_WRITE_CORPUS=1 cargo test --test bad_input_gguf corpus` writes it anew.
#[test]
fn the_corpus_of_the_fuzzer_is_these_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/gguf");
    let write = std::env::var_os("BGZ_WRITE_CORPUS").is_some();
    let mut names: Vec<String> = Vec::new();
    // Of the deep one the beginning is enough.
    let bad = bad::ALL.iter().map(|(name, make)| (*name, make().into_iter().take(1000).collect()));
    for (name, bytes) in bad.chain([("good", good())]) {
        let path = folder.join(format!("{name}.gguf"));
        if write {
            std::fs::write(&path, &bytes).expect("it is written");
        }
        let kept = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(kept == bytes, "{name} has changed");
        names.push(format!("{name}.gguf"));
    }
    let kept = std::fs::read_dir(folder).expect("the folder is there");
    let mut kept: Vec<String> = kept.map(|f| f.expect("an entry").file_name().to_string_lossy().into()).collect();
    kept.sort();
    names.sort();
    assert_eq!(kept, names);
}
