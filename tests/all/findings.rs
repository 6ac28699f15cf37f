//! What the command says of networks and images that do not fit each other.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::common::{FixedBackend, in_bundled, project};
use npyz::{NpyFile, WriterBuilder as _};
use relstab::arrays::{Archive, add};
use relstab::event::{Code, Measurement, Severity};
use relstab::findings::of_record;
use relstab::measure::{ChosenLaw, Settings, measure, predict_anew};
use relstab::predict::Law;
use relstab::probe::{ProbeSet, Shape};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zip::CompressionMethod::Stored;
use zip::ZipWriter;

const LAST: &str = "step=006000.onnx";
const PIXELS: usize = 28 * 28;

fn measured(more: &[&str]) -> Value {
    let fixed = ["measure", LAST, "--backend", "tract", "--draws", "1", "--format", "json"];
    let output = in_bundled(&[&fixed, more].concat());
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
    let path = project("models/fashion-mnist-cnn/probe.npz");
    let mut archive = Archive::open(Path::new(&path)).expect("the bundled probe set");
    let images = NpyFile::new(archive.entry("images").expect("images")).expect("readable").into_vec().expect("bytes");
    let labels = NpyFile::new(archive.entry("labels").expect("labels")).expect("readable");
    let are_bytes = labels.dtype().descr().contains("u1");
    let bytes = |labels: Vec<u8>| labels.into_iter().map(i64::from).collect();
    let labels = if are_bytes { labels.into_vec().map(bytes) } else { labels.into_vec::<i64>() };
    (images, labels.expect("labels"))
}

fn probe<T: npyz::AutoSerialize + Copy>(folder: &Path, name: &str, images: &[T], labels: &[i64]) -> PathBuf {
    let path = folder.join(name);
    let mut file = ZipWriter::new(File::create(&path).expect("a file"));
    let dims = [labels.len(), 1, 28, 28];
    add(&mut file, ("images", Stored), &dims, images.iter().copied()).expect("written");
    add(&mut file, ("labels", Stored), &dims[..1], labels.iter().copied()).expect("written");
    file.finish().expect("written");
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
        in_bundled(&[&fixed, more].concat())
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
fn other_places_and_shades_are_named_with_the_flags_that_mend_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (images, labels) = bundled();
    let said = |name: &str, images: &[u8], more: &[&str]| {
        let path = probe(folder.path(), name, images, &labels);
        let record = measured(&[&["--probe", text(&path)], more].concat());
        (codes(&record, "doubt").join(" "), record["findings"].to_string())
    };
    let inverted: Vec<u8> = images.iter().map(|value| 255 - value).collect();
    let (codes_of, text_of) = said("inverted.npz", &inverted, &[]);
    assert!(codes_of.contains("preprocessing") && text_of.contains("inverted (black for white)"), "{text_of}");
    let transposed: Vec<u8> =
        images.chunks(PIXELS).flat_map(|image| (0..PIXELS).map(|place| image[place % 28 * 28 + place / 28])).collect();
    let (codes_of, text_of) = said("transposed.npz", &transposed, &[]);
    assert!(codes_of.contains("preprocessing") && text_of.contains("transposed (rows for columns)"), "{text_of}");
    // Four bits of eight.
    let few: Vec<u8> = images.iter().map(|value| value / 17).collect();
    let (codes_of, text_of) = said("few.npz", &few, &[]);
    assert!(codes_of.contains("preprocessing") && text_of.contains("rescale=0.0667"), "{text_of}");
    let (codes_of, text_of) =
        said("few.npz", &few, &["--preprocess", "rescale=0.0667", "--mean", "0.286", "--std", "0.353"]);
    assert!(!codes_of.contains("preprocessing"), "{text_of}");
    // Floats of 0 to 255: the flags that are named do what they say.
    let floats: Vec<f32> = images.iter().map(|value| f32::from(*value)).collect();
    let path = probe(folder.path(), "floats.npz", &floats, &labels);
    let found = measured(&["--probe", text(&path), "--mean", "0.1", "--std", "0.5"])["findings"].to_string();
    let flags = "--preprocess rescale=0.003921569 --mean 0.286 --std 0.353";
    assert!(found.contains(flags), "{found}");
    let named: Vec<&str> = flags.split(' ').collect();
    let mended = measured(&[&["--probe", text(&path)], &named[..]].concat());
    assert!(!codes(&mended, "doubt").contains(&"preprocessing"), "{}", mended["findings"]);
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
    // Nothing but the preset says which data set it is.
    let mut record: Measurement = serde_json::from_value(record).expect("a record");
    record.metadata.other.clear();
    "images.npz".clone_into(&mut record.probe.source);
    let told =
        |record: &Measurement| of_record(record, None).into_iter().find(|found| found.code == Code::OtherDataSet);
    let text = told(&record).expect("told").text;
    assert!(text.contains("the preprocessing says fashionmnist"), "{text}");
    record.probe.mean = Some(vec![0.3]);
    assert_eq!(told(&record), None);
}

