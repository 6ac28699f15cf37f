//! What the daemon must survive. `RELSTAB_KILLS=100 cargo test --test all survival` kills it a hundred times instead of fifteen.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::common::daemon::{Client, Daemon, Place, eventually, fill, name_of, network, property, send_signal};
use crate::common::{Dice, pause, variable};
use relstab::journal::Journal;
use rustix::process::Signal;
use serde_json::{Value, json};

fn kills() -> u64 {
    variable("RELSTAB_KILLS", 15)
}

fn assert_sound(journal: &Path) {
    let db = rusqlite::Connection::open(journal).expect("a journal");
    let checked: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("an answer");
    assert_eq!(checked, "ok");
}

#[test]
fn killed_at_any_moment_it_misses_and_repeats_nothing() {
    let place = Place::new();
    let mut dice = Dice(7);
    let mut step = 0;
    let mut since = 0;
    let mut heard = Vec::new();
    for _ in 0..kills() {
        let daemon = Daemon::start(&place, &[]);
        let mut client = Client::subscribed(&daemon, since);
        for _ in 0..4 {
            step += 1;
            place.rename_in(format!("step_{step}.onnx"), &step.to_string());
            pause(dice.below(25));
        }
        // One event is surely there: the files of this round were at least seen.
        let event = client.next();
        since = event["seq"].as_i64().unwrap_or(since);
        heard.push(event);
        pause(dice.below(60));
        daemon.kill();
    }
    let daemon = Daemon::start(&place, &[]);
    let mut client = Client::subscribed(&daemon, since);
    eventually("all measured", || place.outcomes("measured").len() == step);
    let last = Journal::read(&place.journal()).expect("a journal").last_seq().expect("read");
    heard.extend(client.until(|event| event["seq"] == last));
    assert!(place.outcomes("measured").values().all(|count| *count == 1), "{:?}", place.outcomes("measured"));
    assert!(place.outcomes("checkpoint_seen").values().all(|count| *count == 1));
    assert!(place.outcomes("failed").is_empty() && place.outcomes("skipped").is_empty());
    // One who comes back each time with the last seq it heard hears each event once.
    let seqs: Vec<_> = heard.iter().filter_map(|event| event["seq"].as_i64()).collect();
    assert!(seqs.iter().zip(1..).all(|(seq, expected)| *seq == expected), "{seqs:?}");
    assert_eq!(daemon.end(), Some(0));
    assert_sound(&place.journal());
}

#[test]
fn killed_workers_cost_nothing_but_time() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--attempts", "100", "--images", "200"]);
    let mut dice = Dice(3);
    for step in 1..=20 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    // The run is planned: three workers that die of planning would hold it back for a minute.
    Client::subscribed(&daemon, 0).next_of("checkpoint_seen");
    for round in 0..kills() {
        pause(dice.below(40));
        for worker in daemon.workers() {
            send_signal(worker, if round % 2 == 0 { Signal::KILL } else { Signal::ABORT });
        }
    }
    eventually("all measured", || place.outcomes("measured").len() == 20);
    assert!(place.outcomes("measured").values().all(|count| *count == 1));
}

#[test]
fn workers_that_end_after_each_checkpoint_are_handed_no_more() {
    let place = Place::new();
    for step in 1..=8 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let daemon = Daemon::start(&place, &["--worker-idle", "0s", "--attempts", "1"]);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(8);
    assert!(outcomes.iter().all(|event| event["type"] == "measured"), "{outcomes:?}");
    eventually("no worker left", || daemon.workers().is_empty());
}

