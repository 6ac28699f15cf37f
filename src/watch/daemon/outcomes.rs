//! What becomes of a checkpoint: journalled, sent, judged.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tracing::{debug, error, info, warn};

use super::state::{Daemon, RETRY, refused};
use crate::error::Error;
use crate::event::{REASON, Severity};
use crate::journal::{Job, Outcome};
use crate::path;
use crate::process::with_umask;
use crate::stop::Rule;
use crate::store::address::is_address;
use crate::text::{cut, visible};
use crate::watch::pool::{Death, Stage};
use crate::watch::protocol::Reply;

/// The longest wait between two looks at an unfinished file.
const UNFINISHED_LOOK: Duration = Duration::from_secs(10);
/// The longest wait before a checkpoint is fetched again that could not be.
const UNFETCHED_LOOK: Duration = Duration::from_mins(1);
/// The wait before another worker is started after the first that ended before it began; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(50);

impl Daemon {
    pub(super) fn done(&mut self, mut job: Job, mut reply: Reply) {
        if let (Some(run), Reply::Measured { .. } | Reply::Known { .. } | Reply::Failed { .. }) =
            (self.runs.get_mut(&job.run), &reply)
        {
            (run.complaint, run.deaths) = (None, 0);
        }
        if let Reply::Measured { weights, .. } | Reply::Known { weights, .. } | Reply::Failed { weights, .. } =
            &mut reply
        {
            self.source.learn(&job.path, std::mem::take(weights));
        }
        let seen = |daemon: &Self, job: &Job| daemon.source.version(&job.path).map(|version| version.fingerprint);
        if matches!(reply, Reply::Stale { .. }) && seen(self, &job).as_ref() != Some(&job.fingerprint) {
            reply = Reply::Changed;
        }
        match reply {
            Reply::Hello(_) | Reply::Taken | Reply::Loaded | Reply::Exporting => {}
            Reply::Planned(_) | Reply::Unplanned(_) | Reply::Drawn(_) => {
                self.put_back(&job, Duration::ZERO);
            }
            Reply::Measured { settings, measurement, resolved, strip, .. } => {
                if let Some(resolved) = resolved
                    && let Err(error) = self.journal.set_resolved(job.run, &job.plan, resolved)
                {
                    self.stalled(&error);
                }
                let strip = strip.and_then(|strip| strip.bounded().map(Box::new));
                self.finish(job, Outcome::Measured { settings, measurement, strip });
            }
            Reply::Known { content, settings, .. } => self.finish(job, Outcome::Unchanged { content, settings }),
            Reply::Failed { content, reason, is_finite, .. } => {
                self.finish(job, Outcome::Failed { content, reason, is_finite });
            }
            Reply::Changed => {
                self.source.changed(&job.path);
                let seen = seen(self, &job);
                let is_same = seen.as_ref() == Some(&job.fingerprint);
                if is_same && job.unfinished_since.is_some() {
                    let reason = another_there(&job.path);
                    return self.done(job, Reply::Unfetched { reason });
                }
                if let Some(fingerprint) = seen {
                    job.fingerprint = fingerprint;
                }
                // What the daemon sees may be older than what the worker met.
                (job.unfinished_since, job.unfetched) = (is_same.then(|| self.now()), None);
                self.put_back(&job, self.options.settle);
            }
            Reply::Unfetched { mut reason } => {
                cut(&mut reason, REASON);
                if job.unfetched.replace(reason.clone()).is_none() {
                    warn!("{}; trying again, ever more seldom", visible(&reason));
                    job.unfinished_since = None;
                }
                let wait = (self.borne(&mut job) / 2).clamp(RETRY, UNFETCHED_LOOK);
                self.put_back(&job, wait);
            }
            Reply::Unfinished { reason } => self.wait_for_rest(job, &reason, "not whole"),
            Reply::Stale { mut reason } => {
                cut(&mut reason, REASON);
                if job.unfinished_since.is_none() {
                    warn!("{}; trying again", visible(&reason));
                }
                self.wait_for_rest(job, &reason, "not the same");
            }
            Reply::Unusable { reason } => {
                if self.is_by_other_settings(&job).is_none() {
                    self.block(job.run, reason, Vec::new());
                }
                self.put_back(&job, Duration::ZERO);
            }
        }
    }

