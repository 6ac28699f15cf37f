//! Shared by the tests: networks in closed form, and the files that come with the project.
#![allow(dead_code, reason = "benches use a share")]

pub mod command;
pub mod daemon;
pub mod http;

use std::path::PathBuf;

use relstab::backend::{Backend, Coordinates, Identity, Lanes, Network, Output, Provider, Session};
use relstab::checkpoint::Metadata;
use relstab::error::Result;
use relstab::probe::{Layout, Shape};

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The command, run among the fixtures.
pub fn relstab(arguments: &[&str]) -> std::process::Output {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_relstab"))
        .current_dir(project("tests/fixtures"))
        .args(arguments)
        .timeout(std::time::Duration::from_mins(2))
        .output()
        .expect("the command runs")
}

/// How often a study repeats: `few` times, or as `RELSTAB_REPETITIONS` says.
pub fn repetitions(few: u64) -> u64 {
    std::env::var("RELSTAB_REPETITIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
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
            output: Output {
                name: "logits".to_owned(),
                op: "MatMul".to_owned(),
                coordinates: Coordinates::of(vec![outputs]),
            },
            answer: None,
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
        let of = |name: &str, outputs| Output {
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
