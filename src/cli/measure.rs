//! `relstab measure`: one network, once.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::setup::Shared;
use super::{Format, complain, print, print_json};
use crate::error::{ExitCode, Result};
use crate::event::Measurement;
use crate::measure::{Preview, Progress};
use crate::plan::{Resolved, Setup};
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
    #[arg(long, value_name = "TIME", value_parser = super::duration, conflicts_with = "precision")]
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
            (opened.settings.images, opened.settings.draws) = (preview.cost.images, preview.cost.draws);
            opened.settings.precision = None;
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
pub(super) fn print_preview(preview: &Preview, format: Format) -> Result<ExitCode> {
    match format {
        Format::Text => print(&report::preview::text(preview))?,
        Format::Json => print_json(preview)?,
    }
    Ok(ExitCode::Success)
}

/// Reads and measures one network behind a bar; `resolved` as in [`Setup::measure`].
pub(super) fn measure_file(setup: &Setup, path: &Path, resolved: &mut Option<Resolved>) -> Result<Measurement> {
    with_progress(|progress| setup.measure(setup.read(path)?, resolved, progress))
}

/// Runs `work` behind a bar on a terminal, behind nothing in a pipe.
pub(super) fn with_progress<T>(work: impl FnOnce(Progress) -> T) -> T {
    let bar = progress_bar();
    let result = work(&|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    result
}

fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} images, {eta} left");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
