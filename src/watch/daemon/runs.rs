//! The daemon's runs: planned by a worker when they are found, held back while they cannot be measured.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::run::{Blocked, Planning, Run};
use super::state::Daemon;
use crate::config;
use crate::error::Result;
use crate::path;
use crate::watch::planner::{Answered, Outcome};
use crate::watch::protocol::Planned;
use crate::watch::scan::Found;
use crate::watch::source::{Rest, Source};

/// How often the files of a run that cannot be measured are looked at.
pub(super) const BLOCKED_LOOK: Duration = Duration::from_secs(5);
/// After how long such a run is tried again whatever they are: an engine may have been installed, a law saved.
const BLOCKED_RETRY: Duration = Duration::from_mins(1);
/// Files of a run that are kept in memory until it is planned; what is more is looked for again then.
const MOST_HELD: usize = 4096;

impl Daemon {
    /// The run's id; has the run planned if it is new.
    pub(super) fn run_of(&mut self, folder: &Path) -> Result<i64> {
        let text = path::text(folder);
        let id = match self.journal.find_run(&text)? {
            Some(id) => id,
            None => self.journal.run_id(&text)?,
        };
        if let Entry::Vacant(unknown) = self.runs.entry(id) {
            info!(run = %text, "watching");
            unknown.insert(Run {
                path: folder.to_owned(),
                plan: None,
                alerts: None,
                key: String::new(),
                blocked: None,
                complaint: None,
                planning: Planning::Asked,
                stamps: HashMap::new(),
                held: Vec::new(),
                deaths: 0,
            });
            self.ask(id);
        }
        Ok(id)
    }

