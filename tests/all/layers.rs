//! `relstab layers`: layers found by name, the same on every engine, the last as `measure` gives it.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::common::{project, relstab};
use relstab::backend::{self, Engine, Options, Selection};
use relstab::estimate::Estimate;
use relstab::measure::layers::{Layer, Layers, layers};
use relstab::measure::{Settings, measure};
use relstab::probe::{self, ProbeSet};
use serde_json::Value;

const ENGINES: [Engine; 2] = [Engine::Onnxruntime, Engine::Tract];
/// What the project promises; rounding is a thousandth of it.
const TOLERANCE: f64 = 1e-3;
const BUNDLED: &str = "models/fashion-mnist-cnn/step=006000.onnx";
/// How `inside.onnx` calls the end of its second block.
const ODD: &str = "<b>|`\n\u{202e}`";

fn settings() -> Settings {
    Settings { images: 40, draws: 1, ..Settings::default() }
}

fn images(network: &str) -> ProbeSet {
    let name = if network == BUNDLED { "models/fashion-mnist-cnn/probe.npz" } else { "tests/fixtures/images.npz" };
    ProbeSet::open(&project(name), &probe::Options::default()).expect("a probe set")
}

fn path(network: &str) -> std::path::PathBuf {
    if network == BUNDLED { project(network) } else { project("tests/fixtures").join(network) }
}

/// Layers of 1,024 coordinates together: resampling these is what takes time.
fn found(network: &str, engine: Engine, selection: &Selection) -> Layers {
    let (probe, options) = (images(network), Options { engine, ..Options::default() });
    let model = backend::read(&path(network), None).and_then(|model| model.with_layers(selection, 1024));
    let network = model.and_then(|model| backend::load(model, probe.shape(), &options)).expect("a network");
    layers(&*network, &probe, &settings(), &|_, _| ()).expect("measured")
}

fn names(found: &Layers) -> Vec<&str> {
    found.layers.iter().map(|layer| layer.name.as_str()).collect()
}

