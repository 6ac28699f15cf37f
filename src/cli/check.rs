//! `relstab check`: networks held to limits and to a baseline, for CI.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::measure::measure_file;
use super::setup::Shared;
use super::{Format, print, print_json};
use crate::check::{Checked, Limit, Quantity, Report, Verdict, check, looks, regression};
use crate::error::{Error, ExitCode, Reach, Result};
use crate::event::Measurement;
use crate::path;
use crate::plan::{Resolved, Setup};
use crate::report::check::{annotations, junit, markdown, text};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The networks, ONNX files
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    comparison: Comparison,
    /// Exit code 1 where a limit lies inside an interval, too
    #[arg(long)]
    strict: bool,
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
    shared: Shared,
}

/// A network falls short only if the whole interval of a quantity is beyond its limit.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[group(id = "limits", required = true, multiple = true)]
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

/// R_f beside that of another network, on the same images and draws.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Baseline")]
struct Comparison {
    /// A network, or a measurement that --save-baseline wrote
    #[arg(long, value_name = "FILE", requires = "max_regression")]
    baseline: Option<PathBuf>,
    /// Largest rise of R_f over the baseline's, such as 5%
    #[arg(long, value_name = "SHARE", requires = "baseline", value_parser = share, group = "limits")]
    max_regression: Option<f64>,
    /// Probability that a network whose R_f has risen by the limit does not fail
    #[arg(long, value_name = "LEVEL", default_value_t = 0.95)]
    confidence: f64,
    /// Write the measurement of the network, for a later --baseline
    #[arg(long, value_name = "FILE", conflicts_with = "baseline", group = "limits")]
    save_baseline: Option<PathBuf>,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let value = number.trim().parse::<f64>().map_err(|error| error.to_string())? * unit;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("expected zero or more, such as 5%".to_owned()) }
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

pub fn run(args: &Args) -> Result<ExitCode> {
    let confidence = args.comparison.confidence;
    if !(confidence > 0.5 && confidence < 1.0) {
        return Err(Error::setting("--confidence", "a level between 0.5 and 1, such as 0.95", confidence));
    }
    if args.comparison.save_baseline.is_some() && args.models.len() > 1 {
        return Err(Error::setting("--save-baseline", "one network", args.models.len()));
    }
    let limits = args.limits.all()?;
    let setup = args.shared.plan_for(&args.models[0])?.load()?;
    let mut gate = Gate { baseline: Baseline::new(&args.comparison)?, looks: Vec::new(), limits };
    gate.looks = gate.looks_at(setup);
    let models = args.models.iter().map(|model| gate.checked(model)).collect::<Result<Vec<_>>>()?;
    if let (Some(path), [model]) = (&args.comparison.save_baseline, models.as_slice()) {
        save(path, model)?;
    }
    let name = args.comparison.baseline.as_deref().map(path::text);
    let models = models.into_iter().map(without_replicates).collect();
    let report = Report::new(models, name);
    tell(args, &report)?;
    let fails = if args.strict { Verdict::Inconclusive } else { Verdict::FallsShort };
    if report.verdict >= Some(fails) {
        return Ok(ExitCode::FallsShort);
    }
    let untold = report.models.iter().map(|model| model.code).find(|code| *code != ExitCode::Success);
    Ok(untold.unwrap_or(ExitCode::Success))
}

/// What networks are compared with.
struct Baseline {
    source: Source,
    max: f64,
    confidence: f64,
}

enum Source {
    Network(PathBuf),
    Saved(Box<Measurement>),
}

impl Baseline {
    fn new(args: &Comparison) -> Result<Option<Self>> {
        let (Some(path), Some(max)) = (&args.baseline, args.max_regression) else { return Ok(None) };
        Ok(Some(Self { source: Source::open(path)?, max, confidence: args.confidence }))
    }
}

impl Source {
    /// A saved measurement begins as every JSON object does, and no ONNX file so.
    fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path, "open"))?;
        let mut first = [0];
        if file.read(&mut first).map_err(Error::io(path, "read"))? == 0 || first != *b"{" {
            return Ok(Self::Network(path.to_owned()));
        }
        let text = fs::read(path).map_err(Error::io(path, "read"))?;
        let expected = "a network, or a measurement that --save-baseline wrote";
        let damaged = |error: serde_json::Error| Error::setting("--baseline", expected, error);
        serde_json::from_slice(&text).map(Self::Saved).map_err(damaged)
    }
}

/// The measuring at each look, fewest draws first.
struct Look {
    setup: Setup,
    baseline: Option<Measurement>,
    /// Images and draws that a precision came to: pairs need the same.
    resolved: Option<Resolved>,
}

