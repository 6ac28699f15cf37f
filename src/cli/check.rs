//! `relstab check`: networks held to limits, for CI.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::measure::with_progress;
use super::setup::Shared;
use super::{Format, print, print_json};
use crate::check::{Check, Limit, Quantity, Verdict, check};
use crate::config::Config;
use crate::error::{Error, ExitCode, Reach, Result};
use crate::event::Measurement;
use crate::path;
use crate::plan::Setup;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The networks, ONNX files
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// Exit code 1 where a limit lies inside an interval, too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    shared: Shared,
}

/// A network falls short only if the whole interval of a quantity is beyond its limit.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[group(required = true, multiple = true)]
struct Limits {
    /// Largest relative stability R_f
    #[arg(long = "max-rf", value_name = "X")]
    rf: Option<f64>,
    /// Largest predicted error, a fraction; needs a law
    #[arg(long = "max-predicted-error", value_name = "SHARE")]
    predicted_error: Option<f64>,
    /// Largest error on the probe images, a fraction; needs labels
    #[arg(long = "max-probe-error", value_name = "SHARE")]
    probe_error: Option<f64>,
    /// Largest change under deformation D_f
    #[arg(long = "max-df", value_name = "X")]
    df: Option<f64>,
    /// Largest change under noise G_f
    #[arg(long = "max-gf", value_name = "X")]
    gf: Option<f64>,
}

impl Limits {
    fn all(&self) -> Result<Vec<Limit>> {
        let given = [
            ("--max-rf", Quantity::RF, self.rf),
            ("--max-predicted-error", Quantity::PredictedError, self.predicted_error),
            ("--max-probe-error", Quantity::ProbeError, self.probe_error),
            ("--max-df", Quantity::DF, self.df),
            ("--max-gf", Quantity::GF, self.gf),
        ];
        let mut limits = Vec::new();
        for (name, quantity, max) in given {
            let Some(max) = max else { continue };
            if !(max.is_finite() && max >= 0.0) {
                return Err(Error::setting(name, "zero or a positive number", max));
            }
            limits.push(Limit { quantity, max });
        }
        Ok(limits)
    }
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// The worst of those that could be told; null if none could.
    verdict: Option<Verdict>,
    models: Vec<Checked>,
}

#[derive(Debug, Serialize)]
struct Checked {
    path: String,
    verdict: Option<Verdict>,
    checks: Vec<Check>,
    /// Why it could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    code: ExitCode,
    measurement: Option<Measurement>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let limits = args.limits.all()?;
    let folder = args.models.first().and_then(|model| model.parent()).unwrap_or(Path::new(""));
    // Without --probe the run that the first network belongs to says what to measure on.
    let config = if args.shared.probe.is_none() { Config::read(folder)? } else { Config::default() };
    let setup = args.shared.plan(&config, folder)?.load()?;
    let models = args.models.iter().map(|model| checked(&setup, model, &limits)).collect::<Result<Vec<_>>>()?;
    let report = Report { schema: "relstab.check/1", verdict: models.iter().filter_map(|m| m.verdict).max(), models };
    match args.shared.format {
        Format::Text => print(&text(&report))?,
        Format::Json => print_json(&report, true)?,
    }
    let fails = if args.strict { Verdict::Inconclusive } else { Verdict::FallsShort };
    if report.verdict >= Some(fails) {
        return Ok(ExitCode::FallsShort);
    }
    let untold = report.models.iter().map(|model| model.code).find(|code| *code != ExitCode::Success);
    Ok(untold.unwrap_or(ExitCode::Success))
}

/// A network that cannot be measured costs only itself.
fn checked(setup: &Setup, model: &Path, limits: &[Limit]) -> Result<Checked> {
    let mut checked = Checked {
        path: path::text(model),
        verdict: None,
        checks: Vec::new(),
        error: None,
        code: ExitCode::Success,
        measurement: None,
    };
    let results = match with_progress(|progress| setup.measure(setup.read(model)?, &mut None, progress)) {
        Ok(mut measurement) => {
            measurement.replicates_log_r_f = None;
            let results = limits.iter().map(|limit| check(&measurement, *limit)).collect();
            checked.measurement = Some(measurement);
            results
        }
        Err(error) => vec![Err(error)],
    };
    for result in results {
        match result {
            Ok(check) => checked.checks.push(check),
            Err(error) if error.reach() == Reach::Checkpoint => {
                (checked.code, checked.error) = (error.exit_code(), Some(error.one_line()));
            }
            Err(error) => return Err(error),
        }
    }
    checked.verdict = checked.checks.iter().map(|check| check.verdict).max();
    Ok(checked)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for model in &report.models {
        let verdict = match (model.verdict, &model.error) {
            (Some(Verdict::FallsShort), _) | (_, None) => model.verdict.map(|verdict| verdict.to_string()),
            (_, Some(_)) => None,
        };
        text += &format!("{}: {}\n", model.path, verdict.unwrap_or_else(|| "could not tell".to_owned()).to_lowercase());
        for Check { limit, value, low, high, verdict } in &model.checks {
            let interval = match (low, high) {
                (Some(low), Some(high)) => format!("[{low:.4}, {high:.4}]"),
                _ => "(the law has no interval)".to_owned(),
            };
            let (name, verdict) = (limit.quantity.to_string(), verdict.to_string().to_lowercase());
            text += &format!("  {name:<16} {value:.4} {interval:<20} at most {:<8} {verdict}\n", limit.max);
        }
        if let Some(error) = &model.error {
            text += &format!("  {error}\n");
        }
    }
    text
}
