//! Early-stopping rules, in the words of Keras and Lightning: pure functions over a run's history.

#[cfg(test)]
mod tests;

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::estimate::Comparison;

/// What a rule looks at.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Monitor {
    /// Relative stability.
    #[default]
    #[strum(serialize = "r_f")]
    RF,
    /// What the run's law makes of it.
    PredictedError,
    /// Change under deformation.
    #[strum(serialize = "d_f")]
    DF,
    /// Change under noise.
    #[strum(serialize = "g_f")]
    GF,
    /// Effective invariance under deformation; more is better.
    Invariance,
    /// Average confidence on the probe images; more is better.
    Confidence,
    /// Share of deformed images in the class of the clean one; more is better.
    Agreement,
    /// Error on the labelled probe set.
    ProbeError,
    /// Error that the training loop knows.
    ValError,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As the monitor has it: more is better of invariance, confidence and agreement, less of the others.
    #[default]
    Auto,
    /// Less is better.
    Min,
    /// More is better.
    Max,
}

impl Monitor {
    /// Whether it can be known without labels: then it says nothing of a network before training, whose stabilities are
    /// small by accident, and such a checkpoint is neither judged nor best.
    fn is_label_free(self) -> bool {
        !matches!(self, Self::ProbeError | Self::ValError)
    }

    /// Whether it is one of a classifier's scores.
    #[must_use]
    pub fn is_score(self) -> bool {
        matches!(self, Self::Invariance | Self::Confidence | Self::Agreement)
    }
}

/// When to stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The quantity.
    pub monitor: Monitor,
    /// Which way is better.
    pub mode: Mode,
    /// Checkpoints without improvement after which the run should stop.
    pub patience: u32,
    /// The least change that counts as an improvement, in the monitor's own units.
    pub min_delta: f64,
    /// Checkpoints after an improvement that do not count against the patience.
    pub cooldown: u32,
    /// Checkpoints of an earlier step are not judged; nor is step 0, but for `probe_error` and `val_error`.
    pub start_from: u64,
    /// Only improvements that also beat this value restore the patience.
    pub baseline: Option<f64>,
    /// A value worse than this stops the run at once.
    pub divergence_threshold: Option<f64>,
    /// NaN or infinite outputs, or an undefined monitor, stop the run at once.
    pub check_finite: bool,
    /// An improvement counts only if the paired bootstrap interval of `R_f` at this level says so (`r_f`, and `predicted_error` by a
    /// law on `R_f`).
    pub confidence: Option<f64>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            monitor: Monitor::default(),
            mode: Mode::default(),
            patience: 5,
            min_delta: 0.0,
            cooldown: 0,
            start_from: 0,
            baseline: None,
            divergence_threshold: None,
            check_finite: true,
            confidence: None,
        }
    }
}

impl Rule {
    /// Checks the numbers a user wrote down.
    ///
    /// # Errors
    /// `Setting` for a patience of zero, a negative or infinite `min_delta`, a confidence outside (0, 1) or on a monitor
    /// that keeps no replicates.
    pub fn validated(mut self) -> Result<Self> {
        self.mode = self.direction();
        let finite = |value: Option<f64>| value.is_none_or(f64::is_finite);
        if self.patience == 0 {
            return Err(Error::setting("stop: patience", "1 or more", 0));
        }
        if !(self.min_delta.is_finite() && self.min_delta >= 0.0) {
            return Err(Error::setting("stop: min_delta", "zero or a positive number", self.min_delta));
        }
        if !finite(self.baseline) || !finite(self.divergence_threshold) {
            return Err(Error::setting("stop: baseline, divergence_threshold", "finite numbers", "another"));
        }
        if let Some(level) = self.confidence {
            if !(level > 0.0 && level < 1.0) {
                return Err(Error::setting("stop: confidence", "a level between 0 and 1, such as 0.95", level));
            }
            if !matches!(self.monitor, Monitor::RF | Monitor::PredictedError) {
                let expected = "r_f or predicted_error, which keep replicates";
                return Err(Error::setting("stop: confidence with monitor", expected, self.monitor));
            }
        }
        Ok(self)
    }

    /// Its mode, never `Auto`.
    fn direction(&self) -> Mode {
        match self.mode {
            Mode::Auto if self.monitor.is_score() => Mode::Max,
            Mode::Auto => Mode::Min,
            mode => mode,
        }
    }

    /// Whether `value` is better than `than` by more than `min_delta`.
    fn is_better(&self, value: f64, than: f64) -> bool {
        match self.direction() {
            Mode::Min | Mode::Auto => value < than - self.min_delta,
            Mode::Max => value > than + self.min_delta,
        }
    }
}

/// `monitor=r_f,patience=5,min_delta=0.01`, every key optional.
impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let expected = "keys and values such as monitor=r_f,patience=5,min_delta=0.01";
        let mut lines = String::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| Error::setting("--stop", expected, part))?;
            let value = value.trim();
            let is_word = value.starts_with(|c: char| c.is_ascii_alphabetic()) && value != "true" && value != "false";
            let quote = if is_word { "\"" } else { "" };
            lines.push_str(&format!("{} = {quote}{value}{quote}\n", key.trim()));
        }
        let rule: Self = toml::from_str(&lines)
            .map_err(|error| Error::setting("--stop", expected, format!("{text} ({})", error.message().trim())))?;
        rule.validated()
    }
}

/// A classifier's scores.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores {
    /// Effective invariance under deformation.
    pub invariance: Option<f64>,
    /// Average confidence on the probe images.
    pub confidence: Option<f64>,
    /// Share of deformed images in the class of the clean one.
    pub agreement: Option<f64>,
}

