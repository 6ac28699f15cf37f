//! The flags that every measuring command shares, and what they and `relstab.toml` come to.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use super::Format;
use crate::backend::{self, Engine, PerturbOn, Provider};
use crate::config::{Config, LawChoice, Perturbation};
use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::measure::{ChosenLaw, Settings};
use crate::path::RawPath;
use crate::perturb::{Deformation, Interpolation, Size};
use crate::plan::Plan;
use crate::predict::Law;
use crate::preprocess::Preprocess;
use crate::probe::{Layout, Shape};
use crate::watch::daemon::RunPlan;
use crate::watch::scan::run_of;

/// Flags shared by every command that measures, those of deformations among them; each overrides `relstab.toml`.
#[derive(Debug, Clone, clap::Args)]
pub struct Shared<D: Deforming = One> {
    /// Probe images: a folder of images (one sub-folder a class, or flat), .npy, .npz (arrays `images` and `labels`), IDX, CIFAR
    /// batches, Hugging Face Parquet, WebDataset tar; a folder of shards
    #[arg(long, value_name = "SRC")]
    pub probe: Option<PathBuf>,
    /// Images to draw from the probe set, by class where it has labels [default: 500]
    #[arg(long, value_name = "N")]
    images: Option<usize>,
    /// Deformations, and noises, of each image [default: 4]
    #[arg(long, value_name = "N")]
    draws: Option<u32>,
    #[command(flatten)]
    pub deforming: D,
    /// How deformed images are read [default: bilinear]
    #[arg(long, value_enum)]
    interpolation: Option<Interpolation>,
    /// Reading of "typical" in the headline [default: coordinate_median]
    #[arg(long, value_enum)]
    estimator: Option<Estimator>,
    /// Take more images, then more draws, until the 95% interval of R_f has this relative half-width
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    precision: Option<f64>,
    /// Seed of everything random [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Order of the probe set's axes, where it cannot be told from the sizes
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Channels, height and width, where the probe set holds each image as one row
    #[arg(long, value_name = "CxHxW")]
    image_shape: Option<Shape>,
    /// Images that cannot be decoded to pass over [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    max_bad: usize,
    /// What the training did to its images: a preset (imagenet, cifar10, ...), a preprocessor_config.json of Hugging Face or
    /// config.json of timm, or resize=256,crop=224,resample=bicubic,color=rgb,rescale=1
    #[arg(long, value_name = "NAME|FILE")]
    preprocess: Option<String>,
    /// Mean to subtract, one value or one for each channel, for pixels in [0, 1]
    #[arg(long, value_name = "M,...", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Option<Vec<f32>>,
    /// Standard deviation to divide by, one value or one for each channel
    #[arg(long, value_name = "S,...", value_delimiter = ',', allow_negative_numbers = true)]
    std: Option<Vec<f32>>,
    /// Law that predicts the test error: a preset (cifar10-invariance, cifar10, ...), one that calibrate saved, or none
    /// [default: invariance]
    #[arg(long, value_name = "NAME")]
    law: Option<String>,
    /// Apply the law whatever the settings it was fitted at
    #[arg(long)]
    pub force_law: bool,
    /// Engine that runs the network
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    backend: Engine,
    /// Where ONNX Runtime computes
    #[arg(long, value_enum, default_value_t = Provider::Auto)]
    provider: Provider,
    /// Which of the GPUs that CUDA_VISIBLE_DEVICES shows [default: 0]
    #[arg(long, value_name = "N")]
    device: Option<u16>,
    /// GPU memory for weights and activations, such as 2GiB; batches that it does not hold are halved
    #[arg(long, value_name = "SIZE")]
    gpu_memory_limit: Option<ByteSize>,
    /// Where images are perturbed: on a GPU where that is quicker, here, or by a graph in front of the network
    #[arg(long, value_enum, default_value_t = PerturbOn::Auto)]
    perturb_on: PerturbOn,
    /// The ONNX Runtime library, or the folder it lies in
    #[arg(long, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
    /// Output to measure [default: the first that may be class logits]
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// Order of the network's axes, where its input does not tell
    #[arg(long, value_enum)]
    input_layout: Option<Layout>,
    /// Cores to use [default: all]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Flags of how smoothly and how far images are deformed.
pub trait Deforming: clap::Args {
    /// `default`, with the cutoff and the size that these flags and `relstab.toml` say.
    fn over(&self, file: &Perturbation, default: Deformation) -> Result<Deformation>;
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
    fn over(&self, file: &Perturbation, default: Deformation) -> Result<Deformation> {
        let size = match (self.delta, self.temperature) {
            (None, None) => (file.delta, file.temperature),
            given => given,
        };
        let size = match size {
            (Some(_), Some(_)) => {
                return Err(Error::setting("relstab.toml: [perturbation]", "delta or temperature", "both"));
            }
            (Some(delta), None) => Size::Delta(delta),
            (None, Some(temperature)) => Size::Temperature(temperature),
            (None, None) => default.size,
        };
        Ok(Deformation { cutoff: self.cutoff.or(file.cutoff).unwrap_or(default.cutoff), size, ..default })
    }
}

impl<D: Deforming> Shared<D> {
    /// What a run below `root` is measured on and judged by, configured by `config` or by its own `relstab.toml`.
    pub fn run_plan(&self, run: &Path, root: &Path, config: Option<&Path>) -> Result<RunPlan> {
        let (config, folder) = match config {
            Some(path) => (Config::read_file(path)?, path.parent().unwrap_or(Path::new("")).to_owned()),
            None => Config::of_run(run, root)?,
        };
        Ok(RunPlan { plan: self.plan(&config, &folder)?, rules: config.stop, refit: config.refit })
    }

