//! What the daemon costs and how fast it is, in one run: `cargo bench --bench daemon` for small counts, a minute;
//! `cargo bench --bench daemon -- --full` for 1,000 runs, 100,000 rows and 1,000 subscribers, some ten minutes; names of
//! parts (idle, latency, fan-out, burst, refit, page) choose among them.

#[path = "../tests/common/daemon.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod daemon;
#[path = "../tests/common/http.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use daemon::{Client, Daemon, Place, eventually, name_of, network};
use relstab::event::Measurement;
use relstab::journal::{Journal, Outcome, Policy, Sighting};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

struct Counts {
    runs: usize,
    rows: usize,
    renames: usize,
    subscribers: usize,
    events: usize,
    dropped: usize,
    measured: usize,
    charted: usize,
    idle: Duration,
}

const SMALL: Counts = Counts {
    runs: 100,
    rows: 2_000,
    renames: 20,
    subscribers: 100,
    events: 100,
    dropped: 100,
    measured: 1_000,
    charted: 100,
    idle: Duration::from_secs(5),
};
const FULL: Counts = Counts {
    runs: 1_000,
    rows: 100_000,
    renames: 100,
    subscribers: 1_000,
    events: 500,
    dropped: 1_000,
    measured: 10_000,
    charted: 10_000,
    idle: Duration::from_mins(1),
};

type Part = fn(&Counts);

fn main() {
    // `cargo test --benches` asks for nothing to be measured.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let counts = if std::env::args().any(|argument| argument == "--full") { FULL } else { SMALL };
    println!("| what | measured | bound |\n|---|---|---|");
    let parts = [
        ("idle", ready_and_idle as Part),
        ("latency", latency),
        ("fan-out", fan_out),
        ("burst", thousand),
        ("refit", refit),
        ("page", page),
    ];
    let named = |name: &str| std::env::args().any(|argument| argument == name);
    let all = !parts.iter().any(|(name, _)| named(name));
    for (_, measure) in parts.iter().filter(|(name, _)| all || named(name)) {
        measure(&counts);
    }
}

fn row(what: &str, measured: &str, bound: &str) {
    println!("| {what} | {measured} | {bound} |");
}

fn ready_and_idle(counts: &Counts) {
    let empty = Place::new();
    let started = Instant::now();
    drop(Daemon::start(&empty, &[]));
    row("ready, empty journal", &format!("{:.0?}", started.elapsed()), "100 ms");

    let place = Place::new();
    let record = record();
    fill(&place, &place.run_name(), &record, counts.rows);
    for number in 0..counts.runs {
        fs::create_dir(place.run().join(format!("run{number}"))).expect("created");
    }
    let started = Instant::now();
    let daemon = Daemon::start(&place, &["--recursive"]);
    row(&format!("ready, journal of {} rows", counts.rows), &format!("{:.0?}", started.elapsed()), "1 s");
    // Everything is found and nothing is left to do.
    std::thread::sleep(Duration::from_secs(3));
    let (before, wakes) = (cpu_ticks(&daemon), switches(&daemon));
    std::thread::sleep(counts.idle);
    let share = (cpu_ticks(&daemon) - before) as f64 / 100.0 / counts.idle.as_secs_f64();
    let kibibytes = field(&daemon, "VmRSS:");
    let what = format!("idle with {} runs, for {} s", counts.runs, counts.idle.as_secs());
    row(&format!("{what}: share of a core"), &format!("{:.3} %", 100.0 * share), "0.1 %");
    let woken: u64 = switches(&daemon).iter().map(|(task, count)| count - wakes.get(task).unwrap_or(&0)).sum();
    row(&format!("{what}: wake-ups"), &woken.to_string(), "0");
    row(&format!("{what}: resident"), &format!("{} MiB", kibibytes >> 10), "40 MB");
}

/// A real record, from a real measurement.
fn record() -> Measurement {
    let (_place, _daemon, event) = Place::measured();
    serde_json::from_value(event["measurement"].clone()).expect("a record")
}

