//! Whether measured networks hold to limits, and how two of them compare: pure functions over records.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF as _};

use crate::error::{Error, ExitCode, Result};
use crate::estimate::{Comparison, compare};
use crate::event::Measurement;
use crate::predict::NO_PREDICTION;

/// Level of the interval of the error on the probe images.
const LEVEL: f64 = 0.95;
/// Two `R_f` this close on the log scale are equal: exports of one network differ by rounding.
const EQUAL: f64 = 1e-3;
/// The most times that a baseline is compared with before the verdict.
const MOST_LOOKS: usize = 4;

/// The version of [`Report`].
pub const SCHEMA: &str = "relstab.check/1";

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
}

/// The most that a quantity may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// The quantity.
    pub quantity: Quantity,
    /// Its largest value that is still good.
    pub max: f64,
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
    fn of(low: Option<f64>, high: Option<f64>, max: f64) -> Self {
        match (low, high) {
            (Some(low), _) if low > max => Self::FallsShort,
            (_, Some(high)) if high <= max => Self::Holds,
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

/// A network and what its checks say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checked {
    /// The network's file.
    pub path: String,
    /// The worst verdict; null where none could be told.
    pub verdict: Option<Verdict>,
    /// Each limit.
    pub checks: Vec<Check>,
    /// Why something could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The exit code of that.
    #[serde(skip)]
    pub code: ExitCode,
    /// The record, without replicates.
    pub measurement: Option<Measurement>,
}

/// All networks of one run of `relstab check`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Always `relstab.check/1`.
    pub schema: String,
    /// The worst verdict; null where none could be told.
    pub verdict: Option<Verdict>,
    /// What the networks were compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// In the order given.
    pub models: Vec<Checked>,
}

impl Report {
    /// Sums up what was found.
    #[must_use]
    pub fn new(models: Vec<Checked>, baseline: Option<String>) -> Self {
        let verdict = models.iter().filter_map(|model| model.verdict).max();
        Self { schema: SCHEMA.to_owned(), verdict, baseline, models }
    }
}

/// Holds a measurement to `limit`.
///
/// # Errors
/// `NoValue` where the measurement does not have the quantity: `R_f` undefined, no law, no labels.
pub fn check(measurement: &Measurement, limit: Limit) -> Result<Check> {
    let (value, low, high) =
        interval(measurement, limit.quantity).ok_or_else(|| no_value(measurement, limit.quantity))?;
    Ok(Check { limit, value, low, high, verdict: Verdict::of(low, high, limit.max) })
}

/// Holds the rise of `R_f` over that of `baseline` to `max`, by the paired replicates of both, at one of `looks` looks:
/// whoever is at the limit fails with probability 1 - `confidence` at most over all looks (Bonferroni).
///
/// # Errors
/// `NoValue` where an `R_f` is undefined, `Setting` where the two do not pair.
pub fn regression(
    measurement: &Measurement,
    baseline: &Measurement,
    max: f64,
    (confidence, looks): (f64, usize),
) -> Result<Check> {
    let Comparison { log_ratio, low, high, .. } = paired(measurement, baseline, look_level(confidence, looks))?;
    let limit = Limit { quantity: Quantity::Regression, max };
    let verdict = regression_verdict(low, high, max);
    Ok(Check { limit, value: log_ratio.exp_m1(), low: Some(low.exp_m1()), high: Some(high.exp_m1()), verdict })
}

/// Level of the two-sided interval at each of `looks` looks, either side of which is a one-sided test.
#[must_use]
pub fn look_level(confidence: f64, looks: usize) -> f64 {
    1.0 - 2.0 * (1.0 - confidence) / looks as f64
}

/// What the ends of an interval of the log ratio of two `R_f` say of a rise by `max` at most.
#[must_use]
pub fn regression_verdict(low: f64, high: f64, max: f64) -> Verdict {
    Verdict::of(Some(low), Some(high), max.ln_1p() + EQUAL)
}

/// The numbers of draws at which a baseline is compared with: doubled up to `draws`, so that clear cases are short.
#[must_use]
pub fn looks(draws: u32) -> Vec<u32> {
    let mut looks: Vec<_> =
        std::iter::successors(Some(draws), |draws| (*draws > 1).then_some(draws / 2)).take(MOST_LOOKS).collect();
    looks.reverse();
    looks
}

/// Compares `log R_f` of two measurements on the same images and draws; first less second.
///
/// # Errors
/// `NoValue` where an `R_f` is undefined, `Setting` where images, settings or replicates do not pair.
pub fn paired(first: &Measurement, second: &Measurement, level: f64) -> Result<Comparison> {
    if let Some((what, here, there)) = difference(first, second) {
        let expected = format!("a measurement with {what} {here}");
        return Err(Error::setting("baseline", expected, format!("{there} in {}", second.model.path.display())));
    }
    let logs = |m: &Measurement| {
        let r_f = m.r_f.as_ref().ok_or_else(|| no_value(m, Quantity::RF))?;
        Ok((r_f.value.ln(), m.replicates_log_r_f.clone().unwrap_or_default()))
    };
    let (first, second): ((f64, Vec<f32>), (f64, Vec<f32>)) = (logs(first)?, logs(second)?);
    compare((first.0, &first.1), (second.0, &second.1), level)
}

/// What keeps two measurements from being paired: its name, and what it is in each.
fn difference(first: &Measurement, second: &Measurement) -> Option<(&'static str, String, String)> {
    let facts = |m: &Measurement| {
        let settings = &m.settings;
        [
            ("the probe images of hash", m.probe.sha256.clone()),
            ("R_f, D_f and G_f", if m.model.probabilities { "of probabilities" } else { "before the softmax" }.to_owned()),
            ("cutoff", settings.cutoff.to_string()),
            ("temperature", format!("{:.6e}", settings.temperature)),
            ("interpolation", settings.interpolation.to_string()),
            ("draws", settings.draws.to_string()),
            ("seed", settings.seed.to_string()),
            ("noise by", settings.noise.to_string()),
            ("estimator", settings.estimator.to_string()),
        ]
    };
    let pairs = facts(first).into_iter().zip(facts(second));
    pairs.map(|((name, here), (_, there))| (name, here, there)).find(|(_, here, there)| here != there)
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
        Quantity::Regression => return None,
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

fn no_value(measurement: &Measurement, quantity: Quantity) -> Error {
    let undefined = || measurement.undefined.as_ref().map(|undefined| undefined.reason.clone());
    let reason = match quantity {
        Quantity::PredictedError => {
            measurement.warnings.iter().find(|warning| warning.starts_with(NO_PREDICTION)).cloned()
        }
        Quantity::ProbeError => Some("the probe set has no labels".to_owned()),
        Quantity::Regression => Some("it needs a baseline".to_owned()),
        Quantity::RF | Quantity::DF | Quantity::GF => undefined(),
    };
    let reason = reason.unwrap_or_else(|| "undefined".to_owned());
    Error::NoValue { path: measurement.model.path.clone(), quantity: quantity.to_string(), reason }
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
    fn looks_double_up_to_the_draws() {
        assert_eq!(looks(1), [1]);
        assert_eq!(looks(4), [1, 2, 4]);
        assert_eq!(looks(6), [1, 3, 6]);
        assert_eq!(looks(16), [2, 4, 8, 16]);
    }

    #[test]
    fn the_worst_verdict_is_the_greatest() {
        let verdicts = [Verdict::FallsShort, Verdict::Holds, Verdict::Inconclusive];
        assert_eq!(verdicts.iter().max(), Some(&Verdict::FallsShort));
    }
}
