//! Every way in which one small network is exported in `tests/fixtures/hard` (`models/hard_fixtures.py` makes them): measured as it
//! is when plainly exported, or refused with what to do.

use crate::common::{project, r_f};
use relstab::backend::{self, Engine, NoticeCode as Code, Options};
use relstab::error::Error;
use relstab::event::{self, Measurement};
use relstab::measure::{ChosenLaw, Settings, measure, predict_anew};
use relstab::plan::Plan;
use relstab::predict::Law;
use relstab::preprocess::Preprocess;
use relstab::probe::{self, Layout, ProbeSet};

/// What the project promises of one network on two engines.
const TOLERANCE: f64 = 1e-3;
const ENGINES: [Engine; 2] = [Engine::Onnxruntime, Engine::Tract];

fn path(name: &str) -> std::path::PathBuf {
    project("tests/fixtures/hard").join(format!("{name}.onnx"))
}

fn plan(engine: Engine, options: Options) -> Plan {
    Plan {
        probe: relstab::path::RawPath(project("tests/fixtures/images.npz")),
        within: None,
        layout: None,
        image_shape: None,
        max_bad: 0,
        preprocess: Preprocess::default(),
        settings: Settings { images: 40, draws: 2, ..Settings::default() },
        backend: Options { engine, ..options },
    }
}

fn try_with(name: &str, engine: Engine, options: Options) -> Result<(Measurement, Vec<Code>), Error> {
    let setup = plan(engine, options).load().expect("a probe set");
    let shape = setup.probe(&|_, _| ()).expect("a probe set").shape();
    let codes = backend::open(&path(name), shape, &Options { engine, ..Options::default() });
    let codes = codes.map(|network| network.network().notices.iter().map(|notice| notice.code).collect());
    let measurement = setup.measure(setup.read(&path(name))?, &mut None, &|_, _| ())?;
    Ok((measurement, codes.unwrap_or_default()))
}

fn measured(name: &str, engine: Engine) -> (Measurement, Vec<Code>) {
    try_with(name, engine, Options::default()).unwrap_or_else(|error| panic!("{name} on {engine}: {error}"))
}

/// Names, and the notice that each must bring.
fn assert_all_like_base(names: &[(&str, Option<Code>)], tolerance: f64) {
    for engine in ENGINES {
        let base = r_f(&measured("base", engine).0);
        for (name, code) in names {
            let (found, codes) = measured(name, engine);
            let ratio = r_f(&found) / base;
            assert!((ratio - 1.0).abs() < tolerance, "{name} on {engine}: {ratio} of {base}");
            assert_eq!(codes.first(), code.as_ref(), "{name} on {engine}: {:?}", found.warnings);
        }
    }
}

#[test]
fn a_softmax_is_found_wherever_it_hides() {
    let names = [
        "softmax_cast",
        "softmax_qdq",
        "softmax_bytes",
        "softmax_shapes",
        "softmax_clip",
        "softmax_spelled_out",
        "softmax_function",
        "softmax_if",
        "softmax_double",
        "softmax_twice",
        "softmax_reciprocal",
        "softmax_if_one",
        "softmax_if_scaled",
        "softmax_if_nested",
        "softmax_split",
        "softmax_power",
        "softmax_sharpened",
        "softmax_odds",
        "softmax_log_odds",
        "softmax_of_largest",
        "softmax_centred",
        "softmax_unsummed",
        "softmax_rounded",
        "softmax_where",
        "softmax_weighted",
        "softmax_masked",
        "sigmoid",
        "sigmoid_tanh",
        "sigmoid_reciprocal",
    ];
    assert_all_like_base(&names.map(|name| (name, Some(Code::MeasuredBefore))), TOLERANCE);
}

#[test]
fn a_sigmoid_makes_classes_that_exclude_none_and_a_softmax_does_not() {
    for engine in ENGINES {
        for (name, has_invariance) in
            [("base", true), ("softmax_cast", true), ("sigmoid", false), ("sigmoid_reciprocal", false)]
        {
            let mut found = measured(name, engine).0;
            let scores = found.scores.as_ref().expect("classes");
            assert_eq!(scores.invariance.is_some(), has_invariance, "{name} on {engine}");
            assert_eq!(found.replicates_invariance.is_some(), has_invariance, "{name} on {engine}");
            // Its weights are random, which would be a reason of its own.
            found.findings.clear();
            let law = Law::usual().expect("a preset");
            predict_anew(&mut found, Some(&ChosenLaw { law, explicit: false, force: true }));
            let told = found.warnings.iter().any(|text| text.contains("several classes may be right at once"));
            assert_eq!(told, !has_invariance, "{name} on {engine}: {:?}", found.warnings);
            assert!(has_invariance || found.prediction.is_none(), "{name} on {engine}");
        }
    }
}

