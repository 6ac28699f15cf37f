//! Whether a measured network holds to limits: pure functions over its record.

use schemars::JsonSchema;
use serde::Serialize;
use statrs::distribution::{Beta, ContinuousCDF as _};

use crate::error::{Error, Result};
use crate::event::Measurement;

/// Level of the interval of the error on the probe images.
const LEVEL: f64 = 0.95;

/// What a limit is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Relative stability.
    #[serde(rename = "r_f")]
    #[strum(serialize = "R_f")]
    RF,
    /// Change under deformation.
    #[serde(rename = "d_f")]
    #[strum(serialize = "D_f")]
    DF,
    /// Change under noise.
    #[serde(rename = "g_f")]
    #[strum(serialize = "G_f")]
    GF,
    /// What the law makes of `R_f`.
    #[strum(serialize = "predicted error")]
    PredictedError,
    /// Error on the labelled probe images.
    #[strum(serialize = "probe error")]
    ProbeError,
}

/// The most that a quantity may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Limit {
    /// The quantity.
    pub quantity: Quantity,
    /// Its largest value that is still good.
    pub max: f64,
}

/// What an interval says of a limit; the worse, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "title_case")]
pub enum Verdict {
    /// The whole interval is within the limit.
    Holds,
    /// The limit lies inside the interval, or there is none.
    Inconclusive,
    /// The whole interval is beyond the limit.
    FallsShort,
}

/// A quantity held to its limit.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Check {
    /// The quantity and its limit.
    #[serde(flatten)]
    pub limit: Limit,
    /// Measured.
    pub value: f64,
    /// Lower end of its interval; null where the law has none.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// What this says.
    pub verdict: Verdict,
}

/// Holds a measurement to `limit`.
///
/// # Errors
/// `NoValue` where the measurement does not have the quantity: `R_f` undefined, no law, no labels.
pub fn check(measurement: &Measurement, limit: Limit) -> Result<Check> {
    let (value, low, high) = interval(measurement, limit.quantity).ok_or_else(|| Error::NoValue {
        path: measurement.model.path.clone(),
        quantity: limit.quantity.to_string(),
        reason: why_not(measurement, limit.quantity),
    })?;
    let verdict = match (low, high) {
        (Some(low), _) if low > limit.max => Verdict::FallsShort,
        (_, Some(high)) if high <= limit.max => Verdict::Holds,
        _ => Verdict::Inconclusive,
    };
    Ok(Check { limit, value, low, high, verdict })
}

fn interval(measurement: &Measurement, quantity: Quantity) -> Option<(f64, Option<f64>, Option<f64>)> {
    let estimate = match quantity {
        Quantity::RF => &measurement.r_f,
        Quantity::DF => &measurement.d_f,
        Quantity::GF => &measurement.g_f,
        Quantity::PredictedError => {
            let prediction = measurement.prediction.as_ref()?;
            return Some((prediction.error, prediction.low, prediction.high));
        }
        Quantity::ProbeError => {
            let error = measurement.probe_error?;
            let (low, high) = share_interval(error, measurement.probe.images);
            return Some((error, Some(low), Some(high)));
        }
    };
    estimate.as_ref().map(|estimate| (estimate.value, Some(estimate.low), Some(estimate.high)))
}

/// Jeffreys' interval of a share of `n`.
fn share_interval(share: f64, n: usize) -> (f64, f64) {
    let (wrong, right) = (share * n as f64, (1.0 - share) * n as f64);
    let Ok(beta) = Beta::new(wrong + 0.5, right + 0.5) else { return (0.0, 1.0) };
    let tail = (1.0 - LEVEL) / 2.0;
    let low = if wrong < 0.5 { 0.0 } else { beta.inverse_cdf(tail) };
    let high = if right < 0.5 { 1.0 } else { beta.inverse_cdf(1.0 - tail) };
    (low, high)
}

fn why_not(measurement: &Measurement, quantity: Quantity) -> String {
    match quantity {
        Quantity::PredictedError => {
            let said = measurement.warnings.iter().find(|warning| warning.starts_with("no prediction"));
            said.cloned().unwrap_or_else(|| "no prediction".to_owned())
        }
        Quantity::ProbeError => "the probe set has no labels".to_owned(),
        Quantity::RF | Quantity::DF | Quantity::GF => {
            measurement.undefined.as_ref().map_or_else(|| "undefined".to_owned(), |undefined| undefined.reason.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_jeffreys_interval() {
        // Reference: scipy.stats.beta.ppf([0.025, 0.975], 10.5, 90.5).
        let (low, high) = share_interval(0.1, 100);
        assert!((low - 0.052_585).abs() < 1e-5 && (high - 0.170_124).abs() < 1e-5, "{low} {high}");
        assert!(share_interval(0.0, 50).0 <= 0.0 && share_interval(1.0, 50).1 >= 1.0);
    }

    #[test]
    fn the_worst_verdict_is_the_greatest() {
        assert_eq!(
            [Verdict::FallsShort, Verdict::Holds, Verdict::Inconclusive].iter().max(),
            Some(&Verdict::FallsShort)
        );
    }
}
