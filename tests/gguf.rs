//! GGUF files against what the Python package `gguf` makes of them: `tests/fixtures/make_gguf.py` wrote the file.

#[path = "support/gguf.rs"]
mod support;

use bgz_fusion::gguf::{GgmlType, Gguf, GgufError, Value, ValueType};
use bgz_fusion::kernels::Isa;
use half::{bf16, f16};
use std::path::Path;

const TYPES: &[u8] = include_bytes!("fixtures/types.gguf");

/// The shape of every tensor in it.
const SHAPE: [usize; 3] = [3, 2, 256];

fn types() -> Gguf {
    Gguf::from_bytes(TYPES).expect("the fixture is read")
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// The numbers that the package made of a tensor, read without the code under test.
fn expected(file: &Gguf, ty: GgmlType) -> Vec<f32> {
    let tensor = file.tensor(&format!("{ty}.f32")).expect("it is there");
    let (values, rest) = tensor.bytes().as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// For each instruction set of the host; a line for one it lacks.
fn on_each_isa(f: impl Fn(Isa)) {
    for isa in Isa::ALL {
        match isa.is_available() {
            true => f(isa),
            false => println!("SKIPPED {isa}: this CPU lacks it"),
        }
    }
}

#[test]
fn every_type_has_the_values_of_the_python_package() {
    let file = types();
    let dequantised = GgmlType::ALL.iter().filter(|t| t.is_dequantised());
    let mut tested = 0;
    for &ty in dequantised {
        let tensor = file.tensor(ty.name()).unwrap_or_else(|e| panic!("the fixture has each type that is read: {e}"));
        assert_eq!((tensor.ty(), tensor.shape()), (ty, SHAPE.to_vec()));
        let want = bits(&expected(&file, ty));
        assert_eq!(bits(&tensor.to_f32().expect("it is read")), want, "{ty}");
        on_each_isa(|isa| {
            let mut out = vec![f32::NAN; tensor.len()];
            tensor.read_rows_on(isa, 0..tensor.rows(), &mut out).expect("it is read");
            assert_eq!(bits(&out), want, "{ty} on {isa}");
        });
        tested += 1;
    }
    assert_eq!(tested, 22);
    // Nothing in the file was left out, and values are not all alike.
    assert_eq!(file.tensors().len(), 2 * tested);
    assert!(GgmlType::ALL.iter().filter(|t| t.is_dequantised()).all(|&t| {
        let mut values = bits(&expected(&file, t));
        values.sort_unstable();
        values.dedup();
        values.len() > 100
    }));
}

#[test]
fn rows_are_read_one_by_one() {
    let file = types();
    for tensor in file.tensors() {
        let all = tensor.to_f32().expect("it is read");
        assert_eq!((tensor.rows(), tensor.row_len()), (6, 256));
        for start in 0..=6 {
            for end in start..=6 {
                let mut out = vec![f32::NAN; (end - start) * 256];
                tensor.read_rows(start..end, &mut out).expect("they are read");
                assert_eq!(bits(&out), bits(&all[start * 256..end * 256]), "{tensor:?} {start}..{end}");
            }
        }
    }
}

/// Large enough that threads share it, with a last piece that is not full.
#[test]
fn threads_give_what_one_gives() {
    let blocks = 3 * 65536 / 32 + 5;
    let data: Vec<u8> = (0..blocks * 18).map(|i| if i % 18 == 1 { 0x2c } else { ((i * 7919) >> 3) as u8 }).collect();
    let bytes = support::file(&[("t", &[32, blocks as u64], GgmlType::Q4_0.id(), &data)]);
    let file = Gguf::from_bytes(bytes).expect("it is read");
    let tensor = file.tensor("t").expect("it is there");
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| tensor.to_f32().expect("it is read"))
    };
    let one = run(1);
    assert_eq!(bits(&one), bits(&run(3)));
    for row in [0, 2047, 2048, blocks - 1] {
        let mut out = [f32::NAN; 32];
        tensor.read_rows(row..row + 1, &mut out).expect("it is read");
        assert_eq!(bits(&out), bits(&one[row * 32..][..32]), "row {row}");
    }
}

