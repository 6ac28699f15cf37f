//! The daemon itself: one thread that hears news, queues, hands out, journals, judges and tells.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot};
use tracing::{debug, error, info, warn};

use super::pool::{Answer, Heard, Limits, Pool};
use super::scan::{Found, Search, stamp, version};
use super::source::{self, News, Rest};
use super::worker::{Reply, Request};
use crate::checkpoint::step_and_epoch;
use crate::config;
use crate::error::{Error, Result};
use crate::event::{CheckpointName, Skip};
use crate::journal::{Filter, Job, Journal, Line, Outcome, Policy, Sighting, State};
use crate::measure::{ChosenLaw, errors_disagree};
use crate::path::{self, RawPath};
use crate::plan::Plan;
use crate::stop::{Rule, judge};

/// How the daemon goes about its work.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directories to watch, canonical paths.
    pub roots: Vec<PathBuf>,
    /// What counts as a run and a checkpoint.
    pub search: Search,
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
    /// What workers may take.
    pub limits: Limits,
}

/// What a run is measured on and judged by.
#[derive(Debug, Clone)]
pub struct RunPlan {
    /// What it is measured on.
    pub plan: Plan,
    /// What it is judged by.
    pub rules: Vec<Rule>,
}

/// Plans a run: its directory, and the watched directory that it lies in.
pub type Planner = Box<dyn Fn(&Path, &Path) -> Result<RunPlan> + Send>;

/// What clients ask of the daemon; everything else they read from the journal.
#[derive(Debug)]
pub enum Ask {
    /// How things stand.
    Status,
    /// Keep a checkpoint's error.
    Annotate {
        /// The run.
        run: String,
        /// The checkpoint.
        checkpoint: CheckpointName,
        /// The error, a fraction.
        val_error: f64,
    },
    /// Forget a run.
    Forget(String),
    /// Measure a run's failed checkpoints again.
    Retry(String),
}

/// Everything that can happen to the daemon.
#[derive(Debug)]
pub enum Message {
    /// From the directories.
    News(News),
    /// From a worker.
    Heard(Heard),
    /// From a client.
    Ask(Ask, oneshot::Sender<Result<Value>>),
    /// Read the configuration again.
    Reload,
    /// Finish what is in hand, within bounds, and end.
    End,
}

/// A daemon's channels: where it takes messages, and where it sends events once they are journalled.
#[derive(Debug, Clone)]
pub struct Channels {
    /// Messages to the daemon.
    pub messages: SyncSender<Message>,
    /// Journalled events; one who lags behind reads the journal.
    pub live: broadcast::Sender<Line>,
}

impl Channels {
    /// Channels, and the end at which [`run`] listens.
    #[must_use]
    pub fn new() -> (Self, Receiver<Message>) {
        let (messages, received) = sync_channel(QUEUE);
        (Self { messages, live: broadcast::channel(QUEUE).0 }, received)
    }
}

/// Messages and events that wait in memory.
const QUEUE: usize = 1024;
/// How long the daemon waits for work in hand when it is told to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long it waits before it tries again to write a journal that could not be written.
const RETRY: Duration = Duration::from_secs(2);
/// How often the reason why a run cannot be measured is looked at again.
const BLOCKED_LOOK: Duration = Duration::from_secs(5);
/// The longest wait between two looks at an unfinished file.
const UNFINISHED_LOOK: Duration = Duration::from_secs(10);

/// Runs the daemon until it is told to end.
///
/// # Errors
/// `Journal` or `Io` if it cannot begin; what happens later costs a checkpoint or waits.
pub fn run(
    mut journal: Journal,
    options: Options,
    planner: Planner,
    channels: &Channels,
    messages: &Receiver<Message>,
) -> Result<()> {
    journal.restart(&[])?;
    let sender = channels.messages.clone();
    let source = source::spawn(options.roots.clone(), options.search.clone(), sender.clone(), Message::News)?;
    let mut daemon = Daemon {
        pool: Pool::new(options.limits.clone(), sender, Message::Heard),
        journal,
        options,
        planner,
        source,
        live: channels.live.clone(),
        runs: HashMap::new(),
        last_run: 0,
        began: Instant::now(),
        unwritten: VecDeque::new(),
        stall: None,
        missed_news: false,
        ends_by: None,
    };
    daemon.tell_stops();
    daemon.run(messages);
    Ok(())
}

