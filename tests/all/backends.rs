//! One suite for every engine: the networks in `tests/fixtures`, which `models/fixtures.py` makes.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{project, r_f};
use relstab::backend::{
    self, Backend, Engine, Identity, Lanes, Network, Options, PerturbGraph, PerturbOn, PerturbSession, Perturbing,
    Provider, Session,
};
use relstab::error::{Error, Result};
use relstab::event::Measurement;
use relstab::measure::shards::{Shard, Whole, part};
use relstab::measure::{Settings, measure};
use relstab::perturb::{Deformation, Draws, Interpolation, Perturber, Size};
use relstab::probe::{self, Layout, ProbeSet};
use relstab::watch::kinds::Kinds;
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
    let search = Search::new(false, Kinds::new(None, false).expect("a glob"));
    for Found { path, .. } in checkpoints(&search, &run, &mut |_| ()).expect("the bundled run") {
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
        for name in ["softmax.onnx", "log_softmax.onnx", "softmax_identity.onnx", "softmax_spelled_out.onnx"] {
            let found = measured(name, engine, None);
            assert_eq!(found.model.output, "logits", "{name}");
            assert!(found.warnings.iter().any(|warning| warning.contains("softmax")), "{:?}", found.warnings);
            assert_close(r_f(&found), r_f(&plain), name);
        }
    }
}

#[test]
fn inputs_and_outputs_are_told_apart() {
    for engine in ENGINES {
        let plain = r_f(&measured("plain.onnx", engine, None));
        for name in ["channels_last.onnx", "symbolic.onnx", "two_outputs.onnx"] {
            assert_close(r_f(&measured(name, engine, None)), plain, name);
        }
        let likelier = measured("embedding_and_logits.onnx", engine, None);
        assert_close(r_f(&likelier), plain, "logits");
        assert!(likelier.warnings.iter().any(|warning| warning.contains("features")), "{:?}", likelier.warnings);
        // A final ReLU, flattened, is measured before.
        let chosen = measured("embedding_and_logits.onnx", engine, Some("features"));
        assert_eq!(chosen.model.output, "features before its Relu");
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
    let measured = |limit: &str, perturb_on: &str| {
        let command = format!(
            "ulimit -v {limit} && exec {} measure hungry.onnx --probe images.npz --images 24 --draws 1 \\
             --backend onnxruntime --threads 1 --perturb-on {perturb_on} --format json",
            env!("CARGO_BIN_EXE_relstab")
        );
        let output =
            std::process::Command::new("sh").args(["-c", &command]).current_dir(project("tests/fixtures")).output();
        let output = output.expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let record: Measurement = serde_json::from_slice(&output.stdout).expect("a record");
        r_f(&record)
    };
    let whole = measured("unlimited", "cpu");
    for perturb_on in ["cpu", "provider"] {
        assert_close(measured("1572864", perturb_on), whole, perturb_on);
    }
}

/// Only rounding differs between images perturbed here and by the graph.
const FRONT_TOLERANCE: f64 = 1e-4;

fn perturbed_on(place: PerturbOn, network: &str, probe: &ProbeSet, deformation: Deformation) -> Result<Measurement> {
    let options =
        Options { engine: Engine::Onnxruntime, provider: Provider::Cpu, perturb_on: place, ..Options::default() };
    let backend = backend::open(&project(network), probe.shape(), &options)?;
    // Blocks of 20 and 19 images: one is not whole for networks of a fixed batch.
    measure(&*backend, probe, &Settings { images: 39, draws: 3, deformation, ..Settings::default() }, &|_, _| ())
}

#[test]
fn a_graph_in_front_of_a_network_gives_what_perturbing_here_gives() {
    let coarse = Deformation { cutoff: 6, size: Size::Delta(0.7), ..Deformation::default() };
    let names = [
        "plain",
        "channels_last",
        "rank_2_input",
        "resnet_dynamo",
        "resnet_fixed_1",
        "resnet_fixed_4",
        "float16_input",
    ];
    let probe = images();
    for (name, deformation) in names.into_iter().flat_map(|name| [Deformation::default(), coarse].map(|d| (name, d))) {
        let network = format!("tests/fixtures/{name}.onnx");
        let [here, there] = [PerturbOn::Cpu, PerturbOn::Provider]
            .map(|place| perturbed_on(place, &network, &probe, deformation).expect("measured"));
        let ratio = r_f(&there) / r_f(&here);
        assert!((ratio - 1.0).abs() < FRONT_TOLERANCE, "{name}: {ratio}");
        assert_eq!(there.displacement_rms_px.to_bits(), here.displacement_rms_px.to_bits());
        assert_eq!((here.timing.perturbed_on_provider, there.timing.perturbed_on_provider), (0, 234), "{name}");
    }
    let probe =
        ProbeSet::open(&project("models/fashion-mnist-cnn/probe.npz"), &probe::Options::default()).expect("images");
    for step in ["000030", "006000"] {
        let network = format!("models/fashion-mnist-cnn/step={step}.onnx");
        let [here, there] = [PerturbOn::Cpu, PerturbOn::Provider]
            .map(|place| r_f(&perturbed_on(place, &network, &probe, Deformation::default()).expect("measured")));
        assert!((there / here - 1.0).abs() < FRONT_TOLERANCE, "{step}: {here} and {there}");
    }
}

#[test]
fn what_a_graph_in_front_cannot_do_is_said() {
    let gaussian = Deformation { interpolation: Interpolation::Gaussian, ..Deformation::default() };
    let refused =
        perturbed_on(PerturbOn::Provider, "tests/fixtures/plain.onnx", &images(), gaussian).expect_err("gaussian");
    assert!(refused.to_string().contains("bilinear interpolation"), "{refused}");
    let options = Options { engine: Engine::Tract, perturb_on: PerturbOn::Provider, ..Options::default() };
    assert!(options.validated().expect_err("tract").to_string().contains("ONNX Runtime"));
}

/// What is wrong with a graph.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// It takes this long for a draw.
    Slow(Duration),
    /// It perturbs nothing.
    Wrong,
    /// The GPU has no room for it, from this draw to that.
    NoRoom(usize, usize),
}

