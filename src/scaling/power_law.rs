//! One power law, by least squares on logarithms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::estimate::Estimate;
use crate::predict::linear::{Linear, Sample, Student};

/// The level of all intervals.
pub const LEVEL: f64 = 0.95;
/// Fewer sizes show no power law.
pub const FEWEST_SIZES: usize = 3;

/// `Q = A P^-beta`, by least squares on logarithms; its noise is equal and independent from network to network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerLaw {
    /// The exponent, positive where the quantity falls, with its Student-t interval.
    pub beta: Estimate,
    /// The quantity at a training set of one image.
    pub a: f64,
    /// Networks.
    pub n: usize,
    /// Different sizes among them.
    pub sizes: usize,
    /// The least and the greatest size.
    pub range: (f64, f64),
    /// Standard deviation of log Q about the law.
    pub spread: f64,
    /// Pearson's correlation of log Q and log P; null where all Q are equal.
    pub r: Option<f64>,
    /// Log Q against log P.
    pub line: Linear,
}

impl PowerLaw {
    /// The law of points `(P, Q)`.
    ///
    /// # Errors
    /// `Points` for fewer than three different P, and for numbers without a logarithm.
    pub fn fit(points: &[(f64, f64)]) -> Result<Self> {
        let has_log = |value: f64| value.is_finite() && value > 0.0;
        if let Some((p, q)) = points.iter().find(|(p, q)| !(has_log(*p) && has_log(*q))) {
            return Err(Error::points("power law", "positive numbers", format!("{q} at size {p}")));
        }
        let sizes = sizes(points.iter().map(|(p, _)| *p));
        let too_few = || {
            let found = sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let found = if found.is_empty() { "none".to_owned() } else { found };
            Error::points("power law", format!("{FEWEST_SIZES} or more sizes of training set"), found)
        };
        if sizes.len() < FEWEST_SIZES {
            return Err(too_few());
        }
        let samples: Vec<Sample> = points.iter().map(|(p, q)| (vec![p.ln()], q.ln())).collect();
        let line = Linear::vague(1).updated(&samples);
        let fit = line.fit().ok_or_else(too_few)?;
        let (slope, spread) = fit.coefficient(1).zip(fit.noise()).ok_or_else(too_few)?;
        let beta = interval(Student { mean: -slope.mean, ..slope }).ok_or_else(too_few)?;
        Ok(Self {
            beta,
            a: fit.coefficients[0].exp(),
            n: points.len(),
            sizes: sizes.len(),
            range: (sizes[0], sizes[sizes.len() - 1]),
            spread,
            r: correlation(&samples),
            line,
        })
    }
}

/// Different sizes, in order.
pub fn sizes(all: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sizes: Vec<_> = all.collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    sizes
}

/// The Student-t interval of what is known.
pub fn interval(of: Student) -> Option<Estimate> {
    let half_width = of.half_width(LEVEL)?;
    Some(Estimate { value: of.mean, low: of.mean - half_width, high: of.mean + half_width, level: LEVEL })
}

fn correlation(samples: &[Sample]) -> Option<f64> {
    let count = samples.len() as f64;
    let (x_mean, y_mean) =
        samples.iter().fold((0.0, 0.0), |(x_sum, y_sum), (x, y)| (x_sum + x[0] / count, y_sum + y / count));
    let sum = |of: fn(f64, f64) -> f64| samples.iter().map(|(x, y)| of(x[0] - x_mean, y - y_mean)).sum::<f64>();
    let norm = (sum(|x, _| x * x) * sum(|_, y| y * y)).sqrt();
    (norm > 0.0).then(|| sum(|x, y| x * y) / norm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_law_is_least_squares_with_its_interval() {
        // log2 P = 0, 1, 2 and log2 Q = 3, 2.5, 1.4: slope -0.8, mean 2.3, residuals -0.1, 0.2, -0.1.
        let points = [(1.0, 8.0), (2.0, 2f64.powf(2.5)), (4.0, 2f64.powf(1.4))];
        let law = PowerLaw::fit(&points).expect("three sizes");
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-6 * expected.abs();
        let spread = 0.06f64.sqrt();
        // The 97.5% point of Student-t with one degree of freedom.
        let half_width = 12.706_204_7 * spread / 2f64.sqrt();
        assert!(close(law.beta.value, 0.8) && close(law.beta.low, 0.8 - half_width), "{law:?}");
        assert!(close(law.beta.high, 0.8 + half_width) && close(law.a, 2f64.powf(3.1)), "{law:?}");
        assert!(close(law.spread, spread * 2f64.ln()) && close(law.r.expect("they differ"), -(1.28f64 / 1.34).sqrt()));
        assert_eq!((law.n, law.sizes, law.range), (3, 3, (1.0, 4.0)));
    }

    #[test]
    fn fewer_than_three_sizes_and_numbers_without_a_logarithm_are_refused() {
        let message = |points: &[(f64, f64)]| PowerLaw::fit(points).expect_err("refused").to_string();
        assert!(message(&[]).ends_with("found none"));
        assert!(message(&[(10.0, 0.1), (10.0, 0.2), (20.0, 0.1), (20.0, 0.3)]).ends_with("found 10, 20"));
        for (p, q) in [(0.0, 0.1), (10.0, 0.0), (10.0, -1.0), (f64::NAN, 0.1), (10.0, f64::INFINITY)] {
            assert!(message(&[(1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (p, q)]).contains("positive"), "{p} {q}");
        }
    }

    #[test]
    fn values_that_do_not_change_have_an_exponent_of_zero_and_no_correlation() {
        let law = PowerLaw::fit(&[(10.0, 0.3), (20.0, 0.3), (40.0, 0.3)]).expect("three sizes");
        assert!(law.beta.value.abs() < 1e-9 && law.r.is_none(), "{law:?}");
    }
}