#[test]
fn a_branch_that_only_changes_shapes_hides_no_softmax() {
    // The embedded engine takes no branches of different shapes.
    let [found, base] = ["softmax_if_squeeze", "base"].map(|name| measured(name, Engine::Onnxruntime));
    assert!((r_f(&found.0) / r_f(&base.0) - 1.0).abs() < TOLERANCE, "{:?}", found.0.warnings);
    assert_eq!(found.1.first(), Some(&Code::MeasuredBefore));
}

#[test]
fn classes_are_those_of_the_exported_output_where_something_weighs_them() {
    let answered = |name| measured(name, Engine::Tract).0.scores.expect("classes").classes;
    assert_ne!(answered("softmax_weighted"), answered("base"));
    assert_eq!(answered("softmax_where"), answered("base"));
}

#[test]
fn a_final_relu_or_clip_is_measured_before_and_answers_behind_it() {
    assert_all_like_base(
        &["relu_end", "clip_end", "relu_bytes"].map(|name| (name, Some(Code::MeasuredBefore))),
        TOLERANCE,
    );
    for engine in ENGINES {
        // The network is as sure as what it gives, not as what is measured before.
        let sure = |name| measured(name, engine).0.scores.expect("classes").confidence.clean;
        assert!(sure("clip_end") < 0.7 * sure("base"), "{} {}", sure("base"), sure("clip_end"));
    }
}

#[test]
fn probabilities_whose_softmax_is_not_found_compare_with_none_measured_before() {
    for engine in ENGINES {
        let (found, _) = measured("ensemble", engine);
        assert!(found.model.probabilities, "{:?}", found.warnings);
        let base = measured("base", engine).0;
        assert!(!base.model.probabilities);
        let refused = relstab::check::paired(&found, &base, 0.95).expect_err("not comparable").to_string();
        assert!(refused.contains("R_f, D_f and G_f") && refused.contains("before the softmax"), "{refused}");
        assert!(found.probe_error.is_some() && found.scores.is_some());
    }
}

#[test]
fn the_likelier_of_two_outputs_is_measured_and_both_are_named() {
    assert_all_like_base(&[("aux_first", Some(Code::SeveralOutputs))], TOLERANCE);
    let (found, _) = measured("aux_first", Engine::Tract);
    assert_eq!(found.model.output, "logits");
    let told = found.warnings.iter().find(|warning| warning.contains("--output")).expect("told");
    assert!(told.contains("logits") && told.contains("aux"), "{told}");
    let options = Options { output: Some("aux".to_owned()), ..Options::default() };
    let (other, _) = try_with("aux_first", Engine::Tract, options).expect("measured");
    assert_eq!(other.model.output, "aux");
}

/// Refused on either engine, with all of these words.
fn assert_refused(name: &str, words: &[&str]) {
    for engine in ENGINES {
        let error = try_with(name, engine, Options::default()).map(|(found, _)| r_f(&found));
        let error = error.expect_err(name).one_line();
        for word in words {
            assert!(error.contains(word), "{name} on {engine}: no {word:?} in {error}");
        }
    }
}

#[test]
fn what_an_image_gives_is_its_own() {
    assert_refused("bn_train", &["BatchNormalization", "training mode", "model.eval()"]);
    for name in ["bn_train_9", "bn_train_6"] {
        assert_refused(name, &["BatchNormalization normed is in training mode", "model.eval()"]);
    }
    assert_refused("random", &["RandomNormalLike noise", "another answer each time", "evaluation mode"]);
    assert_refused("batch_mean", &["depends on the others of its batch", "batch of 1"]);
    let none = [("bn_train_aside", None), ("random_aside", None), ("dropout_train", Some(Code::DropoutTakenOut))];
    assert_all_like_base(&none, TOLERANCE);
}

