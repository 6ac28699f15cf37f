//! The daemon beside a training job: each checkpoint measured once, in order, whatever happens to its file.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use crate::common::daemon::{Client, Daemon, Place, bundled, eventually, name_of, network, property};
use crate::common::pause;
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn checkpoints_are_measured_once_and_in_order_as_they_land() {
    let place = Place::new();
    place.rename_in("step_2.onnx", "two");
    place.rename_in("checkpoint-10/model.onnx", "ten");
    place.rename_in("step_1.onnx", "one");
    // All have settled: what is due together is taken in order.
    pause(400);
    let daemon = Daemon::start(&place, &["--format", "json"]);
    let mut client = Client::subscribed(&daemon, 0);
    let names: Vec<_> = client.outcomes(3).iter().map(name_of).collect();
    assert_eq!(names, ["step_1.onnx", "step_2.onnx", "model.onnx"]);

    // Later ones: renamed, copied, in a new directory, and one that came in between.
    place.rename_in("step_12.onnx", "twelve");
    assert_eq!(name_of(&client.next_of("measured")), "step_12.onnx");
    fs::write(place.run().join("step_5.onnx"), network("five")).expect("written");
    assert_eq!(name_of(&client.next_of("measured")), "step_5.onnx");
    place.rename_in("epoch_30/model.onnx", "thirty");
    let event = client.next_of("measured");
    assert!(event["measurement"]["model"]["path"].as_str().expect("a path").ends_with("epoch_30/model.onnx"));
    assert_eq!(event["run"], place.run_name());

    eventually("all printed", || place.printed().lines().filter(|line| line.contains("\"measured\"")).count() == 6);
    let seqs: Vec<_> = place.events().iter().map(|event| event["seq"].as_i64().expect("a number")).collect();
    assert!(seqs.iter().zip(1..).all(|(seq, expected)| *seq == expected), "{seqs:?}");
    assert_eq!(daemon.end(), Some(0));

    let again = Daemon::start(&place, &[]);
    place.rename_in("step_40.onnx", "forty");
    Client::subscribed(&again, 0).until(|event| name_of(event) == "step_40.onnx" && event["type"] == "measured");
    assert!(place.outcomes("measured").iter().all(|(name, count)| *count == if name == "model.onnx" { 2 } else { 1 }));
    assert_eq!(place.outcomes("checkpoint_seen"), place.outcomes("measured"));
}

#[test]
fn half_written_files_wait_broken_ones_fail_and_the_rest_goes_on() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--give-up", "2s"]);
    let mut client = Client::subscribed(&daemon, 0);
    let bytes = network("slow");
    let mut slow = fs::File::create(place.run().join("step_1.onnx")).expect("created");
    fs::write(place.run().join("step_2.onnx"), &bytes[..bytes.len() / 2]).expect("written");
    for part in bytes.chunks(bytes.len() / 4 + 1) {
        slow.write_all(part).expect("written");
        slow.flush().expect("written");
        pause(400);
    }
    drop(slow);
    place.rename_in("step_3.onnx", "whole");
    let outcomes = client.outcomes(3);
    let kind = |name: &str| {
        let of_name: Vec<_> = outcomes.iter().filter(|event| name_of(event) == name).collect();
        assert_eq!(of_name.len(), 1, "{name}");
        of_name[0].clone()
    };
    assert_eq!(kind("step_1.onnx")["type"], "measured");
    assert_eq!(kind("step_1.onnx")["measurement"]["model"]["bytes"], bytes.len());
    assert_eq!(kind("step_3.onnx")["type"], "measured");
    assert_eq!(kind("step_2.onnx")["type"], "failed");
    assert!(kind("step_2.onnx")["reason"].as_str().expect("a reason").contains("--give-up"));

    // A failed one that is written anew.
    fs::write(place.run().join("step_2.onnx"), network("now whole")).expect("written");
    assert_eq!(name_of(&client.next_of("measured")), "step_2.onnx");
}

#[test]
fn what_is_replaced_or_removed_counts_as_it_is_in_the_end() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--settle", "2s"]);
    let mut client = Client::subscribed(&daemon, 0);
    place.rename_in("step_1.onnx", "first");
    let first = client.next_of("measured");
    // The same content again, under another time.
    place.rename_in("step_1.onnx", "first");
    assert_eq!(client.next_of("skipped")["reason"], "unchanged");
    place.rename_in("step_1.onnx", "second");
    let second = client.next_of("measured");
    let hash = |event: &Value| event["measurement"]["model"]["sha256"].clone();
    assert_ne!(hash(&first), hash(&second));
    // Back to the first: known, and the newest again.
    place.rename_in("step_1.onnx", "first");
    assert_eq!(client.next_of("skipped")["reason"], "unchanged");
    let history = place.history();
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
    assert_eq!(history[0]["measurement"]["model"]["sha256"], hash(&first));

    // Written in place, then gone before it has settled.
    fs::write(place.run().join("step_2.onnx"), network("gone")).expect("written");
    client.next_of("checkpoint_seen");
    fs::remove_file(place.run().join("step_2.onnx")).expect("removed");
    assert_eq!(client.next_of("skipped")["reason"], "gone");

    // Rewritten again and again: whatever was measured in between, the last content is.
    for round in 0..20 {
        fs::write(place.run().join("step_3.onnx"), network(&format!("round {round}"))).expect("written");
        pause(40);
    }
    let last = relstab::backend::read(&place.run().join("step_3.onnx"), None);
    let last = last.expect("a network").sha256().to_owned();
    client.until(|event| event["type"] == "measured" && hash(event) == last.as_str());
}

