//! NumPy's `.npy`: one array of numbers.

use std::cell::Cell;
use std::io::Read;
use std::path::Path;

use half::f16;
use npyz::{DType, Order, TypeChar};

use super::raw::{Pixels, Raw, whole};
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
    let count = dims.iter().product();
    let pixels = match kind(&file.dtype()) {
        Some((TypeChar::Uint, 1)) => Pixels::U8(bytes(path, file.into_inner(), count)?),
        Some((TypeChar::Float, 2)) => Pixels::F32(values(path, file.data::<f16>(), count, f32::from)?),
        Some((TypeChar::Float, 4)) => Pixels::F32(values(path, file.data::<f32>(), count, |value| value)?),
        Some((TypeChar::Float, 8)) => Pixels::F32(values(path, file.data::<f64>(), count, |value| value as f32)?),
        Some((TypeChar::Int | TypeChar::Uint, _)) => Pixels::U8(wide_bytes(path, file, count)?),
        _ => {
            let found = format!("{} (images.astype(\"float32\") converts numbers)", file.dtype().descr());
            return Err(Error::probe(path, "uint8 or float images", found));
        }
    };
    Ok((pixels, dims))
}

/// Bytes that are kept as wider integers.
fn wide_bytes(path: &Path, file: Begun<impl Read>, count: usize) -> Result<Vec<u8>> {
    let dtype = file.dtype().descr();
    let beyond = Cell::new(None);
    let byte = |value| {
        u8::try_from(value).unwrap_or_else(|_| {
            beyond.set(Some(value));
            0
        })
    };
    let bytes = integers(path, file, count, byte)?;
    match beyond.get() {
        None => Ok(bytes),
        Some(value) => {
            let found =
                format!("{value} in an array of {dtype} (divide by the largest possible value: floats are read)");
            Err(Error::probe(path, "integers from 0 to 255 as pixels", found))
        }
    }
}

/// Class labels from an array of whole numbers of any kind, or of ones and zeros with a row for each image (one-hot).
pub fn labels(path: &Path, reader: impl Read) -> Result<Vec<u32>> {
    let file = start(path, "whole labels", reader)?;
    let dims = dims(file.shape()).map_err(|fault| refused(path, fault))?;
    let count = dims.iter().product();
    let sizes: Vec<_> = dims.iter().copied().filter(|size| *size != 1).collect();
    match sizes[..] {
        [] | [_] => numbers(path, file, count, |value| whole(value).ok_or(value))?
            .into_iter()
            .map(|value| label(path, value))
            .collect(),
        [_, classes] if classes > 0 => {
            let is_one = |value| match whole(value) {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            };
            one_hot(&numbers(path, file, count, is_one)?, classes).ok_or_else(|| {
                let found = format!("an array of shape {dims:?} (numpy.argmax(labels, axis=1) takes the largest)");
                Error::probe(path, "a label for each image, or rows with a single 1", found)
            })
        }
        _ => Err(Error::probe(path, "labels of rank 1", format!("an array of shape {dims:?}"))),
    }
}

fn label(path: &Path, value: std::result::Result<i64, f64>) -> Result<u32> {
    let value = value.map_err(|value| Error::probe(path, "whole numbers as labels", value.to_string()))?;
    u32::try_from(value).map_err(|_| Error::probe(path, "labels from 0 up", format!("label {value}")))
}

/// The place of the 1 in each row of so many numbers; none where a row has another, or anything else.
fn one_hot(are_one: &[Option<bool>], classes: usize) -> Option<Vec<u32>> {
    let place = |row: &[Option<bool>]| {
        let place = row.iter().position(|is_one| *is_one == Some(true))?;
        (row.iter().filter(|is_one| **is_one != Some(false)).count() == 1).then_some(place as u32)
    };
    are_one.chunks(classes).map(place).collect()
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

/// Numbers of any kind that labels are kept in.
fn numbers<U>(path: &Path, file: Begun<impl Read>, count: usize, convert: impl Fn(f64) -> U) -> Result<Vec<U>> {
    match kind(&file.dtype()) {
        Some((TypeChar::Float, 4)) => values(path, file.data::<f32>(), count, |value| convert(value.into())),
        Some((TypeChar::Float, 8)) => values(path, file.data::<f64>(), count, convert),
        Some((TypeChar::Bool, 1)) => values(path, file.data::<bool>(), count, |value| convert(u8::from(value).into())),
        Some((TypeChar::Int | TypeChar::Uint, _)) => integers(path, file, count, |value| convert(value as f64)),
        _ => {
            let found =
                format!("{} (numpy.unique(labels, return_inverse=True)[1] numbers names)", file.dtype().descr());
            Err(Error::probe(path, "numbers of classes as labels", found))
        }
    }
}

/// Integers of any width.
fn integers<U>(path: &Path, file: Begun<impl Read>, count: usize, convert: impl Fn(i64) -> U) -> Result<Vec<U>> {
    match kind(&file.dtype()) {
        Some((TypeChar::Uint, 1)) => values(path, file.data::<u8>(), count, |value| convert(value.into())),
        Some((TypeChar::Uint, 2)) => values(path, file.data::<u16>(), count, |value| convert(value.into())),
        Some((TypeChar::Uint, 4)) => values(path, file.data::<u32>(), count, |value| convert(value.into())),
        Some((TypeChar::Uint, _)) => {
            values(path, file.data::<u64>(), count, |value| convert(value.try_into().unwrap_or(i64::MAX)))
        }
        Some((_, 1)) => values(path, file.data::<i8>(), count, |value| convert(value.into())),
        Some((_, 2)) => values(path, file.data::<i16>(), count, |value| convert(value.into())),
        Some((_, 4)) => values(path, file.data::<i32>(), count, |value| convert(value.into())),
        _ => values(path, file.data::<i64>(), count, convert),
    }
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
