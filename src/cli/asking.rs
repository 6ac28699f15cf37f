//! A question to a running daemon over its socket, within a time limit.

use std::io::{BufRead as _, BufReader, ErrorKind, Result as IoResult, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::serve::ENDS;

/// How long a daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a daemon may take to start or to end.
const TURN: Duration = Duration::from_secs(5);

/// What `attempt` gives, tried again while a daemon starts or ends.
///
/// # Errors
/// As `attempt`.
pub fn outlasting<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof,
    };
    let end = Instant::now() + TURN;
    let passes = |error: &Error| match error {
        Error::Locked { .. } => true,
        Error::Io { action: "ask", source, .. } => matches!(
            source.kind(),
            BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof
        ),
        _ => false,
    };
    loop {
        match attempt() {
            Err(error) if passes(&error) && Instant::now() < end => sleep(TURN / 50),
            outcome => return outcome,
        }
    }
}

/// What the daemon that listens at `socket` answers to `request`.
///
/// # Errors
/// `Io` if it refuses, and if it does not answer in time.
pub fn ask(socket: &Path, request: &Value) -> Result<Value> {
    let (told, answer) = channel();
    let (path, line) = (socket.to_owned(), format!("{request}\n"));
    // A daemon that hangs holds this thread; the command ends without it.
    let exchange = move || drop(told.send(exchange(&path, &line)));
    std::thread::Builder::new().spawn(exchange).map_err(Error::io(socket, "ask"))?;
    let silent = || {
        let text =
            format!("no answer within {} s: it hangs or is stopped; end it and start it again", ANSWER.as_secs());
        Err(std::io::Error::other(text))
    };
    let reply = answer.recv_timeout(ANSWER).unwrap_or_else(|_| silent()).map_err(Error::io(socket, "ask"))?;
    match reply["type"].as_str() {
        Some("error") => {
            let reason = reply["reason"].as_str().unwrap_or_default();
            let kind = if reason.contains(ENDS) { ErrorKind::ConnectionAborted } else { ErrorKind::Other };
            Err(Error::io(socket, "ask")(std::io::Error::new(kind, reason)))
        }
        _ => Ok(reply),
    }
}

fn exchange(socket: &Path, line: &str) -> IoResult<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(line.as_bytes())?;
    let mut reply = String::new();
    let mut lines = BufReader::new(stream);
    // The first line is the daemon's hello.
    for _ in 0..2 {
        reply.clear();
        lines.read_line(&mut reply)?;
    }
    Ok(serde_json::from_str(&reply)?)
}
