//! `relstab measure`: one network, once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::flags::Shared;
use super::terminal::{Format, complain, tell, with_progress};
use crate::error::{ExitCode, Result};
use crate::event::Measurement;
use crate::measure::Settings;
use crate::measure::shards::Shard;
use crate::report::measurement::document;
use crate::report::terminal::{findings, text};
use crate::report::{self, file};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network, an ONNX file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Keep the bootstrap replicates in the JSON record
    #[arg(long)]
    replicates: bool,
    /// Take no longer than this: fewer draws, then fewer images
    #[arg(long, value_name = "TIME", value_parser = crate::text::duration, conflicts_with = "precision")]
    budget: Option<Duration>,
    /// Print what the network sees and what the measurement would take, and make none
    #[arg(long)]
    dry_run: bool,
    /// Measure only this share of the images, such as 3/8, and write a part that relstab merge puts together with the others
    #[arg(long, value_name = "I/N", requires = "part", conflicts_with_all = ["precision", "budget", "dry_run", "replicates"])]
    shard: Option<Shard>,
    /// The part's file
    #[arg(long, value_name = "FILE", requires = "shard")]
    part: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let setup = args.shared.plan_for(&args.model)?.load()?;
    let model = setup.read(&args.model)?;
    let mut opened = with_progress(|progress| setup.open(model, progress))?;
    if args.dry_run || args.budget.is_some() {
        let mut preview = with_progress(|progress| opened.preview(progress))?;
        if let Some(budget) = args.budget {
            preview.cost = preview.cost.within(budget.saturating_sub(started.elapsed()).as_secs_f64())?;
            let settings = Settings { images: preview.cost.images, precision: None, ..opened.settings };
            opened.settings = settings.with_draws(preview.cost.draws);
        }
        if args.dry_run {
            let text = || report::preview::text(&preview) + &findings(&preview.findings);
            return tell(&preview, text, args.shared.format).map(|()| ExitCode::Success);
        }
    }
    if let (Some(shard), Some(file)) = (args.shard, &args.part) {
        let part = with_progress(|progress| opened.part(shard, progress))?;
        return file::write(file, &part.to_npz()?).map(|()| ExitCode::Success);
    }
    let measurement = with_progress(|progress| opened.measure(&mut None, progress))?;
    print_record(measurement, args.replicates, args.shared.format)
}

/// One record, with its replicates or without; an undefined `R_f` is told and ends the command with a code of its own.
pub fn print_record(mut measurement: Measurement, replicates: bool, format: Format) -> Result<ExitCode> {
    if !replicates {
        measurement.forget_replicates();
    }
    tell(&measurement, || text(&document(&measurement)), format)?;
    match &measurement.undefined {
        None => Ok(ExitCode::Success),
        Some(undefined) => {
            let model = measurement.model.path.display();
            complain("error", &format!("model {model}: R_f is undefined: {}", undefined.reason));
            Ok(ExitCode::Undefined)
        }
    }
}
