//! Plans runs one after another in a worker of its own, so that no file of a run is read in the daemon's process, and none is waited for.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::time::Duration;

use tracing::error;

use super::caller::{Caller, Silence};
use super::protocol::{Planned, Reply, Request, RunOf, Unplanned};
use super::starter::Starter;
use crate::config::Flags;
use crate::error::{Error, ExitCode, Result};
use crate::path::RawPath;
use crate::store::address::is_address;

/// A plan may take this long: a few small files are read.
const PLANNING: Duration = Duration::from_secs(10);
/// As long where they lie in stores, which may be slow: each file takes some requests.
const PLANNING_IN_STORES: Duration = Duration::from_mins(2);
/// A worker may grow to this size for it, bytes.
const MEMORY: u64 = 1 << 30;

/// How often a worker may die of a plan.
const ATTEMPTS: u32 = 3;
/// A worker without work ends after this long.
const IDLE: Duration = Duration::from_secs(1);
/// How long the planner waits before it tries again to start a worker.
const RETRY: Duration = Duration::from_secs(2);

/// What became of a plan.
pub type Outcome = std::result::Result<Box<Planned>, Unplanned>;

/// A run that was to be planned, and what became of it.
#[derive(Debug)]
pub struct Answered {
    /// The run's number.
    pub id: i64,
    /// Its directory.
    pub folder: PathBuf,
    /// Its plan.
    pub outcome: Outcome,
}

/// Plans runs, below the watched directories, by the same flags.
pub struct Planner {
    caller: Caller,
    flags: Flags,
    roots: Vec<PathBuf>,
}

impl Planner {
    /// Nothing is started yet. `roots` are the watched directories.
    pub fn new(starter: Box<dyn Starter>, flags: Flags, roots: Vec<PathBuf>) -> Self {
        let is_in_store = roots.iter().any(|root| is_address(root));
        let timeout = if is_in_store { PLANNING_IN_STORES } else { PLANNING };
        Self { caller: Caller::new(starter, timeout, Some(MEMORY)), flags, roots }
    }

    /// Plans the run at `folder`, and waits for it.
    ///
    /// # Errors
    /// Why it cannot be planned.
    pub fn plan(&mut self, folder: &Path) -> Outcome {
        self.try_plan(folder).unwrap_or_else(|error| Err(unplanned(Silence::Unstarted(error).reason())))
    }

    /// Fails if no worker can be started, which is not the run's fault.
    fn try_plan(&mut self, folder: &Path) -> std::io::Result<Outcome> {
        let request = Request::Plan(Box::new(run_of(&self.flags, &self.roots, folder)));
        let mut deaths = 0;
        loop {
            return Ok(match self.caller.call(&request) {
                Ok(Reply::Planned(planned)) => Ok(planned),
                Ok(Reply::Unplanned(unplanned)) => Err(unplanned),
                Ok(_) => Err(unplanned("its worker answered something else".to_owned())),
                Err(Silence::Unstarted(error)) => return Err(error),
                // Whoever killed it may not have meant the run.
                Err(Silence::Died) if deaths + 1 < ATTEMPTS => {
                    deaths += 1;
                    continue;
                }
                Err(silence) => Err(unplanned(format!("relstab.toml, or what it names: {}", silence.reason()))),
            });
        }
    }

    /// Plans on a thread of its own from now on; `tell` turns what comes of it into the daemon's messages.
    ///
    /// # Errors
    /// `Io` if no thread can be started.
    pub fn spawn<M: Send + 'static>(self, sender: SyncSender<M>, tell: fn(Answered) -> M) -> Result<Desk> {
        let fail = |source| Error::Io { path: "planning".into(), action: "set up", source };
        let (asks, asked) = channel();
        std::thread::Builder::new()
            .name("planner".to_owned())
            .spawn(move || self.work(&asked, &sender, tell))
            .map_err(fail)?;
        Ok(Desk { asks })
    }

    fn work<M>(mut self, asked: &Receiver<(i64, PathBuf)>, sender: &SyncSender<M>, tell: fn(Answered) -> M) {
        loop {
            let (id, folder) = match asked.recv_timeout(IDLE) {
                Ok(next) => next,
                Err(RecvTimeoutError::Timeout) => {
                    self.caller.end();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let outcome = loop {
                match self.try_plan(&folder) {
                    Ok(outcome) => break outcome,
                    Err(error) => {
                        error!("no worker can be started: {error}; trying again every {} s", RETRY.as_secs());
                        std::thread::sleep(RETRY);
                    }
                }
            };
            if sender.send(tell(Answered { id, folder, outcome })).is_err() {
                return;
            }
        }
    }
}

/// A run below the watched directories `roots`, as workers are told of it.
pub fn run_of(flags: &Flags, roots: &[PathBuf], folder: &Path) -> RunOf {
    let root = roots.iter().filter(|root| folder.starts_with(root)).max_by_key(|root| root.as_os_str().len());
    let root = root.map_or(folder, PathBuf::as_path);
    RunOf { flags: flags.clone(), run: RawPath(folder.to_owned()), root: RawPath(root.to_owned()) }
}

fn unplanned(reason: String) -> Unplanned {
    Unplanned { reason, code: ExitCode::Io, is_of_store: false, files: Vec::new() }
}

/// Where the daemon leaves runs to be planned.
pub struct Desk {
    asks: Sender<(i64, PathBuf)>,
}

impl Desk {
    /// Has a run planned; its plan comes as a message. Never waits.
    pub fn plan(&self, id: i64, folder: &Path) {
        // The planner goes with the daemon.
        let _ = self.asks.send((id, folder.to_owned()));
    }
}