/// A journal of measured checkpoints whose files are gone.
fn fill(place: &Place, run: &str, record: &Measurement, rows: usize) {
    let mut journal = Journal::open(&place.journal()).expect("a journal");
    let run = journal.run_id(run).expect("a run");
    for number in 0..rows {
        let path = PathBuf::from(format!("/gone/step_{number}.onnx"));
        let step = Some(number as u64);
        let sighting =
            Sighting { run, path: &path, fingerprint: "x", plan: "x", step, epoch: None, written: 0, due: Some(0) };
        journal.see(&[sighting]).expect("seen");
        let (job, _) = journal.next(0, 0, &[], Policy::All).expect("read");
        let mut record = record.clone();
        record.model.sha256 = number.to_string();
        record.metadata.step = step;
        let outcome = Outcome::Measured { settings: "x".to_owned(), measurement: Box::new(record), strip: None };
        journal.finish(&job.expect("pending"), &outcome, Some(&[])).expect("written");
    }
}

/// The journal's one run again as `runs` runs, with values whose digits do not compress.
fn multiply(place: &Place, runs: usize) {
    const COLUMNS: [&str; 10] = [
        "r_f",
        "r_f_low",
        "r_f_high",
        "d_f",
        "g_f",
        "predicted_error",
        "predicted_low",
        "predicted_high",
        "val_error",
        "probe_error",
    ];
    let db = rusqlite::Connection::open(place.journal()).expect("a journal");
    let values = COLUMNS.map(|column| format!("{column} = abs(random()) / 9.3e18")).join(", ");
    let mut sql = "BEGIN; CREATE TEMP TABLE again AS SELECT * FROM checkpoints; UPDATE again SET id = NULL;".to_owned();
    for run in 1..runs {
        write!(
            sql,
            "INSERT INTO runs (path) VALUES ('/gone/run{run}'); UPDATE again SET run = last_insert_rowid();
             INSERT INTO checkpoints SELECT * FROM again;"
        )
        .expect("a string");
    }
    db.execute_batch(&format!("{sql} UPDATE checkpoints SET {values}; COMMIT;")).expect("written");
}

/// What a browser asks for to draw 100 runs at first: bytes as they travel, and the daemon's time for the data.
fn page(counts: &Counts) {
    // All runs in one line each, and the eight that are drawn at first.
    let data = || {
        let series = (1..=8).map(|run| format!("/api/runs/{run}/series?points=500"));
        std::iter::once("/api/overview".to_owned()).chain(series)
    };
    let place = Place::new();
    let mut record = record();
    record.forget_replicates();
    fill(&place, "/gone/run0", &record, counts.charted);
    multiply(&place, 100);
    let (_daemon, address) = http::start(&place, &[]);
    let bytes = |path: &str| {
        let (status, body) = http::get(&address, path, "Accept-Encoding: gzip\r\n");
        assert_eq!(status, 200, "{path}");
        body.len()
    };
    let index = String::from_utf8(http::get(&address, "/", "").1).expect("UTF-8");
    let parts = index.split('"').filter(|part| part.starts_with('/') && part.contains('.'));
    let files: usize = bytes("/") + parts.map(bytes).sum::<usize>();
    let mut times = Vec::new();
    let mut of_data = 0;
    for _ in 0..20 {
        let started = Instant::now();
        of_data = data().map(|path| bytes(&path)).sum();
        times.push(started.elapsed());
    }
    times.sort();
    let what = format!("page of 100 runs x {} checkpoints", counts.charted);
    row(&format!("{what}: gzip over the wire"), &format!("{:.0} kB", (files + of_data) as f64 / 1e3), "500 kB");
    row(&format!("{what}: its data"), &format!("median {:.0?}, slowest {:.0?}", times[10], times[19]), "100 ms");
}

