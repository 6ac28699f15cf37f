//! `relstab compare`: networks ranked by R_f on the same images and draws.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::path::PathBuf;

use super::flags::Shared;
use super::terminal::{measure_file, tell};
use crate::error::{ExitCode, Result};
use crate::rank::Ranking;
use crate::report::compare::document;
use crate::report::terminal::text;

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

pub fn run(args: &Args) -> Result<ExitCode> {
    let setup = args.shared.plan_for(&args.models[0])?.load()?;
    // All are measured on as many images and draws as the first: pairs need the same.
    let mut resolved = None;
    let measure = |model: &PathBuf| measure_file(&setup, model, &mut resolved);
    let measurements = args.models.iter().map(measure).collect::<Result<Vec<_>>>()?;
    let ranking = Ranking::new(&measurements, args.level)?;
    tell(&ranking, || text(&document(&ranking)), args.shared.format)?;
    Ok(ExitCode::Success)
}
