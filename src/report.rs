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

use std::fmt::Write as _;

use crate::estimate::Estimate;
use crate::event::{Code, Finding, Measurement, Severity};
use crate::path;
use crate::predict::Prediction;
use crate::text::visible;

/// A measurement at a glance: values with intervals and units, then what to know about them.
#[must_use]
pub fn text(measurement: &Measurement) -> String {
    let m = measurement;
    let mut text = format!(
        "{}  ({} {}, {})\n",
        visible(&path::text(&m.model.path)),
        m.backend.name,
        m.backend.version,
        m.backend.provider
    );
    let mut row = |name: &str, value: String, note: String| {
        let _ = writeln!(text, "  {name:<16} {value:<26} {note}");
    };
    let level = |estimate: &Estimate| format!("{:.0}% interval", 100.0 * estimate.level);
    match (&m.r_f, &m.undefined) {
        (Some(r_f), _) => {
            row(
                "R_f",
                interval(r_f),
                format!("{}, {} images x {} draws", level(r_f), m.probe.images, m.settings.draws),
            );
        }
        (None, undefined) => {
            row("R_f", "undefined".to_owned(), undefined.as_ref().map_or(String::new(), |u| u.reason.clone()));
        }
    }
    for (name, estimate, note) in
        [("D_f", &m.d_f, "under deformation"), ("G_f", &m.g_f, "under noise of the same norm")]
    {
        if let Some(estimate) = estimate {
            row(name, interval(estimate), note.to_owned());
        }
    }
    if let Some(invariance) = invariance(m) {
        row("EI", interval(&invariance), "effective invariance under deformation".to_owned());
    }
    if let Some(prediction) = &m.prediction {
        row(
            "predicted error",
            predicted_of(m).unwrap_or_default(),
            visible(&format!("law {}: {}", prediction.law.name, prediction.law.source)),
        );
    }
    if let Some(error) = m.metadata.val_error {
        row("known error", percent(error), "from the checkpoint's metadata".to_owned());
    }
    if let Some(error) = m.probe_error {
        row("probe error", percent(error), format!("on the {} probe images", m.probe.images));
    }
    let displacement = format!("{:.2} px rms", m.displacement_rms_px);
    row("displacement", displacement, format!("{} of maps fold", percent(m.folded_share)));
    let rate = 1e6 * m.timing.total_s / m.timing.passes as f64;
    row("time", format!("{:.1} s", m.timing.total_s), format!("{} passes, {rate:.0} us each", m.timing.passes));
    text += &findings(&m.told());
    text
}

/// Findings, a line each, with what to do about those that are more than a note.
#[must_use]
pub fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { code, severity, text: what, help } in findings {
        let _ = match severity {
            Severity::Note => writeln!(text, "  note: {}", visible(what)),
            _ if help.is_empty() => writeln!(text, "  {severity}: {} ({code})", visible(what)),
            _ => writeln!(text, "  {severity}: {} ({code})\n    {}", visible(what), visible(help)),
        };
    }
    text
}

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
#[must_use]
pub fn line_header(measurement: &Measurement, law: Option<&str>) -> String {
    let m = measurement;
    let law = law.map_or(String::new(), |name| format!(", law {}", visible(name)));
    let (settings, backend) = (&m.settings, &m.backend);
    format!(
        "{} images x {} draws, cutoff {}, delta {}{law}; {} {} on {}\n{:>7} {:>7}  {:<24} {:<24} {:>7} {:>9} {:>9}\n",
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
        "D_f",
        "G_f",
    )
}

/// A checkpoint on one line: step, epoch, `R_f`, predicted and known error, `D_f`, `G_f`, and what is to be said of it.
#[must_use]
pub fn line(measurement: &Measurement) -> String {
    let m = measurement;
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let name = || visible(&path::text(m.model.path.file_stem().unwrap_or_default().as_ref()));
    let host = m.backend.host.as_ref().map_or(String::new(), |host| format!("  on {}", visible(host)));
    format!(
        "{:>7} {:>7}  {:<24} {:<24} {:>7} {:>9} {:>9}{}{host}\n",
        m.metadata.step.map_or_else(name, |step| step.to_string()),
        or_dash(m.metadata.epoch.map(significant)),
        m.r_f.as_ref().map_or_else(|| "undefined".to_owned(), interval),
        or_dash(predicted_of(m)),
        or_dash(m.metadata.val_error.map(percent)),
        or_dash(m.d_f.as_ref().map(|d_f| significant(d_f.value))),
        or_dash(m.g_f.as_ref().map(|g_f| significant(g_f.value))),
        marks(m),
    )
}

/// A value with its interval, in three significant digits.
#[must_use]
pub fn interval(estimate: &Estimate) -> String {
    format!("{} [{}, {}]", significant(estimate.value), significant(estimate.low), significant(estimate.high))
}

/// The predicted error of a measurement, marked where its law was fitted on it.
fn predicted_of(measurement: &Measurement) -> Option<String> {
    let is_fit = measurement.findings.iter().any(|finding| finding.code == Code::FittedOnIt);
    let mark = if is_fit { " fit" } else { "" };
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
