//! The command as users meet it: results, and one clear line with the right exit code for everything that can be wrong.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use common::{project, relstab};
use serde_json::Value;

/// `relstab measure` on the fixtures with the embedded engine and few passes.
fn measure(model: &str, more: &[&str]) -> Output {
    let fixed = ["measure", model, "--backend", "tract", "--draws", "1", "--images", "40"];
    relstab(&[&fixed, more].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Fails with `code` and one line on standard error that holds all of `words`; nothing is printed as a result.
fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.starts_with("error: "), "{complaint}");
    for word in words {
        assert!(complaint.contains(word), "no {word:?} in: {complaint}");
    }
    assert!(output.stdout.is_empty(), "{}", text(output));
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// A `.npy` file of one array.
    fn npy(&self, name: &str, kind: &str, shape: &str, data: &[u8]) -> String {
        let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let length = u16::try_from(header.len()).expect("short").to_le_bytes();
        self.file(name, [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat())
    }
}

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
fn the_schema_in_docs_is_made_from_the_types() {
    let output = relstab(&["schema"]);
    let written = fs::read_to_string(project("docs/measurement.schema.json")).expect("a schema");
    assert_eq!(String::from_utf8_lossy(&output.stdout), written, "run: relstab schema > docs/measurement.schema.json");
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
        ("two_inputs.onnx".to_owned(), "images, mask"),
        ("integer_input.onnx".to_owned(), "int64"),
        ("labels_only.onnx".to_owned(), "label int64"),
    ];
    for backend in ["tract", "onnxruntime"] {
        for (model, word) in &cases {
            let output = relstab(&["measure", model, "--probe", "images.npz", "--backend", backend]);
            let name = Path::new(model).file_name().and_then(|name| name.to_str()).expect("a name");
            assert_refused(&output, 4, &[name, word, "expected", "found"]);
        }
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
    // An untrained network: R_f is about 1 and the law stays silent, with a reason.
    let record = json(&predict(&["--law", "cifar10"]));
    assert!(record["prediction"].is_null());
    assert!(record["warnings"].to_string().contains("where training begins"), "{}", record["warnings"]);
    assert!(json(&predict(&[]))["warnings"].to_string().contains("--law"));
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
    for share in ["0", "1e-20", "1.5", "NaN"] {
        assert_refused(&relstab(&["watch", path, "--duty", share]), 2, &["--duty", "0.01 to 1"]);
    }
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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = std::process::Command::new(cargo)
        .current_dir(project(""))
        .args([
            "run",
            "--quiet",
            "--example",
            "measure",
            "--",
            "tests/fixtures/plain.onnx",
            "tests/fixtures/images.npz",
        ])
        .output()
        .expect("cargo runs");
    assert!(text(&output).contains("R_f Some(Estimate"), "{}", text(&output));
}
