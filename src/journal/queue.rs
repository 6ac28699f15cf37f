//! The queue: versions of files that wait for a worker. It lives in the journal, so its memory is bounded by the disk.

use std::path::PathBuf;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::history::{State, column};
use super::waiting::{BLOCKED, TAKEN};
use super::{Journal, Line, Writer};
use crate::error::{Error, Result, is_of_record};
use crate::event::{Kind, Skip};
use crate::path;

const PENDING: i64 = State::Pending as i64;
const MEASURED: i64 = State::Measured as i64;
const SKIPPED: i64 = State::Skipped as i64;
const FAILED: i64 = State::Failed as i64;

/// Which checkpoints of a run are measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// Each one.
    #[default]
    All,
    /// The latest that is ready; the ones before it are skipped.
    Latest,
    /// The first, and then each one of so many.
    Every(u32),
}

/// `all`, `latest` or `every:N`.
impl FromStr for Policy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let every = |text: &str| text.strip_prefix("every:")?.parse().ok().filter(|n| *n > 0).map(Self::Every);
        match text {
            "all" => Ok(Self::All),
            "latest" => Ok(Self::Latest),
            text => every(text).ok_or_else(|| Error::setting("--policy", "all, latest or every:N", text)),
        }
    }
}

/// A version of a file that someone saw.
#[derive(Debug)]
pub struct Sighting<'a> {
    /// The run.
    pub run: i64,
    /// The file.
    pub path: &'a std::path::Path,
    /// Its version.
    pub fingerprint: &'a str,
    /// Key of the run's plan.
    pub plan: &'a str,
    /// As far as the name tells.
    pub step: Option<u64>,
    /// As far as the name tells.
    pub epoch: Option<f64>,
    /// The last write, nanoseconds since 1970.
    pub written: i64,
    /// When it may be taken, milliseconds of the daemon's clock; `None` while the run cannot be measured.
    pub due: Option<i64>,
}

/// A checkpoint whose turn has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its row.
    pub id: i64,
    /// The run.
    pub run: i64,
    /// The file.
    pub path: PathBuf,
    /// The version that was seen.
    pub fingerprint: String,
    /// Key of the plan it was seen under.
    pub plan: String,
    /// Times that a worker died of it.
    pub failures: u32,
    /// Since when it has been found unfinished, milliseconds of the daemon's clock.
    pub unfinished_since: Option<i64>,
    /// What it lacked when it was read last, where it goes back unfinished.
    pub lack: Option<String>,
    /// Why it could not be fetched when that was tried last.
    pub unfetched: Option<String>,
    /// The machine of the worker that had it in hand, where that is not this one.
    pub host: Option<String>,
    /// As the name tells.
    order: Order,
}

/// Step, epoch, and the last write.
type Order = (Option<i64>, Option<f64>, i64);

/// Whether one checkpoint comes before another in training, by the first that is known of both.
fn is_before((step, epoch, written): Order, of: Order) -> bool {
    let by_step = step.zip(of.0).map(|(step, of)| step.cmp(&of));
    let by_epoch = || epoch.zip(of.1).map(|(epoch, of)| epoch.total_cmp(&of));
    by_step.or_else(by_epoch).unwrap_or_else(|| written.cmp(&of.2)).is_lt()
}

impl Journal {
    /// Nothing but `busy` is in a worker's hands, the daemon's clock may have begun anew: what is pending waits to be seen
    /// again, or for [`Journal::release`].
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn restart(&mut self, busy: &[i64]) -> Result<()> {
        let sql =
            "UPDATE checkpoints SET due = ?1, unfinished_since = NULL, reason = NULL WHERE state = 0 AND id NOT IN ";
        let sql = format!("{sql}({})", listed(busy));
        self.write("reopen", |tx| tx.execute(&sql, [BLOCKED])).map(|_| ())
    }

