//! The worker process: keeps library and probe images loaded and measures what it is handed, one file at a time.
//!
//! It speaks JSON lines over its standard input, a socket to the daemon. What a network does to the process, it does to
//! this one only. Between batches it rests, so that it computes its share of the time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pace::Pace;
use super::scan::{stamp, version};
use crate::backend::Model;
use crate::error::{Error, Reach, Result};
use crate::event::Measurement;
use crate::path::RawPath;
use crate::plan::{Plan, Resolved, Setup};

/// What the daemon asks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// The file.
    pub path: RawPath,
    /// What to measure it on.
    pub plan: Plan,
    /// Contents that need no measuring, each with its settings.
    pub known: Vec<(String, String)>,
    /// What the run's precision came to, if it did already.
    pub resolved: Option<Resolved>,
}

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Said {
    /// The answer.
    pub reply: Reply,
    /// How long it is to be left alone, so that it computes its share of the time.
    pub rest: Duration,
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// The request arrived; the file is read next.
    Taken,
    /// Measured, and the file is still the one that was read.
    Measured {
        /// Key of settings and probe images.
        settings: String,
        /// With its replicates.
        measurement: Box<Measurement>,
        /// What the run's precision came to.
        resolved: Option<Resolved>,
    },
    /// The content is among the known ones.
    Known {
        /// Hash of the content.
        content: String,
        /// Key of settings and probe images.
        settings: String,
    },
    /// Not whole.
    Unfinished {
        /// What it lacks.
        reason: String,
    },
    /// The file changed while it was read or measured.
    Changed,
    /// The file cannot be measured.
    Failed {
        /// Hash of the content and key of the settings, if it came so far.
        content: Option<(String, String)>,
        /// One line.
        reason: String,
        /// False if the outputs are NaN or infinite.
        is_finite: bool,
    },
    /// Nothing of this run can be measured: its probe set, a setting, or the engine.
    Unusable {
        /// One line.
        reason: String,
    },
}

/// Answers requests on standard input until it is closed, computing for `duty` of the time.
///
/// # Errors
/// `Io` if the daemon cannot be heard or answered.
pub fn run(duty: f64) -> Result<()> {
    let fail = |source| Error::Io { path: "the daemon".into(), action: "talk to", source };
    #[cfg(target_os = "linux")]
    // A daemon that is killed cannot close a worker that is busy.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(fail)?);
    let mut answer = socket.try_clone().map_err(fail)?;
    let mut loaded: Option<(String, Setup)> = None;
    for line in BufReader::new(socket).lines() {
        let request: Request = serde_json::from_str(&line.map_err(fail)?).map_err(|e| fail(e.into()))?;
        let mut say = |reply, rest| {
            let mut text = serde_json::to_vec(&Said { reply, rest }).map_err(std::io::Error::from)?;
            text.push(b'\n');
            answer.write_all(&text)
        };
        let pace = Pace::new(duty);
        say(Reply::Taken, Duration::ZERO).map_err(fail)?;
        let reply = handle(request, &mut loaded, &pace);
        say(reply, pace.left()).map_err(fail)?;
    }
    Ok(())
}

/// Loads the plan's probe images unless they are loaded, then measures.
fn handle(request: Request, loaded: &mut Option<(String, Setup)>, pace: &Pace) -> Reply {
    let Request { path, plan, known, resolved } = request;
    let probe = std::fs::metadata(&plan.probe.0).map_err(Error::io(&plan.probe.0, "open"));
    let probe = match probe {
        Ok(file) => stamp(&file),
        Err(error) => return Reply::Unusable { reason: error.one_line() },
    };
    let identity = serde_json::to_string(&plan).unwrap_or_default() + &probe;
    let setup = match loaded {
        Some((held, setup)) if *held == identity => setup,
        _ => {
            *loaded = None;
            match plan.load() {
                Ok(setup) => &mut loaded.insert((identity, setup)).1,
                Err(error) => return Reply::Unusable { reason: error.one_line() },
            }
        }
    };
    measure(setup, &path.0, &known, resolved, pace)
}

fn measure(
    setup: &Setup,
    path: &Path,
    known: &[(String, String)],
    mut resolved: Option<Resolved>,
    pace: &Pace,
) -> Reply {
    let Some(before) = version(path) else { return Reply::Changed };
    let model = match setup.read(path) {
        Ok(model) => model,
        Err(_) if version(path).as_ref() != Some(&before) => return Reply::Changed,
        Err(error) => return refusal(&error, None),
    };
    let content = (model.sha256().to_owned(), setup.key().to_owned());
    if known.contains(&content) {
        return Reply::Known { content: content.0, settings: content.1 };
    }
    let weights = Weights::of(&model);
    let outcome = setup.measure(model, &mut resolved, &|_, _| pace.rest());
    if version(path).as_ref() != Some(&before) || !weights.are_the_same() {
        return Reply::Changed;
    }
    match outcome {
        Ok(measurement) => Reply::Measured { settings: content.1, measurement: Box::new(measurement), resolved },
        Err(error) => refusal(&error, Some(content)),
    }
}

/// Versions of the files that hold a network's external data.
struct Weights(Vec<(std::path::PathBuf, Option<String>)>);

impl Weights {
    fn of(model: &Model) -> Self {
        Self(model.external_data().iter().map(|file| (file.clone(), stamp_of(file))).collect())
    }

    fn are_the_same(&self) -> bool {
        self.0.iter().all(|(file, stamp)| stamp_of(file) == *stamp)
    }
}

fn stamp_of(path: &Path) -> Option<String> {
    std::fs::metadata(path).ok().map(|file| stamp(&file))
}

fn refusal(error: &Error, content: Option<(String, String)>) -> Reply {
    let reason = error.one_line();
    match error {
        Error::Unfinished { .. } => Reply::Unfinished { reason },
        error if error.reach() == Reach::Process => Reply::Unusable { reason },
        error => Reply::Failed { content, reason, is_finite: !matches!(error, Error::NonFinite { .. }) },
    }
}
