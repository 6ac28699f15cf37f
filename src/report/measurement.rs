//! One measurement's report.

use super::conditions::all;
use super::document::{Block, Document, Line, Table, Text, Tone, columns};
use super::{interval, invariance, percent, predicted};
use crate::estimate::Estimate;
use crate::event::{Measurement, Reading, Severity};
use crate::path;

/// Values with their intervals, the other readings of them, and what they were measured with.
#[must_use]
pub fn document(measurement: &Measurement) -> Document {
    let name = Text::name(&path::text(&measurement.model.path));
    let mut blocks = vec![
        Block::Verdict(verdict(measurement)),
        Block::Facts(values(measurement)),
        Block::Heading("Readings"),
        readings(measurement),
    ];
    blocks.extend(all(&[measurement]));
    Document { title: vec!["Network ".into(), name], blocks }
}

/// The predicted error, how far it is from the known one, and how much is wrong or doubtful.
fn verdict(m: &Measurement) -> Vec<Line> {
    let known = m.known_error();
    let mut lines: Vec<Line> = vec![match &m.prediction {
        Some(prediction) => vec![format!("Predicted error: {}.", predicted(prediction)).into()],
        None => vec!["No law predicted an error; the warnings say why.".into()],
    }];
    if let (Some(prediction), Some(known)) = (&m.prediction, known) {
        let away = format!("{:.1} points", 100.0 * (prediction.error - known).abs());
        let side = if prediction.error < known { "below" } else { "above" };
        lines.push(vec![format!("Known error: {}; the prediction is {away} {side} it.", percent(known)).into()]);
    }
    for (severity, tone) in [(Severity::Wrong, Tone::Bad), (Severity::Doubt, Tone::Unsure)] {
        let count = m.told().iter().filter(|finding| finding.severity == severity).count();
        if count > 0 {
            let found = Text::Verdict(tone, format!("{severity}: {count}"));
            lines.push(vec![found, "; the warnings say what to do.".into()]);
        }
    }
    lines
}

fn values(m: &Measurement) -> Vec<(&'static str, Line)> {
    let mut facts: Vec<(&'static str, Line)> = vec![("hash", vec![Text::name(&m.model.sha256)])];
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, vec![Text::Own(value)])));
    add("step", m.metadata.step.map(|step| step.to_string()));
    for (name, estimate) in [("R_f", &m.r_f), ("D_f", &m.d_f), ("G_f", &m.g_f), ("EI", &invariance(m))] {
        let told = |estimate: &Estimate| format!("{} ({} interval)", interval(estimate), percent(estimate.level));
        add(name, estimate.as_ref().map(told));
    }
    add("predicted error", m.prediction.as_ref().map(predicted));
    add("known error", m.metadata.val_error.map(percent));
    add("probe error", m.probe_error.map(percent));
    add("displacement", Some(format!("{:.2} px rms, {} of maps fold", m.displacement_rms_px, percent(m.folded_share))));
    if let Some(undefined) = &m.undefined {
        facts.push(("R_f is undefined", vec![Text::words(&undefined.reason)]));
    }
    facts
}

fn readings(m: &Measurement) -> Block {
    let all = [
        ("coordinate median", &m.estimators.coordinate_median),
        ("median", &m.estimators.median),
        ("mean", &m.estimators.mean),
    ];
    let row = |(name, reading): (&str, &Reading)| {
        let cell = |estimate: &Option<Estimate>| Text::known(estimate.as_ref().map(interval));
        vec![name.into(), cell(&reading.r_f), cell(&reading.d_f), cell(&reading.g_f)]
    };
    let columns = columns(&["typical", "R_f", "D_f", "G_f"], &["R_f", "D_f", "G_f"]);
    Block::Table(Table {
        caption: "The three readings of \"typical\"",
        columns,
        rows: all.into_iter().map(row).collect(),
    })
}
