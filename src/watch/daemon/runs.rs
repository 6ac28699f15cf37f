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

/// How often the reason why a run cannot be measured is looked at again.
pub(super) const BLOCKED_LOOK: Duration = Duration::from_secs(5);

/// A run and how to measure it.
pub(super) struct Run {
    pub path: PathBuf,
    /// None while the run cannot be planned.
    pub plan: Option<RunPlan>,
    /// Key of the plan with the probe file as it is.
    pub key: String,
    pub blocked: Option<Blocked>,
}

impl Run {
    fn new(path: PathBuf, plan: Option<RunPlan>) -> Self {
        let key = plan.as_ref().map(|RunPlan { plan, .. }| plan.key(&file_stamp(&plan.probe.0).unwrap_or_default()));
        Self { path, plan, key: key.unwrap_or_default(), blocked: None }
    }

    fn law(&self) -> Option<ChosenLaw> {
        self.plan.as_ref()?.plan.settings.law.clone()
    }
}

/// Why nothing of a run can be measured, and the files that may change that.
pub(super) struct Blocked {
    pub reason: String,
    pub stamps: Vec<Option<String>>,
    pub since: Instant,
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

    /// Lets a run be measured by its plan, or holds it back if there is none.
    pub(super) fn settle_plan(&mut self, id: i64, path: PathBuf, plan: Result<RunPlan>) {
        let (plan, reason) = match plan {
            Ok(plan) => (Some(plan), None),
            Err(error) => (None, Some(error.one_line())),
        };
        let run = Run::new(path, plan);
        let law = run.law();
        let refit = run.plan.as_ref().is_some_and(|plan| plan.refit);
        let was_blocked = self.runs.insert(id, run).and_then(|run| run.blocked);
        if let Some(reason) = reason {
            self.block(id, reason, was_blocked.as_ref());
            return;
        }
        let rules = self.rules(id);
        let result = self.journal.set_blocked(id, false);
        let result = result.and_then(|()| self.journal.set_law(id, law.as_ref(), refit));
        let result = result.and_then(|()| self.journal.judge(id, &rules));
        if self.journalled(result) {
            self.tell_stops();
        }
    }

    pub(super) fn block(&mut self, id: i64, reason: String, before: Option<&Blocked>) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if run.blocked.as_ref().or(before).is_none_or(|blocked| blocked.reason != reason) {
            error!(run = %path::text(&run.path), "nothing of this run can be measured: {reason}");
        }
        run.blocked = Some(Blocked { reason, stamps: stamps(run), since: Instant::now() });
        if let Err(error) = self.journal.set_blocked(id, true) {
            self.stalled(&error);
        }
    }

    /// Plans those runs again that could not be measured and whose files have changed since.
    pub(super) fn unblock(&mut self) {
        let is_ripe = |run: &Run| {
            let blocked = run.blocked.as_ref();
            blocked.is_some_and(|blocked| blocked.since.elapsed() >= BLOCKED_LOOK && blocked.stamps != stamps(run))
        };
        let ripe: Vec<_> = self.runs.iter().filter(|(_, run)| is_ripe(run)).map(|(id, _)| *id).collect();
        if !ripe.is_empty() {
            for id in ripe {
                self.replan(id);
            }
            self.source.rescan();
        }
        let now = Instant::now();
        for blocked in self.runs.values_mut().filter_map(|run| run.blocked.as_mut()) {
            if blocked.since.elapsed() >= BLOCKED_LOOK {
                blocked.since = now;
            }
        }
    }

    pub(super) fn reload(&mut self) {
        info!("reading the configuration again");
        let ids: Vec<_> = self.runs.keys().copied().collect();
        for id in ids {
            self.replan(id);
        }
        self.source.rescan();
    }

    pub(super) fn replan(&mut self, id: i64) {
        let Some(run) = self.runs.get(&id) else { return };
        let (path, plan) = (run.path.clone(), self.plan(&run.path));
        self.settle_plan(id, path, plan);
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