#[test]
fn the_law_over_data_sets_doubts_what_it_was_not_fitted_on() {
    let trained = measured(&["--images", "200", "--law", "invariance"]);
    assert!(trained["prediction"]["low"].is_number() && codes(&trained, "doubt").is_empty(), "{}", trained["findings"]);
    let by = |force| {
        let law = Law { range: Some([0.3, 0.4]), ..Law::usual().expect("a preset") };
        let mut record: Measurement = serde_json::from_value(trained.clone()).expect("a record");
        predict_anew(&mut record, Some(&ChosenLaw { law, explicit: true, force }));
        let outside = record.findings.into_iter().find(|finding| finding.code == Code::OutsideLaw).expect("a finding");
        assert_eq!(outside.severity, Severity::Doubt);
        assert!(
            record.warnings.contains(&outside.text) && outside.text.contains("(1 - EI) is 0.0"),
            "{}",
            outside.text
        );
        (record.prediction, outside.text)
    };
    let (prediction, text) = by(false);
    assert!(prediction.is_none() && text.starts_with("no prediction: "), "{text}");
    let (prediction, text) = by(true);
    assert!(prediction.is_some() && text.contains("was forced"), "{text}");

    // A network before its training is like none that laws were fitted on, and that is no reason for another law.
    let law = Law { range: Some([0.3, 0.4]), ..Law::usual().expect("a preset") };
    let mut initial: Measurement = serde_json::from_value(trained).expect("a record");
    (initial.metadata.step, initial.metadata.epoch) = (Some(0), None);
    predict_anew(&mut initial, Some(&ChosenLaw { law, explicit: false, force: false }));
    assert!(initial.findings.iter().all(|finding| finding.code != Code::OutsideLaw), "{:?}", initial.findings);
    let told = initial.findings.iter().find(|finding| finding.code == Code::NoPrediction).expect("no prediction");
    assert!(told.text.contains("before any training"), "{}", told.text);
}

/// Findings of a network that is a function of a linear one, under the law over data sets.
fn of_linear(outputs: usize, side: usize, function: fn(&[f32], &mut [f32], &[f32])) -> Vec<(Code, String)> {
    let shape = Shape { channels: 1, height: side, width: side };
    let number = |k: usize| ((k * k % 1009 * 37 + k * 11) as f32 * 0.7).sin();
    let images = (0..40 * shape.len()).map(number).collect();
    let probe = ProbeSet::from_nchw(images, [40, 1, side, side], None).expect("a probe set");
    let network = FixedBackend::new(shape, outputs, (7..7 + outputs * shape.len()).map(number).collect(), function);
    let law = ChosenLaw { law: Law::usual().expect("a preset"), explicit: false, force: false };
    let settings = Settings { images: 40, draws: 1, law: Some(law), ..Settings::default() };
    let record = measure(&network, &probe, &settings, &|_, _| ()).expect("measured");
    assert!(record.prediction.is_none(), "{record:?}");
    record.findings.into_iter().map(|finding| (finding.code, finding.text)).collect()
}

#[test]
fn other_classes_and_sides_are_doubtful_and_networks_without_an_invariance_have_no_law() {
    fn logits(image: &[f32], outputs: &mut [f32], weights: &[f32]) {
        for (output, weights) in outputs.iter_mut().zip(weights.chunks_exact(image.len())) {
            *output = image.iter().zip(weights).map(|(x, w)| x * w).sum();
        }
    }
    fn sigmoids(image: &[f32], outputs: &mut [f32], weights: &[f32]) {
        logits(image, outputs, weights);
        for output in outputs.iter_mut() {
            *output = 1.0 / (1.0 + (-*output).exp());
        }
    }
    for (outputs, side, part) in [(1000, 28, "1000 classes, outside what law"), (10, 112, "side 112, outside what law")]
    {
        let found = of_linear(outputs, side, logits);
        let told = found.iter().find(|(code, _)| *code == Code::OutsideLaw);
        assert!(told.is_some_and(|(_, text)| text.contains(part)), "{found:?}");
    }
    for (outputs, function) in [(1, logits as fn(&[f32], &mut [f32], &[f32])), (10, sigmoids)] {
        let found = of_linear(outputs, 28, function);
        assert!(found.iter().all(|(code, _)| *code != Code::OutsideLaw), "{found:?}");
        assert!(found.iter().any(|(code, _)| *code == Code::NoPrediction), "{found:?}");
    }
}