    /// Everything that is there has been seen: what still waits to be is gone, unless its run is one of `blocked`.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn release(&mut self, blocked: &[i64]) -> Result<()> {
        let sql = "UPDATE checkpoints SET due = 0 WHERE state = 0 AND due = ?1 AND run NOT IN ";
        let sql = format!("{sql}({})", listed(blocked));
        self.write("release", |tx| tx.execute(&sql, [BLOCKED])).map(|_| ())
    }

    /// Queues each version that is not known yet. A pending file that changed waits anew under its row.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn see(&mut self, sightings: &[Sighting]) -> Result<Vec<Line>> {
        let ((), lines) =
            self.write("queue a checkpoint in", |tx| sightings.iter().try_for_each(|sighting| see(tx, sighting)))?;
        Ok(lines)
    }

    /// The next checkpoint that is due, of the run after `after` in turn, and of none that is `held`; what the policy passes
    /// over is skipped.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn next(&mut self, now: i64, after: i64, held: &[i64], policy: Policy) -> Result<(Option<Job>, Vec<Line>)> {
        let sql = format!(
            "SELECT run FROM checkpoints WHERE state = 0 AND run > ?1 AND run NOT IN ({}) ORDER BY run LIMIT 1",
            listed(held)
        );
        self.write("take a checkpoint from", |tx| {
            let mut run = after;
            let mut is_wrapped = false;
            loop {
                let found: Option<i64> = tx.prepare_cached(&sql)?.query_row([run], |row| row.get(0)).optional()?;
                match found {
                    Some(found) if !is_wrapped || found <= after => run = found,
                    _ if is_wrapped => return Ok(None),
                    _ => {
                        (run, is_wrapped) = (0, true);
                        continue;
                    }
                }
                if let Some(job) = pick(tx, run, now, policy)? {
                    let sql = "UPDATE checkpoints SET due = ?2 WHERE id = ?1";
                    tx.prepare_cached(sql)?.execute(params![job.id, TAKEN])?;
                    return Ok(Some(job));
                }
            }
        })
    }

    /// When the next checkpoint of a run that is not `held` falls due, milliseconds of the daemon's clock.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn next_due(&self, held: &[i64]) -> Result<Option<i64>> {
        let sql =
            format!("SELECT min(due) FROM checkpoints WHERE state = 0 AND due < ?1 AND run NOT IN ({})", listed(held));
        self.reading(|db| db.prepare_cached(&sql)?.query_row([BLOCKED], |row| row.get(0)))
    }

    /// Puts a checkpoint back: `due` as in [`Sighting`]; what else the job knows is kept with it.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn put_back(&mut self, job: &Job, due: Option<i64>) -> Result<()> {
        let sql = "UPDATE checkpoints SET due = ?2, fingerprint = ?3, plan = ?4, unfinished_since = ?5, failures = ?6,
                   reason = ?7, lack = ?8 WHERE id = ?1";
        let Job { id, fingerprint, plan, unfinished_since, lack, failures, unfetched, .. } = job;
        let due = due.unwrap_or(BLOCKED);
        let values = params![id, due, fingerprint, plan, unfinished_since, failures, unfetched, lack];
        self.write("put a checkpoint back into", |tx| {
            if waits(tx, job)? { tx.prepare_cached(sql)?.execute(values).map(|_| ()) } else { Ok(()) }
        })
        .map(|_| ())
    }

    /// Fingerprint and plan under which a checkpoint was seen since it was taken, if one of them is another.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn seen_since(&self, job: &Job) -> Result<Option<(String, String)>> {
        let sql = "SELECT fingerprint, plan FROM checkpoints WHERE id = ?1 AND (fingerprint <> ?2 OR plan <> ?3)";
        self.reading(|db| {
            if !waits(db, job)? {
                return Ok(None);
            }
            let values = params![job.id, job.fingerprint, job.plan];
            db.prepare_cached(sql)?.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
    }

    /// How many of a run's pending checkpoints could not be fetched when that was tried last.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn unfetched(&self, run: i64) -> Result<u64> {
        let sql = "SELECT count(*) FROM checkpoints WHERE run = ?1 AND state = 0 AND reason IS NOT NULL";
        self.reading(|db| {
            db.prepare_cached(sql)?.query_row([run], |row| row.get::<_, i64>(0)).map(|count| count as u64)
        })
    }

    /// Lets a run's checkpoints be taken again, or keeps them all back.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn set_blocked(&mut self, run: i64, is_blocked: bool) -> Result<()> {
        let (from, to) = if is_blocked { (0, BLOCKED) } else { (BLOCKED, 0) };
        let sql = "UPDATE checkpoints SET due = ?3 WHERE run = ?1 AND state = 0 AND due >= ?2 AND due < ?4";
        self.write("hold back a run in", |tx| tx.execute(sql, params![run, from, to, TAKEN])).map(|_| ())
    }

    /// Queues the failed checkpoints of a run again; gives how many.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn retry(&mut self, run: i64) -> Result<usize> {
        let sql = "UPDATE checkpoints SET state = 0, due = 0, failures = 0, unfinished_since = NULL, content = NULL,
                   reason = NULL, is_finite = 1 WHERE run = ?1 AND state = 3";
        self.write("retry in", |tx| tx.execute(sql, [run])).map(|(count, _)| count)
    }
}

