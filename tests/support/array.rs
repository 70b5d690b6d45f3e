//! Arrays of npz files of whatever dtype, and whether two of them are the same value.
#![allow(dead_code, reason = "each test file uses a part")]

use half::{bf16, f16};
use npyz::{NpyHeader, Order};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read};
use zip::ZipArchive;

/// An array in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// As NumPy writes it, without the order of bytes and, for strings, without their length: that is the longest one's.
    dtype: String,
    shape: Vec<u64>,
    values: Values,
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    /// Of integers and booleans.
    Ints(Vec<i128>),
    /// Of floats, which an f64 holds exactly.
    Floats(Vec<f64>),
    /// Of strings.
    Text(Vec<String>),
}

impl Array {
    /// An array of f32.
    pub fn f32(shape: &[u64], values: &[f32]) -> Self {
        let values = Values::Floats(values.iter().map(|&v| f64::from(v)).collect());
        Self { dtype: "f4".into(), shape: shape.to_vec(), values }
    }

    /// An array of i64.
    pub fn i64(shape: &[u64], values: &[i64]) -> Self {
        let values = Values::Ints(values.iter().map(|&v| i128::from(v)).collect());
        Self { dtype: "i8".into(), shape: shape.to_vec(), values }
    }

    /// An array of strings.
    pub fn text(shape: &[u64], values: &[&str]) -> Self {
        let values = Values::Text(values.iter().map(|&v| v.into()).collect());
        Self { dtype: "U".into(), shape: shape.to_vec(), values }
    }

    /// How it differs from the array that is right: in dtype, in shape, in a NaN, an infinity, an integer or a string, or in
    /// a float by more than `atol + rtol * |right|`. Nothing if it does not.
    pub fn differs(&self, right: &Self, rtol: f64, atol: f64) -> Option<String> {
        if (&self.dtype, &self.shape) != (&right.dtype, &right.shape) {
            return Some(format!("{}{:?} instead of {}{:?}", self.dtype, self.shape, right.dtype, right.shape));
        }
        let near = |g: &f64, w: &f64| {
            g == w
                || (g.is_nan() && w.is_nan())
                || (g.is_finite() && w.is_finite() && (g - w).abs() <= atol + rtol * w.abs())
        };
        match (&self.values, &right.values) {
            (Values::Ints(a), Values::Ints(b)) => first(a, b, i128::eq),
            (Values::Floats(a), Values::Floats(b)) => first(a, b, near),
            (Values::Text(a), Values::Text(b)) => first(a, b, String::eq),
            _ => unreachable!("values are of one kind for a dtype"),
        }
    }
}

/// How many elements differ, and the first that does.
fn first<T: Display>(got: &[T], right: &[T], same: impl Fn(&T, &T) -> bool) -> Option<String> {
    assert_eq!(got.len(), right.len(), "as many as the shape says");
    let off: Vec<usize> = (0..got.len()).filter(|&i| !same(&got[i], &right[i])).collect();
    let &i = off.first()?;
    Some(format!("{} of {} differ, the first is element {i}: {} instead of {}", off.len(), got.len(), got[i], right[i]))
}

/// Every array of an npz file by its name.
pub fn all(path: &str) -> Vec<(String, Array)> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut zip = ZipArchive::new(BufReader::new(file)).unwrap_or_else(|e| panic!("{path}: {e}"));
    let count = zip.len();
    let read = |i| {
        let mut entry = zip.by_index(i).unwrap_or_else(|e| panic!("{path}: {e}"));
        let name = entry.name().strip_suffix(".npy").unwrap_or_else(|| panic!("{path}: {}", entry.name())).to_string();
        let array = array(&mut entry).unwrap_or_else(|e| panic!("{path}: array {name}: {e}"));
        (name, array)
    };
    (0..count).map(read).collect()
}

/// An npy file in row-major order and of little-endian elements.
fn array(file: &mut impl Read) -> std::io::Result<Array> {
    let header = NpyHeader::from_reader(&mut *file)?;
    assert_eq!(header.order(), Order::C, "the order of the elements");
    let descr = header.dtype().descr();
    let descr = descr.trim_matches('\'');
    let (endian, dtype) = descr.split_at(1);
    assert!(endian != ">", "{descr}: the order of the bytes");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (kind, size) = dtype.split_at(1);
    let size: usize = size.parse().unwrap_or_else(|e| panic!("{descr}: {e}"));
    let dtype = match kind {
        "U" | "S" => "U",
        _ => dtype,
    };
    Ok(Array { dtype: dtype.into(), shape: header.shape().to_vec(), values: Values::of(kind, size, &bytes) })
}

impl Values {
    /// Of the bytes of an array whose elements are of `size`, as NumPy counts it: characters for strings, else bytes.
    fn of(kind: &str, size: usize, bytes: &[u8]) -> Self {
        match (kind, size) {
            ("b", 1) => Self::Ints(each(bytes, |b: [u8; 1]| i128::from(b[0]))),
            ("i", 1) => Self::Ints(each(bytes, |b| i8::from_le_bytes(b).into())),
            ("i", 2) => Self::Ints(each(bytes, |b| i16::from_le_bytes(b).into())),
            ("i", 4) => Self::Ints(each(bytes, |b| i32::from_le_bytes(b).into())),
            ("i", 8) => Self::Ints(each(bytes, |b| i64::from_le_bytes(b).into())),
            ("u", 1) => Self::Ints(each(bytes, |b| u8::from_le_bytes(b).into())),
            ("u", 2) => Self::Ints(each(bytes, |b| u16::from_le_bytes(b).into())),
            ("u", 4) => Self::Ints(each(bytes, |b| u32::from_le_bytes(b).into())),
            ("u", 8) => Self::Ints(each(bytes, |b| u64::from_le_bytes(b).into())),
            ("f", 2) => Self::Floats(each(bytes, |b| f16::from_le_bytes(b).into())),
            ("f", 4) => Self::Floats(each(bytes, |b| f32::from_le_bytes(b).into())),
            ("f", 8) => Self::Floats(each(bytes, f64::from_le_bytes)),
            // NumPy has no bf16; this is what stands for it in a file.
            ("V", 2) => Self::Floats(each(bytes, |b| bf16::from_le_bytes(b).into())),
            // UTF-32, shorter ones filled up with zeros; nothing but empty ones have no length.
            ("U", _) => Self::Text(bytes.chunks(4 * size.max(1)).map(utf32).collect()),
            ("S", _) => Self::Text(bytes.chunks(size.max(1)).map(ascii).collect()),
            _ => panic!("dtype {kind}{size} is not known here"),
        }
    }
}

fn each<const N: usize, T>(bytes: &[u8], element: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty(), "whole elements");
    elements.iter().map(|&b| element(b)).collect()
}

fn utf32(bytes: &[u8]) -> String {
    let points = each(bytes, u32::from_le_bytes);
    let text: String = points.into_iter().map(|p| char::from_u32(p).expect("a character")).collect();
    text.trim_end_matches('\0').into()
}

fn ascii(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8").trim_end_matches('\0').into()
}
