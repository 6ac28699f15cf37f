//! Networks held to limits, and what a measurement shows them, through the command.

use std::process::Output;

use crate::common::{in_bundled, project, relstab};
use serde_json::Value;

/// `relstab check` on checkpoints of the bundled run: its `R_f` is 0.84 at step 0, 1.04 at step 569, 0.32 at the end.
fn check(models: &[&str], more: &[&str]) -> (Option<i32>, Value) {
    let output = in_bundled(&[&["check"], models, more, &FIXED[..]].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

const FIXED: [&str; 8] = ["--backend", "tract", "--images", "200", "--draws", "2", "--format", "json"];
const FIRST: &str = "step=000000.onnx";
const NEAR_ONE: &str = "step=000569.onnx";
const LAST: &str = "step=006000.onnx";

#[test]
fn a_network_falls_short_only_with_its_whole_interval() {
    let (code, report) =
        check(&[LAST], &["--max-rf", "0.5", "--max-predicted-error", "20%", "--max-probe-error", "0.3"]);
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("holds")), "{report}");
    assert_eq!(report["models"][0]["checks"].as_array().map(Vec::len), Some(3));

    // Of all images: a verdict that is clear ends before.
    let measured = in_bundled(&[&["measure", LAST], &FIXED[..]].concat());
    let record: Value = serde_json::from_slice(&measured.stdout).expect("a record");
    let end = |name: &str| record["r_f"][name].as_f64().unwrap_or_default();
    let inside = (end("low") * end("value")).sqrt().to_string();
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
    let bare = &["--max-probe-error", "8"];
    for bad in [&["--max-rf", "-1"][..], &["--max-rf", "nan"], bare, &["--max-predicted-error", "1"], &[]] {
        assert_eq!(check(&[LAST], bad).0, Some(2), "{bad:?}");
    }
}

#[test]
fn a_limit_on_a_prediction_without_an_interval_is_refused() {
    let law = ["--law", "cifar10", "--force-law", "--max-predicted-error", "10%"];
    let output = in_bundled(&[&["check", LAST], &law[..]].concat());
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("cifar10") && complaint.contains("interval"), "{complaint}");
}

#[test]
fn images_and_logits_can_be_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = folder.path().to_str().expect("UTF-8");
    let written = in_bundled(&["perturb", "--probe", "probe.npz", "--images", "20", "--draws", "3", "--to", to]);
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
    assert!(in_bundled(&[&["logits", LAST, "--probe", "probe.npz"], &backend[..]].concat()).status.success());
    assert_eq!(dims("logits.npy").0, [500, 10]);
    let nowhere = in_bundled(&["logits", LAST, "--probe", "probe.npz", "--to", "/no/such/folder/logits.npy"]);
    assert_eq!(nowhere.status.code(), Some(10));
}

/// `relstab check` on the fixtures, which are exports of one small network.
fn against(model: &str, baseline: &str, more: &[&str]) -> (Option<i32>, Value) {
    let fixture = |name: &str| project("tests/fixtures").join(name).to_str().expect("UTF-8").to_owned();
    let (model, baseline, probe) = (fixture(model), fixture(baseline), fixture("images.npz"));
    let fixed = ["--probe", &probe, "--baseline", &baseline];
    check(&[&model], &[&fixed, more].concat())
}

#[test]
fn an_export_never_falls_short_of_another_of_the_same_network() {
    for (model, baseline) in [
        ("resnet_legacy.onnx", "resnet_dynamo.onnx"),
        ("resnet_fixed_4.onnx", "resnet_dynamo.onnx"),
        ("resnet_dynamo.onnx", "resnet_dynamo.onnx"),
    ] {
        for seed in ["0", "1", "2"] {
            // No law speaks of networks like these: that is a doubt, which --strict counts.
            let flags = ["--max-regression", "0%", "--seed", seed, "--strict", "--law", "none"];
            let (code, report) = against(model, baseline, &flags);
            assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("holds")), "{report}");
        }
    }
}

#[test]
fn a_worse_network_is_caught_and_a_saved_baseline_is_as_good() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let saved = folder.path().join("baseline.json");
    let saved = saved.to_str().expect("UTF-8");
    assert_eq!(check(&[LAST], &["--save-baseline", saved]).0, Some(0));
    for baseline in [LAST, saved] {
        // R_f of step 1,026 is nearly twice that of the last.
        let (code, report) = check(&["step=001026.onnx"], &["--baseline", baseline, "--max-regression", "5%"]);
        assert_eq!((code, &report["verdict"]), (Some(1), &Value::from("falls_short")), "{report}");
        let found = &report["models"][0]["checks"][0];
        assert!(found["value"].as_f64().is_some_and(|value| (0.5..1.5).contains(&value)), "{found}");
        let lenient = ["--baseline", baseline, "--max-regression", "3", "--max-error-rise", "50%"];
        assert_eq!(check(&["step=001026.onnx"], &lenient).0, Some(0));
    }

    for (more, word) in
        [(&["--seed", "1"][..], "probe images"), (&["--cutoff", "5"], "cutoff"), (&["--draws", "3"], "draws")]
    {
        let fixed =
            ["check", LAST, "--backend", "tract", "--images", "200", "--baseline", saved, "--max-regression", "5%"];
        let mut flags = fixed.to_vec();
        if !more.contains(&"--draws") {
            flags.extend(["--draws", "2"]);
        }
        let refused = in_bundled(&[&flags, more].concat());
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{complaint}");
        assert!(complaint.contains(word), "{complaint}");
    }
    std::fs::write(saved, "{\"schema\":").expect("written");
    assert_eq!(check(&[LAST], &["--baseline", saved, "--max-regression", "5%"]).0, Some(2));
    for bad in [&["--min-agreement", "5%"][..], &["--max-regression", "5%"], &["--max-rf", "1", "--confidence", "0.2"]]
    {
        assert_eq!(check(&[LAST], bad).0, Some(2), "{bad:?}");
    }
    assert_eq!(check(&[LAST], &["--baseline", LAST, "--max-regression", "-5%"]).0, Some(2));
    assert_eq!(check(&[LAST], &["--baseline", "missing.onnx", "--max-regression", "5%"]).0, Some(10));
}

