//! The state of the daemon, and how it journals and tells: what all of its parts share.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tracing::error;

use super::alarms::{Alarms, Receivers};
use super::channels::Message;
use super::end::{Ending, Nearing};
use super::run::Run;
use crate::error::{Error, Result};
use crate::event::REASON;
use crate::journal::{Job, Journal, Line, Outcome, Policy};
use crate::path;
use crate::text::cut;
use crate::watch::planner::Desk;
use crate::watch::pool::{Limits, Pool};
use crate::watch::source::Source;

/// How long the daemon waits for work in hand when it is told to end.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// How long it waits for who holds the journal: all who ask it something wait as long.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);
/// How long it waits before it tries again to write a journal that could not be written.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// How the daemon goes about its work.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a file must have been left alone.
    pub settle: Duration,
    /// How long a file may stay unfinished.
    pub give_up: Duration,
    /// Which checkpoints are measured.
    pub policy: Policy,
    /// How often a worker may die of a checkpoint.
    pub attempts: u32,
    /// A shell command for a run that should stop.
    pub on_stop: Option<String>,
    /// What that command's files are made with.
    pub umask: rustix::fs::Mode,
    /// What workers may take.
    pub limits: Limits,
    /// Who hears of alerts that name nobody themselves.
    pub receivers: Receivers,
    /// When it ends by itself.
    pub ending: Ending,
    /// The folder for what checkpoints are exported to meanwhile: this daemon's alone.
    pub exports: PathBuf,
}

/// What the daemon works with and remembers beside its journal.
pub(super) struct Daemon {
    pub journal: Journal,
    pub options: Options,
    pub planner: Desk,
    pub source: Box<dyn Source>,
    pub pool: Pool<Message>,
    pub live: broadcast::Sender<Line>,
    pub runs: HashMap<i64, Run>,
    pub last_run: i64,
    pub began: Instant,
    /// Outcomes that the journal could not take yet.
    pub unwritten: VecDeque<(Job, Outcome)>,
    /// When to try the journal again.
    pub stall: Option<Instant>,
    /// When it last could not be written, once that was said.
    pub unwritable: Option<Instant>,
    /// When to try again to start a worker, where that failed.
    pub no_worker_until: Option<Instant>,
    /// Files were found that the journal could not take: look again.
    pub missed_news: bool,
    /// What was found has to be found again once all runs are planned.
    pub rescan_when_planned: bool,
    /// Workers that ended in a row before they said a word.
    pub unstarted: u32,
    pub ends_by: Option<Instant>,
    /// The journal's file was removed, or another put in its place.
    pub is_journal_gone: bool,
    /// Runs of which some checkpoints are predicted by an earlier version of their law.
    pub behind: BTreeSet<i64>,
    /// Directories of runs that the journal does not take.
    pub refused: HashSet<PathBuf>,
    pub alarms: Alarms,
    pub nearing: Nearing,
}

impl Daemon {
    /// Milliseconds of the daemon's own clock, which no one sets.
    pub fn now(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    /// Whether the marker of trainings that are done lies in a folder, or above it.
    pub fn is_marked(&self, folder: &Path) -> bool {
        let Ending { marker: Some(marker), roots, .. } = &self.options.ending else { return false };
        let mut within = folder.ancestors().take_while(|above| roots.iter().any(|root| above.starts_with(root)));
        within.any(|above| self.source.stamp(&above.join(marker)).is_some())
    }

    pub fn send(&self, lines: Vec<Line>) {
        for line in lines {
            // Nobody may be listening.
            let _ = self.live.send(line);
        }
    }

    /// Sends the events of a journalled step, or notes that the journal cannot be written.
    pub fn journalled(&mut self, result: Result<Vec<Line>>) -> bool {
        match result {
            Ok(lines) => {
                self.send(lines);
                true
            }
            Err(error) => {
                self.stalled(&error);
                false
            }
        }
    }

    /// Says once that the journal's file is not at its place any more.
    pub fn look_for_journal(&mut self) {
        let is_gone = !self.journal.is_in_place();
        if is_gone && !self.is_journal_gone {
            let path = self.journal.path().display();
            error!("journal {path}: removed or replaced; what is measured now goes with this daemon: start it again");
        }
        self.is_journal_gone = is_gone;
    }

    pub fn stalled(&mut self, error: &Error) {
        if self.unwritable.is_none() {
            error!("{}; trying again every {} s", error.one_line(), RETRY.as_secs());
        }
        self.unwritable = Some(Instant::now());
        self.stall = Some(Instant::now() + RETRY);
    }
}

/// Why a checkpoint failed of which the journal will never take what there is to write.
pub(super) fn refused(checkpoint: &Path, refusal: &Error) -> String {
    let mut reason =
        format!("model {}: the journal does not take its record: {}", path::text(checkpoint), refusal.one_line());
    cut(&mut reason, REASON);
    reason
}
