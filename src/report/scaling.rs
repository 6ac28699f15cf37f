//! What `relstab scaling` found.

use super::document::{Block, Document, Text, columns, table};
use super::figure::scaling::{ALT, panels};
use super::significant;
use crate::estimate::Estimate;
use crate::scaling::{LEVEL, Law, Mean, Scaling};

const NAMES: [&str; 10] = ["group", "quantity", "beta", "A", "n", "sizes", "P", "spread", "r", "over images"];

/// The laws with their figure.
pub fn document(scaling: &Scaling) -> Document {
    let level = 100.0 * LEVEL;
    let about = format!(
        "Q = A P^-beta, least squares on logarithms, each network counting the same. Intervals are {level:.0}%, Student-t over \
         networks; spread is the standard deviation of log Q about the law, r the correlation of log Q with log P. What all \
         sizes have in common, such as the choice of probe images, moves A and not beta."
    );
    let figure = panels(scaling).map(|panels| Block::Figure { alt: ALT, panels, is_paged: true });
    let mut blocks = vec![Block::Details(vec![Block::Paragraph(vec![about.into()])])];
    blocks.extend(figure);
    for source in scaling.sources() {
        blocks.push(Block::Paragraph(vec!["Source: ".into(), Text::name(source)]));
        blocks.push(table("Power laws", columns(&NAMES, &NAMES[2..]), rows(scaling, source)));
    }
    let notes = notes(scaling);
    if !notes.is_empty() {
        blocks.push(Block::List(notes.iter().map(|note| vec![Text::words(note)]).collect()));
    }
    let heading = vec![vec![format!("Q = A P^-beta, {level:.0}% intervals").into()]];
    Document { title: vec!["relstab scaling".into()], heading, blocks }
}

/// Laws, and the mean of those of a quantity, in the columns [`NAMES`].
fn rows(scaling: &Scaling, source: &str) -> Vec<Vec<Text>> {
    let laws = scaling.laws.iter().filter(|law| law.source == source);
    let of_quantity = |laws: &[&Law]| {
        let mean = scaling.means.iter().find(|mean| mean.source == source && mean.quantity == laws[0].quantity);
        laws.iter().map(|law| row(law)).chain(mean.map(row_of_mean)).collect::<Vec<_>>()
    };
    let laws: Vec<_> = laws.collect();
    laws.chunk_by(|a, b| a.quantity == b.quantity).flat_map(of_quantity).collect()
}

fn row(Law { group, quantity, law, sd_over_images, .. }: &Law) -> Vec<Text> {
    vec![
        Text::name(group),
        quantity.factor().into(),
        exponent(&law.beta).into(),
        significant(law.a).into(),
        law.n.to_string().into(),
        law.sizes.to_string().into(),
        format!("{}-{}", law.range.0, law.range.1).into(),
        format!("{:.2}", law.spread).into(),
        law.r.map_or_else(String::new, |r| format!("{r:.2}")).into(),
        sd_over_images.map_or_else(String::new, |sd| format!("+-{sd:.2}")).into(),
    ]
}

fn row_of_mean(mean: &Mean) -> Vec<Text> {
    let mut row = vec![Text::from(""); NAMES.len()];
    row[0] = Text::name(&format!("mean of {} groups", mean.groups));
    row[1] = mean.quantity.factor().into();
    row[2] = exponent(&mean.beta).into();
    row[7] = format!("{:.2}", mean.spread).into();
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
