//! Small files that people write, read whole: only regular ones, and only up to a stated size.

use std::fs::{File, Metadata};
use std::io::{Error, Read as _, Result};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::text::cut;

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

/// What is wrong with a JSON text; a number that is none or has no bound, though Python writes it, by the path of its key.
pub fn json_fault(text: &str, error: &serde_json::Error) -> String {
    let line = error.line();
    let begin = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let at = (begin + error.column().saturating_sub(1)).min(text.len());
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let (before, behind) = text.as_bytes().split_at(at);
    let start = at - before.iter().rev().take_while(|byte| is_of_word(byte)).count();
    let end = at + behind.iter().take_while(|byte| is_of_word(byte)).count();
    match text.get(start..end) {
        Some(word) if word.parse::<f64>().is_ok_and(|number| !number.is_finite()) => {
            let (mut key, mut word) = (path_behind(&text[..start]), word.to_owned());
            cut(&mut key, LONGEST_WORDS);
            cut(&mut word, LONGEST_WORDS);
            format!("{key}{word} is no finite number (line {line}): write one, or null")
        }
        _ => error.to_string(),
    }
}

/// A key and a number are shown up to this length, bytes.
const LONGEST_WORDS: usize = 256;

/// Where the value stands that follows this beginning of a JSON text: `a.b[2]: `.
fn path_behind(before: &str) -> String {
    enum Step<'a> {
        Key(&'a str),
        Index(usize),
    }
    let (mut path, mut text) = (Vec::new(), "");
    let mut rest = before;
    while let Some(mark) = rest.find(['{', '}', '[', ']', ',', ':', '"']) {
        let behind = &rest[mark + 1..];
        match (rest.as_bytes()[mark], path.last_mut()) {
            (b'"', _) => {
                let is_escaped =
                    |end: usize| behind[..end].bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
                let end = behind.match_indices('"').map(|(end, _)| end).find(|end| !is_escaped(*end));
                let end = end.unwrap_or(behind.len());
                text = &behind[..end];
                rest = behind.get(end + 1..).unwrap_or_default();
                continue;
            }
            (b'{', _) => path.push(Step::Key("")),
            (b'[', _) => path.push(Step::Index(0)),
            (b':', Some(Step::Key(key))) => *key = text,
            (b',', Some(Step::Index(index))) => *index += 1,
            (b'}' | b']', _) => drop(path.pop()),
            _ => {}
        }
        rest = behind;
    }
    let mut named = String::new();
    for step in &path {
        match step {
            Step::Key(key) if named.is_empty() => named.push_str(key),
            Step::Key(key) => named.extend([".", key]),
            Step::Index(index) => named.push_str(&format!("[{index}]")),
        }
    }
    if named.is_empty() { named } else { named + ": " }
}

/// What something that is no regular file is, in words.
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
            ("{\"a\": 1,\n \"val_error\": NaN}", "val_error: NaN is no finite number (line 2)"),
            ("{\"b\": -Infinity}", "b: -Infinity"),
            ("{\"b\": Infinity}", "b: Infinity"),
            ("{\"b\": nan}", "b: nan"),
            ("{\"b\": -nan, \"c\": 1}", "b: -nan"),
            ("{\"b\": inf}", "b: inf"),
            ("{\"b\":1e999}", "b: 1e999"),
            ("{\"b\": -1e999\n}", "b: -1e999"),
            ("{\"a\": {\"x\": [1, {}], \"b,\\\"]\": [0, [1, 2], {\"c\": [1e999, 1]}]}}", "a.b,\\\"][2].c[0]: 1e999"),
            ("[1, [2, 3], NaN]", "[2]: NaN"),
            ("[[1,\n1e400,", "[0][1]: 1e400 is no finite number (line 2)"),
            ("NaN", "NaN is no"),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).expect_err(text);
            let fault = json_fault(text, &error);
            assert!(fault.starts_with(named), "{text}: {fault} ({error})");
        }
        let long = format!("{{\"{}\": {}}}", "k".repeat(5000), "9".repeat(5000));
        let error = serde_json::from_str::<serde_json::Value>(&long).expect_err("too large");
        assert!(json_fault(&long, &error).len() < 1000, "{}", json_fault(&long, &error));
        for text in ["{", "{\"a\": nonsense}", "[1,\n\n", "é: nan", "{\"a\": \"\u{e9}\\q\"}", "", "{\"nan\" 1}"] {
            let error = serde_json::from_str::<serde_json::Value>(text).expect_err("broken");
            assert_eq!(json_fault(text, &error), error.to_string());
        }
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
