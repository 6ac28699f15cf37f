//! Parquet tables where the command was built without them.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::probe::contents::Catalogue;

/// Refuses the tables, with what to do.
pub fn open(paths: &[PathBuf]) -> Result<Catalogue> {
    let expected = "a command that reads Parquet (pip install relstab, or cargo install with --features parquet)";
    Err(Error::probe(&paths[0], expected, "one built without the feature parquet"))
}
