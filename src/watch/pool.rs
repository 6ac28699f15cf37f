//! The daemon's side of its workers: started when there is work, ended when idle, killed when they overrun.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::protocol::{LONGEST_REPLY, Reply, Request, Said};
use super::starter::{Started, Starter};
use crate::error::{Error, Result};
use crate::event::REASON;
use crate::journal::Job;
use crate::process::{self, ended};
use crate::text::{cut, visible};

/// What workers may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How many run side by side.
    pub workers: usize,
    /// GPUs that they compute on in turn; where none are named, as the plan says.
    pub devices: Vec<u16>,
    /// A worker without work ends after this long.
    pub idle: Duration,
    /// A measurement may take this long.
    pub timeout: Duration,
    /// Resident size that a worker may reach, bytes.
    pub memory: Option<u64>,
}

/// How long an engine may take to let go of what it holds when its worker ends.
const GRACE: Duration = Duration::from_secs(10);
/// A worker that said who it is takes a checkpoint at once; one that does not hears no more.
const DEAF: Duration = Duration::from_mins(1);
/// How often a busy worker's memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a worker says; its end, when the socket closes.
#[derive(Debug)]
pub struct Heard {
    slot: usize,
    generation: u64,
    said: std::result::Result<Box<Said>, Ended>,
}

/// What a worker's last words were, if it ended with nonsense.
type Ended = Option<String>;

/// What became of a job in a worker's hands.
#[derive(Debug)]
pub enum Answer {
    /// It has the file.
    Taken(Job),
    /// It is done with it.
    Done(Job, Box<Reply>),
    /// It died with it in hand, and how.
    Died(Job, Death),
}

/// How a worker died with a job in hand.
#[derive(Debug)]
pub struct Death {
    /// How far it came.
    pub stage: Stage,
    /// In words.
    pub reason: String,
    /// Somebody asked it to end: a terminal, a service manager.
    pub was_asked: bool,
    /// It took too long or grew too large, and would again.
    pub is_overrun: bool,
}

/// How far a worker is with its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has said nothing yet.
    Started,
    /// It loads what the run is measured on.
    Loading,
    /// It reads and measures the checkpoint.
    Measuring,
    /// It runs the command that exports the checkpoint.
    Exporting,
}

/// All workers.
pub struct Pool<M> {
    starter: Box<dyn Starter>,
    limits: Limits,
    slots: Vec<Slot>,
    generation: u64,
    sender: SyncSender<M>,
    tell: fn(Heard) -> M,
}

#[derive(Default)]
struct Slot {
    worker: Option<Worker>,
    /// Until when the slot rests, so that it computes its share of the time only.
    rests_until: Option<Instant>,
}

struct Worker {
    started: Started,
    generation: u64,
    /// It said who it is, and is of this version.
    is_known: bool,
    /// Its machine, where that is not this one.
    host: Option<String>,
    job: Option<Job>,
    stage: Stage,
    since: Instant,
    killed_for: Option<String>,
    /// It was told to end, takes no more jobs, and is killed then.
    ends_by: Option<Instant>,
}

impl Worker {
    /// Hears nothing from it any more; the first reason counts.
    fn refuse(&mut self, reason: String) {
        self.killed_for.get_or_insert(reason);
        self.started.kill();
    }

    fn is_idle(&self) -> bool {
        self.job.is_none() && self.killed_for.is_none() && self.ends_by.is_none()
    }
}

