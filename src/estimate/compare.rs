//! Two measurements on the same images and the same resamples, compared in pairs.

use statrs::statistics::Statistics as _;

use crate::error::{Error, Result};

use super::interval::{percentiles, quantile, validate_level};

/// Difference of two `log R_f` with its interval; the exponential is the ratio of the two `R_f`.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Comparison {
    /// `log R_f` of the first less that of the second.
    pub log_ratio: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Probability that the interval should hold the true difference.
    pub level: f64,
}

impl Comparison {
    /// Whether the interval leaves out zero: the two differ by more than the choice of images explains.
    pub fn is_different(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Fewer replicates beyond an end of the interval do not tell where it lies.
const FEWEST_BEYOND: f64 = 10.0;

/// `first - second` of two `log R_f`, each with its replicates, which must come from the same resampling.
///
/// What the choice of images does to both cancels in the subtraction, so the interval is narrower than either's own.
///
/// At a level so high that the replicates do not tell the ends, the interval is as wide as the normal one at least.
///
/// # Errors
/// `Setting` if the replicates are empty or differ in number, or if `level` is outside (0, 1).
pub fn compare(first: (f64, &[f32]), second: (f64, &[f32]), level: f64) -> Result<Comparison> {
    validate_level(level)?;
    if first.1.is_empty() || first.1.len() != second.1.len() {
        let found = format!("{} and {}", first.1.len(), second.1.len());
        return Err(Error::setting("replicates", "the same number from both measurements, not zero", found));
    }
    let differences: Vec<_> = first.1.iter().zip(second.1).map(|(&a, &b)| f64::from(a) - f64::from(b)).collect();
    let log_ratio = first.0 - second.0;
    let is_resolved = differences.len() as f64 * (1.0 - level) / 2.0 >= FEWEST_BEYOND;
    let normal = quantile(level) * differences.iter().population_std_dev();
    let (low, high) = percentiles(differences, level);
    let (low, high) =
        if is_resolved { (low, high) } else { (low.min(log_ratio - normal), high.max(log_ratio + normal)) };
    Ok(Comparison { log_ratio, low, high, level })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_share_cancels() -> Result<()> {
        let first: Vec<f32> = (0..100).map(|at| (at as f32 * 0.7).sin()).collect();
        let second: Vec<f32> = first.iter().map(|log| log - 0.5).collect();
        let comparison = compare((0.1, &first), (-0.4, &second), 0.95)?;
        assert!((comparison.log_ratio - 0.5).abs() < 1e-12);
        assert!((comparison.low - 0.5).abs() < 1e-6 && (comparison.high - 0.5).abs() < 1e-6);
        assert!(comparison.is_different());
        assert!(!compare((0.1, &first), (0.1, &first), 0.95)?.is_different());
        Ok(())
    }

    #[test]
    fn an_interval_beyond_what_replicates_tell_is_as_wide_as_the_normal_one() -> Result<()> {
        let first: Vec<f32> = (0..1000).map(|at| (at as f32 * 0.7).sin()).collect();
        let second = vec![0.0; 1000];
        let width = |level| compare((0.0, &first), (0.0, &second), level).map(|found| found.high);
        // A sine has a standard deviation of 0.707, and never exceeds 1.
        assert!(width(0.95)? <= 1.0 && (width(0.9999)? - 3.891 * 0.707).abs() < 0.01);
        Ok(())
    }

    #[test]
    fn replicates_that_do_not_pair_are_refused() {
        assert!(compare((0.0, &[]), (0.0, &[]), 0.95).is_err());
        assert!(compare((0.0, &[1.0, 2.0]), (0.0, &[1.0]), 0.95).is_err());
        assert!(compare((0.0, &[1.0]), (0.0, &[1.0]), 1.0).is_err());
    }
}