/// Whether a checkpoint that was taken still waits for its outcome: its run may have been forgotten, its id be another's.
pub(super) fn waits(db: &Connection, job: &Job) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM checkpoints WHERE id = ?1 AND run = ?2 AND path = ?3 AND state = 0";
    db.prepare_cached(sql)?.exists(params![job.id, job.run, path::text(&job.path)])
}

fn listed(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}

fn see(tx: &Writer, new: &Sighting) -> rusqlite::Result<()> {
    let text = path::text(new.path);
    let due = new.due.unwrap_or(BLOCKED);
    // Without a plan nothing is known of what it would say of a version that was measured.
    let known = "SELECT id, state, due, reason FROM checkpoints
                 WHERE run = ?1 AND path = ?2 AND fingerprint = ?3 AND (plan = ?4 OR (?4 = '' AND state <> 0))
                 ORDER BY current DESC LIMIT 1";
    let row =
        |row: &Row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, i64>(2)?, row.get::<_, Option<String>>(3)?));
    let found =
        tx.prepare_cached(known)?.query_row(params![new.run, text, new.fingerprint, new.plan], row).optional()?;
    let seen = || tx.append(new.run, &Kind::CheckpointSeen { path: new.path.to_owned(), step: new.step }).map(|_| ());
    match found {
        None => {}
        // Waiting to be seen again, or seen at rest and then renamed.
        Some((id, PENDING, old, _)) => {
            let sql = "UPDATE checkpoints SET due = ?2 WHERE id = ?1 AND due > ?2 AND due < ?3";
            if due < old {
                tx.prepare_cached(sql)?.execute(params![id, due, TAKEN])?;
            }
            return Ok(());
        }
        Some((id, SKIPPED, _, Some(reason))) if reason == Skip::Gone.to_string() => {
            let sql = "UPDATE checkpoints SET state = 0, due = ?2, failures = 0, unfinished_since = NULL,
                       outcome = NULL, current = NULL, reason = NULL WHERE id = ?1";
            tx.prepare_cached(sql)?.execute(params![id, due])?;
            return seen();
        }
        Some((id, MEASURED | FAILED, ..)) => return super::current::make_current(tx, new.run, new.path, id),
        Some(_) => return Ok(()),
    }
    let changed =
        "UPDATE checkpoints SET fingerprint = ?3, plan = ?4, written = ?5, failures = 0, unfinished_since = NULL, reason = NULL,
                   attempt = (SELECT attempt FROM runs WHERE id = ?1), due = CASE due WHEN ?7 THEN ?7 ELSE ?6 END WHERE run = ?1 AND path = ?2 AND state = 0";
    let values = params![new.run, text, new.fingerprint, new.plan, new.written, due, TAKEN];
    if tx.prepare_cached(changed)?.execute(values)? > 0 {
        return Ok(());
    }
    insert(tx, new)?;
    seen()
}

/// Keeps a version that is not known yet.
pub(super) fn insert(tx: &Writer, new: &Sighting) -> rusqlite::Result<Job> {
    let insert = format!(
        "INSERT INTO checkpoints (run, path, raw_path, fingerprint, plan, step, epoch, written, due, attempt)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, (SELECT attempt FROM runs WHERE id = ?1)) RETURNING {JOB}"
    );
    let values = params![
        new.run,
        path::text(new.path),
        path::to_bytes(new.path),
        new.fingerprint,
        new.plan,
        new.step.map(column),
        new.epoch,
        new.written,
        new.due.unwrap_or(BLOCKED)
    ];
    tx.prepare_cached(&insert)?.query_row(values, job).map(|(job, _)| job)
}

