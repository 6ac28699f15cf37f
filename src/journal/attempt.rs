//! Trainings that begin again in the same directory: each is an attempt, and rules judge the latest.

use rusqlite::{Row, params};

use super::history::column;
use super::past::note_attempt;
use super::queue::Job;
use super::verdict::judge_by_stored;
use super::{Journal, Line, Writer};
use crate::checkpoint::names::is_later_version;
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

/// Notices that a training began again: the step of `job` was measured in the latest attempt with another content, in the same file
/// or one that it is a later version of, after one of a later step was written. Of files with other names nothing can be told:
/// averages of weights that are exported at the end look the same.
pub(super) fn notice(tx: &Writer, job: &Job, step: Option<i64>, content: &str, settings: &str) -> rusqlite::Result<()> {
    let sql = "SELECT own.written, own.path, old.path FROM checkpoints AS own
               JOIN checkpoints AS old ON old.run = own.run AND old.step = ?2
               WHERE own.id = ?1 AND own.attempt = (SELECT attempt FROM runs WHERE id = own.run)
               AND +old.state = 1 AND old.attempt = own.attempt AND old.settings = ?4 AND old.content <> ?3
               AND EXISTS (SELECT 1 FROM checkpoints AS later WHERE later.run = own.run AND later.step > ?2
                           AND +later.state IN (0, 1) AND later.attempt = own.attempt AND later.written < own.written)";
    let Some(step) = step else { return Ok(()) };
    let row = |row: &Row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
    let began = {
        let mut query = tx.prepare_cached(sql)?;
        let twins = query.query_map(params![job.id, step, content, settings], row)?;
        let twins = twins.collect::<rusqlite::Result<Vec<(i64, _, _)>>>()?;
        twins.into_iter().find(|(_, own, old)| own == old || is_later_version(own, old)).map(|(written, ..)| written)
    };
    began.map_or(Ok(()), |began| begin(tx, job.run, step, began, false).map(|_| ()))
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
