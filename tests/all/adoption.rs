//! What was measured of a directory is known whatever set is watched with it, and one daemon watches it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::common::daemon::{Client, Daemon, Place, name_of};
use relstab::journal::{Journal, Lock};
use serde_json::{Value, json};

fn relstab(place: &Place, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relstab"))
        .args(arguments)
        .env("XDG_STATE_HOME", place.home())
        .output()
        .expect("the command runs")
}

fn history(place: &Place, run: &Path) -> Value {
    let printed = relstab(place, &["history", run.to_str().expect("UTF-8"), "--format", "json"]);
    serde_json::from_slice(&printed.stdout).expect("JSON")
}

#[test]
fn a_directory_inside_a_watched_one_is_watched_already() {
    let place = Place::new();
    let (inner, outer) = (place.run(), place.path().to_owned());
    let refused = |arguments: &[&str], watching: &Daemon| {
        let socket = place.path().join("another");
        let socket = ["--socket", socket.to_str().expect("UTF-8")];
        let refused = relstab(&place, &[&["watch"], arguments, &socket[..]].concat());
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(12), "{complaint}");
        assert!(complaint.contains(&watching.child.id().to_string()), "{complaint}");
    };
    let (inner, outer) = (inner.to_str().expect("UTF-8"), outer.to_str().expect("UTF-8"));
    let daemon = Daemon::start_after(&place, "true", &[inner.into()], &[]);
    refused(&[outer, "--recursive"], &daemon);
    assert_eq!(daemon.end(), Some(0));
    let daemon = Daemon::start_after(&place, "true", &[outer.into()], &["--recursive"]);
    refused(&[inner], &daemon);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_journal_of_another_run_that_is_damaged_hides_no_run() {
    let place = Place::new();
    let (first, second) = (place.run(), place.add_run("second"));
    for run in [&first, &second] {
        place.rename_in(run.join("step_1.onnx"), "one");
        let daemon = Daemon::start_after(&place, "true", std::slice::from_ref(run), &[]);
        Client::subscribed(&daemon, 0).next_of("measured");
        assert_eq!(daemon.end(), Some(0));
    }
    let journals = fs::read_dir(place.home().join("relstab")).expect("a folder").flatten();
    let mut journals = journals.map(|entry| entry.path().join("journal.sqlite")).filter(|path| path.exists());
    let of = |path: &Path, run: &Path| {
        let run = run.canonicalize().expect("there");
        Journal::read(path).and_then(|journal| journal.find_run(&run.to_string_lossy())).expect("read").is_some()
    };
    let damaged = journals.find(|path| of(path, &second)).expect("a journal of the second");
    // All but the first page, which says what the file is.
    let mut bytes = fs::read(&damaged).expect("read");
    bytes[4096..].fill(0x55);
    fs::write(&damaged, bytes).expect("written");
    assert_eq!(history(&place, &first)[0]["step"], 1);
    let told = relstab(&place, &["history", second.to_str().expect("UTF-8")]);
    let complaint = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(complaint.contains(damaged.to_str().expect("UTF-8")), "its own that is damaged is named: {complaint}");
}

