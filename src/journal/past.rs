//! What a run went through: trainings that began again, alerts that were raised, laws that predicted its errors.

use rusqlite::{Connection, Row, params};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Journal, Writer};
use crate::error::Result;
use crate::predict::{LawSummary, Prediction};

/// A training that began again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Attempt {
    /// Its number; the first training is 1, and not listed.
    pub attempt: i64,
    /// The step that it began at.
    pub step: i64,
    /// When that was known, RFC 3339.
    pub time: String,
    /// Whether the training said so; else it was noticed.
    pub declared: bool,
}

/// An alert that was raised.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Raised {
    /// Its name.
    pub alert: String,
    /// What came, in words.
    pub text: String,
    /// The checkpoint that it is about, and the value there; null where it is about none.
    pub at: Value,
    /// When it was raised last, RFC 3339.
    pub raised: String,
    /// Since when it holds, RFC 3339; null where it holds no more.
    pub since: Option<String>,
}

/// A version of a law, and the records that it predicted as they were measured.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LawOf {
    /// The law.
    pub law: LawSummary,
    /// The least step among its records; null where none has a step.
    pub first_step: Option<i64>,
    /// The largest such step.
    pub last_step: Option<i64>,
    /// How many records there are.
    pub records: i64,
}

/// What a run went through.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Past {
    /// In their order.
    pub attempts: Vec<Attempt>,
    /// The latest comes first.
    pub alerts: Vec<Raised>,
    /// The latest come first.
    pub laws: Vec<LawOf>,
    /// How many laws there are, those that are not listed among them.
    pub laws_in_all: u64,
}

impl Journal {
    /// What a run went through, with the latest `most` laws.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn past(&self, run: i64, most: usize) -> Result<Past> {
        let count = "SELECT count(*) FROM laws WHERE run = ?1";
        self.reading(|db| {
            Ok(Past {
                attempts: attempts(db, run)?,
                alerts: alerts(db, run)?,
                laws: laws(db, run, most)?,
                laws_in_all: db.prepare_cached(count)?.query_row([run], |row| row.get::<_, i64>(0))? as u64,
            })
        })
    }
}

/// The trainings of a run that began again.
pub(super) fn attempts(db: &Connection, run: i64) -> rusqlite::Result<Vec<Attempt>> {
    let sql = "SELECT a.attempt, a.step, body ->> '$.time', ifnull(body ->> '$.declared', 0)
               FROM attempts AS a JOIN events ON events.seq = a.seq WHERE a.run = ?1 ORDER BY a.attempt";
    let attempt =
        |row: &Row| Ok(Attempt { attempt: row.get(0)?, step: row.get(1)?, time: row.get(2)?, declared: row.get(3)? });
    db.prepare_cached(sql)?.query_map([run], attempt)?.collect()
}

/// Notes that an attempt began with event `seq`.
pub(super) fn note_attempt(tx: &Writer, run: i64, attempt: i64, step: i64, seq: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO attempts (run, attempt, step, seq) VALUES (?1, ?2, ?3, ?4)";
    tx.prepare_cached(sql)?.execute(params![run, attempt, step, seq]).map(|_| ())
}

/// The alerts of a run that were raised. One that holds again after that, and was not raised again yet, holds no more.
fn alerts(db: &Connection, run: i64) -> rusqlite::Result<Vec<Raised>> {
    // Of each the latest time; earlier ones wait to be told.
    let sql = "SELECT body, since FROM alerts JOIN events ON events.seq = raised
               WHERE alerts.run = ?1 AND instr(rule, char(10)) = 0 ORDER BY raised DESC";
    let row = |row: &Row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?));
    let rows: Vec<_> = db.prepare_cached(sql)?.query_map([run], row)?.collect::<rusqlite::Result<_>>()?;
    let raised = |(body, since): (String, Option<i64>)| {
        let event: Value = serde_json::from_str(&body).ok()?;
        let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let at: jiff::Timestamp = event["time"].as_str()?.parse().ok()?;
        let since = since.filter(|since| *since <= at.as_millisecond());
        let since = since.and_then(|since| jiff::Timestamp::from_millisecond(since).ok());
        Some(Raised {
            alert: word("alert"),
            text: word("text"),
            at: event["at"].clone(),
            raised: at.to_string(),
            since: since.map(|since| since.to_string()),
        })
    };
    Ok(rows.into_iter().filter_map(raised).collect())
}

fn laws(db: &Connection, run: i64, most: usize) -> rusqlite::Result<Vec<LawOf>> {
    let sql = "SELECT law, first_step, last_step, records FROM laws WHERE run = ?1 ORDER BY seq DESC LIMIT ?2";
    let row = |row: &Row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let rows: Vec<_> = db.prepare_cached(sql)?.query_map([run, most as i64], row)?.collect::<rusqlite::Result<_>>()?;
    let law_of = |(law, first_step, last_step, records): (String, _, _, _)| {
        Some(LawOf { law: serde_json::from_str(&law).ok()?, first_step, last_step, records })
    };
    Ok(rows.into_iter().filter_map(law_of).collect())
}

/// Notes the law of a record that event `seq` tells of.
pub(super) fn note_law(
    tx: &Writer,
    run: i64,
    step: Option<i64>,
    seq: i64,
    prediction: Option<&Prediction>,
) -> rusqlite::Result<()> {
    let Some(Prediction { law, .. }) = prediction else { return Ok(()) };
    let sql = "INSERT INTO laws (run, name, version, law, first_step, last_step, records, seq)
               VALUES (?1, ?2, ?3, ?4, ?5, ?5, 1, ?6)
               ON CONFLICT DO UPDATE SET records = records + 1,
                   first_step = min(ifnull(first_step, excluded.first_step), ifnull(excluded.first_step, first_step)),
                   last_step = max(ifnull(last_step, excluded.last_step), ifnull(excluded.last_step, last_step))";
    let text = serde_json::to_string(law).unwrap_or_default();
    tx.prepare_cached(sql)?.execute(params![run, law.name, law.version, text, step, seq]).map(|_| ())
}