/// A known error among many checkpoints: the law refitted, and all of them predicted anew.
fn refit(counts: &Counts) {
    let place = Place::new();
    let mut record = record();
    record.metadata.val_error = None;
    fill(&place, &place.run_name(), &record, counts.measured);
    place.rename_in("step_1000000.onnx", "last");
    let daemon = Daemon::start(&place, &[]);
    Client::subscribed(&daemon, 0).until(|event| event["type"] == "measured" && name_of(event) == "step_1000000.onnx");
    let mut client = daemon.client();
    let mut times = Vec::new();
    for step in 1..=10 {
        let started = Instant::now();
        let request = json!({"type": "annotate", "run": place.run_name(), "step": step, "val_error": 0.1});
        assert_eq!(client.ask(&request)["type"], "annotated");
        times.push(started.elapsed());
    }
    times.sort();
    row(&format!("a known error among {} checkpoints", counts.measured), &format!("median {:.0?}", times[5]), "");
}

fn field(daemon: &Daemon, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

fn threads(daemon: &Daemon) -> impl Iterator<Item = PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.child.id())).expect("Linux");
    tasks.flatten().map(|task| task.path())
}

/// Voluntary context switches of each thread.
fn switches(daemon: &Daemon) -> BTreeMap<PathBuf, u64> {
    let of = |task: &Path| {
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    threads(daemon).map(|task| (task.clone(), of(&task))).collect()
}

/// User and system time, in hundredths of a second.
fn cpu_ticks(daemon: &Daemon) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.child.id())).expect("Linux");
    let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}

/// From the rename of a file of 1 MB to the worker having it, and to the event, which comes after the measurement.
fn latency(counts: &Counts) {
    let mut place = Place::new();
    place.log_level = "debug";
    let daemon = Daemon::start(&place, &["--log-format", "json"]);
    let mut client = Client::subscribed(&daemon, 0);
    let mut bytes = network("large");
    // Metadata makes it large without making it slow.
    bytes.extend(daemon::property("padding", &"x".repeat(1_000_000)));
    let (mut renamed, mut events) = (Vec::new(), Vec::new());
    for step in 1..=counts.renames {
        let temporary = place.path().join("temporary");
        let mut bytes = bytes.clone();
        bytes.extend(daemon::property("relstab.step", &step.to_string()));
        fs::write(&temporary, bytes).expect("written");
        renamed.push(SystemTime::now());
        fs::rename(&temporary, place.run().join(format!("step_{step}.onnx"))).expect("renamed");
        events.extend(client.outcomes(1));
    }
    let log = place.log();
    let taken = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let taken = taken.filter(|line| line["fields"]["message"] == "a worker has it");
    let waits = taken.zip(&renamed).map(|(line, renamed)| {
        let at: jiff::Timestamp = line["timestamp"].as_str().and_then(|text| text.parse().ok()).expect("a time");
        SystemTime::from(at).duration_since(*renamed).unwrap_or_default()
    });
    let mut waits: Vec<_> = waits.skip(1).collect();
    waits.sort();
    assert_eq!(waits.len() + 1, counts.renames, "a wait for each");
    row("rename to worker, 1 MB: median", &format!("{:.1?}", waits[waits.len() / 2]), "20 ms");
    let parts = events.iter().zip(&renamed).skip(1).map(|(event, renamed)| {
        let at: jiff::Timestamp = event["time"].as_str().and_then(|text| text.parse().ok()).expect("a time");
        let whole = SystemTime::from(at).duration_since(*renamed).unwrap_or_default();
        let measuring = Duration::from_secs_f64(event["measurement"]["timing"]["total_s"].as_f64().expect("seconds"));
        (whole, measuring, whole.saturating_sub(measuring))
    });
    let (mut whole, mut measuring, mut rest): (Vec<_>, Vec<_>, Vec<_>) = parts.collect();
    let medians = [&mut whole, &mut measuring, &mut rest].map(|times| {
        times.sort();
        times[times.len() / 2]
    });
    let [whole, measuring, rest] = medians;
    let told = format!("{whole:.1?}: measurement {measuring:.1?}, waiting, reading, loading and journal {rest:.1?}");
    row("rename to event, 1 MB: median", &told, "");
}

