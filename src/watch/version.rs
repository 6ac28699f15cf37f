//! Which version of a checkpoint lies at a path, told without reading it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::weights::{stamp, stamp_of, usual};
use crate::checkpoint::native;

/// Tells one version of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Size, time of the last write and inode, of the file and of its weights beside it; of a folder, a hash of those of its files.
    pub fingerprint: String,
    /// The last write.
    pub written: SystemTime,
    /// Of a file, size and second of the last write: what other machines that share it see too.
    pub seen: Option<(u64, i64)>,
}

/// The present version of a checkpoint's file, or of its folder; `None` if it is gone, or neither, or a folder without files.
pub fn version(path: &Path) -> Option<Version> {
    file_version(path).or_else(|| folder_version(path))
}

/// As [`version`], of a folder that is a checkpoint as a whole.
pub fn folder_version(folder: &Path) -> Option<Version> {
    let mut written = fs::metadata(folder).ok().filter(fs::Metadata::is_dir)?.modified().ok()?;
    let mut hash = Sha256::new();
    let files = native::files(folder).ok().filter(|files| !files.is_empty())?;
    for path in files {
        // One that is gone by now is another version.
        let Ok(file) = fs::metadata(&path) else { continue };
        written = written.max(file.modified().ok()?);
        hash.update(crate::path::to_bytes(&path));
        hash.update(stamp(&file));
    }
    Some(Version { fingerprint: hex::encode(&hash.finalize()[..16]), written, seen: None })
}

/// As [`version`], of a file.
pub fn file_version(path: &Path) -> Option<Version> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut fingerprint = stamp(&file);
    for weights in usual(path) {
        if let Some(stamp) = stamp_of(&weights) {
            fingerprint = format!("{fingerprint}+{stamp}");
        }
    }
    Some(Version { fingerprint, written: file.modified().ok()?, seen: Some((file.size(), file.mtime())) })
}
