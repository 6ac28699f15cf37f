//! What starts workers: the seam between the daemon and wherever they run.
//!
//! A starter promises a process of this machine that speaks the worker protocol (JSON lines) over the socket it gives back: the worker
//! itself, or a program that relays to it, as ssh and srun do. Killing that process ends the worker; so does closing the socket.
//! It never waits for the worker to answer, never decides how many there are or how long they live, and gives them nothing of the daemon's
//! but the socket and standard error.

use std::io::Result;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

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
        let (ours, theirs) = UnixStream::pair()?;
        // The file that runs, even if another one was installed in its place since.
        let own = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { std::env::current_exe()? };
        let mut command = Command::new(own);
        command.arg0("relstab").args(["worker", "--nice", &self.nice.to_string(), "--duty", &self.duty.to_string()]);
        // Native libraries that print to standard output must not disturb the daemon's.
        let child = command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).spawn()?;
        Ok(Started { child, socket: ours })
    }
}
