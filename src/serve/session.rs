//! One client: it asks in lines, and is answered and told of events in lines.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::codec::{Decoder as _, LinesCodec, LinesCodecError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::places::Place;
use super::{Feed, Hub, Token};
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::small_file::json_fault;
use crate::text::visible_json;
use crate::watch::daemon::Ask;

/// The protocol's version.
const PROTOCOL: u32 = 1;
/// A client's line may be this long, bytes.
const MAX_LINE: usize = 64 << 10;
/// A client that takes nothing for this long is cut off.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a subscriber hears that the daemon is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A client that neither asks for this long nor follows events is told goodbye.
const IDLE: Duration = Duration::from_mins(10);
/// How long a client's goodbye may take, and before it what it has not taken yet.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a client may ask, one JSON object a line; docs/protocol.md has its meaning.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(missing_docs, reason = "the protocol's own names")]
pub enum Request {
    Subscribe {
        #[serde(default)]
        runs: Vec<String>,
        since: Option<i64>,
    },
    Status,
    Decision {
        run: String,
    },
    Annotate {
        run: String,
        path: Option<String>,
        step: Option<u64>,
        val_error: f64,
    },
    Declare {
        run: String,
        step: u64,
        began: Option<f64>,
    },
    Resume {
        run: String,
    },
    Forget {
        run: String,
    },
    Retry {
        run: String,
    },
}

/// Serves one client, who shows the token first if there is one, until it leaves, is cut off, or the daemon ends.
pub async fn run(
    stream: impl AsyncRead + AsyncWrite,
    hub: Arc<Hub>,
    name: String,
    token: Option<Arc<Token>>,
    place: Arc<Place>,
) {
    serve(stream, hub, name, token, (place, IDLE)).await;
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite,
    hub: Arc<Hub>,
    name: String,
    token: Option<Arc<Token>>,
    (place, idle): (Arc<Place>, Duration),
) {
    let (mut from, mut to) = tokio::io::split(stream);
    let ends = hub.ends.clone();
    let mut session = Session { hub, place, feed: None };
    let mut lines = LinesCodec::new_with_max_length(MAX_LINE);
    let mut buffer = BytesMut::new();
    if let Some(token) = token {
        let is_admitted = tokio::select! {
            is_admitted = admit(&token, (&mut from, &mut to), &mut buffer, (&name, &ends)) => is_admitted,
            () = ends.cancelled() => false,
        };
        if !is_admitted {
            return;
        }
    }
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut out = session.hello().await;
    loop {
        // What was read, also with the token.
        loop {
            let reply = match lines.decode(&mut buffer) {
                Ok(None) => break,
                Ok(Some(text)) if text.trim().is_empty() => continue,
                Ok(Some(text)) => session.answer(&text).await,
                Err(LinesCodecError::MaxLineLengthExceeded) => refusal(&format!("a line longer than {MAX_LINE} bytes")),
                Err(LinesCodecError::Io(error)) => refusal(&error.to_string()),
            };
            out.extend(line(&reply));
            if reply["type"] == "goodbye" {
                send(&mut to, &mut out, (&name, &ends)).await;
                return;
            }
            // One who asks without end and reads no answer is served no faster than he reads.
            if out.len() > MAX_LINE && !send(&mut to, &mut out, (&name, &ends)).await {
                return;
            }
        }
        if !send(&mut to, &mut out, (&name, &ends)).await {
            return;
        }
        tokio::select! {
            () = ends.cancelled() => return say_goodbye(&mut to, "the daemon ends").await,
            () = tokio::time::sleep(idle), if session.feed.is_none() => {
                return say_goodbye(&mut to, &format!("nothing was asked for {} s", idle.as_secs())).await;
            }
            read = from.read_buf(&mut buffer) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            events = next(&mut session.feed) => match events {
                Ok(Some(events)) => {
                    for event in events {
                        out.extend(event.text.as_bytes());
                        out.push(b'\n');
                    }
                }
                Ok(None) => session.feed = None,
                Err(error) => {
                    out = line(&refusal(&error.one_line()));
                    session.feed = None;
                }
            },
            _ = heartbeat.tick(), if session.feed.is_some() => {
                let now = jiff::Timestamp::now().to_string();
                out = line(&json!({"type": "heartbeat", "time": now}));
            }
        }
    }
}

