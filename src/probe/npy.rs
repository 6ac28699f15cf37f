//! NumPy's `.npy`: one array of bytes or floats.

use std::io::Read;
use std::path::Path;

use npyz::{DType, Order, TypeChar};

use super::raw::{Pixels, Raw};
use crate::arrays::{Begun, Fault, begin, dims};
use crate::error::{Error, Result};

pub fn read(path: &Path, reader: impl Read) -> Result<Raw> {
    let (pixels, dims) = array(path, reader)?;
    Ok(Raw { pixels, dims, labels: None, notes: Vec::new() })
}

/// Pixels and sizes of one array in C order.
pub fn array(path: &Path, reader: impl Read) -> Result<(Pixels, Vec<usize>)> {
    let file = start(path, "a whole NumPy array", reader)?;
    let dims = dims(file.shape()).map_err(|fault| refused(path, fault))?;
    if file.order() == Order::Fortran && dims.len() > 1 {
        return Err(Error::probe(path, "an array in C order", "Fortran order (numpy.ascontiguousarray converts it)"));
    }
    let dtype = file.dtype();
    let count = dims.iter().product();
    let pixels = match kind(&dtype) {
        Some((TypeChar::Uint, 1)) => Pixels::U8(bytes(path, file.into_inner(), count)?),
        Some((TypeChar::Float, 4)) => Pixels::F32(values(path, file.data::<f32>(), count, |value| value)?),
        Some((TypeChar::Float, 8)) => Pixels::F32(values(path, file.data::<f64>(), count, |value| value as f32)?),
        _ => return Err(Error::probe(path, "uint8, float32 or float64 images", format!("{} ", dtype.descr()).trim())),
    };
    Ok((pixels, dims))
}

/// Class labels from an array of integers of any width.
pub fn labels(path: &Path, reader: impl Read) -> Result<Vec<u32>> {
    let file = start(path, "whole labels", reader)?;
    let dims = dims(file.shape()).map_err(|fault| refused(path, fault))?;
    let count = dims.iter().product();
    if dims.iter().filter(|size| **size != 1).count() > 1 {
        return Err(Error::probe(path, "labels of rank 1", format!("an array of shape {dims:?}")));
    }
    let dtype = file.dtype();
    let wide: Vec<i64> = match kind(&dtype) {
        Some((TypeChar::Uint, 1)) => values(path, file.data::<u8>(), count, i64::from)?,
        Some((TypeChar::Uint, 2)) => values(path, file.data::<u16>(), count, i64::from)?,
        Some((TypeChar::Uint, 4)) => values(path, file.data::<u32>(), count, i64::from)?,
        Some((TypeChar::Uint, 8)) => values(path, file.data::<u64>(), count, |v| i64::try_from(v).unwrap_or(-1))?,
        Some((TypeChar::Int, 1)) => values(path, file.data::<i8>(), count, i64::from)?,
        Some((TypeChar::Int, 2)) => values(path, file.data::<i16>(), count, i64::from)?,
        Some((TypeChar::Int, 4)) => values(path, file.data::<i32>(), count, i64::from)?,
        Some((TypeChar::Int, 8)) => values(path, file.data::<i64>(), count, |v| v)?,
        _ => return Err(Error::probe(path, "integer labels", dtype.descr())),
    };
    wide.into_iter()
        .map(|label| u32::try_from(label).map_err(|_| Error::probe(path, "labels from 0 up", format!("label {label}"))))
        .collect()
}

fn start<R: Read>(path: &Path, expected: &str, reader: R) -> Result<Begun<R>> {
    begin(expected, reader).map_err(|fault| refused(path, fault))
}

fn refused(path: &Path, Fault { expected, found }: Fault) -> Error {
    Error::probe(path, expected, found)
}

fn kind(dtype: &DType) -> Option<(TypeChar, u64)> {
    match dtype {
        DType::Plain(kind) => Some((kind.type_char(), kind.size_field())),
        _ => None,
    }
}

/// Exactly `count` bytes; grows as they come, so that a lying header allocates nothing.
fn bytes(path: &Path, reader: impl Read, count: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .take(count as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::probe(path, format!("{count} values"), format!("a damaged file ({error})")))?;
    complete(path, bytes, count)
}

fn values<T: npyz::Deserialize, R: Read, U>(
    path: &Path,
    reader: std::result::Result<npyz::NpyReader<T, R>, npyz::DTypeError>,
    count: usize,
    convert: impl Fn(T) -> U,
) -> Result<Vec<U>> {
    let reader = reader.map_err(|error| Error::probe(path, "a plain array", error.to_string()))?;
    let mut values = Vec::new();
    for value in reader {
        // The end of a file that is cut short; `complete` says so with both counts.
        let Ok(value) = value else { break };
        values.push(convert(value));
    }
    complete(path, values, count)
}

fn complete<T>(path: &Path, values: Vec<T>, count: usize) -> Result<Vec<T>> {
    if values.len() == count {
        return Ok(values);
    }
    Err(Error::probe(path, format!("{count} values"), format!("{} (the file is cut short)", values.len())))
}
