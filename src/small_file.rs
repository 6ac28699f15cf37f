//! Small files that people write, read whole: only regular ones, and only up to a stated size.

use std::fs::{File, Metadata};
use std::io::{Error, Read as _, Result};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The text of the file at `path`, of at most `most` bytes.
///
/// # Errors
/// The operating system's; one that says so for what is no regular file (a FIFO would be waited for, a device has no end), for a
/// larger file, and for bytes that are no UTF-8.
pub fn read(path: &Path, most: u64) -> Result<String> {
    let mut text = String::new();
    let length = open(path)?.take(most + 1).read_to_string(&mut text)?;
    if length as u64 > most {
        return Err(Error::other(format!("expected at most {most} bytes, found more")));
    }
    Ok(text)
}

/// The file at `path`, to be read.
///
/// # Errors
/// The operating system's, and one that says so for what is no regular file.
pub fn open(path: &Path) -> Result<File> {
    // Looked at before it is opened, for opening alone does something to some devices; and after, for it may be another by now.
    regular(&std::fs::metadata(path)?)?;
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// That something is a regular file.
///
/// # Errors
/// One that says what it is instead.
pub fn regular(file: &Metadata) -> Result<()> {
    if file.is_file() {
        return Ok(());
    }
    Err(Error::other(format!("expected a regular file, found {}", kind(file))))
}

/// What is wrong with a JSON text, by name where it is a number that JSON does not have, though Python writes it.
#[must_use]
pub fn json_fault(text: &str, error: &serde_json::Error) -> String {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let (before, from) = line.as_bytes().split_at_checked(error.column().saturating_sub(1)).unwrap_or_default();
    let sign = if before.ends_with(b"-") { "-" } else { "" };
    let is_word = |word: &&str| from.starts_with(word.as_bytes());
    let Some(word) = ["NaN", "Infinity", "inf", "nan"].iter().find(|word| is_word(word)) else {
        return error.to_string();
    };
    let before = String::from_utf8_lossy(before);
    let key = before.rsplit('"').nth(1).map_or(String::new(), |key| format!("{key}: "));
    format!("{key}{sign}{word} is no number in JSON (line {}): write a finite number or null", error.line())
}

/// What something that is no regular file is, in words.
#[must_use]
pub fn kind(file: &Metadata) -> &'static str {
    let kind = file.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;

    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_named() {
        for (text, named) in [
            ("{\"a\": 1,\n \"val_error\": NaN}", "val_error: NaN"),
            ("{\"b\": -Infinity}", "b: -Infinity"),
            ("{\"b\": Infinity}", "b: Infinity"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).expect_err(text);
            let fault = json_fault(text, &error);
            assert!(fault.starts_with(named), "{fault}");
        }
        let error = serde_json::from_str::<serde_json::Value>("{").expect_err("cut short");
        assert_eq!(json_fault("{", &error), error.to_string());
    }

    #[test]
    fn only_regular_files_up_to_a_size_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "12345").expect("written");
        assert_eq!(read(&path, 5).expect("as long as may be"), "12345");
        assert!(read(&path, 4).expect_err("longer").to_string().contains("at most 4 bytes"));
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("made");
        for (path, found) in [(fifo.as_path(), "a FIFO"), ("/dev/zero".as_ref(), "a device"), (folder.path(), "a dir")]
        {
            let error = read(path, 5).expect_err(found).to_string();
            assert!(error.contains("expected a regular file") && error.contains(found), "{error}");
        }
    }
}
