//! What rules see of a run, and what they say of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::monitor::Monitor;

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
    /// Whether it was measured before a person overruled a stop: it stops nothing any more.
    pub is_overruled: bool,
}

impl Point {
    /// The monitor's value where there is one, whether or not the outputs were finite.
    pub(super) fn known(&self, monitor: Monitor) -> Option<f64> {
        match monitor {
            Monitor::Auto => None,
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

    /// The monitor's value that is judged; NaN where the outputs were not finite. A network before training has none, unless the
    /// monitor is an error that labels tell.
    pub fn value(&self, monitor: Monitor) -> Option<f64> {
        if self.step == Some(0) && monitor.is_label_free() {
            return None;
        }
        if self.is_finite { self.known(monitor) } else { Some(f64::NAN) }
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
    /// Of this value at a point.
    pub fn new(point: &Point, value: f64) -> Self {
        Self { path: point.path.clone(), step: point.step, value: value.is_finite().then_some(value) }
    }
}

/// A run that another was compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// Its canonical path.
    pub run: String,
    /// Its value in the comparison: an average up to the step (`median`), or the value there (`halving`).
    pub value: f64,
}

/// What a rule says of a run so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// What was monitored: what the rule names, or what it came to where it names none.
    pub monitor: Monitor,
    /// The checkpoint whose monitor is best, be it by less than `min_delta`.
    pub best: Option<Mark>,
    /// Checkpoints since the last improvement by `min_delta` that count against the patience.
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
    /// The runs that it was compared with, the best first; at most 32 are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<Compared>,
}
