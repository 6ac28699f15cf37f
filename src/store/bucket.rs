//! Stores of any kind: lists, looks and brings, one request after another.

use std::fs::File;
use std::path::Path;

use super::address::{Object, scheme};
use super::cloud::Clouds;
use super::folder;
use crate::error::Result;

/// Stores, opened when they are first asked.
#[derive(Default)]
pub struct Stores {
    clouds: Option<Clouds>,
}

impl Stores {
    /// Sets up what an address needs, before it is asked.
    ///
    /// # Errors
    /// `Unavailable` in a build without that kind of store, `Io` if it cannot be set up, `Setting` and `Store` for what the environment
    /// says of it.
    pub fn prepare(&mut self, address: &Path) -> Result<()> {
        if is_folder(address) { Ok(()) } else { self.clouds()?.prepare(address) }
    }

    /// Everything below the address `folder`.
    ///
    /// # Errors
    /// `Store` if the store does not give the whole list; as [`Stores::prepare`].
    pub fn list(&mut self, folder: &Path) -> Result<Vec<Object>> {
        if is_folder(folder) { folder::list(folder) } else { self.clouds()?.list(folder) }
    }

    /// What lies at `address`; `None` if nothing does.
    ///
    /// # Errors
    /// `Store` if the store does not tell; as [`Stores::prepare`].
    pub fn find(&mut self, address: &Path) -> Result<Option<Object>> {
        if is_folder(address) { Ok(folder::find(address)) } else { self.clouds()?.find(address) }
    }

    /// Writes an object to `file`; false if there is another version of it now, or none.
    ///
    /// # Errors
    /// `Store` if the store does not give all of it, `Unfinished` if it may not be read, `Io` if the file cannot be written; as
    /// [`Stores::prepare`].
    pub fn get(&mut self, object: &Object, file: &mut File) -> Result<bool> {
        if is_folder(object.path()) { folder::get(object, file) } else { self.clouds()?.get(object, file) }
    }

    fn clouds(&mut self) -> Result<&mut Clouds> {
        match &mut self.clouds {
            Some(clouds) => Ok(clouds),
            none => Ok(none.insert(Clouds::new()?)),
        }
    }
}

fn is_folder(address: &Path) -> bool {
    scheme(address) == Some("file")
}
