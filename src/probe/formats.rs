//! Which format a file or folder is of; each is read by one file beside this one.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use super::contents::Contents;
use super::{cifar, folder, idx, npy, npz, parquet, webdataset};
use crate::error::{Error, Result};
use crate::small_file;

const FORMATS: &str = "a folder of images, .npy, .npz, IDX, CIFAR batches, Parquet or WebDataset tar";
/// Where a tar archive says that it is one.
const TAR_MAGIC: std::ops::Range<usize> = 257..262;

/// Opens whatever the first bytes of the file, or the names in the folder, show.
pub fn open(path: &Path) -> Result<Contents> {
    let metadata = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
    if metadata.is_dir() {
        return of_folder(path);
    }
    if !metadata.is_file() {
        return Err(Error::probe(path, FORMATS, small_file::kind(&metadata)));
    }
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let mut start = Vec::new();
    file.by_ref().take(TAR_MAGIC.end as u64).read_to_end(&mut start).map_err(Error::io(path, "read"))?;
    let whole = || File::open(path).map(BufReader::new).map_err(Error::io(path, "open"));
    match start.as_slice() {
        [] => Err(Error::probe(path, FORMATS, "an empty file")),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Ok(Contents::Array(npy::read(path, whole()?)?)),
        [b'P', b'K', ..] => Ok(Contents::Array(npz::read(path)?)),
        [b'P', b'A', b'R', b'1', ..] => Ok(Contents::Encoded(parquet::open(&[path.to_owned()])?)),
        start if start.get(TAR_MAGIC) == Some(b"ustar") => Ok(Contents::Encoded(webdataset::open(&[path.to_owned()])?)),
        _ if cifar::is_binary(path, metadata.len()) => Ok(Contents::Array(cifar::binary(path)?)),
        [0x80, 2..=5, ..] => Ok(Contents::Array(cifar::pickled(path)?)),
        [0x1f, 0x8b, ..] | [0, 0, 0x08..=0x0e, ..] => Ok(Contents::Array(idx::read(path)?)),
        _ => Err(Error::probe(path, FORMATS, "another kind of file")),
    }
}

fn of_folder(path: &Path) -> Result<Contents> {
    if let Some(batch) = cifar::test_batch_in(path) {
        return open(&batch);
    }
    let tables = folder::shards(path, "parquet")?;
    if !tables.is_empty() {
        return parquet::open(&tables).map(Contents::Encoded);
    }
    let archives = folder::shards(path, "tar")?;
    if !archives.is_empty() {
        return webdataset::open(&archives).map(Contents::Encoded);
    }
    folder::open(path).map(Contents::Encoded)
}
