//! What `relstab sweep` found.

use std::fmt::Write as _;

use super::conditions::{common, laws, warnings};
use super::document::{Block, Document, Heat, Line, Table, Text, columns};
use super::figure::sweep::left_out;
use super::{findings, interval, percent, predicted, significant};
use crate::estimate::Estimate;
use crate::event::{Finding, Measurement};
use crate::measure::conditions;
use crate::measure::sweep::{Point, Sweep};
use crate::path;
use crate::perturb::{is_natural, range_warning, temperature_range, typical_displacement};
use crate::predict::NO_PREDICTION;
use crate::text::visible;

/// For people on a terminal: a line for each point, then what to know about them.
#[must_use]
pub fn text(sweep: &Sweep) -> String {
    let mut text = String::new();
    if let Some(m) = sweep.measured().next() {
        let (path, backend) = (visible(&path::text(&m.model.path)), &m.backend);
        let _ = writeln!(text, "{path}  ({} {}, {})", backend.name, backend.version, backend.provider);
        let _ = writeln!(text, "{} images x {} draws, seed {}", m.probe.images, m.settings.draws, m.settings.seed);
    }
    let mut line = |mark: &str, cells: [&str; 9]| {
        let [cutoff, delta, temperature, rms, folded, r_f, d_f, g_f, error] = cells;
        let line = format!(
            "{cutoff:>6} {delta:>8}{mark:<1} {temperature:>11} {rms:>7} {folded:>7}  {r_f:<24} {d_f:>9} {g_f:>9}  {error}"
        );
        let _ = writeln!(text, "{}", line.trim_end());
    };
    line("", ["cutoff", "delta", "temperature", "rms px", "folded", "R_f", "D_f", "G_f", "predicted error"]);
    for point in &sweep.points {
        let cells = cells(point, |estimate| significant(estimate.value));
        let mark = if point.in_natural_range { "" } else { "*" };
        line(mark, cells.each_ref().map(|cell| cell.as_deref().unwrap_or("-")));
    }
    let ranges = natural_ranges(sweep).filter(|_| sweep.points.iter().any(|point| !point.in_natural_range));
    if let Some(ranges) = ranges {
        let _ = writeln!(text, "  * outside the natural range of delta, {ranges}");
    }
    for (reason, count) in untold(sweep) {
        let _ = writeln!(text, "  no R_f at {count} of {} points: {reason}", sweep.points.len());
    }
    let records = records(sweep);
    let mut told: Vec<Finding> = records.iter().flat_map(Measurement::told).collect();
    let mut known = std::collections::HashSet::new();
    told.retain(|finding| known.insert(finding.text.clone()));
    for note in &sweep.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    text + &findings(&told)
}

/// The figure, every point with its intervals, and what all were measured with.
#[must_use]
pub fn document(sweep: &Sweep, figure: Option<Block>) -> Document {
    let records = records(sweep);
    let records: Vec<&Measurement> = records.iter().collect();
    let mut title = vec![Text::from("Sweep")];
    title.extend(records.first().into_iter().flat_map(|m| [" of ".into(), Text::name(&path::text(&m.model.path))]));
    let left_out = left_out(sweep).filter(|_| figure.is_some());
    let mut blocks: Vec<Block> = heat(sweep).into_iter().chain(figure).collect();
    blocks.push(table(sweep));
    if let Some(ranges) = natural_ranges(sweep) {
        let text = format!("The natural range of delta, from half a pixel to where many maps fold: {ranges}.");
        blocks.push(Block::Paragraph(vec![text.into()]));
    }
    let untold = untold(sweep).into_iter().map(|(reason, count)| {
        vec![format!("No R_f at {count} of {} points: ", sweep.points.len()).into(), Text::words(&reason)]
    });
    let notes = left_out.iter().chain(&sweep.notes).map(|note| vec![Text::words(note)]);
    let told: Vec<Line> = untold.chain(notes).collect();
    if !told.is_empty() {
        blocks.push(Block::List(told));
    }
    if let Some(record) = records.first() {
        blocks.extend([Block::Heading("Measured with"), common(record, &["cutoff", "delta", "temperature"])]);
    }
    if records.iter().any(|record| record.prediction.is_some()) {
        blocks.push(Block::Heading("Law"));
        blocks.extend(laws(&records, "points"));
    }
    blocks.extend(warnings(&records, "points"));
    Document { title, blocks }
}

