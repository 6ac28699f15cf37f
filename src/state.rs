//! Where the daemon keeps its journal and its socket, and how others find them.

use std::env;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::journal::{self, Journal};
use crate::path;

const JOURNAL: &str = "journal.sqlite";

/// The journal of a daemon that watches these directories.
///
/// # Errors
/// `Setting` where there is no home directory to keep it in.
pub fn journal_of(roots: &[PathBuf]) -> Result<PathBuf> {
    let mut names: Vec<_> = roots.iter().map(|root| path::to_bytes(root)).collect();
    names.sort();
    let hash = hex::encode(&Sha256::digest(names.join(&b'\n'))[..8]);
    Ok(state_folder()?.join(hash).join(JOURNAL))
}

/// The socket of the daemon that writes `journal`: its path is short, whatever the journal's.
#[must_use]
pub fn socket_of(journal: &Path) -> PathBuf {
    let journal = std::path::absolute(journal).unwrap_or_else(|_| journal.to_owned());
    let hash = hex::encode(&Sha256::digest(path::to_bytes(&journal))[..8]);
    match env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => PathBuf::from(folder).join("relstab").join(format!("{hash}.sock")),
        None => journal.with_file_name("socket"),
    }
}

fn state_folder() -> Result<PathBuf> {
    path::user_folder("XDG_STATE_HOME", ".local/state", "--journal")
}

/// The journals in the user's state folder.
///
/// # Errors
/// As [`journal_of`].
pub fn journals() -> Result<Vec<PathBuf>> {
    let folders = std::fs::read_dir(state_folder()?).into_iter().flatten().flatten();
    Ok(folders.map(|entry| entry.path().join(JOURNAL)).filter(|path| path.exists()).collect())
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

/// Finds the run of directory `run`: in the journal that is named, else in the one that a running daemon writes, else in
/// the one written last.
///
/// # Errors
/// `UnknownRun` if none knows it, `Journal` if the one that is named cannot be read.
pub fn find(run: &Path, named: Option<&Path>) -> Result<Known> {
    // One that is deleted is found by its name.
    let run = run.canonicalize().or_else(|_| std::path::absolute(run)).unwrap_or_else(|_| run.to_owned());
    let run = path::text(&run);
    let folder = named.map_or_else(state_folder, |path| Ok(path.to_owned()))?;
    let candidates = if let Some(path) = named {
        vec![path.to_owned()]
    } else {
        let mut all = journals()?;
        let written = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        all.sort_by_cached_key(|path| std::cmp::Reverse((journal::holder(path).is_some(), written(path))));
        all
    };
    for candidate in candidates {
        let opened = Journal::read(&candidate);
        // One that is damaged matters only if it was named.
        let journal = match opened {
            Err(error) if named.is_some() => return Err(error),
            Err(_) => continue,
            Ok(journal) => journal,
        };
        if let Some(id) = journal.find_run(&run)? {
            return Ok(Known { journal, run, id });
        }
    }
    Err(Error::UnknownRun { run, journal: folder })
}

/// The socket of the daemon that writes `journal` now, if one does.
#[must_use]
pub fn live_socket(journal: &Path) -> Option<PathBuf> {
    holder_note(journal)?["socket"].as_str().map(PathBuf::from)
}

/// What the daemon that writes `journal` now says of itself: `pid`, `socket` and `http`.
#[must_use]
pub fn holder_note(journal: &Path) -> Option<Value> {
    serde_json::from_str(&journal::holder(journal)?).ok()
}
