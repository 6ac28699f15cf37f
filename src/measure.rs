//! The whole line: probe images, perturbed, through the network, to stabilities and a predicted error.
//!
//! [`measure`] is what every command and the daemon call.

pub mod layers;
mod outputs;
mod passes;
mod preview;
mod record;
mod scores;
pub mod sweep;
mod way;
mod work;

pub use preview::{Answer, Cost, Preview, Range, preview};
pub use record::{axes_text, conditions, errors_disagree, is_trained, measured, predict, predict_anew};

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::backend::{Backend, Network};
use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::event::Measurement;
use crate::perturb::{Deformation, Perturber};
use crate::predict::{Conditions, Law};
use crate::probe::ProbeSet;
pub use crate::probe::Progress;
use layers::Layer;

/// What to measure and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// Images to use, the first of the probe set's order; all of them if it holds fewer.
    pub images: usize,
    /// Deformations, and noises, of each image.
    pub draws: u32,
    /// The deformations.
    pub deformation: Deformation,
    /// The reading in the headline.
    pub estimator: Estimator,
    /// Seed of everything random.
    pub seed: u64,
    /// Wanted relative half-width of the 95% interval of `R_f`: takes more images, then more draws, until it holds.
    pub precision: Option<f64>,
    /// The law that predicts the test error.
    pub law: Option<ChosenLaw>,
}

/// A law and how firmly it was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChosenLaw {
    /// The law.
    pub law: Law,
    /// Named by the user for this measurement: a difference in settings is an error; otherwise it is a warning.
    pub explicit: bool,
    /// Apply it whatever the settings.
    pub force: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            images: 500,
            draws: 4,
            deformation: Deformation::default(),
            estimator: Estimator::default(),
            seed: 0,
            precision: None,
            law: None,
        }
    }
}

/// Changes of outputs that are kept, at most.
const MOST_BYTES: u128 = 64 << 30;
/// More draws than this no longer narrow the interval: image sampling dominates.
const MAX_DRAWS: u32 = 16;
/// Doubling the draws must narrow the interval at least this much to be worth going on.
const WORTHWHILE: f64 = 0.95;

/// Measures `D_f`, `G_f` and `R_f` of a network on a probe set and predicts its test error.
///
/// Equation: `R_f = D_f / G_f`, arXiv:2105.02468. One seed gives one result, on any number of threads; to rounding where
/// a GPU perturbs images.
///
/// # Errors
/// `Setting` for settings outside their domain, `Probe` for fewer than two images, `Mismatch` for images of another
/// shape than the network was opened for, `Engine` or `NonFinite` where the network fails, `Law` for an explicit law of
/// other settings. An undefined `R_f` is no error: the record says why.
pub fn measure(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    progress: Progress,
) -> Result<Measurement> {
    Ok(run(network, probe, settings, progress)?.1)
}

/// As [`measure`], and the layers that the network gives besides its output, from the same passes.
fn run(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    progress: Progress,
) -> Result<(Vec<Layer>, Measurement)> {
    let started = Instant::now();
    validate(network, probe, settings)?;
    let perturber = Perturber::new(probe.shape(), &settings.deformation, settings.seed)?;
    let conditions = Conditions {
        cutoff: settings.deformation.cutoff,
        delta: perturber.delta(),
        interpolation: settings.deformation.interpolation,
        estimator: settings.estimator,
        side: probe.shape().side(),
    };
    let law = record::applicable_law(settings.law.as_ref(), &conditions)?;

    let mut used = settings.clone();
    used.images = settings.images.min(probe.len());
    let mut warnings = Vec::new();
    if probe.len() < settings.images {
        warnings.push(format!(
            "the probe set holds {} images, fewer than the {} asked for",
            probe.len(),
            settings.images
        ));
    }
    let mut last_width = f64::INFINITY;
    loop {
        let set = probe.prefix(used.images);
        let passes = passes::run(network, &set, &perturber, used.draws, progress)?;
        let bootstrap = record::bootstrap(&set, settings.seed)?;
        let stabilities = record::statistics(&passes.output, passes.draws, &bootstrap)?;
        if let (Some(target), Ok(r_f)) = (settings.precision, stabilities.get(settings.estimator).r_f.as_ref()) {
            let width = r_f.relative_half_width();
            if width > target && used.images < probe.len() {
                // The width falls as one over the square root of the number of images.
                let needed = (used.images as f64 * (width / target).powi(2) * 1.1).ceil() as usize;
                used.images = needed.clamp(used.images + 1, probe.len());
                continue;
            }
            if width > target && used.draws < MAX_DRAWS && width < last_width * WORTHWHILE {
                last_width = width;
                used.draws = (used.draws * 2).min(MAX_DRAWS);
                continue;
            }
            if width > target {
                warnings.push(format!(
                    "precision {target} not reached: {width:.3} with all {} images and {} draws, and more draws do not help",
                    used.images, used.draws
                ));
            }
        }
        let given = network.network().layers.iter().zip(&passes.layers);
        let inner =
            given.map(|(tensor, outputs)| Layer::inner(tensor, outputs, &used, &bootstrap)).collect::<Result<_>>()?;
        let output = &network.network().output.coordinates;
        let scores = (output.are_classes() && output.len() > 1)
            .then(|| scores::scores(&passes.tallies, passes.draws, &bootstrap))
            .transpose()?;
        let parts =
            record::Parts { network, probe: &set, settings: &used, perturber: &perturber, passes, scores, stabilities };
        return Ok((inner, parts.into_measurement(&law, warnings, started)));
    }
}

/// A network's outputs on a probe set, `[image, output]`.
///
/// # Errors
/// `Mismatch` for images of another shape than the network was opened for, `Engine` or `NonFinite` where it fails.
pub fn logits(network: &dyn Backend, probe: &ProbeSet, progress: Progress) -> Result<Vec<f32>> {
    fitting(network.network(), probe)?;
    let perturber = Perturber::new(probe.shape(), &Deformation::default(), 0)?;
    Ok(passes::run(network, probe, &perturber, 0, progress)?.output.clean)
}

fn validate(network: &dyn Backend, probe: &ProbeSet, settings: &Settings) -> Result<()> {
    let network = network.network();
    if settings.draws == 0 {
        return Err(Error::setting("--draws", "1 or more", 0));
    }
    let changes = probe.len().min(settings.images) as u128 * 2 * u128::from(settings.draws) * network.row() as u128;
    if changes * size_of::<f32>() as u128 > MOST_BYTES {
        let expected = format!("fewer, for changes of {} outputs by so many images take memory", network.row());
        return Err(Error::setting("--draws", expected, settings.draws));
    }
    if settings.images < 2 {
        return Err(Error::setting("--images", "2 or more (R_f compares images)", settings.images));
    }
    if let Some(precision) = settings.precision
        && !(precision.is_finite() && precision > 0.0)
    {
        return Err(Error::setting("--precision", "a positive number, such as 0.1", precision));
    }
    if probe.len() < 2 {
        return Err(Error::probe(probe.source().as_ref(), "at least 2 images (R_f compares images)", "1 image"));
    }
    fitting(network, probe)
}

fn fitting(network: &Network, probe: &ProbeSet) -> Result<()> {
    if probe.shape() == network.shape {
        return Ok(());
    }
    Err(Error::Mismatch {
        model: network.path.clone(),
        expected: network.shape.to_string(),
        found: probe.shape().to_string(),
    })
}