struct Gate {
    baseline: Option<Baseline>,
    looks: Vec<Look>,
    limits: Vec<Limit>,
}

impl Gate {
    fn looks_at(&self, setup: Setup) -> Vec<Look> {
        match &self.baseline {
            None => vec![Look { setup, baseline: None, resolved: None }],
            Some(Baseline { source: Source::Saved(saved), .. }) => {
                let resolved = Resolved { images: saved.probe.images, draws: saved.settings.draws };
                vec![Look { setup, baseline: Some((**saved).clone()), resolved: Some(resolved) }]
            }
            Some(Baseline { source: Source::Network(_), .. }) => {
                let look = |draws| Look { setup: setup.with_draws(draws), baseline: None, resolved: None };
                looks(setup.draws()).into_iter().map(look).collect()
            }
        }
    }

    /// A network that cannot be measured costs only itself.
    fn checked(&mut self, model: &Path) -> Result<Checked> {
        let mut checked = Checked {
            path: path::text(model),
            verdict: None,
            checks: Vec::new(),
            error: None,
            code: ExitCode::Success,
            measurement: None,
        };
        for result in self.results(model, &mut checked.measurement)? {
            match result {
                Ok(check) => checked.checks.push(check),
                Err(error) if error.reach() == Reach::Checkpoint => {
                    checked.code = error.exit_code();
                    let told = checked.error.take().map_or_else(String::new, |earlier| format!("{earlier}; "));
                    checked.error = Some(told + &error.one_line());
                }
                Err(error) => return Err(error),
            }
        }
        checked.verdict = checked.checks.iter().map(|check| check.verdict).max();
        Ok(checked)
    }

    /// Measures with more draws until everything is decided, the comparison for good; the limits count at the last of them.
    fn results(&mut self, model: &Path, kept: &mut Option<Measurement>) -> Result<Vec<Result<crate::check::Check>>> {
        let count = self.looks.len();
        let mut results = Vec::new();
        let mut decided = None;
        for Look { setup, baseline: reference, resolved } in &mut self.looks {
            if self.baseline.is_none() {
                *resolved = None;
            }
            let mut measure = |path: &Path| measure_file(setup, path, resolved);
            let measurement = match measure(model) {
                Ok(measurement) => measurement,
                Err(error) => return Ok(vec![Err(error)]),
            };
            results = self.limits.iter().map(|limit| check(&measurement, *limit)).collect();
            if let Some(Baseline { source, max, confidence }) = &self.baseline {
                if let (None, Source::Network(path)) = (&*reference, source) {
                    *reference = Some(measure(path)?);
                }
                let compare = |baseline| regression(&measurement, baseline, *max, (*confidence, count));
                match decided.take().or_else(|| reference.as_ref().map(compare)) {
                    Some(Ok(check)) => {
                        decided = (check.verdict != Verdict::Inconclusive).then(|| Ok(check.clone()));
                        results.push(Ok(check));
                    }
                    other => results.extend(other),
                }
            }
            *kept = Some(measurement);
            if !results.iter().any(|result| matches!(result, Ok(check) if check.verdict == Verdict::Inconclusive)) {
                break;
            }
        }
        Ok(results)
    }
}

fn without_replicates(mut model: Checked) -> Checked {
    if let Some(measurement) = &mut model.measurement {
        measurement.forget_replicates();
    }
    model
}

fn save(path: &Path, model: &Checked) -> Result<()> {
    let Some(measurement) = &model.measurement else { return Ok(()) };
    write(path, &(serde_json::to_string(measurement).unwrap_or_default() + "\n"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(path, "write"))
}

/// Prints the report and writes the files that were asked for.
fn tell(args: &Args, report: &Report) -> Result<()> {
    if let Some(path) = &args.json {
        write(path, &(serde_json::to_string_pretty(report).unwrap_or_default() + "\n"))?;
    }
    if let Some(path) = &args.junit {
        let fail = |message: String| Error::io(path, "write")(std::io::Error::other(message));
        write(path, &junit(report).map_err(fail)?)?;
    }
    if let Some(path) = &args.markdown {
        write(path, &markdown(report))?;
    }
    if let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from) {
        let append = || File::options().create(true).append(true).open(&path)?.write_all(markdown(report).as_bytes());
        append().map_err(Error::io(&path, "write"))?;
    }
    match args.shared.format {
        Format::Text if env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") => {
            print(&(text(report) + &annotations(report)))
        }
        Format::Text => print(&text(report)),
        Format::Json => print_json(report),
    }
}
