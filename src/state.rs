//! Where the daemon keeps its journal and its socket, and how others find them.

use std::env;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::error::{Error, Result};
use crate::journal::{self, Journal, Lock};
use crate::path;
use crate::store::address::{is_address, normalised};

const JOURNAL: &str = "journal.sqlite";
/// How long a command may hold a journal that a daemon takes over.
const PATIENCE: Duration = Duration::from_secs(10);

/// The journal of a daemon that watches these directories.
///
/// # Errors
/// `Setting` where there is no home directory to keep it in.
pub fn journal_of(roots: &[PathBuf]) -> Result<PathBuf> {
    let mut names: Vec<_> = roots.iter().map(|root| path::to_bytes(root)).collect();
    names.sort();
    Ok(state_folder()?.join(hash(&names.join(&b'\n'))).join(JOURNAL))
}

/// A short name for these bytes.
fn hash(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..8])
}

/// Keeps other daemons of this user away from the directory `root`, and from those below it if `is_recursive`, as long as it lives.
/// `note`, an object, is for whoever finds it locked. Where no state directory can be written, daemons that write `journal`'s folder
/// are kept away.
///
/// # Errors
/// `Watched` if another one watches it, `Io` if neither folder can be written.
pub fn lock(root: &Path, is_recursive: bool, journal: &Path, note: &Value) -> Result<Lock> {
    let mut note = note.clone();
    note[FOLDER] = path::text(root).into();
    note[RECURSIVE] = is_recursive.into();
    let name = Path::new(WATCHED).join(hash(&path::to_bytes(root)));
    let note = note.to_string();
    let take = |folder: &Path| {
        let lock = Lock::take(&folder.join(&name), &note)?;
        // After it is taken: of two daemons that begin at once, none overlooks the other.
        overlap(&folder.join(WATCHED), root, is_recursive).map_or(Ok(lock), Err)
    };
    let in_state = state_folder().and_then(|folder| take(&folder));
    let lock = match in_state {
        Err(Error::Io { .. } | Error::Setting { .. }) => take(&journal.with_file_name("")),
        lock => lock,
    };
    lock.map_err(|error| match error {
        Error::Locked { holder, .. } => Error::Watched { folder: root.to_owned(), holder },
        error => error,
    })
}

/// Leaves the state folder, what `journal` lies in, and the folder of locks to their user alone: earlier versions left them to the umask.
///
/// # Errors
/// `Setting` if that cannot be changed.
pub fn keep_private(journal: &Path) -> Result<()> {
    let state = state_folder()?;
    for folder in [Some(&*state), Some(&*state.join(WATCHED)), journal.parent()].into_iter().flatten() {
        journal::narrow(folder).map_err(|error| {
            let found = format!("{}, which could not be made so: {error}", folder.display());
            Error::setting("--journal", "a state folder of mode 0700 (chmod it, or name a journal elsewhere)", found)
        })?;
    }
    Ok(())
}

/// The folder of locks on directories.
const WATCHED: &str = "watched";
/// What a lock's note says of the directory that it is for.
const FOLDER: &str = "folder";
const RECURSIVE: &str = "recursive";

/// The refusal, if a daemon whose lock lies in the folder `locks` watches a directory above `root` with all below it, or one below
/// `root` that would be watched with it.
fn overlap(locks: &Path, root: &Path, is_recursive: bool) -> Option<Error> {
    watched(locks).find_map(|(folder, note, holder)| {
        let is_own = note["pid"] == std::process::id();
        let is_above = note[RECURSIVE] == true && root.starts_with(&folder);
        let is_below = is_recursive && folder.starts_with(root);
        (!is_own && folder != root && (is_above || is_below)).then_some(Error::Watched { folder, holder })
    })
}

/// The directories whose locks in the folder `locks` are held, with what each lock's note says, and the note itself.
fn watched(locks: &Path) -> impl Iterator<Item = (PathBuf, Value, String)> {
    let locks = std::fs::read_dir(locks).into_iter().flatten().flatten().map(|entry| entry.path().with_extension(""));
    locks.filter_map(|lock| {
        let holder = journal::holder(&lock)?;
        let note: Value = serde_json::from_str(&holder).ok()?;
        Some((path::of_text(note[FOLDER].as_str()?), note, holder))
    })
}

/// The socket of the daemon that watches the directory `run` now, by its name or with one above it.
pub fn watcher_socket(run: &Path) -> Option<PathBuf> {
    let locks = state_folder().ok()?.join(WATCHED);
    let is_of = |folder: &Path, note: &Value| folder == run || (note[RECURSIVE] == true && run.starts_with(folder));
    let (_, note, _) = watched(&locks).find(|(folder, note, _)| is_of(folder, note))?;
    note["socket"].as_str().map(path::of_text)
}

/// Takes over what other journals of the state directory know of the directories `roots`, and below them if `is_recursive`. A journal
/// that another daemon holds, or that cannot be read, is passed over.
pub fn adopt(journal: &mut Journal, roots: &[PathBuf], is_recursive: bool) {
    let is_wanted = |run: &str| {
        let run = path::of_text(run);
        roots.iter().any(|root| if is_recursive { run.starts_with(root) } else { run == *root })
    };
    // Oldest first: what was measured last counts.
    for other in journals().unwrap_or_default().iter().rev() {
        if other == journal.path() {
            continue;
        }
        let is_of_use = journal::known_runs(other).is_ok_and(|runs| runs.iter().any(|run| is_wanted(run)));
        if !is_of_use {
            continue;
        }
        let _lock = match free(other) {
            Ok(lock) => lock,
            Err(error) => {
                info!("what {} knows is left there: {}", other.display(), error.one_line());
                continue;
            }
        };
        match journal.adopt(other, is_wanted) {
            Ok(count) => info!(journal = %other.display(), "taken over: {count} runs"),
            Err(error) => warn!("what {} knows is left there: {}", other.display(), error.one_line()),
        }
    }
}

