//! What to measure and how.

use serde::{Deserialize, Serialize};

use crate::estimate::Estimator;
use crate::perturb::Deformation;
use crate::predict::Law;

/// More draws than this no longer narrow the interval: image sampling dominates.
pub(super) const MAX_DRAWS: u32 = 16;

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