#[test]
fn a_mapped_file_is_what_its_bytes_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/types.gguf");
    // SAFETY: nobody changes the fixture.
    let mapped = unsafe { Gguf::map(&path) }.expect("the fixture is read");
    let read = types();
    assert_eq!((mapped.version(), mapped.alignment()), (3, 32));
    assert_eq!(format!("{mapped:?}"), format!("{read:?}"));
    for (a, b) in mapped.tensors().zip(read.tensors()) {
        assert_eq!((a.name(), a.offset(), a.bytes()), (b.name(), b.offset(), b.bytes()));
    }
    // A mapping is aligned, so what is plain is there as it is.
    let t = mapped.tensor("F32.f32").expect("it is there");
    assert_eq!(bits(t.as_slice::<f32>().expect("f32")), bits(&t.to_f32().expect("it is read")));
    let f64s = mapped.tensor("F64").expect("it is there").as_slice::<f64>().expect("f64");
    let narrow: Vec<f32> = f64s.iter().map(|&v| v as f32).collect();
    assert_eq!(bits(&narrow), bits(&expected(&mapped, GgmlType::F64)));
    let halves = mapped.tensor("F16").expect("it is there").as_slice::<f16>().expect("f16");
    assert_eq!(bits(&halves.iter().map(|v| v.to_f32()).collect::<Vec<_>>()), bits(&expected(&mapped, GgmlType::F16)));
    let halves = mapped.tensor("BF16").expect("it is there").as_slice::<bf16>().expect("bf16");
    assert_eq!(bits(&halves.iter().map(|v| v.to_f32()).collect::<Vec<_>>()), bits(&expected(&mapped, GgmlType::BF16)));
    let ints = mapped.tensor("I64").expect("it is there").as_slice::<i64>().expect("i64");
    assert_eq!(bits(&ints.iter().map(|&v| v as f32).collect::<Vec<_>>()), bits(&expected(&mapped, GgmlType::I64)));
    for name in ["I8", "I16", "I32"] {
        let t = mapped.tensor(name).expect("it is there");
        let is = (t.as_slice::<i8>().is_ok(), t.as_slice::<i16>().is_ok(), t.as_slice::<i32>().is_ok());
        assert_eq!(is, (name == "I8", name == "I16", name == "I32"));
    }
}

#[test]
fn metadata_has_the_types_of_the_file() {
    let file = types();
    let metadata = file.metadata();
    let get = |key: &str| metadata.get(&format!("test.{key}")).unwrap_or_else(|| panic!("no test.{key}"));
    assert_eq!(metadata.get("general.name"), Some(Value::String("types")));
    let scalars = [
        ("u8", Value::U8(200)),
        ("i8", Value::I8(-100)),
        ("u16", Value::U16(60000)),
        ("i16", Value::I16(-30000)),
        ("u32", Value::U32(4_000_000_000)),
        ("i32", Value::I32(-2_000_000_000)),
        ("f32", Value::F32(0.1)),
        ("u64", Value::U64((1 << 63) + 1)),
        ("i64", Value::I64(i64::MIN)),
        ("f64", Value::F64(0.1)),
    ];
    for (name, value) in scalars {
        assert_eq!(get(name), value);
        assert_eq!(value.ty().name(), name);
        let array = get(&format!("{name}s")).as_array().expect("an array");
        assert_eq!((array.item_type(), array.len()), (value.ty(), 3));
        let items: Vec<Value<'_>> = array.iter().collect();
        assert_eq!((items.len(), items[0]), (3, value));
        assert!(items.iter().all(|v| v.ty() == value.ty()));
        assert!(items[1].as_i64() == Some(0) || items[1].as_f64() == Some(0.0), "{items:?}");
        assert!(items[2].as_u64() == Some(1) || items[2].as_f64() == Some(1.0), "{items:?}");
    }
    assert_eq!(get("bool"), Value::Bool(true));
    let bools = get("bools").as_array().expect("an array");
    assert_eq!(bools.iter().map(|v| v.as_bool()).collect::<Vec<_>>(), [Some(true), Some(false)]);
    assert_eq!(get("string").as_str(), Some("größer\n"));
    let strings = get("strings").as_array().expect("an array");
    assert_eq!(strings.iter().filter_map(|v| v.as_str()).collect::<Vec<_>>(), ["<pad>", "", "▁the"]);
    let arrays = get("arrays").as_array().expect("an array");
    assert_eq!(arrays.item_type(), ValueType::Array);
    let lists: Vec<Vec<Option<i64>>> =
        arrays.iter().filter_map(|v| v.as_array()).map(|a| a.iter().map(|v| v.as_i64()).collect()).collect();
    assert_eq!(lists, [vec![Some(1), Some(2)], vec![Some(3)]]);
    let many = get("many").as_array().expect("an array");
    assert!(many.iter().map(|v| v.as_i64()).eq((0..1000).map(Some)));
    // All of them, in the order of the file, by the keys that find them.
    assert_eq!(metadata.iter().count(), metadata.len());
    assert_eq!(metadata.iter().next().map(|(key, _)| key), Some("general.architecture"));
    for (key, value) in metadata.iter() {
        assert_eq!(format!("{:?}", metadata.get(key)), format!("{:?}", Some(value)));
    }
    assert_eq!(metadata.get("test"), None);
    assert_eq!(metadata.get("test.u9"), None);
}

