//! `relstab measure --shard` and `relstab merge`: parts that come to the record of the whole, and parts that do not belong together.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use npyz::NpyFile;
use relstab::arrays::{Archive, add};
use relstab::backend;
use relstab::measure::shards::Part;
use serde_json::Value;
use zip::{CompressionMethod, ZipWriter};

use crate::common::daemon::bundled;
use crate::common::project;

/// A folder with the bundled network and its images.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().expect("a temporary folder"));
        for (name, to) in
            [("step=006000.onnx", "model.onnx"), ("step=003330.onnx", "other.onnx"), ("probe.npz", "probe.npz")]
        {
            symlink(bundled(name), desk.path().join(to)).expect("linked");
        }
        for name in ["images.npz", "resnet_fixed_4.onnx", "constant.onnx", "inside.onnx"] {
            symlink(project("tests/fixtures").join(name), desk.path().join(name)).expect("linked");
        }
        desk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relstab"));
        command.current_dir(self.path()).args(line.split_whitespace()).output().expect("the command runs")
    }

    /// A record without its times, as text.
    fn record(&self, line: &str) -> (String, Option<i32>) {
        let output = self.run(&format!("{line} --replicates --format json"));
        let parsed = serde_json::from_slice(&output.stdout);
        let mut record: Value = parsed.unwrap_or_else(|_| panic!("{line}: {}", said(&output)));
        let timing = record.as_object_mut().and_then(|record| record.shift_remove("timing")).expect("times");
        (format!("{} passes {record}", timing["passes"]), output.status.code())
    }

    /// Measures all shards, and gives their files.
    fn parts(&self, line: &str, of: usize) -> Vec<String> {
        let names: Vec<_> = (1..=of).map(|number| format!("{of}_{number}.part")).collect();
        for (number, name) in (1..).zip(&names) {
            let output = self.run(&format!("{line} --shard {number}/{of} --part {name}"));
            assert!(output.status.success(), "{line}: {}", said(&output));
        }
        names
    }

    fn refuses(&self, line: &str, code: i32, told: &[&str]) {
        let output = self.run(line);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        assert!(told.iter().all(|told| said.contains(told)), "{line}: {said}");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const BUNDLED: &str = "measure model.onnx --probe probe.npz --draws 1 --preprocess fashionmnist";
const SMALL: &str =
    "measure model.onnx --probe probe.npz --draws 1 --images 12 --preprocess fashionmnist --backend tract";

#[test]
fn parts_come_to_the_record_of_the_whole() {
    let desk = Desk::new();
    let has_onnxruntime = backend::runtime(None).is_ok();
    let engines = [("tract", 60, &[1, 3, 8][..]), ("onnxruntime", 500, &[1, 3, 8])];
    for (engine, images, counts) in engines.into_iter().filter(|(engine, ..)| *engine == "tract" || has_onnxruntime) {
        let line = format!("{BUNDLED} --backend {engine} --images {images}");
        let whole = desk.record(&line);
        for of in counts {
            let parts = desk.parts(&line, *of);
            assert_eq!(desk.record(&format!("merge {}", parts.join(" "))), whole, "{engine}, {of} parts");
        }
    }
}

#[test]
fn parts_of_any_network_and_images_come_to_the_record_of_the_whole() {
    let desk = Desk::new();
    for (line, finding, code) in [
        // Other images than the training's: what would mend it is found with the first image.
        (
            "model.onnx --probe probe.npz --images 200 --mean 0.9 --std 0.05 --preprocess fashionmnist",
            "\"code\":\"preprocessing\"",
            0,
        ),
        ("resnet_fixed_4.onnx --probe images.npz --images 39 --law cifar10 --force-law", "", 0),
        ("inside.onnx --probe images.npz --images 30 --law none", "", 0),
        ("constant.onnx --probe images.npz --images 1000", "", 8),
    ] {
        let line = format!("measure {line} --draws 1 --backend tract");
        let whole = desk.record(&line);
        assert!(whole.0.contains(finding) && whole.1 == Some(code), "{line}: {whole:?}");
        let mut parts = desk.parts(&line, 3);
        parts.reverse();
        assert_eq!(desk.record(&format!("merge {}", parts.join(" "))), whole, "{line}");
    }
}

#[test]
fn another_law_may_predict_the_whole() {
    let desk = Desk::new();
    let parts = desk.parts(SMALL, 2).join(" ");
    for law in ["--law cifar10 --force-law", "--law none"] {
        assert_eq!(desk.record(&format!("merge {parts} {law}")), desk.record(&format!("{SMALL} {law}")), "{law}");
    }
    desk.refuses(&format!("merge {parts} --law no-such-law"), 9, &["no-such-law"]);
}

#[test]
fn parts_that_do_not_belong_together_are_refused_by_name() {
    let desk = Desk::new();
    let parts = desk.parts(SMALL, 3);
    desk.refuses(&format!("merge {} {}", parts[2], parts[0]), 2, &["the parts of all 3 shards", "2, without 2/3"]);
    symlink("3_1.part", desk.path().join("again")).expect("linked");
    desk.refuses(&format!("merge {} again", parts.join(" ")), 10, &["again", "another shard than 3_1.part", "1/3"]);
    for (from, to, told) in [
        ("--backend", "--seed 1 --backend", "settings.seed 0, as in 3_1.part, found 1"),
        ("--backend", "--cutoff 4 --backend", "settings.cutoff 3, as in 3_1.part, found 4"),
        ("--draws 1", "--draws 2", "settings.draws 1, as in 3_1.part, found 2"),
        ("--images 12", "--images 13", "probe.images 12, as in 3_1.part, found 13"),
        ("--backend", "--mean 0.1 --backend", "probe.mean [0.28"),
        ("--backend", "--law none --backend", "law {"),
        ("model.onnx", "other.onnx", "model.sha256 "),
    ] {
        let line = format!("{} --shard 2/3 --part odd", SMALL.replace(from, to));
        let output = desk.run(&line);
        assert!(output.status.success(), "{line}: {}", said(&output));
        let told = [told, "part odd", "measure this shard again"];
        desk.refuses(&format!("merge {} odd {}", parts[0], parts[2]), 10, &told);
    }
    let part = fs::read(desk.path().join(&parts[1])).expect("a part");
    let (from, to) = ("\"perturbed_on_provider\":0", "\"perturbed_on_provider\":8");
    fs::write(desk.path().join("odd"), with_text(&part, |text| text.replace(from, to))).expect("written");
    let told = ["perturbed_on_provider false, as in 3_1.part, found true", "part odd", "measure this shard again"];
    desk.refuses(&format!("merge {} odd {}", parts[0], parts[2]), 10, &told);
    let halves = desk.parts(SMALL, 2);
    desk.refuses(&format!("merge {} {}", parts[0], halves[1]), 10, &["a shard of 3, as in 3_1.part", "2/2"]);
    if backend::runtime(None).is_ok() {
        // ONNX Runtime takes batches; one of all images.
        let line = SMALL.replace("tract", "onnxruntime");
        desk.run(&format!("{line} --shard 1/1 --part odd"));
        desk.refuses(&format!("merge {} odd", parts[0]), 10, &["backend.name \"tract\"", "found \"onnxruntime\""]);
    }
}

#[test]
fn shards_of_what_takes_all_images_are_refused() {
    let desk = Desk::new();
    for (more, told) in [
        ("--shard 1/2", "--part"),
        ("--part x", "--shard"),
        ("--shard 3/2 --part x", "from 1/8 to 8/8"),
        ("--shard 1/2 --part x --precision 0.1", "--precision"),
        ("--shard 1/2 --part x --budget 1s", "--budget"),
        ("--shard 1/13 --part x", "12 shards or fewer: 12 images are so many batches of 1"),
    ] {
        desk.refuses(&format!("{SMALL} {more}"), 2, &[told]);
    }
    fs::write(desk.path().join("relstab.toml"), "perturbation = { precision = 0.2 }\n").expect("written");
    desk.refuses(
        &format!("{SMALL} --shard 1/2 --part x"),
        2,
        &["--shard: expected --images and --draws", "precision 0.2"],
    );
    assert!(!desk.path().join("x").exists());
}

/// A part's file with its text changed.
fn with_text(part: &[u8], change: impl Fn(String) -> String) -> Vec<u8> {
    let mut from = Archive::new(Cursor::new(part)).expect("an archive");
    let text: Vec<u8> = NpyFile::new(from.entry("text").expect("a text")).expect("read").into_vec().expect("bytes");
    let text = change(String::from_utf8(text).expect("UTF-8"));
    let mut to = ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut to, ("text", CompressionMethod::Stored), &[text.len()], text.bytes()).expect("written");
    for name in from.names().iter().filter(|name| *name != "text") {
        to.raw_copy_file(from.entry(name).expect("an entry")).expect("copied");
    }
    to.finish().expect("finished").into_inner()
}

