//! `R_f` of two networks on the same images and draws.

use super::limit::{Bound, Check, Limit, Quantity, Verdict, no_value};
use super::looks::look_level;
use crate::error::{Error, Result};
use crate::estimate::{Comparison, compare};
use crate::event::Measurement;

/// Two `R_f` this close on the log scale are equal: exports of one network differ by rounding.
const EQUAL: f64 = 1e-3;

/// Holds the rise of `R_f` over that of `baseline` to `max`, by the paired replicates of both, at a look that may
/// spend `share` of 1 - `confidence`: whoever is at the limit fails with that probability at most.
///
/// # Errors
/// `NoValue` where an `R_f` is undefined, `Setting` where the two do not pair.
pub fn regression(
    measurement: &Measurement,
    baseline: &Measurement,
    max: f64,
    (confidence, share): (f64, f64),
) -> Result<Check> {
    let Comparison { log_ratio, low, high, .. } = paired(measurement, baseline, look_level(confidence, share))?;
    let limit = Limit { quantity: Quantity::Regression, bound: Bound::Max(max) };
    let verdict = regression_verdict(low, high, max);
    Ok(Check { limit, value: log_ratio.exp_m1(), low: Some(low.exp_m1()), high: Some(high.exp_m1()), verdict })
}

/// What the ends of an interval of the log ratio of two `R_f` say of a rise by `max` at most.
pub fn regression_verdict(low: f64, high: f64, max: f64) -> Verdict {
    Verdict::of(Some(low), Some(high), Bound::Max(max.ln_1p() + EQUAL))
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
            (
                "R_f, D_f and G_f measured",
                if m.model.probabilities { "on probabilities" } else { "before the softmax" }.to_owned(),
            ),
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