struct Run {
    path: PathBuf,
    /// None while the run cannot be planned.
    plan: Option<RunPlan>,
    /// Key of the plan with the probe file as it is.
    key: String,
    blocked: Option<Blocked>,
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
struct Blocked {
    reason: String,
    stamps: Vec<Option<String>>,
    since: Instant,
}

struct Daemon {
    journal: Journal,
    options: Options,
    planner: Planner,
    source: source::Handle,
    pool: Pool<Message>,
    live: broadcast::Sender<Line>,
    runs: HashMap<i64, Run>,
    last_run: i64,
    began: Instant,
    /// Outcomes that the journal could not take yet.
    unwritten: VecDeque<(Job, Outcome)>,
    /// When to try the journal again.
    stall: Option<Instant>,
    /// Files were found that the journal could not take: look again.
    missed_news: bool,
    ends_by: Option<Instant>,
}

impl Daemon {
    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            let next = self.work();
            if self.ends_by.is_some_and(|by| by <= Instant::now() || self.pool.busy().next().is_none()) {
                return;
            }
            let first = match next.or(self.ends_by) {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => messages.recv_timeout(next.saturating_duration_since(Instant::now())),
            };
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Files that are found together are queued in one transaction.
            let mut found = Vec::new();
            for message in std::iter::once(first).chain(messages.try_iter().take(QUEUE)) {
                match message {
                    Message::News(News::Found(one, rest)) => found.push((one, rest)),
                    other => {
                        self.queue(std::mem::take(&mut found));
                        self.handle(other);
                    }
                }
            }
            self.queue(found);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::News(News::Notice(text)) => warn!("{text}"),
            Message::News(News::Found(found, rest)) => self.queue(vec![(found, rest)]),
            Message::News(News::Caught) => {
                let blocked: Vec<_> =
                    self.runs.iter().filter(|(_, run)| run.blocked.is_some()).map(|(id, _)| *id).collect();
                if let Err(error) = self.journal.release(&blocked) {
                    self.missed_news = true;
                    self.stalled(&error);
                }
            }
            Message::Heard(heard) => match self.pool.hear(heard) {
                Some(Answer::Taken(job)) => debug!(path = %path::text(&job.path), "a worker has it"),
                Some(Answer::Done(job, reply)) => self.done(job, *reply),
                Some(Answer::Died(job, reason)) => self.died(job, &reason),
                None => {}
            },
            Message::Ask(ask, answer) => {
                let reply = self.answer(ask);
                // The client may have gone.
                let _ = answer.send(reply);
            }
            Message::Reload => self.reload(),
            Message::End => self.ends_by = Some(Instant::now() + GRACE),
        }
    }

    /// Milliseconds of the daemon's own clock, which no one sets.
    fn now(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    fn send(&self, lines: Vec<Line>) {
        for line in lines {
            // Nobody may be listening.
            let _ = self.live.send(line);
        }
    }

    /// Sends the events of a journalled step, or notes that the journal cannot be written.
    fn journalled(&mut self, result: Result<Vec<Line>>) -> bool {
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

    fn stalled(&mut self, error: &Error) {
        if self.stall.is_none() {
            error!("{}; trying again every {} s", error.one_line(), RETRY.as_secs());
        }
        self.stall = Some(Instant::now() + RETRY);
    }

    /// Hands out what is due to workers that are free; gives when to look again.
    fn work(&mut self) -> Option<Instant> {
        if self.stall.is_some_and(|until| until <= Instant::now()) {
            self.recover();
        }
        self.unblock();
        let mut next = self.pool.supervise();
        let mut earlier = |when: Instant| next = Some(next.map_or(when, |next| next.min(when)));
        if let Some(until) = self.stall.or(self.ends_by) {
            earlier(until);
            return next;
        }
        while let Some(slot) = self.pool.free() {
            if !self.hand_out(slot) {
                break;
            }
        }
        if let Some(until) = self.stall {
            earlier(until);
        } else if self.pool.free().is_some()
            && let Ok(Some(due)) = self.journal.next_due()
        {
            earlier(self.began + Duration::from_millis(due.max(0) as u64));
        }
        if self.runs.values().any(|run| run.blocked.is_some()) {
            earlier(Instant::now() + BLOCKED_LOOK);
        }
        next
    }

    /// Takes the next checkpoint from the queue and gives it to a worker; false if there is none to take.
    fn hand_out(&mut self, slot: usize) -> bool {
        let (mut job, lines) = match self.journal.next(self.now(), self.last_run, self.options.policy) {
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
        let Some(version) = version(&job.path) else {
            self.finish(job, Outcome::Skipped(Skip::Gone));
            return true;
        };
        if version.fingerprint != job.fingerprint {
            job.fingerprint = version.fingerprint;
            self.put_back(&job, self.options.settle);
            return true;
        }
        let Some((run, RunPlan { plan, .. })) = self.runs.get(&job.run).and_then(|run| Some((run, run.plan.as_ref()?)))
        else {
            // Left from an earlier life, in a directory that is not watched now, or not yet found again.
            let result = self.journal.put_back(&job, None);
            return result.map_err(|error| self.stalled(&error)).is_ok();
        };
        let plan = plan.clone();
        let known = self.journal.known_contents(&job).unwrap_or_default();
        let resolved = self.journal.resolved(job.run, &run.key).unwrap_or_default();
        let request = Request { path: RawPath(job.path.clone()), plan, known, resolved };
        debug!(path = %path::text(&job.path), "handing out");
        if let Err(error) = self.pool.assign(slot, job.clone(), &request) {
            error!("{}", error.one_line());
            self.put_back(&job, RETRY);
            self.stall = Some(Instant::now() + RETRY);
        }
        true
    }

    fn put_back(&mut self, job: &Job, wait: Duration) {
        let is_blocked = self.runs.get(&job.run).is_some_and(|run| run.blocked.is_some());
        let due = (!is_blocked).then(|| self.now() + wait.as_millis() as i64);
        if let Err(error) = self.journal.put_back(job, due) {
            // It stays taken until the next start: look again then.
            self.missed_news = true;
            self.stalled(&error);
        }
    }

    /// Queues files that were found.
    fn queue(&mut self, found: Vec<(Found, Rest)>) {
        if found.is_empty() {
            return;
        }
        let now = self.now();
        let mut rows = Vec::new();
        for (found, rest) in found {
            match self.run_of(&found.run) {
                Ok(run) => {
                    let is_blocked = self.runs.get(&run).is_some_and(|run| run.blocked.is_some());
                    let due = (!is_blocked).then(|| now + self.wait(&found, rest).as_millis() as i64);
                    let key = self.runs.get(&run).map(|run| run.key.clone()).unwrap_or_default();
                    rows.push((run, found, due, key));
                }
                Err(error) => {
                    self.missed_news = true;
                    self.stalled(&error);
                }
            }
        }
        let sightings: Vec<_> = rows.iter().map(|(run, found, due, key)| sighting(*run, found, *due, key)).collect();
        let result = self.journal.see(&sightings);
        if !self.journalled(result) {
            self.missed_news = true;
        }
    }

    /// How long a file must still be left alone.
    fn wait(&self, found: &Found, rest: Rest) -> Duration {
        match rest {
            Rest::Renamed => Duration::ZERO,
            // A write in the future says nothing of how long ago it was.
            Rest::Closed => match SystemTime::now().duration_since(found.version.written) {
                Ok(age) => self.options.settle.saturating_sub(age),
                Err(_) => self.options.settle,
            },
        }
    }

    /// The run's id; plans the run if it is new.
    fn run_of(&mut self, folder: &Path) -> Result<i64> {
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

    fn plan(&self, run: &Path) -> Result<RunPlan> {
        let root =
            self.options.roots.iter().filter(|root| run.starts_with(root)).max_by_key(|root| root.as_os_str().len());
        (self.planner)(run, root.map_or(run, PathBuf::as_path))
    }

    fn done(&mut self, mut job: Job, reply: Reply) {
        match reply {
            Reply::Taken => {}
            Reply::Measured { settings, measurement, resolved } => {
                let key = self.runs.get(&job.run).map(|run| run.key.clone()).unwrap_or_default();
                if let Some(resolved) = resolved
                    && let Err(error) = self.journal.set_resolved(job.run, &key, resolved)
                {
                    self.stalled(&error);
                }
                self.finish(job, Outcome::Measured { settings, measurement });
            }
            Reply::Known { content, settings } => self.finish(job, Outcome::Unchanged { content, settings }),
            Reply::Failed { content, reason, is_finite } => {
                self.finish(job, Outcome::Failed { content, reason, is_finite });
            }
            Reply::Changed => {
                if let Some(version) = version(&job.path) {
                    job.fingerprint = version.fingerprint;
                }
                job.unfinished_since = None;
                self.put_back(&job, self.options.settle);
            }
            Reply::Unfinished { reason } => {
                let since = *job.unfinished_since.get_or_insert(self.now());
                let borne = Duration::from_millis((self.now() - since).max(0) as u64);
                let left = self.options.give_up.saturating_sub(borne);
                if left.is_zero() {
                    let reason = format!("{reason}; not whole after {:?} (--give-up)", self.options.give_up);
                    self.finish(job, Outcome::Failed { content: None, reason, is_finite: true });
                } else {
                    debug!(path = %path::text(&job.path), reason, "not whole yet");
                    let wait = (borne / 2).clamp(self.options.settle, UNFINISHED_LOOK.max(self.options.settle));
                    self.put_back(&job, wait.min(left));
                }
            }
            Reply::Unusable { reason } => {
                self.block(job.run, reason, None);
                self.put_back(&job, Duration::ZERO);
            }
        }
    }

    fn died(&mut self, mut job: Job, reason: &str) {
        job.failures += 1;
        warn!(path = %path::text(&job.path), "could not be measured, attempt {}: {reason}", job.failures);
        if job.failures >= self.options.attempts {
            let reason = format!("model {}: {reason}, {} times", path::text(&job.path), job.failures);
            self.finish(job, Outcome::Failed { content: None, reason, is_finite: true });
        } else {
            self.put_back(&job, self.options.settle);
        }
    }

    /// Journals an outcome, sends it and judges its run; kept for later if the journal cannot be written.
    fn finish(&mut self, mut job: Job, outcome: Outcome) {
        if self.stall.is_some() {
            self.unwritten.push_back((job, outcome));
            return;
        }
        // Seen to change since it was taken: what was measured may be the old content.
        let is_content = !matches!(outcome, Outcome::Skipped(_));
        match self.journal.seen_since(&job) {
            Ok(Some(fingerprint)) if is_content => {
                job.fingerprint = fingerprint;
                self.put_back(&job, self.options.settle);
                return;
            }
            _ => {}
        }
        let result = self.journal.finish(&job, &outcome);
        if !self.journalled(result) {
            self.unwritten.push_back((job, outcome));
            return;
        }
        match &outcome {
            Outcome::Measured { measurement, .. } => {
                let r_f = measurement.r_f.as_ref().map(|r_f| r_f.value);
                info!(path = %path::text(&job.path), r_f, "measured");
            }
            Outcome::Failed { reason, .. } => warn!("{reason}"),
            Outcome::Skipped(reason) => debug!(path = %path::text(&job.path), %reason, "skipped"),
            Outcome::Unchanged { .. } => debug!(path = %path::text(&job.path), "measured before"),
        }
        if is_content {
            self.judge(job.run);
        }
    }

    /// Tries the journal again with what it could not take.
    fn recover(&mut self) {
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
                    return;
                }
            }
        }
        info!("the journal can be written again");
    }

    /// Says what the rules say of a run, once and for all if that is to stop.
    fn judge(&mut self, id: i64) {
        let Some(plan) = self.runs.get(&id).and_then(|run| run.plan.as_ref()) else { return };
        let rules = plan.rules.clone();
        if rules.is_empty() {
            return;
        }
        let result = self.journal.points(id).and_then(|points| {
            let compare = |a: i64, b: i64, level: f64| self.journal.compare(a, b, level).ok().flatten();
            let verdicts: Vec<_> = rules.iter().map(|rule| judge(rule, &points, &compare)).collect();
            self.journal.set_verdicts(id, &rules, &verdicts)
        });
        if self.journalled(result) {
            self.tell_stops();
        }
    }

    /// Runs `--on-stop` for each run that stopped and was not told; at least once for each, also over a crash.
    fn tell_stops(&mut self) {
        let Ok(stops) = self.journal.untold_stops() else { return };
        for (id, run, body) in stops {
            let event: Value = serde_json::from_str(&body).unwrap_or_default();
            warn!(%run, "stop: {}", event["reason"].as_str().unwrap_or_default());
            if let Some(command) = &self.options.on_stop {
                let best = event["best"]["path"].as_str().unwrap_or_default().to_owned();
                let reason = event["reason"].as_str().unwrap_or_default().to_owned();
                let mut shell = Command::new("sh");
                shell.args(["-c", command]).env("RELSTAB_RUN", &run);
                shell.env("RELSTAB_BEST", best).env("RELSTAB_REASON", reason).stdin(std::process::Stdio::null());
                match shell.spawn() {
                    Ok(mut child) => drop(std::thread::spawn(move || match child.wait() {
                        Ok(status) if status.success() => {}
                        Ok(status) => error!("--on-stop: {status}"),
                        Err(error) => error!("--on-stop: {error}"),
                    })),
                    Err(error) => error!("--on-stop: {error}"),
                }
            }
            if let Err(error) = self.journal.set_told(id) {
                self.stalled(&error);
            }
        }
    }

    fn block(&mut self, id: i64, reason: String, before: Option<&Blocked>) {
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
    fn unblock(&mut self) {
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

    fn reload(&mut self) {
        info!("reading the configuration again");
        let ids: Vec<_> = self.runs.keys().copied().collect();
        for id in ids {
            self.replan(id);
        }
        self.source.rescan();
    }

    fn replan(&mut self, id: i64) {
        let Some(run) = self.runs.get(&id) else { return };
        let (path, plan) = (run.path.clone(), self.plan(&run.path));
        self.settle_plan(id, path, plan);
    }

    /// Lets a run be measured by its plan, or holds it back if there is none.
    fn settle_plan(&mut self, id: i64, path: PathBuf, plan: Result<RunPlan>) {
        let (plan, reason) = match plan {
            Ok(plan) => (Some(plan), None),
            Err(error) => (None, Some(error.one_line())),
        };
        let run = Run::new(path, plan);
        let law = run.law();
        let was_blocked = self.runs.insert(id, run).and_then(|run| run.blocked);
        if let Some(reason) = reason {
            self.block(id, reason, was_blocked.as_ref());
            return;
        }
        let result = self.journal.set_blocked(id, false).and_then(|()| self.journal.set_law(id, law.as_ref()));
        match result {
            Ok(_) => self.judge(id),
            Err(error) => self.stalled(&error),
        }
    }

    fn answer(&mut self, ask: Ask) -> Result<Value> {
        match ask {
            Ask::Status => self.status(),
            Ask::Annotate { run, checkpoint, val_error } => {
                let id = self.known(&run)?;
                let lines = self.journal.annotate(id, &checkpoint, val_error)?;
                self.send(lines);
                self.doubt(id, &checkpoint, val_error)?;
                self.judge(id);
                Ok(json!({"type": "annotated", "run": run}))
            }
            Ask::Forget(run) => {
                let id = self.known(&run)?;
                self.journal.forget(&run)?;
                self.runs.remove(&id);
                self.source.rescan();
                Ok(json!({"type": "forgotten", "run": run}))
            }
            Ask::Retry(run) => {
                let id = self.known(&run)?;
                let count = self.journal.retry(id)?;
                Ok(json!({"type": "retried", "run": run, "checkpoints": count}))
            }
        }
    }

    /// Warns if a network guesses on the probe set although training found it good.
    fn doubt(&self, run: i64, checkpoint: &CheckpointName, val_error: f64) -> Result<()> {
        let CheckpointName::Step(step) = checkpoint else { return Ok(()) };
        for entry in self.journal.history(run, Filter { step: Some(*step), ..Filter::default() })? {
            let record = entry.measurement.unwrap_or_default();
            let classes = record["model"]["outputs"].as_u64().unwrap_or(2) as usize;
            let probe_error = record["probe_error"].as_f64();
            if let Some(doubt) = probe_error.and_then(|error| errors_disagree(error, val_error, classes)) {
                warn!("{}: {doubt}", entry.path);
            }
        }
        Ok(())
    }

    fn known(&self, run: &str) -> Result<i64> {
        let unknown = || Error::UnknownRun { run: run.to_owned(), journal: self.journal.path().to_owned() };
        self.journal.find_run(run)?.ok_or_else(unknown)
    }

    fn status(&self) -> Result<Value> {
        let mut runs = Vec::new();
        for (id, run) in &self.runs {
            let counts = self.journal.counts(*id)?;
            let count = |state: State| counts.get(&state).copied().unwrap_or(0);
            let measuring = self.pool.busy().filter(|(job, _)| job.run == *id);
            let (verdicts, stop) = self.journal.verdicts(*id)?;
            runs.push(RunStatus {
                run: path::text(&run.path),
                pending: count(State::Pending),
                measured: count(State::Measured),
                skipped: count(State::Skipped),
                failed: count(State::Failed),
                measuring: measuring
                    .map(
                        |(job, since)| json!({"path": path::text(&job.path), "seconds": since.elapsed().as_secs_f64()}),
                    )
                    .collect(),
                unusable: run.blocked.as_ref().map(|blocked| blocked.reason.clone()),
                rules: serde_json::to_value(verdicts).unwrap_or_default(),
                stopped: stop.is_some(),
            });
        }
        runs.sort_by(|a, b| a.run.cmp(&b.run));
        let is_stalled = self.stall.is_some();
        let seq = self.journal.last_seq()?;
        Ok(json!({"type": "status", "seq": seq, "uptime_s": self.began.elapsed().as_secs_f64(),
                  "journal_writable": !is_stalled, "runs": runs}))
    }
}

#[derive(Serialize)]
struct RunStatus {
    run: String,
    pending: u64,
    measured: u64,
    skipped: u64,
    failed: u64,
    measuring: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable: Option<String>,
    rules: Value,
    stopped: bool,
}

fn sighting<'a>(run: i64, found: &'a Found, due: Option<i64>, key: &'a str) -> Sighting<'a> {
    let (step, epoch) = step_and_epoch(&found.path);
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

fn stamps(run: &Run) -> Vec<Option<String>> {
    let configs = run.path.ancestors().map(|folder| folder.join(config::FILE_NAME));
    let probe = run.plan.as_ref().map(|plan| plan.plan.probe.0.clone());
    configs.chain(probe).map(|file| file_stamp(&file)).collect()
}

fn file_stamp(path: &Path) -> Option<String> {
    std::fs::metadata(path).ok().map(|file| stamp(&file))
}
