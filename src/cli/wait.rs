//! `relstab wait`: until a run's checkpoints are measured, or the run should stop.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::runs::Run;
use super::terminal::complain;
use crate::error::{Error, ExitCode, Result};
use crate::journal::{Entry, Filter, Journal, State};
use crate::state::{Known, canonical, live_socket, watcher_socket};
use crate::store::address::is_address;
use crate::text::word;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: Run,
    /// Wait for the checkpoint of this step [default: until nothing is pending and something was measured]
    #[arg(long)]
    step: Option<u64>,
    /// Give up after this long
    #[arg(long, value_name = "TIME", value_parser = crate::text::duration)]
    timeout: Option<Duration>,
}

/// How often the journal is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// How many looks must have found what is waited for done.
const LOOKS: u32 = 1;
/// How many must have found that a step is not to come since its run is stopped, while a daemon runs and while one may be starting.
const LOOKS_AT_STOP: [u32; 2] = [4, 30];

/// How a run stands.
enum Standing {
    /// A rule stopped it, and why.
    Stopped(String),
    /// What is waited for is there.
    Done,
    Open,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let end = args.timeout.map(|timeout| Instant::now() + timeout);
    // The daemon may not have seen the run yet.
    let (mut known, mut is_told) = (None, false);
    // Of a file that was written just before, the daemon may hear a moment later: as one of a training that begins again after a stop.
    let mut looks = 0;
    loop {
        if known.is_none() {
            known = sought(&args.run, end.is_some())?;
        }
        let standing = match &known {
            Some(found) => standing(found, args.step)?,
            None => Some(Standing::Open),
        };
        match standing {
            // Another journal may have it by now.
            None => (known, looks) = (None, 0),
            Some(Standing::Open) => looks = 0,
            Some(Standing::Done) if looks >= LOOKS => return Ok(ExitCode::Success),
            Some(Standing::Stopped(words)) if args.step.is_none() || looks >= looks_at_stop(known.as_ref()) => {
                complain("stop", &words);
                return Ok(ExitCode::Stopped);
            }
            Some(_) => {
                looks += 1;
                sleep(INTERVAL);
                continue;
            }
        }
        // What goes wrong here is told when the journal is looked at again.
        if !is_told && let Ok(words) = awaited(args, known.as_ref()) {
            is_told = true;
            complain("note", &words);
        }
        if end.is_some_and(|end| end <= Instant::now()) {
            complain("error", &format!("run {}: nothing came in time", args.run.run.display()));
            return Ok(ExitCode::TimedOut);
        }
        sleep(INTERVAL);
    }
}

fn looks_at_stop(known: Option<&Known>) -> u32 {
    let runs = known.is_some_and(|known| live_socket(known.journal.path()).is_some());
    LOOKS_AT_STOP[usize::from(!runs)]
}

/// The run, once a journal knows it. What was named must be there, and of use, unless there is an end to the waiting.
fn sought(run: &Run, has_end: bool) -> Result<Option<Known>> {
    let may_come = has_end || is_there(run);
    match run.find() {
        Ok(found) => Ok(Some(found)),
        Err(Error::UnknownRun { .. }) if may_come => Ok(None),
        Err(Error::Journal { path, .. }) if !path.exists() => Ok(None),
        // A daemon may be bringing a journal of an earlier version up.
        Err(Error::Locked { .. }) if has_end => Ok(None),
        Err(error) => Err(error),
    }
}

/// How the run stands; `None` where the journal does not know it any more: the journal of another daemon took it over, or someone
/// had it forgotten.
fn standing(known: &Known, step: Option<u64>) -> Result<Option<Standing>> {
    let Known { journal, id, run } = known;
    let found = journal.verdicts(*id).and_then(|(_, stop)| {
        Ok(match stop {
            // What is to come may be of another attempt, which is not stopped.
            Some(_) if step.is_some_and(|step| is_pending(journal, *id, step)) => Standing::Open,
            Some(stop) => Standing::Stopped(format!("run {run}: {}", stop["reason"].as_str().unwrap_or_default())),
            None if is_done(journal, *id, step)? => Standing::Done,
            None => Standing::Open,
        })
    });
    // Asked afterwards: it may go at any moment, and what was read of it then is nothing or an error.
    if known.is_current()? { found.map(Some) } else { Ok(None) }
}

/// What is waited for, and what is known of it.
fn awaited(args: &Args, known: Option<&Known>) -> Result<String> {
    let (run, word) = (args.run.run.display(), word(&args.run.run));
    let Some(Known { journal, id, .. }) = known else {
        return Ok(if is_watched(&args.run) {
            format!("a daemon watches {run} and has seen no checkpoint yet: waiting for a first one")
        } else if is_there(&args.run) {
            format!("no journal knows {run} yet: waiting for relstab watch {word}")
        } else {
            format!("no journal knows {run}, and it is not there yet: waiting for it and for relstab watch {word}")
        });
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
        format!("; no daemon is running: start relstab watch {word}")
    };
    Ok(format!("waiting for {what}, in {run}{nobody}"))
}

/// Whether there is a directory of this name, or may be an address.
fn is_there(run: &Run) -> bool {
    run.run.exists() || is_address(&run.run)
}

/// Whether a daemon watches the run and, where a journal is named, writes that one.
fn is_watched(run: &Run) -> bool {
    let Some(socket) = canonical(&run.run).ok().and_then(|run| watcher_socket(&run)) else { return false };
    run.journal.as_ref().is_none_or(|journal| live_socket(journal).is_some_and(|live| live == socket))
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

fn is_pending(journal: &Journal, id: i64, step: u64) -> bool {
    of_step(journal, id, step).is_ok_and(|entries| entries.iter().any(|entry| entry.state == State::Pending))
}

/// What there is of a step in the training as it goes now: an attempt before the latest counts up to where that began.
fn of_step(journal: &Journal, id: i64, step: u64) -> Result<Vec<Entry>> {
    let (latest, from) = journal.attempt(id)?;
    let is_before = from.is_some_and(|from| step < from as u64);
    let mut entries = journal.history(id, Filter { step: Some(step), ..Filter::default() })?;
    entries.retain(|entry| is_before || entry.attempt == latest as u64);
    Ok(entries)
}
