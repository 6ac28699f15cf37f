//! When and how a daemon ends.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// When a daemon ends by itself; with an empty queue only.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// Once no checkpoint has come for so long.
    pub idle: Option<Duration>,
    /// Once a file of this name lies in each run's directory, or above it.
    pub marker: Option<PathBuf>,
    /// The watched directories.
    pub roots: Vec<PathBuf>,
}

/// How a daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Told,
    /// By itself; whether all was measured.
    Over {
        /// No file failed, none waits to be fetched or for its run to be measurable, and all that is watched was seen.
        is_whole: bool,
    },
}

/// How near the end is.
pub(super) struct Nearing {
    /// When something new came last.
    pub last_news: Instant,
    /// Whether all that was there has been told since the beginning, or since the source was asked.
    pub has_caught: bool,
    /// Whether the source was asked again, for what the marked runs wrote last.
    pub has_asked: bool,
    pub next_look: Instant,
    pub end: End,
}

impl Nearing {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { last_news: now, has_caught: false, has_asked: false, next_look: now, end: End::Told }
    }
}
