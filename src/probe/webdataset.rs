//! `WebDataset`: tar archives in which an image and its class share the name up to the first dot (`0001.jpg`, `0001.cls`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use tar::{Archive, EntryType};

use super::contents::{Catalogue, Encoded};
use super::folder::has_image_name;
use crate::error::{Error, Result};

/// A class is a number in text.
const LONGEST_CLASS: u64 = 32;

struct Samples {
    shards: Vec<PathBuf>,
    /// Shard, where the bytes begin, how many, and what the sample is called.
    places: Vec<(usize, u64, u64, String)>,
}

/// Lists the archives from their headers alone.
pub fn open(shards: &[PathBuf]) -> Result<Catalogue> {
    let mut places = Vec::new();
    let mut labels: Vec<Option<u32>> = Vec::new();
    for (shard, path) in shards.iter().enumerate() {
        let classes = list(path, shard, &mut places)?;
        let key = |name: &str| classes.get(key(name)).copied();
        labels.extend(places[labels.len()..].iter().map(|(_, _, _, name)| key(name)));
    }
    let path = &shards[0];
    if places.is_empty() {
        return Err(Error::probe(path, "images (PNG, JPEG, WebP, BMP) in the archive", "none"));
    }
    let known = labels.iter().flatten().count();
    let notes = match known {
        0 => vec!["no labels: a sample's class is a number in a file of its name that ends in .cls".to_owned()],
        known if known < labels.len() => {
            vec![format!("{} of {} samples have no class: none is used", labels.len() - known, labels.len())]
        }
        _ => Vec::new(),
    };
    let labels = labels.into_iter().collect();
    Ok(Catalogue { count: places.len(), images: Box::new(Samples { shards: shards.to_vec(), places }), labels, notes })
}

/// Adds the shard's images to `places`; gives the class of each sample that has one.
fn list(path: &Path, shard: usize, places: &mut Vec<(usize, u64, u64, String)>) -> Result<BTreeMap<String, u32>> {
    let damaged = |error: std::io::Error| Error::probe(path, "a whole tar archive", format!("a damaged one ({error})"));
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    let length = file.metadata().map_err(Error::io(path, "read"))?.len();
    let mut classes = BTreeMap::new();
    for entry in Archive::new(file).entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous) {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // What macOS knows of a file lies beside it, under its name behind "._".
        if name.rsplit('/').next().is_some_and(|file| file.starts_with('.')) {
            continue;
        }
        let (start, size) = (entry.raw_file_position(), entry.size());
        if start.checked_add(size).is_none_or(|end| end > length) {
            return Err(Error::probe(path, "a whole tar archive", format!("one cut short within {name}")));
        }
        if has_image_name(&name) {
            places.push((shard, start, size, name));
        } else if name.rsplit_once('.').is_some_and(|(_, extension)| extension == "cls") {
            let mut text = String::new();
            entry.by_ref().take(LONGEST_CLASS).read_to_string(&mut text).map_err(damaged)?;
            let class = text
                .trim()
                .parse()
                .map_err(|_| Error::probe(path, format!("a class number in {name}"), format!("{:?}", text.trim())))?;
            classes.insert(key(&name).to_owned(), class);
        }
    }
    Ok(classes)
}

/// The name up to the first dot behind the last folder.
fn key(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].find('.').map_or(name, |dot| &name[..file + dot])
}

impl Encoded for Samples {
    fn name(&self, index: usize) -> String {
        self.places[index].3.clone()
    }

    fn read(&self, indices: &[usize]) -> Vec<std::result::Result<Vec<u8>, String>> {
        let read = |index: &usize| {
            let (shard, start, size, _) = &self.places[*index];
            let mut file = File::open(&self.shards[*shard])?;
            file.seek(std::io::SeekFrom::Start(*start))?;
            let mut bytes = Vec::new();
            file.take(*size).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        indices.iter().map(|index| read(index).map_err(|error: std::io::Error| error.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn a_sample_is_named_up_to_its_first_dot() {
        assert_eq!(key("a.b/0001.left.jpg"), "a.b/0001");
        assert_eq!(key("0001.cls"), "0001");
        assert_eq!(key("a/b"), "a/b");
    }
}
