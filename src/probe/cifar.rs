//! CIFAR-10 and CIFAR-100 as published: binary records, or batches that Python pickled.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde_pickle::{DeOptions, HashableValue, Value};

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
    let file = BufReader::new(File::open(path).map_err(Error::io(path, "open"))?);
    let damaged = |found: String| Error::probe(path, "a batch of CIFAR as Python pickled it", found);
    // Python objects come as the state that they would be given: an array as (version, shape, type, order, bytes).
    let value = serde_pickle::value_from_reader(file, DeOptions::new()).map_err(|error| damaged(error.to_string()))?;
    let Value::Dict(entries) = value else { return Err(damaged("no dictionary".to_owned())) };
    let mut entries: BTreeMap<String, Value> =
        entries.into_iter().filter_map(|(key, value)| Some((name(key)?, value))).collect();
    let Some(Value::Tuple(state)) = entries.remove("data") else {
        return Err(damaged("no array named data".to_owned()));
    };
    let pixels = state.into_iter().find_map(|value| if let Value::Bytes(bytes) = value { Some(bytes) } else { None });
    let pixels = pixels.ok_or_else(|| damaged("an array data that is not of bytes".to_owned()))?;
    let labels = entries.remove("labels").or_else(|| entries.remove("fine_labels"));
    let Some(Value::List(labels)) = labels else { return Err(damaged("no labels or fine_labels".to_owned())) };
    let label = |value: Value| if let Value::I64(label) = value { u32::try_from(label).ok() } else { None };
    let labels: Option<Vec<u32>> = labels.into_iter().map(label).collect();
    let labels = labels.ok_or_else(|| damaged("labels that are no numbers from 0 up".to_owned()))?;
    if pixels.len() != labels.len() * IMAGE {
        return Err(damaged(format!("{} labels for {} bytes of images", labels.len(), pixels.len())));
    }
    Ok(raw(pixels, labels))
}

/// Python 2 wrote its names as bytes.
fn name(key: HashableValue) -> Option<String> {
    match key {
        HashableValue::String(name) => Some(name),
        HashableValue::Bytes(name) => String::from_utf8(name).ok(),
        _ => None,
    }
}

fn raw(pixels: Vec<u8>, labels: Vec<u32>) -> Raw {
    Raw { dims: vec![labels.len(), 3, 32, 32], pixels: Pixels::U8(pixels), labels: Some(labels) }
}
