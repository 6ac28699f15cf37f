//! One suite for every engine: the networks in `tests/fixtures`, which `models/fixtures.py` makes.

mod common;

use common::project;
use relstab::backend::{self, Engine, Options};
use relstab::event::Measurement;
use relstab::measure::{Settings, measure};
use relstab::probe::{self, Layout, ProbeSet};
use relstab::watch::scan::{Found, Search, checkpoints};

/// Rounding in the engines differs by 1e-6 of an output; `R_f` is a ratio of squared differences of outputs, some ten
/// times smaller than the outputs themselves. The allowance is what the project promises.
const TOLERANCE: f64 = 1e-3;

fn images() -> ProbeSet {
    ProbeSet::open(&project("tests/fixtures/images.npz"), &probe::Options::default()).expect("a probe set")
}

fn measured(network: &str, engine: Engine, output: Option<&str>) -> Measurement {
    let probe = images();
    let options = Options { engine, output: output.map(str::to_owned), ..Options::default() };
    let path = project("tests/fixtures").join(network);
    let backend = backend::open(&path, probe.shape(), &options)
        .unwrap_or_else(|error| panic!("{network} on {engine}: {error} (./test.sh installs ONNX Runtime)"));
    measure(&*backend, &probe, &Settings::default(), &|_, _| ()).expect("measured")
}

fn r_f(measurement: &Measurement) -> f64 {
    measurement.r_f.as_ref().expect("defined").value
}

fn assert_close(a: f64, b: f64, what: &str) {
    assert!((a / b - 1.0).abs() < TOLERANCE, "{what}: {a} and {b}");
}

const ENGINES: [Engine; 2] = [Engine::Onnxruntime, Engine::Tract];

#[test]
fn engines_agree_on_both_exporters_and_every_kind_of_batch() {
    let expected = r_f(&measured("resnet_dynamo.onnx", Engine::Onnxruntime, None));
    let names = ["resnet_dynamo", "resnet_external", "resnet_legacy", "resnet_fixed_1", "resnet_fixed_4"];
    for name in names {
        for engine in ENGINES {
            let measurement = measured(&format!("{name}.onnx"), engine, None);
            assert_close(r_f(&measurement), expected, &format!("{name} on {engine}"));
            assert_eq!(measurement.backend.name, engine.to_string());
        }
    }
}

#[test]
fn engines_agree_on_the_bundled_run() {
    let probe =
        ProbeSet::open(&project("models/fashion-mnist-cnn/probe.npz"), &probe::Options::default()).expect("images");
    let run = project("models/fashion-mnist-cnn");
    let search = Search::new(false, "*.onnx").expect("a glob");
    for Found { path, .. } in checkpoints(&search, &run).expect("the bundled run") {
        let values = ENGINES.map(|engine| {
            let options = Options { engine, ..Options::default() };
            let backend = backend::open(&path, probe.shape(), &options).expect("a network");
            let metadata = &backend.network().metadata;
            let probe = probe.clone().prepared(&metadata.preprocess).expect("normalised");
            r_f(&measure(&*backend, &probe, &Settings { draws: 1, ..Settings::default() }, &|_, _| ())
                .expect("measured"))
        });
        assert_close(values[0], values[1], &path.display().to_string());
    }
}

#[test]
fn a_softmax_is_found_and_measured_before() {
    for engine in ENGINES {
        let plain = measured("plain.onnx", engine, None);
        for name in ["softmax.onnx", "log_softmax.onnx", "softmax_identity.onnx"] {
            let found = measured(name, engine, None);
            assert_eq!(found.model.output, "logits", "{name}");
            assert!(found.warnings.iter().any(|warning| warning.contains("softmax")), "{:?}", found.warnings);
            assert_close(r_f(&found), r_f(&plain), name);
        }
        let spelled_out = measured("softmax_spelled_out.onnx", engine, None);
        let warned = spelled_out.warnings.iter().any(|warning| warning.contains("look like probabilities"));
        assert!(warned, "{:?}", spelled_out.warnings);
    }
}

