//! Which errors of the journal pass by themselves, and which do not.

use super::Error;

impl Error {
    /// Whether trying again later may help: a full disk, a failing device, another writer.
    pub fn is_transient(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, SystemIoFailure};
        self.is_of_lock() || matches!(self.sqlite_code(), Some(DiskFull | SystemIoFailure | CannotOpen))
    }

    /// Whether another writer holds the journal.
    pub fn is_of_lock(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        matches!(self.sqlite_code(), Some(DatabaseBusy | DatabaseLocked))
    }

    fn sqlite_code(&self) -> Option<rusqlite::ErrorCode> {
        let Self::Journal { source, .. } = self else { return None };
        source.sqlite_error_code()
    }

    /// Whether the journal will never take what was to be written, though it takes other things: it is too big, or breaks a rule.
    pub fn is_of_record(&self) -> bool {
        matches!(self, Self::Journal { source, .. } if is_of_record(source))
    }
}

/// The same of the database's own error.
pub fn is_of_record(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    error.sqlite_error_code().is_none_or(|code| matches!(code, ConstraintViolation | TooBig | TypeMismatch))
}
