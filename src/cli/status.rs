//! `relstab status`: the daemons that run, and how their runs stand.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::asking::{ask, outlasting};
use super::terminal::{Format, complain, tell};
use crate::error::{ExitCode, Result};
use crate::path;
use crate::state::{holder_note, journals, known_as, watcher_socket};
use crate::text::visible;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run's directory [default: every run of every daemon]
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    /// The journal [default: all under $XDG_STATE_HOME/relstab]
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Exit code 12 where no daemon runs, or none that watches the run.
pub fn run(args: &Args) -> Result<ExitCode> {
    let named = args.journal.clone().map_or_else(journals, |path| Ok(vec![path]))?;
    let run = args.run.as_deref().map(known_as).transpose()?;
    let run = run.as_deref().map(path::text);
    let mut daemons = Vec::new();
    let mut is_silent = false;
    for journal in named {
        // One that ends meanwhile is none.
        match outlasting(|| holder_note(&journal).map_or(Ok(None), |note| status(&journal, &note, run.as_deref()))) {
            Ok(daemon) => daemons.extend(daemon),
            Err(error) => {
                is_silent = true;
                complain("error", &error.one_line());
            }
        }
    }
    tell(&daemons, || daemons.iter().map(text).collect(), args.format)?;
    if daemons.is_empty() && !is_silent {
        let of = run.map_or(String::new(), |run| format!(" that watches {run}"));
        complain("note", &format!("no daemon runs{of}: start one with relstab watch DIR"));
    }
    Ok(if daemons.is_empty() { ExitCode::Journal } else { ExitCode::Success })
}

/// What one daemon says; `None` where it does not watch the run that is asked for.
fn status(journal: &Path, note: &Value, run: Option<&str>) -> Result<Option<Value>> {
    let socket = path::of_text(note["socket"].as_str().unwrap_or_default());
    let mut daemon = ask(&socket, &json!({"type": "status"}))?;
    if let (Some(run), Some(runs)) = (run, daemon["runs"].as_array_mut()) {
        runs.retain(|found| found["run"] == run);
        if runs.is_empty() {
            // A run is the daemon's with its first checkpoint.
            if watcher_socket(&path::of_text(run)).is_none_or(|watcher| watcher != socket) {
                return Ok(None);
            }
            runs.push(without_checkpoints(run));
        }
    }
    daemon["pid"] = note["pid"].clone();
    daemon["http"] = note["http"].clone();
    daemon["journal"] = path::text(journal).into();
    Ok(Some(daemon))
}

/// How a run stands of which the daemon has seen no checkpoint.
fn without_checkpoints(run: &str) -> Value {
    json!({"run": run, "pending": 0, "measured": 0, "skipped": 0, "failed": 0, "measuring": [], "waiting": [], "rules": [],
           "stopped": false, "attempt": 1})
}

fn text(daemon: &Value) -> String {
    let text = |value: &Value| visible(value.as_str().unwrap_or_default());
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let mut lines = vec![format!("daemon {}, up {}", count(&daemon["pid"]), time(&daemon["uptime_s"]))];
    if daemon["http"].is_string() {
        lines.push(format!("  page     http://{}", text(&daemon["http"])));
    }
    lines.push(format!("  journal  {}", text(&daemon["journal"])));
    if daemon["journal_writable"] == false {
        lines.push("  the journal cannot be written, or its file was removed: the daemon's log says which".to_owned());
    }
    for run in daemon["runs"].as_array().into_iter().flatten() {
        let [measured, pending, failed, skipped] =
            ["measured", "pending", "failed", "skipped"].map(|key| count(&run[key]));
        let stopped = if run["stopped"] == true { ", should stop" } else { "" };
        let counts = if measured + pending + failed + skipped == 0 {
            "watched, no checkpoint of its own was seen yet".to_owned()
        } else {
            format!("{measured} measured, {pending} waiting, {failed} failed, {skipped} skipped{stopped}")
        };
        lines.push(format!("  {}: {counts}", text(&run["run"])));
        if run["unusable"].is_string() {
            lines.push(format!("    cannot be measured: {}", text(&run["unusable"])));
        }
        let measuring = run["measuring"].as_array().into_iter().flatten();
        let measuring: Vec<_> = measuring.map(|job| (text(&job["path"]), time(&job["seconds"]))).collect();
        lines.extend(measuring.iter().map(|(path, time)| format!("    measuring {path} for {time}")));
        let waiting =
            run["waiting"].as_array().into_iter().flatten().map(|one| (text(&one["path"]), text(&one["reason"])));
        let waiting = waiting.filter(|(path, _)| measuring.iter().all(|(taken, _)| taken != path));
        lines.extend(waiting.map(|(path, reason)| format!("    {path}: {reason}")));
    }
    lines.join("\n") + "\n"
}

fn time(seconds: &Value) -> String {
    let seconds = seconds.as_f64().unwrap_or(0.0);
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        120.0..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.0} h", seconds / 3600.0),
    }
}
