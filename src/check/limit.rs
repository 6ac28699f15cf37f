//! A quantity of a measurement held to a limit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::looks::{early, stretch};
use super::shares::share_interval;
use crate::error::{Error, Result};
use crate::estimate::Estimate;
use crate::event::Measurement;
use crate::predict::NO_PREDICTION;

/// Level of the interval of the error on the probe images.
const LEVEL: f64 = 0.95;

/// What a limit is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
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
    /// `R_f` over that of the baseline, less one.
    #[strum(serialize = "regression")]
    Regression,
    /// Error on the labelled probe images, less that of the baseline.
    #[strum(serialize = "error rise")]
    ErrorRise,
    /// Share of probe images that the baseline gives the same class.
    #[strum(serialize = "agreement")]
    Agreement,
    /// How far outputs lie from the baseline's, relative to how far those lie apart.
    #[strum(serialize = "change")]
    Change,
}

/// How large or small a quantity may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// The quantity.
    pub quantity: Quantity,
    /// What it is held to.
    #[serde(flatten)]
    pub bound: Bound,
}

/// The last value that is still good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Larger ones are bad.
    Max(f64),
    /// Smaller ones are bad.
    Min(f64),
}

/// What an interval says of a limit; the worse, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is within the limit.
    #[strum(serialize = "holds")]
    Holds,
    /// The limit lies inside the interval, or there is none.
    #[strum(serialize = "inconclusive")]
    Inconclusive,
    /// The whole interval is beyond the limit.
    #[strum(serialize = "falls short")]
    FallsShort,
}

impl Verdict {
    pub(super) fn of(low: Option<f64>, high: Option<f64>, bound: Bound) -> Self {
        match (low, high, bound) {
            (Some(low), _, Bound::Max(max)) if low > max => Self::FallsShort,
            (_, Some(high), Bound::Max(max)) if high <= max => Self::Holds,
            (_, Some(high), Bound::Min(min)) if high < min => Self::FallsShort,
            (Some(low), _, Bound::Min(min)) if low >= min => Self::Holds,
            _ => Self::Inconclusive,
        }
    }
}

/// A quantity held to its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// Holds a measurement to `limit`, at a look that may spend `share` of what its interval leaves out.
///
/// # Errors
/// `NoValue` where the measurement does not have the quantity: `R_f` undefined, no law, no labels.
pub fn check(measurement: &Measurement, limit: Limit, share: f64) -> Result<Check> {
    let (value, low, high) =
        interval(measurement, limit.quantity, share).ok_or_else(|| no_value(measurement, limit.quantity))?;
    Ok(Check { limit, value, low, high, verdict: Verdict::of(low, high, limit.bound) })
}

fn interval(measurement: &Measurement, quantity: Quantity, share: f64) -> Option<(f64, Option<f64>, Option<f64>)> {
    // Of these quantities the logarithm spreads evenly.
    let stretched = |value: f64, end: f64| value * (end / value).powf(stretch(LEVEL, share));
    let stretched = |value: f64, end: f64| if share < 1.0 && value > 0.0 { stretched(value, end) } else { end };
    let estimate = match quantity {
        Quantity::RF => measurement.r_f,
        Quantity::DF => measurement.d_f,
        Quantity::GF => measurement.g_f,
        Quantity::PredictedError => {
            let prediction = measurement.prediction.as_ref()?;
            let end = |end: Option<f64>| end.map(|end| stretched(prediction.error, end));
            return Some((prediction.error, end(prediction.low), end(prediction.high)));
        }
        Quantity::ProbeError => {
            let error = measurement.probe_error?;
            let (low, high) = share_interval(error, measurement.probe.images, early(LEVEL, share));
            return Some((error, Some(low), Some(high)));
        }
        Quantity::Regression | Quantity::ErrorRise | Quantity::Agreement | Quantity::Change => return None,
    };
    let end = |value: f64, end: f64| Some(stretched(value, end));
    estimate.map(|Estimate { value, low, high, .. }| (value, end(value, low), end(value, high)))
}

pub(super) fn no_value(measurement: &Measurement, quantity: Quantity) -> Error {
    let undefined = || measurement.undefined.as_ref().map(|undefined| undefined.reason.clone());
    let reason = match quantity {
        Quantity::PredictedError => {
            measurement.warnings.iter().find(|warning| warning.starts_with(NO_PREDICTION)).cloned()
        }
        Quantity::ProbeError => Some("the probe set has no labels".to_owned()),
        Quantity::Regression | Quantity::ErrorRise | Quantity::Agreement | Quantity::Change => {
            Some("it needs a baseline".to_owned())
        }
        Quantity::RF | Quantity::DF | Quantity::GF => undefined(),
    };
    let reason = reason.unwrap_or_else(|| "undefined".to_owned());
    Error::NoValue { path: measurement.model.path.clone(), quantity: quantity.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_is_the_greatest() {
        let verdicts = [Verdict::FallsShort, Verdict::Holds, Verdict::Inconclusive];
        assert_eq!(verdicts.iter().max(), Some(&Verdict::FallsShort));
    }

    #[test]
    fn an_interval_is_held_to_a_largest_or_a_least_value() {
        let of = |low, high, bound| Verdict::of(Some(low), Some(high), bound);
        assert_eq!(of(0.1, 0.2, Bound::Max(0.2)), Verdict::Holds);
        assert_eq!(of(0.1, 0.2, Bound::Max(0.15)), Verdict::Inconclusive);
        assert_eq!(of(0.1, 0.2, Bound::Max(0.05)), Verdict::FallsShort);
        assert_eq!(of(0.1, 0.2, Bound::Min(0.1)), Verdict::Holds);
        assert_eq!(of(0.1, 0.2, Bound::Min(0.15)), Verdict::Inconclusive);
        assert_eq!(of(0.1, 0.2, Bound::Min(0.3)), Verdict::FallsShort);
        let limit = Limit { quantity: Quantity::Agreement, bound: Bound::Min(0.97) };
        let text = serde_json::to_string(&limit).expect("JSON");
        assert_eq!(text, r#"{"quantity":"agreement","min":0.97}"#);
        assert_eq!(serde_json::from_str::<Limit>(&text).expect("a limit"), limit);
    }
}