#[test]
fn a_worker_that_stands_still_holds_up_nobody() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    // A plan as long as it may be.
    let export = format!("true {{checkpoint}} {{onnx}} {}", "x".repeat(60_000));
    let flags = ["--attempts", "1", "--timeout", "10s", "--pattern", "*.onnx", "--export", &export];
    let daemon = Daemon::start(&place, &flags);
    let mut client = Client::subscribed(&daemon, 0);
    client.next_of("measured");
    daemon.workers().into_iter().for_each(|worker| send_signal(worker, Signal::STOP));
    place.rename_in("step_2.onnx", "two");
    client.until(|event| event["type"] == "checkpoint_seen");
    assert_eq!(daemon.client().ask(&json!({"type": "status"}))["type"], "status");
    let outcome = client.outcomes(1).remove(0);
    assert_eq!((&outcome["type"], name_of(&outcome)), (&json!("measured"), "step_2.onnx".to_owned()));
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn networks_that_hang_or_eat_memory_are_set_aside() {
    let place = Place::of_fixtures();
    place.bring("endless.onnx", "step_1.onnx");
    place.bring("hungry.onnx", "step_2.onnx");
    place.bring("plain.onnx", "step_3.onnx");
    let limits = ["--timeout", "4s", "--memory-limit", "256MiB", "--attempts", "2", "--backend", "onnxruntime"];
    let daemon = Daemon::start(&place, &limits);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(3);
    let reason = |name: &str| {
        let event = outcomes.iter().find(|event| name_of(event) == name).expect(name);
        event["reason"].as_str().unwrap_or_default().to_owned()
    };
    assert!(reason("step_1.onnx").contains("--timeout") && reason("step_1.onnx").contains("2 times"), "{outcomes:?}");
    assert!(reason("step_2.onnx").contains("--memory-limit"), "{outcomes:?}");
    assert!(outcomes.iter().any(|event| name_of(event) == "step_3.onnx" && event["type"] == "measured"));

    // A longer limit, and the failed ones are tried again; the endless one is gone.
    drop(daemon);
    assert!(place.ask("retry", &[]).status.success());
    fs::remove_file(place.run().join("step_1.onnx")).expect("removed");
    let daemon = Daemon::start(&place, &["--timeout", "50s", "--attempts", "1", "--backend", "tract"]);
    let seq = Journal::read(&place.journal()).expect("a journal").last_seq().expect("read");
    let again = Client::subscribed(&daemon, seq - 1).outcomes(1);
    assert!(!again.is_empty());
    eventually("the hungry one fits now", || place.outcomes("measured").contains_key("step_2.onnx"));
}

#[test]
fn external_data_may_come_later_and_a_checkpoint_of_odd_metadata_costs_only_itself() {
    let place = Place::of_fixtures();
    let daemon = Daemon::start(&place, &[]);
    let mut client = Client::subscribed(&daemon, 0);
    place.bring("resnet_external.onnx", "resnet_external.onnx");
    let mut odd = fs::read(crate::common::project("tests/fixtures/plain.onnx")).expect("a network");
    odd.extend(property("relstab.mean", "0.5,0.5"));
    fs::write(place.run().join("step_1.onnx"), odd).expect("written");
    let failed = client.next_of("failed");
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("relstab.mean")), "{failed}");
    place.bring("resnet_external.onnx.data", "resnet_external.onnx.data");
    assert_eq!(name_of(&client.next_of("measured")), "resnet_external.onnx");
}

#[test]
fn weights_of_any_name_are_awaited_while_they_are_zeros_and_measured_again_when_they_change() {
    let place = Place::of_fixtures();
    let daemon = Daemon::start(&place, &[]);
    let mut client = Client::subscribed(&daemon, 0);
    let whole = fs::read(crate::common::project("tests/fixtures/hard/outside.bin")).expect("weights");
    let weights = place.run().join("outside.bin");
    fs::write(&weights, vec![0; whole.len()]).expect("allocated");
    place.bring("hard/outside.onnx", "step_1.onnx");
    client.next_of("checkpoint_seen");
    pause(300);
    assert!(place.outcomes("measured").is_empty() && place.outcomes("failed").is_empty());
    // Somebody fills it slowly: half of it is measured, and then the whole.
    let mut file = fs::File::options().write(true).open(&weights).expect("there");
    file.write_all(&whole[..whole.len() / 2]).expect("half");
    let half = client.next_of("measured");
    file.write_all(&whole[whole.len() / 2..]).expect("the rest");
    drop(file);
    let filled = client.next_of("measured");
    let of = |event: &Value| (event["measurement"]["model"]["sha256"].clone(), event["measurement"]["r_f"].clone());
    assert!(name_of(&filled) == "step_1.onnx" && of(&half) != of(&filled), "{half} {filled}");
    let expected = relstab::backend::read(&place.run().join("step_1.onnx"), None).expect("a network");
    assert_eq!(of(&filled).0, expected.sha256());
}

