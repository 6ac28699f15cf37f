//! What the daemon knows, in `SQLite`: runs, the queue of checkpoints, outcomes, and every event that was sent.
//!
//! Events are committed before they are sent. In WAL mode with `synchronous = NORMAL` a killed process loses nothing that
//! was committed; a power cut may take the last moments. An event of a measurement takes about 4 kB, its replicates
//! (kept for the best and the last 1,000 checkpoints of a run) another 4 kB.

mod adopt;
mod alerts;
mod attempt;
mod copy;
mod current;
mod glance;
mod history;
mod law;
mod lock;
mod outcome;
mod past;
mod peers;
mod queue;
mod series;
mod strips;
#[cfg(test)]
mod tests;
mod verdict;
mod waiting;

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

pub use adopt::known_runs;
pub use alerts::{ALL_TOLD, Untold};
pub use glance::{Glance, Latest};
pub use history::{Counts, Entry, Figures, Filter, State};
pub use lock::{Lock, holder, narrow};
pub use outcome::Outcome;
pub use past::{Attempt, LawOf, Past, Raised};
pub use queue::{Job, Policy, Sighting};
pub use series::{Series, within};

use copy::Copied;

use crate::error::{Error, Result};
use crate::event::Kind;
use crate::text::visible_json;

/// What makes each version of the schema from the one before.
const VERSIONS: [&str; 7] = [
    include_str!("journal/schema/1.sql"),
    include_str!("journal/schema/2.sql"),
    include_str!("journal/schema/3.sql"),
    include_str!("journal/schema/4.sql"),
    include_str!("journal/schema/5.sql"),
    include_str!("journal/schema/6.sql"),
    include_str!("journal/schema/7.sql"),
];
/// How long a reader or writer waits for another's lock.
const PATIENCE: Duration = Duration::from_secs(5);

/// An event as it goes over a socket, without its line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counts up from 1 in a journal.
    pub seq: i64,
    /// The run's canonical path.
    pub run: Arc<str>,
    /// The event's `type`.
    pub kind: &'static str,
    /// The JSON object.
    pub text: Arc<str>,
}

/// A journal; writing needs the [`Lock`].
#[derive(Debug)]
pub struct Journal {
    db: Connection,
    path: PathBuf,
    /// Device and inode of its file.
    identity: Option<(u64, u64)>,
    /// What is read in place of one that cannot be written.
    _copy: Option<Copied>,
}

impl Journal {
    /// Opens the journal at `path` for writing, makes it if need be and brings it to the present version.
    ///
    /// # Errors
    /// `Journal` if it cannot be opened, is damaged or of a later version.
    pub fn open(path: &Path) -> Result<Self> {
        lock::make_folder_of(path)?;
        // Another's file is not ours to close to others. Its mode is changed while it is shut: to close it again would end the locks
        // that SQLite has on it.
        if path.is_file() {
            drop(connected(path)?);
        }
        lock::private(path).map_err(Error::io(path, "open"))?;
        for beside in ["-wal", "-shm"] {
            let _ = narrow([path.as_os_str(), beside.as_ref()].join("".as_ref()).as_ref());
        }
        let fail = |source| Error::Journal { path: path.to_owned(), action: "open", source };
        let (mut db, missing) = connected(path)?;
        db.pragma_update(None, "journal_mode", "wal").map_err(fail)?;
        db.pragma_update(None, "synchronous", "normal").map_err(fail)?;
        db.pragma_update(None, "foreign_keys", true).map_err(fail)?;
        if !missing.is_empty() {
            bring_up(&mut db, missing).map_err(fail)?;
        }
        db.set_prepared_statement_cache_capacity(64);
        Ok(Self { db, path: path.to_owned(), identity: identity(path), _copy: None })
    }

