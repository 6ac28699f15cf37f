//! A framework's own checkpoint becomes an ONNX file: the user's command makes it, in the process group of who asks, so that what ends
//! the one ends the other.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::checkpoint::native::Native;
use crate::error::{Error, Result};
use crate::process::ended;
use crate::text::visible;

/// In the command's words these stand for the checkpoint, and for the file that it is to write.
const PLACES: [&str; 2] = ["{checkpoint}", "{onnx}"];
/// So much of the end of what the command says on standard error is kept, bytes.
const TAIL: usize = 2000;
/// How long what it said may come after its end: something that it started may keep the pipe.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A command that makes an ONNX file of a checkpoint: words, which no shell reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    words: Vec<String>,
}

impl FromStr for Export {
    type Err = Error;

    /// Words are parted as a shell parts them, quotes and backslashes included; nothing else means what it does in a shell.
    fn from_str(text: &str) -> Result<Self> {
        let refused = |found: String| {
            let expected = "a command with {checkpoint} and {onnx} among its words, such as 'python export.py {checkpoint} {onnx}'";
            Error::setting("--export", expected, found)
        };
        let words = shlex::split(text).ok_or_else(|| refused(format!("a quote without an end: {text}")))?;
        let Some(missing) = PLACES.iter().find(|place| !words.iter().skip(1).any(|word| word.contains(*place))) else {
            return Ok(Self { words });
        };
        Err(refused(format!("no {missing} in: {text}")))
    }
}

/// As it was given, or as good.
impl fmt::Display for Export {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let words = shlex::try_join(self.words.iter().map(String::as_str)).unwrap_or_else(|_| self.words.join(" "));
        f.write_str(&words)
    }
}

/// An ONNX file that goes when this does.
#[derive(Debug)]
pub struct Exported {
    folder: PathBuf,
}

impl Exported {
    fn make(room: Option<&Path>) -> Result<Self> {
        let folder = match room {
            Some(room) => {
                // Of a process that was killed.
                let _ = fs::remove_dir_all(room);
                fs::create_dir_all(room).map(|()| room.to_owned())
            }
            None => tempfile::Builder::new().prefix("relstab-").tempdir().map(TempDir::keep),
        };
        Ok(Self { folder: folder.map_err(Error::io(room.unwrap_or(&std::env::temp_dir()), "make a folder in"))? })
    }

