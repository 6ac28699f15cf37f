//! A daemon in a folder of its own, as a user starts it, and a client of its socket.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use prost::encoding::{WireType, encode_key, encode_varint};
use relstab::checkpoint::names::step_and_epoch;
use relstab::journal::Journal;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Nothing in these tests takes this long.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A watched directory with a probe set, and the state of its daemon beside it.
pub struct Place {
    folder: tempfile::TempDir,
    /// How much its daemons log.
    pub log_level: &'static str,
    /// Variables that its daemons find set besides.
    pub environment: Vec<(&'static str, String)>,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Self { folder, log_level: "info", environment: Vec::new() };
        place.add_run("run");
        place
    }

    /// Another directory with the same probe set.
    pub fn add_run(&self, name: &str) -> PathBuf {
        let run = self.path().join(name);
        fs::create_dir(&run).expect("created");
        for name in ["probe.npz", "relstab.toml"] {
            fs::copy(bundled(name), run.join(name)).expect("copied");
        }
        run
    }

    /// A run of images that the fixtures take.
    pub fn of_fixtures() -> Self {
        let place = Self::new();
        fs::copy(fixture("images.npz"), place.run().join("probe.npz")).expect("copied");
        fs::write(place.run().join("relstab.toml"), "probe = 'probe.npz'\n").expect("written");
        place
    }

    /// A fixture, renamed into the run.
    pub fn bring(&self, name_of_fixture: &str, name: &str) {
        self.put(name, &fs::read(fixture(name_of_fixture)).expect("a fixture"));
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The run's directory.
    pub fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The run's name in events.
    pub fn run_name(&self) -> String {
        self.run().canonicalize().expect("there").to_string_lossy().into_owned()
    }

    pub fn journal(&self) -> PathBuf {
        self.folder.path().join("state/journal.sqlite")
    }

    /// `XDG_STATE_HOME` of its daemons.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// A network with `note` and the name's step in its metadata, renamed into place.
    pub fn rename_in(&self, name: impl AsRef<Path>, note: &str) {
        let mut bytes = network(note);
        if let (Some(step), _) = step_and_epoch(name.as_ref(), Path::new("")) {
            bytes.extend(property("relstab.step", &step.to_string()));
        }
        self.put(name, &bytes);
    }

    /// A file of these bytes, renamed into the run.
    pub fn put(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let temporary = self.folder.path().join("temporary");
        fs::write(&temporary, bytes).expect("written");
        let path = self.run().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::rename(temporary, path).expect("renamed");
    }

    /// With one checkpoint, the daemon that measured it, and its event.
    pub fn measured() -> (Self, Daemon, Value) {
        let place = Self::new();
        place.rename_in("step_1.onnx", "one");
        let daemon = Daemon::start(&place, &[]);
        let event = Client::subscribed(&daemon, 0).next_of("measured");
        (place, daemon, event)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    pub fn printed(&self) -> String {
        fs::read_to_string(self.path().join("printed")).unwrap_or_default()
    }

    /// A command on the run, with the journal named.
    pub fn ask(&self, command: &str, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_relstab"))
            .arg(command)
            .arg(self.run())
            .arg("--journal")
            .arg(self.journal())
            .args(more)
            .output()
            .expect("the command runs")
    }

    /// The run's history.
    pub fn history(&self) -> Value {
        serde_json::from_slice(&self.ask("history", &["--format", "json"]).stdout).expect("JSON")
    }

    /// Tells the error of a step.
    pub fn annotate(&self, daemon: &Daemon, step: u64, val_error: f64) {
        let request = json!({"type": "annotate", "run": self.run_name(), "step": step, "val_error": val_error});
        assert_eq!(daemon.client().ask(&request)["type"], "annotated");
    }

    /// Every event in the journal.
    pub fn events(&self) -> Vec<Value> {
        let journal = Journal::read(&self.journal()).expect("a journal");
        let lines = journal.events_since(0, &[], usize::MAX >> 1).expect("read");
        lines.iter().map(|line| serde_json::from_str(&line.text).expect("JSON")).collect()
    }

    /// How often each file of the run has an event of this type; the file's name only.
    pub fn outcomes(&self, kind: &str) -> std::collections::BTreeMap<String, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for event in self.events().iter().filter(|event| event["type"] == kind) {
            *counts.entry(name_of(event)).or_default() += 1;
        }
        counts
    }
}

/// The file's name in an event.
pub fn name_of(event: &Value) -> String {
    let path = event["path"].as_str().or_else(|| event["measurement"]["model"]["path"].as_str());
    path.unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned()
}

pub fn bundled(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fashion-mnist-cnn").join(name)
}

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The bundled run's last network with a note in its metadata, so that contents differ.
pub fn network(note: &str) -> Vec<u8> {
    let mut bytes = fs::read(bundled("step=006000.onnx")).expect("a network");
    bytes.extend(property("note", note));
    bytes
}

/// Metadata to append to an ONNX file: protobuf messages merge when concatenated.
pub fn property(key: &str, value: &str) -> Vec<u8> {
    let field = |number: u32, bytes: &[u8]| {
        let mut field = Vec::new();
        encode_key(number, WireType::LengthDelimited, &mut field);
        encode_varint(bytes.len() as u64, &mut field);
        field.extend(bytes);
        field
    };
    let entry = [field(1, key.as_bytes()), field(2, value.as_bytes())].concat();
    // ModelProto.metadata_props
    field(14, &entry)
}

/// A daemon; killed when dropped.
pub struct Daemon {
    pub child: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Watches the place's run with the embedded engine and few passes.
    pub fn start(place: &Place, more: &[&str]) -> Self {
        Self::start_at(place, &[place.run()], more)
    }

