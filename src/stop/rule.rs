//! A rule as people write it.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::monitor::{BY_EVIDENCE, Mode, Monitor};
use super::point::Point;
use crate::error::{Error, Result};
use crate::text;

/// What a rule goes by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// The run alone: so many checkpoints without improvement.
    #[default]
    Patience,
    /// The runs beside it: its best so far is worse than the median of their averages up to the same step.
    Median,
    /// The runs beside it: at steps that grow by a factor, only the best of those that came so far go on (asynchronous successive
    /// halving, stopping only).
    Halving,
}

/// When to stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// What it goes by: the run alone, or the runs in the same folder.
    pub kind: RuleKind,
    /// The quantity.
    pub monitor: Monitor,
    /// Which way is better.
    pub mode: Mode,
    /// Checkpoints without improvement after which the run should stop (`patience`).
    pub patience: u32,
    /// The least change that restores the patience: in the monitor's own units, or a share of the value to beat such as `"1%"`.
    pub min_delta: Change,
    /// Checkpoints after an improvement that do not count against the patience.
    pub cooldown: u32,
    /// Checkpoints of an earlier step are not judged; nor is step 0, but for `probe_error` and `val_error`. Of `halving`, the first
    /// step at which runs are compared.
    pub start_from: u64,
    /// Only improvements that also beat this value restore the patience.
    pub baseline: Option<f64>,
    /// A value worse than this stops the run at once.
    pub divergence_threshold: Option<f64>,
    /// NaN or infinite outputs, or an undefined monitor, stop the run at once.
    pub check_finite: bool,
    /// An improvement counts only if the paired bootstrap interval at this level says so: of `r_f`, of `invariance`, or for
    /// `predicted_error` of what the run's law goes by.
    pub confidence: Option<f64>,
    /// Other runs that must have come as far before a run is compared with them (`median`, `halving`).
    pub least_runs: u32,
    /// One of so many runs goes on at each comparison, and the steps between grow by as much (`halving`).
    pub reduction: u32,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            kind: RuleKind::default(),
            monitor: Monitor::default(),
            mode: Mode::default(),
            patience: 5,
            min_delta: Change::default(),
            cooldown: 0,
            start_from: 0,
            baseline: None,
            divergence_threshold: None,
            check_finite: true,
            confidence: None,
            least_runs: 3,
            reduction: 3,
        }
    }
}

impl Rule {
    /// Checks the numbers a user wrote down.
    ///
    /// # Errors
    /// `Setting` for a patience of zero, a negative or infinite `min_delta`, a confidence outside (0, 1) or on a monitor that keeps no
    /// replicates, values of a monitor that is not named, and keys that the kind has no use for.
    pub fn validated(mut self) -> Result<Self> {
        self.mode = self.mode.of(self.monitor);
        let finite = |value: Option<f64>| value.is_none_or(f64::is_finite);
        if self.patience == 0 {
            return Err(Error::setting("stop: patience", "1 or more", 0));
        }
        let delta = self.min_delta.number();
        if !(delta.is_finite() && delta >= 0.0) {
            return Err(Error::setting(
                "stop: min_delta",
                "zero, a positive number or a share such as 1%",
                self.min_delta,
            ));
        }
        if !finite(self.baseline) || !finite(self.divergence_threshold) {
            return Err(Error::setting("stop: baseline, divergence_threshold", "finite numbers", "another"));
        }
        if self.monitor == Monitor::Auto
            && (self.mode != Mode::Auto || self.baseline.is_some() || self.divergence_threshold.is_some())
        {
            let found = "none: it is chosen by what a run knows";
            return Err(Error::setting("stop: mode, baseline, divergence_threshold", "a monitor that is named", found));
        }
        if let Some(level) = self.confidence {
            if !(level > 0.0 && level < 1.0) {
                return Err(Error::setting("stop: confidence", "a level between 0 and 1, such as 0.95", level));
            }
            if !matches!(self.monitor, Monitor::RF | Monitor::Invariance | Monitor::PredictedError) {
                let expected = "r_f, invariance or predicted_error, which keep replicates";
                return Err(Error::setting("stop: confidence with monitor", expected, self.monitor));
            }
        }
        self.of_its_kind()
    }

    fn of_its_kind(self) -> Result<Self> {
        let usual = Self::default();
        if self.kind == RuleKind::Patience {
            if (self.least_runs, self.reduction) != (usual.least_runs, usual.reduction) {
                return Err(Error::setting(
                    "stop: least_runs, reduction",
                    "kind = \"median\" or \"halving\"",
                    "patience",
                ));
            }
            return Ok(self);
        }
        let own = (self.patience, self.cooldown, self.baseline, self.confidence);
        if own != (usual.patience, usual.cooldown, None, None) {
            return Err(Error::setting(
                "stop: patience, cooldown, baseline, confidence",
                "kind = \"patience\"",
                "another",
            ));
        }
        if self.monitor.is_in_record_only() {
            return Err(Error::setting(
                "stop: monitor across runs",
                "an error, r_f, d_f, g_f or invariance",
                self.monitor,
            ));
        }
        if self.least_runs == 0 {
            return Err(Error::setting("stop: least_runs", "1 or more", 0));
        }
        if self.kind == RuleKind::Halving && (self.start_from == 0 || self.reduction < 2) {
            let found = format!("start_from {}, reduction {}", self.start_from, self.reduction);
            return Err(Error::setting("stop: halving", "start_from of 1 or more and a reduction of 2 or more", found));
        }
        Ok(self)
    }

    /// The same with its monitor settled by what is known of a run.
    #[must_use]
    pub fn on(&self, history: &[Point]) -> Self {
        let is_known = |monitor: &Monitor| history.iter().any(|point| point.known(*monitor).is_some());
        let monitor = match self.monitor {
            Monitor::Auto => BY_EVIDENCE.into_iter().find(is_known).unwrap_or(Monitor::Auto),
            named => named,
        };
        Self { monitor, mode: self.mode.of(monitor), ..self.clone() }
    }

    /// Whether `value` is better than `than`, be it by little.
    pub fn is_better(&self, value: f64, than: f64) -> bool {
        match self.mode {
            Mode::Min | Mode::Auto => value < than,
            Mode::Max => value > than,
        }
    }

    /// Whether `value` is better than `than` by more than `min_delta`.
    pub fn is_improvement(&self, value: f64, than: f64) -> bool {
        let delta = self.min_delta.from(than);
        match self.mode {
            Mode::Min | Mode::Auto => value < than - delta,
            Mode::Max => value > than + delta,
        }
    }

    /// Why a value stops a run, whatever came before it.
    pub(super) fn at_once(&self, value: f64) -> Option<String> {
        if !value.is_finite() {
            let what = if self.monitor == Monitor::Auto { "the output".to_owned() } else { self.monitor.to_string() };
            return self.check_finite.then(|| format!("{what} is not finite"));
        }
        let threshold = self.divergence_threshold?;
        let diverged = match self.mode {
            Mode::Min | Mode::Auto => value > threshold,
            Mode::Max => value < threshold,
        };
        diverged.then(|| format!("{} is {value:.4}, beyond the divergence threshold {threshold}", self.monitor))
    }
}

/// `monitor=val_error,patience=5,min_delta=1%`, every key optional.
impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "keys and values such as monitor=val_error,patience=5,min_delta=1%";
        let rule: Self = text::of_pairs("--stop", expected, text)?;
        rule.validated()
    }
}