    /// Where the file is.
    pub fn file(&self) -> PathBuf {
        self.folder.join("network.onnx")
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Export {
    /// Makes the ONNX file of a checkpoint, in the folder `room`, which is for nothing else, or among the system's temporary files.
    ///
    /// # Errors
    /// `Export` with the end of what the command said where it fails or writes no file, `Setting` where it cannot be started, `Io` where
    /// there is no room.
    pub fn run(&self, native: &Native, room: Option<&Path>) -> Result<Exported> {
        let exported = Exported::make(room)?;
        let file = exported.file();
        let mut child = self.start(&native.path, &file)?;
        let tail = Tail::of(child.stderr.take());
        let status = child.wait().map_err(Error::io(&native.path, "wait for the export of"))?;
        let failed = |how: String| Error::Export {
            path: native.path.clone(),
            command: visible(&self.to_string()),
            how,
            said: tail.text(),
        };
        if !status.success() {
            return Err(failed(ended(status)));
        }
        match fs::metadata(&file) {
            Ok(written) if written.len() > 0 => Ok(exported),
            Ok(_) => Err(failed("ended well and left an empty file at {onnx}".to_owned())),
            Err(_) => Err(failed("ended well and wrote no file at {onnx}".to_owned())),
        }
    }

    fn start(&self, checkpoint: &Path, file: &Path) -> Result<Child> {
        let places = PLACES.into_iter().zip([checkpoint, file]);
        let mut command = Command::new(&self.words[0]);
        for word in &self.words[1..] {
            command.arg(crate::path::from_bytes(filled(word.as_bytes(), &places.clone().collect::<Vec<_>>())));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let refused = |error: io::Error| {
            let found = format!("{error}: {}", self.words[0]);
            Error::setting("--export", "a program that can be started", found)
        };
        command.spawn().map_err(refused)
    }
}

/// A word with paths in place of their names, whatever the paths' bytes.
fn filled(mut word: &[u8], places: &[(&str, &Path)]) -> Vec<u8> {
    let mut filled = Vec::new();
    while let Some((first, rest)) = word.split_first() {
        if let Some((name, path)) = places.iter().find(|(name, _)| word.starts_with(name.as_bytes())) {
            filled.extend(crate::path::to_bytes(path));
            word = &word[name.len()..];
        } else {
            filled.push(*first);
            word = rest;
        }
    }
    filled
}

/// The end of what a process says, read as it says it.
struct Tail {
    held: Arc<Mutex<VecDeque<u8>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Tail {
    fn of(said: Option<impl Read + Send + 'static>) -> Self {
        let held = Arc::default();
        let kept = Arc::clone(&held);
        let reader = said.and_then(|said| {
            std::thread::Builder::new().name("export's words".to_owned()).spawn(move || keep(said, &kept)).ok()
        });
        Self { held, reader }
    }

    fn text(&self) -> String {
        let mut waited = Duration::ZERO;
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && waited < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(5));
            waited += Duration::from_millis(5);
        }
        let bytes: Vec<u8> = self.held.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        visible(&text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

fn keep(mut said: impl Read, held: &Mutex<VecDeque<u8>>) {
    let mut block = [0; 4096];
    loop {
        match said.read(&mut block) {
            Ok(0) => return,
            Ok(count) => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                held.extend(&block[..count]);
                let more = held.len().saturating_sub(TAIL);
                held.drain(..more);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(folder: &Path) -> Native {
        let path = folder.join("a b'.pt");
        fs::write(&path, "weights").expect("written");
        Native::read(&path).expect("read")
    }

    #[test]
    fn words_are_arguments_and_no_shell_text() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let export: Export = "cp --no-target-directory '{checkpoint}' {onnx}".parse().expect("a command");
        assert_eq!(export.to_string().parse::<Export>().expect("as good"), export);
        for room in [None, Some(folder.path().join("room"))] {
            let exported = export.run(&native(folder.path()), room.as_deref()).expect("copied");
            let file = exported.file();
            assert_eq!(fs::read(&file).expect("there"), b"weights");
            drop(exported);
            assert!(!file.exists() && !file.parent().is_some_and(Path::exists));
        }
        for (text, word) in [
            ("python export.py {checkpoint}", "{onnx}"),
            ("{checkpoint} {onnx}", "{checkpoint}"),
            ("cp '{checkpoint} {onnx}", "quote"),
            ("", "{checkpoint}"),
        ] {
            assert!(text.parse::<Export>().expect_err(text).to_string().contains(word), "{text}");
        }
    }

    #[test]
    fn a_failure_has_the_end_of_what_was_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = |text: &str| {
            let export: Export = text.parse().expect("a command");
            export.run(&native(folder.path()), Some(&folder.path().join("room"))).expect_err(text)
        };
        let said = run(
            "sh -c 'head -c 100000 /dev/zero | tr \"\\0\" x >&2; echo \"ValueError: no\n layer\" >&2; exit 3' {checkpoint} {onnx}",
        );
        let text = said.one_line();
        assert!(text.contains("exit code 3") && text.contains("ValueError: no layer"), "{text}");
        assert!(text.len() < 2 * TAIL && text.contains("a b"), "{text}");
        assert!(run("true {checkpoint} {onnx}").one_line().contains("wrote no file"));
        assert!(run("touch {onnx} {checkpoint}").one_line().contains("empty file"));
        assert!(run("sh -c 'kill -9 $$' {checkpoint} {onnx}").one_line().contains("signal 9"));
        let absent = run("/no/such/program {checkpoint} {onnx}");
        assert!(matches!(absent, Error::Setting { .. }), "{absent}");
        // Nothing is left behind.
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}
