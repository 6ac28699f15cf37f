//! What people and programs see of a command: results, complaints, and how far it is.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::outlet::Log;
use crate::error::{Error, Result};
use crate::event::Measurement;
use crate::measure::Progress;
use crate::plan::{Resolved, Setup};
use crate::text::{visible, visible_json};

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How long a complaint is waited for that nobody may read.
const UNREAD: Duration = Duration::from_millis(500);

/// A line for people on standard error; that nobody reads it is no failure, and holds nobody up.
pub fn complain(kind: &str, text: &str) {
    let line = format!("{kind}: {}\n", visible(text));
    let _ = match Log::start(false) {
        Ok(mut log) => log.write_all(line.as_bytes()).map(|()| log.finish(UNREAD)),
        // Where no thread may start, who reads is trusted.
        Err(_) => io::stderr().write_all(line.as_bytes()),
    };
}

/// Prints to standard output.
pub fn print(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<()> {
    is_read(text).map(|_| ())
}

/// As [`print`]; gives whether anybody still reads: one who has gone away, as `head` does, has read enough.
pub fn is_read(text: &(impl AsRef<[u8]> + ?Sized)) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).map_err(Error::io("standard output".as_ref(), "write")),
    }
}

/// Prints a result in the format asked for: in words, or itself.
pub fn tell(result: &impl serde::Serialize, words: impl FnOnce() -> String, format: Format) -> Result<()> {
    match format {
        Format::Text => print(&words()),
        Format::Json => print_json(result),
    }
}

pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    print(&line(serde_json::to_string_pretty(value))?)
}

pub fn line(json: serde_json::Result<String>) -> Result<String> {
    let text = json.map_err(|error| Error::io("standard output".as_ref(), "write")(error.into()))?;
    Ok(visible_json(&text).into_owned() + "\n")
}

/// Reads and measures one network behind a bar; `resolved` as in [`Setup::measure`].
pub fn measure_file(setup: &Setup, path: &Path, resolved: &mut Option<Resolved>) -> Result<Measurement> {
    with_progress(|progress| setup.measure(setup.read(path)?, resolved, progress))
}

/// Runs `work` behind a bar on a terminal, behind nothing in a pipe.
pub fn with_progress<T>(work: impl FnOnce(Progress) -> T) -> T {
    let bar = progress_bar();
    let result = work(&|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {eta} left");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