#[test]
fn a_batch_that_is_free_in_name_only_is_kept_to() {
    let sizes = [("baked_1", 1), ("baked_4", 4), ("baked_function", 3), ("baked_constant", 5), ("baked_identity", 5)];
    let sizes = [&sizes[..], &[("baked_joined", 3), ("baked_gather", 4)]].concat();
    let like_base: Vec<_> = sizes.iter().map(|(name, _)| (*name, Some(Code::BakedBatch))).collect();
    assert_all_like_base(&like_base, TOLERANCE);
    for (name, size) in sizes {
        assert_eq!(measured(name, Engine::Onnxruntime).0.timing.batch, size, "{name}");
    }
}

#[test]
fn bytes_are_given_as_floats_where_the_network_makes_floats_of_them() {
    let exact = ["uint8_input", "int8_input", "uint8_computed", "uint8_moved", "uint8_function"];
    let in_branches = ["uint8_if", "uint8_if_passed", "uint8_if_function"];
    for names in [&exact[..], &in_branches] {
        assert_all_like_base(
            &names.iter().map(|name| (*name, Some(Code::IntegerInput))).collect::<Vec<_>>(),
            TOLERANCE,
        );
    }
    // What looks bytes up computes with bytes: images are rounded, and cut off at the ends of the range.
    for engine in ENGINES {
        let (found, _) = measured("uint8_looked_up", engine);
        assert!(found.warnings.iter().any(|warning| warning.contains("rounded and cut off")), "{:?}", found.warnings);
        assert_eq!(found.probe_error, measured("base", engine).0.probe_error);
    }
}

#[test]
fn a_network_of_bytes_is_what_its_float_twin_is() {
    for engine in ENGINES {
        let twin = r_f(&measured("int8_float_io", engine).0);
        let (found, codes) = measured("int8", engine);
        // The twin cuts images off at the ends of its range, inside its graph, and half of these lie there.
        assert!((r_f(&found) / twin - 1.0).abs() < 0.3, "{engine}: {} and {twin}", r_f(&found));
        assert!(codes.contains(&Code::IntegerInput) && codes.contains(&Code::MeasuredBefore), "{codes:?}");
        let saturates = engine == Engine::Onnxruntime && backend::lacks_vnni();
        assert_eq!(codes.contains(&Code::Saturation), saturates, "{engine}: {codes:?}");
    }
}

#[test]
fn a_recurrent_network_begins_anew_with_each_image() {
    let [one, other] = ENGINES.map(|engine| {
        let found = measured("recurrent", engine).0;
        assert!(
            found.findings.iter().all(|finding| finding.code != event::Code::UnsteadyAnswers),
            "{:?}",
            found.warnings
        );
        r_f(&found)
    });
    assert!((one / other - 1.0).abs() < TOLERANCE, "{one} {other}");
}

#[test]
fn a_network_whose_weights_alone_are_bytes_is_measured_one_image_at_a_time() {
    // Where ONNX Runtime's sums of bytes are cut off, it says so, and the engines differ a little.
    let saturates = backend::lacks_vnni();
    let [one, other] = ENGINES.map(|engine| {
        let (found, codes) = measured("dynamic_range", engine);
        let more = (saturates && engine == Engine::Onnxruntime).then_some(Code::Saturation);
        let expected = [Code::MeasuredBefore, Code::DynamicScale].into_iter().chain(more);
        assert!(codes.iter().copied().eq(expected), "{engine}: {codes:?}");
        r_f(&found)
    });
    let tolerance = if saturates { 0.01 } else { TOLERANCE };
    assert!((one / other - 1.0).abs() < tolerance, "{one} {other}");
    assert!((one / r_f(&measured("base", Engine::Tract).0) - 1.0).abs() < 0.1, "{one}");
}

#[test]
fn inputs_of_odd_shapes_take_the_same_images() {
    let names = ["column", "no_batch", "symbolic_last", "padded_last", "undeclared", "default_input"];
    assert_all_like_base(&names.map(|name| (name, (name == "column").then_some(Code::PixelOrder))), TOLERANCE);
    assert_refused("ambiguous", &["--input-layout"]);
    for engine in ENGINES {
        let options = Options { input_layout: Some(Layout::Nchw), ..Options::default() };
        let (found, _) = try_with("ambiguous", engine, options).expect("told by the user");
        assert!((r_f(&found) / r_f(&measured("base", engine).0) - 1.0).abs() < TOLERANCE);
    }
}

