//! Trainings that begin again in the same directory: each is an attempt, and rules judge the latest.

use rusqlite::{OptionalExtension as _, Row, params};

use super::history::column;
use super::past::note_attempt;
use super::queue::Job;
use super::verdict::judge_by_stored;
use super::{Journal, Line, Writer};
use crate::error::Result;
use crate::event::Kind;

impl Journal {
    /// A training says that it begins at `step`, and began at `began` (nanoseconds since 1970). That is another attempt where
    /// a checkpoint of that step or a later one was written before; gives the number of the run's latest attempt.
    ///
    /// # Errors
    /// `Journal` if it cannot be read or written.
    pub fn declare(&mut self, run: i64, step: u64, began: i64) -> Result<(i64, Vec<Line>)> {
        self.write("begin an attempt in", |tx| {
            let sql = "SELECT attempt, ifnull(attempt_began, -1) >= ?2 FROM runs WHERE id = ?1";
            let row = |row: &Row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?));
            let (attempt, is_known) = tx.prepare_cached(sql)?.query_row(params![run, began], row)?;
            let earlier = "SELECT 1 FROM checkpoints WHERE run = ?1 AND step >= ?2 AND written < ?3";
            if is_known || !tx.prepare_cached(earlier)?.exists(params![run, column(step), began])? {
                return Ok(attempt);
            }
            let attempt = begin(tx, run, column(step), began, true)?;
            judge_by_stored(tx, run)?;
            Ok(attempt)
        })
    }

    /// The number of the run's latest attempt, and the step that it began at; none for the first.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn attempt(&self, run: i64) -> Result<(i64, Option<i64>)> {
        let sql = "SELECT attempt, attempt_from FROM runs WHERE id = ?1";
        self.reading(|db| db.prepare_cached(sql)?.query_row([run], |row| Ok((row.get(0)?, row.get(1)?))))
    }
}

/// Notices that a training began again: `job`, a file of the latest attempt that was measured with another content, was written
/// again after one of a later step was.
pub(super) fn notice(tx: &Writer, job: &Job, step: Option<i64>, content: &str, settings: &str) -> rusqlite::Result<()> {
    let sql = "SELECT own.written FROM checkpoints AS own WHERE own.id = ?1
               AND own.attempt = (SELECT attempt FROM runs WHERE id = own.run)
               AND EXISTS (SELECT 1 FROM checkpoints AS old WHERE old.run = own.run AND old.step = ?2 AND +old.path = own.path
                           AND +old.state = 1 AND old.attempt = own.attempt AND old.settings = ?4 AND old.content <> ?3)
               AND EXISTS (SELECT 1 FROM checkpoints AS later WHERE later.run = own.run AND later.step > ?2
                           AND +later.state = 1 AND later.attempt = own.attempt AND later.written < own.written)";
    let Some(step) = step else { return Ok(()) };
    let values = params![job.id, step, content, settings];
    let written: Option<i64> = tx.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    written.map_or(Ok(()), |written| begin(tx, job.run, step, written, false).map(|_| ()))
}

/// A run's next attempt; what was written since `began` is its own. It is not stopped, whatever the one before was.
fn begin(tx: &Writer, run: i64, step: i64, began: i64, is_declared: bool) -> rusqlite::Result<i64> {
    let next = "UPDATE runs SET attempt = attempt + 1, attempt_from = ?2, attempt_began = ?3, stopped = NULL, told = 0,
                resumed = NULL WHERE id = ?1 RETURNING attempt";
    let attempt: i64 = tx.prepare_cached(next)?.query_row(params![run, step, began], |row| row.get(0))?;
    tx.prepare_cached("UPDATE checkpoints SET attempt = ?2 WHERE run = ?1 AND written >= ?3")?
        .execute(params![run, attempt, began])?;
    // Errors told of steps that come again are of other networks. Where it was only noticed, that of its first step may be its own.
    let first = step.saturating_add(i64::from(!is_declared));
    let sql = "DELETE FROM annotations WHERE run = ?1 AND checkpoint LIKE 'step %'
               AND CAST(substr(checkpoint, 6) AS INTEGER) >= ?2";
    tx.prepare_cached(sql)?.execute(params![run, first])?;
    let seq = tx.append(run, &Kind::Attempt { attempt: attempt as u64, step: step as u64, declared: is_declared })?;
    note_attempt(tx, run, attempt, step, seq)?;
    Ok(attempt)
}
