//! npz files: the inputs as NumPy wrote them, the outputs by their number.

use crate::Failure;
use npyz::npz::{NpzArchive, NpzWriter};
use npyz::{AutoSerialize, NpyFile, Order, WriterBuilder};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// An array of an npz file, in row-major order.
pub struct Array {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Data,
}

/// Elements of the types that the models of the bench have.
pub enum Data {
    F32(Vec<f32>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    Bool(Vec<bool>),
}

/// Every array of the file.
pub fn read(path: &Path) -> Result<Vec<Array>, Failure> {
    let fail = |e: Failure| format!("cannot read {}: {e}", path.display());
    let mut archive = NpzArchive::open(path).map_err(|e| fail(e.into()))?;
    let names: Vec<String> = archive.array_names().map(String::from).collect();
    let arrays = names.into_iter().map(|name| {
        let file = archive.by_name(&name)?.ok_or("an array is gone")?;
        array(name, file)
    });
    Ok(arrays.collect::<Result<_, _>>().map_err(fail)?)
}

fn array(name: String, file: NpyFile<impl Read>) -> Result<Array, Failure> {
    if file.order() != Order::C {
        return Err(format!("array {name:?} is not in C order").into());
    }
    let shape = file.shape().iter().map(|&d| usize::try_from(d)).collect::<Result<_, _>>()?;
    let data = match file.dtype().descr().trim_matches('\'') {
        "<f4" => Data::F32(file.into_vec()?),
        "<i4" => Data::I32(file.into_vec()?),
        "<i8" => Data::I64(file.into_vec()?),
        "|b1" => Data::Bool(file.into_vec()?),
        other => return Err(format!("array {name:?} has elements {other}; this takes f32, i32, i64 and bool").into()),
    };
    Ok(Array { name, shape, data })
}

/// Writes arrays in their order.
pub fn write(path: &Path, arrays: &[Array]) -> Result<(), Failure> {
    let mut npz = NpzWriter::create(path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    for a in arrays {
        match &a.data {
            Data::F32(v) => add(&mut npz, a, v)?,
            Data::I32(v) => add(&mut npz, a, v)?,
            Data::I64(v) => add(&mut npz, a, v)?,
            Data::Bool(v) => add(&mut npz, a, v)?,
        }
    }
    npz.zip_writer().finish()?.flush()?;
    Ok(())
}

fn add<T, W>(npz: &mut NpzWriter<W>, array: &Array, values: &[T]) -> Result<(), Failure>
where
    T: AutoSerialize + Copy,
    W: Write + Seek,
{
    let shape: Vec<u64> = array.shape.iter().map(|&d| d as u64).collect();
    let entry = npz.array::<T>(&array.name, npyz::zip::write::FileOptions::default())?;
    let mut writer = entry.default_dtype().shape(&shape).begin_nd()?;
    writer.extend(values.iter().copied())?;
    Ok(writer.finish()?)
}