    /// Keeps a file of a run that is not planned yet; gives it back if the run is.
    pub(super) fn hold(&mut self, id: i64, found: Found, rest: Rest) -> Option<(Found, Rest)> {
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.is_new()) else { return Some((found, rest)) };
        if run.held.len() < MOST_HELD {
            run.held.push((found, rest));
        } else {
            self.rescan_when_planned = true;
        }
        None
    }

    /// Takes a run's plan, and what was found before it.
    pub(super) fn planned(&mut self, Answered { id, folder, outcome }: Answered) {
        // It may have been forgotten, and its number be another's.
        let Some(run) = self.runs.get_mut(&id).filter(|run| run.path == folder) else { return };
        // Half a configuration may have been read.
        if run.planning == Planning::AskedAnew || is_any_other(&*self.source, run, configurations(run)) {
            self.ask(id);
            return;
        }
        run.planning = Planning::Done;
        let (is_first, held) = (run.is_new(), std::mem::take(&mut run.held));
        let is_other = self.settle_plan(id, outcome);
        self.queue(held);
        self.look_at_alerts(id);
        // What was seen under other settings is seen anew.
        self.rescan_when_planned |= is_other && !is_first;
        let is_last = self.runs.values().all(|run| run.planning == Planning::Done);
        if is_last && std::mem::take(&mut self.rescan_when_planned) {
            self.source.rescan();
        }
    }

    /// Lets a run be measured by its plan, or holds it back if there is none; gives whether its measuring settings changed.
    fn settle_plan(&mut self, id: i64, outcome: Outcome) -> bool {
        let Some(run) = self.runs.get_mut(&id) else { return false };
        let planned = match outcome {
            Ok(planned) => planned,
            Err(unplanned) => {
                run.plan = None;
                self.block(id, unplanned.reason, unplanned.files.into_iter().map(|file| file.0).collect());
                return false;
            }
        };
        let Planned { plan, key } = *planned;
        let is_other = key.as_ref().is_some_and(|key| *key != run.key);
        if let Some(key) = key {
            run.key = key;
        }
        run.alerts = Some(plan.alerts.clone());
        (run.blocked, run.plan, run.deaths) = (None, Some(plan), 0);
        let (law, key) = (run.law(), run.key.clone());
        let refit = run.plan.as_ref().is_some_and(|plan| plan.refit);
        let rules = self.rules(id);
        let result = self.journal.set_blocked(id, false);
        let result = result.and_then(|()| if key.is_empty() { Ok(()) } else { self.journal.set_plan(id, &key) });
        let result = result.and_then(|()| self.journal.set_law(id, law.as_ref(), refit));
        let result = result.and_then(|()| self.journal.judge(id, rules.as_deref()));
        if self.journalled(result) {
            self.note_law(id);
            self.tell_stops();
        }
        is_other
    }

    pub(super) fn block(&mut self, id: i64, reason: String, files: Vec<PathBuf>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.complaint.as_ref() != Some(&reason) {
            error!(run = %path::text(&run.path), "nothing of this run can be measured: {reason}");
            run.complaint = Some(reason.clone());
        }
        let now = Instant::now();
        run.blocked = Some(Blocked { reason, files, look: now + BLOCKED_LOOK, retry: now + BLOCKED_RETRY });
        if let Err(error) = self.journal.set_blocked(id, true) {
            self.stalled(&error);
        }
        self.look_at_alerts(id);
    }

    /// Has those runs planned again that could not be measured, soon after their files have changed, and from time to time.
    pub(super) fn unblock(&mut self) {
        let now = Instant::now();
        let is_ripe = |run: &Run| {
            let is_other = || is_any_other(&*self.source, run, files(run));
            let blocked = run.blocked.as_ref();
            blocked.is_some_and(|it| it.retry <= now || it.look <= now && is_other())
        };
        let ripe: Vec<_> = self.runs.iter().filter(|(_, run)| is_ripe(run)).map(|(id, _)| *id).collect();
        for blocked in self.runs.values_mut().filter_map(|run| run.blocked.as_mut()).filter(|it| it.look <= now) {
            blocked.look = now + BLOCKED_LOOK;
        }
        for id in ripe {
            self.replan(id);
        }
    }

    /// When a run that cannot be measured is looked at next.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.runs.values().filter_map(|run| run.blocked.as_ref()).map(|blocked| blocked.look).min()
    }

    pub(super) fn reload(&mut self) {
        info!("reading the configuration again");
        self.rescan_when_planned = true;
        let ids: Vec<_> = self.runs.keys().copied().collect();
        for id in &ids {
            self.replan(*id);
        }
        if ids.is_empty() {
            self.source.rescan();
        }
    }

    /// Has a run planned by its files as they are now.
    fn replan(&mut self, id: i64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if let Some(blocked) = &mut run.blocked {
            blocked.retry = Instant::now() + BLOCKED_RETRY;
        }
        if run.planning == Planning::Done {
            self.ask(id);
        } else {
            run.planning = Planning::AskedAnew;
        }
    }

    /// Asks for a run's plan, and notes what its files are before they are read.
    fn ask(&mut self, id: i64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        run.planning = Planning::Asked;
        run.stamps = files(run).map(|file| (file.clone(), self.source.stamp(&file))).collect();
        self.planner.plan(id, &run.path);
    }
}

/// Whether one of these files of a run is another than when its plan was asked for. One that the answer named first may have changed
/// before it, and counts as another.
fn is_any_other(source: &dyn Source, run: &Run, mut files: impl Iterator<Item = PathBuf>) -> bool {
    files.any(|file| run.stamps.get(&file) != Some(&source.stamp(&file)))
}

/// The files, as far as they are known, that decide whether a run can be measured.
fn files(run: &Run) -> impl Iterator<Item = PathBuf> {
    let probe = run.plan.as_ref().map(|plan| plan.plan.probe.0.clone());
    configurations(run).chain(probe).chain(run.blocked.iter().flat_map(|blocked| blocked.files.iter().cloned()))
}

fn configurations(run: &Run) -> impl Iterator<Item = PathBuf> {
    run.path.ancestors().map(|folder| folder.join(config::FILE_NAME))
}
