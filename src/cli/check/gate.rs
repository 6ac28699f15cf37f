//! Measures networks, and their baseline beside them, until every limit is decided.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::limits::MAX_RISE;
use crate::check::{
    Against, Bound, Check, Checked, Ended, Limit, Look, Quantity, Verdict, check, look_level, looks, regression,
};
use crate::cli::terminal::with_progress;
use crate::error::{Error, ExitCode, Reach, Result};
use crate::event::{Answers, Code, Measurement, Saved, Severity, worst};
use crate::measure::Kept;
use crate::path;
use crate::plan::{Opened, Resolved, Setup};
use crate::small_file::json_fault;

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
        let mut text = first.to_vec();
        file.read_to_end(&mut text).map_err(Error::io(path, "read"))?;
        let expected = "a network, or a measurement that --save-baseline wrote";
        let damaged =
            |error| Error::setting("--baseline", expected, json_fault(&String::from_utf8_lossy(&text), &error));
        serde_json::from_slice(&text).map(Self::Saved).map_err(damaged)
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

    /// The comparison at a look that may spend `share` of the error, and what its limits say.
    fn compared(&self, network: &Measured, baseline: &Saved, share: f64) -> Result<(Against, Vec<Result<Check>>)> {
        let confidence = self.confidence_each();
        let level = look_level(confidence, share);
        let max_rise = self.limit(Quantity::ErrorRise).unwrap_or(MAX_RISE);
        let (measurement, answers) = network;
        let base = (&baseline.measurement, baseline.answers.as_ref());
        let against = Against::new((measurement, answers), base, level, max_rise)?;
        let held = |limit: &Limit| match limit {
            Limit { quantity: Quantity::Regression, bound: Bound::Max(max) | Bound::Min(max) } => {
                regression(measurement, &baseline.measurement, *max, (confidence, share))
            }
            limit => against.check(*limit, &measurement.model.path),
        };
        let mut checks: Vec<_> = self.limits.iter().map(held).collect();
        checks.extend(against.clear_rise(MAX_RISE).filter(|_| self.is_guarded).map(Ok));
        Ok((against, checks))
    }
}

type Measured = (Measurement, Answers);

/// The baseline's network, as far as it is measured.
#[derive(Default)]
struct Reference {
    opened: Option<Opened>,
    kept: Kept,
    /// By how many images were looked at.
    at: BTreeMap<usize, Saved>,
}

pub(super) struct Gate {
    setup: Setup,
    baseline: Option<Baseline>,
    reference: Reference,
    /// Images and draws that a precision came to: pairs need the same.
    resolved: Option<Resolved>,
    limits: Vec<Limit>,
    /// Codes of findings that do not fail a network.
    allowed: Vec<Code>,
    /// Whether a network may be decided by a part of the images.
    ends_early: bool,
}

impl Gate {
    pub fn new(
        setup: Setup,
        limits: Vec<Limit>,
        baseline: Option<Baseline>,
        allowed: Vec<Code>,
        ends_early: bool,
    ) -> Self {
        let (mut resolved, mut ends_early) = (None, ends_early && !setup.has_precision());
        if let Some(baseline @ Baseline { source: Source::Saved(saved), .. }) = &baseline {
            let Measurement { probe, settings, .. } = &saved.measurement;
            resolved = Some(Resolved { images: probe.images, draws: settings.draws });
            // Of a part of its images nothing is saved but the outputs.
            ends_early &= baseline.limit(Quantity::Regression).is_none();
        }
        Self { setup, baseline, reference: Reference::default(), resolved, limits, allowed, ends_early }
    }