    /// From now on another writer's lock is waited for this long, and then an error.
    ///
    /// # Errors
    /// `Journal`, which is not expected.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        self.reading(|db| db.busy_timeout(patience))
    }

    /// Opens the journal at `path` for reading, beside a daemon that writes it; one of an earlier version is brought up first.
    /// One that cannot be written is read as it is now, from a copy. An empty file is read as a journal without a run.
    ///
    /// # Errors
    /// `Journal` if there is none, or it is damaged or of a later version; `Locked` if a daemon holds an earlier one.
    pub fn read(path: &Path) -> Result<Self> {
        match Self::read_in_place(path) {
            Err(error) if copy::is_for_want_of_writing(&error) && path.is_file() => {
                let copied = Copied::of(path)?;
                let journal = Self::read_in_place(&copied.path())?;
                Ok(Self { path: path.to_owned(), _copy: Some(copied), ..journal })
            }
            read => read,
        }
    }

    fn read_in_place(path: &Path) -> Result<Self> {
        let fail = |source| Error::Journal { path: path.to_owned(), action: "open", source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags).map_err(fail)?;
        db.busy_timeout(PATIENCE).map_err(fail)?;
        let missing = missing(&db, path)?;
        if missing.len() == VERSIONS.len() {
            // Its daemon is about to make it.
            db = Connection::open_in_memory().map_err(fail)?;
            bring_up(&mut db, missing).map_err(fail)?;
        } else if !missing.is_empty() {
            let _lock = Lock::take(path, "")?;
            Self::open(path)?;
        }
        db.pragma_update(None, "query_only", true).map_err(fail)?;
        Ok(Self { db, path: path.to_owned(), identity: identity(path), _copy: None })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its file is still the one at its path: what is written to one that was removed goes with the daemon.
    pub fn is_in_place(&self) -> bool {
        identity(&self.path) == self.identity
    }

    /// The number of the run at `path`, which is made if need be.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn run_id(&mut self, path: &str) -> Result<i64> {
        let (id, _) = self.write("add a run to", |tx| {
            tx.execute("INSERT INTO runs (path) VALUES (?1) ON CONFLICT DO NOTHING", [path])?;
            tx.query_row("SELECT id FROM runs WHERE path = ?1", [path], |row| row.get(0))
        })?;
        Ok(id)
    }

    /// Forgets a run, its checkpoints and its events; gives whether there was one.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn forget(&mut self, run: &str) -> Result<bool> {
        let (deleted, _) = self.write("forget a run in", |tx| tx.execute("DELETE FROM runs WHERE path = ?1", [run]))?;
        Ok(deleted > 0)
    }

    /// One transaction; the events that `work` appends are given back once they are committed.
    fn write<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&Writer) -> rusqlite::Result<T>,
    ) -> Result<(T, Vec<Line>)> {
        transact(&mut self.db, work).map_err(|source| Error::Journal { path: self.path.clone(), action, source })
    }

    fn reading<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        read(&self.db).map_err(|source| Error::Journal { path: self.path.clone(), action: "read", source })
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn bring_up(db: &mut Connection, missing: &[&str]) -> rusqlite::Result<()> {
    let tx = db.transaction()?;
    missing.iter().try_for_each(|step| tx.execute_batch(step))?;
    tx.pragma_update(None, "user_version", VERSIONS.len() as i64)?;
    tx.commit()
}

/// The journal at `path`, and what brings it to the present version.
fn connected(path: &Path) -> Result<(Connection, &'static [&'static str])> {
    let fail = |source| Error::Journal { path: path.to_owned(), action: "open", source };
    let db = Connection::open(path).map_err(fail)?;
    db.busy_timeout(PATIENCE).map_err(fail)?;
    let missing = missing(&db, path)?;
    Ok((db, missing))
}

/// What brings the database at `path` to the present version: all of it where the file is empty.
fn missing(db: &Connection, path: &Path) -> Result<&'static [&'static str]> {
    let fail = |source| Error::Journal { path: path.to_owned(), action: "open", source };
    // Before the version: a daemon may make both at any moment.
    let has_tables =
        db.prepare("SELECT 1 FROM sqlite_schema").and_then(|mut tables| tables.exists([])).map_err(fail)?;
    let version = db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0)).map_err(fail)? as usize;
    let other = |found| {
        let expected = format!("a journal of version {} or older", VERSIONS.len());
        Error::NoJournal { path: path.to_owned(), expected, found }
    };
    if version == 0 && has_tables {
        return Err(other("another database".into()));
    }
    VERSIONS.get(version..).ok_or_else(|| other(format!("version {version}")))
}

fn transact<T>(
    db: &mut Connection,
    work: impl FnOnce(&Writer) -> rusqlite::Result<T>,
) -> rusqlite::Result<(T, Vec<Line>)> {
    let writer =
        Writer { tx: db.transaction_with_behavior(TransactionBehavior::Immediate)?, lines: RefCell::default() };
    let result = work(&writer)?;
    let Writer { tx, lines } = writer;
    tx.commit()?;
    Ok((result, lines.into_inner()))
}

/// A transaction that collects the events it appends.
struct Writer<'a> {
    tx: rusqlite::Transaction<'a>,
    lines: RefCell<Vec<Line>>,
}

impl<'a> std::ops::Deref for Writer<'a> {
    type Target = rusqlite::Transaction<'a>;

    fn deref(&self) -> &Self::Target {
        &self.tx
    }
}

/// An event's body as it is stored.
#[derive(serde::Serialize)]
struct Body<'a> {
    time: String,
    run: &'a str,
    #[serde(flatten)]
    kind: &'a Kind,
}

impl Writer<'_> {
    /// Appends an event of run number `run`; gives its seq.
    fn append(&self, run: i64, kind: &Kind) -> rusqlite::Result<i64> {
        let path: String =
            self.prepare_cached("SELECT path FROM runs WHERE id = ?1")?.query_row([run], |r| r.get(0))?;
        let body = Body { time: jiff::Timestamp::now().to_string(), run: &path, kind };
        let body = serde_json::to_string(&body).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        self.prepare_cached("INSERT INTO events (run, body) VALUES (?1, ?2)")?.execute(params![run, body])?;
        let seq = self.last_insert_rowid();
        let line = Line { seq, run: path.into(), kind: kind.name(), text: line_text(seq, &body).into() };
        self.lines.borrow_mut().push(line);
        Ok(seq)
    }
}

/// An event's body with its seq in front, as it is shown and sent.
fn line_text(seq: i64, body: &str) -> String {
    format!("{{\"seq\":{seq},{}", visible_json(&body[1..]))
}

/// The id of a run that is in the journal.
fn id_of(db: &Connection, run: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM runs WHERE path = ?1")?.query_row([run], |row| row.get(0)).optional()
}
