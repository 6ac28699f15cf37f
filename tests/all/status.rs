//! What a daemon says of itself: at its start, while it works, and to `relstab status`.

use std::fs;
use std::process::Command;

use crate::common::command::{json, text};
use crate::common::daemon::{Client, Daemon, Place, eventually, network};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn a_daemon_says_what_it_watches_on_which_images_engine_and_law() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--stop", "monitor=r_f,patience=7"]);
    let (run, journal) = (place.run_name(), place.journal());
    eventually("it is said", || place.log().contains("journal   "));
    for words in [
        format!("watching  {run}, files that match *.onnx"),
        format!("images    {run}/probe.npz"),
        "20 images x 1 draws, cutoff 3, delta 1".to_owned(),
        "law       fashionmnist-c3-strided".to_owned(),
        "stop      r_f, patience 7".to_owned(),
        "engine    tract".to_owned(),
        "page      none (--http".to_owned(),
        format!("journal   {}", journal.display()),
    ] {
        assert!(place.log().contains(&words), "no {words:?} in {}", place.log());
    }
    drop(daemon);
}

#[test]
fn a_finding_is_printed_when_it_first_appears() {
    let place = Place::new();
    // Nothing normalises the images, though labels say that it should: a doubt of every checkpoint.
    fs::write(place.run().join("relstab.toml"), "probe = 'probe.npz'\npreprocess = { mean = [120], std = [60] }\n")
        .expect("written");
    for step in 1..=3 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let daemon = Daemon::start(&place, &["--images", "60"]);
    Client::subscribed(&daemon, 0).outcomes(3);
    eventually("all lines", || place.printed().lines().filter(|line| line.contains('[')).count() >= 3);
    let printed = place.printed();
    assert_eq!(printed.matches("a mean of 120 is subtracted").count(), 1, "{printed}");
    assert!(printed.matches("impossible_normalisation").count() >= 3, "each line names it: {printed}");
    assert!(printed.contains("--preprocess rescale=1"), "and what to do: {printed}");
}

#[test]
fn what_waits_says_why_and_status_shows_the_daemon() {
    let place = Place::new();
    let bytes = network("half");
    fs::write(place.run().join("step_1.onnx"), &bytes[..bytes.len() / 2]).expect("written");
    let daemon = Daemon::start(&place, &["--http", "0"]);
    let reason = |entries: &serde_json::Value| entries[0]["reason"].as_str().unwrap_or_default().to_owned();
    eventually("history tells", || {
        let history = place.ask("history", &["--format", "json"]);
        history.status.success() && reason(&json(&history)).starts_with("half written, last changed ")
    });
    // Now and then a worker has it in hand, to look again.
    eventually("history tells in words", || text(&place.ask("history", &[])).contains("step_1.onnx: half written"));
    eventually("the daemon tells", || {
        let status = daemon.client().ask(&json!({"type": "status"}));
        reason(&status["runs"][0]["waiting"]).starts_with("half written")
    });
    let words = [format!("daemon {}", daemon.child.id()), place.run_name(), "1 waiting".into(), "half written".into()];
    eventually("status tells", || {
        let told = place.ask("status", &[]);
        told.status.code() == Some(0) && words.iter().all(|words| text(&told).contains(words))
    });
    let journal = place.journal();
    let mut all = Command::new(env!("CARGO_BIN_EXE_relstab"));
    let all = all.args(["status", "--format", "json", "--journal"]).arg(&journal).output();
    let all = json(&all.expect("the command runs"));
    assert_eq!(all[0]["runs"][0]["run"], place.run_name(), "{all}");
    drop(daemon);
    let told = place.ask("status", &[]);
    assert!(told.status.code() == Some(12) && text(&told).contains("no daemon runs"), "{}", text(&told));
}

#[test]
fn a_daemon_that_stands_still_holds_no_command() {
    let (place, daemon, _) = Place::measured();
    daemon.signal(Signal::STOP);
    std::thread::scope(|scope| {
        for command in ["status", "forget", "retry"] {
            let place = &place;
            scope.spawn(move || {
                let told = place.ask(command, &[]);
                assert!(!told.status.success() && text(&told).contains("no answer within 10 s"), "{}", text(&told));
            });
        }
    });
}
