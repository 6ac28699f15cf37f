//! The commands that ask about one run: socket, history, best, wait, resume, forget, retry.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::asking::ask;
use super::terminal::{Format, complain, print, print_json, tell};
use crate::backend;
use crate::error::{Error, ExitCode, Result};
use crate::journal::{Attempt, Entry, Filter, Journal, Lock, State};
use crate::path;
use crate::report;
use crate::state::{Known, canonical, find, journal_of, live_socket, socket_of, watcher_socket};
use crate::stop::Mark;
use crate::store::address::is_address;
use crate::store::cache::stranger;
use crate::text::visible;
use crate::watch::remote::Remote;

#[derive(Debug, clap::Args)]
pub struct Run {
    /// The run's directory or address
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The journal [default: the one under $XDG_STATE_HOME/relstab that knows the run]
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
}

impl Run {
    fn find(&self) -> Result<Known> {
        find(&self.run, self.journal.as_deref())
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

#[derive(Debug, clap::Args)]
pub struct Best {
    #[command(flatten)]
    run: Run,
    /// Make or move a symbolic link to the checkpoint; what lies in a store is fetched into PATH.files first
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// Print the path's bytes as they are, with a NUL behind them, for scripts: any name can be read so
    #[arg(long, conflicts_with = "format")]
    print0: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, clap::Args)]
pub struct Wait {
    #[command(flatten)]
    run: Run,
    /// Wait for the checkpoint of this step [default: until nothing is pending and something was measured]
    #[arg(long)]
    step: Option<u64>,
    /// Give up after this long
    #[arg(long, value_name = "TIME", value_parser = crate::text::duration)]
    timeout: Option<Duration>,
}

pub fn history(args: &History) -> Result<ExitCode> {
    let known = args.run.find()?;
    let entries = known.journal.history(known.id, Filter { with_replicates: args.replicates, ..Filter::default() })?;
    let attempts = known.journal.past(known.id, 0)?.attempts;
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

/// The best checkpoint, as the journal has it.
pub fn best(args: &Best) -> Result<ExitCode> {
    let Known { journal, id, run } = args.run.find()?;
    let Some((monitor, mark)) = journal.best(id)? else {
        complain("error", &format!("run {run}: nothing was measured yet"));
        return Ok(ExitCode::Undefined);
    };
    let Mark { path, step, value } = &mark;
    let file = path::of_text(path);
    let step = step.map_or(String::new(), |step| format!(" at step {step}"));
    let value = value.map_or(String::new(), |value| format!(": {value:.4}{step}"));
    complain("note", &format!("best by {monitor}, {}{value}", monitor.in_words()));
    if let Some(link) = &args.link {
        if is_address(&file) {
            link_copy(&file, best_record(&journal, id, &mark)?.as_ref(), link)?;
        } else {
            replace_link(&file, link)?;
        }
    }
    match args.format {
        _ if args.print0 => print(&[path::to_bytes(&file), b"\0".to_vec()].concat())?,
        Format::Text => print(&format!("{}\n", line_of(&file, args.link.is_some())?))?,
        Format::Json => {
            let mut found = json!(best_record(&journal, id, &mark)?);
            found["best_by"] = json!(monitor);
            print_json(&found)?;
        }
    }
    Ok(ExitCode::Success)
}

/// The path on a line. One that a line does not hold as it is, or that a terminal would obey, is spelled out for people alone: a
/// script would take it for another.
fn line_of(file: &Path, is_for_people: bool) -> Result<String> {
    if let Some(name) = file.to_str().filter(|name| visible(name) == *name) {
        return Ok(name.to_owned());
    }
    let shown = visible(&path::text(file));
    if is_for_people || std::io::stdout().is_terminal() {
        return Ok(shown);
    }
    let expected = "--print0, --format json or --link for a name with line breaks, controls or bytes that are no UTF-8";
    Err(Error::setting("best", expected, shown))
}

/// What was measured of the checkpoint.
fn best_record(journal: &Journal, id: i64, best: &Mark) -> Result<Option<Entry>> {
    let filter = Filter { state: Some(State::Measured), step: best.step, ..Filter::default() };
    Ok(journal.history(id, filter)?.into_iter().find(|entry| entry.path == best.path))
}

/// Brings the network at `address` into the folder `LINK.files`, and links to it there; copies of other networks go.
fn link_copy(address: &Path, entry: Option<&Entry>, link: &Path) -> Result<()> {
    let folder = std::path::absolute(link.with_added_extension("files")).map_err(Error::io(link, "find"))?;
    if let Some(other) = stranger(&folder) {
        let expected = format!("a link whose folder {} holds copies only", folder.display());
        return Err(Error::setting("--link", expected, other.display()));
    }
    let fetched = Remote::below(&folder)?.bring_network(address)?;
    let copy = fetched.local(address);
    let measured = entry.and_then(Entry::record).map(|record| record.model.sha256);
    let found = backend::read(&copy, None).map(|model| model.sha256().to_owned()).ok();
    if found != measured {
        let is_there = copy.exists();
        fetched.remove();
        let found =
            if is_there { "another one, written since (the daemon will measure it)" } else { "nothing there any more" };
        return Err(Error::model(address, "the network that was measured", found));
    }
    replace_link(&copy, link)?;
    fetched.remove_others();
    Ok(())
}

/// A link that is moved is never missing.
fn replace_link(target: &Path, link: &Path) -> Result<()> {
    let temporary = link.with_added_extension("new");
    let _ = std::fs::remove_file(&temporary);
    symlink(target, &temporary).map_err(Error::io(&temporary, "link"))?;
    if link.exists() && !link.is_symlink() {
        let _ = std::fs::remove_file(&temporary);
        return Err(Error::setting("--link", "a path that is free or a link", link.display()));
    }
    std::fs::rename(&temporary, link).map_err(Error::io(link, "link"))
}

/// How often the journal is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

pub fn wait(args: &Wait) -> Result<ExitCode> {
    let end = args.timeout.map(|timeout| Instant::now() + timeout);
    // The daemon may not have seen the run yet.
    let (mut known, mut is_told) = (None, false);
    // Of a file that was written just before, the daemon may hear a moment later.
    let mut was_done = false;
    loop {
        if known.is_none() {
            known = match args.run.find() {
                Ok(found) => Some(found),
                Err(Error::UnknownRun { .. } | Error::Journal { .. }) if end.is_some() => None,
                Err(error) => return Err(error),
            };
        }
        if let Some(Known { journal, id, run }) = &known {
            let (_, stop) = journal.verdicts(*id)?;
            if let Some(stop) = stop {
                complain("stop", &format!("run {run}: {}", stop["reason"].as_str().unwrap_or_default()));
                return Ok(ExitCode::Stopped);
            }
            if is_done(journal, *id, args.step)? {
                if was_done {
                    return Ok(ExitCode::Success);
                }
                was_done = true;
                std::thread::sleep(INTERVAL);
                continue;
            }
            was_done = false;
        }
        if !is_told {
            is_told = true;
            complain("note", &awaited(args, known.as_ref())?);
        }
        if end.is_some_and(|end| end <= Instant::now()) {
            complain("error", &format!("run {}: nothing came in time", args.run.run.display()));
            return Ok(ExitCode::TimedOut);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// What is waited for, and what is known of it.
fn awaited(args: &Wait, known: Option<&Known>) -> Result<String> {
    let run = args.run.run.display();
    let Some(Known { journal, id, .. }) = known else {
        return Ok(format!("no journal knows {run} yet: waiting for relstab watch {run}"));
    };
    let what = if let Some(step) = args.step {
        let is_seen = !of_step(journal, *id, step)?.is_empty();
        format!("step {step}, which {}", if is_seen { "waits for its turn" } else { "was not seen yet" })
    } else {
        let waiting = journal.counts(*id)?.get(&State::Pending).copied().unwrap_or(0);
        if waiting > 0 { format!("{waiting} checkpoints") } else { "a first checkpoint".to_owned() }
    };
    let nobody = if live_socket(journal.path()).is_some() {
        String::new()
    } else {
        format!("; no daemon is running: start relstab watch {run}")
    };
    Ok(format!("waiting for {what}, in {run}{nobody}"))
}

fn is_done(journal: &Journal, id: i64, step: Option<u64>) -> Result<bool> {
    if let Some(step) = step {
        let entries = of_step(journal, id, step)?;
        return Ok(!entries.is_empty() && entries.iter().all(|entry| entry.state != State::Pending));
    }
    let counts = journal.counts(id)?;
    let has = |state| counts.get(&state).is_some_and(|count| *count > 0);
    Ok(has(State::Measured) && !has(State::Pending))
}

/// What there is of a step in the training as it goes now: an attempt before the latest counts up to where that began.
fn of_step(journal: &Journal, id: i64, step: u64) -> Result<Vec<Entry>> {
    let (latest, from) = journal.attempt(id)?;
    let is_before = from.is_some_and(|from| step < from as u64);
    let mut entries = journal.history(id, Filter { step: Some(step), ..Filter::default() })?;
    entries.retain(|entry| is_before || entry.attempt == latest as u64);
    Ok(entries)
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
        format!(" once relstab watch {} runs", visible(&args.run.display().to_string()))
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
    here: impl FnOnce(&mut Journal) -> Result<usize>,
) -> Result<u64> {
    let path = known.journal.path();
    if let Some(socket) = live_socket(path) {
        let reply = ask(&socket, &json!({"type": request, "run": known.run}))?;
        return Ok(reply[counted].as_u64().unwrap_or(0));
    }
    let _lock = Lock::take(path, "")?;
    Ok(here(&mut Journal::open(path)?)? as u64)
}
