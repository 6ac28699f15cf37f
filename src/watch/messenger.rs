//! Tells people and programs of alerts, on a thread for each way: one after another, each within a limit of time. What is told here may
//! have been told before: whoever sends an errand sends it again until it is answered that it was done.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver as Inbox, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use serde_json::{Value, json};

use crate::alert::{Form, Webhook};
use crate::error::{Error, Result};
use crate::process::{self, with_umask};
use crate::small_file;

/// Errands that wait in memory.
const QUEUE: usize = 64;
/// An address may take this long to be connected to, and again to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// A command may take this long.
const COMMAND: Duration = Duration::from_mins(1);
/// How often a command is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The file of an address may be this long, bytes.
const LONGEST: u64 = 4096;

/// Who is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Receiver {
    /// A program with its arguments.
    Command(Vec<String>),
    /// An address.
    Webhook(Webhook),
}

impl Receiver {
    /// Its bit among the ways of telling.
    pub fn way(&self) -> u8 {
        match self {
            Self::Command(_) => 1,
            Self::Webhook(_) => 2,
        }
    }
}

/// Something to tell.
#[derive(Debug)]
pub struct Errand {
    /// The run's number.
    pub run: i64,
    /// The alert's key.
    pub rule: String,
    /// The event's number.
    pub seq: i64,
    /// The event, as it was sent.
    pub event: String,
    /// Who is told.
    pub to: Receiver,
}

/// What became of an errand.
#[derive(Debug)]
pub struct Delivered {
    /// The run's number.
    pub run: i64,
    /// The alert's key.
    pub rule: String,
    /// The event's number.
    pub seq: i64,
    /// The way of telling.
    pub way: u8,
    /// Why not; never with an address in it.
    pub result: std::result::Result<(), String>,
}

/// Where errands are left; it ends with the daemon.
pub struct Messenger {
    commands: SyncSender<Errand>,
    webhooks: SyncSender<Errand>,
}

impl Messenger {
    /// Begins; commands make files with `umask`, `tell` turns what becomes of errands into the daemon's messages.
    ///
    /// # Errors
    /// `Io` if no thread can be started.
    pub fn spawn<M: Send + 'static>(umask: Mode, sender: &SyncSender<M>, tell: fn(Delivered) -> M) -> Result<Self> {
        let fail = |source| Error::Io { path: "alerts".into(), action: "set up", source };
        // One that is slow to hear delays none of the other way.
        let start = || {
            let (errands, inbox) = sync_channel(QUEUE);
            let sender = sender.clone();
            let work = move || work(umask, &inbox, |delivered| sender.send(tell(delivered)).is_ok());
            std::thread::Builder::new().name("messenger".to_owned()).spawn(work).map(|_| errands).map_err(fail)
        };
        Ok(Self { commands: start()?, webhooks: start()? })
    }

    /// Leaves an errand; false where too many wait. Never waits.
    pub fn send(&self, errand: Errand) -> bool {
        let way = match errand.to {
            Receiver::Command(_) => &self.commands,
            Receiver::Webhook(_) => &self.webhooks,
        };
        way.try_send(errand).is_ok()
    }
}

fn work(umask: Mode, inbox: &Inbox<Errand>, tell: impl Fn(Delivered) -> bool) {
    for Errand { run, rule, seq, event, to } in inbox {
        let said = serde_json::from_str(&event).unwrap_or_default();
        let result = match &to {
            Receiver::Command(words) => command(umask, words, &event, &said),
            Receiver::Webhook(webhook) => post(webhook, event, &said),
        };
        if !tell(Delivered { run, rule, seq, way: to.way(), result }) {
            return;
        }
    }
}

/// Runs a program, with the event as a line on its standard input.
fn command(umask: Mode, words: &[String], event: &str, said: &Value) -> std::result::Result<(), String> {
    let word = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    let filled = |text: &String| {
        ["run", "alert", "text"].iter().fold(text.clone(), |text, key| text.replace(&format!("{{{key}}}"), &word(key)))
    };
    let (program, arguments) = words.split_first().ok_or("no program is named")?;
    let mut command = with_umask(umask, program);
    command.args(arguments.iter().map(filled)).stdin(Stdio::piped()).stdout(Stdio::null());
    let names = [("RELSTAB_RUN", "run"), ("RELSTAB_ALERT", "alert"), ("RELSTAB_TEXT", "text")];
    command.envs(names.map(|(name, key)| (name, word(key))));
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // One that reads nothing has its own reasons. An event fits into the pipe.
        let _ = input.write_all(event.as_bytes()).and_then(|()| input.write_all(b"\n"));
    }
    ended(&mut child).map_err(|reason| format!("{program}: {reason}"))
}

fn ended(child: &mut Child) -> std::result::Result<(), String> {
    let end = Instant::now() + COMMAND;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) if status.code().is_some_and(|code| code == 126 || code == 127) => {
                return Err(format!("it {}: it cannot be found or started", process::ended(status)));
            }
            Ok(Some(status)) => return Err(format!("it {}", process::ended(status))),
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it took longer than {} s", COMMAND.as_secs()));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Posts the event to an address, which no reason names.
fn post(webhook: &Webhook, event: String, said: &Value) -> std::result::Result<(), String> {
    let address = address(webhook)?;
    let body = match webhook.form {
        Form::Json => event,
        Form::Slack => {
            let word = |key: &str| said[key].as_str().unwrap_or_default();
            json!({"text": format!("relstab, {}: {}\n{}", word("alert"), word("text"), word("run"))}).to_string()
        }
    };
    // A limit on the whole would have the name looked up on another thread, and a panic where none may start.
    let limits = ureq::Agent::config_builder().timeout_connect(Some(ANSWER)).timeout_send_request(Some(ANSWER));
    let limits = limits.timeout_send_body(Some(ANSWER)).timeout_recv_response(Some(ANSWER));
    let agent: ureq::Agent = limits.max_redirects(0).build().into();
    let refused = |status: u16| Err(format!("it answered with status {status}"));
    match agent.post(address.as_str()).content_type("application/json").send(body) {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => refused(answer.status().as_u16()),
        Err(ureq::Error::StatusCode(status)) => refused(status),
        Err(ureq::Error::Io(error)) => Err(error.kind().to_string()),
        Err(ureq::Error::Timeout(_)) => Err(format!("it did not answer within {} s", ANSWER.as_secs())),
        Err(ureq::Error::HostNotFound) => Err("its host was not found".to_owned()),
        Err(ureq::Error::ConnectionFailed) => Err("it could not be connected to".to_owned()),
        Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => Err("its address is none".to_owned()),
        // In the library's own words there may be the address.
        Err(_) => Err("it could not be told".to_owned()),
    }
}

/// Where a webhook is told.
///
/// # Errors
/// Why that is not known, or cannot be told; never with an address in it.
pub fn address(webhook: &Webhook) -> std::result::Result<String, String> {
    let text = match (&webhook.file, &webhook.env) {
        (Some(file), _) => small_file::read(file, LONGEST).map_err(|error| format!("{}: {error}", file.display()))?,
        (None, Some(name)) => std::env::var(name).map_err(|_| format!("the daemon's environment has no {name}"))?,
        (None, None) => return Err("it names no address".to_owned()),
    };
    let address = text.lines().next().unwrap_or_default().trim();
    if address.starts_with("https:") && !cfg!(feature = "tls") {
        return Err("its address begins with https, and this relstab was built without TLS (--features tls)".to_owned());
    }
    if !address.starts_with("http:") && !address.starts_with("https:") {
        return Err("what it holds does not begin with http:// or https://".to_owned());
    }
    Ok(address.to_owned())
}