#[test]
fn the_doctor_explains_at_length() {
    let output = in_bundled(&["doctor", LAST, "--backend", "tract", "--mean", "0", "--std", "1"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("next: "), "{told}");
}

#[test]
fn what_a_record_tells_appears_where_it_should_and_nowhere_else() {
    let record: Measurement = serde_json::from_value(measured(&["--images", "200"])).expect("a record");
    let (error, prediction) = (record.probe_error.expect("labels"), record.prediction.clone().expect("a prediction"));
    let codes = |change: &dyn Fn(&mut Measurement)| -> Vec<Code> {
        let mut changed = record.clone();
        change(&mut changed);
        of_record(&changed, None).iter().map(|finding| finding.code).collect()
    };
    assert_eq!(codes(&|_| ()), []);
    let far = 0.6;
    assert!(prediction.high.expect("an interval") < far && error < 0.1);

    let off = [Code::ErrorOutsidePrediction, Code::ErrorsDisagree];
    assert_eq!(codes(&|record| record.probe_error = Some(far)), off);
    // What the law predicts, it does not disagree with, however far from what the training knew.
    let predicted = move |record: &mut Measurement| record.probe_error = record.prediction.as_ref().map(|it| it.error);
    assert_eq!(codes(&predicted), []);
    let known = |known: f64| codes(&|record: &mut Measurement| record.metadata.val_error = Some(known));
    assert_eq!(known(far), [Code::KnownErrorOutsidePrediction]);
    assert_eq!(known(prediction.error), []);
    let disagreeing = |record: &mut Measurement| {
        record.prediction = None;
        (record.probe_error, record.metadata.val_error) = (Some(0.21), Some(0.1));
    };
    assert_eq!(codes(&disagreeing), [Code::ErrorsDisagree]);
    let near = |record: &mut Measurement| {
        disagreeing(record);
        record.probe_error = Some(0.19);
    };
    assert_eq!(codes(&near), []);

    assert_eq!(codes(&|record| record.folded_share = 0.11), [Code::FoldedMaps]);
    assert_eq!(codes(&|record| record.folded_share = 0.1), []);
    let of_run = |known: Option<f64>| {
        codes(&|record: &mut Measurement| {
            record.metadata.val_error = known;
            record.prediction.as_mut().expect("a prediction").law.name = "run".to_owned();
        })
    };
    assert_eq!((of_run(Some(far)), of_run(None)), (vec![Code::FittedOnIt], vec![]));
}

#[test]
fn a_law_says_where_it_was_not_fitted() {
    let record: Measurement = serde_json::from_value(measured(&["--images", "200"])).expect("a record");
    let r_f = record.r_f.as_ref().expect("defined").value;
    let config = fs::read_to_string(project("models/fashion-mnist-cnn/relstab.toml")).expect("a configuration");
    let law: toml::Table = config.parse().expect("TOML");
    let law: relstab::predict::Law = law["law"].clone().try_into().expect("a law");
    for (most, found) in [(r_f * 1.01, vec![]), (r_f * 0.99, vec![Code::OutsideLaw])] {
        let mut anew = record.clone();
        let law = relstab::predict::Law { r_f_max: Some(most), ..law.clone() };
        predict_anew(&mut anew, Some(&ChosenLaw { law, explicit: true, force: false }));
        let codes: Vec<_> = anew.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, found, "{:?}", anew.findings);
    }
}

#[test]
fn metadata_that_is_none_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("base.onnx");
    fs::copy(project("tests/fixtures/hard/base.onnx"), &model).expect("copied");
    let refused = |said: &str| {
        fs::write(folder.path().join("base.onnx.json"), said).expect("written");
        let images = project("tests/fixtures/images.npz");
        let fixed = ["--backend", "tract", "--draws", "1", "--format", "json", "--probe"];
        let output = in_bundled(&[&["measure", text(&model)], &fixed[..], &[text(&images)]].concat());
        let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = record["findings"].as_array().expect("findings").clone();
        findings.into_iter().find(|f| f["code"] == "metadata_refused").map(|f| f["text"].to_string())
    };
    assert!(refused("{\"val_error\": 12.0}").is_some_and(|text| text.contains("12.0")));
    assert_eq!(refused("{\"val_error\": 0.12}"), None);
}

#[test]
fn images_that_the_training_saw_are_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (images, _) = bundled();
    let model = folder.path().join("base.onnx");
    // A network of one matrix for images of one channel, which says what it was trained on.
    fs::copy(project("tests/fixtures/one_channel.onnx"), &model).expect("copied");
    fs::write(folder.path().join("base.onnx.json"), "{\"train_images\": \"train.sha256\"}").expect("written");
    let mut squares = Vec::new();
    for image in images.chunks_exact(PIXELS).take(40) {
        squares.extend(
            (0..32 * 32).map(|at| if at % 32 < 28 && at / 32 < 28 { image[at / 32 * 28 + at % 32] } else { 0 }),
        );
    }
    let probe = folder.path().join("probe.npy");
    let mut file = fs::File::create(&probe).expect("a file");
    let shape = [40, 32, 32];
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut file).begin_nd().expect("a header");
    writer.extend(squares.iter().copied()).and_then(|()| writer.finish()).expect("written");
    let told = |seen: usize| {
        let hashes = squares.chunks_exact(32 * 32).take(seen).map(|image| hex::encode(Sha256::digest(image)) + "\n");
        fs::write(folder.path().join("train.sha256"), hashes.collect::<String>()).expect("written");
        let fixed = ["measure", text(&model), "--backend", "tract", "--draws", "1", "--format", "json"];
        let output = in_bundled(&[&fixed[..], &["--probe", text(&probe)]].concat());
        let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(!record["findings"].to_string().contains("metadata_refused"), "{}", record["findings"]);
        codes(&record, "doubt").contains(&"seen_in_training")
    };
    assert!(told(12) && !told(0));
}