/// A network behind a graph; it takes its time where images are perturbed here.
struct Rigged {
    network: Box<dyn Backend>,
    pause: Duration,
    /// What perturbing here must take for the graph to be tried.
    worth: Duration,
    fault: Fault,
    /// Draws that the graph was asked for.
    asked: Arc<AtomicUsize>,
}

impl Backend for Rigged {
    fn network(&self) -> &Network {
        self.network.network()
    }

    fn identity(&self) -> &Identity {
        self.network.identity()
    }

    fn lanes(&self) -> Lanes {
        Lanes { count: 2, batch: 40, whole: true }
    }

    fn session(&self, rows: usize) -> Result<Box<dyn Session>> {
        Ok(Box::new(Paused(self.network.session(rows)?, self.pause)))
    }

    fn perturbing(&self, _: Interpolation) -> Perturbing {
        Perturbing::Quicker(self.worth)
    }

    fn perturb_graph(&self, perturber: &Perturber) -> Result<Box<dyn PerturbGraph>> {
        let (graph, asked) = (self.network.perturb_graph(perturber)?, Arc::clone(&self.asked));
        Ok(Box::new(RiggedGraph { graph, fault: self.fault, asked }))
    }
}

struct Paused(Box<dyn Session>, Duration);

impl Session for Paused {
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> Result<()> {
        std::thread::sleep(self.1);
        self.0.run(images, outputs)
    }
}

struct RiggedGraph {
    graph: Box<dyn PerturbGraph>,
    fault: Fault,
    asked: Arc<AtomicUsize>,
}

impl PerturbGraph for RiggedGraph {
    fn lanes(&self) -> usize {
        2
    }

    fn session(&self, rows: usize) -> Result<Box<dyn PerturbSession>> {
        Ok(Box::new(RiggedSession(self.graph.session(rows)?, self.fault, Arc::clone(&self.asked))))
    }
}

struct RiggedSession(Box<dyn PerturbSession>, Fault, Arc<AtomicUsize>);

impl PerturbSession for RiggedSession {
    fn take(&mut self, images: &[f32]) {
        self.0.take(images);
    }

    fn run(&mut self, draws: &Draws, deformed: &mut [f32], noisy: &mut [f32]) -> Result<()> {
        let asked = self.2.fetch_add(1, Ordering::Relaxed) + 1;
        match self.1 {
            Fault::Wrong => return Ok(()),
            Fault::NoRoom(first, last) if (first..=last).contains(&asked) => {
                let (path, message) = (PathBuf::from("plain.onnx"), "out of memory".to_owned());
                return Err(Error::Engine { path, engine: "onnxruntime", action: "perturb images for", message });
            }
            Fault::Slow(pause) => std::thread::sleep(pause),
            Fault::None | Fault::NoRoom(..) => {}
        }
        self.0.run(draws, deformed, noisy)
    }
}