#[test]
fn asked_to_end_it_says_goodbye_in_time_and_goes_on_later() {
    let place = Place::of_fixtures();
    place.bring("endless.onnx", "step_1.onnx");
    let daemon = Daemon::start(&place, &["--backend", "onnxruntime"]);
    let mut client = Client::subscribed(&daemon, 0);
    eventually("it is measured", || {
        let status = daemon.client().ask(&json!({"type": "status"}));
        status["runs"][0]["measuring"].as_array().is_some_and(|jobs| !jobs.is_empty())
    });
    let started = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(client.next_of("goodbye")["type"], "goodbye");
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}", started.elapsed());
    drop(daemon);
    assert!(place.outcomes("failed").is_empty());
    place.bring("plain.onnx", "step_1.onnx");
    let daemon = Daemon::start(&place, &[]);
    assert_eq!(name_of(&Client::subscribed(&daemon, 0).next_of("measured")), "step_1.onnx");
}

#[test]
fn a_full_disk_is_said_and_outlived() {
    let place = Place::new();
    // A small file system of its own.
    let disk = place.path().join("state");
    fs::create_dir(&disk).expect("created");
    let prepare = format!("mount -t tmpfs -o size=1m tmpfs {}", disk.display());
    let Some(daemon) = Daemon::start_in_namespace(&place, &prepare, &[]) else { return };
    let seen_from_here = format!("/proc/{}/root{}", daemon.child.id(), disk.canonicalize().expect("there").display());
    let seen_from_here = Path::new(&seen_from_here);
    let filler = seen_from_here.join("filler");
    fill(&filler);
    let mut step = 0;
    eventually("it says so", || {
        step += 1;
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        place.log().contains("trying again")
    });
    let mut client = Client::connect(&place.socket());
    for _ in 0..3 {
        step += 1;
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    // It tries again and again.
    std::thread::sleep(Duration::from_secs(5));
    eventually("it cannot write", || client.ask(&json!({"type": "status"}))["journal_writable"] == false);
    assert_eq!(place.log().matches("trying again").count(), 1, "{}", place.log());
    fs::remove_file(&filler).expect("removed");
    let measured = || {
        let mut client = Client::connect(&place.socket());
        client.ask(&json!({"type": "status"}))["runs"][0]["measured"].as_u64()
    };
    eventually("all is measured once there is room", || measured() == Some(step));
    client.send(&json!({"type": "subscribe", "since": 0}).to_string());
    let mut counts = BTreeMap::new();
    for event in client.until(|event| event["type"] == "measured" && name_of(event) == format!("step_{step}.onnx")) {
        if event["type"] == "measured" {
            *counts.entry(name_of(&event)).or_insert(0) += 1;
        }
    }
    assert!(counts.values().all(|count| *count == 1), "{counts:?}");
}

#[test]
fn a_clock_that_is_wrong_delays_nothing() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &[]);
    let mut client = Client::subscribed(&daemon, 0);
    let year = Duration::from_hours(365 * 24);
    for (step, time) in [(1, SystemTime::now() + year), (2, SystemTime::now() - year)] {
        let mut file = fs::File::create(place.run().join(format!("step_{step}.onnx"))).expect("created");
        file.write_all(&network(&step.to_string())).expect("written");
        file.set_modified(time).expect("set");
    }
    let started = Instant::now();
    let outcomes: Vec<Value> = client.outcomes(2);
    assert!(outcomes.iter().all(|event| event["type"] == "measured"));
    assert!(started.elapsed() < Duration::from_secs(10));
}
