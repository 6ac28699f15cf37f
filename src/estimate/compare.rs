//! Two measurements on the same images and the same resamples, compared in pairs.

use crate::error::{Error, Result};

use super::interval::{percentiles, validate_level};

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
    #[must_use]
    pub fn is_different(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// `first - second` of two `log R_f`, each with its replicates, which must come from the same resampling.
///
/// What the choice of images does to both cancels in the subtraction, so the interval is narrower than either's own.
///
/// # Errors
/// `Setting` if the replicates are empty or differ in number, or if `level` is outside (0, 1).
pub fn compare(first: (f64, &[f32]), second: (f64, &[f32]), level: f64) -> Result<Comparison> {
    validate_level(level)?;
    if first.1.is_empty() || first.1.len() != second.1.len() {
        let found = format!("{} and {}", first.1.len(), second.1.len());
        return Err(Error::setting("replicates", "the same number from both measurements, not zero", found));
    }
    let differences = first.1.iter().zip(second.1).map(|(&a, &b)| f64::from(a) - f64::from(b)).collect();
    let (low, high) = percentiles(differences, level);
    Ok(Comparison { log_ratio: first.0 - second.0, low, high, level })
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
    fn replicates_that_do_not_pair_are_refused() {
        assert!(compare((0.0, &[]), (0.0, &[]), 0.95).is_err());
        assert!(compare((0.0, &[1.0, 2.0]), (0.0, &[1.0]), 0.95).is_err());
        assert!(compare((0.0, &[1.0]), (0.0, &[1.0]), 1.0).is_err());
    }
}