    pub fn start_at(place: &Place, folders: &[PathBuf], more: &[&str]) -> Self {
        let journal = place.journal();
        Self::start_after(place, "true", folders, &[&["--journal", journal.to_str().expect("UTF-8")], more].concat())
    }

    /// `relstab watch` as the last words of another command.
    pub fn command(place: &Place, words: &[&str], folders: &[PathBuf], more: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args([env!("CARGO_BIN_EXE_relstab"), "watch"]).args(folders).args(defaults(more));
        command.arg("--socket").arg(place.socket()).args(more).stdin(Stdio::null());
        command.env("RELSTAB_LOG", place.log_level).env("XDG_STATE_HOME", place.home());
        command.envs(place.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// As the last word of the shell command `prepare`, with the journal of the place's state directory unless `more` names one.
    pub fn start_after(place: &Place, prepare: &str, folders: &[PathBuf], more: &[&str]) -> Self {
        let log = fs::File::options().create(true).append(true).open(place.path().join("log")).expect("a log");
        let printed = fs::File::options().create(true).append(true).open(place.path().join("printed")).expect("a file");
        let script = format!("{prepare} && exec \"$@\"");
        let mut command = Self::command(place, &["sh", "-c", &script, "sh"], folders, more);
        let child = command.stdout(printed).stderr(log).spawn().expect("the daemon starts");
        let mut daemon = Self { child, socket: place.socket() };
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(&daemon.socket).is_err() {
            let ended = daemon.child.try_wait().expect("a child");
            assert!(ended.is_none() && Instant::now() < end, "no daemon ({ended:?}): {}", place.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    /// As root of a user and mount namespace of its own, after the shell command `prepare`; `None` where that is forbidden.
    pub fn start_in_namespace(place: &Place, prepare: &str, more: &[&str]) -> Option<Self> {
        let script = format!("{prepare} && exec \"$@\"");
        let log = fs::File::create(place.path().join("log")).expect("a log");
        let words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
        let mut command = Self::command(place, &words, &[place.run()], more);
        command.arg("--journal").arg(place.journal());
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("unshare runs");
        let mut daemon = Self { child, socket: place.socket() };
        while UnixStream::connect(&daemon.socket).is_err() {
            if daemon.child.try_wait().expect("a child").is_some() {
                let log = place.log().to_lowercase();
                let is_forbidden =
                    ["not permitted", "permission denied", "unknown filesystem"].iter().any(|m| log.contains(m));
                assert!(is_forbidden, "{log}");
                eprintln!("passed over, namespaces are forbidden here: {log}");
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(daemon)
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket)
    }

    pub fn signal(&self, signal: Signal) {
        send_signal(self.child.id(), signal);
    }

    /// Processes that measure for it.
    pub fn workers(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        children.collect::<String>().split_whitespace().filter_map(|id| id.parse().ok()).collect()
    }

    /// Ends it as a service manager would; its exit code.
    pub fn end(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().expect("a child").code()
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("a child");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes until there is no room left.
pub fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("created");
    while file.write_all(&[0; 4096]).is_ok() {}
}

/// Signals a process, which may be gone.
pub fn send_signal(process: u32, signal: Signal) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process");
    let _ = kill_process(process, signal);
}

/// Few passes on the embedded engine, unless a test says otherwise.
fn defaults(more: &[&str]) -> Vec<&'static str> {
    let all = [["--backend", "tract"], ["--images", "20"], ["--draws", "1"], ["--settle", "300ms"]];
    all.into_iter().filter(|[flag, _]| !more.contains(flag)).flatten().collect()
}

/// A client of the line protocol.
pub struct Client {
    lines: BufReader<UnixStream>,
    pub hello: Value,
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let mut client = Self { lines: BufReader::new(stream), hello: Value::Null };
        client.hello = client.next();
        client
    }

    /// A client that has subscribed to everything after `since`.
    pub fn subscribed(daemon: &Daemon, since: i64) -> Self {
        let mut client = daemon.client();
        assert_eq!(client.ask(&json!({"type": "subscribe", "since": since}))["type"], "subscribed");
        client
    }

    pub fn send(&mut self, text: &str) {
        assert!(self.try_send(text), "the daemon hung up");
    }

    /// False once the daemon takes no more.
    pub fn try_send(&mut self, text: &str) -> bool {
        self.lines.get_mut().write_all(format!("{text}\n").as_bytes()).is_ok()
    }

    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line in time");
        assert!(!line.is_empty(), "the daemon hung up");
        assert!(!line.trim_end_matches('\n').contains(char::is_control), "a terminal would obey {line:?}");
        serde_json::from_str(&line).expect("JSON")
    }

    pub fn ask(&mut self, request: &Value) -> Value {
        self.send(&request.to_string());
        self.next()
    }

    /// The next line of this type.
    pub fn next_of(&mut self, kind: &str) -> Value {
        self.until(|line| line["type"] == kind).pop().expect("the last")
    }

    /// Lines up to and including the one that `is_last`.
    pub fn until(&mut self, mut is_last: impl FnMut(&Value) -> bool) -> Vec<Value> {
        let mut lines = Vec::new();
        let end = Instant::now() + PATIENCE;
        loop {
            let line = self.next();
            assert!(Instant::now() < end, "only {lines:?} in time");
            let ends = is_last(&line);
            lines.push(line);
            if ends {
                return lines;
            }
        }
    }

    /// The outcomes of this many checkpoints.
    pub fn outcomes(&mut self, count: usize) -> Vec<Value> {
        let is_outcome = |line: &Value| ["measured", "failed", "skipped"].iter().any(|kind| line["type"] == *kind);
        (0..count).filter_map(|_| self.until(is_outcome).pop()).collect()
    }
}

/// Waits until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
