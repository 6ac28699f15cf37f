//! `relstab measure`: one network, once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::flags::Shared;
use super::terminal::{Format, complain, print, print_json, with_progress};
use crate::error::{ExitCode, Result};
use crate::measure::{Preview, Settings};
use crate::report;

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
            return print_preview(&preview, args.shared.format);
        }
    }
    let mut measurement = with_progress(|progress| opened.measure(&mut None, progress))?;
    if !args.replicates {
        measurement.forget_replicates();
    }
    match args.shared.format {
        Format::Text => print(&report::text(&measurement))?,
        Format::Json => print_json(&measurement)?,
    }
    match &measurement.undefined {
        None => Ok(ExitCode::Success),
        Some(undefined) => {
            complain("error", &format!("model {}: R_f is undefined: {}", args.model.display(), undefined.reason));
            Ok(ExitCode::Undefined)
        }
    }
}

/// What a network sees, in the format asked for.
fn print_preview(preview: &Preview, format: Format) -> Result<ExitCode> {
    match format {
        Format::Text => print(&(report::preview::text(preview) + &report::findings(&preview.findings)))?,
        Format::Json => print_json(preview)?,
    }
    Ok(ExitCode::Success)
}
