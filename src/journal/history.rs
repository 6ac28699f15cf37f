//! Reading the journal: events for those who were away, a run's history.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Row, ToSql, params, params_from_iter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use strum::{Display, FromRepr};

use super::waiting::why;
use super::{Journal, Line, id_of, line_text};
use crate::error::Result;
use crate::event::{CheckpointName, Measurement};
use crate::findings;

/// What became of a checkpoint.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, FromRepr, Display, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[repr(i64)]
pub enum State {
    /// It waits, or is being measured.
    Pending,
    /// It was measured.
    Measured,
    /// It will not be measured.
    Skipped,
    /// It could not be measured.
    Failed,
}

/// A line of a run's history.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Entry {
    /// Its number within the journal.
    pub id: i64,
    /// The checkpoint's file.
    pub path: String,
    /// What became of it.
    pub state: State,
    /// Optimiser steps taken.
    pub step: Option<u64>,
    /// Epochs trained.
    pub epoch: Option<f64>,
    /// The error that the training loop knows, as last told.
    pub val_error: Option<f64>,
    /// Why it was skipped, failed or waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The machine of the worker that measured it or failed, where that was not the daemon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The seq of the outcome's event.
    pub seq: Option<i64>,
    /// Which of the run's trainings wrote it: one that begins again is another attempt.
    pub attempt: u64,
    /// The record, with the prediction of the run's present law.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurement: Option<Value>,
}

impl Entry {
    /// The measurement with the error that was last told; `None` for what was not measured.
    pub fn record(&self) -> Option<Measurement> {
        let mut record: Measurement = serde_json::from_value(self.measurement.clone()?).ok()?;
        record.metadata.val_error = self.val_error;
        Some(record)
    }
}

/// What the latest measured checkpoint of a run's latest attempt came to; errors are fractions.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "each is the record's field of its name")]
pub struct Figures {
    pub step: Option<f64>,
    pub r_f: Option<f64>,
    pub d_f: Option<f64>,
    pub g_f: Option<f64>,
    pub invariance: Option<f64>,
    pub predicted_error: Option<f64>,
    pub val_error: Option<f64>,
    pub probe_error: Option<f64>,
    /// What the measurement took.
    pub seconds: Option<f64>,
    /// Since the oldest checkpoint that waits was written; 0 if none does.
    pub lag_seconds: f64,
    /// Findings of each severity: notes, doubts, wrongs.
    pub findings: [u64; 3],
}

/// Which entries of a history.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// Only the checkpoint of this number.
    pub id: Option<i64>,
    /// Only the checkpoint of this step.
    pub step: Option<u64>,
    /// Only those of this state.
    pub state: Option<State>,
    /// Only so many, after so many: offset and limit.
    pub part: Option<(u32, usize)>,
    /// Keep the replicates in the records, where the journal keeps them.
    pub with_replicates: bool,
}

/// Checkpoints of a run by what became of them.
pub type Counts = BTreeMap<State, u64>;

/// The last step that a column holds; all later ones stand there too, after every other, and are told apart by their files.
pub(super) const LAST_STEP: i64 = i64::MAX;

/// A step as a column holds it.
pub(super) fn column(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(LAST_STEP)
}

/// Of two measured contents of one step, or of one path without a step, the one seen last counts. Each is found by its own
/// index, which the plus signs see to: one by state takes time that grows with the square of the run's length.
pub(super) const COUNTED: &str = "(state <> 1 OR c.id = iif(c.step IS NULL OR c.step = 0x7fffffffffffffff,
     (SELECT twin.id FROM checkpoints AS twin WHERE twin.run = c.run AND twin.path = c.path AND +twin.state = 1
      AND +twin.step IS c.step ORDER BY twin.current DESC LIMIT 1),
     (SELECT twin.id FROM checkpoints AS twin WHERE twin.run = c.run AND twin.step = c.step AND +twin.state = 1
      ORDER BY twin.current DESC LIMIT 1)))";

/// What belongs to the run's latest attempt: its own checkpoints, and those of earlier ones before the step that it began at.
pub(super) const PRESENT: &str = "(c.attempt = (SELECT attempt FROM runs WHERE id = c.run)
     OR c.step < (SELECT attempt_from FROM runs WHERE id = c.run))";

