//! Which checkpoints a run's directory holds, and which are whole.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::backend::read_metadata;
use crate::checkpoint::{Metadata, from_name, step_and_epoch};
use crate::error::{Error, Result};

/// The checkpoints in `folder` and in its sub-directories that are named after a step or an epoch, in training order.
///
/// # Errors
/// `Io` if the directory cannot be listed.
pub fn scan(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(ordered(files(folder)?.into_iter().map(|(path, _)| path).collect()))
}

/// Size and time of the last write: another version where they differ.
type Version = (u64, SystemTime);

fn files(folder: &Path) -> Result<Vec<(PathBuf, Version)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && from_name(&name) != (None, None) {
            // One that vanishes or cannot be read while we look is not there.
            let inner = fs::read_dir(&path).into_iter().flatten().flatten();
            found.extend(inner.filter_map(|entry| checkpoint(entry.path())));
        } else {
            found.extend(checkpoint(path));
        }
    }
    Ok(found)
}

fn checkpoint(path: PathBuf) -> Option<(PathBuf, Version)> {
    let name = path.file_name()?.to_string_lossy();
    if name.starts_with('.') || path.extension()? != "onnx" {
        return None;
    }
    let metadata = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let version = (metadata.len(), metadata.modified().ok()?);
    Some((path, version))
}

/// By step, then epoch, then time of the write.
fn ordered(mut paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.sort_by_cached_key(|path| {
        let metadata = read_metadata(path).unwrap_or_else(|_| {
            let (step, epoch) = step_and_epoch(path);
            Metadata { step, epoch, ..Metadata::default() }
        });
        let written = fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        Key(metadata, written, path.clone())
    });
    paths
}

struct Key(Metadata, SystemTime, PathBuf);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.order(&other.0).then(self.1.cmp(&other.1)).then(self.2.cmp(&other.2))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

/// A directory that is looked at again and again.
#[derive(Debug)]
pub struct Source {
    folder: PathBuf,
    /// Versions seen at the last look, and whether they were handed out.
    known: HashMap<PathBuf, (Version, bool)>,
}

impl Source {
    /// Watches `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), known: HashMap::new() }
    }

    /// Checkpoints that were the same at the last look and were not handed out yet, in training order.
    ///
    /// # Errors
    /// `Io` if the directory cannot be listed.
    pub fn ready(&mut self) -> Result<Vec<PathBuf>> {
        let mut ready = Vec::new();
        let mut now = HashMap::new();
        for (path, version) in files(&self.folder)? {
            let before = self.known.get(&path).filter(|(known, _)| *known == version);
            if before.is_some_and(|(_, handed_out)| !handed_out) {
                ready.push(path.clone());
            }
            now.insert(path, (version, before.is_some()));
        }
        self.known = now;
        Ok(ordered(ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn checkpoints_are_found_two_levels_deep_and_put_in_training_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in
            ["step_10.onnx", "step_9.onnx", "checkpoint-11/model.onnx", "other/model.onnx", ".step_1.onnx", "notes.txt"]
        {
            write(&folder.path().join(name), "x");
        }
        let found = scan(folder.path()).expect("listed");
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(folder.path()).expect("inside")).collect();
        assert_eq!(names, ["step_9.onnx", "step_10.onnx", "checkpoint-11/model.onnx"].map(Path::new));
    }

    #[test]
    fn a_file_is_handed_out_once_it_rests_and_again_when_it_changes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("step_1.onnx");
        let mut source = Source::new(folder.path());
        write(&file, "ha");
        assert!(source.ready().expect("listed").is_empty(), "just appeared");
        write(&file, "half");
        assert!(source.ready().expect("listed").is_empty(), "still growing");
        assert_eq!(source.ready().expect("listed"), std::slice::from_ref(&file));
        assert!(source.ready().expect("listed").is_empty(), "once only");
        write(&file, "another");
        source.ready().expect("listed");
        assert_eq!(source.ready().expect("listed"), [file]);
    }
}
