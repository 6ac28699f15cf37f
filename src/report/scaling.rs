//! What `relstab scaling` found.

use std::fmt::Write as _;

use super::document::{Block, Document, Table, Text, columns};
use super::significant;
use crate::estimate::Estimate;
use crate::scaling::{LEVEL, Law, Mean, Scaling};

const NAMES: [&str; 10] = ["group", "quantity", "beta", "A", "n", "sizes", "P", "spread", "r", "over images"];

/// A law, or the mean of several, in the columns [`NAMES`].
type Row = [String; NAMES.len()];

/// For people on a terminal.
#[must_use]
pub fn text(scaling: &Scaling) -> String {
    let mut text = format!("Q = A P^-beta, {:.0}% intervals\n", 100.0 * LEVEL);
    for source in scaling.sources() {
        let rows = rows(scaling, source);
        let width = |index: usize| {
            let cells = rows.iter().map(|row| &*row[index]).chain([NAMES[index]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<_> = (0..NAMES.len()).map(width).collect();
        let mut line = |cells: [&str; NAMES.len()]| {
            let set = |(index, (cell, width)): (usize, (&str, &usize))| match index {
                0..=2 | 6 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            };
            let cells: Vec<_> = cells.into_iter().zip(&widths).enumerate().map(set).collect();
            text += cells.join("  ").trim_end();
            text += "\n";
        };
        line([source, "", "", "", "", "", "", "", "", ""]);
        line(NAMES);
        for row in &rows {
            line(row.each_ref().map(String::as_str));
        }
    }
    for note in notes(scaling) {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// The laws with their figure.
#[must_use]
pub fn document(scaling: &Scaling, figure: Option<Block>) -> Document {
    let about = format!(
        "Q = A P^-beta, least squares on logarithms, each network counting the same. Intervals are {:.0}%, Student-t over \
         networks; spread is the standard deviation of log Q about the law, r the correlation of log Q with log P. What all \
         sizes have in common, such as the choice of probe images, moves A and not beta.",
        100.0 * LEVEL
    );
    let mut blocks = vec![Block::Paragraph(vec![about.into()])];
    blocks.extend(figure);
    for source in scaling.sources() {
        let cells = |row: Row| {
            let named = |(index, cell): (usize, String)| if index == 0 { Text::name(&cell) } else { cell.into() };
            row.into_iter().enumerate().map(named).collect()
        };
        blocks.push(Block::Paragraph(vec!["Source: ".into(), Text::name(source)]));
        blocks.push(Block::Table(Table {
            caption: "Power laws",
            columns: columns(&NAMES, &NAMES[2..]),
            rows: rows(scaling, source).into_iter().map(cells).collect(),
        }));
    }
    let notes = notes(scaling);
    if !notes.is_empty() {
        blocks.push(Block::List(notes.iter().map(|note| vec![Text::words(note)]).collect()));
    }
    Document { title: vec!["relstab scaling".into()], blocks }
}

fn rows(scaling: &Scaling, source: &str) -> Vec<Row> {
    let laws = scaling.laws.iter().filter(|law| law.source == source);
    let of_quantity = |laws: &[&Law]| {
        let mean = scaling.means.iter().find(|mean| mean.source == source && mean.quantity == laws[0].quantity);
        laws.iter().map(|law| row(law)).chain(mean.map(row_of_mean)).collect::<Vec<_>>()
    };
    let laws: Vec<_> = laws.collect();
    laws.chunk_by(|a, b| a.quantity == b.quantity).flat_map(of_quantity).collect()
}

fn row(Law { group, quantity, law, sd_over_images, .. }: &Law) -> Row {
    [
        group.clone(),
        quantity.factor(),
        exponent(&law.beta),
        significant(law.a),
        law.n.to_string(),
        law.sizes.to_string(),
        format!("{}-{}", law.range.0, law.range.1),
        format!("{:.2}", law.spread),
        law.r.map_or_else(String::new, |r| format!("{r:.2}")),
        sd_over_images.map_or_else(String::new, |sd| format!("+-{sd:.2}")),
    ]
}

fn row_of_mean(mean: &Mean) -> Row {
    let mut row = Row::default();
    row[0] = format!("mean of {} groups", mean.groups);
    row[1] = mean.quantity.factor();
    row[2] = exponent(&mean.beta);
    row[7] = format!("{:.2}", mean.spread);
    row
}

fn exponent(beta: &Estimate) -> String {
    format!("{:.2} [{:.2}, {:.2}]", beta.value, beta.low, beta.high)
}

/// What no law was fitted to.
fn notes(scaling: &Scaling) -> Vec<String> {
    let without = scaling.without_law().into_iter().map(|first| format!("no law of {}: too few sizes", first.group));
    let left_out = scaling.left_out.iter().map(|(reason, count)| format!("{count} left out: {reason}"));
    without.chain(left_out).collect()
}