/// The lock of a journal, once commands that hold it are done; a daemon says who it is, and is not waited for.
fn free(journal: &Path) -> Result<Lock> {
    let end = Instant::now() + PATIENCE;
    loop {
        match journal::holder(journal).filter(|note| !note.is_empty()) {
            Some(holder) => return Err(Error::Locked { path: journal.to_owned(), holder }),
            None => match Lock::take(journal, "") {
                Err(Error::Locked { holder, .. }) if holder.is_empty() && Instant::now() < end => {}
                taken => return taken,
            },
        }
    }
}

/// The journals of the user's state folder, the one written last first.
///
/// # Errors
/// As [`journal_of`].
pub fn journals() -> Result<Vec<PathBuf>> {
    let folders = std::fs::read_dir(state_folder()?).into_iter().flatten().flatten();
    let mut all: Vec<_> = folders.map(|entry| entry.path().join(JOURNAL)).filter(|path| path.exists()).collect();
    let written = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    all.sort_by_cached_key(|path| std::cmp::Reverse(written(path)));
    Ok(all)
}

/// The socket of the daemon that writes `journal`: its path is short, whatever the journal's.
pub fn socket_of(journal: &Path) -> PathBuf {
    let journal = std::path::absolute(journal).unwrap_or_else(|_| journal.to_owned());
    let hash = hash(&path::to_bytes(&journal));
    match env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder).join("relstab").join(format!("{hash}.sock")),
        None => journal.with_file_name("socket"),
    }
}

fn state_folder() -> Result<PathBuf> {
    path::user_folder("XDG_STATE_HOME", ".local/state", "--journal")
}

/// A run and the journal that knows it.
#[derive(Debug)]
pub struct Known {
    /// The journal, for reading.
    pub journal: Journal,
    /// The run's canonical path.
    pub run: String,
    /// Its number in the journal.
    pub id: i64,
}

/// The path by which journals know a run that is there: its canonical path, or its address.
///
/// # Errors
/// `Io` for a directory that is not there, `Setting` for an address that cannot be one.
pub fn canonical(run: &Path) -> Result<PathBuf> {
    if is_address(run) { normalised("RUN", run) } else { run.canonicalize().map_err(Error::io(run, "open")) }
}

/// As [`canonical`], also of a directory that is gone: it is found by its name.
///
/// # Errors
/// `Setting` for an address that cannot be one.
pub fn known_as(run: &Path) -> Result<PathBuf> {
    match canonical(run) {
        Err(Error::Io { .. }) => Ok(std::path::absolute(run).unwrap_or_else(|_| run.to_owned())),
        known => known,
    }
}

impl Known {
    /// Whether the journal knows the run still: the journal of another daemon may have taken it over.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn is_current(&self) -> Result<bool> {
        Ok(self.journal.find_run(&self.run)? == Some(self.id))
    }
}

/// How often a run is read that one journal after another takes over.
const READINGS: usize = 3;

/// What `read` finds of the run that [`find`] finds, all in one journal.
///
/// # Errors
/// As [`find`] and `read`.
pub fn read<T>(run: &Path, named: Option<&Path>, read: impl Fn(&Known) -> Result<T>) -> Result<T> {
    for _ in 1..READINGS {
        let known = find(run, named)?;
        let found = read(&known);
        // Asked afterwards: it may go at any moment, and what was read of it then is nothing or an error.
        if known.is_current()? {
            return found;
        }
    }
    read(&find(run, named)?)
}

/// Finds the run of directory `run`: in the journal that is named, else in the one that a running daemon writes, else in
/// the one written last.
///
/// # Errors
/// `UnknownRun` if none knows it, `Journal` if the one that is named cannot be read.
pub fn find(run: &Path, named: Option<&Path>) -> Result<Known> {
    match look(run, named) {
        // One journal may have taken it over from another between the looks into both.
        Err(Error::UnknownRun { .. }) => look(run, named),
        found => found,
    }
}

fn look(run: &Path, named: Option<&Path>) -> Result<Known> {
    let run = path::text(&known_as(run)?);
    let folder = named.map_or_else(state_folder, |path| Ok(path.to_owned()))?;
    let candidates = if let Some(path) = named {
        vec![path.to_owned()]
    } else {
        let mut all = journals()?;
        all.sort_by_cached_key(|path| journal::holder(path).is_none());
        all
    };
    // One that is damaged matters if it was named, or would be this run's.
    let mut damaged = None;
    let is_its_own = |journal: &Path| {
        let run = path::of_text(&run);
        let is_of = |root: &Path| journal_of(&[root.to_owned()]).is_ok_and(|own| own == *journal);
        named.is_some() || run.ancestors().any(is_of)
    };
    for candidate in candidates {
        let looked = Journal::read(&candidate).and_then(|journal| Ok((journal.find_run(&run)?, journal)));
        match looked {
            Err(error) if is_its_own(&candidate) => damaged = Some(error),
            Ok((Some(id), journal)) => return Ok(Known { journal, run, id }),
            _ => {}
        }
    }
    Err(damaged.unwrap_or(Error::UnknownRun { run, journal: folder }))
}

/// The socket of the daemon that writes `journal` now, if one does.
pub fn live_socket(journal: &Path) -> Option<PathBuf> {
    holder_note(journal)?["socket"].as_str().map(path::of_text)
}

/// What the daemon that writes `journal` now says of itself: `pid`, `socket` and `http`.
pub fn holder_note(journal: &Path) -> Option<Value> {
    serde_json::from_str(&journal::holder(journal)?).ok()
}