async fn say_goodbye(to: &mut (impl AsyncWrite + Unpin), reason: &str) {
    let _ = tokio::time::timeout(GOODBYE, to.write_all(&line(&goodbye(reason)))).await;
}

/// What a client says first over TCP.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Shown {
    Token { token: String },
}

const NO_TOKEN: &str = "expected {\"type\":\"token\",\"token\":TOKEN} with the token of --tcp-token as the first line";

/// Whether the first line shows the token. A client that speaks the protocol is told why not; whatever else came here, as a web page's
/// request, is not answered.
async fn admit(
    token: &Token,
    (from, to): (&mut (impl AsyncRead + Unpin), &mut (impl AsyncWrite + Unpin)),
    buffer: &mut BytesMut,
    (name, ends): (&str, &CancellationToken),
) -> bool {
    let first = first_line(from, buffer).await.unwrap_or_default();
    match serde_json::from_str(&first) {
        Ok(Shown::Token { token: shown }) if token.is(shown.as_bytes()) => return true,
        _ if is_object(&first) => {
            send(to, &mut line(&refusal(NO_TOKEN)), (name, ends)).await;
        }
        _ => debug!("{name} was cut off: its first line was no JSON object"),
    }
    false
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<serde_json::Map<String, Value>>(text).is_ok()
}

