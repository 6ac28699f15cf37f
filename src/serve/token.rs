//! A secret that clients show: the first line of a file.

use std::path::Path;

use subtle::ConstantTimeEq as _;

use crate::error::{Error, Result};
use crate::small_file;

/// A shorter token could be guessed.
const SHORTEST: usize = 16;
/// Its file may be this long, bytes.
const LONGEST: u64 = 64 << 10;

/// What clients must show.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// Reads the file that `flag` names.
    ///
    /// # Errors
    /// `Io` if it cannot be read, `Setting` for a token that could be guessed.
    pub fn read(path: &Path, flag: &'static str) -> Result<Self> {
        let text = small_file::read(path, LONGEST).map_err(Error::io(path, "read"))?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < SHORTEST {
            let found = format!("{} bytes in {}", token.len(), path.display());
            return Err(Error::setting(flag, format!("a token of {SHORTEST} bytes or more"), found));
        }
        Ok(Self(token.as_bytes().to_vec()))
    }

    /// Whether this is it; takes as long whatever is right of it.
    pub fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }
}

/// A secret is not to be printed.
impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token")
    }
}

#[cfg(test)]
impl Token {
    /// A token of these bytes.
    pub fn of(token: &[u8]) -> Self {
        Self(token.to_vec())
    }
}
