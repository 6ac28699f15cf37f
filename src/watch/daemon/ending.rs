//! The end of a daemon by itself: once nothing new has come for so long, or the trainings say that they are done.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::info;

use super::end::{End, Ending};
use super::run::Run;
use super::state::{Daemon, GRACE};
use crate::error::Result;
use crate::journal::State;

/// How often is looked whether that is so.
const LOOK: Duration = Duration::from_millis(500);

impl Daemon {
    /// Ends the daemon if it is time; gives when to look again.
    pub(super) fn look_for_end(&mut self) -> Result<Option<Instant>> {
        let now = Instant::now();
        let Ending { idle, marker, .. } = &self.options.ending;
        let (idle, has_marker) = (*idle, marker.is_some());
        if (idle.is_none() && !has_marker) || self.ends_by.is_some() {
            return Ok(None);
        }
        if self.nearing.next_look > now {
            return Ok(Some(self.nearing.next_look));
        }
        self.nearing.next_look = now + LOOK;
        let is_idle = idle.is_some_and(|idle| now.duration_since(self.nearing.last_news) >= idle);
        let is_marked = has_marker && self.are_marked();
        if is_marked && !self.nearing.has_asked {
            // What was written just before the marker may not have been told yet.
            (self.nearing.has_asked, self.nearing.has_caught) = (true, false);
            self.source.rescan();
        }
        self.nearing.has_asked &= is_marked;
        if (is_idle || is_marked) && self.nearing.has_caught && self.is_at_rest()? {
            let mut is_whole = self.runs.values().all(|run| run.blocked.is_none());
            is_whole &= self.options.ending.roots.iter().all(|root| self.source.knows(root));
            for id in self.runs.keys() {
                is_whole &= self.journal.failed_files(*id)? == 0 && self.journal.unfetched(*id)? == 0;
            }
            info!("{}: ending", if is_marked { "the trainings are done" } else { "nothing new has come" });
            self.nearing.end = End::Over { is_whole };
            self.ends_by = Some(now + GRACE);
        }
        Ok(Some(self.nearing.next_look))
    }

    /// Whether nothing is left to measure, but of runs that cannot be, and what cannot be fetched.
    fn is_at_rest(&self) -> Result<bool> {
        let is_owed = !self.unwritten.is_empty() || !self.behind.is_empty();
        let is_busy = self.pool.busy().next().is_some() || is_owed || self.stall.is_some();
        if is_busy || self.runs.values().any(Run::is_planning) {
            return Ok(false);
        }
        for (id, run) in &self.runs {
            if run.blocked.is_none() {
                let pending = self.journal.counts(*id)?.get(&State::Pending).copied().unwrap_or(0);
                if pending > 0 && pending > self.journal.unfetched(*id)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Whether the marker lies at every run, and at every watched directory that has none yet.
    fn are_marked(&self) -> bool {
        let runs: Vec<_> = self.runs.values().map(|run| run.path.as_path()).collect();
        let roots = &self.options.ending.roots;
        let empty = roots.iter().filter(|root| runs.iter().all(|run| !run.starts_with(root)));
        runs.iter().copied().chain(empty.map(PathBuf::as_path)).all(|folder| self.is_marked(folder))
    }
}
