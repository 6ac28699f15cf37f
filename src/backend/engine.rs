//! What an engine promises: a [`Backend`] gives one [`Session`] for each lane of work.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::network::Network;
use super::options::Provider;
use crate::error::{Error, Result};
use crate::perturb::{Draws, Interpolation, Perturber};

/// Which engine ran, for the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// `onnxruntime` or `tract`.
    pub name: String,
    /// The engine's version.
    pub version: String,
    /// `cpu`, `cuda`, `openvino`, `dnnl` or `xnnpack`: what is used.
    pub provider: String,
    /// What was asked for.
    pub provider_requested: Provider,
    /// The machine of the worker that ran it, where it was another than the daemon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// A loaded network, shared by the lanes that run it.
pub trait Backend: Send + Sync {
    /// What the network takes and gives.
    fn network(&self) -> &Network;

    /// The engine, its version and where it computes.
    fn identity(&self) -> &Identity;

    /// How many lanes keep the engine busy, and the largest batch that serves each best.
    fn lanes(&self) -> Lanes;

    /// A session for one lane, which gives it `rows` images at once, or fewer.
    ///
    /// # Errors
    /// `Engine` if the engine cannot prepare one.
    fn session(&self, rows: usize) -> Result<Box<dyn Session>>;

    /// Who perturbs its images by the rule of `interpolation`.
    fn perturbing(&self, _interpolation: Interpolation) -> Perturbing {
        Perturbing::Caller
    }

    /// The graph that perturbs them; only where [`Backend::perturbing`] says so.
    ///
    /// # Errors
    /// `Engine` or `Unavailable` if the engine cannot prepare one.
    fn perturb_graph(&self, _perturber: &Perturber) -> Result<Box<dyn PerturbGraph>> {
        Err(perturbs_elsewhere())
    }
}

/// Who perturbs the images of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Perturbing {
    /// The caller of [`Session::run`].
    Caller,
    /// A [`PerturbGraph`], where that turns out to be quicker than the caller, and the caller needs so long that it is worth preparing.
    Quicker(Duration),
    /// A [`PerturbGraph`].
    Graph,
}

/// A graph that perturbs images where the network computes.
pub trait PerturbGraph: Send + Sync {
    /// How many lanes keep it busy.
    fn lanes(&self) -> usize;

    /// As [`Backend::session`].
    ///
    /// # Errors
    /// `Engine` if the engine cannot prepare one.
    fn session(&self, rows: usize) -> Result<Box<dyn PerturbSession>>;
}

/// One lane's way through a [`PerturbGraph`] into the network.
pub trait PerturbSession: Send {
    /// The images `[row, channel, y, x]` of the draws that follow.
    fn take(&mut self, images: &[f32]);

    /// Runs them deformed and noisy, by a draw for each, and writes `[row, number]` of both as [`Session::run`].
    ///
    /// # Errors
    /// As [`Session::run`].
    fn run(&mut self, draws: &Draws, deformed: &mut [f32], noisy: &mut [f32]) -> Result<()>;
}

/// How work is best split for a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// Lanes that work side by side.
    pub count: usize,
    /// Images in a batch, at most.
    pub batch: usize,
    /// Whether batches are best whole, all but the last: an engine may plan anew for each size that it meets.
    pub whole: bool,
}

/// One lane's way into the network.
pub trait Session: Send {
    /// Runs `images`, `[row, axes of the network's layout]`, and writes `[row, number]`, in a row those of each tensor of
    /// [`Network::columns`]; the caller owns both buffers.
    ///
    /// # Errors
    /// `Engine` if the engine fails or gives another number of outputs than the trial run did.
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> Result<()>;
}

/// What brings an ONNX Runtime with another library for the CPU.
pub(super) const LIBRARY: &str = "install an ONNX Runtime built with it (onnxruntime-openvino on PyPI), name its library with --onnxruntime, \
                       or use --provider cpu";

pub(super) fn perturbs_elsewhere() -> Error {
    Error::Unavailable {
        what: "--perturb-on provider".to_owned(),
        reason: "it needs ONNX Runtime and bilinear interpolation".to_owned(),
        help: "install ONNX Runtime in the active Python environment, or let this process perturb (--perturb-on cpu)",
    }
}
