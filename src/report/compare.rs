//! What `relstab compare` found.

use std::path::Path;

use super::conditions::{all, time};
use super::document::{Block, Document, Line, Ranges, Shown, Text, columns, showing, table};
use super::{interval, invariance, marks, percent, predicted};
use crate::event::Measurement;
use crate::path;
use crate::rank::{Pair, Ranked, Ranking};

/// One of the values of a measurement.
type Value = fn(&Measurement) -> Option<f64>;

/// The ranking, every pair, and what the networks were measured with.
pub fn document(ranking: &Ranking) -> Document {
    let name = |path: &Path| Text::name(&path::text(path));
    let is_marked = ranking.models.iter().any(|model| !marks(&model.measurement).is_empty());
    let row = |model: &Ranked| {
        let Measurement { r_f, prediction, metadata, probe_error, .. } = &model.measurement;
        let mut row = vec![
            name(&model.measurement.model.path),
            ranking.rank(model).into(),
            r_f.as_ref().map_or_else(|| "undefined".into(), |r_f| interval(r_f).into()),
            Text::known(ranking.over_first(model).map(ratio)),
            Text::known(invariance(&model.measurement).as_ref().map(interval)),
            Text::known(prediction.as_ref().map(predicted)),
            Text::known(metadata.val_error.map(percent)),
            Text::known(probe_error.map(percent)),
        ];
        row.extend(is_marked.then(|| marks(&model.measurement).trim_start().into()));
        row
    };
    let names = [
        "network",
        "rank",
        "R_f",
        "over the first's",
        "EI",
        "predicted error",
        "known error",
        "probe error",
        "findings",
    ];
    let names = &names[..names.len() - usize::from(!is_marked)];
    let shown = showing(columns(names, &names[1..8]), Shown::Nothing, &names[4..8]);
    let shown = showing(shown, Shown::Last, &names[..1]);
    let places = table("In order of R_f, the least first", shown, ranking.models.iter().map(row));
    let pair = |pair: &Pair| {
        let says = if pair.is_tie { "cannot be told apart" } else { "the first has the lower R_f" };
        vec![name(&pair.better), name(&pair.worse), ratio(pair).into(), says.into()]
    };
    let named = columns(&["first", "second", "ratio", "verdict"], &["ratio"]);
    let pairs = table("R_f of the second over that of the first", named, ranking.pairs.iter().map(pair));
    let level = ranking.pairs.first().map_or_else(String::new, |pair| {
        format!(
            "Ratios are of R_f on the same images and draws, with paired {} intervals; networks that cannot be told apart \
             share a rank, marked =.",
            percent(pair.level)
        )
    });
    let records: Vec<&Measurement> = ranking.models.iter().map(|model| &model.measurement).collect();
    let verdict = Block::Verdict(verdict(ranking));
    let level = Block::Details(vec![verdict, time(&records), Block::Paragraph(vec![level.into()])]);
    let pairs = [Block::Heading("Pairs"), pairs].into_iter().chain(all(&records)).collect();
    let blocks = [level].into_iter().chain(drawn(ranking)).chain([places, Block::Details(pairs)]).collect();
    Document { title: vec!["relstab compare".into()], heading: Vec::new(), blocks }
}

/// Which network is first, and from which it cannot be told apart.
fn verdict(ranking: &Ranking) -> Vec<Line> {
    let Some(first) = ranking.models.first() else { return Vec::new() };
    let name = Text::name(&path::text(&first.measurement.model.path));
    let tied = ranking.models.iter().filter(|model| model.rank == first.rank).count() - 1;
    let told = match tied {
        0 => " has the least R_f, by more than the choice of images explains.".to_owned(),
        1 => " has the least R_f; one other cannot be told apart from it.".to_owned(),
        more => format!(" has the least R_f; {more} others cannot be told apart from it."),
    };
    let least = |value: Value| {
        let known = ranking.models.iter().filter_map(|model| Some((value(&model.measurement)?, model)));
        known.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(error, model)| (error, &model.measurement.model.path))
    };
    let mut lines = vec![vec![name, told.into()]];
    let errors: [(&str, Value); 2] = [
        ("Least predicted error: ", |m| m.prediction.as_ref().map(|prediction| prediction.error)),
        ("Least known error: ", Measurement::known_error),
    ];
    for (words, value) in errors {
        if let Some((error, network)) = least(value) {
            lines.push(vec![words.into(), Text::name(&path::text(network)), format!(", {}.", percent(error)).into()]);
        }
    }
    lines
}

/// Paired differences from the first, effective invariance, and how often answers stay.
fn drawn(ranking: &Ranking) -> Vec<Block> {
    let name = |model: &Ranked| Text::name(&path::text(&model.measurement.model.path));
    let ratios = ranking.models.iter().filter_map(|model| {
        let pair = ranking.over_first(model)?;
        Some((name(model), pair.ratio, Some((pair.low, pair.high))))
    });
    let invariances = ranking.models.iter().filter_map(|model| {
        let found = invariance(&model.measurement)?;
        Some((name(model), found.value, Some((found.low, found.high))))
    });
    let agreement = |model: &Ranked| Some((name(model), model.measurement.scores?.agreement.deformed, None));
    let drawings = [
        ("R_f over that of the first network, with paired intervals; at the dashed line both are equal", true),
        ("Effective invariance (EI): how surely answers stay under deformation", false),
        ("Agreement: share of deformed images that keep their class", false),
    ];
    let rows =
        [ratios.collect(), invariances.collect(), ranking.models.iter().filter_map(agreement).collect::<Vec<_>>()];
    let block = |((caption, is_log), rows): ((&'static str, bool), Vec<_>)| {
        let reference = is_log.then_some(1.0);
        (!rows.is_empty()).then_some(Block::Ranges(Ranges { caption, rows, reference, is_log }))
    };
    drawings.into_iter().zip(rows).filter_map(block).collect()
}

fn ratio(pair: &Pair) -> String {
    format!("{:.3} [{:.3}, {:.3}]", pair.ratio, pair.low, pair.high)
}