/// Subscribers, events at 100 a second; what they wait for each.
fn fan_out(counts: &Counts) {
    let (place, _daemon, _) = Place::measured();
    let since = Journal::read(&place.journal()).expect("a journal").last_seq().expect("read");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (socket, run, events) = (place.socket(), place.run_name(), counts.events);
    let waits = runtime.block_on(async {
        let mut subscribers = Vec::new();
        for _ in 0..counts.subscribers {
            let mut stream = BufReader::new(UnixStream::connect(&socket).await.expect("connected"));
            let request = json!({"type": "subscribe", "since": since}).to_string() + "\n";
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut line = String::new();
            while !line.contains("subscribed") {
                line.clear();
                stream.read_line(&mut line).await.expect("read");
            }
            subscribers.push(tokio::spawn(listen(stream, since, events)));
        }
        let (mut replies, mut annotator) = UnixStream::connect(&socket).await.expect("connected").into_split();
        // One who does not read is cut off.
        tokio::spawn(async move { tokio::io::copy(&mut replies, &mut tokio::io::sink()).await });
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        for number in 0..events {
            beat.tick().await;
            let request = json!({"type": "annotate", "run": run, "step": 1, "val_error": number as f64 / 1e6});
            annotator.write_all((request.to_string() + "\n").as_bytes()).await.expect("sent");
        }
        let mut waits = Vec::new();
        for subscriber in subscribers {
            waits.extend(subscriber.await.expect("every event, in order"));
        }
        waits
    });
    let mut waits = waits;
    waits.sort();
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    let what = format!("{} subscribers x {} events at 100 a second", counts.subscribers, counts.events);
    row(&format!("{what}: delivered"), &waits.len().to_string(), &(counts.subscribers * counts.events).to_string());
    row(&format!("{what}: median, p99"), &format!("{:.1?}, {:.1?}", at(0.5), at(0.99)), "p99 100 ms");
}

async fn listen(mut stream: BufReader<UnixStream>, since: i64, events: usize) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut line = String::new();
    while waits.len() < events {
        line.clear();
        assert!(stream.read_line(&mut line).await.expect("read") > 0, "cut off");
        let now = SystemTime::now();
        let event: Value = serde_json::from_str(&line).expect("JSON");
        let Some(seq) = event["seq"].as_i64() else { continue };
        assert_eq!(seq, since + 1 + waits.len() as i64, "in order");
        let sent: jiff::Timestamp = event["time"].as_str().and_then(|text| text.parse().ok()).expect("a time");
        waits.push(now.duration_since(sent.into()).unwrap_or_default());
    }
    waits
}

/// Checkpoints that all land at once.
fn thousand(counts: &Counts) {
    let place = Place::new();
    let daemon = Daemon::start(&place, &[]);
    for step in 1..=counts.dropped {
        place.rename_in(format!("../away/step_{step}.onnx"), &step.to_string());
    }
    let started = Instant::now();
    for step in 1..=counts.dropped {
        let name = format!("step_{step}.onnx");
        fs::rename(place.path().join("away").join(&name), place.run().join(name)).expect("renamed");
    }
    let events = Client::subscribed(&daemon, 0).outcomes(counts.dropped);
    let took = started.elapsed();
    eventually("nothing pending", || Blocking::connect(place.socket()).is_ok());
    let names: BTreeSet<_> = events.iter().map(name_of).collect();
    let once = names.len() == counts.dropped && place.outcomes("measured").values().all(|count| *count == 1);
    let measured = if once { format!("each once, {took:.1?}") } else { "NOT each once".to_owned() };
    row(&format!("{} checkpoints at once", counts.dropped), &measured, "each once");
}
