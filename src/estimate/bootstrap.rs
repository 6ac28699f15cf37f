//! One set of resamples for everything that is told of the same images, so that all of it pairs.

use rayon::prelude::*;

use crate::error::{Error, Result};

use super::interval::{Estimate, Resampling, percentiles};
use super::lanes::{self, Row};
use super::readings::Resampled;
use super::responses::Responses;
use super::stability::{Stabilities, of_resamples};
use super::weights::Weights;

/// Bootstrap resamples of whole images: they depend on the number of images and on the seed alone.
#[derive(Debug)]
pub struct Bootstrap {
    weights: Weights,
    resampling: Resampling,
}

/// A mean over images.
#[derive(Debug, Clone, PartialEq)]
pub struct Mean {
    /// The mean with its percentile interval.
    pub estimate: Estimate,
    /// The mean of each resample.
    pub replicates: Vec<f32>,
}

impl Bootstrap {
    /// Resamples of `images` images.
    ///
    /// # Errors
    /// `Setting` for fewer than two images, a level outside (0, 1), and zero resamples.
    pub fn new(images: usize, resampling: &Resampling) -> Result<Self> {
        resampling.validate()?;
        if images < 2 || u32::try_from(images).is_err() {
            return Err(Error::setting("images", "2 or more (below 2^32)", images));
        }
        let weights = Weights::new(images, resampling.resamples, resampling.seed);
        Ok(Self { weights, resampling: *resampling })
    }

    /// Stabilities in all three readings with percentile intervals over resampled images.
    ///
    /// `D_f`, `G_f`, `R_f`: definitions of arXiv:2105.02468, section 2. The result does not depend on the number of threads.
    ///
    /// # Errors
    /// `Setting` names another number of images, and an array of the wrong length or with values that cannot be. A network
    /// that does not react to noise is no error but an `Undefined` `r_f`.
    pub fn stabilities(&self, responses: &Responses<'_>) -> Result<Stabilities> {
        self.fits(responses.images)?;
        responses.validate()?;
        Ok(of_resamples(responses, &self.weights, &self.resampling))
    }

    /// The mean of one value for each image.
    ///
    /// # Errors
    /// `Setting` for another number of values than images.
    pub fn mean(&self, values: &[f64]) -> Result<Mean> {
        self.fits(values.len())?;
        let images = values.len() as f64;
        let block_means = |rows: &[Row]| {
            let mut total = [0.0; lanes::LANES];
            lanes::add_scaled(rows, values, &mut total);
            total.map(|total| total / images)
        };
        let value = values.iter().sum::<f64>() / images;
        let Resampled { replicates, .. } = Resampled::new(value, &self.weights, self.weights.blocks().map(block_means));
        let level = self.resampling.level;
        let (low, high) = percentiles(replicates.clone(), level);
        let estimate = Estimate { value, low, high, level };
        Ok(Mean { estimate, replicates: replicates.into_iter().map(|mean| mean as f32).collect() })
    }

    fn fits(&self, images: usize) -> Result<()> {
        if images == self.weights.images() {
            return Ok(());
        }
        Err(Error::setting("images", format!("{}, as in the resamples", self.weights.images()), images))
    }
}

/// As [`Bootstrap::stabilities`], of resamples of their own.
///
/// # Errors
/// As [`Bootstrap::new`] and [`Bootstrap::stabilities`].
pub fn stabilities(responses: &Responses<'_>, resampling: &Resampling) -> Result<Stabilities> {
    Bootstrap::new(responses.images, resampling)?.stabilities(responses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_resampled_by_the_weights_of_the_stabilities() {
        let resampling = Resampling { level: 0.9, resamples: 70, seed: 3 };
        let values: Vec<f64> = (0..40).map(|image| (f64::from(image) * 0.7).sin().abs()).collect();
        let Mean { estimate, replicates } =
            Bootstrap::new(40, &resampling).and_then(|all| all.mean(&values)).expect("40 images");
        assert!((estimate.value - values.iter().sum::<f64>() / 40.0).abs() < 1e-12);
        assert!(estimate.low < estimate.value && estimate.value < estimate.high);
        let weights = Weights::new(40, 70, 3);
        for (resample, found) in replicates.iter().enumerate() {
            let weighted = |(image, value): (usize, &f64)| f64::from(weights.get(resample, image)) * value;
            let mean = values.iter().enumerate().map(weighted).sum::<f64>() / 40.0;
            assert!((f64::from(*found) - mean).abs() < 1e-6);
        }
        let same = Bootstrap::new(40, &resampling).and_then(|all| all.mean(&[1.0; 40])).expect("40 images");
        assert_eq!((same.estimate.low, same.estimate.value, same.estimate.high), (1.0, 1.0, 1.0));
        assert!(
            Bootstrap::new(1, &resampling).is_err()
                && Bootstrap::new(3, &resampling).expect("3").mean(&values).is_err()
        );
    }
}
