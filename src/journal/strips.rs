//! The probe images whose answers move most, of a run's best and latest checkpoints: bytes that nobody here looks into.

use rusqlite::{OptionalExtension as _, Row, params};

use super::queue::Job;
use super::{Journal, Writer};
use crate::error::Result;
use crate::event::{Format, Shown, Strip};
use crate::stop::{Mark, Verdict};

/// How many of a run's latest measurements keep their strip; the best one always does.
const KEPT_STRIPS: i64 = 20;

impl Journal {
    /// What the strip of a checkpoint shows, if it is kept.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn strip(&self, run: i64, checkpoint: i64) -> Result<Option<Shown>> {
        let sql = "SELECT shown FROM strips WHERE run = ?1 AND checkpoint = ?2";
        let read = |row: &Row| row.get::<_, String>(0);
        let text = self.reading(|db| db.prepare_cached(sql)?.query_row([run, checkpoint], read).optional())?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// The picture of a checkpoint's strip, if it is kept, and how it is encoded.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn strip_picture(&self, run: i64, checkpoint: i64) -> Result<Option<(Format, Vec<u8>)>> {
        let sql = "SELECT format, picture FROM strips WHERE run = ?1 AND checkpoint = ?2";
        let read = |row: &Row| Ok((row.get::<_, String>(0)?, row.get(1)?));
        let found = self.reading(|db| db.prepare_cached(sql)?.query_row([run, checkpoint], read).optional())?;
        Ok(found.and_then(|(format, bytes)| Some((format.parse().ok()?, bytes))))
    }
}

/// Keeps what was measured with `job`; [`prune`] follows.
pub(super) fn keep(tx: &Writer, job: &Job, strip: Option<&Strip>) -> rusqlite::Result<()> {
    let Some(Strip { shown, format, picture }) = strip else { return Ok(()) };
    let sql = "INSERT OR REPLACE INTO strips (checkpoint, run, shown, format, picture) VALUES (?1, ?2, ?3, ?4, ?5)";
    let (shown, format) = (serde_json::to_string(shown).unwrap_or_default(), <&str>::from(format));
    tx.prepare_cached(sql)?.execute(params![job.id, job.run, shown, format, picture]).map(|_| ())
}

/// Forgets the strips of all but the latest and the best: the one that the run's first rule names, and those of the least error and
/// of the least `R_f` among them.
pub(super) fn prune(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let sql = "SELECT checkpoint FROM strips WHERE run = ?1 ORDER BY checkpoint DESC LIMIT 1 OFFSET ?2";
    let last: Option<i64> = tx.prepare_cached(sql)?.query_row([run, KEPT_STRIPS], |row| row.get(0)).optional()?;
    let Some(last) = last else { return Ok(()) };
    let verdicts = "SELECT verdicts FROM runs WHERE id = ?1";
    let verdicts: Option<String> = tx.prepare_cached(verdicts)?.query_row([run], |row| row.get(0))?;
    let verdicts: Vec<Verdict> = verdicts.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let named = verdicts.into_iter().next().and_then(|verdict| verdict.best);
    let (path, step) = named.map_or((None, None), |Mark { path, step, .. }| (Some(path), step.map(|step| step as i64)));
    let best = |by: &str| {
        format!(
            "checkpoint IS NOT (SELECT c.id FROM strips AS s CROSS JOIN checkpoints AS c ON c.id = s.checkpoint
             WHERE s.run = ?1 AND {by} IS NOT NULL AND c.step IS NOT 0 ORDER BY {by} LIMIT 1)"
        )
    };
    let sql = format!(
        "DELETE FROM strips WHERE run = ?1 AND checkpoint <= ?2 AND {} AND {}
         AND checkpoint NOT IN (SELECT id FROM checkpoints WHERE run = ?1 AND path = ?3 AND step IS ?4)",
        best("coalesce(c.val_error, c.predicted_error)"),
        best("c.r_f")
    );
    tx.prepare_cached(&sql)?.execute(params![run, last, path, step]).map(|_| ())
}