#[test]
fn the_quicker_way_to_perturb_takes_all_but_the_first_blocks() {
    const IMAGES: usize = 400;
    /// After each batch, outside the times of a lane: 5 for a block of 2 draws perturbed here, 3 for one that a graph perturbs.
    const REST: Duration = Duration::from_millis(30);
    const NONE: Duration = Duration::ZERO;
    const AN_HOUR: Duration = Duration::from_hours(1);
    let shape = images().shape();
    let pixels = (0..IMAGES * shape.len()).map(|place| (place as f32 * 0.3).sin() + (place as f32 * 0.0007).cos());
    let sizes = [IMAGES, shape.channels, shape.height, shape.width];
    let probe = ProbeSet::from_nchw(pixels.collect(), sizes, None).expect("a probe set");
    let settings = Settings { images: IMAGES, draws: 2, ..Settings::default() };
    let open = |perturb_on| {
        let (engine, provider, threads) = (Engine::Onnxruntime, Provider::Cpu, NonZeroUsize::new(2));
        let options = Options { engine, provider, perturb_on, threads, ..Options::default() };
        backend::open(&project("tests/fixtures/plain.onnx"), shape, &options).expect("a network")
    };
    let expected = r_f(&measure(&*open(PerturbOn::Cpu), &probe, &settings, &|_, _| ()).expect("measured"));
    // 10 blocks of 40 images: 2 are perturbed here, a draw checks the graph, 8 draws of 4 blocks time it, then 4 blocks are left.
    let cases = [
        (NONE, NONE, Fault::Slow(2 * REST), 640),
        (NONE, NONE, Fault::None, 1280),
        (NONE, NONE, Fault::Wrong, 0),
        (NONE, NONE, Fault::NoRoom(1, usize::MAX), 0),
        // For a single block, early or in its second draw; it is done again, and the graph is not trusted with more.
        (NONE, NONE, Fault::NoRoom(3, 3), 480),
        (NONE, NONE, Fault::NoRoom(9, 9), 480),
        (NONE, NONE, Fault::NoRoom(10, usize::MAX), 640),
        // Perturbing is not what takes the time, or takes little.
        (REST, NONE, Fault::None, 0),
        (NONE, AN_HOUR, Fault::None, 0),
    ];
    for (case, (pause, worth, fault, on_provider)) in cases.into_iter().enumerate() {
        let measured = || {
            let seen = AtomicU64::new(0);
            let count = |done: u64, _: u64| {
                seen.fetch_max(done, Ordering::Relaxed);
                std::thread::sleep(REST);
            };
            let asked = Arc::default();
            let network = Rigged { network: open(PerturbOn::Provider), pause, worth, fault, asked: Arc::clone(&asked) };
            let measurement = measure(&network, &probe, &settings, &count).expect("measured");
            assert!((r_f(&measurement) / expected - 1.0).abs() < FRONT_TOLERANCE, "case {case}");
            let told = measurement.warnings.iter().any(|warning| warning.contains("perturbed on the CPU"));
            assert_eq!(
                told,
                matches!(fault, Fault::Wrong | Fault::NoRoom(..)),
                "case {case}: {:?}",
                measurement.warnings
            );
            assert_eq!(seen.into_inner(), measurement.timing.passes, "case {case}");
            (asked.load(Ordering::Relaxed) > 0, measurement.timing.perturbed_on_provider)
        };
        let due = ((pause, worth) == (NONE, NONE), on_provider);
        // On a busy machine other work takes longer than the rests: then the slower way may win, but not three times.
        assert!((0..3).any(|_| measured() == due), "case {case}");
    }
    // Parts of one measurement are perturbed in one place, whatever takes longer.
    let asked = Arc::default();
    let network = open(PerturbOn::Provider);
    let network = Rigged { network, pause: NONE, worth: NONE, fault: Fault::None, asked: Arc::clone(&asked) };
    let whole = part(&network, &probe, &settings, Shard { number: 1, of: 1 }, &|_, _| ()).expect("a part");
    let whole = Whole::of(vec![whole]).expect("all parts").measurement().expect("a record");
    assert_eq!((asked.load(Ordering::Relaxed), whole.timing.perturbed_on_provider), (0, 0));
}
