//! Shared by the tests: networks in closed form, and the files that come with the project.
#![allow(dead_code, reason = "benches use a share")]

pub mod command;
pub mod daemon;
pub mod http;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use relstab::backend::{self, Backend, Coordinates, Identity, Lanes, Network, Provider, Session};
use relstab::checkpoint::Metadata;
use relstab::error::Result;
use relstab::event::Measurement;
use relstab::probe::{Layout, Shape};

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The command, run among the fixtures.
pub fn relstab(arguments: &[&str]) -> Output {
    relstab_in("tests/fixtures", arguments)
}

/// The command, run among the checkpoints of the bundled run.
pub fn in_bundled(arguments: &[&str]) -> Output {
    relstab_in("models/fashion-mnist-cnn", arguments)
}

/// The command, run in a folder of the project.
pub fn relstab_in(folder: &str, arguments: &[&str]) -> Output {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_relstab"));
    command.current_dir(project(folder)).args(arguments).timeout(Duration::from_mins(5));
    command.output().expect("the command runs")
}

/// The command, run in a folder that holds what it keeps of its user.
pub fn relstab_at(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_relstab"));
    command.env("XDG_DATA_HOME", folder.join("data")).env("XDG_STATE_HOME", folder.join("state"));
    command.current_dir(folder).args(arguments).output().expect("the command runs")
}

/// What an environment variable says, or the usual number.
pub fn variable(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// How often a study repeats: `few` times, or as `RELSTAB_REPETITIONS` says.
pub fn repetitions(few: u64) -> u64 {
    variable("RELSTAB_REPETITIONS", few)
}

pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Numbers that differ from call to call and are the same in each test run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

pub fn normal(rng: &mut Xoshiro256PlusPlus) -> f32 {
    StandardNormal.sample(rng)
}

/// Bytes that a daemon holds in memory.
pub fn resident(daemon: &daemon::Daemon) -> u64 {
    relstab::process::resident(daemon.child.id()).expect("Linux")
}

pub fn r_f(measurement: &Measurement) -> f64 {
    measurement.r_f.as_ref().expect("defined").value
}

/// A network given as a function of one image, `[channel, y, x]` to outputs.
pub struct FixedBackend {
    network: Network,
    identity: Identity,
    pub lanes: Lanes,
    function: fn(&[f32], &mut [f32], &[f32]),
    parameters: Vec<f32>,
}

impl FixedBackend {
    pub fn new(shape: Shape, outputs: usize, parameters: Vec<f32>, function: fn(&[f32], &mut [f32], &[f32])) -> Self {
        let network = Network {
            path: "fixed".into(),
            sha256: String::new(),
            bytes: 0,
            input: "images".to_owned(),
            output: backend::Output {
                name: "logits".to_owned(),
                op: "MatMul".to_owned(),
                coordinates: Coordinates::of(vec![outputs]),
            },
            answer: None,
            is_independent: false,
            layers: Vec::new(),
            layout: Layout::Nchw,
            shape,
            axes: vec![shape.channels, shape.height, shape.width],
            fixed_batch: None,
            has_batch: true,
            pixels: None,
            scaling: None,
            metadata: Metadata::default(),
            notices: Vec::new(),
        };
        let identity = Identity {
            name: "fixed".to_owned(),
            version: "1".to_owned(),
            provider: "cpu".to_owned(),
            provider_requested: Provider::Cpu,
            host: None,
        };
        Self { network, identity, lanes: Lanes { count: 2, batch: 16, whole: false }, function, parameters }
    }

    /// `outputs = weights images`, weights `[output, pixel]`.
    pub fn linear(shape: Shape, weights: Vec<f32>) -> Self {
        let outputs = weights.len() / shape.len();
        Self::new(shape, outputs, weights, |image, outputs, weights| {
            for (output, weights) in outputs.iter_mut().zip(weights.chunks_exact(image.len())) {
                // In f64: the tests look at the estimators, not at this sum.
                *output = image.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>() as f32;
            }
        })
    }
}

impl FixedBackend {
    /// The same network, which gives its first `outputs` outputs as a layer before the others.
    pub fn with_layer(mut self, outputs: usize) -> Self {
        let of = |name: &str, outputs| backend::Output {
            name: name.to_owned(),
            op: "MatMul".to_owned(),
            coordinates: Coordinates::of(vec![outputs]),
        };
        self.network.layers = vec![of("layer", outputs)];
        self.network.output = of("logits", self.network.outputs() - outputs);
        self
    }
}

impl Backend for FixedBackend {
    fn network(&self) -> &Network {
        &self.network
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn lanes(&self) -> Lanes {
        self.lanes
    }

    fn session(&self, _rows: usize) -> Result<Box<dyn Session>> {
        let (size, outputs) = (self.network.shape.len(), self.network.row());
        Ok(Box::new(FixedSession { size, outputs, function: self.function, parameters: self.parameters.clone() }))
    }
}

struct FixedSession {
    size: usize,
    outputs: usize,
    function: fn(&[f32], &mut [f32], &[f32]),
    parameters: Vec<f32>,
}

impl Session for FixedSession {
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> Result<()> {
        for (image, outputs) in images.chunks_exact(self.size).zip(outputs.chunks_exact_mut(self.outputs)) {
            (self.function)(image, outputs, &self.parameters);
        }
        Ok(())
    }
}
