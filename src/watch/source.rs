//! Where checkpoints come from: the seam between the daemon and whatever holds their files.
//!
//! A source promises to tell of each version of each checkpoint at least once, and, as [`News::Caught`], when all that was there at
//! the beginning (or at a rescan) has been told; a version changes whenever the content does. It runs on a thread of its own, tells over
//! a bounded channel, and waits when the daemon is slow.
//! It never opens a checkpoint, never decides what is measured, and never keeps what it told: the journal does.

pub mod directory;
pub mod store;

use std::path::{Path, PathBuf};

use super::scan::Found;
use super::version::Version;
use super::weights::Part;
use crate::store::address::Object;

/// A source of checkpoints that is already telling; it ends when it is dropped.
pub trait Source: Send {
    /// Tells of everything again.
    fn rescan(&self);

    /// The checkpoint's present version; `None` if it is gone.
    fn version(&self, checkpoint: &Path) -> Option<Version>;

    /// Whether a checkpoint or a watched directory that has no version here is gone, rather than not seen yet.
    fn knows(&self, _path: &Path) -> bool {
        true
    }

    /// A worker found the checkpoint changed.
    fn changed(&self, _checkpoint: &Path) {}

    /// What a worker must bring to read the checkpoint, where that does not lie in files.
    fn objects(&self, _checkpoint: &Path) -> Vec<Object> {
        Vec::new()
    }

    /// Tells what a file besides checkpoints is now from what it was; `None` if it is gone.
    fn stamp(&self, file: &Path) -> Option<String>;

    /// A worker read the checkpoint, whose weights lie in these files: a change of them is another version.
    fn learn(&self, checkpoint: &Path, weights: Vec<Part>);
}

/// What a source tells.
#[derive(Debug)]
pub enum News {
    /// A file, and how sure it is that nobody writes it any more.
    Found(Found, Rest),
    /// A directory that is a run by its configuration, also while it holds no checkpoint.
    Run(PathBuf),
    /// All that was there at the beginning (or after a reload) has been told, but of what cannot be looked at; again once that can be.
    Caught,
    /// Something the user should know, once.
    Notice(String),
}

/// How a file came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It was renamed into place: whole.
    Renamed,
    /// It was closed, or simply found: it may yet be written to.
    Closed,
}
