//! Deformation, noise and pair normaliser put together into `D_f`, `G_f` and `R_f`.

use super::estimator::Estimator;
use super::interval::{Estimate, Resampling, log_ratio, log_ratios};
use super::normaliser::Normaliser;
use super::readings::{Readings, Resampled, readings};
use super::responses::Responses;
use super::weights::Weights;

/// Stabilities of one network in one reading of 'typical'; unitless but for the two numerators.
#[derive(Debug, Clone, PartialEq)]
pub struct Stability {
    /// Typical squared change under deformation: the numerator of `D_f`, in squared units of the outputs.
    pub deformation: f64,
    /// Typical squared change under noise: the numerator of `G_f`, in squared units of the outputs.
    pub noise: f64,
    /// Stability to deformation; `None` if the pair normaliser is zero, here or in too many resamples.
    pub d_f: Option<Estimate>,
    /// Stability to noise; `None` as for `d_f`.
    pub g_f: Option<Estimate>,
    /// Relative stability `R_f = D_f / G_f`.
    pub r_f: Result<Estimate, Undefined>,
    /// `log R_f` of each resample; empty if `R_f` is undefined.
    pub replicates_log_r_f: Vec<f32>,
}

/// Why `R_f` cannot be given.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Undefined {
    /// The noise term is zero.
    #[error(
        "the outputs' typical change under noise is zero: {still} of {measurements} noisy inputs ({:.1}%) changed no output",
        percent(*still, *measurements)
    )]
    ZeroNoise {
        /// Measurements, image and draw, in which no output changed.
        still: usize,
        /// All measurements.
        measurements: usize,
    },
    /// The noise term is zero in more resamples than the interval leaves out on one side.
    #[error(
        "the outputs' typical change under noise is zero in {zeros} of {resamples} resamples ({:.1}%), an interval at \
         level {level} allows {:.1}%",
        percent(*zeros, *resamples),
        50.0 * (1.0 - level)
    )]
    UnstableNoise {
        /// Resamples in which it is zero.
        zeros: usize,
        /// All resamples.
        resamples: usize,
        /// The interval's level.
        level: f64,
    },
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole as f64
}

/// The three readings of one measurement, from the same outputs and the same resamples.
#[derive(Debug, Clone, PartialEq)]
pub struct Stabilities {
    /// Median of each coordinate, summed: the headline.
    pub coordinate_median: Stability,
    /// Median of the squared norm.
    pub median: Stability,
    /// Mean of the squared norm.
    pub mean: Stability,
    /// Median over pairs of images of `|f(x) - f(z)|^2`, the normaliser of both median readings.
    pub pair_median: f64,
    /// Mean over pairs of images of `|f(x) - f(z)|^2`, the normaliser of `mean`.
    pub pair_mean: f64,
}

impl Stabilities {
    /// The stability in one reading.
    pub fn get(&self, estimator: Estimator) -> &Stability {
        match estimator {
            Estimator::CoordinateMedian => &self.coordinate_median,
            Estimator::Median => &self.median,
            Estimator::Mean => &self.mean,
        }
    }
}

/// From sound responses and the weights of all their images.
pub(super) fn of_resamples(responses: &Responses<'_>, weights: &Weights, resampling: &Resampling) -> Stabilities {
    let Responses { images, outputs, .. } = *responses;
    let (normaliser, (deformed, noisy)) = rayon::join(
        || Normaliser::new(responses.clean, weights, resampling.seed),
        || {
            rayon::join(
                || readings(responses.deformed, outputs, weights),
                || readings(responses.noisy, outputs, weights),
            )
        },
    );
    let Readings { all: noise, still } = noisy;
    let measurements = images * responses.draws;
    let stability = |reading: usize, pairs: &Resampled| {
        let zero = Undefined::ZeroNoise { still, measurements };
        stability(&deformed.all[reading], &noise[reading], pairs, zero, resampling)
    };
    Stabilities {
        coordinate_median: stability(0, &normaliser.median),
        median: stability(1, &normaliser.median),
        mean: stability(2, &normaliser.mean),
        pair_median: normaliser.median.point,
        pair_mean: normaliser.mean.point,
    }
}

fn stability(
    deformation: &Resampled,
    noise: &Resampled,
    pairs: &Resampled,
    zero_noise: Undefined,
    resampling: &Resampling,
) -> Stability {
    let (r_f, replicates) = match defined(noise, zero_noise, resampling) {
        Ok(()) => {
            let logs = log_ratios(deformation, noise);
            let log_value = log_ratio(deformation.point, noise.point);
            let replicates = logs.iter().map(|&log| log as f32).collect();
            (Ok(Estimate::from_logs(log_value, &logs, resampling.level)), replicates)
        }
        Err(undefined) => (Err(undefined), Vec::new()),
    };
    Stability {
        deformation: deformation.point,
        noise: noise.point,
        d_f: normalised(deformation, pairs, resampling),
        g_f: normalised(noise, pairs, resampling),
        r_f,
        replicates_log_r_f: replicates,
    }
}

fn zeros(statistic: &Resampled) -> usize {
    statistic.replicates.iter().filter(|&&value| value <= 0.0).count()
}

fn defined(noise: &Resampled, zero_noise: Undefined, resampling: &Resampling) -> Result<(), Undefined> {
    if noise.point <= 0.0 {
        return Err(zero_noise);
    }
    let zeros = zeros(noise);
    if zeros > resampling.cut() {
        let Resampling { resamples, level, .. } = *resampling;
        return Err(Undefined::UnstableNoise { zeros, resamples, level });
    }
    Ok(())
}

fn normalised(numerator: &Resampled, pairs: &Resampled, resampling: &Resampling) -> Option<Estimate> {
    if pairs.point <= 0.0 || zeros(pairs) > resampling.cut() {
        return None;
    }
    let log_value = log_ratio(numerator.point, pairs.point);
    Some(Estimate::from_logs(log_value, &log_ratios(numerator, pairs), resampling.level))
}