/// One checkpoint of a run's history; a monitor that is absent (no label, no law, no annotation yet) is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Names the checkpoint to the caller and to the comparison.
    pub id: i64,
    /// The checkpoint's file.
    pub path: String,
    /// Optimiser steps taken.
    pub step: Option<u64>,
    /// Relative stability; NaN where undefined.
    pub r_f: Option<f64>,
    /// Change under deformation.
    pub d_f: Option<f64>,
    /// Change under noise.
    pub g_f: Option<f64>,
    /// What a classifier tells without labels, where a rule asks for it.
    pub scores: Scores,
    /// What the run's law, one and the same for the whole history, makes of `r_f`.
    pub predicted_error: Option<f64>,
    /// Error on the labelled probe set.
    pub probe_error: Option<f64>,
    /// Error that the training loop knows.
    pub val_error: Option<f64>,
    /// Whether the network's outputs were finite.
    pub is_finite: bool,
}

impl Point {
    fn value(&self, monitor: Monitor) -> Option<f64> {
        if !self.is_finite {
            return Some(f64::NAN);
        }
        match monitor {
            Monitor::RF => self.r_f,
            Monitor::PredictedError => self.predicted_error,
            Monitor::DF => self.d_f,
            Monitor::GF => self.g_f,
            Monitor::Invariance => self.scores.invariance,
            Monitor::Confidence => self.scores.confidence,
            Monitor::Agreement => self.scores.agreement,
            Monitor::ProbeError => self.probe_error,
            Monitor::ValError => self.val_error,
        }
    }
}

/// A checkpoint and its value of the monitor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// The checkpoint's file.
    pub path: String,
    /// Optimiser steps taken.
    pub step: Option<u64>,
    /// The monitor's value there; null where it is not finite.
    pub value: Option<f64>,
}

impl Mark {
    fn new(point: &Point, value: f64) -> Self {
        Self { path: point.path.clone(), step: point.step, value: value.is_finite().then_some(value) }
    }
}

/// What a rule says of a run so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// What was monitored.
    pub monitor: Monitor,
    /// The best checkpoint.
    pub best: Option<Mark>,
    /// Checkpoints since the last improvement that count against the patience.
    pub wait: u32,
    /// Checkpoints without improvement that are still borne.
    pub patience_left: u32,
    /// Set once the run should stop.
    pub stop: Option<Stop>,
}

/// The end of a run, as a rule sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stop {
    /// Why, in words.
    pub reason: String,
    /// The checkpoint that decided it.
    pub at: Mark,
}

/// Compares two checkpoints by their ids at a level, where the replicates of both are kept: first less second, log `R_f`.
pub type Compare<'a> = &'a dyn Fn(i64, i64, f64) -> Option<Comparison>;

/// What `rule` says of `history`, in training order; nothing behind the checkpoint that decides a stop is looked at.
#[must_use]
pub fn judge(rule: &Rule, history: &[Point], compare: Compare) -> Verdict {
    let mut verdict = Verdict { monitor: rule.monitor, best: None, wait: 0, patience_left: rule.patience, stop: None };
    let mut best: Option<(i64, f64)> = None;
    let mut cooldown = 0;
    for point in history {
        let start = rule.start_from.max(u64::from(rule.monitor.is_label_free()));
        if point.step.is_some_and(|step| step < start) {
            continue;
        }
        let Some(value) = point.value(rule.monitor) else { continue };
        if let Some(reason) = at_once(rule, value) {
            verdict.stop = Some(Stop { reason, at: Mark::new(point, value) });
            return verdict;
        }
        if !value.is_finite() {
            continue;
        }
        let is_improvement = best.is_none_or(|(id, than)| {
            rule.is_better(value, than)
                && rule.confidence.and_then(|level| compare(point.id, id, level)).is_none_or(|paired| {
                    match (rule.monitor, rule.direction()) {
                        // A law may fall with R_f: what it says is surely another where R_f surely is.
                        (Monitor::PredictedError, _) => paired.is_different(),
                        (_, Mode::Min | Mode::Auto) => paired.high < 0.0,
                        (_, Mode::Max) => paired.low > 0.0,
                    }
                })
        });
        if is_improvement {
            best = Some((point.id, value));
            verdict.best = Some(Mark::new(point, value));
        }
        if is_improvement && rule.baseline.is_none_or(|baseline| rule.is_better(value, baseline)) {
            verdict.wait = 0;
            cooldown = rule.cooldown;
        } else if cooldown > 0 {
            cooldown -= 1;
        } else {
            verdict.wait += 1;
        }
        verdict.patience_left = rule.patience.saturating_sub(verdict.wait);
        if verdict.patience_left == 0 {
            let than = verdict.best.as_ref().and_then(|best| best.value).unwrap_or(value);
            let reason = format!("{} did not improve on {than:.4} in {} checkpoints", rule.monitor, verdict.wait);
            verdict.stop = Some(Stop { reason, at: Mark::new(point, value) });
            return verdict;
        }
    }
    verdict
}

fn at_once(rule: &Rule, value: f64) -> Option<String> {
    if !value.is_finite() {
        return rule.check_finite.then(|| format!("{} is not finite", rule.monitor));
    }
    let threshold = rule.divergence_threshold?;
    let diverged = match rule.direction() {
        Mode::Min | Mode::Auto => value > threshold,
        Mode::Max => value < threshold,
    };
    diverged.then(|| format!("{} is {value:.4}, beyond the divergence threshold {threshold}", rule.monitor))
}
