//! `relstab init`: settings of a new run that hold, and nothing that was there before is lost.

use std::fs;
use std::path::Path;

use crate::common::command::{Folder, assert_refused, text};
use crate::common::daemon::bundled;
use crate::common::{project, relstab};
use relstab::config::Config;
use relstab::probe::{Options, ProbeSet};

/// A run with one of the bundled checkpoints, which says nothing of its preprocessing here.
fn run_in(folder: &Folder) -> String {
    let run = folder.0.path().join("run");
    fs::create_dir(&run).expect("created");
    let mut network = fs::read(bundled("step=006000.onnx")).expect("read");
    for key in ["relstab.mean", "relstab.std"] {
        let at = network.windows(key.len()).position(|bytes| bytes == key.as_bytes()).expect("metadata");
        network[at..at + 7].copy_from_slice(b"another");
    }
    fs::write(run.join("step=006000.onnx"), network).expect("written");
    run.to_str().expect("UTF-8").to_owned()
}

fn init(run: &str, probe: &Path, more: &[&str]) -> std::process::Output {
    let fixed = ["init", run, "--probe", probe.to_str().expect("UTF-8"), "--backend", "tract"];
    relstab(&[&fixed, more].concat())
}

/// The configuration that was written, and its text.
fn written(run: &str) -> (Config, String) {
    let text = fs::read_to_string(Path::new(run).join("relstab.toml")).expect("written");
    (Config::read(run.as_ref()).unwrap_or_else(|error| panic!("{error}: {text}")), text)
}

#[test]
fn the_training_s_preprocessing_is_found_and_the_run_is_ready() {
    let folder = Folder::new();
    let run = run_in(&folder);
    let output = init(&run, &bundled("probe.npz"), &["--images", "300"]);
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for words in
        ["step=006000.onnx", "300 of 1 x 28 x 28", "of 10 classes", "<- taken", "300 images, ", "relstab watch"]
    {
        assert!(told.contains(words), "no {words:?} in {told}");
    }
    let (config, toml) = written(&run);
    assert_eq!((config.probe, config.perturbation.images), (Some("probe.npz".into()), Some(300)), "{toml}");
    assert_eq!((config.preprocess.mean, config.preprocess.std), (Some(vec![0.286]), Some(vec![0.353])), "{toml}");
    assert!(toml.contains("with the normalisation of Fashion-MNIST") && toml.contains("# draws = 4"), "{toml}");
    let copy = ProbeSet::open(&Path::new(&run).join("probe.npz"), &Options::default()).expect("a probe set");
    assert_eq!((copy.len(), copy.is_bytes()), (300, true));
    let chosen = Options { images: Some(300), ..Options::default() };
    let source = ProbeSet::open(&bundled("probe.npz"), &chosen).expect("a probe set");
    let sorted = |set: &ProbeSet| {
        let mut image = vec![0.0; set.shape().len()];
        let mut all: Vec<_> = (0..set.len())
            .map(|k| {
                set.image(k, &mut image);
                (image.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), set.labels().expect("labels")[k])
            })
            .collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&copy), sorted(&source));
    let measured = relstab(&["watch", &run, "--once", "--backend", "tract", "--draws", "1", "--format", "json"]);
    assert_eq!(measured.status.code(), Some(0), "{}", text(&measured));

    let again = init(&run, &bundled("probe.npz"), &[]);
    assert_refused(&again, 2, &["relstab.toml", "overwritten", "relstab watch"]);
    fs::remove_file(Path::new(&run).join("relstab.toml")).expect("removed");
    assert_refused(&init(&run, &bundled("probe.npz"), &[]), 2, &["probe.npz", "--probe"]);
    assert_eq!(ProbeSet::open(&Path::new(&run).join("probe.npz"), &Options::default()).expect("there").len(), 300);
}

