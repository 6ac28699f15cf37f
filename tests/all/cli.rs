//! The command as users meet it: results, and one clear line with the right exit code for everything that can be wrong.

use std::fs;
use std::path::Path;

use crate::common::command::{Folder, assert_refused, json, measure, text};
use crate::common::{project, relstab};
use assert_cmd::Command;
use serde_json::Value;

#[test]
fn a_measurement_has_every_field_of_its_schema() {
    let output = measure("plain.onnx", &["--probe", "images.npz", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let record = json(&output);
    assert_eq!(record["schema"], "relstab.measurement/1");
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(project("docs/measurement.schema.json")).expect("a schema"))
            .expect("JSON");
    for field in schema["required"].as_array().expect("required fields") {
        assert!(record.get(field.as_str().expect("a name")).is_some(), "no {field}");
    }
    let r_f = &record["r_f"];
    assert!(r_f["low"].as_f64() <= r_f["value"].as_f64() && r_f["value"].as_f64() <= r_f["high"].as_f64(), "{r_f}");
    assert_eq!(record["timing"]["passes"], 40 * 3);
    assert!(record.get("replicates_log_r_f").is_none());
    let with = measure("plain.onnx", &["--probe", "images.npz", "--format", "json", "--replicates"]);
    assert_eq!(json(&with)["replicates_log_r_f"].as_array().map(Vec::len), Some(1000));
}

#[test]
fn the_same_seed_gives_the_same_record_on_any_number_of_threads() {
    let run = |threads: &str, seed: &str| {
        let flags = ["--probe", "images.npz", "--format", "json", "--threads", threads, "--seed", seed];
        let mut record = json(&measure("resnet_dynamo.onnx", &flags));
        record["timing"] = Value::Null;
        record
    };
    assert_eq!(run("1", "5"), run("2", "5"));
    assert_ne!(run("1", "5")["r_f"], run("1", "6")["r_f"]);
}

#[test]
fn settings_outside_their_domain_are_refused() {
    for (flags, word) in [
        (["--cutoff", "1"], "cutoff"),
        (["--delta", "0"], "delta"),
        (["--delta", "-1"], "delta"),
        (["--delta", "nan"], "delta"),
        (["--temperature", "inf"], "temperature"),
        (["--draws", "0"], "--draws"),
        (["--images", "0"], "--images"),
        (["--images", "1"], "--images"),
        (["--precision", "0"], "--precision"),
        (["--precision", "10"], "0.1 for 10%"),
        (["--std", "0"], "--std"),
        (["--mean", "0.1,0.2"], "--mean"),
    ] {
        let fixed = ["measure", "plain.onnx", "--backend", "tract", "--probe", "images.npz"];
        assert_refused(&relstab(&[&fixed[..], &flags].concat()), 2, &[word]);
    }
}

#[test]
fn a_cutoff_beyond_the_natural_range_warns_and_computes() {
    let output = measure("plain.onnx", &["--probe", "images.npz", "--cutoff", "25", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let warnings = json(&output)["warnings"].to_string();
    assert!(warnings.contains("2n/pi = 20.4"), "{warnings}");
}

#[test]
fn models_that_cannot_be_measured_are_refused() {
    let folder = Folder::new();
    let whole = fs::read(project("tests/fixtures/plain.onnx")).expect("read");
    let sparse = folder.0.path().join("sparse.onnx");
    fs::File::create(&sparse).and_then(|file| file.set_len(1 << 30)).expect("created");
    let random: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
    let cases = [
        (folder.file("empty.onnx", ""), "empty"),
        (folder.file("truncated.onnx", &whole[..whole.len() / 2]), "truncated"),
        (folder.file("random.onnx", random), "random.onnx"),
        (sparse.to_str().expect("UTF-8").to_owned(), "1073741824 bytes"),
        ("two_inputs.onnx".to_owned(), "mask float32"),
        ("labels_only.onnx".to_owned(), "label int64"),
    ];
    for backend in ["tract", "onnxruntime"] {
        for (model, word) in &cases {
            let output = relstab(&["measure", model, "--probe", "images.npz", "--backend", backend]);
            let name = Path::new(model).file_name().and_then(|name| name.to_str()).expect("a name");
            assert_refused(&output, 4, &[name, word, "expected", "found"]);
        }
        // Its integers are cast to floats before anything else.
        let output = relstab(&["measure", "integer_input.onnx", "--probe", "images.npz", "--backend", backend]);
        assert!(output.status.success() && text(&output).contains("the network takes int64"), "{}", text(&output));
    }
    assert_refused(&measure("plain.onnx", &["--probe", "images.npz", "--output", "nope"]), 4, &["nope", "logits"]);
    assert_refused(&measure("missing.onnx", &["--probe", "images.npz"]), 10, &["missing.onnx"]);
}

#[test]
fn every_truncation_of_a_model_is_refused_without_a_panic() {
    let folder = Folder::new();
    let whole = fs::read(project("tests/fixtures/plain.onnx")).expect("read");
    let shape = relstab::probe::Shape { channels: 3, height: 32, width: 32 };
    for length in (0..whole.len()).step_by(97) {
        let model = folder.file("cut.onnx", &whole[..length]);
        for engine in [relstab::backend::Engine::Tract, relstab::backend::Engine::Onnxruntime] {
            let options = relstab::backend::Options { engine, ..Default::default() };
            assert!(relstab::backend::open(Path::new(&model), shape, &options).is_err(), "{length} bytes on {engine}");
        }
    }
}

#[test]
fn where_an_engine_panics_at_a_batch_that_is_only_tried_nothing_of_it_is_printed() {
    let output = measure("hard/baked_gather.onnx", &["--probe", "images.npz"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !told.contains("panicked"), "{told}");
}

#[test]
fn a_probe_set_of_another_shape_is_a_mismatch() {
    let folder = Folder::new();
    let small = folder.npy("small.npy", "|u1", "(4, 3, 16, 16)", &[7; 4 * 3 * 256]);
    assert_refused(&measure("plain.onnx", &["--probe", &small]), 5, &["plain.onnx", "[?, 3, 32, 32]", "3 x 16 x 16"]);
    assert_refused(&measure("rank_2_input.onnx", &["--probe", &small]), 5, &["[?, 3072]", "3 x 16 x 16"]);
    assert_refused(&measure("one_channel.onnx", &["--probe", "images.npz"]), 5, &["[?, 1, 32, 32]", "3 x 32 x 32"]);
}

#[test]
fn probe_sets_that_cannot_be_used_are_refused() {
    let folder = Folder::new();
    let pixels = vec![1u8; 4 * 3 * 32 * 32];
    let floats: Vec<u8> = (0..2 * 3072).flat_map(|i| (if i == 3073 { f32::NAN } else { 0.5 }).to_le_bytes()).collect();
    for (probe, word) in [
        (folder.file("empty.npy", ""), "an empty file"),
        (folder.file("text.npy", "not numbers"), "another kind of file"),
        (folder.npy("cut.npy", "|u1", "(4, 3, 32, 32)", &pixels[..5000]), "5000 (the file is cut short)"),
        (folder.npy("nan.npy", "<f4", "(2, 3, 32, 32)", &floats), "image 1"),
        (folder.npy("zero.npy", "|u1", "(0, 3, 32, 32)", &[]), "zero images"),
        (folder.npy("one.npy", "|u1", "(1, 3, 32, 32)", &pixels[..3072]), "1 image"),
        (folder.npy("rank.npy", "|u1", "(12, 1024)", &pixels), "rank 3"),
        (folder.npy("kind.npy", "<i8", "(1, 3, 8, 8)", &pixels[..1536]), "<i8"),
        (folder.npy("lie.npy", "|u1", "(999999999, 3, 9999, 9999)", &pixels), "cut short"),
        (folder.npy("huge.npy", "|u1", "(99999999999, 99999999999, 3, 2)", &pixels), "fits in memory"),
        (folder.npy("unclear.npy", "|u1", "(4, 32, 32, 3, 1)", &pixels), "rank 3"),
        (folder.npy("layout.npy", "|u1", "(1, 3, 1024, 4)", &pixels), "--layout"),
        (folder.file("cut.idx", [0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28, 1, 2, 3]), "cut short"),
        (folder.file("float.idx", [0, 0, 0x0d, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2]), "0x0d"),
        (folder.file("cut.gz", [0x1f, 0x8b, 8, 0, 0, 0]), "damaged"),
        (folder.file("cut.npz", b"PK\x03\x04rest"), "damaged"),
        (folder.0.path().to_str().expect("UTF-8").to_owned(), "a folder without any"),
    ] {
        let output = measure("plain.onnx", &["--probe", &probe]);
        let name = Path::new(&probe).file_name().and_then(|name| name.to_str()).expect("a name");
        assert_refused(&output, 3, &[name, word, "expected", "found"]);
    }
    assert_refused(&measure("plain.onnx", &["--probe", "missing.npy"]), 10, &["missing.npy"]);
    assert_refused(&measure("plain.onnx", &[]), 2, &["--probe"]);
}

#[test]
fn outputs_that_are_not_finite_are_refused_with_the_image() {
    for model in ["nan.onnx", "nan_some.onnx", "infinite.onnx"] {
        assert_refused(&measure(model, &["--probe", "images.npz"]), 7, &[model, "of 40 images", "first: image"]);
    }
}

#[test]
fn an_undefined_stability_has_its_own_code_and_a_reason_in_json() {
    let folder = Folder::new();
    let flat = folder.npy("flat.npy", "|u1", "(40, 3, 32, 32)", &vec![9; 40 * 3072]);
    for (model, probe) in [("constant.onnx", "images.npz"), ("plain.onnx", flat.as_str())] {
        let output = measure(model, &["--probe", probe, "--format", "json"]);
        assert_eq!(output.status.code(), Some(8), "{}", text(&output));
        let record = json(&output);
        assert!(record["r_f"].is_null() && record["prediction"].is_null());
        assert!(record["undefined"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("NaN"));
    }
}

#[test]
fn laws_apply_where_they_were_fitted() {
    let predict =
        |more: &[&str]| measure("resnet_dynamo.onnx", &[&["--probe", "images.npz", "--format", "json"], more].concat());
    assert_refused(&predict(&["--law", "cifar10", "--cutoff", "5"]), 9, &["cifar10", "cutoff 3 (measured: 5)"]);
    assert_refused(&predict(&["--law", "nope"]), 9, &["nope", "fashionmnist-c3"]);
    let forced = predict(&["--law", "cifar10", "--cutoff", "5", "--force-law"]);
    assert_eq!(forced.status.code(), Some(0), "{}", text(&forced));
    // An untrained network: its answers hardly depend on the image, and the law stays silent, with a reason.
    let record = json(&predict(&["--law", "cifar10"]));
    assert!(record["prediction"].is_null());
    assert!(record["warnings"].to_string().contains("answers like an untrained one"), "{}", record["warnings"]);
    assert!(json(&predict(&["--law", "none"]))["warnings"].to_string().contains("--law"));
    // Who names no law gets the one over data sets, where it was fitted.
    assert!(json(&predict(&["--cutoff", "5"]))["warnings"].to_string().contains("law invariance: it was fitted at"));
}

#[test]
fn libraries_that_are_not_onnx_runtime_are_refused() {
    let folder = Folder::new();
    let source = |version: &str| {
        format!(
            "static const char *version(void) {{ return \"{version}\"; }}\n\
             static const struct {{ void *(*get)(unsigned); const char *(*version)(void); }} base = {{0, version}};\n\
             const void *OrtGetApiBase(void) {{ return &base; }}\n"
        )
    };
    let compile = |name: &str, text: &str| {
        let code = folder.file(&format!("{name}.c"), text);
        let library = folder.0.path().join(format!("{name}.so"));
        let compiled =
            std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(code).status();
        assert!(compiled.expect("a C compiler").success());
        library.to_str().expect("UTF-8").to_owned()
    };
    let cut = compile("cut", &source("1.17.0"));
    let bytes = fs::read(&cut).expect("read");
    fs::write(&cut, &bytes[..bytes.len() / 2]).expect("written");
    for (library, word) in [
        ("/no/such/libonnxruntime.so".to_owned(), "no such file"),
        (cut, if cfg!(target_os = "linux") { "no whole library" } else { "does not load" }),
        (folder.file("text.so", "text"), "does not load"),
        (compile("other", "int other(void) { return 1; }"), "another library"),
        (compile("old", &source("1.10.0")), "found 1.10.0"),
    ] {
        for backend in ["auto", "onnxruntime"] {
            let flags =
                ["measure", "plain.onnx", "--probe", "images.npz", "--onnxruntime", &library, "--backend", backend];
            assert_refused(&relstab(&flags), 6, &[&library, word, "pip install onnxruntime"]);
        }
    }
}

#[test]
fn cuda_that_is_not_there_is_an_error_and_never_a_silent_fallback() {
    let fixed = ["measure", "plain.onnx", "--probe", "images.npz", "--provider", "cuda"];
    assert_refused(&relstab(&[&fixed[..], &["--backend", "tract"]].concat()), 6, &["cuda"]);
    if !Path::new("/proc/driver/nvidia/version").exists() {
        assert_refused(
            &relstab(&[&fixed[..], &["--backend", "onnxruntime"]].concat()),
            6,
            &["cuda", "onnxruntime-gpu"],
        );
    }
}

#[test]
fn a_library_for_the_cpu_that_is_not_there_is_an_error_and_never_a_silent_fallback() {
    for library in ["openvino", "dnnl", "xnnpack"] {
        let fixed = ["measure", "plain.onnx", "--probe", "images.npz", "--provider", library];
        for engine in ["tract", "onnxruntime"] {
            // As PyPI has it, ONNX Runtime has none of them.
            assert_refused(&relstab(&[&fixed[..], &["--backend", engine]].concat()), 6, &[library, "--onnxruntime"]);
        }
    }
}

#[test]
fn settings_of_a_gpu_that_nothing_would_use_are_refused() {
    for (flags, words) in [
        (["--device", "1", "--provider", "cpu"], ["--device", "--provider cpu"]),
        (["--gpu-memory-limit", "2GiB", "--backend", "tract"], ["--gpu-memory-limit", "--backend tract"]),
        (["--gpu-memory-limit", "0", "--provider", "auto"], ["--gpu-memory-limit", "2GiB"]),
    ] {
        let fixed = ["measure", "plain.onnx", "--probe", "images.npz"];
        assert_refused(&relstab(&[&fixed[..], &flags].concat()), 2, &words);
    }
}

#[test]
fn without_onnx_runtime_the_embedded_engine_runs_and_says_so() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_relstab"))
        .current_dir(project("tests/fixtures"))
        .env("VIRTUAL_ENV", empty.path())
        .args(["measure", "plain.onnx", "--probe", "images.npz", "--draws", "1", "--format", "json"])
        .output()
        .expect("the command runs");
    assert_eq!(json(&output)["backend"]["name"], "tract");
}

#[test]
fn doctor_and_completions_print() {
    let doctor = relstab(&["doctor", "--format", "json"]);
    let found = json(&doctor);
    assert!(
        found["tract"].is_string() && found["onnxruntime"]["path"].is_string(),
        "{found} (./test.sh installs ONNX Runtime)"
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&relstab(&["completions", shell])).contains("relstab"));
    }
}

#[test]
fn the_example_runs() {
    let example = std::path::Path::new(env!("CARGO_BIN_EXE_relstab")).with_file_name("examples").join("measure");
    let output = std::process::Command::new(example)
        .current_dir(project(""))
        .args(["tests/fixtures/plain.onnx", "tests/fixtures/images.npz"])
        .output()
        .expect("`cargo test` without --test, or `cargo build --examples`, builds it");
    assert!(text(&output).contains("R_f Some(Estimate"), "{}", text(&output));
}
