//! In place of clouds where the program was built without them.

use std::convert::Infallible;
use std::fs::File;
use std::path::Path;

use super::address::Object;
use crate::error::{Error, Result};

/// Clouds: none.
#[derive(Debug)]
pub(super) struct Clouds(Infallible);

impl Clouds {
    pub(super) fn new() -> Result<Self> {
        Err(Error::Unavailable {
            what: "object stores".to_owned(),
            reason: "this relstab was built without them".to_owned(),
            help: "build it with them: cargo install relstab --features stores",
        })
    }

    pub(super) fn prepare(&mut self, _address: &Path) -> Result<()> {
        match self.0 {}
    }

    pub(super) fn list(&mut self, _folder: &Path) -> Result<Vec<Object>> {
        match self.0 {}
    }

    pub(super) fn find(&mut self, _address: &Path) -> Result<Option<Object>> {
        match self.0 {}
    }

    pub(super) fn get(&mut self, _object: &Object, _file: &mut File) -> Result<bool> {
        match self.0 {}
    }
}