#[test]
fn images_that_lie_in_the_run_are_taken_there() {
    let folder = Folder::new();
    let run = run_in(&folder);
    let probe = Path::new(&run).join("held out.npz");
    fs::copy(bundled("probe.npz"), &probe).expect("copied");
    let output = init(&run, &probe, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let (config, toml) = written(&run);
    assert_eq!(config.probe, Some("held out.npz".into()));
    assert!(toml.contains("\nimages = 500"), "{toml}");
    assert!(!Path::new(&run).join("probe.npz").exists());
}

#[test]
fn what_a_network_says_of_itself_is_left_to_it() {
    let folder = Folder::new();
    let run = folder.0.path().join("run");
    let run = run.to_str().expect("UTF-8");
    let model = bundled("step=006000.onnx");
    let output = init(run, &bundled("probe.npz"), &["--model", model.to_str().expect("UTF-8"), "--images", "100"]);
    assert!(text(&output).contains("as the network says of itself; error "), "{}", text(&output));
    let (config, toml) = written(run);
    assert!(config.preprocess.mean.is_none() && toml.contains("says it of itself"), "{toml}");
}

#[test]
fn without_a_network_or_labels_the_preprocessing_is_left_open() {
    let folder = Folder::new();
    let bytes: Vec<u8> = (0..60 * 64_u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let probe = folder.npy("small.npy", "|u1", "(60, 1, 8, 8)", &bytes);
    let run = folder.0.path().join("new/run");
    let run = run.to_str().expect("UTF-8");
    let output = init(run, probe.as_ref(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("no network yet"), "{}", text(&output));
    let (config, toml) = written(run);
    assert!(config.preprocess.mean.is_none() && toml.contains("# mean = [0.5]"), "{toml}");
    assert_eq!(config.perturbation.delta, Some(0.5), "images of 8 pixels fold when moved by one: {toml}");
    assert_eq!(config.perturbation.images, Some(60), "{toml}");

    // Random images: what a network makes of them tells nothing either.
    let run = run_in(&folder);
    let bytes: Vec<u8> = (0..60 * 784_u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let probe = folder.npy("noise.npy", "|u1", "(60, 28, 28)", &bytes);
    let output = init(&run, probe.as_ref(), &[]);
    assert!(text(&output).contains("no labels"), "{}", text(&output));
    assert!(written(&run).0.preprocess.mean.is_none());
}

#[test]
fn image_files_are_resized_to_what_the_network_takes() {
    let folder = Folder::new();
    let run = run_in(&folder);
    let options = Options { images: Some(100), ..Options::default() };
    let set = ProbeSet::open(&bundled("probe.npz"), &options).expect("a probe set");
    let files = folder.0.path().join("test images");
    let mut pixels = vec![0.0; set.shape().len()];
    for index in 0..set.len() {
        set.image(index, &mut pixels);
        let class = files.join(set.labels().expect("labels")[index].to_string());
        fs::create_dir_all(&class).expect("created");
        // Twice as large: each pixel four times.
        let large = image::GrayImage::from_fn(56, 56, |x, y| {
            image::Luma([(255.0 * pixels[(y / 2 * 28 + x / 2) as usize]).round() as u8])
        });
        large.save(class.join(format!("{index}.png"))).expect("written");
    }
    let output = init(&run, &files, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("100 of 1 x 28 x 28"), "{}", text(&output));
    let (config, toml) = written(&run);
    assert!(config.preprocess.resize.is_none(), "the copy has its size: {toml}");
    let looked = relstab(&["doctor", &format!("{run}/step=006000.onnx"), "--backend", "tract"]);
    assert!(text(&looked).contains("1 x 28 x 28"), "{}", text(&looked));
}

#[test]
fn what_cannot_be_used_is_refused_with_what_to_do() {
    let folder = Folder::new();
    let run = run_in(&folder);
    assert_refused(&init(&run, "no/such.npz".as_ref(), &[]), 10, &["no/such.npz"]);
    assert_refused(&init(&run, folder.0.path(), &[]), 3, &["images"]);
    let model = project("tests/fixtures/foreign/torch_zip");
    let flags = ["--model", model.to_str().expect("UTF-8")];
    assert_refused(&init(&run, &bundled("probe.npz"), &flags), 4, &["PyTorch", "torch.onnx.export"]);
    let flags = ["--model", "plain.onnx"];
    assert_refused(&init(&run, &bundled("probe.npz"), &flags), 5, &["[?, 3, 32, 32]", "1 x 28 x 28"]);
    assert_eq!(fs::read_dir(&run).expect("listed").count(), 1, "nothing is left behind");
}