#[test]
fn integers_convert_only_where_they_fit() {
    assert_eq!(Value::I32(-1).as_u64(), None);
    assert_eq!(Value::U64(u64::MAX).as_i64(), None);
    assert_eq!(Value::U64(u64::MAX).as_u64(), Some(u64::MAX));
    assert_eq!(Value::F32(1.0).as_i64(), None);
    assert_eq!(Value::U8(1).as_f64(), None);
    assert_eq!(Value::String("1").as_u64(), None);
}

#[test]
fn version_2_is_the_same_layout() {
    let mut bytes = TYPES.to_vec();
    assert_eq!(bytes[4..8], [3, 0, 0, 0]);
    bytes[4] = 2;
    let file = Gguf::from_bytes(bytes).expect("version 2 is read");
    assert_eq!(file.version(), 2);
    assert_eq!(bits(&file.tensor("Q4_K").unwrap().to_f32().unwrap()), bits(&expected(&types(), GgmlType::Q4_K)));
}

#[test]
fn alignment_moves_the_tensors() {
    for alignment in [1u32, 8, 4096] {
        let head = support::Bytes::header(3, 1, 1).entry("general.alignment", 4, &alignment.to_le_bytes());
        let head = head.tensor("t", &[1], GgmlType::F32.id(), 0).pad(alignment as usize);
        let start = head.0.len();
        let file = Gguf::from_bytes(head.raw(&1.5f32.to_le_bytes()).0).expect("it is read");
        assert_eq!(file.alignment(), alignment as usize);
        let tensor = file.tensor("t").expect("it is there");
        assert_eq!((tensor.offset(), tensor.to_f32().expect("it is read")), (start, vec![1.5]));
    }
}

#[test]
fn ranks_from_none_to_four() {
    let data = 2.5f32.to_le_bytes().repeat(24);
    for dims in [&[][..], &[4], &[4, 3], &[4, 3, 2], &[4, 3, 2, 1]] {
        let n: u64 = dims.iter().product();
        let bytes = support::file(&[("t", dims, 0, &data[..4 * n as usize])]);
        let file = Gguf::from_bytes(bytes).expect("it is read");
        let tensor = file.tensor("t").expect("it is there");
        let shape: Vec<usize> = dims.iter().rev().map(|&d| d as usize).collect();
        assert_eq!((tensor.shape(), tensor.len()), (shape, n as usize));
        assert_eq!(tensor.to_f32().expect("it is read"), vec![2.5; n as usize]);
    }
}

#[test]
fn tensors_without_elements_are_empty() {
    let dims: [&[u64]; 4] = [&[0], &[0, 5], &[32, 0], &[256, 0, 7, 1 << 20]];
    for ty in [GgmlType::F32, GgmlType::Q4_0, GgmlType::Q6_K] {
        for dims in dims.iter().filter(|d| d[0] % ty.block_len() as u64 == 0) {
            let file = Gguf::from_bytes(support::file(&[("t", dims, ty.id(), &[])])).expect("it is read");
            let tensor = file.tensor("t").expect("it is there");
            assert!(tensor.is_empty() && tensor.bytes().is_empty());
            assert_eq!(tensor.to_f32().expect("it is read"), Vec::<f32>::new());
            tensor.read_rows(0..tensor.rows(), &mut []).expect("they are read");
        }
    }
}

#[test]
fn a_file_of_nothing_is_a_file() {
    let file = Gguf::from_bytes(support::Bytes::header(3, 0, 0).0).expect("it is read");
    assert!(file.metadata().is_empty() && file.tensors().len() == 0);
    assert!(matches!(file.tensor("t"), Err(GgufError::NoTensor { .. })));
}

#[test]
fn text_that_is_not_utf8_is_kept() {
    let head = support::Bytes::header(3, 0, 1).string("k").u32(9).u32(8).u64(2).string(b"ab\xff").string("c");
    let file = Gguf::from_bytes(head.0).expect("it is read");
    let array = file.metadata().get("k").and_then(|v| v.as_array()).expect("an array");
    assert_eq!(array.iter().collect::<Vec<_>>(), [Value::Bytes(b"ab\xff"), Value::String("c")]);
}

