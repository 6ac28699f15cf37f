//! What to measure and how.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::perturb::Deformation;
use crate::predict::Law;

/// More draws than this no longer narrow the interval: image sampling dominates.
pub(super) const MAX_DRAWS: u32 = 16;
/// Images, where nobody says how many.
pub const IMAGES: usize = 1_000;
/// Draws of each at most, where nobody says how many.
const DRAWS: u32 = 4;
/// Images that go through the network, about, where nobody says how many draws: one draw of each of [`IMAGES`].
const PASSES: usize = IMAGES * 3;

/// What to measure and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// Images to use, the first of the probe set's order; all of them if it holds fewer.
    pub images: usize,
    /// Deformations, and noises, of each image; the most of them where `passes` choose.
    pub draws: u32,
    /// Images that may go through the network: more images are worth more than more draws of fewer, so draws take what images
    /// leave. `None` takes `draws`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<usize>,
    /// The deformations.
    pub deformation: Deformation,
    /// The reading in the headline.
    pub estimator: Estimator,
    /// Seed of everything random.
    pub seed: u64,
    /// Wanted relative half-width of the 95% interval of `R_f`, reached in the fewest passes.
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
            images: IMAGES,
            draws: DRAWS,
            passes: Some(PASSES),
            deformation: Deformation::default(),
            estimator: Estimator::default(),
            seed: 0,
            precision: None,
            law: None,
        }
    }
}

impl Settings {
    /// Refuses what no network and no images can be measured with.
    ///
    /// # Errors
    /// `Setting` for numbers outside their domain.
    pub fn check(&self) -> Result<()> {
        if self.draws == 0 {
            return Err(Error::setting("--draws", "1 or more", 0));
        }
        if self.images < 2 {
            return Err(Error::setting("--images", "2 or more (R_f compares images)", self.images));
        }
        if let Some(precision) = self.precision
            && !(precision > 0.0 && precision < 1.0)
        {
            return Err(Error::setting("--precision", "a share between 0 and 1, such as 0.1 for 10%", precision));
        }
        Ok(())
    }

    /// Draws of each of so many images.
    pub fn draws_of(&self, images: usize) -> u32 {
        let Some(passes) = self.passes else { return self.draws };
        // A pass for the image, and two for each draw.
        let draws = (passes / images.max(1)).saturating_sub(1) / 2;
        u32::try_from(draws).unwrap_or(u32::MAX).clamp(1, self.draws.max(1))
    }

    /// The same, of exactly so many draws.
    #[must_use]
    pub fn with_draws(self, draws: u32) -> Self {
        Self { draws, passes: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_take_what_images_leave_of_the_passes() {
        let settings = Settings::default();
        assert_eq!([20, 300, 500, 1_000, 5_000].map(|images| settings.draws_of(images)), [4, 4, 2, 1, 1]);
        assert_eq!(settings.with_draws(7).draws_of(1_000), 7);
    }
}
