//! npz files: tensors by name, as NumPy writes them.
//!
//! The header of an array is read here rather than by `npyz`, which multiplies
//! extents without a check.

use super::failure::{Failure, because};
use bgz_fusion::{DType, Tensor, files, memory};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

/// NumPy's own readers refuse longer headers.
const MAX_HEADER: usize = 10_000;

/// An npz file, read array by array.
pub struct Archive {
    zip: ZipArchive<BufReader<File>>,
    names: Vec<String>,
}

impl Archive {
    /// Opens a file and reads the names of its arrays.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let mut file = File::open(path)?;
        let zip = ZipArchive::new(BufReader::new(file.try_clone()?)).map_err(|e| because("not an npz archive", e))?;
        let mut names: Vec<String> = Vec::new();
        for i in 0..zip.len() {
            let entry = zip.name_for_index(i).unwrap_or_default();
            let Some(name) = entry.strip_suffix(".npy") else {
                return Err(format!("{entry:?} in it is not an array").into());
            };
            names.push(name.to_string());
        }
        // The library keeps the last of those that are called alike.
        let mut listed = listed(&mut file, zip.central_directory_start())?;
        listed.sort_unstable();
        if let Some(twice) = listed.windows(2).find(|w| w[0] == w[1]) {
            let name = String::from_utf8_lossy(&twice[0]);
            return Err(format!("array {:?} is there twice", name.strip_suffix(".npy").unwrap_or(&name)).into());
        }
        Ok(Self { zip, names })
    }

    /// The names of its arrays, in their order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// An array.
    pub fn read(&mut self, name: &str) -> Result<Tensor, Failure> {
        self.read_as(name, None)
    }

    /// An array, which is of this dtype if NumPy has no name for the one it is of.
    fn read_as(&mut self, name: &str, nameless: Option<DType>) -> Result<Tensor, Failure> {
        let at = self.names.iter().position(|n| n == name).ok_or_else(|| format!("there is no array {name:?}"))?;
        let mut entry = self.zip.by_index(at).map_err(|e| because("not an npz archive", e))?;
        array(&mut entry, nameless).map_err(|e| because(format!("array {name:?}"), e))
    }
}

/// The names in the directory of a zip archive that begins there.
fn listed(file: &mut File, start: u64) -> Result<Vec<Vec<u8>>, Failure> {
    let mut directory = BufReader::new(file);
    directory.seek(SeekFrom::Start(start))?;
    let mut names = Vec::new();
    loop {
        // APPNOTE.TXT 4.3.12: a record of 46 bytes, the name, the extra field, the comment.
        let mut record = [0; 46];
        match directory.read_exact(&mut record) {
            Ok(()) if record.starts_with(b"PK\x01\x02") => {}
            Err(e) if e.kind() != std::io::ErrorKind::UnexpectedEof => return Err(e.into()),
            _ => return Ok(names),
        }
        let [name, extra, comment] = [28, 30, 32].map(|i| u16::from_le_bytes([record[i], record[i + 1]]));
        let mut bytes = vec![0; name.into()];
        directory.read_exact(&mut bytes)?;
        directory.seek_relative((u32::from(extra) + u32::from(comment)).into())?;
        names.push(bytes);
    }
}

/// Every array of the file, in its order. `dtype` says what one is of whose dtype NumPy has no name for.
pub fn read(path: &Path, dtype: impl Fn(&str) -> Option<DType>) -> Result<Vec<(String, Tensor)>, Failure> {
    let mut archive = Archive::open(path)?;
    let names = archive.names().to_vec();
    names.into_iter().map(|name| archive.read_as(&name, dtype(&name)).map(|tensor| (name, tensor))).collect()
}

/// Writes tensors by name. NumPy has no bf16: it becomes `V2`, as `ml_dtypes` writes it, and what takes a byte or less
/// without being one of NumPy's dtypes becomes `V1`.
pub fn write<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<(), Failure> {
    files::replace(path, |file| write_to(file, tensors))
}

fn write_to<'a>(file: &mut File, tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> Result<(), Failure> {
    let mut zip = ZipWriter::new(BufWriter::new(file));
    for (name, tensor) in tensors {
        let header = header(tensor.dtype(), tensor.shape());
        let large = tensor.bytes().len() as u64 + header.len() as u64 >= u64::from(u32::MAX);
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .last_modified_time(zip::DateTime::default())
            .large_file(large);
        zip.start_file(format!("{name}.npy"), options)?;
        zip.write_all(&header)?;
        if tensor.dtype().is_packed() {
            let codes = tensor.bytes().iter().map(|b| b & low_bits(tensor.dtype()));
            zip.write_all(&memory::collected(tensor.bytes().len(), codes).map_err(no_memory)?)?;
        } else {
            zip.write_all(tensor.bytes())?;
        }
    }
    zip.finish()?.flush()?;
    Ok(())
}

