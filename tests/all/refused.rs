//! What cannot be written or shown as it is: records that the journal never takes, and names that a terminal would obey.

use std::fs;

use crate::common::daemon::{Client, Daemon, Place, bundled, eventually, name_of};
use crate::common::http::{get, start};
use serde_json::{Value, json};

fn status(daemon: &Daemon) -> Value {
    daemon.client().ask(&json!({"type": "status"}))
}

/// A journal that never takes what these rules refuse, each of a table and a condition.
fn poison(place: &Place, rules: &[(&str, &str)]) {
    let poison = |(number, (table, condition)): (usize, &(&str, &str))| {
        format!(
            "CREATE TRIGGER poison{number} BEFORE INSERT ON {table} WHEN {condition}
             BEGIN SELECT RAISE(ABORT, 'poison'); END;"
        )
    };
    let poisons: String = rules.iter().enumerate().map(poison).collect();
    rusqlite::Connection::open(place.journal()).and_then(|db| db.execute_batch(&poisons)).expect("made");
}

#[test]
fn what_the_journal_never_takes_costs_only_its_checkpoint_or_run() {
    let mut place = Place::new();
    place.log_level = "error";
    Daemon::start(&place, &[]).end();
    poison(
        &place,
        &[
            ("events", "new.body LIKE '%\"measured\"%step_1.onnx%'"),
            ("events", "new.body LIKE '%checkpoint_seen%step_2.onnx%'"),
            ("checkpoints", "new.path LIKE '%step_3.onnx'"),
            ("runs", "new.path LIKE '%/refused'"),
            ("events", "new.body LIKE '%\"alert\"%'"),
        ],
    );
    for step in 1..=4 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    place.rename_in("refused/step_5.onnx", "five");
    place.rename_in("other/step_6.onnx", "six");
    for run in ["refused", "other"] {
        fs::copy(bundled("probe.npz"), place.run().join(run).join("probe.npz")).expect("copied");
        let config = "probe = 'probe.npz'\npreprocess = { mean = [0.2860], std = [0.3530] }\n";
        fs::write(place.run().join(run).join("relstab.toml"), config).expect("written");
    }
    let flags = ["--recursive", "--alert", "on=failure"];
    let mut daemon = Daemon::start(&place, &flags);
    for life in ["first", "second"] {
        let outcomes = Client::subscribed(&daemon, 0).outcomes(4);
        let of = |kind: &str| {
            let mut names: Vec<_> = outcomes.iter().filter(|event| event["type"] == kind).map(name_of).collect();
            names.sort();
            names
        };
        assert_eq!(of("measured"), ["step_4.onnx", "step_6.onnx"], "{life}: {outcomes:?}");
        assert_eq!(of("failed"), ["step_1.onnx", "step_2.onnx"], "{life}: {outcomes:?}");
        let failed = outcomes.iter().filter(|event| event["type"] == "failed");
        assert!(failed.clone().all(|event| event["reason"].as_str().is_some_and(|text| text.contains("poison"))));
        let step = if life == "first" { 7 } else { 8 };
        place.rename_in(format!("step_{step}.onnx"), life);
        eventually("the next is measured", || place.outcomes("measured").contains_key(&format!("step_{step}.onnx")));
        assert_eq!(status(&daemon)["journal_writable"], true, "{life}");
        if life == "first" {
            assert_eq!(daemon.end(), Some(0));
            daemon = Daemon::start(&place, &flags);
        }
    }
    let log = place.log();
    assert!(log.contains("step_3.onnx") && log.contains("/refused: it is passed over"), "{log}");
    assert!(!log.contains("trying again"), "{log}");
    assert_eq!(place.outcomes("failed").into_values().sum::<usize>(), 2, "each once");
}

#[test]
fn a_skip_that_the_journal_never_takes_holds_nothing_up() {
    let place = Place::new();
    Daemon::start(&place, &[]).end();
    poison(&place, &[("events", "new.body LIKE '%\"skipped\"%'")]);
    for step in 1..=5 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let daemon = Daemon::start(&place, &["--policy", "latest"]);
    let mut client = Client::subscribed(&daemon, 0);
    // The scan may hand over its first finds before it has made the last.
    let measured = 1 + (0..5).take_while(|_| name_of(&client.next_of("measured")) != "step_5.onnx").count();
    assert!(measured < 5, "one measures while the others come");
    eventually("the others are skipped", || status(&daemon)["runs"][0]["skipped"] == 5 - measured);
    assert_eq!(status(&daemon)["journal_writable"], true);
}

#[test]
fn names_never_reach_a_terminal_raw() {
    let place = Place::new();
    let name = "\u{1b}[31mred\nline \u{9b}32m\u{202e}step_1.onnx";
    place.rename_in(name, "one");
    place.put("\u{1b}]0;title\u{7}step_2.onnx", b"neither a network nor empty");
    let (daemon, address) = start(&place, &["--give-up", "1s", "--stop", "patience=9"]);
    let mut client = Client::subscribed(&daemon, 0);
    let outcomes = client.outcomes(2);
    assert!(outcomes.iter().any(|event| event["type"] == "measured" && name_of(event) == name), "{outcomes:?}");
    let printed = place.ask("history", &[]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("\\u{1b}"), "{printed:?}");
    eventually("it is logged", || place.log().contains("red"));
    let overview = String::from_utf8(get(&address, "/api/overview", "").1).expect("UTF-8");
    let decision = daemon.client().ask(&json!({"type": "decision", "run": place.run_name()}));
    assert!(decision["best"]["path"].as_str().is_some_and(|path| path.contains(name)), "{decision}");
    daemon.end();
    let daemon = Daemon::start(&place, &["--log-format", "json", "--format", "json"]);
    place.rename_in(format!("{name}.onnx"), "another");
    eventually("it is printed", || place.printed().contains("measured") && place.log().matches("red").count() > 2);
    daemon.end();
    let best = |flags: &[&str]| place.ask("best", flags);
    let told = best(&["--format", "json"]).stdout;
    let record: Value = serde_json::from_slice(&told).expect("JSON");
    assert!(record["path"].as_str().is_some_and(|path| path.contains(name)), "{record}");
    let told = String::from_utf8_lossy(&told).into_owned();
    let in_history = String::from_utf8_lossy(&place.ask("history", &["--format", "json"]).stdout).into_owned();
    let for_people = place.run().join("../best.onnx");
    let for_people = best(&["--link", for_people.to_str().expect("UTF-8")]);
    assert!(for_people.status.success() && fs::read(place.path().join("best.onnx")).is_ok(), "{for_people:?}");
    let for_people = String::from_utf8_lossy(&for_people.stdout).into_owned();
    for text in [place.log(), place.printed(), printed, overview, told, in_history, for_people] {
        assert!(text.contains("red"), "{text:?}");
        let raw = ['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}'];
        assert!(!text.contains(raw) && !text.contains("red\nline"), "{text:?}");
    }
    // A script gets the path as it is, or none.
    let refused = best(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && refused.stdout.is_empty() && said.contains("--print0"), "{said}");
    let exact = best(&["--print0"]).stdout;
    let exact = exact.strip_suffix(b"\0").expect("a NUL");
    assert!(fs::metadata(relstab::path::from_bytes(exact.to_vec())).is_ok(), "{exact:?}");
}
