//! What the command says of networks and images that do not fit each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::project;
use npyz::WriterBuilder as _;
use npyz::npz::{NpzArchive, NpzWriter};
use serde_json::Value;

const LAST: &str = "step=006000.onnx";
const PIXELS: usize = 28 * 28;

fn relstab(arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_relstab"));
    command.current_dir(project("models/fashion-mnist-cnn")).args(arguments).output().expect("the command runs")
}

fn measured(more: &[&str]) -> Value {
    let fixed = ["measure", LAST, "--backend", "tract", "--draws", "1", "--format", "json"];
    let output = relstab(&[&fixed, more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Codes of findings of this severity.
fn codes<'a>(record: &'a Value, severity: &str) -> Vec<&'a str> {
    let findings = record["findings"].as_array().expect("findings").iter();
    findings.filter(|f| f["severity"] == severity).filter_map(|f| f["code"].as_str()).collect()
}

/// Images and labels of the bundled probe set.
fn bundled() -> (Vec<u8>, Vec<i64>) {
    let mut archive = NpzArchive::open(project("models/fashion-mnist-cnn/probe.npz")).expect("the bundled probe set");
    let images = archive.by_name("images").expect("readable").expect("images").into_vec().expect("bytes");
    let labels = archive.by_name("labels").expect("readable").expect("labels");
    let are_bytes = labels.dtype().descr().contains("u1");
    let bytes = |labels: Vec<u8>| labels.into_iter().map(i64::from).collect();
    let labels = if are_bytes { labels.into_vec().map(bytes) } else { labels.into_vec::<i64>() };
    (images, labels.expect("labels"))
}

#[expect(clippy::default_trait_access, reason = "the options are of a crate that npyz does not pass on")]
fn probe<T: npyz::AutoSerialize + Copy>(folder: &Path, name: &str, images: &[T], labels: &[i64]) -> PathBuf {
    let path = folder.join(name);
    let mut file = NpzWriter::create(&path).expect("a file");
    let shape = [labels.len() as u64, 1, 28, 28];
    let array = file.array("images", Default::default()).expect("an entry");
    let mut writer = array.default_dtype().shape(&shape).begin_nd().expect("a header");
    writer.extend(images.iter().copied()).and_then(|()| writer.finish()).expect("written");
    let array = file.array("labels", Default::default()).expect("an entry");
    let mut writer = array.default_dtype().shape(&shape[..1]).begin_nd().expect("a header");
    writer.extend(labels.iter().copied()).and_then(|()| writer.finish()).expect("written");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_network_whose_labels_agree_has_nothing_wrong_and_warnings_are_the_findings() {
    let record = measured(&[]);
    assert_eq!((codes(&record, "wrong"), codes(&record, "doubt")), (vec![], vec![]), "{}", record["findings"]);
    let texts: Vec<_> = record["findings"].as_array().expect("findings").iter().map(|f| &f["text"]).collect();
    assert_eq!(record["warnings"].as_array().expect("warnings").iter().collect::<Vec<_>>(), texts);
    assert!(record["prediction"]["error"].is_number());
}

#[test]
fn labels_in_another_order_are_named_and_fail_a_check() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (images, labels) = bundled();
    let shifted: Vec<i64> = labels.iter().map(|label| (label + 1) % 10).collect();
    let shifted = probe(folder.path(), "shifted.npz", &images, &shifted);
    let record = measured(&["--probe", text(&shifted)]);
    assert_eq!(codes(&record, "wrong"), ["class_order"]);
    assert!(record["prediction"].is_null());
    let said = record["findings"].to_string();
    assert!(said.contains("output k - 1") && said.contains("no prediction"), "{said}");

    let check = |more: &[&str]| {
        let fixed = [
            "check",
            LAST,
            "--backend",
            "tract",
            "--draws",
            "1",
            "--images",
            "200",
            "--probe",
            text(&shifted),
            "--max-rf",
            "9",
        ];
        relstab(&[&fixed, more].concat())
    };
    let failed = check(&[]);
    let told = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(failed.status.code() == Some(1) && told.contains("wrong: ") && told.contains("(class_order)"), "{told}");
    assert_eq!(check(&["--allow", "class_order"]).status.code(), Some(0));
    let refused = check(&["--allow", "folded_maps"]);
    assert!(refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains("near_chance"));
    let junit = folder.path().join("junit.xml");
    check(&["--junit", text(&junit)]);
    assert!(fs::read_to_string(&junit).expect("a report").contains("finding class_order"));

    // Labels from 1 to 10.
    let from_one: Vec<i64> = labels.iter().map(|label| label + 1).collect();
    let record = measured(&["--probe", text(&probe(folder.path(), "from_one.npz", &images, &from_one))]);
    assert!(codes(&record, "wrong") == ["class_order"] && codes(&record, "doubt").contains(&"label_beyond_outputs"));
}

#[test]
fn a_wrong_normalisation_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (images, labels) = bundled();
    let record = measured(&["--mean", "72.9", "--std", "90"]);
    assert!(codes(&record, "wrong").contains(&"impossible_normalisation"), "{}", record["findings"]);

    let normalised: Vec<f32> = images.iter().map(|value| (f32::from(*value) / 255.0 - 0.286) / 0.353).collect();
    let twice = probe(folder.path(), "twice.npz", &normalised, &labels);
    let record = measured(&["--probe", text(&twice)]);
    let said = record["findings"].to_string();
    assert!(codes(&record, "doubt").contains(&"preprocessing") && said.contains("twice"), "{said}");
    // What the network was trained on is never wrong: no mean is subtracted.
    let once = measured(&["--probe", text(&twice), "--mean", "0", "--std", "1"]);
    assert_eq!(codes(&once, "wrong"), [""; 0]);
    assert!(!codes(&once, "doubt").contains(&"preprocessing"), "{}", once["findings"]);
}

#[test]
fn copies_constant_images_and_another_law_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (images, labels) = bundled();
    let copies: Vec<u8> = (0..100).flat_map(|k| images[k % 4 * PIXELS..][..PIXELS].to_vec()).collect();
    let record = measured(&["--probe", text(&probe(folder.path(), "copies.npz", &copies, &labels[..100]))]);
    assert!(codes(&record, "wrong").contains(&"identical_images"), "{}", record["findings"]);
    let record = measured(&["--images", "100", "--law", "cifar10", "--force-law"]);
    assert!(codes(&record, "doubt").contains(&"other_data_set"), "{}", record["findings"]);
}

#[test]
fn the_doctor_explains_at_length() {
    let output = relstab(&["doctor", LAST, "--backend", "tract", "--mean", "0", "--std", "1"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("next: "), "{told}");
}
