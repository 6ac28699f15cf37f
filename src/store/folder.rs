//! A folder as a store: `file:///folder`. What is renamed into place is whole, as an object is.

use std::fs::{self, File};
use std::io::{ErrorKind, copy};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use walkdir::WalkDir;

use super::address::{Object, local_path};
use crate::error::{Error, Result};

/// Every file below the address `folder` whose name is text; none if it is not there.
pub(super) fn list(folder: &Path) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for entry in WalkDir::new(local_path(folder)) {
        match entry {
            Ok(entry) => objects.extend(object(entry.path())),
            // It went while the folder was walked, or was never there.
            Err(error) if error.io_error().is_some_and(|error| error.kind() == ErrorKind::NotFound) => {}
            Err(error) => {
                let address = folder.to_owned();
                return Err(Error::Store { address, action: "list", reason: error.to_string() });
            }
        }
    }
    Ok(objects)
}

pub(super) fn find(address: &Path) -> Option<Object> {
    object(local_path(address))
}

pub(super) fn get(object: &Object, file: &mut File) -> Result<bool> {
    let path = local_path(object.path());
    let mut there = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        there => there.map_err(Error::io(path, "open"))?,
    };
    copy(&mut there, file).map_err(Error::io(path, "read"))?;
    Ok(find(object.path()).as_ref() == Some(object))
}

fn object(path: &Path) -> Option<Object> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(Object {
        address: format!("file://{}", path.to_str()?),
        size: file.len(),
        tag: Some(format!("{}-{}.{:09}", file.ino(), file.mtime(), file.mtime_nsec())),
        modified: u64::try_from(file.mtime() * 1000 + file.mtime_nsec() / 1_000_000).unwrap_or(0),
    })
}
