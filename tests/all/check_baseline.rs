//! Networks beside a baseline: what quantisation leaves whole holds, what breaks a network falls short.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::daemon::fixture;
use crate::common::{project, relstab_in};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use relstab::arrays::Archive;
use serde_json::Value;

const FLOAT: &str = "models/fashion-mnist-cnn/step=006000.onnx";
const PROBE: &str = "models/fashion-mnist-cnn/probe.npz";
/// Bytes of the weights of each layer: three convolutions, then `[10, 2352]`.
const LAYERS: [usize; 4] = [16 * 9 * 4, 32 * 16 * 9 * 4, 48 * 32 * 9 * 4, 10 * 2352 * 4];

fn run(arguments: &[&str]) -> Output {
    relstab_in("", &[&["check"], arguments, &["--backend", "tract", "--draws", "1"]].concat())
}

fn check(model: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let model = model.to_str().expect("UTF-8");
    let output = run(&[&[model, "--baseline", FLOAT, "--format", "json"], more].concat());
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

/// The bundled network with the weights of some layers changed, `change` of each layer's values.
fn damaged(folder: &Path, name: &str, layers: &[usize], change: &mut dyn FnMut(&mut [f32])) -> PathBuf {
    let mut bytes = fs::read(project(FLOAT)).expect("the bundled network");
    for &size in layers {
        // The field `raw_data` of a tensor, its tag and length before it.
        let mut mark = vec![0x4a];
        let mut rest = size;
        while rest >= 0x80 {
            mark.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        mark.push(rest as u8);
        let at = bytes.windows(mark.len()).position(|window| window == mark).expect("the layer's weights") + mark.len();
        let mut values: Vec<f32> =
            bytes[at..at + size].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        change(&mut values);
        let changed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes[at..at + size].copy_from_slice(&changed);
    }
    let path = folder.join(name);
    fs::write(&path, bytes).expect("written");
    path
}

/// Normal noise of 30% of each layer's standard deviation.
fn noisy(folder: &Path) -> PathBuf {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
    damaged(folder, "noisy.onnx", &LAYERS, &mut |weights| {
        let deviation = (weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32).sqrt();
        for weight in weights {
            let normal: f32 = StandardNormal.sample(&mut rng);
            *weight += 0.3 * deviation * normal;
        }
    })
}

/// The classes of the last layer in reverse order.
fn reversed(folder: &Path) -> PathBuf {
    damaged(folder, "reversed.onnx", &LAYERS[3..], &mut |weights| {
        let reversed: Vec<f32> = weights.chunks_exact(2352).rev().flatten().copied().collect();
        weights.copy_from_slice(&reversed);
    })
}

#[test]
fn quantised_networks_pass_and_broken_ones_do_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let labelled = ["--probe", PROBE];
    let (code, report) = check(&fixture("fashion_int8_qoperator.onnx"), &labelled);
    assert_eq!(code, Some(0), "{report}");
    assert_ne!(report["verdict"], "falls_short");
    // One image more is wrong, so that half a point is neither within the interval nor beyond it.
    let half = [&labelled[..], &["--max-error-rise", "0.5%"]].concat();
    let (code, report) = check(&fixture("fashion_int8_qdq.onnx"), &half);
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("inconclusive")), "{report}");
    assert_eq!(check(&fixture("fashion_int8_qdq.onnx"), &[&half[..], &["--strict"]].concat()).0, Some(1));
    for broken in [noisy(folder.path()), reversed(folder.path())] {
        let (code, report) = check(&broken, &labelled);
        assert_eq!((code, &report["verdict"]), (Some(1), &Value::from("falls_short")), "{report}");
        let against = &report["models"][0]["against"];
        for value in ["error", "agreement", "change", "r_f", "detectable_rise"] {
            assert!(!against[value].is_null(), "{value}: {against}");
        }
        // Whatever else is asked for.
        let (code, report) = check(&broken, &[&labelled[..], &["--max-regression", "500%"]].concat());
        assert_eq!((code, &report["verdict"]), (Some(1), &Value::from("falls_short")), "{report}");
        let allowed = ["--max-error-rise", "99.9%", "--max-regression", "500%", "--allow", "class_order"];
        assert_eq!(check(&broken, &[&labelled[..], &allowed].concat()).0, Some(0));
    }
}

#[test]
fn broken_networks_are_caught_without_labels() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let probe = folder.path().join("images.npy");
    fs::write(&probe, images()).expect("written");
    let probe = ["--probe", probe.to_str().expect("UTF-8")];
    for broken in [noisy(folder.path()), reversed(folder.path())] {
        for limit in [["--min-agreement", "97%"], ["--max-change", "0.05"]] {
            let (code, report) = check(&broken, &[&probe[..], &limit].concat());
            assert_eq!((code, &report["verdict"]), (Some(1), &Value::from("falls_short")), "{report}");
        }
    }
    let (code, report) =
        check(&fixture("fashion_int8_qoperator.onnx"), &[&probe[..], &["--min-agreement", "90%"]].concat());
    assert_eq!((code, &report["verdict"]), (Some(0), &Value::from("holds")), "{report}");
    assert!(report["models"][0]["against"]["error"].is_null());
    // Without labels a limit must be named, and one that needs them cannot be told.
    assert_eq!(check(&project(FLOAT), &probe).0, Some(2));
    assert_eq!(check(&project(FLOAT), &[&probe[..], &["--max-error-rise", "1%"]].concat()).0, Some(8));
}

#[test]
fn a_clear_verdict_takes_half_of_the_images_at_most() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let passes = |report: &Value| report["models"][0]["measurement"]["timing"]["passes"].as_u64().expect("a count");
    let agreement = |model: &Path| check(model, &["--probe", PROBE, "--min-agreement", "97%"]);
    let (code, clear) = agreement(&project(FLOAT));
    assert_eq!((code, &clear["verdict"]), (Some(0), &Value::from("holds")), "{clear}");
    assert_eq!(clear["models"][0]["ended"], serde_json::json!({"images": 250, "of": 500}));
    let (code, damaged) = agreement(&reversed(folder.path()));
    assert_eq!((code, &damaged["verdict"]), (Some(1), &Value::from("falls_short")), "{damaged}");
    // A quarter of the images may not name what is wrong.
    assert_eq!(damaged["models"][0]["ended"]["images"], 250);
    let (_, undecided) = check(&fixture("fashion_int8_qdq.onnx"), &["--probe", PROBE, "--max-error-rise", "0.5%"]);
    assert!(undecided["models"][0]["ended"].is_null(), "{undecided}");
    assert_eq!((2 * passes(&clear), passes(&undecided)), (passes(&undecided), 1_500));
}

/// The images of the bundled probe set, without their labels.
fn images() -> Vec<u8> {
    let mut archive = Archive::open(project(PROBE).as_ref()).expect("the bundled probe set");
    let mut file = archive.entry("images").expect("its images");
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).expect("its images");
    bytes
}