fn named(names: &[&str]) -> Selection {
    Selection::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

fn assert_agree(what: &str, first: &Layer, second: &Layer) {
    let values = |layer: &Layer| [layer.r_f, layer.d_f, layer.g_f];
    for (a, b) in values(first).into_iter().zip(values(second)) {
        let close = |a: Estimate, b: Estimate| (a.value / b.value - 1.0).abs() < TOLERANCE;
        let agree = a.is_some() == b.is_some() && a.zip(b).is_none_or(|(a, b)| close(a, b));
        assert!(agree, "{what}, {}: {a:?} and {b:?}", first.name);
    }
}

#[test]
fn engines_agree_on_every_layer_and_the_last_is_what_measure_gives() {
    for (network, count) in [
        (BUNDLED, 4),
        ("resnet_dynamo.onnx", 5),
        ("resnet_legacy.onnx", 5),
        ("resnet_external.onnx", 5),
        ("resnet_fixed_4.onnx", 5),
        ("channels_last.onnx", 2),
        ("float16_input.onnx", 2),
        ("softmax_identity.onnx", 2),
        ("inside.onnx", 3),
    ] {
        let both = ENGINES.map(|engine| found(network, engine, &Selection::Blocks));
        assert_eq!(names(&both[0]), names(&both[1]), "{network}");
        assert_eq!(both[0].layers.len(), count, "{network}: {:?}", names(&both[0]));
        for (first, second) in both[0].layers.iter().zip(&both[1].layers) {
            assert!(first.r_f.is_some(), "{network}, {}: {:?}", first.name, first.undefined);
            assert_agree(network, first, second);
        }
        for (engine, layers) in ENGINES.into_iter().zip(&both) {
            let probe = images(network);
            let backend = backend::open(&path(network), probe.shape(), &Options { engine, ..Options::default() });
            let alone = measure(&*backend.expect("a network"), &probe, &settings(), &|_, _| ()).expect("measured");
            let last = layers.layers.last().expect("an output");
            assert_eq!(last.name, alone.model.output);
            // tract moves the axes of channels last through the network in another way where a tensor in between is given.
            let [last, alone] = [last.estimators.as_ref(), Some(&alone.estimators)].map(|all| serde_json::json!(all));
            let value = |readings: &Value| readings["mean"]["r_f"]["value"].as_f64().expect("defined");
            let are_close = (value(&last) / value(&alone) - 1.0).abs() < 1e-5;
            assert!(
                last == alone || (network == "channels_last.onnx" && are_close),
                "{network} on {engine}: {last} {alone}"
            );
        }
    }
}

#[test]
fn blocks_end_where_every_path_passes() {
    let of = |network| found(network, Engine::Tract, &Selection::Blocks);
    let residual = of("resnet_dynamo.onnx");
    assert_eq!(names(&residual), ["relu_1", "relu_3", "relu_5", "mean", "logits"]);
    let kinds: Vec<_> = residual.layers.iter().map(|layer| layer.op.as_str()).collect();
    assert_eq!(kinds, ["Relu", "Relu", "Relu", "ReduceMean", "Gemm"]);
    assert_eq!(residual.layers[1].axes, [16, 16, 16]);
    assert_eq!((residual.layers[1].coordinates, residual.layers[1].total), (256, 4096));
    let ends = ["/0/Relu_output_0", "/1/Relu_output_0", "/2/Relu_output_0", "/3/GlobalAveragePool_output_0", "logits"];
    assert_eq!(names(&of("resnet_legacy.onnx")), ends);
    assert_eq!(names(&of("inside.onnx")), ["chosen", ODD, "logits"]);
    assert_eq!(names(&of("linear.onnx")), ["logits"]);
}

#[test]
fn named_tensors_and_those_of_a_kind_are_measured_in_the_order_of_the_network() {
    for engine in ENGINES {
        let of = |selection: Selection| found("resnet_dynamo.onnx", engine, &selection);
        assert_eq!(names(&of(named(&["relu_3", "logits,getitem"]))), ["getitem", "relu_3", "logits"]);
        let all = of(Selection::Kind("relu".to_owned()));
        assert_eq!(names(&all), ["relu", "relu_1", "relu_2", "relu_3", "relu_4", "relu_5", "logits"]);
        // What else is measured changes nothing; as many layers take as many coordinates each.
        let others = of(named(&["getitem,getitem_3,getitem_6,relu_3,getitem_9,mean"]));
        assert_eq!((others.layers.len(), others.layers[4].name.as_str()), (7, "relu_3"));
        assert_agree("among others", &all.layers[3], &others.layers[4]);
        let odd = found("inside.onnx", engine, &named(&["a,b", "half,conv", ODD]));
        assert_eq!(names(&odd), ["conv", "half", "a,b", ODD, "logits"]);
    }
}

#[test]
fn what_cannot_be_measured_is_passed_over_or_says_why() {
    for engine in ENGINES {
        let truths = found("inside.onnx", engine, &Selection::Kind("Greater".to_owned()));
        assert_eq!(names(&truths), ["logits"]);
        let warnings = &truths.measurement.warnings;
        assert!(
            warnings.iter().any(|warning| warning.contains("passed over: some (no floats, [1, 4, 8, 8])")),
            "{warnings:?}"
        );

        let infinite = found("inside.onnx", engine, &named(&["log", "back"]));
        let [log, back, logits] = &infinite.layers[..] else { panic!("{:?}", names(&infinite)) };
        assert!(
            log.r_f.is_none() && log.undefined.as_ref().expect("why").reason.contains("for 40 of 40 images"),
            "{log:?}"
        );
        assert!(back.r_f.is_some() && logits.r_f.is_some());
    }
}

/// `relstab layers` on the fixtures with the embedded engine and few passes.
fn command(model: &str, more: &[&str]) -> Output {
    let fixed = ["layers", model, "--probe", "images.npz", "--backend", "tract", "--draws", "1", "--images", "20"];
    relstab(&[&fixed, more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn unknown_names_are_refused_with_what_there_is() {
    let long = "x".repeat(10_000);
    for (flags, code, words) in [
        (["--tensors", "relu_33"], 4, "\"relu_33\", found none; near it: relu_3"),
        (["--tensors", "relu_3,images"], 4, "named \"images\""),
        (["--tensors", "5.weight"], 4, "made of the image named \"5.weight\""),
        (["--tensors", ""], 4, "near it"),
        (["--tensors", &long], 4, "near it"),
        (["--op", "Relux"], 4, "nodes of kind Relux, found kinds Add, Conv, Gemm, ReduceMean, Relu, Reshape"),
        (["--op", "Shape"], 4, "kinds Add"),
        (["--figure", "depth.pdf"], 2, ".svg or .png"),
    ] {
        let output = command("resnet_dynamo.onnx", &flags);
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {complaint}");
        assert!(complaint.lines().count() == 1 && complaint.contains(words), "{flags:?}: {complaint}");
        assert!(output.stdout.is_empty());
    }
    let truth = command("inside.onnx", &["--tensors", "some"]);
    assert_eq!(truth.status.code(), Some(4));
    assert!(text(&truth.stderr).contains("found some (no floats, [1, 4, 8, 8])"), "{}", text(&truth.stderr));
    let both = command("plain.onnx", &["--op", "Relu", "--tensors", "relu"]);
    assert_eq!(both.status.code(), Some(2), "{}", text(&both.stderr));
}

#[test]
fn it_prints_a_table_or_json_and_draws_a_figure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name);
    let figure = file("depth.svg");
    let printed = command("inside.onnx", &["--figure", figure.to_str().expect("UTF-8")]);
    let table = text(&printed.stdout);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    assert!(table.contains(r"<b>|`\n\u{202e}` (Relu, 4 x 8 x 8)"), "{table}");
    assert!(fs::read_to_string(&figure).expect("drawn").starts_with("<svg"));

    let json = command("inside.onnx", &["--format", "json"]);
    let value: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(value["schema"], "relstab.layers/1");
    let layers = value["layers"].as_array().expect("layers");
    assert_eq!(
        layers.iter().map(|layer| layer["name"].as_str().expect("a name")).collect::<Vec<_>>(),
        ["chosen", ODD, "logits"]
    );
    assert_eq!(layers[2]["r_f"], value["measurement"]["r_f"]);
    assert_eq!((&layers[2]["total"], &layers[2]["coordinates"]), (&10.into(), &10.into()));

    let saved = file("layers.json");
    fs::write(&saved, &json.stdout).expect("written");
    let [page, markdown, png] = ["r.html", "r.md", "r.png"].map(file);
    let report = |more: &[&Path]| {
        let mut arguments = vec!["report", saved.to_str().expect("UTF-8")];
        for (flag, path) in ["--html", "--markdown", "--figure"].iter().zip(more) {
            arguments.extend([*flag, path.to_str().expect("UTF-8")]);
        }
        relstab(&arguments)
    };
    let reported = report(&[&page, &markdown, &png]);
    assert_eq!(reported.status.code(), Some(0), "{}", text(&reported.stderr));
    let page = fs::read_to_string(page).expect("a page");
    assert!(
        page.matches("class=\"ranges\"").count() == 3
            && page.contains(r"&lt;b&gt;|`\n\u{202e}`")
            && !page.contains("<b>"),
        "{page}"
    );
    let markdown = fs::read_to_string(markdown).expect("Markdown");
    assert!(markdown.contains("(r.png)") && markdown.contains("| 3 |") && !markdown.contains("<b>"), "{markdown}");
    assert!(fs::read(png).expect("drawn").starts_with(b"\x89PNG"));

    fs::write(&saved, &json.stdout[..json.stdout.len() / 2]).expect("written");
    assert_eq!(report(&[]).status.code(), Some(2));
    let full = file("full.svg");
    std::os::unix::fs::symlink("/dev/full", &full).expect("a link");
    let output = command("plain.onnx", &["--figure", full.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(10), "{}", text(&output.stderr));
}

#[test]
fn a_dead_output_says_so_and_the_layers_before_it_are_told() {
    let output = command("constant.onnx", &[]);
    assert_eq!(output.status.code(), Some(8), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("relu (Relu, 4 x 8 x 8)"), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("layer 2, no R_f"), "{}", text(&output.stdout));
}
