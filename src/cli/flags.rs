//! The flags that every measuring command shares.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::collections::HashSet;
use std::fmt::{Display, Formatter};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use bytesize::ByteSize;

use super::terminal::Format;
use crate::backend::{Engine, PerturbOn, Provider};
use crate::config::Perturbation;
use crate::estimate::Estimator;
use crate::export::Export;
use crate::perturb::Interpolation;
use crate::probe::{Layout, Shape};

/// Flags shared by every command that shows images to a network, those of deformations and of laws among them; each overrides
/// `relstab.toml`.
#[derive(Debug, Clone, clap::Args)]
pub struct Shared<D: Deforming = One, L: Predicting = Law> {
    #[command(flatten)]
    pub images: Shown,
    #[command(flatten)]
    pub preprocessing: Preprocessing,
    #[command(flatten)]
    pub perturbing: Perturbing<D>,
    #[command(flatten)]
    pub predicting: L,
    #[command(flatten)]
    pub running: Running,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Results")]
    pub format: Format,
}

/// The images that a network is shown.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Probe images")]
pub struct Shown {
    /// Probe images: a folder of images (one sub-folder a class, or flat), .npy, .npz (arrays `images` and `labels`), IDX, CIFAR
    /// batches, Hugging Face Parquet, WebDataset tar; a folder of shards
    #[arg(long, value_name = "SRC")]
    pub probe: Option<PathBuf>,
    /// Images to draw from the probe set, by class where it has labels [default: 1000, or all there are]
    #[arg(long, value_name = "N")]
    pub images: Option<usize>,
    /// Order of the probe set's axes, where it cannot be told from the sizes
    #[arg(long, value_enum)]
    pub layout: Option<Layout>,
    /// Channels, height and width, where the probe set holds each image as one row
    #[arg(long, value_name = "CxHxW")]
    pub image_shape: Option<Shape>,
    /// Images that cannot be decoded to pass over [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub max_bad: usize,
}

/// What was done to them in training.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Preprocessing: use exactly your training's")]
pub struct Preprocessing {
    /// What the training did to its images: a preset (imagenet, cifar10, ...), a preprocessor_config.json of Hugging Face or
    /// config.json of timm, or resize=256,crop=224,resample=bicubic,color=rgb,rescale=1
    #[arg(long, value_name = "NAME|FILE")]
    pub preprocess: Option<String>,
    /// Mean to subtract, one value or one for each channel, for pixels in [0, 1]
    #[arg(long, value_name = "M,...", value_delimiter = ',', allow_negative_numbers = true)]
    pub mean: Option<Vec<f32>>,
    /// Standard deviation to divide by, one value or one for each channel
    #[arg(long, value_name = "S,...", value_delimiter = ',', allow_negative_numbers = true)]
    pub std: Option<Vec<f32>>,
}

/// How they are deformed, and how the answers are read.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Deformations and statistics")]
pub struct Perturbing<D: Deforming> {
    /// Deformations, and noises, of each image [default: 1 of 1000 images, 2 of 500, up to 4 of fewer]
    #[arg(long, value_name = "N")]
    pub draws: Option<u32>,
    #[command(flatten)]
    pub deforming: D,
    /// How deformed images are read [default: bilinear]
    #[arg(long, value_enum)]
    pub interpolation: Option<Interpolation>,
    /// Reading of "typical" in the headline [default: coordinate_median]
    #[arg(long, value_enum)]
    pub estimator: Option<Estimator>,
    /// Take the images and draws that give the 95% interval of R_f this relative half-width in the fewest passes
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub precision: Option<f64>,
    /// Seed of everything random [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
}

