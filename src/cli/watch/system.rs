//! What the operating system tells the daemon, and what it lets it have: signals, the end of its input, limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::watch::daemon::{Channels, Message};

/// Clients at once, where files enough may be open, and where hardly any may.
const MOST_CLIENTS: u64 = 2048;
const FEWEST_CLIENTS: u64 = 2;
/// Files that the daemon opens for a moment: to start a process, to look through directories.
const FOR_A_MOMENT: u64 = 8;
/// How many of them a single worker takes to start.
const TO_START: u64 = 5;
/// Files that it opens for each worker, and for who plans.
const OF_WORKER: u64 = 3;

/// Where files may not grow any more (`ulimit -f`), writing fails, as on a full disk, and ends nobody.
pub fn outlive_full_files(runtime: &Runtime) -> Result<()> {
    let _inside = runtime.enter();
    let is_heard = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    // Once heard, it never has its default effect again.
    is_heard.map(drop).map_err(|source| Error::Io { path: "signals".into(), action: "listen for", source })
}

/// Ends the daemon on SIGTERM and Ctrl-C, has it read its configuration again on SIGHUP.
pub fn signals(channels: &Channels) -> Result<()> {
    let fail = |source| Error::Io { path: "signals".into(), action: "listen for", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(fail)?;
    let channels = channels.clone();
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                _ = terminate.recv() => Message::End,
                _ = interrupt.recv() => Message::End,
                _ = hangup.recv() => Message::Reload,
            };
            if !channels.send(message).await {
                return;
            }
        }
    });
    Ok(())
}

/// Ends the daemon once nothing more can come from standard input.
pub fn end_with_input(channels: &Channels) -> Result<()> {
    let messages = channels.messages.clone();
    let listen = move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = messages.send(Message::End);
    };
    let fail = |source| Error::Io { path: "standard input".into(), action: "listen to", source };
    std::thread::Builder::new().name("input".to_owned()).spawn(listen).map(drop).map_err(fail)
}

/// A thousand subscribers need a thousand open files.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many clients there may be at once: they have half of the files that may be open beside those that are, and that so many workers need.
///
/// # Errors
/// `Unavailable` where not even one worker could be started.
pub fn room_for_clients(workers: usize) -> Result<usize> {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let open = std::fs::read_dir("/dev/fd").map_or(0, Iterator::count) as u64;
    if limit < open + TO_START {
        return Err(Error::Unavailable {
            what: format!("{} open files", open + TO_START),
            reason: format!("{limit} may be open"),
            help: "raise the limit of open files (ulimit -n)",
        });
    }
    let needed = open + FOR_A_MOMENT + OF_WORKER * (workers as u64 + 1);
    Ok((limit.saturating_sub(needed) / 2).clamp(FEWEST_CLIENTS, MOST_CLIENTS) as usize)
}
