//! `relstab compare`: networks ranked by R_f on the same images and draws.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::path::PathBuf;

use serde::Serialize;

use super::measure::measure_file;
use super::setup::Shared;
use super::{Format, print, print_json};
use crate::error::{ExitCode, Result};
use crate::event::Measurement;
use crate::rank::{Pair, ranked};
use crate::report;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The networks, ONNX files
    #[arg(value_name = "MODEL", required = true, num_args = 2..)]
    models: Vec<PathBuf>,
    /// Probability that a pair's interval should hold its true ratio
    #[arg(long, default_value_t = 0.95)]
    level: f64,
    #[command(flatten)]
    shared: Shared,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct Ranking {
    schema: &'static str,
    /// Least R_f first.
    models: Vec<Ranked>,
    /// Each pair of them, the better one first.
    pairs: Vec<Pair>,
}

#[derive(Debug, Serialize)]
struct Ranked {
    /// One more than the number of networks that are surely better.
    rank: usize,
    measurement: Measurement,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let setup = args.shared.plan_for(&args.models[0])?.load()?;
    let measure = |model: &PathBuf| measure_file(&setup, model, &mut None);
    let measurements = args.models.iter().map(measure).collect::<Result<Vec<_>>>()?;
    let (places, pairs) = ranked(&measurements, args.level)?;
    let models = places.into_iter().map(|place| {
        let mut measurement = measurements[place.index].clone();
        measurement.replicates_log_r_f = None;
        Ranked { rank: place.rank, measurement }
    });
    let ranking = Ranking { schema: "relstab.comparison/1", models: models.collect(), pairs };
    match args.shared.format {
        Format::Text => print(&text(&ranking))?,
        Format::Json => print_json(&ranking, true)?,
    }
    Ok(ExitCode::Success)
}

fn text(ranking: &Ranking) -> String {
    let mut text = format!("{:>4}  {:<24} {:<26} network\n", "rank", "R_f", "over the first's");
    let best = ranking.models.first().map(|model| &model.measurement.model.path);
    for Ranked { rank, measurement } in &ranking.models {
        let is_tied = ranking.models.iter().filter(|model| model.rank == *rank).count() > 1;
        let path = &measurement.model.path;
        let pair = ranking.pairs.iter().find(|pair| Some(&pair.better) == best && pair.worse == *path);
        let over =
            pair.map_or_else(String::new, |pair| format!("{:.3} [{:.3}, {:.3}]", pair.ratio, pair.low, pair.high));
        let rank = format!("{rank}{}", if is_tied { "=" } else { " " });
        let r_f = measurement.r_f.as_ref().map_or_else(String::new, report::interval);
        text += &format!("{rank:>5} {r_f:<24} {over:<26} {}\n", path.display());
    }
    text
}