/// The first line, without its end; `None` if none comes in time, or none as short as one with a token is.
async fn first_line(from: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> Option<String> {
    let read = async {
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                return String::from_utf8(buffer.split_to(end + 1).to_vec()).ok();
            }
            if buffer.len() > MAX_LINE || !matches!(from.read_buf(buffer).await, Ok(1..)) {
                return None;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.ok().flatten()
}

/// Sends what there is to send; false if the client left or takes nothing, for which the daemon's end leaves it less time.
async fn send(to: &mut (impl AsyncWrite + Unpin), out: &mut Vec<u8>, (name, ends): (&str, &CancellationToken)) -> bool {
    let is_sent = tokio::select! {
        sent = to.write_all(out) => sent.inspect_err(|error| debug!("{name} left: {error}")).is_ok(),
        () = tokio::time::sleep(PATIENCE) => {
            warn!("{name} was cut off: it took nothing for {} s", PATIENCE.as_secs());
            false
        }
        () = async { ends.cancelled().await; tokio::time::sleep(GOODBYE).await; } => false,
    };
    out.clear();
    is_sent
}

async fn next(feed: &mut Option<Feed>) -> Result<Option<Vec<crate::journal::Line>>> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

fn line(value: &Value) -> Vec<u8> {
    format!("{}\n", visible_json(&value.to_string())).into_bytes()
}

fn refusal(reason: &str) -> Value {
    json!({"type": "error", "reason": reason})
}

fn goodbye(reason: &str) -> Value {
    json!({"type": "goodbye", "reason": reason})
}

struct Session {
    hub: Arc<Hub>,
    place: Arc<Place>,
    feed: Option<Feed>,
}

impl Session {
    async fn hello(&self) -> Vec<u8> {
        let runs = self.hub.read(Journal::runs).await.unwrap_or_default();
        let runs: Vec<_> = runs.into_iter().map(|(_, path)| path).collect();
        let version = env!("CARGO_PKG_VERSION");
        line(&json!({"type": "hello", "protocol": PROTOCOL, "version": version, "runs": runs}))
    }

    async fn answer(&mut self, text: &str) -> Value {
        let request = match serde_json::from_str(text) {
            Ok(request) => request,
            Err(error) => {
                return refusal(&format!("not a request of protocol {PROTOCOL}: {}", json_fault(text, &error)));
            }
        };
        self.obey(request).await.unwrap_or_else(|error| refusal(&error.one_line()))
    }

    async fn obey(&mut self, request: Request) -> Result<Value> {
        match request {
            Request::Subscribe { .. } if !self.place.follow() => Ok(goodbye("too many clients follow events")),
            Request::Subscribe { runs, since } => {
                let feed = Feed::new(Arc::clone(&self.hub), runs, since).await?;
                let seq = feed.seq();
                self.feed = Some(feed);
                Ok(json!({"type": "subscribed", "since": seq}))
            }
            Request::Status => self.hub.ask(Ask::Status).await,
            Request::Decision { run } => self.hub.read(move |journal| decision(journal, &run)).await,
            Request::Annotate { run, path, step, val_error } => {
                self.hub.ask(Ask::annotate(run, path, step, val_error)?).await
            }
            Request::Declare { run, step, began } => {
                let now = jiff::Timestamp::now().as_nanosecond() as i64;
                let began = began.map_or(now, |seconds| now.min((seconds * 1e9) as i64));
                self.hub.ask(Ask::Declare { run, step, began }).await
            }
            Request::Resume { run } => self.hub.ask(Ask::Resume(run)).await,
            Request::Forget { run } => self.hub.ask(Ask::Forget(run)).await,
            Request::Retry { run } => self.hub.ask(Ask::Retry(run)).await,
        }
    }
}

/// Whether a run should stop, from the journal alone.
fn decision(journal: &Journal, run: &str) -> Result<Value> {
    let unknown = || Error::UnknownRun { run: run.to_owned(), journal: journal.path().to_owned() };
    let id = journal.find_run(run)?.ok_or_else(unknown)?;
    let (verdicts, stop) = journal.verdicts(id)?;
    let best = stop.as_ref().map(|stop| stop["best"].clone());
    let best = best.or_else(|| serde_json::to_value(verdicts.first()?.best.clone()).ok());
    // What decided, else what the first rule goes by.
    let decided = verdicts.iter().find(|verdict| stop.is_some() && verdict.stop.is_some());
    let monitor = decided.or(verdicts.first()).map(|verdict| verdict.monitor);
    let (reason, compared) =
        stop.as_ref().map(|stop| (stop["reason"].clone(), stop["compared"].clone())).unwrap_or_default();
    let mut decision = json!({"type": "decision", "run": run, "stop": stop.is_some(), "reason": reason, "monitor": monitor,
                              "best": best, "rules": verdicts});
    if !compared.is_null() {
        decision["compared"] = compared;
    }
    Ok(decision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::places::{Door, Places};
    use crate::watch::daemon::Channels;

    #[test]
    fn a_client_that_asks_nothing_is_told_goodbye_unless_it_follows_events() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.sqlite");
        let journal = Journal::open(&path).and_then(|_| Journal::read(&path)).expect("made");
        let (channels, _messages) = Channels::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (hub, places) = (Hub::new(channels, journal, CancellationToken::new()), Places::new(2));
            let serve = async |request: &'static str| {
                let (mut client, server) = tokio::io::duplex(1 << 16);
                let place = places.take(Door::Unix).await.expect("free");
                let idle = Duration::from_millis(50);
                tokio::spawn(serve(server, Arc::clone(&hub), "a client".to_owned(), None, (place, idle)));
                client.write_all(request.as_bytes()).await.expect("sent");
                let mut heard = String::new();
                let read = client.read_to_string(&mut heard);
                let is_closed = tokio::time::timeout(Duration::from_secs(1), read).await.is_ok();
                (is_closed, heard)
            };
            let (is_closed, heard) = serve("").await;
            assert!(is_closed && heard.contains("goodbye"), "{heard}");
            assert!(!serve("{\"type\": \"subscribe\"}\n").await.0);
        });
    }
}