impl Journal {
    /// Events after `since`, oldest first, at most `limit`; of `runs` only, if any are named.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn events_since(&self, since: i64, runs: &[String], limit: usize) -> Result<Vec<Line>> {
        let chosen = if runs.is_empty() { String::new() } else { format!(" AND path IN ({})", marks(runs.len())) };
        let sql = format!(
            "SELECT seq, path, body FROM events JOIN runs ON runs.id = events.run WHERE seq > {since}{chosen}
             ORDER BY seq LIMIT {limit}"
        );
        self.reading(|db| {
            let mut query = db.prepare(&sql)?;
            let line = |row: &Row| {
                let (seq, run, body): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Line { seq, run: run.into(), kind: "", text: line_text(seq, &body).into() })
            };
            query.query_map(params_from_iter(runs), line)?.collect()
        })
    }

    /// The seq of the latest event; 0 if there is none.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn last_seq(&self) -> Result<i64> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'events'";
        Ok(self.reading(|db| db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional())?.unwrap_or(0))
    }

    /// The ids and paths of all runs.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn runs(&self) -> Result<Vec<(i64, String)>> {
        self.reading(|db| {
            let mut query = db.prepare_cached("SELECT id, path FROM runs ORDER BY path")?;
            query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// The ids and paths of runs to which something happened after `time` (RFC 3339, UTC), or of which something waits.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn runs_since(&self, time: &str) -> Result<Vec<(i64, String)>> {
        let sql = "SELECT id, path FROM runs WHERE EXISTS (SELECT 1 FROM checkpoints WHERE run = runs.id AND state = 0)
                   OR (SELECT json_extract(body, '$.time') FROM events WHERE run = runs.id ORDER BY seq DESC LIMIT 1) > ?1
                   ORDER BY path";
        self.reading(|db| {
            let mut query = db.prepare_cached(sql)?;
            query.query_map([time], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    /// What the latest measured checkpoint of a run's latest attempt came to, and how long its queue has waited.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn figures(&self, run: i64) -> Result<Figures> {
        let latest = format!(
            "SELECT step, r_f, d_f, g_f, predicted_error, val_error, probe_error,
             json_extract(body, '$.measurement.timing.total_s'), notes, doubts, wrongs, invariance
             FROM checkpoints AS c LEFT JOIN events ON events.seq = c.outcome
             WHERE c.run = ?1 AND state = 1 AND {COUNTED} AND {PRESENT} ORDER BY step DESC, epoch DESC, written DESC LIMIT 1"
        );
        let oldest = "SELECT min(written) FROM checkpoints WHERE run = ?1 AND state = 0";
        self.reading(|db| {
            let figures = |row: &Row| {
                Ok(Figures {
                    step: row.get(0)?,
                    r_f: row.get(1)?,
                    d_f: row.get(2)?,
                    g_f: row.get(3)?,
                    predicted_error: row.get(4)?,
                    val_error: row.get(5)?,
                    probe_error: row.get(6)?,
                    seconds: row.get(7)?,
                    lag_seconds: 0.0,
                    findings: [count(row, 8)?, count(row, 9)?, count(row, 10)?],
                    invariance: row.get(11)?,
                })
            };
            let found = db.prepare_cached(&latest)?.query_row([run], figures).optional()?.unwrap_or_default();
            let oldest: Option<i64> = db.prepare_cached(oldest)?.query_row([run], |row| row.get(0))?;
            let now = jiff::Timestamp::now().as_nanosecond() as f64;
            let lag = oldest.map_or(0.0, |oldest| (now - oldest as f64) / 1e9);
            Ok(Figures { lag_seconds: lag.max(0.0), ..found })
        })
    }

    /// The id of the run at `path`, if the journal knows it.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn find_run(&self, path: &str) -> Result<Option<i64>> {
        self.reading(|db| id_of(db, path))
    }

    /// Where a chart over steps places the checkpoint of that name, as it was last measured before event `before`: at its step,
    /// else at its number among the run's measurements.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn place_before(&self, run: &str, checkpoint: &CheckpointName, before: i64) -> Result<Option<i64>> {
        let (named, name): (_, &dyn ToSql) = match checkpoint {
            CheckpointName::Path(path) => ("path", path),
            CheckpointName::Step(step) => ("step", &column(*step)),
        };
        let sql = format!(
            "SELECT coalesce(step, (SELECT count(*) FROM checkpoints AS earlier
                                    WHERE earlier.run = c.run AND earlier.state = 1 AND earlier.outcome <= c.outcome))
             FROM checkpoints AS c WHERE run = (SELECT id FROM runs WHERE path = ?1) AND {named} = ?2
             AND +state = 1 AND outcome < ?3 ORDER BY outcome DESC LIMIT 1"
        );
        self.reading(|db| db.prepare_cached(&sql)?.query_row(params![run, name, before], |row| row.get(0)).optional())
    }

    /// Checkpoints of a run by what became of them.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn counts(&self, run: i64) -> Result<Counts> {
        let sql = "SELECT state, count FROM counts WHERE run = ?1";
        self.reading(|db| {
            let mut query = db.prepare_cached(sql)?;
            let counts = query.query_map([run], |row| Ok((state(row.get(0)?), row.get::<_, i64>(1)? as u64)))?;
            counts.collect()
        })
    }

    /// The run's checkpoints in training order.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn history(&self, run: i64, filter: Filter) -> Result<Vec<Entry>> {
        let id = filter.id.map_or(String::new(), |id| format!(" AND c.id = {id}"));
        let step = filter.step.map_or(String::new(), |step| format!(" AND c.step = {}", column(step)));
        let state = filter.state.map_or(String::new(), |state| format!(" AND state = {}", state as i64));
        let part = filter.part.map_or(String::new(), |(offset, limit)| format!(" LIMIT {limit} OFFSET {offset}"));
        let sql = format!(
            "SELECT c.path, state, step, epoch, val_error, reason, outcome, body, prediction, log_r_f, replicates.invariance,
             due, unfinished_since IS NOT NULL, written, c.id, attempt, host, lack
             FROM checkpoints AS c LEFT JOIN events ON events.seq = c.outcome
             LEFT JOIN replicates ON replicates.run = c.run AND replicates.checkpoint = c.id
             WHERE c.run = ?1{id}{step}{state} AND {COUNTED} ORDER BY step, epoch, written, c.id{part}"
        );
        self.reading(|db| {
            let mut query = db.prepare(&sql)?;
            let mut ahead = 0;
            let rows = query.query_map([run], |row| {
                let mut entry = entry(row, filter.with_replicates)?;
                if entry.state == State::Pending {
                    entry.reason =
                        Some(why(row.get(11)?, (row.get(12)?, row.get(17)?), entry.reason, row.get(13)?, ahead));
                    ahead += 1;
                }
                Ok(entry)
            })?;
            rows.collect()
        })
    }
}

