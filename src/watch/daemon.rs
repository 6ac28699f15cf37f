//! The daemon itself: one thread that hears news, queues, hands out, journals, judges and tells.

mod alerts;
mod answers;
mod ending;
mod outcomes;
mod queue;
mod runs;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{broadcast, oneshot};
use tracing::{debug, error, info, warn};

pub use alerts::Receivers;
pub use ending::{End, Ending};

use alerts::Alarms;
use ending::Nearing;
use runs::Run;

use super::messenger::{Delivered, Messenger};
use super::planner::{Answered, Desk};
use super::pool::{Answer, Heard, Limits, Pool};
use super::source::{News, Source};
use super::starter::Starter;
use crate::error::{Error, Result};
use crate::event::CheckpointName;
use crate::journal::{Job, Journal, Line, Outcome, Policy};
use crate::path;

/// How the daemon goes about its work.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a file must have been left alone.
    pub settle: Duration,
    /// How long a file may stay unfinished.
    pub give_up: Duration,
    /// Which checkpoints are measured.
    pub policy: Policy,
    /// How often a worker may die of a checkpoint.
    pub attempts: u32,
    /// A shell command for a run that should stop.
    pub on_stop: Option<String>,
    /// What that command's files are made with.
    pub umask: rustix::fs::Mode,
    /// What workers may take.
    pub limits: Limits,
    /// Who hears of alerts that name nobody themselves.
    pub receivers: Receivers,
    /// When it ends by itself.
    pub ending: Ending,
    /// The folder for what checkpoints are exported to meanwhile: this daemon's alone.
    pub exports: PathBuf,
}

