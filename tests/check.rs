//! Networks held to limits, and what a measurement shows them, through the command.

mod common;

use std::process::Output;

use assert_cmd::Command;
use common::project;
use serde_json::Value;

fn relstab(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relstab"));
    let output = command.current_dir(project("models/fashion-mnist-cnn")).args(arguments).output();
    output.expect("the command runs")
}

/// `relstab check` on checkpoints of the bundled run: its `R_f` is 0.84 at step 0, 1.04 at step 569, 0.32 at the end.
fn check(models: &[&str], more: &[&str]) -> (Option<i32>, Value) {
    let fixed = ["--backend", "tract", "--images", "200", "--draws", "2", "--format", "json"];
    let output = relstab(&[&["check"], models, more, &fixed].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

const FIRST: &str = "step=000000.onnx";
const NEAR_ONE: &str = "step=000569.onnx";
const LAST: &str = "step=006000.onnx";

#[test]
fn a_network_falls_short_only_with_its_whole_interval() {
    let (code, report) =
        check(&[LAST], &["--max-rf", "0.5", "--max-predicted-error", "0.2", "--max-probe-error", "0.3"]);
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("holds")), "{report}");
    assert_eq!(report["models"][0]["checks"].as_array().map(Vec::len), Some(3));

    let r_f = &report["models"][0]["measurement"]["r_f"];
    let inside = (r_f["low"].as_f64().unwrap_or_default() * 1.001).to_string();
    let (code, report) = check(&[LAST], &["--max-rf", &inside]);
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("inconclusive")));
    assert_eq!(check(&[LAST], &["--max-rf", &inside, "--strict"]).0, Some(1));

    let (code, report) = check(&[LAST, NEAR_ONE], &["--max-rf", "0.5", "--max-df", "1", "--max-gf", "1"]);
    assert_eq!((code, &report["verdict"]), (Some(1), &Value::from("falls_short")));
    assert_eq!(report["models"][0]["verdict"], "holds");
}

#[test]
fn what_cannot_be_told_is_neither_good_nor_bad() {
    let (code, report) = check(&[FIRST, LAST], &["--max-predicted-error", "0.5"]);
    assert_eq!(code, Some(8), "{report}");
    assert!(report["models"][0]["error"].as_str().is_some_and(|error| error.contains("before any training")));
    assert_eq!(report["models"][1]["verdict"], "holds");
    // One that falls short decides all the same, and a file that is no network costs only itself.
    assert_eq!(check(&[FIRST], &["--max-predicted-error", "0.5", "--max-rf", "0.1"]).0, Some(1));
    let (code, report) = check(&["relstab.toml", LAST], &["--max-rf", "0.5"]);
    assert_eq!((code, &report["models"][1]["verdict"]), (Some(4), &Value::from("holds")));
    for bad in [&["--max-rf", "-1"][..], &["--max-rf", "nan"], &[]] {
        assert_eq!(check(&[LAST], bad).0, Some(2), "{bad:?}");
    }
}

#[test]
fn an_interval_that_a_law_lacks_decides_nothing() {
    let law = ["--law", "cifar10", "--force-law", "--max-predicted-error", "0.001"];
    let (code, report) = check(&[LAST], &law);
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("inconclusive")), "{report}");
}

#[test]
fn images_and_logits_can_be_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = folder.path().to_str().expect("UTF-8");
    let written = relstab(&["perturb", "--probe", "probe.npz", "--images", "20", "--draws", "3", "--to", to]);
    assert!(written.status.success());
    let dims = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name)).expect(name);
        let file = npyz::NpyFile::new(&bytes[..]).expect("an array");
        (file.shape().to_vec(), bytes.len())
    };
    assert_eq!(dims("images.npy"), (vec![20, 1, 28, 28], 128 + 20 * 784 * 4));
    assert_eq!(dims("deformed.npy"), (vec![20, 3, 1, 28, 28], 128 + 60 * 784 * 4));
    assert_eq!(dims("noisy.npy").0, dims("deformed.npy").0);
    assert_eq!(dims("index.npy").0, [20]);

    let logits = folder.path().join("logits.npy");
    let logits = logits.to_str().expect("UTF-8");
    let backend = ["--backend", "tract", "--to", logits];
    assert!(relstab(&[&["logits", LAST, "--probe", "probe.npz"], &backend[..]].concat()).status.success());
    assert_eq!(dims("logits.npy").0, [500, 10]);
    let nowhere = relstab(&["logits", LAST, "--probe", "probe.npz", "--to", "/no/such/folder/logits.npy"]);
    assert_eq!(nowhere.status.code(), Some(10));
}
