//! `relstab check`: networks held to limits and to a baseline, for CI.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

mod gate;
mod limits;

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::flags::Shared;
use super::terminal::{self as output, Format, print};
use crate::check::{Checked, Quantity, Report, Verdict};
use crate::error::{Error, ExitCode, Result};
use crate::event::{Code, Saved};
use crate::path;
use crate::predict::Law;
use crate::report::check::document;
use crate::report::{junit, markdown, terminal};
use gate::{Baseline, Gate, Source};
use limits::{Comparison, Limits};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The networks, ONNX files
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    /// Exit code 1 where a limit lies inside an interval and where anything is doubtful, too
    #[arg(long)]
    strict: bool,
    /// A kind of finding that is wrong and does not fail the check, such as near_chance
    #[arg(long, value_name = "CODE", value_parser = allowed)]
    allow: Vec<Code>,
    /// Write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a table in Markdown; under GitHub Actions it also goes to the job's summary
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write what --format json prints
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    comparison: Comparison,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let Comparison { confidence, save_baseline, .. } = &args.comparison;
    if !(*confidence > 0.5 && *confidence < 1.0) {
        return Err(Error::setting("--confidence", "a level between 0.5 and 1, such as 0.95", confidence));
    }
    if save_baseline.is_some() && args.models.len() > 1 {
        return Err(Error::setting("--save-baseline", "one network", args.models.len()));
    }
    let setup = args.shared.plan_for(&args.models[0])?.load()?;
    let limits = args.limits.all();
    if limits.iter().any(|limit| limit.quantity == Quantity::PredictedError) {
        has_interval(setup.law().map(|chosen| &chosen.law))?;
    }
    let baseline = baseline(args, setup.has_labels())?;
    // What is saved is of all images.
    let mut gate = Gate::new(setup, limits, baseline, args.allow.clone(), save_baseline.is_none());
    let mut models = Vec::new();
    for model in &args.models {
        let (checked, answers) = gate.checked(model)?;
        if let (Some(path), Some(measurement)) = (save_baseline, &checked.measurement) {
            let saved = Saved { measurement: measurement.clone(), answers };
            write(path, &(serde_json::to_string(&saved).unwrap_or_default() + "\n"))?;
        }
        models.push(without_replicates(checked));
    }
    let name = args.comparison.baseline.as_deref().map(path::text);
    let false_alarms = name.is_some().then_some(1.0 - confidence);
    let report = Report::new(models, name, false_alarms);
    tell(args, &report)?;
    let fails = if args.strict { Verdict::Inconclusive } else { Verdict::FallsShort };
    let is_doubtful = args.strict && report.models.iter().any(Checked::is_doubtful);
    if report.verdict >= Some(fails) || is_doubtful {
        return Ok(ExitCode::FallsShort);
    }
    let untold = report.models.iter().map(|model| model.code).find(|code| *code != ExitCode::Success);
    Ok(untold.unwrap_or(ExitCode::Success))
}

fn allowed(text: &str) -> std::result::Result<Code, String> {
    let failing: Vec<_> = Code::failing().collect();
    let names = || failing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    failing.iter().copied().find(|code| code.to_string() == text).ok_or_else(|| format!("expected one of {}", names()))
}

/// Refuses a limit that nothing could ever fail.
fn has_interval(law: Option<&Law>) -> Result<()> {
    let Some(law) = law.filter(|law| !law.has_interval()) else { return Ok(()) };
    let expected =
        "a law with an interval, such as fashionmnist-c3 or one that relstab calibrate saves, or another limit";
    Err(Error::setting("--max-predicted-error", expected, format!("law {}, whose spread is unknown", law.name)))
}

fn baseline(args: &Args, has_labels: bool) -> Result<Option<Baseline>> {
    let Some(path) = &args.comparison.baseline else { return Ok(None) };
    let limits = args.comparison.all(has_labels)?;
    Ok(Some(Baseline {
        source: Source::open(path)?,
        is_guarded: has_labels && limits.iter().all(|limit| limit.quantity != Quantity::ErrorRise),
        limits,
        confidence: args.comparison.confidence,
        networks: args.models.len(),
    }))
}

fn without_replicates(mut model: Checked) -> Checked {
    if let Some(measurement) = &mut model.measurement {
        measurement.forget_replicates();
    }
    model
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(path, "write"))
}

/// Prints the report and writes the files that were asked for.
fn tell(args: &Args, report: &Report) -> Result<()> {
    if let Some(path) = &args.json {
        write(path, &output::line(serde_json::to_string_pretty(report))?)?;
    }
    let document = document(report).short();
    if let Some(path) = &args.junit {
        let fail = |message: String| Error::io(path, "write")(std::io::Error::other(message));
        write(path, &junit::xml(&document).map_err(fail)?)?;
    }
    let markdown = || markdown::text(&document, 3, None);
    if let Some(path) = &args.markdown {
        write(path, &markdown())?;
    }
    if let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from) {
        let append = || File::options().create(true).append(true).open(&path)?.write_all(markdown().as_bytes());
        append().map_err(Error::io(&path, "write"))?;
    }
    match args.shared.format {
        Format::Text if env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") => {
            print(&(terminal::text(&document) + &junit::annotations(&document)))
        }
        format => output::tell(report, || terminal::text(&document), format),
    }
}