#[test]
fn files_that_are_no_whole_parts_are_refused() {
    let desk = Desk::new();
    desk.parts(SMALL, 1);
    let part = fs::read(desk.path().join("1_1.part")).expect("a part");
    assert_eq!(Part::read(&desk.path().join("1_1.part")).expect("whole").to_npz().expect("written").len(), part.len());
    let path = desk.path().join("bad");
    let reason = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("written");
        match Part::read(&path) {
            Ok(_) => String::new(),
            Err(error) => error.one_line(),
        }
    };
    assert_eq!(reason(&part), "");
    let told = "bad: expected";
    for length in (0..part.len()).step_by(1 + part.len() / 50) {
        assert!(reason(&part[..length]).contains(told), "cut after {length}");
        let mut damaged = part.clone();
        // What is no array's: the archive's own words, which may say the same otherwise.
        damaged[length] ^= 0x10;
        let reason = reason(&damaged);
        assert!(reason.is_empty() || reason.contains(told), "{length}: {reason}");
    }
    for (from, to, told) in [
        ("relstab.part/2", "relstab.part/3", "relstab.part/2 of relstab 0"),
        ("\"images\":12", "\"images\":4000000000", "expected clean of shape [4000000000, 10]"),
        ("\"images\":12", "\"images\":1", "two images or more"),
        ("\"draws\":1", "\"draws\":2", "expected deformed of shape [12, 2, 10]"),
        ("\"outputs\":10", "\"outputs\":0", "0 outputs"),
        ("\"passes\":36", "\"passes\":18446744073709551615", "expected times of 36 passes"),
        ("\"batch\":1,", "\"batch\":0,", "two images or more"),
        ("\"shard\":\"1/1\"", "\"shard\":\"2/1\"", "from 1/8 to 8/8"),
        ("\"shard\":\"1/1\"", "\"shard\":\"1/99\"", "12 shards or fewer"),
        ("{", "[", "what relstab measure --shard writes"),
    ] {
        let changed = with_text(&part, |text| text.replace(from, to));
        assert!(reason(&changed).contains(told), "{to}: {}", reason(&changed));
    }
    fs::write(&path, with_text(&part, |text| text.replace("\"version\":\"", "\"version\":\"9"))).expect("written");
    desk.refuses("merge bad", 10, &["expected one of relstab 0", "found one of relstab 9"]);
    for (file, told) in [
        ("probe.npz", "text"),
        ("model.onnx", "a damaged one"),
        ("/dev/zero", "a regular file"),
        ("none", "open failed"),
    ] {
        desk.refuses(&format!("merge {file}"), 10, &[told]);
    }
}

