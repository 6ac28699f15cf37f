//! A journal that cannot be written is read from a copy: `SQLite` writes beside a database even to read it.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{ErrorKind, copy};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ErrorCode::{CannotOpen, ReadOnly};

use crate::error::{Error, Result};

/// How often a journal that changes while it is copied is copied again.
const TRIES: usize = 5;

/// The copy, with what lies in the journal's log; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Copied {
    folder: PathBuf,
}

impl Copied {
    /// Copies the journal at `path` into the folder for temporary files.
    ///
    /// # Errors
    /// `Io` if it cannot be read, or its copy not written.
    pub fn of(path: &Path) -> Result<Self> {
        static COPIES: AtomicU64 = AtomicU64::new(0);
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("relstab-journal-{}-{number}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder).map_err(Error::io(&folder, "create"))?;
        let copied = Self { folder };
        for _ in 0..TRIES {
            let before = stamps(path);
            carry(path, &copied.path())?;
            carry(&log_of(path), &log_of(&copied.path()))?;
            if stamps(path) == before {
                return Ok(copied);
            }
        }
        Err(Error::io(path, "copy")(std::io::Error::other("it changes all the time")))
    }

    /// The journal in it.
    pub fn path(&self) -> PathBuf {
        self.folder.join("journal.sqlite")
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a journal could not be opened because nothing can be written where it lies.
pub(super) fn is_for_want_of_writing(error: &Error) -> bool {
    match error {
        Error::Journal { source, .. } => matches!(source.sqlite_error_code(), Some(CannotOpen | ReadOnly)),
        Error::Io { source, .. } => {
            matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
        }
        _ => false,
    }
}

/// What was committed and is not in the database's own file yet.
fn log_of(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn stamps(journal: &Path) -> [Option<(u64, i64, i64)>; 2] {
    let stamp = |file: Metadata| (file.len(), file.mtime(), file.mtime_nsec());
    [journal.to_owned(), log_of(journal)].map(|path| std::fs::metadata(path).map(stamp).ok())
}

/// Copies a file, if there is one, to one of this user's alone.
fn carry(from: &Path, to: &Path) -> Result<()> {
    let mut source = match File::open(from) {
        Ok(source) => source,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(from, "open")(error)),
    };
    let target = File::options().write(true).create(true).truncate(true).mode(0o600).open(to);
    let mut target = target.map_err(Error::io(to, "create"))?;
    copy(&mut source, &mut target).map(|_| ()).map_err(Error::io(to, "write"))
}
