//! A worker that is asked one thing at a time, and waited for: plans and pictures, which no checkpoint waits for.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::protocol::{LONGEST_REPLY, Reply, Request, Said};
use super::starter::{Started, Starter};
use crate::process;

/// How often a busy worker's memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug)]
pub enum Silence {
    /// No process could be started.
    Unstarted(std::io::Error),
    /// The worker ended before it answered.
    Died,
    /// It took too long, grew too large, or said what cannot be.
    Overran(String),
}

impl Silence {
    /// In words, to follow what was asked for.
    pub fn reason(&self) -> String {
        match self {
            Self::Unstarted(error) => format!("no worker could be started: {error}"),
            Self::Died => "its worker died of it".to_owned(),
            Self::Overran(reason) => reason.clone(),
        }
    }
}

/// One who asks a worker of its own, which is started when it is needed.
pub struct Caller {
    starter: Box<dyn Starter>,
    /// An answer may take this long.
    timeout: Duration,
    /// Resident size that the worker may reach, bytes.
    memory: Option<u64>,
    worker: Option<Started>,
}

impl Caller {
    /// No worker runs yet.
    pub fn new(starter: Box<dyn Starter>, timeout: Duration, memory: Option<u64>) -> Self {
        Self { starter, timeout, memory, worker: None }
    }

    /// The worker's answer.
    ///
    /// # Errors
    /// Why there is none.
    pub fn call(&mut self, request: &Request) -> Result<Reply, Silence> {
        let answer = self.try_call(request);
        if answer.is_err() {
            self.end();
        }
        answer
    }

    /// Ends the worker, if there is one.
    pub fn end(&mut self) {
        if let Some(mut worker) = self.worker.take() {
            worker.kill();
            let _ = worker.child.wait();
        }
    }

    fn try_call(&mut self, request: &Request) -> Result<Reply, Silence> {
        let failed = |error: std::io::Error| Silence::Overran(format!("its worker could not be asked: {error}"));
        let end = Instant::now() + self.timeout;
        let worker = match &mut self.worker {
            Some(worker) => worker,
            None => self.worker.insert(self.starter.start().map_err(Silence::Unstarted)?),
        };
        worker.socket.set_write_timeout(Some(self.timeout)).map_err(failed)?;
        worker.socket.set_read_timeout(Some(LOOK)).map_err(failed)?;
        let mut text = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        // One that died closes the socket, which is read.
        let _ = worker.socket.write_all(&text);
        let (mut heard, mut block) = (Vec::new(), [0; 1 << 14]);
        loop {
            match worker.socket.read(&mut block) {
                Ok(0) => return Err(Silence::Died),
                Ok(count) => heard.extend(&block[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(Silence::Died),
                Err(error) => return Err(failed(error)),
            }
            while let Some(line_end) = heard.iter().position(|byte| *byte == b'\n') {
                let said: Said = serde_json::from_slice(&heard[..line_end]).map_err(|error| failed(error.into()))?;
                heard.drain(..=line_end);
                if !matches!(said.reply, Reply::Hello(_) | Reply::Taken) {
                    return Ok(said.reply);
                }
            }
            if heard.len() > LONGEST_REPLY {
                return Err(Silence::Overran(format!("its worker's answer was longer than {LONGEST_REPLY} bytes")));
            }
            if end <= Instant::now() {
                return Err(Silence::Overran(format!("reading it took longer than {:?}", self.timeout)));
            }
            if let Some(limit) = self.memory
                && process::resident_with_children(worker.child.id()).unwrap_or(0) > limit
            {
                return Err(Silence::Overran(format!(
                    "reading it needed more than {} (--memory-limit)",
                    bytesize::ByteSize(limit)
                )));
            }
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.end();
    }
}
