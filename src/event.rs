//! What the world sees: versioned records, the same in files, on sockets and in the journal.
//!
//! Fields may be added, never renamed. [`schema`] makes the JSON Schema kept in `docs/`.

mod answers;
mod bounds;
mod finding;
mod stream;
mod strip;

pub use answers::{Answers, Saved};
pub use finding::{Code, Finding, Severity, has, worst};
pub use stream::{CheckpointName, Event, Kind, Skip};
pub use strip::{Format, Row, STRIP_BYTES, STRIP_IMAGES, Shown, Strip, Told};

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bounds::REASON;

use crate::backend::Identity;
use crate::checkpoint::Metadata;
use crate::estimate::{Estimate, Estimator};
use crate::perturb::{Generator, Interpolation};
use crate::predict::{NO_PREDICTION, Prediction};
use crate::preprocess::Geometry;

/// The version of [`Measurement`].
pub const MEASUREMENT_SCHEMA: &str = "relstab.measurement/1";

/// One network, measured.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// Always `relstab.measurement/1`.
    pub schema: String,
    /// The network.
    pub model: Model,
    /// The images it was measured on.
    pub probe: Probe,
    /// How they were perturbed and read.
    pub settings: Settings,
    /// What ran it.
    pub backend: Identity,
    /// Relative stability, `D_f / G_f`; null where it is undefined.
    pub r_f: Option<Estimate>,
    /// Why `R_f` is undefined, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undefined: Option<Undefined>,
    /// Relative change under deformation; null where the outputs do not differ between images.
    pub d_f: Option<Estimate>,
    /// Relative change under noise of the same norm; null where the outputs do not differ between images.
    pub g_f: Option<Estimate>,
    /// All three readings of "typical", from the same passes.
    pub estimators: Readings,
    /// Predicted test error; null where there is none (`warnings` says why).
    pub prediction: Option<Prediction>,
    /// Bootstrap replicates of log `R_f`; pair up with those of any measurement on the same probe set and seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicates_log_r_f: Option<Vec<f32>>,
    /// Bootstrap replicates of the effective invariance under deformation, from the same resamples as those of log `R_f`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicates_invariance: Option<Vec<f32>>,
    /// How sure the network is and how often it stays with its answer; null for a single output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// Error on the probe set itself, where it has labels; a fraction.
    pub probe_error: Option<f64>,
    /// Root mean square displacement over all pixels and draws, pixels.
    pub displacement_rms_px: f64,
    /// Share of draws whose map folds.
    pub folded_share: f64,
    /// What the checkpoint says of itself.
    pub metadata: Metadata,
    /// Where the time went.
    pub timing: Timing,
    /// What is wrong, doubtful or worth knowing; absent in records of earlier versions.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// The same in words alone.
    pub warnings: Vec<String>,
}

impl Measurement {
    /// What the training knows of the error, else what the labelled probe images say.
    pub fn known_error(&self) -> Option<f64> {
        self.metadata.val_error.or(self.probe_error)
    }

    /// Whether its error was predicted by a law that was fitted on it too.
    pub fn is_fit(&self) -> bool {
        has(&self.findings, Code::FittedOnIt)
    }

    /// Why no error is predicted, if that was told.
    pub fn no_prediction(&self) -> Option<&str> {
        self.findings.iter().find_map(|finding| finding.text.strip_prefix(NO_PREDICTION))
    }

    /// All that is to be told of it, the worst first: findings, and what else it and its law say.
    pub fn told(&self) -> Vec<Finding> {
        let mut told = self.findings.clone();
        for text in self.warnings.iter().chain(self.prediction.iter().flat_map(|prediction| &prediction.warnings)) {
            if told.iter().all(|finding| finding.text != *text) {
                told.push(Finding::new(Code::Other, text.clone()));
            }
        }
        told.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        told
    }

    /// Leaves out the bootstrap replicates, which readers of one record have no use for.
    pub fn forget_replicates(&mut self) {
        self.replicates_log_r_f = None;
        self.replicates_invariance = None;
    }
}

/// A network's file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// The ONNX file; bytes that are not UTF-8 are written `\\xNN`, a backslash twice.
    #[serde(serialize_with = "crate::path::serialize_text", deserialize_with = "crate::path::deserialize_text")]
    pub path: PathBuf,
    /// Hash of the file and of its external data.
    pub sha256: String,
    /// The input's name.
    pub input: String,
    /// The measured tensor's name.
    pub output: String,
    /// Its measured coordinates for one image; 0 in records of earlier versions.
    #[serde(default)]
    pub outputs: usize,
    /// Sizes of its axes for one image, where they are no class logits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output_axes: Vec<usize>,
    /// Whether its numbers are probabilities, whose softmax was not found: `R_f`, `D_f` and `G_f` do not compare with those of a
    /// network that was measured before its softmax.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probabilities: bool,
    /// Size of the file and of its external data.
    pub bytes: u64,
}