/// The header of an array in row-major order. Elements start on a multiple of 64 bytes after this, as the
/// format asks.
pub fn header(dtype: DType, shape: &[usize]) -> Vec<u8> {
    let shape: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let mut text = format!("{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}), }}", descr(dtype));
    while !(10 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.bytes());
    out
}

/// The bits of a byte that an element of less has.
fn low_bits(dtype: DType) -> u8 {
    (0xff_u32 >> (8 - dtype.bits().min(8))) as u8
}

/// The name of a dtype in NumPy.
fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::BF16 => "|V2",
        DType::F64 => "<f8",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bool => "|b1",
        _ => NAMELESS,
    }
}

/// One byte of what NumPy does not know: a float of a byte or less, or an integer of less, as `ml_dtypes` writes them all.
const NAMELESS: &str = "|V1";

/// An npy file, of this dtype if NumPy has no name for the one it is of.
fn array(file: &mut impl Read, nameless: Option<DType>) -> Result<Tensor, Failure> {
    let Header { dtype, big_endian, fortran, shape } = read_header(file, nameless)?;
    // As if no extent were 0, so that no product of some of them overflows later.
    let whole = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d.max(1))).ok_or("its size overflows")?;
    let len = if shape.contains(&0) { 0 } else { whole };
    // One more, so that a longer file is noticed.
    let mut bytes = read_most(file, len.saturating_add(1))?;
    if bytes.len() != len {
        let most = if bytes.len() > len { " or more" } else { "" };
        return Err(format!("{} bytes{most} for {dtype}{shape:?}, which takes {len}", bytes.len()).into());
    }
    if big_endian {
        bytes.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    }
    if fortran {
        bytes = to_row_major(&bytes, dtype.size(), &shape)?;
    }
    if dtype == DType::Bool {
        bytes.iter_mut().for_each(|b| *b = u8::from(*b != 0));
    }
    if dtype.is_packed() {
        let in_range = |b: u8| if dtype.is_int() { dtype.wrap(b.into()) as u8 } else { b & low_bits(dtype) };
        bytes.iter_mut().for_each(|b| *b = in_range(*b));
    }
    Tensor::from_bytes(dtype, &shape, &bytes).map_err(|_| no_memory(len))
}

/// So many bytes are more than there is memory for.
pub fn no_memory(bytes: usize) -> Failure {
    format!("{bytes} bytes are needed, which memory does not suffice for").into()
}

/// Up to so many bytes, for no more of which memory is taken than there are.
fn read_most(file: &mut impl Read, most: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while bytes.len() < most {
        let more = (most - bytes.len()).min(bytes.len().max(1 << 20));
        let all = bytes.len() + more;
        if !memory::obtainable(all) || bytes.try_reserve_exact(more).is_err() {
            return Err(no_memory(all));
        }
        if file.by_ref().take(more as u64).read_to_end(&mut bytes)? < more {
            break;
        }
    }
    Ok(bytes)
}

struct Header {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
}

/// See NumPy's `numpy.lib.format` for the layout.
fn read_header(file: &mut impl Read, nameless: Option<DType>) -> Result<Header, Failure> {
    let mut start = [0; 8];
    file.read_exact(&mut start)?;
    let wide = match start {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, 0] => false,
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, 0] => true,
        [0x93, b'N', b'U', b'M', b'P', b'Y', major, minor] => {
            return Err(format!("version {major}.{minor} of the npy format is not known").into());
        }
        _ => return Err("not an npy file".into()),
    };
    let mut len = [0; 4];
    file.read_exact(&mut len[..if wide { 4 } else { 2 }])?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_HEADER {
        return Err(format!("its header of {len} bytes is too long").into());
    }
    let mut text = vec![0; len];
    file.read_exact(&mut text)?;
    let text = String::from_utf8(text)?;
    let bad = || format!("its header {:?} is not one of a plain array", text.trim_end());
    let descr = quoted(field(&text, "descr").ok_or_else(bad)?).ok_or_else(bad)?;
    // Of these, `ml_dtypes` names one after NumPy's scheme.
    let (dtype, big_endian) = match descr {
        NAMELESS | "<V1" | "<f1" | "|f1" => {
            let named = nameless.filter(|&d| self::descr(d) == NAMELESS).ok_or_else(|| {
                format!("dtype {descr:?} is not one of NumPy's, and no input or output of this name is of such a dtype")
            })?;
            (named, false)
        }
        _ => dtype(descr).ok_or_else(|| format!("dtype {descr:?} is not supported"))?,
    };
    let order = field(&text, "fortran_order").ok_or_else(bad)?;
    let fortran = order.starts_with("True");
    if !fortran && !order.starts_with("False") {
        return Err(bad().into());
    }
    let shape = field(&text, "shape").ok_or_else(bad)?;
    let shape = shape.strip_prefix('(').and_then(|s| s.split_once(')')).ok_or_else(bad)?.0;
    let shape = shape
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(|s| s.trim_end_matches('L').parse().map_err(|_| bad()))
        .collect::<Result<_, _>>()?;
    Ok(Header { dtype, big_endian, fortran, shape })
}

