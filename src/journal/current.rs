//! Which of a file's measurements is current and counts: one under the run's present settings before others, then the latest.

use std::path::Path;

use rusqlite::{Row, params};

use super::history::{COUNTED, State};
use super::law::refit_all;
use super::series::place;
use super::{Journal, Writer};
use crate::error::Result;
use crate::event::{Kind, Skip};
use crate::path;

/// What is added to `current`, which orders measurements by their events, of those under the present settings and taken from the
/// others': far more than there are events.
pub(super) const BEHIND: i64 = 1 << 40;

impl Journal {
    /// What was measured by the plan of this key counts before what was measured by others, be it later.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn set_plan(&mut self, run: i64, key: &str) -> Result<()> {
        self.write("take settings into", |tx| {
            let turn = "UPDATE checkpoints SET current = current + iif(plan = ?2, ?3, -?3)
                        WHERE run = ?1 AND state IN (1, 3) AND (plan = ?2) = (current < 0)";
            if tx.prepare_cached(turn)?.execute(params![run, key, BEHIND])? == 0 {
                return Ok(());
            }
            renumber(tx, run)?;
            refit_all(tx, run)
        })
        .map(|_| ())
    }

    /// How many files of a run could not be measured as they are now.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn failed_files(&self, run: i64) -> Result<u64> {
        let sql = "SELECT count(*) FROM checkpoints AS c WHERE run = ?1 AND state = 3 AND NOT EXISTS (
                       SELECT 1 FROM checkpoints AS newer WHERE newer.run = ?1 AND newer.path = c.path
                       AND +newer.state IN (1, 3) AND newer.current > c.current)";
        self.reading(|db| db.prepare_cached(sql)?.query_row([run], |row| row.get::<_, i64>(0)))
            .map(|count| count as u64)
    }
}

/// Gives a run's measured checkpoints their places in its series anew.
pub(super) fn renumber(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let number = format!(
        "UPDATE checkpoints SET stride = number & -number
         FROM (SELECT id AS counted, row_number() OVER (ORDER BY current) AS number FROM checkpoints AS c
               WHERE run = ?1 AND state = 1 AND {COUNTED}) WHERE id = counted"
    );
    tx.execute("UPDATE checkpoints SET stride = NULL WHERE run = ?1 AND stride IS NOT NULL", [run])?;
    tx.execute(&number, [run]).map(|_| ())
}

/// The measured or failed checkpoint `id` is what its file holds now: another version need not be measured, and counts no more.
pub(super) fn make_current(tx: &Writer, run: i64, file: &Path, id: i64) -> rusqlite::Result<()> {
    let text = path::text(file);
    tx.prepare_cached("DELETE FROM checkpoints WHERE run = ?1 AND path = ?2 AND state = 0")?
        .execute(params![run, text])?;
    let newer = "SELECT 1 FROM checkpoints AS other JOIN checkpoints AS own ON own.id = ?3
                 WHERE other.run = ?1 AND other.path = ?2 AND +other.state IN (1, 3) AND own.state IN (1, 3)
                 AND other.current > own.current";
    if !tx.prepare_cached(newer)?.exists(params![run, text, id])? {
        return Ok(());
    }
    let seq = tx.append(run, &Kind::Skipped { path: file.to_owned(), reason: Skip::Unchanged })?;
    let sql = "UPDATE checkpoints SET current = ?2 WHERE id = ?1 RETURNING step, state";
    let row = |row: &Row| Ok((row.get(0)?, row.get::<_, i64>(1)?));
    let (step, state) = tx.prepare_cached(sql)?.query_row(params![id, seq], row)?;
    if state == State::Measured as i64 { place(tx, (run, file), id, step) } else { Ok(()) }
}