impl<M: Send + 'static> Pool<M> {
    /// No worker runs yet; `tell` turns what they say into the daemon's messages.
    pub fn new(starter: Box<dyn Starter>, limits: Limits, sender: SyncSender<M>, tell: fn(Heard) -> M) -> Self {
        let slots = (0..limits.workers.max(1)).map(|_| Slot::default()).collect();
        Self { starter, limits, slots, generation: 0, sender, tell }
    }

    /// A slot that can take a job now.
    pub fn free(&self) -> Option<usize> {
        let now = Instant::now();
        let is_free = |slot: &Slot| {
            slot.rests_until.is_none_or(|until| until <= now) && slot.worker.as_ref().is_none_or(Worker::is_idle)
        };
        // One that has its images loaded comes first.
        let warm = self.slots.iter().position(|slot| slot.worker.is_some() && is_free(slot));
        warm.or_else(|| self.slots.iter().position(is_free))
    }

    /// The GPU of the worker in a slot, where GPUs are named.
    pub fn device(&self, slot: usize) -> Option<u16> {
        self.limits.devices.get(slot.checked_rem(self.limits.devices.len())?).copied()
    }

    /// What is being measured, and since when.
    pub fn busy(&self) -> impl Iterator<Item = (&Job, Instant)> {
        let workers = self.slots.iter().filter_map(|slot| slot.worker.as_ref());
        workers.filter_map(|worker| Some((worker.job.as_ref()?, worker.since)))
    }

    /// Hands a job to the worker in `slot`, starting one if there is none.
    ///
    /// # Errors
    /// `Io` if no process can be started.
    pub fn assign(&mut self, slot: usize, job: Job, request: &Request) -> Result<()> {
        let fail = |source| Error::Io { path: "a worker".into(), action: "start", source };
        let mut text = serde_json::to_vec(request).map_err(|error| fail(error.into()))?;
        text.push(b'\n');
        if self.slots[slot].worker.is_none() {
            self.slots[slot].worker = Some(self.start(slot).map_err(fail)?);
        }
        if let Some(worker) = &mut self.slots[slot].worker {
            (worker.job, worker.stage) = (Some(job), Stage::Started);
            worker.since = Instant::now();
            // One that is dying closes the socket, which is heard. One that stands still takes what its socket holds, and no more.
            if send(&worker.started.socket, &text).is_ok_and(|sent| sent < text.len()) {
                worker.started.kill();
            }
        }
        Ok(())
    }

    fn start(&mut self, slot: usize) -> std::io::Result<Worker> {
        let mut started = self.starter.start()?;
        self.generation += 1;
        let (generation, sender, tell) = (self.generation, self.sender.clone(), self.tell);
        let listen = |listening| {
            std::thread::Builder::new().name(format!("worker {slot}")).spawn(move || {
                let mut lines = BufReader::new(listening);
                loop {
                    let said = next(&mut lines);
                    let is_last = said.is_err();
                    if sender.send(tell(Heard { slot, generation, said })).is_err() || is_last {
                        return;
                    }
                }
            })
        };
        if let Err(error) = started.socket.try_clone().and_then(listen) {
            started.kill();
            let _ = started.child.wait();
            return Err(error);
        }
        Ok(Worker {
            started,
            generation,
            is_known: false,
            host: None,
            job: None,
            since: Instant::now(),
            stage: Stage::Started,
            killed_for: None,
            ends_by: None,
        })
    }

    /// What a worker's words mean for its job; `None` if they come from one that is gone, or had none.
    pub fn hear(&mut self, heard: Heard) -> Option<Answer> {
        let slot = &mut self.slots[heard.slot];
        let worker = slot.worker.as_mut().filter(|worker| worker.generation == heard.generation)?;
        let now = Instant::now();
        match heard.said.map(|said| *said) {
            Ok(Said { reply: Reply::Hello(hello), .. }) => {
                let hello = hello.bounded();
                worker.host = hello.elsewhere();
                if let Some(host) = &worker.host {
                    info!("a worker on {}: {}", visible(host), visible(&hello.told()));
                } else {
                    // One may be started for each checkpoint.
                    debug!("a worker: {}", visible(&hello.told()));
                }
                match hello.refusal() {
                    None if worker.is_known => {}
                    None => (worker.is_known, worker.since) = (true, now),
                    Some(reason) => worker.refuse(reason),
                }
                None
            }
            // What one of another version measured is another quantity.
            Ok(_) if !worker.is_known => {
                worker.refuse("it did not say who it is before anything else".to_owned());
                None
            }
            Ok(Said { reply: Reply::Taken | Reply::Loaded | Reply::Exporting, .. }) if worker.killed_for.is_some() => {
                None
            }
            Ok(Said { reply: Reply::Taken, .. }) => {
                worker.stage = Stage::Loading;
                worker.job.clone().map(Answer::Taken)
            }
            Ok(Said { reply: Reply::Loaded, .. }) => {
                worker.stage = Stage::Measuring;
                None
            }
            Ok(Said { reply: Reply::Exporting, .. }) => {
                worker.stage = Stage::Exporting;
                None
            }
            Ok(Said { reply, rest }) => {
                let mut job = worker.job.take()?;
                job.host.clone_from(&worker.host);
                worker.since = now;
                // One without end would be none of a worker's.
                slot.rests_until = now.checked_add(rest);
                Some(Answer::Done(job, Box::new(reply)))
            }
            Err(nonsense) => {
                let mut worker = slot.worker.take()?;
                // It may have closed the socket only.
                worker.started.kill();
                let status = worker.started.child.wait();
                let mut job = worker.job?;
                job.host = worker.host;
                let was_asked = status.as_ref().is_ok_and(|status| status.signal().is_some_and(asks_to_end));
                let is_overrun = worker.killed_for.is_some();
                let how =
                    || status.map_or_else(|error| error.to_string(), |status| format!("its worker {}", ended(status)));
                let reason = worker.killed_for.or(nonsense).unwrap_or_else(how);
                Some(Answer::Died(job, Death { stage: worker.stage, reason, was_asked, is_overrun }))
            }
        }
    }

    /// Kills workers that overrun, ends those that idle; gives when to look again.
    pub fn supervise(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        let mut look_at = |when: Instant| next = Some(next.map_or(when, |next| next.min(when)));
        for slot in &mut self.slots {
            if let Some(until) = slot.rests_until.filter(|until| *until > now) {
                look_at(until);
            }
            let Some(worker) = slot.worker.as_mut().filter(|worker| worker.killed_for.is_none()) else { continue };
            if worker.job.is_none() {
                let end = worker.since + self.limits.idle;
                match worker.ends_by {
                    None if end > now => look_at(end),
                    None => {
                        // It ends by itself once nobody is at the other end.
                        let _ = worker.started.socket.shutdown(std::net::Shutdown::Write);
                        worker.ends_by = Some(now + GRACE);
                        look_at(now + GRACE);
                    }
                    Some(by) if by > now => look_at(by),
                    Some(_) => {
                        worker.killed_for = Some("it did not end".to_owned());
                        worker.started.kill();
                    }
                }
                continue;
            }
            let (most, flag) = match worker.stage {
                Stage::Started if worker.is_known => (self.limits.timeout.min(DEAF), ""),
                _ => (self.limits.timeout, " (--timeout)"),
            };
            let end = worker.since + most;
            let (what, resident): (_, fn(u32) -> Option<u64>) = match worker.stage {
                Stage::Exporting => ("its export", process::resident_with_children),
                _ => ("it", process::resident),
            };
            let memory = self.limits.memory.and_then(|limit| {
                let used = resident(worker.started.child.id()).unwrap_or(0);
                (used > limit)
                    .then(|| format!("{what} needed more than {} (--memory-limit)", bytesize::ByteSize(limit)))
            });
            let overrun = (end <= now).then(|| format!("{what} took longer than {most:?}{flag}"));
            if let Some(reason) = memory.or(overrun) {
                worker.killed_for = Some(reason);
                worker.started.kill();
                continue;
            }
            look_at(end);
            if self.limits.memory.is_some() {
                look_at(now + LOOK);
            }
        }
        next
    }
}