    /// What the network at `path` is measured on: these flags over the `relstab.toml` of the run that it belongs to.
    pub fn plan_for(&self, path: &Path) -> Result<Plan> {
        let (config, folder) = Config::of_run(path.parent().unwrap_or(Path::new("")), run_of(path))?;
        self.plan(&config, &folder)
    }

    /// These flags over `config`, which lies in `folder`.
    pub fn plan(&self, config: &Config, folder: &Path) -> Result<Plan> {
        let probe = match (&self.probe, &config.probe) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => folder.join(path),
            (None, None) => {
                let found = "none, and no relstab.toml that names one";
                return Err(Error::setting("--probe", "a file or folder of probe images", found));
            }
        };
        let plan = Plan {
            probe: RawPath(probe),
            layout: self.layout,
            image_shape: self.image_shape.map(|shape| [shape.channels, shape.height, shape.width]),
            max_bad: self.max_bad,
            preprocess: self.preprocessing(config, folder)?,
            settings: self.settings(config)?,
            backend: self.backend_options()?,
        };
        let interpolation = plan.settings.deformation.interpolation;
        if plan.backend.perturb_on == PerturbOn::Provider && interpolation != Interpolation::Bilinear {
            return Err(Error::setting("--perturb-on provider", "--interpolation bilinear", interpolation));
        }
        Ok(plan)
    }

    /// What runs the networks.
    pub fn backend_options(&self) -> Result<backend::Options> {
        backend::Options {
            engine: self.backend,
            provider: self.provider,
            library: self.onnxruntime.clone().map(RawPath),
            output: self.output.clone(),
            input_layout: self.input_layout,
            threads: self.threads,
            device: self.device,
            gpu_memory: self.gpu_memory_limit.map(|size| size.as_u64()),
            perturb_on: self.perturb_on,
        }
        .validated()
    }

    fn preprocessing(&self, config: &Config, folder: &Path) -> Result<Preprocess> {
        let mut preprocess = match &self.preprocess {
            Some(name) => Preprocess::named(name)?,
            None => config.preprocess.resolved(folder)?,
        };
        preprocess.mean = self.mean.clone().or(preprocess.mean);
        preprocess.std = self.std.clone().or(preprocess.std);
        Ok(preprocess)
    }

    /// Perturbations, statistics and law.
    pub fn settings(&self, config: &Config) -> Result<Settings> {
        let mut settings = Settings { law: chosen_law(self, config)?, ..Settings::default() };
        let file = &config.perturbation;
        settings.deformation = self.deforming.over(file, settings.deformation)?;
        if let Some(interpolation) = self.interpolation.or(file.interpolation) {
            settings.deformation.interpolation = interpolation;
        }
        settings.images = self.images.or(file.images).unwrap_or(settings.images);
        settings.draws = self.draws.or(file.draws).unwrap_or(settings.draws);
        settings.seed = self.seed.or(file.seed).unwrap_or(settings.seed);
        settings.estimator = self.estimator.or(file.estimator).unwrap_or(settings.estimator);
        settings.precision = self.precision.or(file.precision);
        Ok(settings)
    }
}

/// In place of a law's name.
const NO_LAW: &str = "none";

fn chosen_law<D: Deforming>(flags: &Shared<D>, config: &Config) -> Result<Option<ChosenLaw>> {
    let (law, explicit) = match (&flags.law, &config.law) {
        (Some(name), _) if name == NO_LAW => return Ok(None),
        (None, Some(LawChoice::Named(name))) if name == NO_LAW => return Ok(None),
        (Some(name), Some(LawChoice::Own(law))) if law.name == *name => ((**law).clone(), true),
        (Some(name), _) => (Law::named(name)?, true),
        (None, Some(LawChoice::Named(name))) => (Law::named(name)?, false),
        (None, Some(LawChoice::Own(law))) => ((**law).clone(), false),
        (None, None) => (Law::usual()?, false),
    };
    Ok(Some(ChosenLaw { law: law.validated()?, explicit, force: flags.force_law }))
}
