//! Events for one listener: first those it missed, from the journal, then live ones, with no gap and no repeat.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::Hub;
use crate::error::Result;
use crate::journal::Line;

/// Events read from the journal at once: a thousand listeners that replay hold this many each.
const CHUNK: usize = 32;

/// A listener's place in the stream of events.
#[derive(Debug)]
pub struct Feed {
    hub: Arc<Hub>,
    live: Receiver<Line>,
    runs: Vec<String>,
    /// Everything up to here was handed out, or did not concern the listener.
    seq: i64,
    is_replaying: bool,
}

impl Feed {
    /// Events after `since`, or from now on; of `runs` only, if any are named.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub async fn new(hub: Arc<Hub>, runs: Vec<String>, since: Option<i64>) -> Result<Self> {
        // Before the journal is read, so that what is written meanwhile is heard.
        let live = hub.channels.live.subscribe();
        // A number beyond the last is of another journal: who has it hears where this one stands.
        let last = hub.read(crate::journal::Journal::last_seq).await?;
        let seq = since.map_or(last, |since| since.min(last));
        Ok(Self { hub, live, runs, seq, is_replaying: since.is_some() })
    }

    /// Where the listener stands.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// The next events; waits for one. May be dropped while it waits without losing any. `None` once the daemon is gone.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Line>>> {
        loop {
            if self.is_replaying {
                let (seq, runs) = (self.seq, self.runs.clone());
                let lines = self.hub.read(move |journal| journal.events_since(seq, &runs, CHUNK)).await?;
                match lines.last() {
                    Some(last) => {
                        self.seq = last.seq;
                        return Ok(Some(lines));
                    }
                    None => self.is_replaying = false,
                }
            }
            let mut lines = Vec::new();
            match self.live.recv().await {
                Ok(line) => self.keep(line, &mut lines),
                // Too slow for the channel's memory, not for the journal's.
                Err(RecvError::Lagged(_)) => self.is_replaying = true,
                Err(RecvError::Closed) => return Ok(None),
            }
            while !self.is_replaying && lines.len() < CHUNK {
                match self.live.try_recv() {
                    Ok(line) => self.keep(line, &mut lines),
                    Err(TryRecvError::Lagged(_)) => self.is_replaying = true,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
    }

    fn keep(&mut self, line: Line, lines: &mut Vec<Line>) {
        if line.seq > self.seq {
            self.seq = line.seq;
            if self.runs.is_empty() || self.runs.iter().any(|run| **run == *line.run) {
                lines.push(line);
            }
        }
    }
}