#[test]
fn names_of_any_bytes_are_measured() {
    let place = Place::new();
    let names: [&[u8]; 4] = [b"a b step_1.onnx", b"line\nstep_2.onnx", b"\xff\xfe step_3.onnx", b"quote\"'step_4.onnx"];
    for (at, name) in names.iter().enumerate() {
        place.rename_in(std::ffi::OsStr::from_bytes(name), &at.to_string());
    }
    std::os::unix::fs::symlink(place.run(), place.run().join("loop")).expect("linked");
    let daemon = Daemon::start(&place, &["--recursive"]);
    let found: Vec<_> = Client::subscribed(&daemon, 0).outcomes(4).iter().map(name_of).collect();
    assert_eq!(found, ["a b step_1.onnx", "line\nstep_2.onnx", "\\xff\\xfe step_3.onnx", "quote\"'step_4.onnx"]);
    assert_eq!(place.outcomes("measured").len(), 4);
}

#[test]
fn the_socket_of_a_run_without_a_checkpoint_is_that_of_who_watches_above() {
    let place = Place::new();
    let runs = place.path().join("runs");
    let child = runs.join("new/deep");
    fs::create_dir_all(&child).expect("created");
    let daemon = Daemon::start_at(&place, std::slice::from_ref(&runs), &["--recursive"]);
    let _ready = daemon.client();
    for run in [&runs, &child] {
        let asked = Command::new(env!("CARGO_BIN_EXE_relstab"))
            .arg("socket")
            .arg(run)
            .env("XDG_STATE_HOME", place.home())
            .output()
            .expect("the command runs");
        assert_eq!(String::from_utf8_lossy(&asked.stdout).trim_end(), place.socket().to_string_lossy());
    }
}

#[test]
fn new_runs_are_found_and_a_directory_may_come_back() {
    let place = Place::new();
    let runs = place.path().join("runs");
    fs::create_dir(&runs).expect("created");
    fs::copy(bundled("probe.npz"), runs.join("probe.npz")).expect("copied");
    fs::copy(bundled("relstab.toml"), runs.join("relstab.toml")).expect("copied");
    let daemon = Daemon::start_at(&place, &[place.run(), runs.clone()], &["--recursive"]);
    let mut client = Client::subscribed(&daemon, 0);
    place.rename_in("../runs/a/step_1.onnx", "a");
    place.rename_in("../runs/b/deep/step_1.onnx", "b");
    let found: Vec<_> = client.outcomes(2).iter().map(|event| event["run"].clone()).collect();
    assert!(found.iter().any(|run| run.as_str().is_some_and(|run| run.ends_with("/runs/a"))), "{found:?}");
    assert!(found.iter().any(|run| run.as_str().is_some_and(|run| run.ends_with("/runs/b/deep"))), "{found:?}");

    let kept = place.path().join("kept");
    fs::rename(place.run(), &kept).expect("moved away");
    eventually("the loss is said", || place.log().contains("waiting for it to come back"));
    fs::rename(&kept, place.run()).expect("moved back");
    place.rename_in("step_7.onnx", "seven");
    assert_eq!(name_of(&client.next_of("measured")), "step_7.onnx");
    fs::remove_dir_all(place.run()).expect("removed");
    fs::create_dir(place.run()).expect("created");
    for name in ["probe.npz", "relstab.toml"] {
        fs::copy(bundled(name), place.run().join(name)).expect("copied");
    }
    place.rename_in("step_8.onnx", "eight");
    assert_eq!(name_of(&client.next_of("measured")), "step_8.onnx");
}

#[test]
fn policies_choose_and_say_what_they_pass_over() {
    let place = Place::new();
    for step in 1..=5 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let daemon = Daemon::start(&place, &["--policy", "latest"]);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(5);
    // The scan may hand over its first finds before it has made the last.
    assert_eq!(
        outcomes.iter().filter(|event| event["type"] == "measured").map(name_of).next_back(),
        Some("step_5.onnx".to_owned())
    );
    assert!(outcomes.iter().any(|event| event["reason"] == "superseded"));
    drop(daemon);

    let place = Place::new();
    for step in 1..=7 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let daemon = Daemon::start(&place, &["--policy", "every:3"]);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(7);
    let measured: Vec<_> = outcomes.iter().filter(|event| event["type"] == "measured").map(name_of).collect();
    assert_eq!(measured, ["step_1.onnx", "step_4.onnx", "step_7.onnx"]);
}

