//! `R_f` of two networks on the same images and draws.

use super::limit::{Bound, Check, Limit, Quantity, Verdict, no_value};
use crate::error::{Error, Result};
use crate::estimate::{Comparison, compare};
use crate::event::Measurement;

/// Two `R_f` this close on the log scale are equal: exports of one network differ by rounding.
const EQUAL: f64 = 1e-3;
/// The most times that a baseline is compared with before the verdict.
const MOST_LOOKS: usize = 4;

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
    let limit = Limit { quantity: Quantity::Regression, bound: Bound::Max(max) };
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
    Verdict::of(Some(low), Some(high), Bound::Max(max.ln_1p() + EQUAL))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_double_up_to_the_draws() {
        assert_eq!(looks(1), [1]);
        assert_eq!(looks(4), [1, 2, 4]);
        assert_eq!(looks(6), [1, 3, 6]);
        assert_eq!(looks(16), [2, 4, 8, 16]);
    }
}
