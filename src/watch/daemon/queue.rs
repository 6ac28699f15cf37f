//! From files that are found to workers that have them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tracing::{debug, error, warn};

use super::state::{Daemon, RETRY, refused};
use crate::checkpoint::names::step_and_epoch;
use crate::config::RunPlan;
use crate::error::Result;
use crate::event::Skip;
use crate::journal::{Job, Line, Outcome, Sighting};
use crate::path::{self, RawPath};
use crate::watch::protocol::{Measure, Request};
use crate::watch::scan::Found;
use crate::watch::source::Rest;

impl Daemon {
    /// Takes the next checkpoint from the queue and gives it to a worker; false if there is none to take.
    pub(super) fn hand_out(&mut self, slot: usize) -> bool {
        let held = self.held();
        let (mut job, lines) = match self.journal.next(self.now(), self.last_run, &held, self.options.policy) {
            Ok((Some(job), lines)) => (job, lines),
            Ok((None, lines)) => {
                self.send(lines);
                return false;
            }
            Err(error) => {
                self.stalled(&error);
                return false;
            }
        };
        self.send(lines);
        self.last_run = job.run;
        let Some(version) = self.source.version(&job.path) else {
            if !self.source.knows(&job.path) {
                // Not listed in this life: it is seen again, or released, once it is.
                let result = self.journal.put_back(&job, None);
                return result.map_err(|error| self.stalled(&error)).is_ok();
            }
            self.finish(job, Outcome::Skipped(Skip::Gone));
            return true;
        };
        if version.fingerprint != job.fingerprint {
            job.fingerprint = version.fingerprint;
            // Somebody writes it still.
            (job.unfinished_since, job.unfetched) = (None, None);
            self.put_back(&job, self.options.settle);
            return true;
        }
        let Some((run, RunPlan { plan, .. })) = self.runs.get(&job.run).and_then(|run| Some((run, run.plan.as_ref()?)))
        else {
            // Left from an earlier life, in a directory that is not watched now, or not yet found again.
            let result = self.journal.put_back(&job, None);
            return result.map_err(|error| self.stalled(&error)).is_ok();
        };
        if job.plan != run.key {
            // Not seen again yet since the run's settings changed.
            job.plan.clone_from(&run.key);
            self.put_back(&job, Duration::ZERO);
            return true;
        }
        let mut plan = plan.clone();
        plan.backend.device = self.pool.device(slot).or(plan.backend.device);
        let resolved = self.journal.resolved(job.run, &run.key).unwrap_or_default();
        let known = self.journal.known_contents(&job).unwrap_or_default();
        let (path, room) = (RawPath(job.path.clone()), RawPath(self.room(&job)));
        let objects = self.source.objects(&job.path);
        let request =
            Request::Measure(Box::new(Measure { path, plan, known, resolved, objects, room, seen: version.seen }));
        debug!(path = %path::text(&job.path), "handing out");
        if let Err(error) = self.pool.assign(slot, job.clone(), &request) {
            error!("{}; trying again in {} s", error.one_line(), RETRY.as_secs());
            self.put_back(&job, RETRY);
            self.no_worker_until = Some(Instant::now() + RETRY);
            return false;
        }
        true
    }

    /// The folder for what is exported from a checkpoint in hand.
    pub(super) fn room(&self, job: &Job) -> PathBuf {
        self.options.exports.join(job.id.to_string())
    }

    /// Runs whose checkpoint in hand settles what their precision takes: all of a run are measured on as many images and draws.
    pub(super) fn held(&self) -> Vec<i64> {
        let is_open = |id: i64| {
            let run = self.runs.get(&id)?;
            run.plan.as_ref()?.plan.settings.precision?;
            self.journal.resolved(id, &run.key).ok()?.is_none().then_some(id)
        };
        self.pool.busy().filter_map(|(job, _)| is_open(job.run)).collect()
    }

