//! One measurement's report.

use super::conditions::{all, heading};
use super::document::{Block, Document, Line, Text, Tone, columns, table};
use super::{interval, invariance, percent, predicted, predicted_of};
use crate::estimate::Estimate;
use crate::event::{Measurement, Reading, Severity};
use crate::path;

/// Values with their intervals, the other readings of them, and what they were measured with.
pub fn document(measurement: &Measurement) -> Document {
    let name = Text::name(&path::text(&measurement.model.path));
    let mut details = vec![("hash", vec![Text::name(&measurement.model.sha256)])];
    details.extend(measurement.metadata.step.map(|step| ("step", vec![step.to_string().into()])));
    let mut blocks = vec![
        Block::Details(vec![Block::Verdict(verdict(measurement)), Block::Facts(details)]),
        Block::Facts(values(measurement)),
        Block::Details(vec![Block::Heading("Readings"), readings(measurement)]),
    ];
    blocks.extend(all(&[measurement]));
    Document { title: vec!["Network ".into(), name], heading: heading(measurement, false), blocks }
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

/// Values with intervals and units, and what each is of.
fn values(m: &Measurement) -> Vec<(&'static str, Line)> {
    let fact = |name, value: String, note: String| (name, vec![Text::Own(value), Text::remark(&note)]);
    let on = format!("{} images x {} draws", m.probe.images, m.settings.draws);
    let level = |estimate: &Estimate| format!("{:.0}% interval, {on}", 100.0 * estimate.level);
    let reason = || m.undefined.as_ref().map_or(String::new(), |undefined| undefined.reason.clone());
    let mut facts = vec![match &m.r_f {
        Some(r_f) => fact("R_f", interval(r_f), level(r_f)),
        None => fact("R_f", "undefined".to_owned(), reason()),
    }];
    for (name, estimate, note) in [
        ("D_f", m.d_f, "under deformation"),
        ("G_f", m.g_f, "under noise of the same norm"),
        ("EI", invariance(m), "effective invariance under deformation"),
    ] {
        facts.extend(estimate.map(|estimate| fact(name, interval(&estimate), note.to_owned())));
    }
    let law = m.prediction.as_ref().map_or(String::new(), |p| format!("law {}: {}", p.law.name, p.law.source));
    facts.extend(predicted_of(m).map(|error| fact("predicted error", error, law)));
    let known = m.metadata.val_error.map(percent);
    facts.extend(known.map(|error| fact("known error", error, "from the checkpoint's metadata".to_owned())));
    let on = format!("on the {} probe images", m.probe.images);
    facts.extend(m.probe_error.map(|error| fact("probe error", percent(error), on)));
    let fold = format!("{} of maps fold", percent(m.folded_share));
    facts.push(fact("displacement", format!("{:.2} px rms", m.displacement_rms_px), fold));
    let rate = 1e6 * m.timing.total_s / m.timing.passes as f64;
    let passes = format!("{} passes, {rate:.0} us each", m.timing.passes);
    facts.push(fact("time", format!("{:.1} s", m.timing.total_s), passes));
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
    table("The three readings of \"typical\"", columns, all.into_iter().map(row))
}
