//! Files that a reader finds whole, as they were before, or not at all.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use crate::error::{Error, Result};

/// The ending of a file's name, in lower case; empty where it has none.
pub fn extension(path: &Path) -> String {
    path.extension().map_or(String::new(), |extension| extension.to_string_lossy().to_lowercase())
}

/// Writes the file at `path` beside itself, then renames it into place; a pipe or a device is written as it stands.
///
/// # Errors
/// `Io` if it cannot be written; what was there before stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        return fs::write(path, bytes).map_err(Error::io(path, "write"));
    }
    let temporary = path.with_added_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let forget = |_: &std::io::Error| drop(fs::remove_file(&temporary));
    write().inspect_err(forget).map_err(Error::io(path, "write"))
}
