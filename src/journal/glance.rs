//! A run at a glance: what a line of an overview shows, at a cost that does not grow with the run's length.

use rusqlite::{OptionalExtension as _, Row};
use serde::Serialize;
use serde_json::Value;

use super::history::{Filter, PRESENT};
use super::series::{BEST_FIRST, within};
use super::{Journal, State};
use crate::error::Result;
use crate::event::{Code, Finding, Severity, has};
use crate::stop::{Mark, Verdict};

/// Points of the small chart in a line.
const POINTS: usize = 32;
/// The latest checkpoints among which the last in training order is looked for.
const LATEST: i64 = 16;
/// The latest events among which the last outcome is looked for.
const LOOKED_AT: i64 = 64;

/// A run in one line.
#[derive(Debug, Clone, Serialize)]
pub struct Glance {
    /// Checkpoints waiting, measured, skipped and failed.
    pub pending: u64,
    /// As above.
    pub measured: u64,
    /// As above.
    pub skipped: u64,
    /// As above.
    pub failed: u64,
    /// Predicted errors in training order, evenly thinned.
    pub predicted_error: Vec<Option<f64>>,
    /// The checkpoint that `relstab best` names, but that without a rule all of the latest attempt count, whatever their settings.
    pub best: Option<Mark>,
    /// What the rules say.
    pub rules: Vec<Verdict>,
    /// Whether one of them said stop.
    pub stopped: bool,
    /// Why the last checkpoint that a worker had could not be measured; null if it was.
    pub failure: Option<String>,
    /// The latest measured checkpoint of the latest attempt.
    pub latest: Option<Latest>,
}

/// The latest measured checkpoint of a run's latest attempt.
#[derive(Debug, Clone, Serialize)]
pub struct Latest {
    /// Its number within the journal.
    pub checkpoint: i64,
    /// Its file, from the run's directory on.
    pub file: String,
    /// Optimiser steps taken.
    pub step: Option<u64>,
    /// Epochs trained.
    pub epoch: Option<f64>,
    /// When it was written, seconds since 1970.
    pub written: f64,
    /// The error that the training loop knows.
    pub val_error: Option<f64>,
    /// Whether the law was fitted on its error too.
    pub is_fit: bool,
    /// What is wrong or doubtful about it.
    pub findings: Vec<Finding>,
    /// Of its record: `r_f`, `d_f`, `g_f`, `invariance`, `prediction`, `probe_error`, `seconds` and `passes`; null where unknown.
    #[serde(flatten)]
    pub values: serde_json::Map<String, Value>,
}

/// Where an overview finds its values in a record.
const VALUES: [(&str, &str); 8] = [
    ("r_f", "/r_f"),
    ("d_f", "/d_f"),
    ("g_f", "/g_f"),
    ("invariance", "/scores/invariance/deformed"),
    ("prediction", "/prediction"),
    ("probe_error", "/probe_error"),
    ("seconds", "/timing/total_s"),
    ("passes", "/timing/passes"),
];

impl Journal {
    /// A run in one line.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn glance(&self, run: i64) -> Result<Glance> {
        let series = self.series(run, POINTS)?;
        let (rules, stop) = self.verdicts(run)?;
        let counts = self.counts(run)?;
        let best = match rules.first().and_then(|rule| rule.best.clone()) {
            Some(best) => Some(best),
            None => self.best_by_evidence(run)?,
        };
        let latest = self.latest(run, &series.run)?;
        let count = |state: State| counts.get(&state).copied().unwrap_or(0);
        Ok(Glance {
            pending: count(State::Pending),
            measured: count(State::Measured),
            skipped: count(State::Skipped),
            failed: count(State::Failed),
            predicted_error: series.predicted_error,
            best,
            rules,
            stopped: stop.is_some(),
            failure: self.last_failure(run)?,
            latest,
        })
    }

    /// The latest events of a run, newest first, without their records.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn latest_events(&self, run: i64, most: usize) -> Result<Vec<Value>> {
        let sql = "SELECT seq, json_set(json_remove(body, '$.measurement'), '$.path',
                       coalesce(body ->> '$.path', body ->> '$.measurement.model.path'))
                   FROM events WHERE run = ?1 ORDER BY seq DESC LIMIT ?2";
        let event = |row: &Row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
        let rows: Vec<_> =
            self.reading(|db| db.prepare_cached(sql)?.query_map((run, most as i64), event)?.collect())?;
        let told = rows.into_iter().filter_map(|(seq, body)| {
            let mut event: Value = serde_json::from_str(&body).ok()?;
            event["seq"] = seq.into();
            Some(event)
        });
        Ok(told.collect())
    }

    fn latest(&self, run: i64, path: &str) -> Result<Option<Latest>> {
        // Epochs put in order those of one step, or of none: among the last, so that it costs the same however long the run is.
        let sql = format!(
            "SELECT id, written FROM (SELECT id, written, step, epoch FROM checkpoints AS c
                                      WHERE run = ?1 AND +stride IS NOT NULL AND {PRESENT} ORDER BY step DESC, id DESC LIMIT ?2)
             ORDER BY step DESC, epoch DESC, written DESC, id DESC LIMIT 1"
        );
        let row = |row: &Row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let found = self.reading(|db| db.prepare_cached(&sql)?.query_row((run, LATEST), row).optional())?;
        let Some((id, written)) = found else { return Ok(None) };
        let mut found = self.history(run, Filter { id: Some(id), ..Filter::default() })?;
        let Some(mut entry) = found.pop() else { return Ok(None) };
        let record = entry.measurement.take().unwrap_or_default();
        let value = |(name, place): (&str, &str)| (name.to_owned(), record.pointer(place).cloned().unwrap_or_default());
        let findings: Vec<Finding> = serde_json::from_value(record["findings"].clone()).unwrap_or_default();
        Ok(Some(Latest {
            checkpoint: id,
            file: within(path, &entry.path).to_owned(),
            step: entry.step,
            epoch: entry.epoch,
            written: (written as f64 / 1e9).round(),
            val_error: entry.val_error,
            is_fit: has(&findings, Code::FittedOnIt),
            findings: findings.into_iter().filter(|finding| finding.severity > Severity::Note).collect(),
            values: VALUES.into_iter().map(value).collect(),
        }))
    }

    fn last_failure(&self, run: i64) -> Result<Option<String>> {
        let sql = "SELECT body ->> '$.type', body ->> '$.reason' FROM events WHERE run = ?1 ORDER BY seq DESC LIMIT ?2";
        self.reading(|db| {
            let mut query = db.prepare_cached(sql)?;
            let mut rows = query.query((run, LOOKED_AT))?;
            while let Some(row) = rows.next()? {
                match row.get_ref(0)?.as_str()? {
                    "failed" => return row.get(1),
                    "measured" => return Ok(None),
                    _ => {}
                }
            }
            Ok(None)
        })
    }

    /// By the best evidence that the latest attempt has.
    fn best_by_evidence(&self, run: i64) -> Result<Option<Mark>> {
        let mark = |row: &Row| {
            let step: Option<i64> = row.get(1)?;
            Ok(Mark { path: row.get(0)?, step: step.map(|step| step as u64), value: row.get(2)? })
        };
        for (column, best_first) in BEST_FIRST {
            let sql = format!(
                "SELECT path, step, {column} FROM checkpoints AS c
                 WHERE run = ?1 AND stride IS NOT NULL AND {PRESENT} AND {best_first} LIMIT 1"
            );
            let found = self.reading(|db| db.prepare_cached(&sql)?.query_row([run], mark).optional())?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
