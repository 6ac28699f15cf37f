//! What the operating system tells the daemon, and what it lets it have: signals, the end of its input, limits.

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};
use crate::watch::daemon::{Channels, Message};

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
    let messages = channels.messages.clone();
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                _ = terminate.recv() => Message::End,
                _ = interrupt.recv() => Message::End,
                _ = hangup.recv() => Message::Reload,
            };
            let messages = messages.clone();
            let sent = tokio::task::spawn_blocking(move || messages.send(message)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    });
    Ok(())
}

/// Ends the daemon once nothing more can come from standard input.
pub fn end_with_input(channels: &Channels) {
    let messages = channels.messages.clone();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = messages.send(Message::End);
    });
}

/// A thousand subscribers need a thousand open files.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
