//! A daemon whose runs are forgotten, given other settings and rules, while checkpoints are in a worker's hands.

use std::fs;

use crate::common::daemon::{Client, Daemon, Place, eventually, name_of, send_signal};
use rustix::process::Signal;
use serde_json::{Value, json};

const CONFIG: &str = "probe = 'probe.npz'\npreprocess = { mean = [0.2860], std = [0.3530] }\n";

fn configure(place: &Place, more: &str) {
    fs::write(place.run().join("relstab.toml"), format!("{CONFIG}{more}")).expect("written");
}

fn signal(processes: &[u32], signal: Signal) {
    for process in processes {
        send_signal(*process, signal);
    }
}

/// A daemon that has measured one checkpoint, and what it says.
fn started(place: &Place) -> (Daemon, Client) {
    place.rename_in("step_1.onnx", "one");
    let daemon = Daemon::start(place, &[]);
    let mut events = Client::subscribed(&daemon, 0);
    events.next_of("measured");
    (daemon, events)
}

/// Another checkpoint, in the hands of a worker that stands still.
fn in_hand(place: &Place, daemon: &Daemon, client: &mut Client, name: &str) -> Vec<u32> {
    let workers = daemon.workers();
    signal(&workers, Signal::STOP);
    place.rename_in(name, name);
    eventually("it is being measured", || {
        let status = client.ask(&json!({"type": "status"}));
        status["runs"][0]["measuring"].as_array().is_some_and(|busy| !busy.is_empty())
    });
    workers
}

#[test]
fn forgetting_a_run_with_a_checkpoint_in_hand_stops_nothing() {
    let place = Place::new();
    let (daemon, mut events) = started(&place);
    let workers = in_hand(&place, &daemon, &mut daemon.client(), "step_2.onnx");
    let forgotten = daemon.client().ask(&json!({"type": "forget", "run": place.run_name()}));
    assert_eq!(forgotten["type"], "forgotten");
    signal(&workers, Signal::CONT);
    place.rename_in("step_3.onnx", "three");
    events.until(|event| event["type"] == "measured" && name_of(event) == "step_3.onnx");
    eventually("all are measured once more", || place.history().as_array().map(Vec::len) == Some(3));
    assert_eq!(daemon.client().ask(&json!({"type": "status"}))["journal_writable"], true);
}

#[test]
fn settings_that_change_with_a_checkpoint_in_hand_measure_it_anew_and_may_be_changed_back() {
    let place = Place::new();
    configure(&place, "");
    let (daemon, _) = started(&place);
    let workers = in_hand(&place, &daemon, &mut daemon.client(), "step_2.onnx");
    configure(&place, "perturbation = { cutoff = 4 }\n");
    daemon.signal(Signal::HUP);
    let cutoffs = |place: &Place| -> Vec<Value> {
        let history = place.history();
        let all = history.as_array().expect("a list").iter();
        all.map(|entry| entry["measurement"]["settings"]["cutoff"].clone()).collect()
    };
    // The first is seen anew while the second is in hand.
    eventually("the reload is heard", || place.log().contains("reading the configuration again"));
    signal(&workers, Signal::CONT);
    eventually("both have the new settings", || cutoffs(&place) == [4, 4]);
    let measured = place.outcomes("measured");

    configure(&place, "");
    daemon.signal(Signal::HUP);
    eventually("the first counts again, the second is measured", || cutoffs(&place) == [3, 3]);
    assert_eq!(measured["step_1.onnx"], 2);
    assert_eq!(place.outcomes("measured")["step_1.onnx"], 2, "it was measured so before");
}

#[test]
fn a_run_without_rules_is_not_stopped() {
    let place = Place::new();
    configure(&place, "[[stop]]\nmonitor = 'r_f'\npatience = 1\nbaseline = 0.0\n");
    place.rename_in("step_1.onnx", "one");
    place.rename_in("step_2.onnx", "two");
    let daemon = Daemon::start(&place, &[]);
    Client::subscribed(&daemon, 0).next_of("stop");
    configure(&place, "");
    daemon.signal(Signal::HUP);
    eventually("it goes on", || daemon.client().ask(&json!({"type": "status"}))["runs"][0]["stopped"] == false);
}

#[test]
fn a_precision_is_the_same_for_all_of_a_run() {
    let place = Place::new();
    for step in 1..=6 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let daemon = Daemon::start(&place, &["--workers", "3", "--precision", "0.3"]);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(6);
    let taken = |event: &Value| {
        let measurement = &event["measurement"];
        (measurement["probe"]["images"].clone(), measurement["settings"]["draws"].clone())
    };
    let first = taken(&outcomes[0]);
    assert!(outcomes.iter().all(|event| taken(event) == first), "{:?}", outcomes.iter().map(taken).collect::<Vec<_>>());
}

#[test]
fn checkpoints_that_wait_and_go_are_measured_when_they_are_back() {
    let place = Place::new();
    let (daemon, mut events) = started(&place);
    let workers = in_hand(&place, &daemon, &mut daemon.client(), "step_2.onnx");
    place.rename_in("step_3.onnx", "three");
    events.until(|event| event["type"] == "checkpoint_seen" && name_of(event) == "step_3.onnx");
    let away = place.path().join("away");
    fs::rename(place.run().join("step_3.onnx"), &away).expect("moved");
    signal(&workers, Signal::CONT);
    events.until(|event| event["type"] == "skipped" && name_of(event) == "step_3.onnx");
    fs::rename(&away, place.run().join("step_3.onnx")).expect("moved back");
    events.until(|event| event["type"] == "measured" && name_of(event) == "step_3.onnx");
}