    pub(super) fn put_back(&mut self, job: &Job, wait: Duration) {
        let is_blocked = self.runs.get(&job.run).is_some_and(|run| run.blocked.is_some());
        let due = (!is_blocked).then(|| self.now() + wait.as_millis() as i64);
        if let Err(error) = self.journal.put_back(job, due) {
            // It stays taken until the next start: look again then.
            self.missed_news = true;
            self.stalled(&error);
        }
    }

    /// The run's id; none where the journal does not take it.
    pub(super) fn enter(&mut self, run: &Path) -> Option<i64> {
        match self.run_of(run) {
            Ok(id) => Some(id),
            Err(error) if error.is_of_record() => {
                if self.refused.insert(run.to_owned()) {
                    error!("run {}: it is passed over: {}", path::text(run), error.one_line());
                }
                None
            }
            Err(error) => {
                self.missed_news = true;
                self.stalled(&error);
                None
            }
        }
    }

    /// Queues files that were found.
    pub(super) fn queue(&mut self, found: Vec<(Found, Rest)>) {
        if found.is_empty() {
            return;
        }
        // Read once, so that what was written first falls due first.
        let (now, clock) = (self.now(), SystemTime::now());
        let mut rows = Vec::new();
        for (found, rest) in found {
            let Some(run) = self.enter(&found.run) else { continue };
            let Some((found, rest)) = self.hold(run, found, rest) else { continue };
            let is_blocked = self.runs.get(&run).is_some_and(|run| run.blocked.is_some());
            let due = (!is_blocked).then(|| now + self.wait(&found, rest, clock).as_millis() as i64);
            let key = self.runs.get(&run).map(|run| run.key.clone()).unwrap_or_default();
            rows.push((run, found, due, key));
        }
        let sightings: Vec<_> = rows.iter().map(|(run, found, due, key)| sighting(*run, found, *due, key)).collect();
        let runs: BTreeSet<_> = sightings.iter().map(|sighting| sighting.run).collect();
        let result = match self.journal.see(&sightings) {
            // What one of them is refused for is no fault of the others.
            Err(error) if error.is_of_record() => self.see_each(&sightings),
            result => result,
        };
        let is_news = result.as_ref().is_ok_and(|lines| !lines.is_empty());
        if !self.journalled(result) {
            self.missed_news = true;
        }
        if is_news {
            self.nearing.last_news = Instant::now();
            for run in runs {
                self.look_at_alerts(run);
            }
        }
    }

    /// Queues those that the journal takes, and sets the others aside.
    fn see_each(&mut self, sightings: &[Sighting]) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        for sighting in sightings {
            let seen = match self.journal.see(std::slice::from_ref(sighting)) {
                Err(refusal) if refusal.is_of_record() => {
                    let reason = refused(sighting.path, &refusal);
                    warn!("{reason}");
                    self.journal.set_aside(sighting, &reason)
                }
                seen => seen,
            };
            match seen {
                Err(error) if error.is_of_record() => {
                    error!("{}; it is passed over: {}", path::text(sighting.path), error.one_line());
                }
                seen => lines.extend(seen?),
            }
        }
        Ok(lines)
    }

    /// How long a file must still be left alone.
    fn wait(&self, found: &Found, rest: Rest, clock: SystemTime) -> Duration {
        match rest {
            Rest::Renamed => Duration::ZERO,
            // A write in the future says nothing of how long ago it was.
            Rest::Closed => match clock.duration_since(found.version.written) {
                Ok(age) => self.options.settle.saturating_sub(age),
                Err(_) => self.options.settle,
            },
        }
    }
}

fn sighting<'a>(run: i64, found: &'a Found, due: Option<i64>, key: &'a str) -> Sighting<'a> {
    let (step, epoch) = step_and_epoch(&found.path, &found.run);
    let written = found.version.written.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Sighting {
        run,
        path: &found.path,
        fingerprint: &found.version.fingerprint,
        plan: key,
        step,
        epoch,
        written: i64::try_from(written.as_nanos()).unwrap_or(i64::MAX),
        due,
    }
}