#[test]
fn a_run_that_cannot_be_measured_says_why_and_recovers() {
    let place = Place::new();
    fs::remove_file(place.run().join("probe.npz")).expect("removed");
    place.rename_in("step_1.onnx", "one");
    let daemon = Daemon::start(&place, &[]);
    let mut client = daemon.client();
    eventually("status tells", || {
        let status = client.ask(&json!({"type": "status"}));
        status["runs"][0]["unusable"].as_str().is_some_and(|reason| reason.contains("probe.npz"))
    });
    fs::copy(bundled("probe.npz"), place.run().join("probe.npz")).expect("copied");
    assert_eq!(name_of(&Client::subscribed(&daemon, 0).next_of("measured")), "step_1.onnx");
}

#[test]
fn two_daemons_never_share_a_journal() {
    let place = Place::new();
    let _daemon = Daemon::start(&place, &[]);
    let second = place.ask("watch", &["--socket", "/tmp/never-made"]);
    assert_eq!(second.status.code(), Some(12));
    let complaint = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(complaint.contains("another daemon") && complaint.contains("pid"), "{complaint}");
}

#[test]
fn a_changed_law_predicts_anew_without_measuring() {
    let (place, daemon, measured) = Place::measured();
    assert_eq!(measured["measurement"]["prediction"]["law"]["name"], "fashionmnist-c3-strided");
    let config = "probe = 'probe.npz'\nlaw = 'fashionmnist-c3'\npreprocess = { mean = [0.2860], std = [0.3530] }\n";
    fs::write(place.run().join("relstab.toml"), config).expect("written");
    daemon.signal(Signal::HUP);
    // The network's metadata tell its error.
    eventually("history has the new law", || {
        place.history()[0]["measurement"]["prediction"]["law"]["name"] == "fashionmnist-c3+run"
    });
    assert_eq!(place.outcomes("measured").values().sum::<usize>(), 1);
}

#[test]
fn hundreds_that_land_at_once_are_measured_once_each() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--workers", "2"]);
    for step in 1..=300 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let outcomes = Client::subscribed(&daemon, 0).outcomes(300);
    assert!(outcomes.iter().all(|event| event["type"] == "measured"));
    assert_eq!(place.outcomes("measured").len(), 300);
}

#[test]
fn what_looks_wrong_is_said_once() {
    let place = Place::new();
    for name in ["weights.pt", "more.pt", "last.ckpt"] {
        fs::write(place.run().join(name), "weights").expect("written");
    }
    let daemon = Daemon::start(&place, &[]);
    eventually("a hint for each ending", || place.log().matches("torch.onnx.export").count() == 2);

    // A network that guesses on the probe images although its training found it good.
    let mut bytes = fs::read(bundled("step=000000.onnx")).expect("a network");
    bytes.extend(property("relstab.val_error", "0.05"));
    fs::write(place.run().join("step_1.onnx"), bytes).expect("written");
    let event = Client::subscribed(&daemon, 0).next_of("measured");
    let warnings = event["measurement"]["warnings"].to_string();
    assert!(warnings.contains("near chance") && warnings.contains("label order"), "{warnings}");
}

/// Without inotify, directories are looked at again and again.
#[test]
fn where_nothing_tells_of_changes_directories_are_looked_at() {
    for prepare in [
        "echo 0 > /proc/sys/user/max_inotify_watches",
        "mount -t overlay -o lowerdir=LOWER,upperdir=UPPER,workdir=WORK overlay RUN",
    ] {
        let place = Place::new();
        for name in ["lower", "upper", "work"] {
            fs::create_dir(place.path().join(name)).expect("created");
        }
        for name in ["probe.npz", "relstab.toml"] {
            fs::copy(bundled(name), place.path().join("lower").join(name)).expect("copied");
        }
        let path = |name: &str| place.path().join(name).display().to_string();
        let prepare = prepare.replace("LOWER", &path("lower")).replace("UPPER", &path("upper"));
        let prepare = prepare.replace("WORK", &path("work")).replace("RUN", &path("run"));
        let Some(mut daemon) = Daemon::start_in_namespace(&place, &prepare, &[]) else { continue };
        eventually("it is said", || place.log().contains("looking at it every 1 s instead"));
        // As the daemon sees it: the mount is its own.
        let run = format!("/proc/{}/root{}", daemon.child.id(), place.run_name());
        fs::write(std::path::Path::new(&run).join("step_1.onnx"), network("one")).expect("written");
        let mut client = daemon.client();
        client.send(&json!({"type": "subscribe", "since": 0}).to_string());
        assert_eq!(name_of(&client.next_of("measured")), "step_1.onnx");
        daemon.child.kill().expect("killed");
    }
}