/// What runs the network.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Engine")]
pub struct Running {
    /// Engine that runs the network
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    pub backend: Engine,
    /// Where ONNX Runtime computes
    #[arg(long, value_enum, default_value_t = Provider::Auto)]
    pub provider: Provider,
    /// Which of the GPUs that CUDA_VISIBLE_DEVICES shows; watch takes several, such as 0,1 or all, and has a worker on each
    /// [default: 0]
    #[arg(long, value_name = "N")]
    pub device: Option<Devices>,
    /// GPU memory for weights and activations, such as 2GiB; batches that it does not hold are halved
    #[arg(long, value_name = "SIZE")]
    pub gpu_memory_limit: Option<ByteSize>,
    /// Where images are perturbed: on a GPU where that is quicker, here, or by a graph in front of the network
    #[arg(long, value_enum, default_value_t = PerturbOn::Auto)]
    pub perturb_on: PerturbOn,
    /// The ONNX Runtime library, or the folder it lies in
    #[arg(long, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
    /// A library of custom operators for ONNX Runtime; may be given more than once
    #[arg(long, value_name = "LIBRARY")]
    pub custom_ops: Vec<PathBuf>,
    /// Make an ONNX file of a framework's own checkpoint (.pt, .ckpt, .keras, a folder) by this command: 'python export.py {checkpoint}
    /// {onnx}'. No shell reads it (docs/watch.md)
    #[arg(long, value_name = "CMD")]
    pub export: Option<Export>,
    /// Output to measure [default: the one that looks most like class logits]
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// Order of the network's axes, where its input does not tell
    #[arg(long, value_enum)]
    pub input_layout: Option<Layout>,
    /// Cores to use [default: all]
    #[arg(long, value_name = "N", value_parser = one_or_more)]
    pub threads: Option<NonZeroUsize>,
}

/// GPUs by the numbers that CUDA gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Devices {
    Listed(Vec<u16>),
    All,
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        let listed: Option<Vec<u16>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
        let is_once = |listed: &Vec<u16>| listed.iter().collect::<HashSet<_>>().len() == listed.len();
        let expected = "expected the number of a GPU, several such as 0,1 (each once), or all";
        listed.filter(is_once).map(Self::Listed).ok_or_else(|| expected.to_owned())
    }
}

impl Display for Devices {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        match self {
            Self::Listed(numbers) => {
                f.write_str(&numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
            }
            Self::All => f.write_str("all"),
        }
    }
}

/// Flags of the law that predicts an error, for commands that predict one.
pub trait Predicting: clap::Args {
    /// The law's name, and whether it applies whatever the settings.
    fn law(&self) -> (Option<String>, bool);
}

/// The flags of commands that predict.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Law")]
pub struct Law {
    /// Law that predicts the test error: a preset (cifar10-invariance, cifar10, ...), one that calibrate saved, or none
    /// [default: invariance]
    #[arg(long, value_name = "NAME")]
    pub law: Option<String>,
    /// Apply the law whatever the settings it was fitted at
    #[arg(long)]
    pub force_law: bool,
}

impl Predicting for Law {
    fn law(&self) -> (Option<String>, bool) {
        (self.law.clone(), self.force_law)
    }
}

/// Of commands that predict nothing.
#[derive(Debug, Clone, clap::Args)]
pub struct NoLaw {}

impl Predicting for NoLaw {
    fn law(&self) -> (Option<String>, bool) {
        (None, false)
    }
}

/// Flags of how smoothly and how far images are deformed.
pub trait Deforming: clap::Args {
    /// The cutoff and the size that they say.
    fn say(&self, perturbation: &mut Perturbation);
}

/// The flags of commands that measure at one cutoff and size.
#[derive(Debug, Clone, clap::Args)]
pub struct One {
    /// Cutoff of the deformations, in half-waves: larger is rougher [default: 3]
    #[arg(long, value_name = "C")]
    cutoff: Option<u32>,
    /// Typical displacement, pixels [default: 1.0]
    #[arg(long, value_name = "PIXELS", conflicts_with = "temperature", allow_negative_numbers = true)]
    delta: Option<f64>,
    /// Temperature of the deformations, instead of --delta
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f64>,
}

impl Deforming for One {
    fn say(&self, perturbation: &mut Perturbation) {
        (perturbation.cutoff, perturbation.delta, perturbation.temperature) =
            (self.cutoff, self.delta, self.temperature);
    }
}

/// A number of things of which there must be one.
pub fn one_or_more(text: &str) -> std::result::Result<NonZeroUsize, String> {
    text.trim().parse().map_err(|_| "expected a whole number, 1 or more".to_owned())
}

/// An address to listen at; a port alone, and `localhost`, are on loopback.
pub fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    let on_loopback = port.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let address = on_loopback.or_else(|_| text.parse());
    address.map_err(|_| "expected an address and a port, such as 127.0.0.1:7878, or a port alone".to_owned())
}