#[test]
fn a_run_is_known_whatever_it_is_watched_with_and_by_one_daemon() {
    let place = Place::new();
    let (first, second) = (place.run(), place.add_run("second"));
    place.rename_in("step_1.onnx", "one");
    let daemon = Daemon::start_after(&place, "true", std::slice::from_ref(&first), &[]);
    let mut client = Client::subscribed(&daemon, 0);
    client.next_of("measured");
    let told = json!({"type": "annotate", "run": place.run_name(), "step": 1, "val_error": 0.25});
    daemon.client().ask(&told);
    client.next_of("annotated");
    assert_eq!(daemon.end(), Some(0));

    place.rename_in("../second/step_7.onnx", "seven");
    let both = [first.clone(), second.clone()];
    let daemon = Daemon::start_after(&place, "true", &both, &[]);
    let mut client = Client::subscribed(&daemon, 0);
    let events = client.until(|event| event["type"] == "measured" && name_of(event) == "step_7.onnx");
    let told: Vec<_> =
        events.iter().map(|event| (event["seq"].as_i64(), event["type"].as_str(), name_of(event))).collect();
    let names = ["checkpoint_seen", "measured", "annotated"];
    assert!(told.iter().zip(names).all(|((_, kind, _), name)| *kind == Some(name)), "{told:?}");
    assert!(told.iter().zip(1..).all(|((seq, ..), number)| *seq == Some(number)), "{told:?}");
    assert_eq!(told.iter().filter(|(_, kind, name)| *kind == Some("measured") && name == "step_1.onnx").count(), 1);
    assert_eq!(history(&place, &first)[0]["val_error"], 0.25);

    let socket = place.path().join("another");
    let refused =
        relstab(&place, &["watch", first.to_str().expect("UTF-8"), "--socket", socket.to_str().expect("UTF-8")]);
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(12), "{complaint}");
    assert!(complaint.contains("watched by another daemon") && complaint.contains(&daemon.child.id().to_string()));
    assert_eq!(daemon.end(), Some(0));

    // And back.
    place.rename_in("step_2.onnx", "two");
    let daemon = Daemon::start_after(&place, "true", std::slice::from_ref(&first), &[]);
    let mut client = Client::subscribed(&daemon, 0);
    let events = client.until(|event| event["type"] == "measured" && name_of(event) == "step_2.onnx");
    assert_eq!(events.iter().filter(|event| event["type"] == "measured").count(), 2, "{events:?}");
    drop(daemon);
    assert_eq!(history(&place, &first).as_array().map(Vec::len), Some(2));
    assert_eq!(history(&place, &second).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_run_is_taken_over_from_a_journal_that_a_command_holds_for_a_moment() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let daemon = Daemon::start_after(&place, "true", &[place.run()], &[]);
    Client::subscribed(&daemon, 0).next_of("measured");
    assert_eq!(daemon.end(), Some(0));
    let journals = fs::read_dir(place.home().join("relstab")).expect("a folder").flatten();
    let mut journals = journals.map(|entry| entry.path().join("journal.sqlite")).filter(|path| path.exists());
    let lock = Lock::take(&journals.next().expect("a journal"), "").expect("free");
    let held = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(700));
        drop(lock);
    });
    let _daemon = Daemon::start_after(&place, "true", &[place.run(), place.add_run("second")], &[]);
    held.join().expect("no panic");
    assert!(place.log().contains("taken over: 1 runs"), "{}", place.log());
}

#[test]
fn history_and_best_are_told_by_a_journal_that_cannot_be_written() {
    let (place, daemon, _) = Place::measured();
    // What it wrote last is in the log beside the journal.
    daemon.kill();
    let state = place.journal().parent().expect("a folder").to_owned();
    assert!(state.join("journal.sqlite-wal").exists());
    let copies = place.path().join("copies");
    std::fs::create_dir(&copies).expect("made");
    for command in ["history", "best"] {
        let script = format!(
            "mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec {1} {command} {2} --journal {3}",
            state.display(),
            env!("CARGO_BIN_EXE_relstab"),
            place.run().display(),
            place.journal().display()
        );
        let unshare = ["--user", "--map-root-user", "--mount", "sh", "-c", &script];
        let printed = Command::new("unshare").args(unshare).env("TMPDIR", &copies).output().expect("unshare runs");
        let complaint = String::from_utf8_lossy(&printed.stderr).to_lowercase();
        if complaint.contains("not permitted") || complaint.contains("permission denied") {
            eprintln!("passed over, namespaces are forbidden here: {complaint}");
            return;
        }
        let text = String::from_utf8_lossy(&printed.stdout).into_owned();
        let told = if command == "best" { "step_1.onnx" } else { "R_f" };
        assert!(printed.status.success() && text.contains(told), "{command}: {text} {complaint}");
    }
    assert_eq!(std::fs::read_dir(copies).expect("there").count(), 0, "nothing is left behind");
}