#[test]
fn reports_are_written_for_machines() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let [junit, markdown, json] = [path("junit.xml"), path("table.md"), path("report.json")];
    let files = ["--junit", &junit, "--markdown", &markdown, "--json", &json];
    let (code, report) = check(&[LAST, NEAR_ONE, "relstab.toml"], &[&["--max-rf", "0.5"], &files[..]].concat());
    assert_eq!(code, Some(1));
    let read = |path: &str| std::fs::read_to_string(path).expect(path);
    assert_eq!(serde_json::from_str::<Value>(&read(&json)).expect("JSON")["verdict"], report["verdict"]);
    let xml = read(&junit);
    assert!(xml.contains("tests=\"3\"") && xml.contains("failures=\"1\"") && xml.contains("errors=\"1\""), "{xml}");
    let table = read(&markdown);
    assert!(table.contains("| `step=000569.onnx` | R_f |") && table.contains("**falls short**"), "{table}");
    assert!(table.contains("**could not tell**"), "{table}");
    assert_eq!(check(&[LAST], &["--max-rf", "0.5", "--junit", "/dev/full"]).0, Some(10));
}

#[test]
fn networks_are_ranked_and_ties_are_ties() {
    let run = |models: &[&str], format: &str| {
        let fixed = ["--backend", "tract", "--images", "200", "--draws", "2", "--format", format];
        in_bundled(&[&["compare"], models, &fixed].concat())
    };
    let copy = tempfile::tempdir().expect("a temporary folder");
    let twin = copy.path().join("twin.onnx");
    std::fs::copy(project("models/fashion-mnist-cnn").join(LAST), &twin).expect("copied");
    let twin = twin.to_str().expect("UTF-8");
    let output = run(&["step=001026.onnx", LAST, NEAR_ONE, twin], "json");
    let ranking: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ranks: Vec<_> = ranking["models"].as_array().expect("models").iter().map(|m| m["rank"].as_u64()).collect();
    assert_eq!(ranks, [Some(1), Some(1), Some(3), Some(4)]);
    let pairs = ranking["pairs"].as_array().expect("pairs");
    assert_eq!(pairs.len(), 6);
    assert_eq!(pairs.iter().filter(|pair| pair["is_tie"] == true).count(), 1);
    let text = String::from_utf8_lossy(&run(&["step=001026.onnx", LAST, twin], "text").stdout).into_owned();
    assert_eq!(text.matches("1=").count(), 2, "{text}");
    assert_eq!(run(&[LAST], "text").status.code(), Some(2));
}

/// The command on the fixtures, with the embedded engine and few passes.
fn on_fixtures(arguments: &[&str]) -> Output {
    relstab(&[arguments, &["--probe", "images.npz", "--backend", "tract"]].concat())
}

#[test]
fn a_network_without_an_r_f_is_last_and_costs_only_itself() {
    let output = on_fixtures(&["compare", "constant.onnx", "plain.onnx", "resnet_dynamo.onnx", "--format", "json"]);
    let ranking: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(ranking["pairs"].as_array().map(Vec::len), Some(1), "{ranking}");
    let last = &ranking["models"][2];
    assert_eq!((&last["rank"], &last["measurement"]["r_f"]), (&Value::from(3), &Value::Null));
    assert_eq!(on_fixtures(&["compare", "constant.onnx", "constant.onnx"]).status.code(), Some(8));
}

#[test]
fn networks_that_are_compared_share_a_precision() {
    let models = ["plain.onnx", "resnet_dynamo.onnx", "channels_last.onnx"];
    let precise = |command: &[&str], more: &[&str]| {
        let output = on_fixtures(&[command, &models, &["--precision", "0.8", "--format", "json"], more].concat());
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let taken = |model: &Value| {
            let measurement = &model["measurement"];
            (measurement["probe"]["images"].clone(), measurement["settings"]["draws"].clone())
        };
        let all: Vec<_> = report["models"].as_array().expect("models").iter().map(taken).collect();
        assert!(all.len() == 3 && all.iter().all(|other| *other == all[0]), "{all:?}");
    };
    precise(&["compare"], &[]);
    precise(&["check"], &["--max-rf", "9", "--baseline", "plain.onnx", "--max-regression", "9"]);
}

#[test]
fn a_check_whose_report_nobody_reads_still_fails() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_relstab"));
    command.current_dir(project("models/fashion-mnist-cnn"));
    command.args(["check", LAST, "--max-rf", "0.01", "--backend", "tract", "--images", "20", "--draws", "1"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(command.stdout(writer).status().expect("the command runs").code(), Some(1));
}
