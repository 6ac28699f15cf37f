//! The daemon's channels: what can happen to it, and what clients may ask of it.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{broadcast, oneshot};

use crate::error::{Error, Result};
use crate::event::CheckpointName;
use crate::journal::Line;
use crate::path;
use crate::watch::messenger::Delivered;
use crate::watch::planner::Answered;
use crate::watch::pool::Heard;
use crate::watch::source::News;

/// Messages and events that wait in memory.
pub(super) const QUEUE: usize = 1024;
/// How often room among them is looked for.
const LOOK: Duration = Duration::from_millis(1);

/// What clients ask of the daemon; everything else they read from the journal.
#[derive(Debug, Clone)]
pub enum Ask {
    /// How things stand.
    Status,
    /// Keep a checkpoint's error.
    Annotate {
        /// The run.
        run: String,
        /// The checkpoint.
        checkpoint: CheckpointName,
        /// The error, a fraction.
        val_error: f64,
    },
    /// A training begins.
    Declare {
        /// The run.
        run: String,
        /// The step that it begins at.
        step: u64,
        /// When, nanoseconds since 1970.
        began: i64,
    },
    /// Overrule the stop of a run.
    Resume(String),
    /// Forget a run.
    Forget(String),
    /// Measure a run's failed checkpoints again.
    Retry(String),
}

impl Ask {
    /// Keeps the error of a checkpoint that is named by its step or by its path, which may start at the run's directory.
    ///
    /// # Errors
    /// `Setting` for both names or neither, and for an error that is no fraction.
    pub fn annotate(run: String, path: Option<String>, step: Option<u64>, val_error: f64) -> Result<Self> {
        let checkpoint = match (path, step) {
            (Some(path), None) => {
                let within = Path::new(path.strip_prefix("./").unwrap_or(&path));
                CheckpointName::Path(path::text(&Path::new(&run).join(within)))
            }
            (None, Some(step)) => CheckpointName::Step(step),
            _ => return Err(Error::setting("annotate", "either path or step", "both or neither")),
        };
        if !(0.0..=1.0).contains(&val_error) {
            return Err(Error::setting("annotate: val_error", "a fraction in [0, 1]", val_error));
        }
        Ok(Self::Annotate { run, checkpoint, val_error })
    }
}

/// Everything that can happen to the daemon.
#[derive(Debug)]
pub enum Message {
    /// From the directories.
    News(News),
    /// From a worker.
    Heard(Heard),
    /// From the planner.
    Planned(Answered),
    /// From the messenger.
    Delivered(Delivered),
    /// From a client.
    Ask(Ask, oneshot::Sender<Result<Value>>),
    /// Read the configuration again.
    Reload,
    /// Finish what is in hand, within bounds, and end.
    End,
}

/// A daemon's channels: where it takes messages, and where it sends events once they are journalled.
#[derive(Debug, Clone)]
pub struct Channels {
    /// Messages to the daemon.
    pub messages: SyncSender<Message>,
    /// Journalled events; one who lags behind reads the journal.
    pub live: broadcast::Sender<Line>,
}

impl Channels {
    /// Channels, and the end at which the daemon listens.
    pub fn new() -> (Self, Receiver<Message>) {
        let (messages, received) = sync_channel(QUEUE);
        (Self { messages, live: broadcast::channel(QUEUE).0 }, received)
    }

    /// Sends a message once there is room, and holds no thread meanwhile; false if the daemon hears no more.
    pub async fn send(&self, mut message: Message) -> bool {
        loop {
            message = match self.messages.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Full(unsent)) => unsent,
                Err(TrySendError::Disconnected(_)) => return false,
            };
            tokio::time::sleep(LOOK).await;
        }
    }
}