pub(super) fn measurement(body: &str) -> Option<Measurement> {
    #[derive(Deserialize)]
    struct Measured {
        measurement: Measurement,
    }
    serde_json::from_str(body).ok().map(|Measured { measurement }| measurement)
}

/// What history says of a record that has no effective invariance for a law to go by.
const WITHOUT_INVARIANCE: &str = "measured by an earlier version, without effective invariance: laws that go by it do not count it, its prediction is kept";

fn entry(row: &Row, with_replicates: bool) -> rusqlite::Result<Entry> {
    let body: Option<String> = row.get(7)?;
    let mut measurement = body
        .and_then(|body| serde_json::from_str::<Value>(&body).ok())
        .and_then(|mut event| event.get_mut("measurement").map(Value::take));
    if let Some(Value::Object(record)) = &mut measurement {
        let prediction: Option<String> = row.get(8)?;
        let prediction = prediction.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        let val_error: Option<f64> = row.get(4)?;
        let is_as_told = record.get("prediction") == Some(&prediction)
            && record.get("metadata").and_then(|said| said["val_error"].as_f64()) == val_error;
        record.insert("prediction".to_owned(), prediction);
        if !is_as_told && let Some((findings, warnings)) = told_anew(Value::Object(record.clone()), val_error) {
            record.insert("findings".to_owned(), findings);
            record.insert("warnings".to_owned(), warnings);
        }
        let model = record.get("model").unwrap_or(&Value::Null);
        let is_classifier =
            model["outputs"].as_u64() > Some(1) && model["output_axes"].as_array().is_none_or(Vec::is_empty);
        let scores = record.get("scores").and_then(Value::as_object);
        let is_older = scores.map_or(is_classifier, |scores| scores.get("classes").is_none_or(Value::is_null));
        if let Some(Value::Array(warnings)) = record.get_mut("warnings").filter(|_| is_older) {
            warnings.push(WITHOUT_INVARIANCE.into());
        }
        for (column, name) in [(9, "replicates_log_r_f"), (10, "replicates_invariance")] {
            let replicates = row.get_ref(column)?.as_blob_or_null()?.map(floats).filter(|_| with_replicates);
            if let Some(replicates) = replicates {
                record.insert(name.to_owned(), replicates.into());
            }
        }
    }
    Ok(Entry {
        id: row.get(14)?,
        path: row.get(0)?,
        state: state(row.get(1)?),
        step: row.get::<_, Option<i64>>(2)?.map(|step| step as u64),
        epoch: row.get(3)?,
        val_error: row.get(4)?,
        reason: row.get(5)?,
        host: row.get(16)?,
        seq: row.get(6)?,
        attempt: row.get::<_, i64>(15)? as u64,
        measurement,
    })
}

fn count(row: &Row, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, Option<i64>>(column)?.unwrap_or(0) as u64)
}

/// What a record tells of its prediction and its known error as they are now.
fn told_anew(record: Value, val_error: Option<f64>) -> Option<(Value, Value)> {
    let mut record: Measurement = serde_json::from_value(record).ok()?;
    record.metadata.val_error = val_error;
    let why_not = record.no_prediction().filter(|_| record.prediction.is_none()).map(str::to_owned);
    findings::settle(&mut record, why_not.as_deref());
    Some((serde_json::to_value(record.findings).ok()?, record.warnings.into()))
}

fn state(number: i64) -> State {
    State::from_repr(number).unwrap_or(State::Pending)
}

pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}