    /// What could not be measured yet is looked at again, ever more rarely, until it is given up.
    fn wait_for_rest(&mut self, mut job: Job, reason: &str, lack: &str) {
        if job.unfetched.take().is_some() {
            // What it was waited for until now says nothing of what it lacks.
            job.unfinished_since = None;
        }
        let borne = self.borne(&mut job);
        let left = self.options.give_up.saturating_sub(borne);
        if left.is_zero() {
            let reason = format!("{reason}; {lack} after {:?} (--give-up)", self.options.give_up);
            self.finish(job, Outcome::Failed { content: None, reason, is_finite: true });
        } else {
            debug!(path = %path::text(&job.path), reason, "{lack} yet");
            let name = format!("model {}: ", job.path.display());
            let mut what = reason.strip_prefix(&name).unwrap_or(reason).to_owned();
            cut(&mut what, REASON);
            job.lack = Some(what);
            let wait = (borne / 2).clamp(self.options.settle, UNFINISHED_LOOK.max(self.options.settle));
            self.put_back(&job, wait.min(left));
        }
    }

    /// For how long a checkpoint could not be read by now.
    fn borne(&self, job: &mut Job) -> Duration {
        let since = *job.unfinished_since.get_or_insert(self.now());
        Duration::from_millis((self.now() - since).max(0) as u64)
    }

    /// A worker died with a checkpoint in its hands; that is the checkpoint's doing only if it had begun to read it, and nobody asked the
    /// worker to end.
    pub(super) fn died(&mut self, mut job: Job, Death { stage, reason, was_asked, is_overrun }: &Death) {
        let path = path::text(&job.path);
        // What it exported went with it, but for the file.
        let _ = std::fs::remove_dir_all(self.room(&job));
        if *was_asked || self.ends_by.is_some() {
            debug!(%path, "its worker was ended: {reason}");
            return self.put_back(&job, self.options.settle);
        }
        match stage {
            Stage::Started => {
                // As where no process can be started.
                let wait = (FIRST_WAIT * 2u32.saturating_pow(self.unstarted)).min(RETRY);
                if self.unstarted == 0 {
                    warn!("a worker ended before it began: {reason}; trying again");
                }
                self.unstarted = (self.unstarted + 1).min(16);
                self.no_worker_until = Some(Instant::now() + wait);
                return self.put_back(&job, wait);
            }
            Stage::Loading => return self.died_loading(&job, reason, *is_overrun),
            Stage::Measuring | Stage::Exporting => {}
        }
        job.failures += 1;
        warn!(%path, "could not be measured, attempt {}: {reason}", job.failures);
        if job.failures >= self.options.attempts {
            let reason = format!("model {path}: {reason}, {} times", job.failures);
            self.finish(job, Outcome::Failed { content: None, reason, is_finite: true });
        } else {
            self.put_back(&job, self.options.settle);
        }
    }

    /// What the run is measured on killed a worker: none of its checkpoints was read.
    fn died_loading(&mut self, job: &Job, reason: &str, is_overrun: bool) {
        if let Some(run) = self.runs.get_mut(&job.run) {
            run.deaths += 1;
            if is_overrun || run.deaths >= self.options.attempts {
                let reason = format!("loading its probe images and settings: {reason}");
                self.block(job.run, reason, Vec::new());
            }
        }
        self.put_back(job, self.options.settle);
    }

    /// Journals an outcome and what the rules say now, and sends both; kept for later if the journal cannot be written.
    pub(super) fn finish(&mut self, mut job: Job, outcome: Outcome) {
        if self.stall.is_some() {
            self.unwritten.push_back((job, outcome));
            return;
        }
        // Seen to change since it was taken, or its run's settings: what was measured may be the old content, or by the old ones.
        let is_content = !matches!(outcome, Outcome::Skipped(_));
        let seen = match self.journal.seen_since(&job) {
            Ok(Some(seen)) => Some(seen),
            _ => self.is_by_other_settings(&job).map(|key| (job.fingerprint.clone(), key)),
        };
        if let Some((fingerprint, plan)) = seen.filter(|_| is_content) {
            (job.fingerprint, job.plan) = (fingerprint, plan);
            self.put_back(&job, self.options.settle);
            return;
        }
        let rules = self.rules(job.run);
        let mut outcome = outcome;
        let mut result = self.journal.finish(&job, &outcome, rules.as_deref());
        if let Err(refusal) = &result
            && refusal.is_of_record()
        {
            outcome = Outcome::Failed { content: None, reason: refused(&job.path, refusal), is_finite: true };
            result = self.journal.finish(&job, &outcome, rules.as_deref());
        }
        if let Err(error) = &result
            && error.is_of_record()
        {
            error!("{}; it is set aside until the next start: {}", path::text(&job.path), error.one_line());
            return;
        }
        if !self.journalled(result) {
            self.unwritten.push_back((job, outcome));
            return;
        }
        self.look_for_journal();
        match &outcome {
            Outcome::Measured { measurement, .. } => {
                let r_f = measurement.r_f.as_ref().map(|r_f| r_f.value);
                info!(path = %path::text(&job.path), r_f, "measured");
                for finding in measurement.findings.iter().filter(|finding| finding.severity > Severity::Note) {
                    info!(path = %path::text(&job.path), "{}: {} ({})", finding.severity, finding.text, finding.code);
                }
            }
            Outcome::Failed { reason, .. } => warn!("{reason}"),
            Outcome::Skipped(reason) => debug!(path = %path::text(&job.path), %reason, "skipped"),
            Outcome::Unchanged { .. } => debug!(path = %path::text(&job.path), "measured before"),
        }
        self.nearing.last_news = Instant::now();
        if is_content {
            self.tell_judgement(job.run);
        }
    }

