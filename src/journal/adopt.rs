//! Taking over runs from another journal: what was measured of a directory is known, whatever set is watched with it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::current::{BEHIND, renumber};
use super::law::{refit_all, renumbered};
use super::{Journal, Writer, id_of, transact};
use crate::error::{Error, Result};
use crate::path;

/// Which of their rows are taken: all of a run that is new here; of one that is known here, what became of contents that are not.
const ROWS: &str = "
    INSERT INTO temp.moved_checkpoints
    SELECT c.id, (SELECT ifnull(max(id), 0) FROM main.checkpoints) + row_number() OVER (ORDER BY c.id)
    FROM theirs.checkpoints AS c JOIN temp.moved_runs AS r ON r.old = c.run
    WHERE r.is_new OR (c.state <> 0 AND NOT EXISTS (
        SELECT 1 FROM main.checkpoints AS own WHERE own.run = r.new AND own.path = c.path
        AND ((own.content = c.content AND own.settings = c.settings)
             OR (own.fingerprint = c.fingerprint AND own.plan = c.plan AND own.state = c.state))))";
/// Their events in their order; their numbers follow ours.
const EVENTS: &str = "
    INSERT INTO temp.moved_events
    SELECT seq, (SELECT ifnull(max(seq), 0) FROM main.sqlite_sequence WHERE name = 'events') + row_number() OVER (ORDER BY seq)
    FROM theirs.events AS e JOIN temp.moved_runs AS r ON r.old = e.run
    WHERE r.is_new OR seq IN (SELECT outcome FROM theirs.checkpoints JOIN temp.moved_checkpoints ON old = id
                              UNION SELECT current + iif(current < 0, ?1, 0)
                              FROM theirs.checkpoints JOIN temp.moved_checkpoints ON old = id)";
const MOVES: [&str; 7] = [
    "INSERT INTO main.events (seq, run, body) SELECT m.new, r.new, body
     FROM temp.moved_events AS m JOIN theirs.events ON seq = m.old JOIN temp.moved_runs AS r ON r.old = run ORDER BY m.new",
    "INSERT INTO main.replicates (run, checkpoint, log_r_f, invariance) SELECT r.new, m.new, log_r_f, invariance
     FROM temp.moved_checkpoints AS m JOIN theirs.replicates ON checkpoint = m.old JOIN temp.moved_runs AS r ON r.old = run",
    "INSERT INTO main.strips (checkpoint, run, shown, format, picture) SELECT m.new, r.new, shown, format, picture
     FROM temp.moved_checkpoints AS m JOIN theirs.strips ON checkpoint = m.old JOIN temp.moved_runs AS r ON r.old = run",
    "INSERT OR IGNORE INTO main.attempts (run, attempt, step, seq) SELECT r.new, attempt, step, m.new
     FROM theirs.attempts JOIN temp.moved_runs AS r ON r.old = run JOIN temp.moved_events AS m ON m.old = seq",
    "INSERT OR IGNORE INTO main.laws (run, name, version, law, first_step, last_step, records, seq)
     SELECT r.new, name, version, law, first_step, last_step, records, m.new
     FROM theirs.laws JOIN temp.moved_runs AS r ON r.old = run JOIN temp.moved_events AS m ON m.old = seq",
    "INSERT OR IGNORE INTO main.annotations SELECT new, checkpoint, val_error
     FROM theirs.annotations JOIN temp.moved_runs ON old = run",
    "INSERT OR IGNORE INTO main.alerts
     SELECT r.new, iif(instr(rule, char(10)), substr(rule, 1, instr(rule, char(10))) || m.new, rule), since, m.new, told, failures
     FROM theirs.alerts JOIN temp.moved_runs AS r ON r.old = run LEFT JOIN temp.moved_events AS m ON m.old = raised",
];
/// Columns whose values stay as they are.
const KEPT: &str = "path, raw_path, fingerprint, plan, state, due, rank, failures, unfinished_since, content, settings, reason, step,
    epoch, written, is_finite, r_f, d_f, g_f, probe_error, val_error, predicted_error, prediction, r_f_low, r_f_high,
    predicted_low, predicted_high, stride, notes, doubts, wrongs, invariance, invariance_low, invariance_high, attempt, host";

