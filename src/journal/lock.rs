//! Locks that keep other daemons away as long as their holder lives, and say who that is.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long a lock that is held is tried again.
const PATIENCE: Duration = Duration::from_millis(400);

/// Keeps other daemons away from a journal, or from a directory, as long as it lives.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Locks what lies at `path`, by a file beside it, and leaves `note`, one line, for whoever finds it locked.
    ///
    /// # Errors
    /// `Io` if the lock file cannot be made, `Locked` with the holder's note if it is held.
    pub fn take(path: &Path, note: &str) -> Result<Self> {
        let path = lock_path(path);
        make_folder_of(&path)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let mut file = private(&path).map_err(Error::io(&path, "open"))?;
            match file.try_lock() {
                // Whoever held it before may have removed the file since it was opened.
                Ok(()) if !is_at(&file, &path) => {}
                Ok(()) => {
                    // A full disk must not keep the daemon from starting: the lock holds without its note.
                    let _ = write_note(&mut file, note);
                    return Ok(Self { path, file });
                }
                // Someone may only be looking whether it is held.
                Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(PATIENCE / 20),
                Err(TryLockError::WouldBlock) if is_held_by_strangers(&file) => {
                    std::fs::remove_file(&path).map_err(Error::io(&path, "remove"))?;
                }
                Err(TryLockError::WouldBlock) => return Err(Error::Locked { holder: read_note(&path), path }),
                Err(TryLockError::Error(error)) => return Err(Error::io(&path, "lock")(error)),
            }
        }
    }
}

impl Drop for Lock {
    /// The file goes while it is still locked, unless it is another's by then.
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The note of whoever holds the lock of what lies at `path`; `None` if nobody does.
pub fn holder(path: &Path) -> Option<String> {
    let path = lock_path(path);
    let file = File::open(&path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_note(&path)),
        _ => None,
    }
}

/// Opens a file, made if need be, that nobody but its owner may open: another user could lock it, or read what a run is.
pub(super) fn private(path: &Path) -> std::io::Result<File> {
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // One of an earlier version, or of another owner, who decides.
    let _ = close_to_others(&file);
    Ok(file)
}

/// Leaves the file or folder at `path`, if there is one, to its owner alone: earlier versions left that to the umask.
///
/// # Errors
/// The operating system's, if that cannot be changed.
pub fn narrow(path: &Path) -> std::io::Result<()> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        file => close_to_others(&file?),
    }
}

fn close_to_others(file: &File) -> std::io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(mode & 0o7700))?;
    }
    Ok(())
}

/// Whether processes of other users alone hold the lock of a file, as far as the kernel's table tells: they opened it while an earlier
/// version let them.
fn is_held_by_strangers(file: &File) -> bool {
    let Ok(own) = file.metadata() else { return false };
    let place = format!(":{}", own.ino());
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    // `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`; who waits for it stands behind an arrow.
    let holders: Vec<_> = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let holders = holders.iter().filter(|words| words.len() > 5 && words[1] == "FLOCK" && words[5].ends_with(&place));
    let mut users = holders.map(|words| std::fs::metadata(Path::new("/proc").join(words[4])).map(|of| of.uid()).ok());
    let is_stranger = |user: Option<u32>| user.is_some_and(|user| user != own.uid() && user != 0);
    users.next().is_some_and(is_stranger) && users.all(is_stranger)
}

/// Makes the folder that `path` lies in, for its user alone.
pub(super) fn make_folder_of(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io(folder, "create"))
}

fn lock_path(path: &Path) -> PathBuf {
    path.with_added_extension("lock")
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |file: std::fs::Metadata| (file.dev(), file.ino());
    let (own, there) = (file.metadata().map(identity).ok(), std::fs::metadata(path).map(identity).ok());
    own.is_some() && own == there
}

fn write_note(file: &mut File, note: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{note}")
}

fn read_note(lock: &Path) -> String {
    let mut text = String::new();
    let read = File::open(lock).and_then(|file| file.take(4096).read_to_string(&mut text));
    if read.is_ok() { text.trim().to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_locked_by_one_and_says_by_whom() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.sqlite");
        assert_eq!(holder(&path), None);
        let lock = Lock::take(&path, "process 7").expect("free");
        assert!(Lock::take(&path, "process 8").expect_err("held").to_string().contains("process 7"));
        assert_eq!(holder(&path).as_deref(), Some("process 7"));
        drop(lock);
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
        let lock = Lock::take(&path, "process 8").expect("free again");
        std::fs::remove_file(&lock.path).expect("removed by hand");
        let other = Lock::take(&path, "process 9").expect("nobody knows of it");
        drop(lock);
        assert_eq!(holder(&path).as_deref(), Some("process 9"));
        drop(other);
    }

    #[test]
    fn a_lock_is_held_by_one_at_a_time_though_its_file_goes_each_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("directory");
        let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let Ok(_lock) = Lock::take(&path, "") else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(taken.into_inner() > 50);
    }
}
