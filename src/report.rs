//! Measurements for people to read.

pub mod array;
pub mod check;
pub mod compare;
pub mod conditions;
pub mod doctor;
pub mod document;
pub mod evidence;
pub mod figure;
pub mod file;
pub mod gallery;
pub mod junit;
pub mod law;
pub mod layers;
pub mod markdown;
pub mod measurement;
pub mod page;
pub mod preview;
pub mod run;
pub mod scaling;
pub mod script;
pub mod sweep;
pub mod tensorboard;
pub mod terminal;

use std::fmt::Write as _;

use crate::estimate::Estimate;
use crate::event::{Measurement, Severity};
use crate::path;
use crate::predict::Prediction;
use crate::text::visible;

/// Codes of what is wrong or doubtful, for the end of a line; empty where nothing is.
fn marks(measurement: &Measurement) -> String {
    let told = measurement.told();
    let mut text = String::new();
    for severity in [Severity::Wrong, Severity::Doubt] {
        let mut codes: Vec<_> = told.iter().filter(|f| f.severity == severity).map(|f| f.code.to_string()).collect();
        codes.dedup();
        if !codes.is_empty() {
            let _ = write!(text, "  {severity}: {}", codes.join(", "));
        }
    }
    text
}

/// The effective invariance under deformation, of a classifier.
fn invariance(measurement: &Measurement) -> Option<Estimate> {
    Some(measurement.scores.as_ref()?.invariance?.deformed)
}

/// The heading of [`line()`], after what all lines of a run share.
pub fn line_header(measurement: &Measurement, law: Option<&str>) -> String {
    let m = measurement;
    let law = law.map_or(String::new(), |name| format!(", law {}", visible(name)));
    let (settings, backend) = (&m.settings, &m.backend);
    format!(
        "{} images x {} draws, cutoff {}, delta {}{law}; {} {} on {}\n{:>7} {:>7}  {:<24} {:<24} {:>7} {:>6} {:>9} {:>9}\n",
        m.probe.images,
        settings.draws,
        settings.cutoff,
        settings.delta,
        backend.name,
        backend.version,
        backend.provider,
        "step",
        "epoch",
        "R_f",
        "predicted error",
        "known",
        "EI",
        "D_f",
        "G_f",
    )
}

/// A checkpoint on one line: step, epoch, `R_f`, predicted and known error, EI, `D_f`, `G_f`, and what is to be said of it.
pub fn line(measurement: &Measurement) -> String {
    let m = measurement;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let name = || visible(&path::text(m.model.path.file_stem().unwrap_or_default().as_ref()));
    let host = m.backend.host.as_ref().map_or(String::new(), |host| format!("  on {}", visible(host)));
    format!(
        "{:>7} {:>7}  {:<24} {:<24} {:>7} {:>6} {:>9} {:>9}{}{host}\n",
        m.metadata.step.map_or_else(name, |step| step.to_string()),
        or_dash(m.metadata.epoch.map(significant)),
        m.r_f.as_ref().map_or_else(|| "undefined".to_owned(), interval),
        or_dash(predicted_of(m)),
        or_dash(m.known_error().map(percent)),
        or_dash(invariance(m).map(|ei| significant(ei.value))),
        or_dash(m.d_f.as_ref().map(|d_f| significant(d_f.value))),
        or_dash(m.g_f.as_ref().map(|g_f| significant(g_f.value))),
        marks(m),
    )
}

/// Why measurements have no predicted error: a line for each reason, with the number of those that it is of.
pub fn unpredicted(reasons: &[String]) -> String {
    let mut told = Vec::<(&str, usize)>::new();
    for reason in reasons {
        match told.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => *count += 1,
            None => told.push((reason, 1)),
        }
    }
    told.into_iter().map(|(reason, count)| format!("no prediction for {count}: {}\n", visible(reason))).collect()
}

/// A value with its interval, in three significant digits.
pub fn interval(estimate: &Estimate) -> String {
    format!("{} [{}, {}]", significant(estimate.value), significant(estimate.low), significant(estimate.high))
}

/// The predicted error of a measurement, marked where its law was fitted on it.
fn predicted_of(measurement: &Measurement) -> Option<String> {
    let mark = if measurement.is_fit() { " fit" } else { "" };
    measurement.prediction.as_ref().map(|prediction| predicted(prediction) + mark)
}

/// A predicted error, with its interval where the law has one.
fn predicted(prediction: &Prediction) -> String {
    match (prediction.low, prediction.high) {
        (Some(low), Some(high)) => format!("{} [{}, {}]", percent(prediction.error), percent(low), percent(high)),
        _ => percent(prediction.error),
    }
}

/// Three significant digits, in powers of ten where a plain number would be long.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    if (-3.0..5.0).contains(&magnitude) {
        let decimals = (2.0 - magnitude).max(0.0) as usize;
        format!("{value:.decimals$}")
    } else {
        format!("{value:.2e}")
    }
}

fn date(time: jiff::Timestamp) -> String {
    time.strftime("%F %H:%M UTC").to_string()
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let written = [0.0, 0.31234, 1.0, 123.4, 5e-4, 1e7].map(significant);
        assert_eq!(written, ["0", "0.312", "1.00", "123", "5.00e-4", "1.00e7"]);
        assert_eq!(percent(0.0987), "9.9%");
    }
}