/// A probe set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// Where the images came from.
    pub source: String,
    /// How many were used.
    pub images: usize,
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Hash of the images that were used, in order.
    pub sha256: String,
    /// Per-channel mean that was subtracted; null for none.
    pub mean: Option<Vec<f32>>,
    /// Per-channel standard deviation that was divided by; null for none.
    pub std: Option<Vec<f32>>,
    /// What pixels were multiplied by before; absent for 1/255 of bytes and 1 of floats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescale: Option<f32>,
    /// How the images were resized, cropped and coloured.
    #[serde(flatten)]
    pub geometry: Geometry,
}

/// What was asked of the perturbations and the statistics.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Cutoff of the deformations, in half-waves.
    pub cutoff: u32,
    /// Typical displacement, pixels.
    pub delta: f64,
    /// Temperature of the deformations.
    pub temperature: f64,
    /// How deformed images are read.
    pub interpolation: Interpolation,
    /// Deformations (and noises) of each image.
    pub draws: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// What drew the noises from it; the ziggurat where not given.
    #[serde(default = "Generator::unnamed")]
    pub noise: Generator,
    /// The reading in `r_f`, `d_f` and `g_f`.
    pub estimator: Estimator,
}

/// Why there is no `R_f`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Undefined {
    /// The reason, in words.
    pub reason: String,
}

/// What a classifier tells without labels, from the same passes; means over images and draws, fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scores {
    /// Probability of the predicted class after the softmax.
    pub confidence: Confidence,
    /// Share of changed images whose predicted class is that of the clean one.
    pub agreement: Agreement,
    /// Effective invariance; null for independent probabilities, and in records of earlier versions.
    #[serde(default)]
    pub invariance: Option<Invariance>,
    /// How many classes it answers with: exponential of the entropy of the predicted classes' shares of the probe images, 1 where it
    /// gives all the same; null in records of earlier versions.
    #[serde(default)]
    pub classes: Option<f64>,
}

/// Average confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Confidence {
    /// On the probe images.
    pub clean: f64,
    /// On the deformed ones.
    pub deformed: f64,
    /// On the noisy ones.
    pub noisy: f64,
}

/// Agreement of predicted classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agreement {
    /// Under deformation.
    pub deformed: f64,
    /// Under noise of the same norm.
    pub noisy: f64,
}

/// Effective invariance (arXiv:2207.07065): 0 where clean and changed image get different classes, else the root of the product of
/// both confidences; its mean. Like confidence, it depends on the scale of the logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invariance {
    /// Under deformation.
    pub deformed: Estimate,
    /// Under noise of the same norm.
    pub noisy: Estimate,
}

/// `D_f`, `G_f` and `R_f` under each reading of "typical".
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Readings {
    /// Median over images of each output coordinate's squared change, summed over coordinates.
    pub coordinate_median: Reading,
    /// Median over images of the squared norm of the change.
    pub median: Reading,
    /// Mean over images of the squared norm of the change.
    pub mean: Reading,
}

/// One reading; null where undefined.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Reading {
    /// Relative change under deformation.
    pub d_f: Option<Estimate>,
    /// Relative change under noise.
    pub g_f: Option<Estimate>,
    /// Their ratio.
    pub r_f: Option<Estimate>,
}

/// Seconds of wall time; perturbing and inference run side by side on all lanes, so theirs are averages over lanes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Timing {
    /// From the first image to the last statistic, with the rests of `watch --duty`.
    pub total_s: f64,
    /// Reading, deforming and adding noise, on the CPU.
    pub perturb_s: f64,
    /// In the network, and in the graph that perturbs images before it.
    pub inference_s: f64,
    /// Looking for findings, other preprocessings among them where the error was suspicious.
    #[serde(default)]
    pub findings_s: f64,
    /// Images that went through the network.
    pub passes: u64,
    /// Those of them that an ONNX graph perturbed where the network computes.
    #[serde(default)]
    pub perturbed_on_provider: u64,
    /// Images in a batch, as far as memory held them.
    #[serde(default)]
    pub batch: usize,
}

/// The JSON Schema of [`Measurement`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Measurement).to_value()
}