    /// A network that cannot be measured costs only itself; its answers are for --save-baseline.
    pub fn checked(&mut self, model: &Path) -> Result<(Checked, Option<Answers>)> {
        let mut found = Found::default();
        let results = self.results(model, &mut found)?;
        let mut checked = Checked {
            path: path::text(model),
            verdict: None,
            checks: Vec::new(),
            ended: found.ended,
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

    /// Measures more images until the verdict is clear. What a look decides stands.
    fn results(&mut self, model: &Path, found: &mut Found) -> Result<Vec<Result<Check>>> {
        if self.baseline.is_none() {
            self.resolved = None;
        }
        let opened = match open(&self.setup, model) {
            Ok(opened) => opened,
            Err(error) => return Ok(vec![Err(error)]),
        };
        let all = opened.images();
        let looks = if self.ends_early { looks(all) } else { vec![Look { images: all, share: 1.0 }] };
        let (mut kept, mut decided) = (Kept::default(), Vec::<Check>::new());
        let mut results = Vec::new();
        for Look { images, share } in looks {
            let is_last = images == all;
            let measured = match measured(&opened, images, &mut kept, &mut self.resolved) {
                Ok(measured) => measured,
                Err(error) => return Ok(vec![Err(error)]),
            };
            // The record's own intervals count where all images are looked at.
            let share_of_limits = if is_last { 1.0 } else { share };
            results = self.limits.iter().map(|limit| check(&measured.0, *limit, share_of_limits)).collect();
            let mut may_end = !is_last;
            if let Some(baseline) = &self.baseline {
                let saved =
                    self.reference.saved(&baseline.source, &self.setup, (images, is_last), &mut self.resolved)?;
                let (against, checks) = baseline.compared(&measured, saved, share)?;
                // What a clear rise would fail is not passed while there is any.
                let has_risen = against.error.as_ref().is_some_and(|error| error.rise > 0.0);
                may_end &= !(baseline.is_guarded && has_risen) || checks.iter().any(falls_short);
                found.against = Some(against);
                results.extend(checks);
            }
            for check in results.iter_mut().flatten() {
                match decided.iter().find(|earlier| earlier.limit == check.limit) {
                    Some(earlier) => check.clone_from(earlier),
                    None if check.verdict != Verdict::Inconclusive => decided.push(check.clone()),
                    None => {}
                }
            }
            let is_missing = |earlier: &&Check| !results.iter().flatten().any(|check| check.limit == earlier.limit);
            let missing: Vec<_> = decided.iter().filter(is_missing).cloned().map(Ok).collect();
            results.extend(missing);
            // A part of the images may not tell classes in another order from chance: half of them name what is wrong.
            let is_wrong = worst(&measured.0.findings) == Some(Severity::Wrong);
            may_end &= !is_wrong || 2 * images >= all && results.iter().any(falls_short);
            found.measured = Some(measured);
            if may_end && is_clear(&results) {
                found.ended = Some(Ended { images, of: all });
                break;
            }
        }
        Ok(results)
    }
}

impl Reference {
    /// The baseline on the first `images`.
    fn saved<'a>(
        &'a mut self,
        source: &'a Source,
        setup: &Setup,
        (images, is_last): (usize, bool),
        resolved: &mut Option<Resolved>,
    ) -> Result<&'a Saved> {
        let path = match source {
            Source::Saved(saved) => return Ok(saved),
            Source::Network(path) => path,
        };
        let place = match self.at.entry(images) {
            Entry::Occupied(found) => return Ok(found.into_mut()),
            Entry::Vacant(place) => place,
        };
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => open(setup, path)?,
        };
        let (measurement, answers) = measured(&opened, images, &mut self.kept, resolved)?;
        if is_last {
            self.kept = Kept::default();
        } else {
            self.opened = Some(opened);
        }
        Ok(place.insert(Saved { measurement, answers: Some(answers) }))
    }
}

fn open(setup: &Setup, path: &Path) -> Result<Opened> {
    with_progress(|progress| setup.open(setup.read(path)?, progress))
}

fn measured(opened: &Opened, images: usize, kept: &mut Kept, resolved: &mut Option<Resolved>) -> Result<Measured> {
    with_progress(|progress| {
        if images == opened.images() {
            opened.measure_kept(kept, resolved, progress)
        } else {
            opened.measure_first(images, kept, progress)
        }
    })
}

/// What the last look found.
#[derive(Default)]
struct Found {
    measured: Option<Measured>,
    against: Option<Against>,
    ended: Option<Ended>,
}

fn falls_short(result: &Result<Check>) -> bool {
    matches!(result, Ok(check) if check.verdict == Verdict::FallsShort)
}

/// Whether more images can change no verdict: a network falls short by one limit, and holds by all.
fn is_clear(results: &[Result<Check>]) -> bool {
    let holds = |result: &Result<Check>| matches!(result, Ok(check) if check.verdict == Verdict::Holds);
    results.iter().any(falls_short) || results.iter().all(holds)
}
