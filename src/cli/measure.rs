//! `relstab measure`: one network, once.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::setup::Shared;
use super::{Format, complain, print, print_json};
use crate::config::Config;
use crate::error::{ExitCode, Result};
use crate::event::Measurement;
use crate::measure::Progress;
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
    #[command(flatten)]
    shared: Shared,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let folder = args.model.parent().unwrap_or(Path::new(""));
    // Without --probe the run that the network belongs to says what to measure it on.
    let config = if args.shared.probe.is_none() { Config::read(folder)? } else { Config::default() };
    let setup = args.shared.plan(&config, folder)?.load()?;
    let mut measurement = measure_file(&setup, &args.model, &mut None)?;
    if !args.replicates {
        measurement.replicates_log_r_f = None;
    }
    match args.shared.format {
        Format::Text => print(&report::text(&measurement))?,
        Format::Json => print_json(&measurement, true)?,
    }
    match &measurement.undefined {
        None => Ok(ExitCode::Success),
        Some(undefined) => {
            complain("error", &format!("model {}: R_f is undefined: {}", args.model.display(), undefined.reason));
            Ok(ExitCode::Undefined)
        }
    }
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
