//! What `relstab sweep` found.

use super::conditions::{common, heading, laws, time, warnings};
use super::document::{self, Block, Document, Heat, Line, Shown, Text, columns, showing};
use super::figure::sweep::{ALT, left_out, panels};
use super::{interval, invariance, percent, predicted, significant};
use crate::event::Measurement;
use crate::measure::conditions;
use crate::measure::sweep::{Point, Sweep};
use crate::path;
use crate::perturb::{is_natural, range_warning, temperature_range, typical_displacement};
use crate::predict::NO_PREDICTION;

/// The figure, every point with its intervals, and what all were measured with.
pub fn document(sweep: &Sweep) -> Document {
    let records = records(sweep);
    let records: Vec<&Measurement> = records.iter().collect();
    let mut title = vec![Text::from("Sweep")];
    title.extend(records.first().into_iter().flat_map(|m| [" of ".into(), Text::name(&path::text(&m.model.path))]));
    let figure = panels(sweep).map(|panels| Block::Figure { alt: ALT, panels, is_paged: true });
    let mut details: Vec<Block> = Vec::new();
    if let Some(left_out) = left_out(sweep).filter(|_| figure.is_some()) {
        details.push(Block::List(vec![vec![left_out.into()]]));
    }
    let before = [Block::Verdict(verdict(sweep)), Block::Details(vec![time(&records)])];
    let mut blocks: Vec<Block> = before.into_iter().chain(heats(sweep)).chain(figure).chain([table(sweep)]).collect();
    if let Some(ranges) = natural_ranges(sweep) {
        let are_all_within = sweep.points.iter().all(|point| point.in_natural_range);
        let mark = if are_all_within { "The" } else { "* outside the" };
        let text = Block::Paragraph(vec![Text::words(&format!("{mark} natural range of delta, {ranges}"))]);
        blocks.push(if are_all_within { Block::Details(vec![text]) } else { text });
    }
    let count = sweep.points.len();
    let untold = untold(sweep).into_iter().map(|(reason, of)| format!("no R_f at {of} of {count} points: {reason}"));
    let notes: Vec<_> = untold.chain(sweep.notes.iter().cloned()).map(|note| vec![Text::words(&note)]).collect();
    blocks.extend((!notes.is_empty()).then_some(Block::List(notes)));
    if let Some(record) = records.first() {
        details.extend([Block::Heading("Measured with"), common(record, &["cutoff", "delta", "temperature"])]);
    }
    if records.iter().any(|record| record.prediction.is_some()) {
        details.push(Block::Heading("Law"));
        details.extend(laws(&records, "points"));
    }
    blocks.push(Block::Details(details));
    blocks.extend(warnings(&records, "points"));
    Document { title, heading: records.first().map(|record| heading(record, true)).unwrap_or_default(), blocks }
}

/// From where to where `R_f` goes, and what a law predicts.
fn verdict(sweep: &Sweep) -> Vec<Line> {
    let at = |point: &Point| format!(" at cutoff {} and delta {} px", point.cutoff, significant(point.delta));
    let known = |point| Some((point, r_f(point)?));
    let mut natural: Vec<_> = sweep.points.iter().filter(|point| point.in_natural_range).filter_map(known).collect();
    natural.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let mut lines = vec![match (natural.first(), natural.last()) {
        (Some((least, from)), Some((most, to))) => {
            let [from, to] = [(from, least), (to, most)].map(|(value, point)| significant(*value) + &at(point));
            vec![format!("In the natural range R_f goes from {from} to {to}.").into()]
        }
        _ => vec!["No point in the natural range has an R_f.".into()],
    }];
    let predicted_at =
        |point: &Point| Some((point.measurement.as_ref()?.prediction.as_ref().map(predicted)?, at(point)));
    let told = |(error, at)| vec![format!("Predicted error: {error}{at}.").into()];
    lines.extend(sweep.points.iter().find_map(predicted_at).map(told));
    lines
}

fn r_f(point: &Point) -> Option<f64> {
    Some(point.measurement.as_ref()?.r_f?.value)
}

/// `R_f` and effective invariance over cutoff and delta.
fn heats(sweep: &Sweep) -> impl Iterator<Item = Block> {
    let ei = |point: &Point| Some(invariance(point.measurement.as_ref()?)?.value);
    let has_ei = sweep.points.iter().any(|point| ei(point).is_some());
    let r_f = heat(sweep, "R_f over cutoff (rows) and delta (columns)", r_f);
    let ei = has_ei.then(|| heat(sweep, "Effective invariance (EI) over cutoff (rows) and delta (columns)", ei));
    [r_f, ei.flatten()].into_iter().flatten()
}

/// A value over cutoff and delta; nothing where the cutoffs were swept over sizes of their own.
fn heat(sweep: &Sweep, caption: &'static str, value: impl Fn(&Point) -> Option<f64>) -> Option<Block> {
    let mut deltas: Vec<f64> = sweep.points.iter().map(|point| point.delta).collect();
    deltas.sort_by(f64::total_cmp);
    deltas.dedup();
    let mut cutoffs: Vec<u32> = sweep.points.iter().map(|point| point.cutoff).collect();
    cutoffs.sort_unstable();
    cutoffs.dedup();
    let cell = |cutoff: u32, delta: f64| {
        let point =
            sweep.points.iter().find(|point| point.cutoff == cutoff && point.delta.total_cmp(&delta).is_eq())?;
        Some((value(point), point.in_natural_range))
    };
    let row = |cutoff: u32| {
        let cells: Option<Vec<_>> = deltas.iter().map(|delta| cell(cutoff, *delta)).collect();
        Some((cutoff.to_string(), cells?))
    };
    let rows: Vec<_> = cutoffs.into_iter().map(row).collect::<Option<_>>()?;
    Some(Block::Heat(Heat {
        caption,
        axes: ["cutoff", "delta (px)"],
        columns: deltas.iter().map(|delta| significant(*delta)).collect(),
        rows,
        mark: "A frame marks the natural range",
    }))
}

fn table(sweep: &Sweep) -> Block {
    const NAMES: [&str; 11] = [
        "cutoff",
        "delta",
        "natural range",
        "temperature",
        "rms px",
        "folded",
        "R_f",
        "EI",
        "D_f",
        "G_f",
        "predicted error",
    ];
    let mut columns = showing(columns(&NAMES, &NAMES), Shown::Nothing, &NAMES[2..3]);
    columns[2].is_number = false;
    let columns = showing(columns, Shown::Values, &["EI"]);
    document::table("Each cutoff and delta, in pixels", columns, sweep.points.iter().map(row))
}

/// What is known of a point.
fn row(point: &Point) -> Vec<Text> {
    let record = point.measurement.as_ref();
    let untold = if point.error.is_some() { "failed" } else { "undefined" };
    let (mark, range) = if point.in_natural_range { ("", "within") } else { ("*", "outside") };
    let r_f = record.and_then(|record| record.r_f.as_ref());
    vec![
        point.cutoff.to_string().into(),
        Text::words(&(significant(point.delta) + mark)),
        range.into(),
        significant(point.temperature).into(),
        Text::known(record.map(|record| significant(record.displacement_rms_px))),
        Text::known(record.map(|record| percent(record.folded_share))),
        r_f.map_or_else(|| untold.to_owned(), interval).into(),
        Text::known(record.and_then(invariance).as_ref().map(interval)),
        Text::known(record.and_then(|record| record.d_f).map(|d_f| significant(d_f.value))),
        Text::known(record.and_then(|record| record.g_f).map(|g_f| significant(g_f.value))),
        Text::known(record.and_then(|record| record.prediction.as_ref()).map(predicted)),
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