const JOB: &str =
    "id, run, raw_path, fingerprint, plan, failures, unfinished_since, step, epoch, written, rank, reason";

fn job(row: &Row) -> rusqlite::Result<(Job, Option<i64>)> {
    let job = Job {
        id: row.get(0)?,
        run: row.get(1)?,
        path: path::from_bytes(row.get(2)?),
        fingerprint: row.get(3)?,
        plan: row.get(4)?,
        failures: row.get(5)?,
        unfinished_since: row.get(6)?,
        lack: None,
        unfetched: row.get(11)?,
        host: None,
        order: (row.get(7)?, row.get(8)?, row.get(9)?),
    };
    Ok((job, row.get(10)?))
}

/// The checkpoint of `run` whose turn it is under `policy`.
fn pick(tx: &Writer, run: i64, now: i64, policy: Policy) -> rusqlite::Result<Option<Job>> {
    let due = "FROM checkpoints WHERE run = ?1 AND state = 0 AND due <= ?2";
    let first = format!("SELECT {JOB} {due} ORDER BY step, epoch, written, id LIMIT 1");
    let last = format!("SELECT {JOB} {due} ORDER BY step DESC, epoch DESC, written DESC, id DESC LIMIT 1");
    let one = |sql: &str| tx.prepare_cached(sql)?.query_row(params![run, now], job).optional();
    match policy {
        Policy::All => Ok(one(&first)?.map(|(job, _)| job)),
        Policy::Latest => {
            let Some((latest, _)) = one(&last)? else { return Ok(None) };
            while let Some((job, _)) = one(&first)?.filter(|(job, _)| job.id != latest.id) {
                skip(tx, &job, Skip::Superseded)?;
            }
            let measured = "SELECT step, epoch, written FROM checkpoints WHERE run = ?1 AND state = 1
                            ORDER BY step DESC, epoch DESC, written DESC LIMIT 1";
            let order = |row: &Row| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let newest: Option<Order> = tx.prepare_cached(measured)?.query_row([run], order).optional()?;
            if newest.is_some_and(|newest| is_before(latest.order, newest)) {
                skip(tx, &latest, Skip::Superseded)?;
                return Ok(None);
            }
            Ok(Some(latest))
        }
        Policy::Every(n) => {
            if one(&first)?.is_some() {
                rank_all(tx, run)?;
            }
            while let Some((job, rank)) = one(&first)? {
                if rank.is_some_and(|rank| rank % i64::from(n) == 0) {
                    return Ok(Some(job));
                }
                skip(tx, &job, Skip::Policy)?;
            }
            Ok(None)
        }
    }
}

/// Writes down that a checkpoint will not be measured.
pub(super) fn skip(tx: &Writer, job: &Job, reason: Skip) -> rusqlite::Result<()> {
    let seq = match tx.append(job.run, &Kind::Skipped { path: job.path.clone(), reason }) {
        // Known by its row alone: nothing else waits for an event that the journal does not take.
        Err(error) if is_of_record(&error) => None,
        seq => Some(seq?),
    };
    let sql = "UPDATE checkpoints SET state = 2, outcome = ?2, current = ?2, reason = ?3 WHERE id = ?1";
    tx.prepare_cached(sql)?.execute(params![job.id, seq, reason.to_string()]).map(|_| ())
}

/// Gives each checkpoint of a run that has none its place in training order, those too that still settle: which one settles first
/// is chance.
fn rank_all(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let unranked = "SELECT id FROM checkpoints WHERE run = ?1 AND state = 0 AND rank IS NULL AND due < ?2
                    ORDER BY step, epoch, written, id";
    let ids =
        tx.prepare_cached(unranked)?.query_map([run, BLOCKED], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    for id in ids {
        let next = "UPDATE runs SET picked = picked + 1 WHERE id = ?1 RETURNING picked - 1";
        let rank: i64 = tx.prepare_cached(next)?.query_row([run], |row| row.get(0))?;
        tx.prepare_cached("UPDATE checkpoints SET rank = ?2 WHERE id = ?1")?.execute([id, rank])?;
    }
    Ok(())
}
