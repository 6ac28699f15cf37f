//! Runs measured once, as `watch --once` does, and directories that are refused.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::command::{Folder, assert_refused, json, measure, text};
use crate::common::{project, relstab};
use assert_cmd::Command;
use serde_json::Value;

fn copy_run(names: &[&str]) -> (Folder, PathBuf) {
    let (folder, run) = (Folder::new(), project("models/fashion-mnist-cnn"));
    for name in names {
        fs::copy(run.join(name), folder.0.path().join(name)).expect("copied");
    }
    let path = folder.0.path().to_owned();
    (folder, path)
}

#[test]
fn watching_the_bundled_run_once_predicts_checkpoint_by_checkpoint() {
    let run = project("models/fashion-mnist-cnn");
    let flags =
        ["watch", run.to_str().expect("UTF-8"), "--once", "--backend", "tract", "--format", "json", "--draws", "1"];
    let output = relstab(&flags);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let lines: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let steps: Vec<_> =
        lines.iter().map(|line| line["measurement"]["metadata"]["step"].as_u64().expect("a step")).collect();
    assert!(steps.len() >= 10 && steps.is_sorted(), "{steps:?}");
    assert!(
        lines.iter().enumerate().all(|(index, line)| line["seq"] == index as u64 + 1 && line["type"] == "measured")
    );
    // Training lowers R_f, and the law of other networks finds the last checkpoint's error within its own interval.
    let value = |line: &Value| line["measurement"]["r_f"]["value"].as_f64().expect("defined");
    let last = &lines[lines.len() - 1]["measurement"];
    assert!(value(&lines[lines.len() - 1]) < value(&lines[0]) / 2.0);
    let (prediction, known) = (&last["prediction"], last["metadata"]["val_error"].as_f64().expect("known"));
    assert!(
        prediction["low"].as_f64().expect("low") < known && known < prediction["high"].as_f64().expect("high"),
        "{prediction}"
    );
}

#[test]
fn the_configuration_of_the_run_counts_beside_flags_and_in_directories_of_steps() {
    let (folder, path) = copy_run(&["probe.npz", "relstab.toml", "step=006000.onnx"]);
    let step = path.join("checkpoint-6000");
    fs::create_dir(&step).expect("created");
    fs::copy(path.join("step=006000.onnx"), step.join("model.onnx")).expect("copied");
    let (model, inner) = (path.join("step=006000.onnx"), step.join("model.onnx"));
    let r_f = |model: &Path, more: &[&str]| {
        let output = measure(model.to_str().expect("UTF-8"), &[&["--format", "json"], more].concat());
        json(&output)["r_f"]["value"].as_f64().expect("defined")
    };
    let expected = r_f(&model, &[]);
    assert!((r_f(&inner, &[]) - expected).abs() < f64::EPSILON);
    let probe = folder.0.path().join("probe.npz");
    assert!((r_f(&model, &["--probe", probe.to_str().expect("UTF-8")]) - expected).abs() < f64::EPSILON);
    folder.file("relstab.toml", "probe = 'probe.npz'\nperturbation = { cutoff = 5, precision = 0.01 }\n");
    assert!((r_f(&model, &[]) / expected - 1.0).abs() > 1e-3);
    // A time that is asked for is kept, whatever precision the run wants.
    let output = measure(model.to_str().expect("UTF-8"), &["--budget", "30s", "--format", "json"]);
    assert_eq!(json(&output)["probe"]["images"], 40);
}

#[test]
fn a_run_that_is_gone_can_still_be_forgotten() {
    let (folder, path) = copy_run(&["probe.npz", "relstab.toml", "step=000000.onnx"]);
    let state = Folder::new();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relstab"));
        command.current_dir(&path).env("XDG_STATE_HOME", state.0.path()).args(arguments);
        command
    };
    let journal = state.file("journal.sqlite", "");
    fs::remove_file(&journal).expect("removed");
    let run = path.canonicalize().expect("there").join("run");
    fs::create_dir(&run).expect("created");
    relstab::journal::Journal::open(journal.as_ref())
        .and_then(|mut journal| journal.run_id(run.to_str().expect("UTF-8")))
        .expect("a run");
    fs::remove_dir(&run).expect("removed");
    command(&["forget", "run", "--journal", &journal]).assert().success();
    command(&["forget", "run", "--journal", &journal]).assert().code(12);
    drop(folder);
}

#[test]
fn a_bad_checkpoint_costs_only_itself() {
    let (folder, path) = copy_run(&["probe.npz", "relstab.toml", "step=000000.onnx"]);
    folder.file("step=000001.onnx", "not a network");
    let output = relstab(&["watch", path.to_str().expect("UTF-8"), "--once", "--backend", "tract", "--format", "json"]);
    assert_eq!(output.status.code(), Some(11), "{}", text(&output));
    let printed = String::from_utf8_lossy(&output.stdout);
    let kinds: Vec<_> =
        printed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].clone()).collect();
    assert_eq!(kinds, ["measured", "failed"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("step=000001.onnx"));
}

#[test]
fn directories_that_cannot_be_watched_are_refused() {
    let folder = Folder::new();
    let path = folder.0.path().to_str().expect("UTF-8");
    assert_refused(&relstab(&["watch", "no/such/folder", "--once"]), 2, &["no/such/folder"]);
    assert_refused(&relstab(&["watch", path, "--once"]), 2, &["--probe"]);
    assert_refused(&relstab(&["watch", path, "--once", "--probe", "images.npz"]), 2, &[path, ".onnx"]);
    folder.file("relstab.toml", "probe = '../secret.npy'");
    assert_refused(&relstab(&["watch", path, "--once"]), 2, &["relstab.toml", "../secret.npy"]);
    assert_refused(&relstab(&["watch", path, "--workers", "18446744073709551615"]), 2, &["--workers", "1 to 1024"]);
    for share in ["0", "1e-20", "1.5", "NaN"] {
        for dry in [&[][..], &["--dry-run"]] {
            assert_refused(&relstab(&[&["watch", path, "--duty", share], dry].concat()), 2, &["--duty", "0.01 to 1"]);
        }
    }
}
