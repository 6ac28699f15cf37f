//! Percentile bootstrap intervals of positive ratios, taken on their logarithms.

use statrs::distribution::{ContinuousCDF as _, Normal};

use crate::error::{Error, Result};

use super::readings::Resampled;

/// Logarithms of ratios are clamped to plus or minus this, so that a zero stays finite.
pub const LOG_LIMIT: f64 = 700.0;

/// How the intervals are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampling {
    /// Probability that an interval should hold the true value, between 0 and 1.
    pub level: f64,
    /// Number of bootstrap resamples.
    pub resamples: usize,
    /// Seed of the weights. Measurements compare in pairs only with the same seed and number of images.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { level: 0.95, resamples: 1000, seed: 0 }
    }
}

impl Resampling {
    pub(super) fn validate(&self) -> Result<()> {
        if self.resamples == 0 {
            return Err(Error::setting("resamples", "1 or more", self.resamples));
        }
        validate_level(self.level)
    }

    /// Replicates that an interval leaves out on either side.
    pub(super) fn cut(&self) -> usize {
        cut(self.resamples, self.level)
    }
}

pub fn validate_level(level: f64) -> Result<()> {
    if level > 0.0 && level < 1.0 {
        return Ok(());
    }
    Err(Error::setting("level", "a number between 0 and 1, both excluded", level))
}

fn cut(resamples: usize, level: f64) -> usize {
    // The margin keeps 1000 resamples at 0.95 at 25 whichever way the subtraction rounds.
    let cut = (resamples as f64 * (1.0 - level) / 2.0 + 1e-9) as usize;
    cut.min((resamples - 1) / 2)
}

/// A value with its percentile bootstrap interval; unitless.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Estimate {
    /// The estimate from all images.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Probability that the interval should hold the true value.
    pub level: f64,
}

impl Estimate {
    /// Half of the interval's width in natural logarithms: 0.1 means about plus or minus 10%.
    pub fn relative_half_width(&self) -> f64 {
        (log(self.high) - log(self.low)) / 2.0
    }

    /// From the logarithms of a value and of its replicates.
    pub(super) fn from_logs(log_value: f64, logs: &[f64], level: f64) -> Self {
        let (low, high) = percentiles(logs.to_vec(), level);
        Self { value: exp(log_value), low: exp(low), high: exp(high), level }
    }
}

/// Ends of the interval that leaves out `replicates * (1 - level) / 2` of the replicates, rounded down, on either side.
///
/// Order statistics, not interpolated: a clamped replicate that is left out must not leak into an end.
pub fn percentiles(mut replicates: Vec<f64>, level: f64) -> (f64, f64) {
    let cut = cut(replicates.len(), level);
    replicates.sort_unstable_by(f64::total_cmp);
    (replicates[cut], replicates[replicates.len() - 1 - cut])
}

/// Standard deviations that the normal interval of `level` reaches either way.
pub fn quantile(level: f64) -> f64 {
    Normal::standard().inverse_cdf(f64::midpoint(1.0, level))
}

/// `log(numerator / denominator)` within [`LOG_LIMIT`]; a zero denominator counts as an unbounded ratio.
pub fn log_ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator <= 0.0 {
        return LOG_LIMIT;
    }
    if numerator <= 0.0 {
        return -LOG_LIMIT;
    }
    (numerator.ln() - denominator.ln()).clamp(-LOG_LIMIT, LOG_LIMIT)
}

/// [`log_ratio`] of each resample.
pub fn log_ratios(numerator: &Resampled, denominator: &Resampled) -> Vec<f64> {
    numerator.replicates.iter().zip(&denominator.replicates).map(|(&n, &d)| log_ratio(n, d)).collect()
}

fn log(value: f64) -> f64 {
    if value > 0.0 { value.ln().clamp(-LOG_LIMIT, LOG_LIMIT) } else { -LOG_LIMIT }
}

/// Undoes [`log`]: the lower limit stands for zero.
fn exp(log: f64) -> f64 {
    if log > -LOG_LIMIT { log.exp() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_leaves_out_the_same_number_on_either_side() {
        let replicates: Vec<f64> = (0..1000).rev().map(f64::from).collect();
        assert_eq!(percentiles(replicates, 0.95), (25.0, 974.0));
        assert_eq!(percentiles(vec![4.0], 0.95), (4.0, 4.0));
        assert_eq!(percentiles(vec![2.0, 1.0], 0.01), (1.0, 2.0));
    }

    #[test]
    fn zeros_stay_finite() {
        assert!((log_ratio(0.0, 1.0) + LOG_LIMIT).abs() < f64::EPSILON);
        assert!((log_ratio(1.0, 0.0) - LOG_LIMIT).abs() < f64::EPSILON);
        let zero = Estimate::from_logs(-LOG_LIMIT, &[-LOG_LIMIT, 0.0], 0.5);
        assert_eq!((zero.value, zero.low, zero.high), (0.0, 0.0, 1.0));
        assert!(zero.relative_half_width().is_finite());
    }

    #[test]
    fn half_width_is_relative() {
        let estimate = Estimate { value: 2.0, low: 2.0 / 1.1, high: 2.2, level: 0.95 };
        assert!((estimate.relative_half_width() - 1.1_f64.ln()).abs() < 1e-12);
    }
}