    /// Tells of what a judgement of a run may have brought.
    pub(super) fn tell_judgement(&mut self, id: i64) {
        self.note_law(id);
        self.tell_stops();
        self.look_at_alerts(id);
    }

    /// Notes whether a run is to be predicted anew.
    pub(super) fn note_law(&mut self, id: i64) {
        if self.journal.is_behind(id).unwrap_or(false) {
            self.behind.insert(id);
        } else {
            self.behind.remove(&id);
        }
    }

    /// Predicts a part of a long run anew; gives when to go on.
    pub(super) fn predict_more(&mut self) -> Option<Instant> {
        let id = *self.behind.first().filter(|_| self.stall.is_none())?;
        match self.journal.catch_up(id, self.rules(id).as_deref()) {
            Ok(lines) => {
                self.send(lines);
                self.note_law(id);
                self.tell_stops();
                if !self.behind.contains(&id) {
                    self.look_at_alerts(id);
                }
            }
            Err(error) if error.is_of_record() => {
                self.behind.remove(&id);
            }
            Err(error) => self.stalled(&error),
        }
        (!self.behind.is_empty()).then(Instant::now)
    }

    /// Tries the journal again with what it could not take.
    pub(super) fn recover(&mut self) {
        self.stall = None;
        while let Some((job, outcome)) = self.unwritten.pop_front() {
            self.finish(job, outcome);
            if self.stall.is_some() {
                // It is at the back now; the order among them is that of their events.
                self.unwritten.rotate_right(1);
                return;
            }
        }
        if std::mem::take(&mut self.missed_news) {
            let busy: Vec<_> = self.pool.busy().map(|(job, _)| job.id).collect();
            match self.journal.restart(&busy) {
                Ok(()) => self.source.rescan(),
                Err(error) => {
                    self.missed_news = true;
                    self.stalled(&error);
                }
            }
        }
    }

    /// The key of the run's settings, if they are others now than those that a checkpoint was taken under.
    fn is_by_other_settings(&self, job: &Job) -> Option<String> {
        let key = &self.runs.get(&job.run)?.key;
        (!key.is_empty() && *key != job.plan).then(|| key.clone())
    }

    /// What a run is judged by; `None` while that is not known.
    pub(super) fn rules(&self, id: i64) -> Option<Vec<Rule>> {
        self.runs.get(&id).and_then(|run| run.plan.as_ref()).map(|plan| plan.rules.clone())
    }

    /// Runs `--on-stop` for each run that stopped and was not told; at least once for each, also over a crash.
    pub(super) fn tell_stops(&mut self) {
        let Ok(stops) = self.journal.untold_stops() else { return };
        for (id, run, body) in stops {
            let event: Value = serde_json::from_str(&body).unwrap_or_default();
            warn!(%run, "stop: {}", event["reason"].as_str().unwrap_or_default());
            if let Some(command) = &self.options.on_stop {
                let best = path::of_text(event["best"]["path"].as_str().unwrap_or_default());
                let reason = event["reason"].as_str().unwrap_or_default().to_owned();
                let mut shell = with_umask(self.options.umask, "sh");
                shell.args(["-c", command]).env("RELSTAB_RUN", path::of_text(&run));
                shell.env("RELSTAB_BEST", best).env("RELSTAB_REASON", reason).stdin(Stdio::null());
                match shell.spawn() {
                    Ok(mut child) => {
                        // Where no thread may start, nobody hears how it ended.
                        let _ = std::thread::Builder::new().spawn(move || match child.wait() {
                            Ok(status) if status.success() => {}
                            Ok(status) => error!("--on-stop: {status}"),
                            Err(error) => error!("--on-stop: {error}"),
                        });
                    }
                    Err(error) => {
                        // With the next outcome it is tried again.
                        error!("--on-stop: {error}");
                        continue;
                    }
                }
            }
            if let Err(error) = self.journal.set_told(id) {
                self.stalled(&error);
            }
        }
    }
}

/// A worker meets another content than the daemon sees, again and again: its store or its disk is another one.
fn another_there(path: &Path) -> String {
    let found = "another version of it, or none, where a worker looks";
    if is_address(path) {
        let (address, reason) = (path.to_owned(), format!("expected the version that is listed, found {found}"));
        return Error::Store { address, action: "fetch", reason }.one_line();
    }
    Error::model(path, "the file that the daemon sees", found).one_line()
}
