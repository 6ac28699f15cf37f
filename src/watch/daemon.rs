//! The daemon itself: one thread that hears news, queues, hands out, journals, judges and tells.
//!
//! Its parts, from the bottom: the `channels` it hears and tells by; what it knows of a `run`, of `alarms` and of its `end`; its `state`,
//! which they share; and what it does by that: `runs`, `queue`, `outcomes`, `alerts`, `ending`, `answers`.

mod channels;
mod run;
mod alarms;
mod end;
mod state;
mod runs;
mod queue;
mod outcomes;
mod alerts;
mod ending;
mod answers;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

pub use alarms::Receivers;
pub use channels::{Ask, Channels, Message};
pub use end::{End, Ending};
pub use state::Options;

use alarms::Alarms;
use channels::QUEUE;
use end::Nearing;
use state::{Daemon, GRACE, PATIENCE};

use super::messenger::Messenger;
use super::planner::Desk;
use super::pool::{Answer, Pool};
use super::source::{News, Source};
use super::starter::Starter;
use crate::error::Result;
use crate::journal::Journal;
use crate::path;

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
/// `Io` if it cannot begin; what happens later costs a checkpoint or waits.
pub fn run(
    mut journal: Journal,
    options: Options,
    seams: Seams,
    channels: &Channels,
    messages: Receiver<Message>,
) -> Result<End> {
    journal.set_patience(PATIENCE)?;
    let begun = journal.restart(&[]);
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
        behind: BTreeSet::new(),
        refused: HashSet::new(),
        alarms: Alarms::new(messenger),
        nearing: Nearing::new(),
    };
    if let Err(error) = begun {
        // Somebody may hold the journal, or its disk be full, just now.
        daemon.missed_news = true;
        daemon.stalled(&error);
    }
    daemon.tell_stops();
    daemon.run(&messages);
    // Whoever still waits to be heard, or for an answer, waits no more.
    drop(messages);
    Ok(daemon.nearing.end)
}

impl Daemon {
    fn run(&mut self, messages: &Receiver<Message>) {
        loop {
            let next = self.work();
            // Who ends it does not wait for those who do not hear; when it ends by itself they have this long.
            let is_heard = self.nearing.end == End::Told || self.alarms.again.is_empty();
            let is_done = self.pool.busy().next().is_none() && self.alarms.are_quiet() && is_heard;
            if self.ends_by.is_some_and(|by| is_done || by <= Instant::now()) {
                if !self.alarms.again.is_empty() {
                    warn!(
                        "alerts are left that somebody could not be told of: the next daemon that watches these runs tells them"
                    );
                }
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
            Message::News(News::Run(folder)) => drop(self.enter(&folder)),
            Message::News(News::Caught) => {
                self.nearing.has_caught = true;
                for id in self.runs.keys().copied().collect::<Vec<_>>() {
                    self.look_at_alerts(id);
                }
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
        next = next.into_iter().chain(self.work_on_alerts()).chain(self.predict_more()).min();
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
        // A worker that stands still says nothing of what it was just handed.
        self.pool.supervise().into_iter().for_each(&mut earlier);
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
