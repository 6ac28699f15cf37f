//! What starts workers: the seam between the daemon and wherever they run.
//!
//! A starter promises a process of this machine that speaks the worker protocol (JSON lines) over the socket it gives back: the worker
//! itself, or a program that relays to it, as ssh and srun do. Killing that process ends the worker; so does closing the socket.
//! It never waits for the worker to answer, never decides how many there are or how long they live, and gives them nothing of the
//! daemon's but the socket.

use std::io::{BufRead as _, BufReader, Read as _, Result};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal};
use tracing::warn;

/// What a worker's libraries print is told in lines of this length, bytes.
const LONGEST_LINE: u64 = 4096;

/// Starts workers.
pub trait Starter: Send {
    /// Starts one.
    ///
    /// # Errors
    /// The operating system's, if no process can be started.
    fn start(&self) -> Result<Started>;
}

/// A worker that was started.
#[derive(Debug)]
pub struct Started {
    /// Its process, or that which relays to it.
    pub child: Child,
    /// The daemon's end of what they say.
    pub socket: UnixStream,
}

impl Started {
    /// Ends it now: the process with all that it started, and what is said.
    pub fn kill(&mut self) {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

/// Workers on this machine, from the program that runs.
#[derive(Debug, Clone, Copy)]
pub struct Local {
    /// Added to the niceness.
    pub nice: i32,
    /// Share of the time that each worker may compute.
    pub duty: f64,
}

impl Starter for Local {
    fn start(&self) -> Result<Started> {
        // The file that runs, even if another one was installed in its place since.
        let own = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        let mut command = Command::new(own);
        command.arg0("relstab").args(["worker", "--nice", &self.nice.to_string(), "--duty", &self.duty.to_string()]);
        spawn(command)
    }
}

/// Workers by a command of the user's, such as `ssh host relstab worker`: it speaks over its standard input and output.
#[derive(Debug, Clone)]
pub struct ByCommand {
    /// What the shell runs.
    pub command: String,
}

impl Starter for ByCommand {
    fn start(&self) -> Result<Started> {
        let mut command = Command::new("sh");
        command.args(["-c", &self.command]);
        spawn(command)
    }
}

fn spawn(mut command: Command) -> Result<Started> {
    let (ours, theirs) = UnixStream::pair()?;
    // What a terminal tells the daemon's group to do is not for workers: they end when the daemon does.
    command
        .stdin(OwnedFd::from(theirs.try_clone()?))
        .stdout(OwnedFd::from(theirs))
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn()?;
    if let Some(errors) = child.stderr.take()
        && let Err(error) = std::thread::Builder::new().name("worker's log".to_owned()).spawn(move || retell(errors))
    {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(Started { child, socket: ours })
}

/// Tells in the daemon's log what a worker's libraries print, so that none waits for the log's reader.
fn retell(errors: ChildStderr) {
    let mut errors = BufReader::new(errors);
    let mut line = Vec::new();
    while errors.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            warn!("a worker: {}", text.trim());
        }
        line.clear();
    }
}
