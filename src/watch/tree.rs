//! What checkpoints are looked for in: the file system, or something that is listed as one.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::weights::{stamp, stamp_of, usual};
use crate::checkpoint::folders::Listing;

/// Tells one version of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Size, time of the last write and inode, of the file and of its weights beside it.
    pub fingerprint: String,
    /// The last write.
    pub written: SystemTime,
}

/// What a search looks through.
pub trait Tree: std::fmt::Debug + Send + Sync {
    /// What lies in a folder.
    ///
    /// # Errors
    /// The system's, if it cannot be listed.
    fn list(&self, folder: &Path) -> std::io::Result<Listing>;

    /// A checkpoint's present version; `None` if it is gone.
    fn version(&self, checkpoint: &Path) -> Option<Version>;

    /// Tells what a file is now from what it was; `None` if it is gone.
    fn stamp(&self, file: &Path) -> Option<String>;
}

/// The file system.
#[derive(Debug)]
pub struct Disk;

impl Tree for Disk {
    fn list(&self, folder: &Path) -> std::io::Result<Listing> {
        Listing::of(folder)
    }

    fn version(&self, checkpoint: &Path) -> Option<Version> {
        version(checkpoint)
    }

    fn stamp(&self, file: &Path) -> Option<String> {
        stamp_of(file)
    }
}

/// The file's present version; `None` if it is gone or no regular file.
#[must_use]
pub fn version(path: &Path) -> Option<Version> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut fingerprint = stamp(&file);
    for weights in usual(path) {
        if let Some(stamp) = stamp_of(&weights) {
            fingerprint = format!("{fingerprint}+{stamp}");
        }
    }
    Some(Version { fingerprint, written: file.modified().ok()? })
}