#[test]
fn what_engines_do_not_know_is_named_with_what_to_do() {
    assert_refused("custom_op", &["operator MyOp of domain acme", "--custom-ops"]);
    assert_refused("custom_relu", &["operator Relu of domain acme", "--custom-ops"]);
    assert_refused("qonnx", &["operator Quant of domain onnx.brevitas", "QONNX", "qonnx_to_qcdq"]);
    assert_refused("for_one_machine", &["the machine that wrote it", "made from"]);
    assert_refused("tflite_op", &["TFL_READ_VARIABLE", "tf2onnx", "SavedModel"]);
    assert_refused("unknown_op", &["NoSuchOperator", "pip install"]);
    for name in ["too_new_ir", "too_new_opset"] {
        let refused = try_with(name, Engine::Onnxruntime, Options::default()).map(|_| ());
        let refused = refused.expect_err("too new").one_line();
        assert!(refused.contains("99") && refused.contains("pip install -U onnxruntime"), "{refused}");
        let (found, codes) = measured(name, Engine::Auto);
        assert_eq!(
            (found.backend.name.as_str(), codes.first()),
            ("tract", Some(&Code::OtherEngine)),
            "{:?}",
            found.warnings
        );
    }
}

#[test]
fn a_library_of_operators_must_be_one() {
    let library = relstab::path::RawPath(path("base"));
    let options = || Options { custom_ops: vec![library.clone()], ..Options::default() };
    let refused = try_with("custom_op", Engine::Onnxruntime, options()).map(|_| ()).expect_err("no library").one_line();
    assert!(refused.contains("--custom-ops") && refused.contains("base.onnx"), "{refused}");
    let tract = Options { engine: Engine::Tract, ..options() }.validated().expect_err("tract").to_string();
    assert!(tract.contains("--custom-ops"), "{tract}");
}

#[test]
fn weights_in_a_node_are_part_of_the_hash_and_a_file_of_two_networks_is_told() {
    assert_all_like_base(&[("outside", None)], TOLERANCE);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = |name: &str, to: &str| {
        std::fs::copy(project("tests/fixtures/hard").join(name), folder.path().join(to)).expect("copied");
        folder.path().join(to)
    };
    let (first, second) = (copy("outside.onnx", "step_1.onnx"), copy("outside.onnx", "step_2.onnx"));
    let data = copy("outside.bin", "outside.bin");
    let setup = plan(Engine::Tract, Options::default()).load().expect("a probe set");
    let read = |path| setup.read(path).expect("a network");
    let before = read(&first).sha256().to_owned();
    let told = |model| {
        let found = setup.measure(model, &mut None, &|_, _| ()).expect("measured");
        found.warnings.iter().any(|warning| warning.contains("step_1.onnx"))
    };
    assert!(!told(read(&first)) && told(read(&second)) && !told(read(&first)));
    let mut bytes = std::fs::read(&data).expect("read");
    bytes[7] ^= 1;
    std::fs::write(&data, &bytes).expect("written");
    assert_ne!(read(&first).sha256(), before);
    std::fs::write(&data, vec![0; bytes.len()]).expect("written");
    let awaited = setup.read(&first).map(|_| ()).expect_err("zeros");
    assert!(matches!(awaited, Error::Unfinished { .. }), "{awaited}");
}

#[test]
fn a_probe_of_floats_fits_a_network_of_bytes_too() {
    let probe = ProbeSet::open(&project("tests/fixtures/images.npz"), &probe::Options::default()).expect("images");
    let shape = probe.shape();
    let mut pixels = vec![0.0; probe.len() * shape.len()];
    for (index, image) in pixels.chunks_exact_mut(shape.len()).enumerate() {
        probe.image(index, image);
    }
    let floats =
        ProbeSet::from_nchw(pixels, [probe.len(), shape.channels, shape.height, shape.width], None).expect("floats");
    let network = backend::open(&path("uint8_input"), shape, &Options { engine: Engine::Tract, ..Options::default() })
        .expect("opened");
    let settings = Settings { images: 40, draws: 1, ..Settings::default() };
    let [bytes, floats] = [probe, floats].map(|set| {
        let found = measure(&*network, &set.in_steps(1.0, 0.0), &settings, &|_, _| ()).expect("measured");
        assert!(!found.warnings.iter().any(|warning| warning.contains("0 to 255")), "{:?}", found.warnings);
        r_f(&found)
    });
    assert!((bytes / floats - 1.0).abs() < TOLERANCE, "{bytes} {floats}");
}
