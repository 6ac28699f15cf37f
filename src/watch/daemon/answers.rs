//! What clients ask of the daemon itself.

use serde::Serialize;
use serde_json::{Value, json};
use tracing::warn;

use super::channels::Ask;
use super::state::Daemon;
use crate::error::{Error, Result};
use crate::event::CheckpointName;
use crate::findings::errors_disagree;
use crate::journal::{Filter, State};
use crate::path;

impl Daemon {
    pub(super) fn answer(&mut self, ask: Ask) -> Result<Value> {
        match ask {
            Ask::Status => self.status(),
            Ask::Annotate { run, checkpoint, val_error } => {
                let id = self.known(&run)?;
                let rules = self.rules(id);
                let lines = self.journal.annotate(id, &checkpoint, val_error, rules.as_deref())?;
                self.send(lines);
                self.tell_judgement(id);
                self.doubt(id, &checkpoint, val_error)?;
                Ok(json!({"type": "annotated", "run": run}))
            }
            Ask::Declare { run, step, began } => {
                let id = self.known(&run)?;
                let (attempt, lines) = self.journal.declare(id, step, began)?;
                self.send(lines);
                self.tell_judgement(id);
                Ok(json!({"type": "declared", "run": run, "attempt": attempt}))
            }
            Ask::Resume(run) => {
                let id = self.known(&run)?;
                let (was_stopped, lines) = self.journal.resume(id)?;
                self.send(lines);
                self.look_at_alerts(id);
                Ok(json!({"type": "resumed", "run": run, "stops": u8::from(was_stopped)}))
            }
            Ask::Forget(run) => {
                let id = self.known(&run)?;
                self.journal.forget(&run)?;
                self.runs.remove(&id);
                self.behind.remove(&id);
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
    pub(super) fn doubt(&self, run: i64, checkpoint: &CheckpointName, val_error: f64) -> Result<()> {
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

    pub(super) fn known(&self, run: &str) -> Result<i64> {
        let unknown = || Error::UnknownRun { run: run.to_owned(), journal: self.journal.path().to_owned() };
        self.journal.find_run(run)?.ok_or_else(unknown)
    }

    pub(super) fn status(&mut self) -> Result<Value> {
        self.look_for_journal();
        let mut runs = Vec::new();
        for (id, run) in &self.runs {
            let counts = self.journal.counts(*id)?;
            let count = |state: State| counts.get(&state).copied().unwrap_or(0);
            let measuring = self.pool.busy().filter(|(job, _)| job.run == *id);
            let (verdicts, stop) = self.journal.verdicts(*id)?;
            let (attempt, attempt_from) = self.journal.attempt(*id)?;
            let first = Filter { state: Some(State::Pending), part: Some((0, NAMED)), ..Filter::default() };
            let waiting = self.journal.history(*id, first)?;
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
                waiting: waiting.iter().map(|entry| json!({"path": entry.path, "reason": entry.reason})).collect(),
                unusable: run.blocked.as_ref().map(|blocked| blocked.reason.clone()),
                rules: serde_json::to_value(verdicts).unwrap_or_default(),
                stopped: stop.is_some(),
                attempt,
                attempt_from,
            });
        }
        runs.sort_by(|a, b| a.run.cmp(&b.run));
        let is_writable = self.stall.is_none() && !self.is_journal_gone;
        let seq = self.journal.last_seq()?;
        Ok(json!({"type": "status", "seq": seq, "uptime_s": self.began.elapsed().as_secs_f64(),
                  "journal_writable": is_writable, "runs": runs}))
    }
}

/// Checkpoints of a run that wait and are named.
const NAMED: usize = 5;

#[derive(Serialize)]
struct RunStatus {
    run: String,
    pending: u64,
    measured: u64,
    skipped: u64,
    failed: u64,
    measuring: Vec<Value>,
    /// The first of them.
    waiting: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable: Option<String>,
    rules: Value,
    stopped: bool,
    attempt: i64,
    /// The step that it began at, of any but the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_from: Option<i64>,
}
