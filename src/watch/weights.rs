//! Files in which networks keep weights under names that only the networks tell: workers read these, and a source looks whether the
//! files change.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::checkpoint::file::{sidecar, unpacked_name};
use crate::path::RawPath;

/// Endings of files in which exporters keep weights beside `NAME.onnx`.
pub const ENDINGS: [&str; 2] = [".data", "_data"];
/// More files of one network are not told: a reply is bounded.
const MOST: usize = 1024;

/// A file of weights as it was when its network was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    file: RawPath,
    stamp: Option<String>,
}

impl Part {
    /// The files of a network that was read.
    pub fn all<'a>(files: impl IntoIterator<Item = (&'a PathBuf, &'a fs::Metadata)>) -> Vec<Self> {
        files.into_iter().map(|(file, then)| Self::at(file.clone(), stamp(then))).collect()
    }

    /// A file that lies elsewhere, with what it was there.
    pub fn at(file: PathBuf, stamp: String) -> Self {
        Self { file: RawPath(file), stamp: Some(stamp) }
    }

    /// Where it lies.
    pub fn file(&self) -> &Path {
        &self.file.0
    }

    /// Whether it is still as it was.
    pub fn is_the_same(&self) -> bool {
        stamp_of(&self.file.0) == self.stamp
    }

    /// Those whose names only the network at `checkpoint` tells; none where there are too many.
    pub fn told(checkpoint: &Path, parts: &[Self]) -> Vec<Self> {
        let is_usual = |part: &&Self| usual(checkpoint).contains(&part.file.0);
        let told: Vec<_> = parts.iter().filter(|part| !is_usual(part)).cloned().collect();
        if told.len() > MOST { Vec::new() } else { told }
    }
}

/// The files in which exporters keep weights of the network at `checkpoint`.
pub fn usual(checkpoint: &Path) -> [PathBuf; 2] {
    let name = unpacked_name(checkpoint);
    ENDINGS.map(|ending| {
        let mut file = name.as_os_str().to_owned();
        file.push(ending);
        file.into()
    })
}

/// What is read with the network at `checkpoint` where it lies beside it: weights, and what it says of itself.
pub fn beside(checkpoint: &Path) -> impl Iterator<Item = PathBuf> {
    usual(checkpoint).into_iter().chain([sidecar(checkpoint)])
}

/// What workers read of the networks that they measured; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Weights(Arc<Mutex<HashMap<PathBuf, Vec<Part>>>>);

impl Weights {
    /// What a worker read of the network at `checkpoint`.
    pub fn learn(&self, checkpoint: &Path, parts: Vec<Part>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if parts.is_empty() {
            all.remove(checkpoint);
        } else {
            all.insert(checkpoint.to_owned(), parts);
        }
    }

    /// What of a checkpoint's weights is another than when a worker read it, for its version; empty for nothing. `stamp` tells what a
    /// file is now.
    pub fn changes(&self, checkpoint: &Path, stamp: impl Fn(&Path) -> Option<String>) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = all.get(checkpoint).into_iter().flatten().map(|part| (stamp(&part.file.0), &part.stamp));
        parts.filter(|(now, then)| now != *then).map(|(now, _)| format!("~{}", now.unwrap_or_default())).collect()
    }

    /// Files of a checkpoint's weights.
    pub fn files(&self, checkpoint: &Path) -> Vec<PathBuf> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(checkpoint).into_iter().flatten().map(|part| part.file.0.clone()).collect()
    }

    /// The checkpoints whose weights a file holds.
    pub fn owners(&self, file: &Path) -> Vec<PathBuf> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let owns = |parts: &Vec<Part>| parts.iter().any(|part| part.file.0 == file);
        all.iter().filter(|(_, parts)| owns(parts)).map(|(checkpoint, _)| checkpoint.clone()).collect()
    }
}

/// Size, time of the last write and inode.
pub fn stamp(file: &fs::Metadata) -> String {
    format!("{}-{}.{:09}-{}", file.size(), file.mtime(), file.mtime_nsec(), file.ino())
}

/// As [`stamp`], of the file at a path; `None` if it is gone.
pub fn stamp_of(path: &Path) -> Option<String> {
    fs::metadata(path).ok().map(|file| stamp(&file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend;

    #[test]
    fn weights_that_change_are_told_until_they_are_read_again() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (network, file) = (folder.path().join("net.onnx"), folder.path().join("w.bin"));
        fs::write(&file, [0; 8]).expect("written");
        let weights = Weights::default();
        let now = || vec![Part::at(file.clone(), stamp_of(&file).expect("there"))];
        weights.clone().learn(&network, now());
        assert!(weights.changes(&network, stamp_of).is_empty() && weights.owners(&file) == [network.clone()]);
        fs::write(&file, [1; 9]).expect("written");
        assert!(!weights.changes(&network, stamp_of).is_empty());
        weights.learn(&network, now());
        assert!(weights.changes(&network, stamp_of).is_empty());
        weights.learn(&network, Vec::new());
        assert!(weights.owners(&file).is_empty());
        let names = ["w.bin", "w.data", "net.onnx.data", "net.onnx_data"].map(|name| folder.path().join(name));
        let parts = names.map(|file| Part::at(file, String::new()));
        assert_eq!(Part::told(&network, &parts), parts[..2]);
    }

    #[test]
    fn weights_that_are_replaced_once_they_were_hashed_are_others() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        for name in ["resnet_external.onnx", "resnet_external.onnx.data"] {
            fs::copy(fixtures.join(name), folder.path().join(name)).expect("copied");
        }
        let model = backend::read(&folder.path().join("resnet_external.onnx"), None).expect("a network");
        let weights = folder.path().join("resnet_external.onnx.data");
        fs::copy(&weights, folder.path().join("new")).expect("copied");
        fs::rename(folder.path().join("new"), &weights).expect("replaced");
        let parts = Part::all(model.external_data());
        assert!(parts.len() == 1 && !parts[0].is_the_same());
    }
}
