//! Where the operating system lets the daemon have little, and clients ask much.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::common::daemon::{Client, Daemon, Place, eventually, name_of};
use crate::common::http::{get, start};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::{Value, json};

fn status(daemon: &Daemon) -> Value {
    daemon.client().ask(&json!({"type": "status"}))
}

fn started_with(place: &Place, limit: &str) -> Daemon {
    let journal = place.journal();
    Daemon::start_after(place, limit, &[place.run()], &["--journal", journal.to_str().expect("UTF-8")])
}

#[test]
fn few_open_files_turn_clients_away_and_stop_nothing() {
    let place = Place::new();
    let daemon = started_with(&place, "ulimit -n 32");
    let clients: Vec<_> = (0..60).filter_map(|_| UnixStream::connect(place.socket()).ok()).collect();
    for step in 1..=3 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    drop(clients);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(3);
    assert!(outcomes.iter().all(|event| event["type"] == "measured"), "{outcomes:?}");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn files_that_may_not_grow_are_as_a_full_disk() {
    let place = Place::new();
    let daemon = started_with(&place, "ulimit -S -f 600");
    let mut steps = 0;
    eventually("it cannot write", || {
        steps += 1;
        place.rename_in(format!("step_{steps}.onnx"), &steps.to_string());
        status(&daemon)["journal_writable"] == false
    });
    let process = i32::try_from(daemon.child.id()).ok().and_then(Pid::from_raw);
    let all = Rlimit { current: None, maximum: None };
    prlimit(process, Resource::Fsize, all).expect("a limit that may be raised");
    eventually("all are measured", || status(&daemon)["runs"][0]["measured"] == steps);
    assert_eq!(daemon.end(), Some(0));
}

/// As another user than root, whom the limit does not bind.
#[test]
fn where_too_few_threads_may_start_the_daemon_says_so_and_ends() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let command = place.path().join("relstab");
    fs::copy(env!("CARGO_BIN_EXE_relstab"), &command).expect("copied");
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(place.path()).status();
    assert!(owned.expect("run").success());
    for limit in [3, 8] {
        let limited = format!("--nproc={limit}");
        let mut daemon = Command::new("setpriv");
        daemon.args(["--reuid=65534", "--regid=65534", "--clear-groups", "prlimit", &limited]).arg(&command);
        daemon.arg("watch").arg(place.run()).args(["--backend", "tract"]).env("XDG_STATE_HOME", place.home());
        let done = daemon.output().expect("it ends");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code().is_some_and(|code| code > 0 && code < 100), "{limit}: {said}");
        assert!(said.contains("ulimit -u") && !said.contains("panicked"), "{limit}: {said}");
    }
}

#[test]
fn a_journal_that_is_removed_is_said() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &[]);
    assert_eq!(status(&daemon)["journal_writable"], true);
    std::fs::remove_file(place.journal()).expect("removed");
    assert_eq!(status(&daemon)["journal_writable"], false);
    eventually("it is said", || place.log().contains("removed or replaced"));
    place.rename_in("step_1.onnx", "one");
    assert_eq!(name_of(&Client::subscribed(&daemon, 0).next_of("measured")), "step_1.onnx");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn those_who_follow_events_leave_places_for_health_checks() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raised");
    let place = Place::new();
    let (_daemon, address) = start(&place, &[]);
    let follow = || {
        let mut stream = TcpStream::connect(&address).expect("connected");
        write!(stream, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("sent");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("an answer");
        assert!(line.contains("503") || line.contains("200"), "{line}");
        (stream, line.contains("200"))
    };
    let followers: Vec<_> = (0..1000).map(|_| follow()).collect();
    assert_eq!(followers.iter().filter(|(_, is_followed)| *is_followed).count(), 960);
    assert_eq!(get(&address, "/healthz", "").0, 200);
    drop(followers);
    eventually("there are places again", || follow().1);
}
