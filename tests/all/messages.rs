//! What leaves a user stuck: each message says what was found, what is accepted and the next step.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use crate::common::command::{Folder, json, text};
use crate::common::daemon::{Client, Daemon, Place, bundled, eventually};
use crate::common::relstab;

const MODEL: &str = "plain.onnx";
const PROBE: &str = "images.npz";

/// What a mistake is, what it is answered by, and words that the answer has.
type Case<'a> = (&'a [&'a str], i32, &'a [&'a str]);

fn assert_told(output: &Output, what: &[&str], code: i32, words: &[&str]) {
    let told = text(output);
    assert_eq!(output.status.code(), Some(code), "{what:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{what:?}: no {word:?} in: {told}");
    }
}

/// A run with one checkpoint and this `relstab.toml`.
fn run_with(toml: &str) -> (Folder, String) {
    let folder = Folder::new();
    for name in ["probe.npz", "step=000000.onnx"] {
        fs::copy(bundled(name), folder.0.path().join(name)).expect("copied");
    }
    folder.file("relstab.toml", toml);
    let path = folder.0.path().to_str().expect("UTF-8").to_owned();
    (folder, path)
}

#[test]
fn mistakes_on_the_command_line_are_told_with_the_next_step() {
    let (_folder, run) = run_with("probe = 'probe.npz'\n");
    let run = run.as_str();
    let cases: &[Case] = &[
        (&["measure", "foreign/torch_zip", "--probe", PROBE], 4, &["PyTorch", "torch.onnx.export"]),
        (&["watch", run, "--settle", "1"], 2, &["--settle", "'1'", "a time with its unit: 1s, 1m or 1h"]),
        (&["watch", run, "--settle", "soon"], 2, &["'soon'", "500ms, 2s or 1m"]),
        (&["measure", MODEL, "--probe", PROBE, "--budget", "10"], 2, &["--budget", "10s, 10m or 10h"]),
        (&["watch", run, "--http", "here:7979"], 2, &["here:7979", "127.0.0.1:7878", "a port alone"]),
        (&["watch", run, "--http", "99999"], 2, &["99999", "a port alone"]),
        (&["measure", MODEL, "--probe", PROBE, "--threads", "0"], 2, &["--threads", "'0'", "1 or more"]),
        (&["watch", run, "--workers", "0"], 2, &["--workers", "1 or more"]),
        (&["measure", MODEL, "--probe", PROBE, "--law", "nope"], 9, &["nope", "fashionmnist-c3", "calibrate list"]),
        (
            &["measure", MODEL, "--probe", PROBE, "--preprocess", "imagenet"],
            5,
            &["[?, 3, 32, 32]", "3 x 224 x 224 once they are resized", "--mean", "resize=32x32,crop=32"],
        ),
        (&["watch", run, "--once", "--pattern", "*.pt"], 2, &["*.pt", "'*.onnx'", "export"]),
        (&["watch", run, "--once", "--pattern", "best*"], 2, &["files that match best*", "none in"]),
        (&["measure", MODEL, "--probe", "."], 3, &["a folder without any", "images.npz", "name the file"]),
        (&["measure", MODEL, "--probe", "hard"], 3, &["a folder without any", "name the folder or the file"]),
        (&["watch", run, "--once", "--http", "7878", "--settle", "2s"], 2, &["--once", "--http", "--settle"]),
    ];
    for (arguments, code, words) in cases {
        assert_told(&relstab(arguments), arguments, *code, words);
    }
    let resized = relstab(&[
        "measure",
        MODEL,
        "--probe",
        PROBE,
        "--backend",
        "tract",
        "--images",
        "40",
        "--draws",
        "1",
        "--preprocess",
        "imagenet,resize=32x32,crop=32",
        "--format",
        "json",
    ]);
    assert_eq!(json(&resized)["probe"]["shape"], serde_json::json!([3, 32, 32]), "the step that was named works");
}

#[test]
fn mistakes_in_relstab_toml_are_told_with_the_next_step() {
    for (toml, words) in [
        ("probe = 'probe.npz'\n[stop]\nmonitor = 'r_f'\n", ["[stop]", "[[stop]]"]),
        ("probe = 'probe.npz'\n[law]\nname = 'cifar10'\n", ["law = \"NAME\"", "missing field"]),
        ("probe = 'probe.npz'\n[perturbation]\ndrows = 3\n", ["drows", "draws"]),
    ] {
        let (_folder, run) = run_with(toml);
        assert_told(&relstab(&["watch", &run, "--once"]), &[toml], 2, &words);
    }
}

#[test]
fn a_port_in_use_is_told_and_a_port_alone_is_on_loopback() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let place = Place::new();
    for address in [port.clone(), format!("localhost:{port}"), format!("127.0.0.1:{port}")] {
        let flags = ["--socket", "s", "--http", &address];
        assert_told(&place.ask("watch", &flags), &flags, 2, &[&port, "--http", "listens already", "a free port"]);
    }
    drop(taken);
    let daemon = Daemon::start(&place, &["--http", "0"]);
    eventually("the page is said", || place.log().contains("page      http://127.0.0.1:"));
    drop(daemon);
}

#[test]
fn a_baseline_of_other_images_says_how_many_it_saw() {
    let folder = Folder::new();
    let saved = folder.0.path().join("base.json");
    let saved = saved.to_str().expect("UTF-8");
    let fixed = ["check", MODEL, "--probe", PROBE, "--backend", "tract", "--draws", "1"];
    let run = |more: &[&str]| relstab(&[&fixed, more].concat());
    assert!(run(&["--images", "30", "--save-baseline", saved]).status.code().is_some());
    let words = ["30 images", "now 40 images", "--images", "save it anew"];
    assert_told(&run(&["--images", "40", "--baseline", saved]), &["--baseline"], 2, &words);
}

#[test]
fn commands_on_a_run_say_what_they_do() {
    let place = Place::new();
    place.bring("foreign/torch_zip", "step_5.onnx");
    let daemon = Daemon::start(&place, &[]);
    Client::subscribed(&daemon, 0).next_of("failed");
    let waited = place.ask("wait", &["--step", "9999", "--timeout", "300ms"]);
    assert_told(&waited, &["wait"], 13, &["waiting for step 9999, which was not seen yet"]);
    let history = text(&place.ask("history", &[]));
    assert_eq!(history.matches("step_5.onnx").count(), 1, "{history}");
    assert_told(&place.ask("retry", &[]), &["retry"], 0, &["1 failed checkpoints of", "are measured again"]);
    Client::subscribed(&daemon, 0).until(|event| event["type"] == "failed" && event["seq"].as_i64() > Some(2));
    drop(daemon);
    let waited = place.ask("wait", &["--step", "9999", "--timeout", "100ms"]);
    assert_told(&waited, &["wait"], 13, &["no daemon is running: start relstab watch"]);
    let forgotten = place.ask("forget", &[]);
    assert_told(&forgotten, &["forget"], 0, &["forgot 1 checkpoints of", "0 of them measured", "files are untouched"]);
}