impl Journal {
    /// Takes over what the journal at `other`, whose lock the caller holds, knows of the runs that are `wanted`, and has it forget
    /// them; gives how many there were. Their events follow ours, in their own order.
    ///
    /// # Errors
    /// `Journal` if one of the two cannot be read or written; nothing is lost then.
    pub fn adopt(&mut self, other: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<usize> {
        let mut theirs = Self::open(other)?;
        let wanted: Vec<_> = theirs.runs()?.into_iter().filter(|(_, run)| is_wanted(run)).collect();
        if wanted.is_empty() {
            return Ok(0);
        }
        let taken = take(&mut self.db, other, &wanted);
        taken.map_err(|source| Error::Journal { path: other.to_owned(), action: "take runs over from", source })?;
        // Only now that they are surely here: a crash in between leaves them known twice, and taken again.
        for (_, run) in &wanted {
            theirs.forget(run)?;
        }
        Ok(wanted.len())
    }
}

/// The runs that the journal at `path` knows, of whatever version it is.
///
/// # Errors
/// `Journal` if it cannot be read.
pub fn known_runs(path: &Path) -> Result<Vec<String>> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags)?;
        let mut query = db.prepare("SELECT path FROM runs")?;
        query.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(|source| Error::Journal { path: path.to_owned(), action: "read", source })
}

fn take(db: &mut Connection, other: &Path, wanted: &[(i64, String)]) -> rusqlite::Result<()> {
    db.execute("ATTACH ?1 AS theirs", [path::to_bytes(other)])?;
    // What they forget next must be here after a power cut too.
    let taken = db.pragma_update(None, "synchronous", "full").and_then(|()| transact(db, |tx| move_runs(tx, wanted)));
    let taken = taken.and(db.pragma_update(None, "synchronous", "normal"));
    taken.and(db.execute_batch("DETACH theirs"))
}

fn move_runs(tx: &Writer, wanted: &[(i64, String)]) -> rusqlite::Result<()> {
    tx.execute_batch(
        "CREATE TEMP TABLE moved_runs (old INTEGER PRIMARY KEY, new INTEGER, is_new INTEGER);
         CREATE TEMP TABLE moved_checkpoints (old INTEGER PRIMARY KEY, new INTEGER);
         CREATE TEMP TABLE moved_events (old INTEGER PRIMARY KEY, new INTEGER)",
    )?;
    let mut known = Vec::new();
    for (old, path) in wanted {
        let own = id_of(tx, path)?;
        known.extend(own);
        let new = if let Some(own) = own {
            own
        } else {
            tx.execute(
                "INSERT INTO main.runs (path, law, rules, verdicts, told, picked, resolved_for, resolved, attempt, attempt_from,
                 attempt_began)
                 SELECT path, law, rules, verdicts, told, picked, resolved_for, resolved, attempt, attempt_from, attempt_began
                 FROM theirs.runs WHERE id = ?1",
                [old],
            )?;
            tx.last_insert_rowid()
        };
        renumbered(tx, new)?;
        tx.execute("INSERT INTO temp.moved_runs VALUES (?1, ?2, ?3)", params![old, new, own.is_none()])?;
    }
    tx.execute(ROWS, [])?;
    tx.execute(EVENTS, [BEHIND])?;
    tx.execute(
        &format!(
            "INSERT INTO main.checkpoints (id, run, outcome, current, {KEPT})
             SELECT m.new, r.new, (SELECT new FROM temp.moved_events WHERE old = outcome),
                 (SELECT new FROM temp.moved_events WHERE old = current + iif(current < 0, ?1, 0)) - iif(current < 0, ?1, 0), {KEPT}
             FROM temp.moved_checkpoints AS m JOIN theirs.checkpoints AS c ON c.id = m.old JOIN temp.moved_runs AS r ON r.old = c.run"
        ),
        [BEHIND],
    )?;
    MOVES.iter().try_for_each(|sql| tx.execute(sql, []).map(|_| ()))?;
    for column in ["stopped", "resumed"] {
        let sql = format!(
            "UPDATE main.runs SET {column} = m.new FROM temp.moved_runs AS r JOIN theirs.runs AS their ON their.id = r.old
             JOIN temp.moved_events AS m ON m.old = their.{column} WHERE r.is_new AND main.runs.id = r.new"
        );
        tx.execute(&sql, [])?;
    }
    for run in known {
        tell_errors(tx, run)?;
        renumber(tx, run)?;
        refit_all(tx, run)?;
    }
    tx.execute_batch("DROP TABLE temp.moved_runs; DROP TABLE temp.moved_checkpoints; DROP TABLE temp.moved_events")
}

/// Gives a run's checkpoints the errors that were told of them in either journal.
fn tell_errors(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let sql = "UPDATE checkpoints SET val_error = a.val_error FROM annotations AS a
               WHERE checkpoints.run = ?1 AND a.run = ?1 AND checkpoints.val_error IS NULL
               AND a.checkpoint IN ('path ' || path, 'step ' || step)";
    tx.execute(sql, [run]).map(|_| ())
}