#[test]
fn inputs_and_outputs_are_told_apart() {
    for engine in ENGINES {
        let plain = r_f(&measured("plain.onnx", engine, None));
        for name in ["channels_last.onnx", "symbolic.onnx", "two_outputs.onnx"] {
            assert_close(r_f(&measured(name, engine, None)), plain, name);
        }
        assert_eq!(measured("embedding_and_logits.onnx", engine, None).model.output, "features");
        let chosen = measured("embedding_and_logits.onnx", engine, Some("logits"));
        assert_close(r_f(&chosen), plain, "--output logits");
    }
}

#[test]
fn an_image_in_one_row_is_given_in_the_order_that_is_asked_for() {
    let measured = |engine, input_layout| {
        let probe = images();
        let options = Options { engine, input_layout, ..Options::default() };
        let backend = backend::open(&project("tests/fixtures/rank_2_input.onnx"), probe.shape(), &options);
        measure(&*backend.expect("a network"), &probe, &Settings::default(), &|_, _| ()).expect("measured")
    };
    let [by_channel, by_pixel] =
        [None, Some(Layout::Nhwc)].map(|layout| ENGINES.map(|engine| r_f(&measured(engine, layout))));
    for (found, other) in [by_channel, by_pixel].iter().map(|both| (both[0], both[1])) {
        assert_close(found, other, "engines");
    }
    assert!((by_channel[0] / by_pixel[0] - 1.0).abs() > 0.01, "{by_channel:?} {by_pixel:?}");
    let warnings = measured(Engine::Tract, None).warnings;
    assert!(warnings.iter().any(|warning| warning.contains("channel by channel")), "{warnings:?}");
}

#[test]
fn external_weights_are_part_of_the_hash() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["resnet_external.onnx", "resnet_external.onnx.data"] {
        std::fs::copy(project("tests/fixtures").join(name), folder.path().join(name)).expect("copied");
    }
    let open = || {
        let options = Options { engine: Engine::Tract, ..Options::default() };
        backend::open(&folder.path().join("resnet_external.onnx"), images().shape(), &options)
            .map(|b| b.network().sha256.clone())
    };
    let before = open().expect("a network");
    let data = folder.path().join("resnet_external.onnx.data");
    let mut bytes = std::fs::read(&data).expect("read");
    bytes[100] ^= 1;
    std::fs::write(&data, &bytes).expect("written");
    assert_ne!(before, open().expect("a network"));

    std::fs::write(&data, &bytes[..1000]).expect("written");
    let error = open().expect_err("weights cut short").to_string();
    assert!(error.contains("resnet_external.onnx.data") && error.contains("1000 bytes"), "{error}");
    std::fs::remove_file(&data).expect("removed");
    let error = open().expect_err("weights missing").to_string();
    assert!(error.contains("resnet_external.onnx.data"), "{error}");
}

#[test]
fn layouts_of_images_make_no_difference() {
    let probe = images();
    assert_eq!(probe.shape().channels, 3);
    let options = probe::Options { layout: Some(Layout::Nchw), ..probe::Options::default() };
    let forced = ProbeSet::open(&project("tests/fixtures/images.npz"), &options).expect("a probe set");
    assert_eq!(probe.sha256(), forced.sha256());
}

#[test]
fn a_batch_that_memory_does_not_hold_is_measured_in_parts() {
    // 24 images at 64 MiB each are more than the whole process may have; a few of them are not.
    let measured = |limit: &str| {
        let command = format!(
            "ulimit -v {limit} && exec {} measure hungry.onnx --probe images.npz --images 24 --draws 1 \\
             --backend onnxruntime --threads 1 --format json",
            env!("CARGO_BIN_EXE_relstab")
        );
        let output =
            std::process::Command::new("sh").args(["-c", &command]).current_dir(project("tests/fixtures")).output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let record: Measurement = serde_json::from_slice(&output.stdout).expect("a record");
        r_f(&record)
    };
    assert_close(measured("1572864"), measured("unlimited"), "in parts");
}
