//! The commands that ask about one run: socket, history, resume, forget, retry.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use serde_json::json;

use super::asking::{ask, outlasting};
use super::terminal::{Format, complain, print, tell};
use crate::error::{ExitCode, Result};
use crate::journal::{Attempt, Entry, Filter, Journal, Lock, State};
use crate::report;
use crate::state::{self, Known, canonical, find, journal_of, live_socket, socket_of, watcher_socket};
use crate::text::{visible, word};

#[derive(Debug, clap::Args)]
pub struct Run {
    /// The run's directory or address
    #[arg(value_name = "RUN")]
    pub(super) run: PathBuf,
    /// The journal [default: the one under $XDG_STATE_HOME/relstab that knows the run]
    #[arg(long, value_name = "PATH")]
    pub(super) journal: Option<PathBuf>,
}

impl Run {
    pub(super) fn find(&self) -> Result<Known> {
        find(&self.run, self.journal.as_deref())
    }

    pub(super) fn read<T>(&self, read: impl Fn(&Known) -> Result<T>) -> Result<T> {
        state::read(&self.run, self.journal.as_deref(), read)
    }
}

/// Where the daemon that knows the run or watches it listens, else where one that watches this directory alone would.
pub fn socket(args: &Run) -> Result<ExitCode> {
    let known = || live_socket(args.find().ok()?.journal.path());
    // A run without a checkpoint is in no journal yet.
    let watched = || watcher_socket(&canonical(&args.run).ok().filter(|_| args.journal.is_none())?);
    let socket = if let Some(live) = known().or_else(watched) {
        live
    } else {
        let run = canonical(&args.run)?;
        let journal = args.journal.clone().map_or_else(|| journal_of(&[run]), Ok)?;
        live_socket(&journal).unwrap_or_else(|| socket_of(&journal))
    };
    print(&format!("{}\n", socket.display()))?;
    Ok(ExitCode::Success)
}

#[derive(Debug, clap::Args)]
pub struct History {
    #[command(flatten)]
    run: Run,
    /// Keep the bootstrap replicates in the JSON records, where the journal keeps them
    #[arg(long)]
    replicates: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub fn history(args: &History) -> Result<ExitCode> {
    let (entries, attempts) = args.run.read(|Known { journal, id, .. }| {
        let entries = journal.history(*id, Filter { with_replicates: args.replicates, ..Filter::default() })?;
        Ok((entries, journal.past(*id, 0)?.attempts))
    })?;
    tell(&entries, || table(&entries, &attempts), args.format)?;
    Ok(ExitCode::Success)
}

/// What was measured, one attempt after another, and then what was not.
fn table(entries: &[Entry], attempts: &[Attempt]) -> String {
    let mut lines = BTreeMap::<u64, String>::new();
    for attempt in attempts {
        lines.insert(attempt.attempt as u64, format!("attempt {}, from step {}:\n", attempt.attempt, attempt.step));
    }
    let law = entries.iter().find_map(record_of_law);
    let mut text = String::new();
    let mut reasons = Vec::new();
    for entry in entries {
        if let Some(record) = entry.record() {
            if text.is_empty() {
                text = report::line_header(&record, law.as_deref());
            }
            *lines.entry(entry.attempt).or_default() += &report::line(&record);
            reasons.extend(record.no_prediction().map(str::to_owned));
        }
    }
    text.extend(lines.into_values());
    text += &report::unpredicted(&reasons);
    for entry in entries.iter().filter(|entry| entry.state != State::Measured) {
        let reason = entry.reason.as_deref().unwrap_or("waits for its turn");
        // Most reasons name the file.
        let line = if reason.contains(&entry.path) { reason.to_owned() } else { format!("{}: {reason}", entry.path) };
        let host = entry.host.as_ref().map_or(String::new(), |host| format!(" (on {host})"));
        text += &format!("{}: {}\n", entry.state, visible(&(line + &host)));
    }
    text
}

fn record_of_law(entry: &Entry) -> Option<String> {
    Some(entry.measurement.as_ref()?["prediction"]["law"]["name"].as_str()?.to_owned())
}

#[derive(Debug, clap::Args)]
pub struct Forget {
    #[command(flatten)]
    run: Run,
    /// Do not ask; without a terminal nothing is asked anyway
    #[arg(long)]
    yes: bool,
}

pub fn forget(args: &Forget) -> Result<ExitCode> {
    let known = args.run.find()?;
    let counts = known.journal.counts(known.id)?;
    let measured = counts.get(&State::Measured).copied().unwrap_or(0);
    let what = format!("{} checkpoints of {}, {measured} of them measured", counts.values().sum::<u64>(), known.run);
    if !args.yes && std::io::stdin().is_terminal() {
        let _ = write!(std::io::stderr(), "forget {}? [y/N] ", visible(&what));
        let mut answer = String::new();
        let _ = std::io::stdin().read_line(&mut answer);
        if !answer.trim().eq_ignore_ascii_case("y") {
            complain("note", "nothing was forgotten");
            return Ok(ExitCode::Success);
        }
    }
    change(&known, ("forget", ""), |journal| journal.forget(&known.run).map(|_| 0))?;
    let next = "The files are untouched; a daemon that watches them measures them again.";
    print(&format!("forgot {}. {next}\n", visible(&what)))?;
    Ok(ExitCode::Success)
}

pub fn retry(args: &Run) -> Result<ExitCode> {
    let known = args.find()?;
    let count = change(&known, ("retry", "checkpoints"), |journal| journal.retry(known.id))?;
    let next = if live_socket(known.journal.path()).is_some() {
        String::new()
    } else {
        format!(" once relstab watch {} runs", visible(&word(&args.run)))
    };
    print(&format!("{count} failed checkpoints of {} are measured again{next}\n", visible(&known.run)))?;
    Ok(ExitCode::Success)
}

/// Overrules the stop of a run.
pub fn resume(args: &Run) -> Result<ExitCode> {
    let known = args.find()?;
    let (_, stop) = known.journal.verdicts(known.id)?;
    let stops = change(&known, ("resume", "stops"), |journal| Ok(usize::from(journal.resume(known.id)?.0)))?;
    let run = visible(&known.run);
    if stops == 0 {
        complain("note", &format!("run {run}: no rule had stopped it"));
        return Ok(ExitCode::Success);
    }
    let reason = stop.as_ref().and_then(|stop| stop["reason"].as_str()).unwrap_or_default();
    print(&format!("{run} goes on: overruled is \"{}\". Its patience begins anew.\n", visible(reason)))?;
    Ok(ExitCode::Success)
}

/// Has the daemon that writes the journal do it; does it here if there is none. Gives how many of what the answer counts it concerned.
fn change(
    known: &Known,
    (request, counted): (&str, &str),
    here: impl Fn(&mut Journal) -> Result<usize>,
) -> Result<u64> {
    let path = known.journal.path();
    outlasting(|| {
        if let Some(socket) = live_socket(path) {
            let reply = ask(&socket, &json!({"type": request, "run": known.run}))?;
            return Ok(reply[counted].as_u64().unwrap_or(0));
        }
        let _lock = Lock::take(path, "")?;
        Ok(here(&mut Journal::open(path)?)? as u64)
    })
}
