//! IDX, the format of the MNIST family, plain or gzipped; labels from the file beside it.
//!
//! Two zero bytes, a type (0x08: unsigned bytes), the rank, each size as a big-endian 32-bit number, then the values.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::raw::{Pixels, Raw};
use crate::error::{Error, Result};

const UNSIGNED_BYTE: u8 = 0x08;

pub fn read(path: &Path) -> Result<Raw> {
    let (values, dims) = array(path)?;
    let Some(images) = dims.first() else {
        return Err(Error::probe(path, "images of rank 3 or 4", "a single value"));
    };
    let labels = match labels_beside(path).into_iter().find(|file| file.is_file()) {
        None => None,
        Some(file) => {
            let (labels, sizes) = array(&file)?;
            if sizes != [*images] {
                let found = format!("labels of shape {sizes:?} in {}", file.display());
                return Err(Error::probe(path, format!("{images} labels"), found));
            }
            Some(labels.into_iter().map(u32::from).collect())
        }
    };
    Ok(Raw { pixels: Pixels::U8(values), dims, labels, notes: Vec::new() })
}

fn array(path: &Path) -> Result<(Vec<u8>, Vec<usize>)> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path, "open"))?);
    let zipped = file.fill_buf().map_err(Error::io(path, "read"))?.starts_with(&[0x1f, 0x8b]);
    if !zipped {
        return parse(path, file);
    }
    let mut file = BufReader::new(MultiGzDecoder::new(file));
    let is_other = file.fill_buf().is_ok_and(|start| !start.starts_with(&[0, 0]));
    if is_other {
        let expected = "an IDX file in gzip, or another format outside it (gunzip unpacks a .tar.gz)";
        return Err(Error::probe(path, expected, "a gzip archive of something else"));
    }
    parse(path, file)
}

fn parse(path: &Path, mut reader: impl Read) -> Result<(Vec<u8>, Vec<usize>)> {
    let damaged =
        |error: std::io::Error| Error::probe(path, "a whole IDX file", format!("one cut short or damaged ({error})"));
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(damaged)?;
    let [0, 0, kind, rank] = magic else {
        return Err(Error::probe(path, "an IDX file", format!("one that begins with {magic:02x?}")));
    };
    if kind != UNSIGNED_BYTE {
        return Err(Error::probe(path, "IDX values of type unsigned byte (0x08)", format!("type {kind:#04x}")));
    }
    let mut dims = Vec::new();
    for _ in 0..rank {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(damaged)?;
        dims.push(u32::from_be_bytes(size) as usize);
    }
    let count = dims.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    let Some(count) = count else {
        return Err(Error::probe(path, "an array that fits in memory", format!("shape {dims:?}")));
    };
    // Grows as bytes come: a lying header allocates nothing.
    let mut values = Vec::new();
    reader.take(count as u64).read_to_end(&mut values).map_err(damaged)?;
    if values.len() != count {
        let found = format!("{} (the file is cut short)", values.len());
        return Err(Error::probe(path, format!("{count} values for shape {dims:?}"), found));
    }
    Ok((values, dims))
}

/// Where labels may lie: `t10k-labels-idx1-ubyte` for `t10k-images-idx3-ubyte`, with or without `.gz`.
pub fn labels_beside(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let labels = name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1");
    if labels == name {
        return Vec::new();
    }
    let plain = labels.strip_suffix(".gz").unwrap_or(&labels).to_owned();
    [labels, format!("{plain}.gz"), plain].into_iter().map(|name| path.with_file_name(name)).collect()
}
