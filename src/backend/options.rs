//! How a network is to be run: engine, provider, device, and where images are perturbed.

use std::num::NonZeroUsize;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::export::Export;
use crate::path::RawPath;
use crate::probe::Layout;

/// Which engine runs the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Engine {
    /// ONNX Runtime where its library is found, else tract.
    #[default]
    Auto,
    /// ONNX Runtime, loaded at run time.
    Onnxruntime,
    /// The embedded pure-Rust engine.
    Tract,
}

/// Where ONNX Runtime computes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum, strum::Display,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Provider {
    /// CUDA where it works, else the CPU.
    #[default]
    Auto,
    /// CUDA or an error.
    Cuda,
    /// The CPU.
    Cpu,
    /// The CPU, by Intel's `OpenVINO`.
    Openvino,
    /// The CPU, by oneDNN.
    Dnnl,
    /// The CPU, by XNNPACK.
    Xnnpack,
}

impl Provider {
    /// Those that compute on the CPU by another library, in an ONNX Runtime that was built with it.
    pub const LIBRARIES: [Self; 3] = [Self::Openvino, Self::Dnnl, Self::Xnnpack];

    /// Whether it was named and only ONNX Runtime has it.
    pub fn needs_onnxruntime(self) -> bool {
        !matches!(self, Self::Auto | Self::Cpu)
    }
}

/// Where images are perturbed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PerturbOn {
    /// On a GPU where the network computes on one and that is quicker, else on the CPU.
    #[default]
    Auto,
    /// In this process.
    Cpu,
    /// By an ONNX graph in front of the network, whatever the provider; needs ONNX Runtime and bilinear interpolation.
    Provider,
}

impl PerturbOn {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// How to load a network.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Options {
    /// The engine.
    pub engine: Engine,
    /// Where ONNX Runtime computes.
    pub provider: Provider,
    /// The ONNX Runtime library, instead of looking for it.
    pub library: Option<RawPath>,
    /// Libraries of custom operators for ONNX Runtime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custom_ops: Vec<RawPath>,
    /// The output to measure, instead of the one that looks most like class logits.
    pub output: Option<String>,
    /// The order of the input's axes, where its sizes fit both, or hold an image in one row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_layout: Option<Layout>,
    /// How many cores to use; all by default.
    pub threads: Option<NonZeroUsize>,
    /// Which of the GPUs that CUDA sees; the first by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<u16>,
    /// Bytes of GPU memory for weights and activations; CUDA itself takes some more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<u64>,
    /// Where images are perturbed.
    #[serde(default, skip_serializing_if = "PerturbOn::is_auto")]
    pub perturb_on: PerturbOn,
    /// What makes an ONNX file of a framework's own checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<Export>,
}

impl Options {
    /// The same, unless something is asked of a GPU that nothing could use.
    ///
    /// # Errors
    /// `Setting` names it.
    pub fn validated(self) -> Result<Self> {
        let elsewhere = match (self.engine, self.provider) {
            (Engine::Tract, _) => Some("--backend tract".to_owned()),
            (_, Provider::Auto | Provider::Cuda) => None,
            (_, provider) => Some(format!("--provider {provider}")),
        };
        let flags = [("--device", self.device.is_some()), ("--gpu-memory-limit", self.gpu_memory.is_some())];
        if let (Some(found), Some((flag, _))) = (elsewhere, flags.into_iter().find(|(_, given)| *given)) {
            return Err(Error::setting(flag, "ONNX Runtime with --provider cuda or auto", found));
        }
        if (self.engine, self.perturb_on) == (Engine::Tract, PerturbOn::Provider) {
            return Err(Error::setting("--perturb-on provider", "ONNX Runtime", "--backend tract"));
        }
        if let (Engine::Tract, Some(library)) = (self.engine, self.custom_ops.first()) {
            return Err(Error::setting("--custom-ops", "ONNX Runtime, which runs them", library.0.display()));
        }
        if self.gpu_memory == Some(0) {
            return Err(Error::setting("--gpu-memory-limit", "a size such as 2GiB", 0));
        }
        Ok(self)
    }
}
