//! What `relstab layers` found.

use std::fmt::Write as _;

use super::conditions::{common, warnings};
use super::document::{Block, Document, Ranges, Table, Text, columns};
use super::{findings, interval};
use crate::event::{Code, Measurement};
use crate::measure::axes_text;
use crate::measure::layers::{Layer, Layers};
use crate::path;
use crate::predict::NO_PREDICTION;
use crate::text::visible;

/// For people on a terminal: a line for each layer, from the image on.
#[must_use]
pub fn text(found: &Layers) -> String {
    let m = &found.measurement;
    let (path, backend) = (visible(&path::text(&m.model.path)), &m.backend);
    let mut text = format!("{path}  ({} {}, {})\n", backend.name, backend.version, backend.provider);
    let _ = writeln!(text, "{} images x {} draws, seed {}", m.probe.images, m.settings.draws, m.settings.seed);
    let _ = writeln!(text, "{:>5}  {:<24} {:<26} {:<26} {:<15} tensor", "layer", "R_f", "D_f", "G_f", "coordinates");
    for (number, layer) in (1..).zip(&found.layers) {
        let [r_f, d_f, g_f] = values(layer);
        let name = layer.name.escape_debug();
        let _ = writeln!(
            text,
            "{number:>5}  {r_f:<24} {d_f:<26} {g_f:<26} {:<15} {name} ({})",
            coordinates(layer),
            kind(layer).escape_debug()
        );
    }
    for note in notes(found) {
        let _ = writeln!(text, "  note: {note}");
    }
    text + &findings(&told(found).told())
}

/// The figure, every layer with its intervals, and what all were measured with.
#[must_use]
pub fn document(found: &Layers, figure: Option<Block>) -> Document {
    let row = |(number, layer): (usize, &Layer)| {
        let mut row = vec![Text::name(&layer.name), number.to_string().into()];
        row.extend(values(layer).map(Text::from));
        row.extend([coordinates(layer).into(), Text::words(&kind(layer))]);
        row
    };
    let names = ["tensor", "layer", "R_f", "D_f", "G_f", "coordinates", "made by"];
    let table = Table {
        caption: "Each layer, from the image on",
        columns: columns(&names, &names[1..6]),
        rows: (1..).zip(&found.layers).map(row).collect(),
    };
    let record = told(found);
    let mut blocks: Vec<Block> = [drawn(found)].into_iter().chain(figure).chain([Block::Table(table)]).collect();
    let notes: Vec<_> = notes(found).iter().map(|note| vec![Text::words(note)]).collect();
    if !notes.is_empty() {
        blocks.push(Block::List(notes));
    }
    blocks.extend([Block::Heading("Measured with"), common(&record, &[])]);
    blocks.extend(warnings(&[&record], "networks"));
    Document { title: vec!["Layers of ".into(), Text::name(&path::text(&record.model.path))], blocks }
}

/// `R_f` of each layer, by its name.
fn drawn(found: &Layers) -> Block {
    let row = |layer: &Layer| {
        let r_f = layer.r_f.as_ref()?;
        Some((Text::name(&layer.name), r_f.value, Some((r_f.low, r_f.high))))
    };
    Block::Ranges(Ranges {
        caption: "R_f of each layer, from the image on; at the dashed line deformation and noise move it alike",
        rows: found.layers.iter().filter_map(row).collect(),
        reference: Some(1.0),
        is_log: true,
    })
}

/// `R_f`, `D_f` and `G_f`.
fn values(layer: &Layer) -> [String; 3] {
    let known = |estimate: Option<_>| estimate.as_ref().map_or_else(|| "–".to_owned(), interval);
    [layer.r_f.as_ref().map_or_else(|| "undefined".to_owned(), interval), known(layer.d_f), known(layer.g_f)]
}

fn coordinates(layer: &Layer) -> String {
    if layer.coordinates < layer.total {
        format!("{} of {}", layer.coordinates, layer.total)
    } else {
        layer.total.to_string()
    }
}

/// `Relu, 64 x 8 x 8`.
fn kind(layer: &Layer) -> String {
    format!("{}, {}", layer.op, axes_text(&layer.axes))
}

/// Why layers have no `R_f`.
fn notes(found: &Layers) -> Vec<String> {
    let undefined = (1..).zip(&found.layers).filter_map(|(number, layer)| Some((number, layer.undefined.as_ref()?)));
    undefined.map(|(number, undefined): (usize, _)| format!("layer {number}, no R_f: {}", undefined.reason)).collect()
}

/// The record, without warnings of a prediction that nobody asked for.
fn told(found: &Layers) -> Measurement {
    let mut record = found.measurement.clone();
    record.warnings.retain(|warning| !warning.starts_with(NO_PREDICTION));
    record.findings.retain(|finding| finding.code != Code::NoPrediction);
    record
}
