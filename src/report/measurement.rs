//! One measurement's report.

use super::conditions::all;
use super::document::{Block, Document, Line, Table, Text, columns};
use super::{interval, invariance, percent, predicted};
use crate::estimate::Estimate;
use crate::event::{Measurement, Reading};
use crate::path;

/// Values with their intervals, the other readings of them, and what they were measured with.
#[must_use]
pub fn document(measurement: &Measurement) -> Document {
    let name = Text::name(&path::text(&measurement.model.path));
    let mut blocks = vec![Block::Facts(values(measurement)), Block::Heading("Readings"), readings(measurement)];
    blocks.extend(all(&[measurement]));
    Document { title: vec!["Network ".into(), name], blocks }
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
