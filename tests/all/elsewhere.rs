//! Workers that a command starts, as on another machine.

use crate::common::daemon::{Daemon, Place, eventually};
use rustix::process::{Pid, Signal, kill_process_group};

/// A shell that has the worker behind pipes, as ssh has.
fn piped(worker: &str) -> String {
    format!("cat | '{}' {worker} | cat", env!("CARGO_BIN_EXE_relstab"))
}

fn values(place: &Place) -> Vec<(String, String)> {
    let values = |event: &serde_json::Value| {
        let measurement = &event["measurement"];
        (measurement["model"]["path"].to_string(), measurement["r_f"]["value"].to_string())
    };
    place.events().iter().filter(|event| event["type"] == "measured").map(values).collect()
}

#[test]
fn a_command_starts_workers_that_measure_as_local_ones_do() {
    let local = {
        let place = Place::new();
        place.rename_in("step_1.onnx", "a");
        let daemon = Daemon::start(&place, &[]);
        eventually("the local worker measures", || values(&place).len() == 1);
        daemon.end();
        values(&place)
    };
    let place = Place::new();
    place.rename_in("step_1.onnx", "a");
    let daemon = Daemon::start(&place, &["--worker-command", &piped("worker --memory-limit 8GiB")]);
    eventually("the other worker measures", || values(&place).len() == 1);
    assert_eq!(values(&place)[0].1, local[0].1);
    // What relays dies; the next checkpoint has a new worker.
    for worker in daemon.workers() {
        let _ = kill_process_group(Pid::from_raw(worker as i32).expect("a process"), Signal::KILL);
    }
    place.rename_in("step_2.onnx", "b");
    eventually("another worker measures", || values(&place).len() == 2);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_worker_that_limits_itself_ends_when_it_grows() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--worker-command", &piped("worker --memory-limit 1MiB"), "--attempts", "1"]);
    place.rename_in("step_1.onnx", "a");
    eventually("the limit is told", || place.log().contains("it needs more than 1.0 MiB (--memory-limit)"));
    assert_eq!(daemon.end(), Some(0));
    assert!(place.outcomes("measured").is_empty());
}

#[test]
fn what_is_no_worker_of_this_version_is_refused_and_nothing_fails() {
    let hello = r#"{"reply":{"type":"hello","version":"0.0.1","host":"elsewhere"},"rest":{"secs":0,"nanos":0}}"#;
    for (command, told) in [
        (format!("echo '{hello}'; cat > /dev/null"), "the worker on elsewhere is relstab 0.0.1"),
        ("echo Welcome to elsewhere".to_owned(), "it said what is no reply: Welcome to elsewhere"),
        ("no-such-program".to_owned(), "a worker ended before it began"),
    ] {
        let place = Place::new();
        let daemon = Daemon::start(&place, &["--worker-command", &command]);
        place.rename_in("step_1.onnx", "a");
        eventually(told, || place.log().contains(told));
        assert!(place.outcomes("failed").is_empty(), "{command}");
        assert_eq!(daemon.end(), Some(0));
    }
}
