//! The daemon's runs: planned when they are found, held back while they cannot be measured.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::{Daemon, RunPlan};
use crate::config;
use crate::error::Result;
use crate::measure::ChosenLaw;
use crate::path;
use crate::watch::scan::stamp;

/// How often the files of a run that cannot be measured are looked at.
pub(super) const BLOCKED_LOOK: Duration = Duration::from_secs(5);
/// After how long such a run is tried again whatever they are: an engine may have been installed, a law saved.
const BLOCKED_RETRY: Duration = Duration::from_mins(1);

/// A run and how to measure it.
pub(super) struct Run {
    pub path: PathBuf,
    /// None while the run cannot be planned.
    pub plan: Option<RunPlan>,
    /// Key of the plan with the probe file as it is, or as it was last; empty where there was none yet.
    pub key: String,
    pub blocked: Option<Blocked>,
    /// The reason that was logged last.
    pub complaint: Option<String>,
}

impl Run {
    fn new(path: PathBuf, plan: Option<RunPlan>, before: Option<Self>) -> Self {
        let key = plan.as_ref().and_then(|RunPlan { plan, .. }| Some(plan.key(&file_stamp(&plan.probe.0)?)));
        let (last, complaint) = before.map(|run| (run.key, run.complaint)).unwrap_or_default();
        Self { path, plan, key: key.unwrap_or(last), blocked: None, complaint }
    }

    fn law(&self) -> Option<ChosenLaw> {
        self.plan.as_ref()?.plan.settings.law.clone()
    }
}

/// Why nothing of a run can be measured, and the files that may change that.
pub(super) struct Blocked {
    pub reason: String,
    pub stamps: Vec<Option<String>>,
    /// When its files are looked at, and when it is tried again.
    pub look: Instant,
    pub retry: Instant,
}

impl Daemon {
    /// The run's id; plans the run if it is new.
    pub(super) fn run_of(&mut self, folder: &Path) -> Result<i64> {
        let text = path::text(folder);
        let id = match self.journal.find_run(&text)? {
            Some(id) => id,
            None => self.journal.run_id(&text)?,
        };
        if !self.runs.contains_key(&id) {
            info!(run = %text, "watching");
            let plan = self.plan(folder);
            self.settle_plan(id, folder.to_owned(), plan);
        }
        Ok(id)
    }

    pub(super) fn plan(&self, run: &Path) -> Result<RunPlan> {
        let root =
            self.options.roots.iter().filter(|root| run.starts_with(root)).max_by_key(|root| root.as_os_str().len());
        (self.planner)(run, root.map_or(run, PathBuf::as_path))
    }

    /// Lets a run be measured by its plan, or holds it back if there is none; gives whether its measuring settings changed.
    pub(super) fn settle_plan(&mut self, id: i64, path: PathBuf, plan: Result<RunPlan>) -> bool {
        let (plan, reason) = match plan {
            Ok(plan) => (Some(plan), None),
            Err(error) => (None, Some(error.one_line())),
        };
        let before = self.runs.remove(&id);
        let last = before.as_ref().map(|run| run.key.clone());
        let run = Run::new(path, plan, before);
        let (law, key) = (run.law(), run.key.clone());
        let is_other = last.as_ref() != Some(&key);
        let refit = run.plan.as_ref().is_some_and(|plan| plan.refit);
        self.runs.insert(id, run);
        if let Some(reason) = reason {
            self.block(id, reason);
            return is_other;
        }
        let rules = self.rules(id);
        let result = self.journal.set_blocked(id, false);
        let result = result.and_then(|()| if key.is_empty() { Ok(()) } else { self.journal.set_plan(id, &key) });
        let result = result.and_then(|()| self.journal.set_law(id, law.as_ref(), refit));
        let result = result.and_then(|()| self.journal.judge(id, rules.as_deref()));
        if self.journalled(result) {
            self.tell_stops();
        }
        is_other
    }

    pub(super) fn block(&mut self, id: i64, reason: String) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.complaint.as_ref() != Some(&reason) {
            error!(run = %path::text(&run.path), "nothing of this run can be measured: {reason}");
            run.complaint = Some(reason.clone());
        }
        let now = Instant::now();
        run.blocked =
            Some(Blocked { reason, stamps: stamps(run), look: now + BLOCKED_LOOK, retry: now + BLOCKED_RETRY });
        if let Err(error) = self.journal.set_blocked(id, true) {
            self.stalled(&error);
        }
    }

    /// Plans those runs again that could not be measured, soon after their files have changed, and from time to time.
    pub(super) fn unblock(&mut self) {
        let now = Instant::now();
        let is_ripe = |run: &Run| {
            let blocked = run.blocked.as_ref();
            blocked.is_some_and(|it| it.retry <= now || it.look <= now && it.stamps != stamps(run))
        };
        let ripe: Vec<_> = self.runs.iter().filter(|(_, run)| is_ripe(run)).map(|(id, _)| *id).collect();
        // What was seen under other settings is seen anew.
        if ripe.into_iter().fold(false, |is_other, id| self.replan(id) | is_other) {
            self.source.rescan();
        }
        for blocked in self.runs.values_mut().filter_map(|run| run.blocked.as_mut()) {
            if blocked.look <= now {
                blocked.look = now + BLOCKED_LOOK;
            }
        }
    }

    /// When a run that cannot be measured is looked at next.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.runs.values().filter_map(|run| run.blocked.as_ref()).map(|blocked| blocked.look).min()
    }

    pub(super) fn reload(&mut self) {
        info!("reading the configuration again");
        let ids: Vec<_> = self.runs.keys().copied().collect();
        for id in ids {
            self.replan(id);
        }
        self.source.rescan();
    }

    /// As [`Daemon::settle_plan`], by the configuration as it is now.
    fn replan(&mut self, id: i64) -> bool {
        let Some(run) = self.runs.get(&id) else { return false };
        let (path, plan) = (run.path.clone(), self.plan(&run.path));
        self.settle_plan(id, path, plan)
    }
}

fn stamps(run: &Run) -> Vec<Option<String>> {
    let configs = run.path.ancestors().map(|folder| folder.join(config::FILE_NAME));
    let probe = run.plan.as_ref().map(|plan| plan.plan.probe.0.clone());
    configs.chain(probe).map(|file| file_stamp(&file)).collect()
}

fn file_stamp(path: &Path) -> Option<String> {
    std::fs::metadata(path).ok().map(|file| stamp(&file))
}