impl<M> Drop for Pool<M> {
    fn drop(&mut self) {
        for worker in self.slots.iter_mut().filter_map(|slot| slot.worker.as_mut()) {
            worker.started.kill();
            let _ = worker.started.child.wait();
        }
    }
}

/// Writes what the socket takes now; gives how much.
fn send(socket: &UnixStream, text: &[u8]) -> std::io::Result<usize> {
    use rustix::net::SendFlags;
    let mut sent = 0;
    while sent < text.len() {
        match rustix::net::send(socket, &text[sent..], SendFlags::DONTWAIT) {
            Ok(count) => sent += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}

/// The worker's next line; at its end, or if it is too long or cannot be understood, what it said instead.
fn next(lines: &mut BufReader<UnixStream>) -> std::result::Result<Box<Said>, Ended> {
    let mut line = Vec::new();
    lines.by_ref().take(LONGEST_REPLY as u64).read_until(b'\n', &mut line).map_err(|_| None)?;
    serde_json::from_slice(&line).map_err(|_| {
        let mut said = String::from_utf8_lossy(&line).trim().to_owned();
        cut(&mut said, REASON / 2);
        (!said.is_empty()).then(|| format!("it said what is no reply: {}", visible(&said)))
    })
}

/// Signals by which terminals and service managers end what they started.
fn asks_to_end(signal: i32) -> bool {
    use rustix::process::Signal;
    [Signal::HUP, Signal::INT, Signal::TERM].iter().any(|asks| asks.as_raw() == signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_does_not_take_is_not_waited_for() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let sent = send(&ours, &vec![b'x'; 16 << 20]).expect("it is there");
        assert!((1..16 << 20).contains(&sent), "{sent}");
    }
}