/// `R_f` over cutoff and delta; nothing where the cutoffs were swept over sizes of their own.
fn heat(sweep: &Sweep) -> Option<Block> {
    let mut deltas: Vec<f64> = sweep.points.iter().map(|point| point.delta).collect();
    deltas.sort_by(f64::total_cmp);
    deltas.dedup();
    let mut cutoffs: Vec<u32> = sweep.points.iter().map(|point| point.cutoff).collect();
    cutoffs.sort_unstable();
    cutoffs.dedup();
    let cell = |cutoff: u32, delta: f64| {
        let point =
            sweep.points.iter().find(|point| point.cutoff == cutoff && point.delta.total_cmp(&delta).is_eq())?;
        let r_f = point.measurement.as_ref().and_then(|record| Some(record.r_f.as_ref()?.value));
        Some((r_f, point.in_natural_range))
    };
    let row = |cutoff: u32| {
        let cells: Option<Vec<_>> = deltas.iter().map(|delta| cell(cutoff, *delta)).collect();
        Some((cutoff.to_string(), cells?))
    };
    let rows: Vec<_> = cutoffs.into_iter().map(row).collect::<Option<_>>()?;
    Some(Block::Heat(Heat {
        caption: "R_f over cutoff (rows) and delta (columns)",
        axes: ["cutoff", "delta (px)"],
        columns: deltas.iter().map(|delta| significant(*delta)).collect(),
        rows,
        mark: "A frame marks the natural range",
    }))
}

fn table(sweep: &Sweep) -> Block {
    const NAMES: [&str; 10] = [
        "cutoff",
        "delta (px)",
        "natural range",
        "temperature",
        "rms (px)",
        "maps that fold",
        "R_f",
        "D_f",
        "G_f",
        "predicted error",
    ];
    let row = |point: &Point| {
        let mut row: Vec<Text> = cells(point, interval).map(Text::known).to_vec();
        row.insert(2, if point.in_natural_range { "within" } else { "outside" }.into());
        row
    };
    let mut columns = columns(&NAMES, &NAMES);
    columns[2].is_number = false;
    let rows = sweep.points.iter().map(row).collect();
    Block::Table(Table { caption: "Each cutoff and delta", columns, rows })
}

/// Cutoff, delta, temperature, root mean square of the displacement, share of maps that fold, `R_f`, `D_f`, `G_f` and predicted
/// error of a point, as far as they are known.
fn cells(point: &Point, change: fn(&Estimate) -> String) -> [Option<String>; 9] {
    let record = point.measurement.as_ref();
    let untold = if point.error.is_some() { "failed" } else { "undefined" };
    let r_f = record.and_then(|record| record.r_f.as_ref());
    [
        Some(point.cutoff.to_string()),
        Some(significant(point.delta)),
        Some(significant(point.temperature)),
        record.map(|record| significant(record.displacement_rms_px)),
        record.map(|record| percent(record.folded_share)),
        Some(r_f.map_or_else(|| untold.to_owned(), interval)),
        record.and_then(|record| record.d_f.as_ref()).map(change),
        record.and_then(|record| record.g_f.as_ref()).map(change),
        record.and_then(|record| record.prediction.as_ref()).map(predicted),
    ]
}

/// The records, without warnings of what the marks of the natural range and the column of predictions tell.
fn records(sweep: &Sweep) -> Vec<Measurement> {
    let mut records: Vec<_> = sweep.measured().cloned().collect();
    for record in &mut records {
        let told = range_warning(record.settings.cutoff, record.settings.temperature, conditions(record).side);
        let is_new = |text: &String| !text.starts_with(NO_PREDICTION) && Some(text) != told.as_ref();
        record.warnings.retain(is_new);
        record.findings.retain(|finding| is_new(&finding.text));
    }
    records
}

/// The natural range of delta at each cutoff.
fn natural_ranges(sweep: &Sweep) -> Option<String> {
    let side = conditions(sweep.measured().next()?).side;
    let mut points: Vec<_> = sweep.points.iter().collect();
    points.dedup_by_key(|point| point.cutoff);
    let range = |point: &&Point| {
        let (least, most) = temperature_range(point.cutoff, side);
        let px = |temperature| significant(typical_displacement(point.cutoff, temperature, side));
        if is_natural(point.cutoff, least, side) {
            format!("{} to {} px at cutoff {}", px(least), px(most), point.cutoff)
        } else {
            format!("none at cutoff {}", point.cutoff)
        }
    };
    Some(points.iter().map(range).collect::<Vec<_>>().join(", "))
}

/// Why there is no `R_f`, with the number of points where there is none.
fn untold(sweep: &Sweep) -> Vec<(String, usize)> {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for reason in sweep.points.iter().filter_map(Point::untold) {
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
    reasons
}