/// The script of an array of jobs in docs/scale.md, with its directives.
fn script() -> String {
    let page = fs::read_to_string(project("docs/scale.md")).expect("the page");
    let (_, rest) = page.split_once("```sh\n#!/bin/sh\n").expect("a script");
    let (script, _) = rest.split_once("```").expect("its end");
    format!("#!/bin/sh\n{script}")
}

#[test]
fn an_array_of_slurm_jobs_measures_the_whole() {
    let desk = Desk::new();
    fs::write(desk.path().join("relstab.toml"), "preprocess = { preset = 'fashionmnist' }\n").expect("written");
    // So many images take minutes without optimisation.
    let script = script().replace("--images 50000", "--images 12 --backend tract --draws 1");
    let script = script.replace("_ID/8", "_ID/3");
    assert!(script.contains("#SBATCH --array=1-8") && script.contains("--images 12"), "{script}");
    fs::write(desk.path().join("array.sh"), script).expect("written");
    let programs = Path::new(env!("CARGO_BIN_EXE_relstab")).parent().expect("a folder").to_str().expect("UTF-8");
    let programs = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let measure = |job: &str, task: &str, parts: Option<&str>| {
        let mut script = Command::new("sh");
        script.current_dir(desk.path()).arg("array.sh").env("PATH", &programs).env("SLURM_CPUS_PER_TASK", "1");
        script
            .env("SLURM_ARRAY_JOB_ID", job)
            .env("SLURM_ARRAY_TASK_ID", task)
            .envs(parts.map(|parts| ("PARTS", parts)));
        let output = script.output().expect("run");
        assert!(output.status.success(), "{}", said(&output));
    };
    // Another job's parts do not come in between, and a shard can be measured again alone.
    measure("7", "2", None);
    for task in ["1", "2", "3"] {
        measure("8", task, None);
    }
    fs::remove_file(desk.path().join("parts-8/3")).expect("a part");
    measure("9", "3", Some("parts-8"));
    assert_eq!(desk.record("merge parts-8/1 parts-8/2 parts-8/3"), desk.record(SMALL));
    assert_eq!(fs::read_dir(desk.path().join("parts-8")).expect("a folder").count(), 3);
}
