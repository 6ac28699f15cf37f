//! What `relstab layers` found.

use super::conditions::{common, heading, time, warnings};
use super::document::{Block, Document, Line, Ranges, Shown, Text, columns, showing, table};
use super::figure::layers::{ALT, panels};
use super::interval;
use crate::estimate::Estimate;
use crate::event::{Code, Measurement};
use crate::measure::axes_text;
use crate::measure::layers::{Layer, Layers};
use crate::path;
use crate::predict::NO_PREDICTION;

/// One of the values of a layer.
type Value = fn(&Layer) -> Option<Estimate>;

/// The figure, every layer with its intervals, and what all were measured with.
pub fn document(found: &Layers) -> Document {
    let row = |(number, layer): (usize, &Layer)| {
        let name = format!("{} ({}, {})", layer.name, layer.op, axes_text(&layer.axes));
        let [r_f, d_f, g_f] = values(layer).map(Text::from);
        vec![Text::name(&name), number.to_string().into(), r_f, d_f, g_f, coordinates(layer).into()]
    };
    let names = ["tensor", "layer", "R_f", "D_f", "G_f", "coordinates"];
    let rows = (1..).zip(&found.layers).map(row);
    let columns = showing(columns(&names, &names[1..]), Shown::Last, &["tensor"]);
    let table = table("Each layer, from the image on", columns, rows);
    let record = told(found);
    let figure = panels(found).map(|panels| Block::Figure { alt: ALT, panels, is_paged: false });
    let before = [Block::Verdict(verdict(found)), Block::Details(vec![time(&[&record])])];
    let mut blocks: Vec<Block> = before.into_iter().chain(drawn(found)).chain(figure).chain([table]).collect();
    let notes: Vec<_> = notes(found).iter().map(|note| vec![Text::words(note)]).collect();
    blocks.extend((!notes.is_empty()).then_some(Block::List(notes)));
    blocks.push(Block::Details(vec![Block::Heading("Measured with"), common(&record, &[])]));
    blocks.extend(warnings(&[&record], "networks"));
    let title = vec!["Layers of ".into(), Text::name(&path::text(&record.model.path))];
    Document { title, heading: heading(&record, true), blocks }
}

/// Where the network is the most stable and where the least, and what its output has.
fn verdict(found: &Layers) -> Vec<Line> {
    let mut known: Vec<_> = found.layers.iter().filter_map(|layer| Some((layer, layer.r_f?))).collect();
    known.sort_by(|(_, a), (_, b)| a.value.total_cmp(&b.value));
    let line = |words: &'static str, (layer, r_f): &(&Layer, _)| {
        vec![words.into(), Text::name(&layer.name), format!(": {}.", interval(r_f)).into()]
    };
    match (known.first(), known.last()) {
        (Some(least), Some(most)) => vec![line("Least R_f, the most stable: ", least), line("Greatest R_f: ", most)],
        _ => vec![vec!["No layer has an R_f.".into()]],
    }
}

/// `R_f`, `D_f` and `G_f` of each layer, by its name.
fn drawn(found: &Layers) -> impl Iterator<Item = Block> {
    let drawings: [(_, Value, _); 3] = [
        (
            "R_f of each layer, from the image on; at the dashed line deformation and noise move it alike",
            |layer| layer.r_f,
            Some(1.0),
        ),
        ("D_f, its change under deformation", |layer| layer.d_f, None),
        ("G_f, its change under noise", |layer| layer.g_f, None),
    ];
    drawings.into_iter().map(|(caption, value, reference)| {
        let row = |layer: &Layer| {
            let Estimate { value, low, high, .. } = value(layer)?;
            Some((Text::name(&layer.name), value, Some((low, high))))
        };
        Block::Ranges(Ranges { caption, rows: found.layers.iter().filter_map(row).collect(), reference, is_log: true })
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
