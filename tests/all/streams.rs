//! A daemon whose log cannot be written, or that nobody reads, and workers that are told to end.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::daemon::{Client, Daemon, PATIENCE, Place, eventually, name_of, send_signal};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

/// A daemon with these streams.
fn start(place: &Place, more: &[&str], out: Stdio, log: Stdio) -> Child {
    let mut command = Daemon::command(place, &["env", "RELSTAB_LOG=debug"], &[place.run()], more);
    command.arg("--journal").arg(place.journal());
    let child = command.stdout(out).stderr(log).spawn().expect("the daemon starts");
    eventually("it listens", || UnixStream::connect(place.socket()).is_ok());
    child
}

/// Ends it as a service manager would; its exit code, in time.
fn end(mut daemon: Child) -> Option<i32> {
    send_signal(daemon.id(), Signal::TERM);
    let started = Instant::now();
    loop {
        if let Some(status) = daemon.try_wait().expect("a child") {
            return status.code();
        }
        if started.elapsed() > Duration::from_secs(10) {
            daemon.kill().expect("killed");
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let place = Place::new();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").expect("opened"));
    let daemon = start(&place, &["--format", "json"], full(), full());
    place.rename_in("step_1.onnx", "one");
    let mut client = Client::connect(&place.socket());
    client.ask(&json!({"type": "subscribe", "since": 0}));
    assert_eq!(name_of(&client.next_of("measured")), "step_1.onnx");
    assert_eq!(end(daemon), Some(0));
}

#[test]
fn a_log_and_events_that_nobody_reads_stop_nothing() {
    let place = Place::new();
    let token = place.path().join("token");
    std::fs::write(&token, "a token of some length\n").expect("written");
    // A free port.
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let tcp = ["--tcp", &address.to_string(), "--tcp-token", token.to_str().expect("UTF-8"), "--format", "json"];
    let mut daemon = start(&place, &tcp, Stdio::piped(), Stdio::piped());
    // Each leaves a line in the log.
    for _ in 0..2000 {
        let mut client = TcpStream::connect(address).expect("connected");
        client.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
    }
    for step in 1..=40 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let mut client = Client::connect(&place.socket());
    client.ask(&json!({"type": "subscribe", "since": 0}));
    assert_eq!(client.outcomes(40).len(), 40);
    // Both stay unread, and open.
    let streams = (daemon.stdout.take(), daemon.stderr.take());
    assert_eq!(end(daemon), Some(0));
    drop(streams);
}

#[test]
fn clients_that_take_nothing_do_not_hold_its_end() {
    let place = Place::new();
    let daemon = start(&place, &[], Stdio::null(), File::create(place.path().join("log")).expect("a log").into());
    let deaf: Vec<_> = (0..3)
        .map(|_| {
            let mut client = UnixStream::connect(place.socket()).expect("connected");
            client.set_write_timeout(Some(Duration::from_millis(300))).expect("set");
            // Asks until the answers fill what lies between.
            while client.write_all(&b"{\"type\": \"status\"}\n".repeat(100)).is_ok() {}
            client
        })
        .collect();
    assert_eq!(end(daemon), Some(0));
    assert!(place.log().contains("saying goodbye to 3 clients"), "{}", place.log());
    assert!(!place.log().contains("it took nothing for"), "waited for until they were cut off: {}", place.log());
    drop(deaf);
}

/// `None` for a process that has ended.
fn group_of(process: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(2).map(str::to_owned)
}

#[test]
fn workers_that_are_told_to_end_are_no_attempts() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let daemon = Daemon::start(&place, &["--attempts", "1"]);
    let mut events = Client::subscribed(&daemon, 0);
    events.next_of("measured");
    for (step, signal) in [(2, Signal::INT), (3, Signal::TERM), (4, Signal::HUP)] {
        eventually("a worker is there", || !daemon.workers().is_empty());
        let workers = daemon.workers();
        assert!(
            workers
                .iter()
                .all(|worker| group_of(*worker).is_none_or(|group| Some(group) != group_of(daemon.child.id())))
        );
        for worker in &workers {
            send_signal(*worker, Signal::STOP);
        }
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        eventually("it is being measured", || {
            let status = daemon.client().ask(&json!({"type": "status"}));
            status["runs"][0]["measuring"].as_array().is_some_and(|busy| !busy.is_empty())
        });
        for worker in workers {
            send_signal(worker, signal);
            send_signal(worker, Signal::CONT);
        }
        let outcome = events.outcomes(1).remove(0);
        assert_eq!((&outcome["type"], name_of(&outcome)), (&json!("measured"), format!("step_{step}.onnx")));
    }
}

#[test]
fn ctrl_c_in_three_sessions_is_no_attempt_at_a_checkpoint() {
    let place = Place::of_fixtures();
    place.bring("endless.onnx", "step_1.onnx");
    let is_measured = || {
        let status = Client::connect(&place.socket()).ask(&json!({"type": "status"}));
        status["runs"][0]["measuring"].as_array().is_some_and(|jobs| !jobs.is_empty())
    };
    for _ in 0..3 {
        // A group of its own, as a shell gives one to what it runs in the foreground.
        let mut command = Daemon::command(&place, &["setsid"], &[place.run()], &["--backend", "onnxruntime"]);
        command.arg("--journal").arg(place.journal()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut daemon = command.spawn().expect("the daemon starts");
        eventually("it listens", || std::os::unix::net::UnixStream::connect(place.socket()).is_ok());
        eventually("it is measured", is_measured);
        let group = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process_group(group, Signal::INT).expect("sent");
        assert_eq!(daemon.wait().expect("a child").code(), Some(0));
    }
    let db = rusqlite::Connection::open(place.journal()).expect("a journal");
    let row = |row: &rusqlite::Row| Ok((row.get::<_, u32>(0)?, row.get::<_, u32>(1)?));
    let found = db.query_row("SELECT state, failures FROM checkpoints", [], row).expect("one");
    assert_eq!(found, (0, 0), "it waits, and nothing is held against it");
}

#[test]
fn workers_end_with_a_daemon_that_is_killed() {
    let place = Place::of_fixtures();
    place.bring("endless.onnx", "step_1.onnx");
    let daemon = Daemon::start(&place, &["--backend", "onnxruntime"]);
    eventually("it is measured", || {
        let status = daemon.client().ask(&json!({"type": "status"}));
        status["runs"][0]["measuring"].as_array().is_some_and(|jobs| !jobs.is_empty())
    });
    let workers = daemon.workers();
    assert!(!workers.is_empty());
    daemon.kill();
    let end = Instant::now() + PATIENCE;
    let is_there = |worker: &u32| std::path::Path::new(&format!("/proc/{worker}")).exists();
    while workers.iter().any(is_there) {
        assert!(Instant::now() < end, "they are left");
        std::thread::sleep(Duration::from_millis(20));
    }
}
