//! What `relstab compare` found.

use std::path::Path;

use super::conditions::all;
use super::document::{Block, Document, Table, Text, columns};
use super::{interval, marks, percent, predicted};
use crate::event::Measurement;
use crate::path;
use crate::rank::{Pair, Ranked, Ranking};
use crate::text::visible;

/// For people on a terminal.
#[must_use]
pub fn text(ranking: &Ranking) -> String {
    let mut text = format!("{:>4}  {:<24} {:<26} network\n", "rank", "R_f", "over the first's");
    for model in &ranking.models {
        let rank = ranking.rank(model);
        // The sign of a tie stands behind the column of numbers.
        let rank = if rank.ends_with('=') { rank } else { rank + " " };
        let r_f = model.measurement.r_f.as_ref().map_or_else(|| "undefined".to_owned(), interval);
        let over = ranking.over_first(model).map_or_else(String::new, ratio);
        let marks = marks(&model.measurement);
        text +=
            &format!("{rank:>5} {r_f:<24} {over:<26} {}{marks}\n", visible(&path::text(&model.measurement.model.path)));
    }
    text
}

/// The ranking, every pair, and what the networks were measured with.
#[must_use]
pub fn document(ranking: &Ranking) -> Document {
    let name = |path: &Path| Text::name(&path::text(path));
    let row = |model: &Ranked| {
        let Measurement { r_f, prediction, metadata, probe_error, .. } = &model.measurement;
        vec![
            name(&model.measurement.model.path),
            ranking.rank(model).into(),
            r_f.as_ref().map_or_else(|| "undefined".into(), |r_f| interval(r_f).into()),
            Text::known(ranking.over_first(model).map(ratio)),
            Text::known(prediction.as_ref().map(predicted)),
            Text::known(metadata.val_error.map(percent)),
            Text::known(probe_error.map(percent)),
        ]
    };
    let names = ["network", "rank", "R_f", "over the first's", "predicted error", "known error", "probe error"];
    let places = Table {
        caption: "Least R_f first",
        columns: columns(&names, &names[1..]),
        rows: ranking.models.iter().map(row).collect(),
    };
    let pair = |pair: &Pair| {
        let says = if pair.is_tie { "cannot be told apart" } else { "the first is better" };
        vec![name(&pair.better), name(&pair.worse), ratio(pair).into(), says.into()]
    };
    let pairs = Table {
        caption: "R_f of the second over that of the first",
        columns: columns(&["first", "second", "ratio", "verdict"], &["ratio"]),
        rows: ranking.pairs.iter().map(pair).collect(),
    };
    let level = ranking.pairs.first().map_or_else(String::new, |pair| {
        format!(
            "Ratios are of R_f on the same images and draws, with paired {} intervals; networks that cannot be told apart \
             share a rank, marked =.",
            percent(pair.level)
        )
    });
    let records: Vec<&Measurement> = ranking.models.iter().map(|model| &model.measurement).collect();
    let mut blocks =
        vec![Block::Paragraph(vec![level.into()]), Block::Table(places), Block::Heading("Pairs"), Block::Table(pairs)];
    blocks.extend(all(&records));
    Document { title: vec!["relstab compare".into()], blocks }
}

fn ratio(pair: &Pair) -> String {
    format!("{:.3} [{:.3}, {:.3}]", pair.ratio, pair.low, pair.high)
}