/// What clients ask of the daemon; everything else they read from the journal.
#[derive(Debug)]
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
    /// Keeps the error of a checkpoint that is named by its path or by its step.
    ///
    /// # Errors
    /// `Setting` for both names or neither, and for an error that is no fraction.
    pub fn annotate(run: String, path: Option<String>, step: Option<u64>, val_error: f64) -> Result<Self> {
        let checkpoint = match (path, step) {
            (Some(path), None) => CheckpointName::Path(path),
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
    /// Channels, and the end at which [`run`] listens.
    #[must_use]
    pub fn new() -> (Self, Receiver<Message>) {
        let (messages, received) = sync_channel(QUEUE);
        (Self { messages, live: broadcast::channel(QUEUE).0 }, received)
    }
}

/// Messages and events that wait in memory.
const QUEUE: usize = 1024;
/// How long the daemon waits for work in hand when it is told to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long it waits before it tries again to write a journal that could not be written.
const RETRY: Duration = Duration::from_secs(2);
/// A journal that could be written for so long can be written again: before, little may fit where more does not.
const QUIET: Duration = Duration::from_secs(10);

/// What the daemon works with, and does not care how it is done.
pub struct Seams {
    /// Where checkpoints come from.
    pub source: Box<dyn Source>,
    /// What starts workers.
    pub starter: Box<dyn Starter>,
    /// What plans runs.
    pub planner: Desk,
}

/// Runs the daemon until it is told to end, or ends by itself; gives which.
///
/// # Errors
/// `Journal` or `Io` if it cannot begin; what happens later costs a checkpoint or waits.
pub fn run(
    mut journal: Journal,
    options: Options,
    seams: Seams,
    channels: &Channels,
    messages: Receiver<Message>,
) -> Result<End> {
    journal.restart(&[])?;
    // Of an earlier life.
    let _ = std::fs::remove_dir_all(&options.exports);
    let Seams { source, starter, planner } = seams;
    let messenger = Messenger::spawn(options.umask, &channels.messages, Message::Delivered)?;
    let mut daemon = Daemon {
        pool: Pool::new(starter, options.limits.clone(), channels.messages.clone(), Message::Heard),
        journal,
        options,
        planner,
        source,
        live: channels.live.clone(),
        runs: HashMap::new(),
        last_run: 0,
        began: Instant::now(),
        unwritten: VecDeque::new(),
        stall: None,
        unwritable: None,
        no_worker_until: None,
        missed_news: false,
        rescan_when_planned: false,
        unstarted: 0,
        ends_by: None,
        is_journal_gone: false,
        alarms: Alarms::new(messenger),
        nearing: Nearing::new(),
    };
    daemon.tell_stops();
    daemon.run(&messages);
    // Whoever still waits to be heard, or for an answer, waits no more.
    drop(messages);
    Ok(daemon.nearing.end)
}

struct Daemon {
    journal: Journal,
    options: Options,
    planner: Desk,
    source: Box<dyn Source>,
    pool: Pool<Message>,
    live: broadcast::Sender<Line>,
    runs: HashMap<i64, Run>,
    last_run: i64,
    began: Instant,
    /// Outcomes that the journal could not take yet.
    unwritten: VecDeque<(Job, Outcome)>,
    /// When to try the journal again.
    stall: Option<Instant>,
    /// When it last could not be written, once that was said.
    unwritable: Option<Instant>,
    /// When to try again to start a worker, where that failed.
    no_worker_until: Option<Instant>,
    /// Files were found that the journal could not take: look again.
    missed_news: bool,
    /// What was found has to be found again once all runs are planned.
    rescan_when_planned: bool,
    /// Workers that ended in a row before they said a word.
    unstarted: u32,
    ends_by: Option<Instant>,
    /// The journal's file was removed, or another put in its place.
    is_journal_gone: bool,
    alarms: Alarms,
    nearing: Nearing,
}

impl Daemon {
    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            let next = self.work();
            let is_done = self.pool.busy().next().is_none() && self.alarms.are_quiet();
            if self.ends_by.is_some_and(|by| is_done || by <= Instant::now()) {
                return;
            }
            let first = match next.or(self.ends_by) {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => messages.recv_timeout(next.saturating_duration_since(Instant::now())),
            };
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // Files that are found together are queued in one transaction.
            let mut found = Vec::new();
            for message in std::iter::once(first).chain(messages.try_iter().take(QUEUE)) {
                match message {
                    Message::News(News::Found(one, rest)) => found.push((one, rest)),
                    other => {
                        self.queue(std::mem::take(&mut found));
                        self.handle(other);
                    }
                }
            }
            self.queue(found);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::News(News::Notice(text)) => warn!("{text}"),
            Message::News(News::Found(found, rest)) => self.queue(vec![(found, rest)]),
            Message::News(News::Caught) => {
                self.nearing.has_caught = true;
                let blocked: Vec<_> = self.runs.iter().filter(|(_, run)| run.is_waiting()).map(|(id, _)| *id).collect();
                if let Err(error) = self.journal.release(&blocked) {
                    self.missed_news = true;
                    self.stalled(&error);
                }
            }
            Message::Heard(heard) => match self.pool.hear(heard) {
                Some(Answer::Taken(job)) => {
                    self.unstarted = 0;
                    debug!(path = %path::text(&job.path), "a worker has it");
                }
                Some(Answer::Done(job, reply)) => self.done(job, *reply),
                Some(Answer::Died(job, death)) => self.died(job, &death),
                None => {}
            },
            Message::Planned(answered) => self.planned(answered),
            Message::Delivered(delivered) => self.delivered(delivered),
            Message::Ask(ask, answer) => {
                let reply = self.answer(ask);
                // The client may have gone.
                let _ = answer.send(reply);
            }
            Message::Reload => self.reload(),
            Message::End => self.ends_by = Some(Instant::now() + GRACE),
        }
    }

    /// Milliseconds of the daemon's own clock, which no one sets.
    fn now(&self) -> i64 {
        self.began.elapsed().as_millis() as i64
    }

    fn send(&self, lines: Vec<Line>) {
        for line in lines {
            // Nobody may be listening.
            let _ = self.live.send(line);
        }
    }

    /// Sends the events of a journalled step, or notes that the journal cannot be written.
    fn journalled(&mut self, result: Result<Vec<Line>>) -> bool {
        match result {
            Ok(lines) => {
                self.send(lines);
                true
            }
            Err(error) => {
                self.stalled(&error);
                false
            }
        }
    }

    /// Says once that the journal's file is not at its place any more.
    fn look_for_journal(&mut self) {
        let is_gone = !self.journal.is_in_place();
        if is_gone && !self.is_journal_gone {
            let path = self.journal.path().display();
            error!("journal {path}: removed or replaced; what is measured now goes with this daemon: start it again");
        }
        self.is_journal_gone = is_gone;
    }

    fn stalled(&mut self, error: &Error) {
        if self.unwritable.is_none() {
            error!("{}; trying again every {} s", error.one_line(), RETRY.as_secs());
        }
        self.unwritable = Some(Instant::now());
        self.stall = Some(Instant::now() + RETRY);
    }

    /// Hands out what is due to workers that are free; gives when to look again.
    fn work(&mut self) -> Option<Instant> {
        if self.stall.is_some_and(|until| until <= Instant::now()) {
            self.recover();
        }
        if self.stall.is_none() && self.unwritable.is_some_and(|at| at.elapsed() >= QUIET) {
            self.unwritable = None;
            info!("the journal can be written again");
        }
        self.unblock();
        let mut next = self.pool.supervise();
        next = next.into_iter().chain(self.work_on_alerts()).min();
        match self.look_for_end() {
            Ok(look) => next = next.into_iter().chain(look).min(),
            Err(error) => self.stalled(&error),
        }
        let mut earlier = |when: Instant| next = Some(next.map_or(when, |next| next.min(when)));
        self.unwritable.map(|at| at + QUIET).filter(|_| self.stall.is_none()).into_iter().for_each(&mut earlier);
        self.no_worker_until = self.no_worker_until.filter(|until| *until > Instant::now());
        if let Some(until) = self.stall.or(self.ends_by).or(self.no_worker_until) {
            earlier(until);
            return next;
        }
        while let Some(slot) = self.pool.free() {
            if !self.hand_out(slot) {
                break;
            }
        }
        if let Some(until) = self.stall.or(self.no_worker_until) {
            earlier(until);
        } else if self.pool.free().is_some()
            && let Ok(Some(due)) = self.journal.next_due(&self.held())
        {
            earlier(self.began + Duration::from_millis(due.max(0) as u64));
        }
        self.next_look().into_iter().for_each(earlier);
        next
    }
}
