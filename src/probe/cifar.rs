//! CIFAR-10 and CIFAR-100 as published: binary records, or batches that Python pickled.

use std::path::{Path, PathBuf};

use super::pickle::Pickle;
use super::raw::{Pixels, Raw};
use crate::error::{Error, Result};

/// Red, green and blue planes of 32 x 32 pixels.
const IMAGE: usize = 3 * 32 * 32;

/// The test images in a folder of either release, by their published names.
pub fn test_batch_in(folder: &Path) -> Option<PathBuf> {
    // The pickled ones go by plain words: only with their neighbour are they CIFAR's.
    let published =
        [("test_batch.bin", None), ("test.bin", None), ("test_batch", Some("batches.meta")), ("test", Some("meta"))];
    published
        .into_iter()
        .filter(|(_, neighbour)| neighbour.is_none_or(|neighbour| folder.join(neighbour).is_file()))
        .map(|(name, _)| folder.join(name))
        .find(|path| path.is_file())
}

/// Records have no mark: the file's name and length are all there is to go by.
pub fn is_binary(path: &Path, bytes: u64) -> bool {
    let fits = |labels: u64| bytes > 0 && bytes.is_multiple_of(labels + IMAGE as u64);
    path.extension().is_some_and(|extension| extension == "bin") && (fits(1) || fits(2))
}

/// Records of a label (CIFAR-100: a coarse one before it), then the planes.
pub fn binary(path: &Path) -> Result<Raw> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let is_of = |labels: usize, classes: &[u8]| {
        let mut records = bytes.chunks_exact(labels + IMAGE);
        records.all(|record| record.iter().zip(classes).all(|(label, classes)| label < classes))
            && records.remainder().is_empty()
    };
    let before = if is_of(1, &[10]) {
        1
    } else if is_of(2, &[20, 100]) {
        2
    } else {
        return Err(Error::probe(path, "CIFAR records of 3,073 or 3,074 bytes", "labels that are none of CIFAR's"));
    };
    let records = || bytes.chunks_exact(before + IMAGE);
    let labels = records().map(|record| u32::from(record[before - 1])).collect();
    let pixels: Vec<u8> = records().flat_map(|record| &record[before..]).copied().collect();
    Ok(raw(pixels, labels))
}

/// A dictionary of `data`, an array `[image, 3072]`, and `labels` or `fine_labels`.
pub fn pickled(path: &Path) -> Result<Raw> {
    let damaged = |found: String| Error::probe(path, "a batch of CIFAR as Python pickled it", found);
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let batch = Pickle::parse(&bytes).ok_or_else(|| damaged("a damaged pickle, or one of other objects".to_owned()))?;
    let found = || damaged("no array of bytes in C's order named data".to_owned());
    let (sizes, pixels) = batch.array("data").ok_or_else(found)?;
    let labels = batch.numbers("labels").or_else(|| batch.numbers("fine_labels"));
    let labels = labels.ok_or_else(|| damaged("no numbers named labels or fine_labels".to_owned()))?;
    let labels: Option<Vec<u32>> = labels.into_iter().map(|label| u32::try_from(label).ok()).collect();
    let labels = labels.ok_or_else(|| damaged("labels below 0".to_owned()))?;
    if sizes != [labels.len() as i64, IMAGE as i64] || Some(pixels.len()) != labels.len().checked_mul(IMAGE) {
        let found = format!("{} labels for an array {sizes:?} of {} bytes", labels.len(), pixels.len());
        return Err(damaged(found));
    }
    Ok(raw(pixels.to_vec(), labels))
}

fn raw(pixels: Vec<u8>, labels: Vec<u32>) -> Raw {
    Raw { dims: vec![labels.len(), 3, 32, 32], pixels: Pixels::U8(pixels), labels: Some(labels), notes: Vec::new() }
}
