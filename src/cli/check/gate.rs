//! Measures networks, and their baseline beside them, until every limit is decided.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::limits::MAX_RISE;
use crate::check::{Against, Bound, Check, Checked, Limit, Quantity, Verdict, check, look_level, looks, regression};
use crate::cli::terminal::with_progress;
use crate::error::{Error, ExitCode, Reach, Result};
use crate::event::{Answers, Code, Measurement, Saved};
use crate::path;
use crate::plan::{Resolved, Setup};

/// What networks are compared with.
pub(super) struct Baseline {
    pub source: Source,
    /// What the comparison is held to.
    pub limits: Vec<Limit>,
    /// Probability that no network at its limits fails by the comparison.
    pub confidence: f64,
    /// How many networks that speaks of.
    pub networks: usize,
    /// Whether a clear rise of the error fails though no limit was set on it.
    pub is_guarded: bool,
}

pub(super) enum Source {
    Network(PathBuf),
    Saved(Box<Saved>),
}

impl Source {
    /// A saved measurement begins as every JSON object does, and no ONNX file so.
    pub fn open(path: &Path) -> Result<Self> {
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

    fn saved(&self, measure: impl FnOnce(&Path) -> Result<Measured>) -> Result<Saved> {
        match self {
            Self::Saved(saved) => Ok((**saved).clone()),
            Self::Network(path) => {
                let (measurement, answers) = measure(path)?;
                Ok(Saved { measurement, answers: Some(answers) })
            }
        }
    }
}

impl Baseline {
    /// The confidence of each of the tests that are made, which share what may go wrong (Bonferroni).
    fn confidence_each(&self) -> f64 {
        let tests = self.networks * (self.limits.len() + usize::from(self.is_guarded));
        1.0 - (1.0 - self.confidence) / tests.max(1) as f64
    }

    fn limit(&self, quantity: Quantity) -> Option<f64> {
        let limit = self.limits.iter().find(|limit| limit.quantity == quantity)?;
        let (Bound::Max(bound) | Bound::Min(bound)) = limit.bound;
        Some(bound)
    }

    /// The comparison of outputs, and what its limits say.
    fn outputs(&self, network: &Measured, baseline: &Saved) -> Result<(Against, Vec<Result<Check>>)> {
        let level = look_level(self.confidence_each(), 1);
        let max_rise = self.limit(Quantity::ErrorRise).unwrap_or(MAX_RISE);
        let (measurement, answers) = network;
        let base = (&baseline.measurement, baseline.answers.as_ref());
        let against = Against::new((measurement, answers), base, level, max_rise)?;
        let held = self.limits.iter().filter(|limit| limit.quantity != Quantity::Regression);
        let mut checks: Vec<_> = held.map(|limit| against.check(*limit, &measurement.model.path)).collect();
        checks.extend(against.clear_rise(MAX_RISE).filter(|_| self.is_guarded).map(Ok));
        Ok((against, checks))
    }
}

type Measured = (Measurement, Answers);

/// The measuring at each look, fewest draws first.
struct Look {
    setup: Setup,
    baseline: Option<Saved>,
    /// Images and draws that a precision came to: pairs need the same.
    resolved: Option<Resolved>,
}

pub(super) struct Gate {
    baseline: Option<Baseline>,
    looks: Vec<Look>,
    limits: Vec<Limit>,
    /// Codes of findings that do not fail a network.
    allowed: Vec<Code>,
}

impl Gate {
    pub fn new(setup: Setup, limits: Vec<Limit>, baseline: Option<Baseline>, allowed: Vec<Code>) -> Self {
        let looks = match &baseline {
            Some(Baseline { source: Source::Saved(saved), .. }) => {
                let Measurement { probe, settings, .. } = &saved.measurement;
                let resolved = Resolved { images: probe.images, draws: settings.draws };
                vec![Look { setup, baseline: None, resolved: Some(resolved) }]
            }
            // Outputs do not depend on draws: more looks are for R_f.
            Some(network) if network.limit(Quantity::Regression).is_some() => {
                let look = |draws| Look { setup: setup.with_draws(draws), baseline: None, resolved: None };
                looks(setup.draws()).into_iter().map(look).collect()
            }
            _ => vec![Look { setup, baseline: None, resolved: None }],
        };
        Self { baseline, looks, limits, allowed }
    }

    /// A network that cannot be measured costs only itself; its answers are for --save-baseline.
    pub fn checked(&mut self, model: &Path) -> Result<(Checked, Option<Answers>)> {
        let mut found = Found::default();
        let results = self.results(model, &mut found)?;
        let mut checked = Checked {
            path: path::text(model),
            verdict: None,
            checks: Vec::new(),
            against: found.against,
            allowed: self.allowed.clone(),
            error: None,
            code: ExitCode::Success,
            measurement: None,
        };
        for result in results {
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
        let (measurement, answers) = found.measured.unzip();
        checked.measurement = measurement;
        if checked.is_wrong() {
            checked.verdict = Some(Verdict::FallsShort);
        }
        Ok((checked, answers))
    }

    /// Measures with more draws until everything is decided, the comparison of `R_f` for good; the limits count at the last of
    /// them.
    fn results(&mut self, model: &Path, found: &mut Found) -> Result<Vec<Result<Check>>> {
        let count = self.looks.len();
        let mut results = Vec::new();
        let mut decided = None;
        for Look { setup, baseline: reference, resolved } in &mut self.looks {
            if self.baseline.is_none() {
                *resolved = None;
            }
            let mut measure = |path: &Path| {
                with_progress(|progress| {
                    setup.open(setup.read(path)?, progress)?.measure_with_answers(resolved, progress)
                })
            };
            let measured = match measure(model) {
                Ok(measured) => measured,
                Err(error) => return Ok(vec![Err(error)]),
            };
            results = self.limits.iter().map(|limit| check(&measured.0, *limit)).collect();
            let reference = match (&self.baseline, &mut *reference) {
                (None, _) => None,
                (Some(baseline), Some(reference)) => Some((baseline, &*reference)),
                (Some(baseline), none) => Some((baseline, &*none.insert(baseline.source.saved(measure)?))),
            };
            if let Some((baseline, reference)) = reference
                && let Some(max) = baseline.limit(Quantity::Regression)
            {
                let confidence = baseline.confidence_each();
                let compare = || regression(&measured.0, &reference.measurement, max, (confidence, count));
                let result = decided.take().map_or_else(compare, Ok);
                decided = result.as_ref().ok().filter(|check| check.verdict != Verdict::Inconclusive).cloned();
                results.push(result);
            }
            let is_open = results.iter().any(is_open);
            if let Some((baseline, reference)) = reference {
                let (against, checks) = baseline.outputs(&measured, reference)?;
                found.against = Some(against);
                results.extend(checks);
            }
            found.measured = Some(measured);
            if !is_open {
                break;
            }
        }
        Ok(results)
    }
}

/// What the last look found.
#[derive(Default)]
struct Found {
    measured: Option<Measured>,
    against: Option<Against>,
}

fn is_open(result: &Result<Check>) -> bool {
    matches!(result, Ok(check) if check.verdict == Verdict::Inconclusive)
}
