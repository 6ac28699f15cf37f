//! What checkpoints are looked for in: the file system, or something that is listed as one.

use std::path::Path;

use super::version::{Version, file_version};
use super::weights::stamp_of;
use crate::checkpoint::folders::Listing;

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
        file_version(checkpoint)
    }

    fn stamp(&self, file: &Path) -> Option<String> {
        stamp_of(file)
    }
}