#[test]
fn what_is_asked_for_wrongly_is_an_error() {
    let file = types();
    let tensor = file.tensor("Q8_0").expect("it is there");
    let error = |e: Result<(), GgufError>| e.expect_err("an error").to_string();
    let mut out = vec![0.0; 256];
    assert_eq!(error(tensor.read_rows(6..7, &mut out)), "tensor \"Q8_0\": rows 6..7 of 6");
    #[expect(clippy::reversed_empty_ranges, reason = "what is tested")]
    let reversed = 3..2;
    assert_eq!(error(tensor.read_rows(reversed, &mut out)), "tensor \"Q8_0\": rows 3..2 of 6");
    assert_eq!(error(tensor.read_rows(0..2, &mut out)), "tensor \"Q8_0\": a buffer of 256 elements for 512");
    assert_eq!(error(tensor.as_slice::<i8>().map(|_| ())), "tensor \"Q8_0\": Q8_0 is no slice of I8");
    let floats = file.tensor("F16").expect("it is there");
    assert_eq!(error(floats.as_slice::<f32>().map(|_| ())), "tensor \"F16\": F16 is no slice of F32");
}

#[test]
fn types_that_are_not_dequantised_are_named() {
    for &ty in GgmlType::ALL.iter().filter(|t| !t.is_dequantised()) {
        assert_eq!(GgmlType::from_id(ty.id()), Some(ty));
        let data = vec![0; ty.block_bytes()];
        let bytes = support::file(&[("odd", &[ty.block_len() as u64], ty.id(), &data), ("x", &[1], 0, &[0; 4])]);
        let file = Gguf::from_bytes(bytes).expect("the file is read");
        let error = file.tensor("odd").expect("it is there").to_f32().expect_err("an error");
        assert_eq!(error.to_string(), format!("tensor \"odd\": {ty} is not dequantised"));
        assert_eq!(file.tensor("x").expect("it is there").to_f32().expect("it is read"), [0.0]);
    }
}

#[test]
fn unaligned_views_are_an_error() {
    let head = support::Bytes::header(3, 2, 1).entry("general.alignment", 4, &1u32.to_le_bytes());
    let head = head.tensor("a", &[1], 0, 0).tensor("b", &[1], 0, 1).raw(&[0; 5]);
    let file = Gguf::from_bytes(head.0).expect("it is read");
    // Whatever the allocator gave, one of two neighbours is not aligned.
    let view = |name| file.tensor(name).and_then(|t| t.as_slice::<f32>().map(<[f32]>::len));
    let errors: Vec<_> = ["a", "b"].into_iter().filter_map(|n| view(n).err()).collect();
    assert!(!errors.is_empty());
    assert!(errors.iter().all(|e| matches!(e, GgufError::Unaligned { .. })), "{errors:?}");
}

#[test]
fn an_unknown_name_suggests_the_near_ones() {
    let names = [
        "token_embd.weight",
        "blk.0.attn_q.weight",
        "blk.1.attn_q.weight",
        "blk.0.attn_k.weight",
        "output_norm.weight",
    ];
    let tensors: Vec<_> = names.map(|n| (n, &[1u64][..], 0, &[0u8; 4][..])).to_vec();
    let file = Gguf::from_bytes(support::file(&tensors)).expect("it is read");
    let error = |name: &str| file.tensor(name).expect_err("an error").to_string();
    assert_eq!(
        error("blk.0.attn_q.weigth"),
        "no tensor \"blk.0.attn_q.weigth\"; there is \"blk.0.attn_q.weight\", \"blk.1.attn_q.weight\", \"blk.0.attn_k.weight\""
    );
    assert_eq!(error("token_embd"), "no tensor \"token_embd\"; there is \"token_embd.weight\"");
    assert_eq!(error("q"), "no tensor \"q\"; there is \"blk.0.attn_q.weight\", \"blk.1.attn_q.weight\"");
    assert_eq!(error("something else altogether"), "no tensor \"something else altogether\"");
    assert_eq!(error(""), "no tensor \"\"");
    for name in names {
        assert_eq!(file.tensor(name).expect("it is there").name(), name);
    }
}

#[test]
fn constants_share_the_bytes_of_the_file() {
    let bytes = bytes::Bytes::from_static(TYPES);
    let file = Gguf::from_bytes(bytes.clone()).expect("the fixture is read");
    for &ty in GgmlType::ALL {
        let Ok(tensor) = file.tensor(ty.name()) else { continue };
        if !ty.is_dequantised() {
            let error = file.constant(ty.name()).expect_err("it is not dequantised");
            assert!(matches!(error, GgufError::NotDequantised { .. }), "{error}");
            continue;
        }
        let c = file.constant(ty.name()).expect("it is there");
        assert_eq!((c.shape(), c.block_format()), (&SHAPE[..], ty.blocks()));
        assert_eq!(bits(&c.to_f32s().expect("it has values")), bits(&tensor.to_f32().expect("it is read")), "{ty}");
        if c.blocks().is_none() {
            assert_eq!(c.bytes().expect("it has some").as_ptr(), tensor.bytes().as_ptr());
        }
    }
    let error = file.constant("nobody").expect_err("there is none");
    assert!(matches!(error, GgufError::NoTensor { .. }), "{error}");
}