/// The text behind a key of a Python dict.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    ['\'', '"'].into_iter().find_map(|q| {
        let (_, rest) = text.split_once(&format!("{q}{key}{q}"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    })
}

fn quoted(text: &str) -> Option<&str> {
    let q = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    Some(text[1..].split_once(q)?.0)
}

fn dtype(descr: &str) -> Option<(DType, bool)> {
    let (order, kind) = descr.split_at_checked(1)?;
    let dtype = DType::ALL.into_iter().find(|&d| self::descr(d)[1..] == *kind)?;
    match order {
        "<" | "|" | "=" => Some((dtype, false)),
        ">" => Some((dtype, true)),
        _ => None,
    }
}

fn to_row_major(bytes: &[u8], size: usize, shape: &[usize]) -> Result<Vec<u8>, Failure> {
    let mut out = memory::room(bytes.len()).map_err(no_memory)?;
    let mut at = vec![0; shape.len()];
    for _ in 0..bytes.len() / size {
        let element = at.iter().zip(shape).rev().fold(0, |n, (&i, &d)| n * d + i);
        out.extend_from_slice(&bytes[element * size..][..size]);
        for (i, &d) in at.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < d {
                break;
            }
            *i = 0;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.bytes());
        out.extend(data);
        out
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes: Vec<u8> = (0..48).collect();
        for dtype in DType::ALL {
            let in_range = |b: u8| match dtype {
                DType::Bool => b % 2,
                d if d.is_packed() && d.is_int() => d.wrap(b.into()) as u8,
                d => b & low_bits(d),
            };
            let bytes: Vec<u8> = bytes.iter().map(|&b| in_range(b)).collect();
            for shape in [vec![], vec![3], vec![2, 3], vec![0, 3]] {
                let len: usize = shape.iter().product::<usize>() * dtype.size();
                let tensor = Tensor::from_bytes(dtype, &shape, &bytes[..len]).expect("a tensor");
                let mut file = header(tensor.dtype(), tensor.shape());
                assert_eq!(file.len() % 64, 0);
                file.extend(tensor.bytes());
                let back = array(&mut file.as_slice(), Some(dtype)).expect("an array");
                assert_eq!((back.ty(), back.bytes()), (tensor.ty(), tensor.bytes()));
                let guessed = array(&mut file.as_slice(), None);
                assert_eq!(guessed.is_err(), descr(dtype) == NAMELESS);
            }
        }
    }

    #[test]
    fn npyz_reads_what_is_written() {
        let tensor = Tensor::new(&[2, 1], &[1.5f32, -2.0]).expect("a tensor");
        let mut file = header(tensor.dtype(), tensor.shape());
        file.extend(tensor.bytes());
        let npy = npyz::NpyFile::new(file.as_slice()).expect("a header");
        assert_eq!(npy.shape(), [2, 1]);
        assert_eq!(npy.into_vec::<f32>().expect("f32"), [1.5, -2.0]);
    }

    #[test]
    fn byte_order_and_axis_order_are_undone() {
        let big = npy("{'descr': '>i2', 'fortran_order': False, 'shape': (2,), }", &[1, 2, 3, 4]);
        assert_eq!(array(&mut big.as_slice(), None).expect("an array").as_slice::<i16>(), Ok(&[0x102, 0x304][..]));
        let fortran = npy("{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }", &[1, 4, 2, 5, 3, 6]);
        assert_eq!(array(&mut fortran.as_slice(), None).expect("an array").bytes(), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn malformed_arrays_are_refused() {
        let head = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        for (file, want) in [
            (b"PK".to_vec(), "fill whole buffer"),
            (b"not an array at all".to_vec(), "not an npy file"),
            (b"\x93NUMPY\x09\x00\x00\x00".to_vec(), "version 9.0"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(), "too long"),
            (npy("{}", &[]), "plain array"),
            (npy(&head("(-1,)"), &[]), "plain array"),
            (npy(&head("(2,)"), &[0; 4]), "4 bytes for f32[2], which takes 8"),
            (npy(&head("(1,)"), &[0; 9]), "5 bytes or more for f32[1]"),
            (npy(&head("(4294967296, 4294967296, 4294967296)"), &[]), "overflows"),
            (npy(&head("(0, 18446744073709551615, 18446744073709551615)"), &[]), "overflows"),
            (npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", &[0; 8]), "dtype \"<c8\""),
            (npy("{'descr': '', 'fortran_order': False, 'shape': (1,), }", &[0; 8]), "dtype \"\""),
            (npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", &[0; 4]), "plain array"),
        ] {
            let e = array(&mut file.as_slice(), None).expect_err(want).to_string();
            assert!(e.contains(want), "{e} / {want}");
        }
    }
}
