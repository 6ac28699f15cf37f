//! From a measurement to a predicted test error: laws such as `error = a (1 - EI)^b`, where they come from and when they do not apply.

pub mod calibrate;
mod law;
pub mod linear;
mod presets;
pub mod refit;
pub mod saved;
pub mod table;
pub mod terms;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use law::{Law, OUTSIDE, Sets};
pub use presets::presets;

use crate::estimate::Estimator;
use crate::perturb::Interpolation;
use terms::Term;

/// How the warning that tells why there is no prediction begins.
pub const NO_PREDICTION: &str = "no prediction: ";

/// What a measurement and a law must share for the law to speak of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conditions {
    /// Cutoff of the deformations, in half-waves.
    pub cutoff: u32,
    /// Typical displacement, pixels.
    pub delta: f64,
    /// How deformed images are read.
    pub interpolation: Interpolation,
    /// Which reading of "typical".
    pub estimator: Estimator,
    /// Image side, pixels; for non-square images the root mean square of both.
    pub side: f64,
}

fn first_version() -> u32 {
    1
}

fn r_f_alone() -> Vec<Term> {
    vec![Term::RF]
}

/// A predicted test error with the interval that a new network's error falls in; fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prediction {
    /// Predicted test error, at most chance.
    pub error: f64,
    /// Lower end of the prediction interval; null where the law's spread is unknown.
    pub low: Option<f64>,
    /// Upper end of the prediction interval; null where the law's spread is unknown.
    pub high: Option<f64>,
    /// The interval's level.
    pub level: f64,
    /// The law that was applied.
    pub law: LawSummary,
    /// Why the prediction may be off.
    pub warnings: Vec<String>,
}

/// The part of a law that a prediction quotes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LawSummary {
    /// The law's name.
    pub name: String,
    /// Its version.
    #[serde(default = "first_version")]
    pub version: u32,
    /// What it goes by.
    #[serde(default = "r_f_alone")]
    pub terms: Vec<Term>,
    /// Error where every term is 1.
    pub a: f64,
    /// Exponent of the first term.
    pub b: f64,
    /// Standard deviation of log error about the law.
    pub sd_log: Option<f64>,
    /// What it was fitted on.
    pub source: String,
}

/// A delta this close counts as the law's own.
const DELTA_TOLERANCE: f64 = 0.02;

impl LawSummary {
    /// Whether the daemon made it from the errors of the run it predicts.
    pub fn is_of_run(&self) -> bool {
        self.name == "run" || self.name.ends_with("+run")
    }
}

impl Conditions {
    /// How those of a measurement differ, in words; `None` where they agree.
    pub fn difference(&self, measured: &Self) -> Option<String> {
        let mut text = String::new();
        let mut differ = |name: &str, here: String, found: String| {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{name} {here} (measured: {found})");
        };
        if self.cutoff != measured.cutoff {
            differ("cutoff", self.cutoff.to_string(), measured.cutoff.to_string());
        }
        if (self.delta / measured.delta).ln().abs() > DELTA_TOLERANCE {
            differ("delta", self.delta.to_string(), format!("{:.3}", measured.delta));
        }
        if self.interpolation != measured.interpolation {
            differ("interpolation", self.interpolation.to_string(), measured.interpolation.to_string());
        }
        if self.estimator != measured.estimator {
            differ("estimator", self.estimator.to_string(), measured.estimator.to_string());
        }
        if (self.side - measured.side).abs() > 0.5 {
            differ("image side", self.side.to_string(), format!("{:.0}", measured.side));
        }
        (!text.is_empty()).then_some(text)
    }
}
