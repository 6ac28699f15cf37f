//! From `R_f` to a predicted test error: laws such as `error = a R_f^b`, where they come from and when they do not apply.

pub mod calibrate;
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

pub use presets::presets;

use crate::error::{Error, Result};
use crate::estimate::{Estimate, Estimator};
use crate::perturb::Interpolation;
use crate::text::cut;
use linear::{Linear, Student};
use terms::{Quantities, Term, logs};

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

/// `error = a R_f^b` for one data set, with the spread of the points it was fitted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Law {
    /// `DATASET-cCUTOFF`, with `-ARCH` where narrower.
    pub name: String,
    /// Counts up when another law of the same name is saved.
    #[serde(default = "first_version")]
    pub version: u32,
    /// What it goes by; more than `R_f` only in a law that was calibrated.
    #[serde(default = "r_f_alone")]
    pub terms: Vec<Term>,
    /// Error where every term is 1, as `R_f` is before training.
    pub a: f64,
    /// Exponent of the first term.
    pub b: f64,
    /// Standard deviation of log error about the law; `None` where it was never published.
    #[serde(default)]
    pub sd_log: Option<f64>,
    /// Share of the variance of log error that `R_f` explains in architectures the law was not fitted on; `None` if unknown.
    #[serde(default)]
    pub explained: Option<f64>,
    /// How many networks the law was fitted on.
    #[serde(default)]
    pub points: Option<u32>,
    /// Least `R_f` among them.
    #[serde(default)]
    pub r_f_min: Option<f64>,
    /// Largest `R_f` among them.
    #[serde(default)]
    pub r_f_max: Option<f64>,
    /// Classes of the data set: chance is 1 - 1/classes.
    pub classes: usize,
    /// Cutoff of the deformations.
    pub cutoff: u32,
    /// Typical displacement, pixels.
    pub delta: f64,
    /// How deformed images were read.
    pub interpolation: Interpolation,
    /// Which reading of "typical".
    pub estimator: Estimator,
    /// Image side, pixels.
    pub side: f64,
    /// What it was fitted on, in one sentence.
    pub source: String,
    /// The line of a law that was calibrated; intervals come from it, and `a` and `b` repeat it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posterior: Option<Linear>,
    /// Points of other settings that were forced into it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<String>,
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
/// A law whose interval spans more than this factor either way says nothing useful.
const USELESS_FACTOR: f64 = 4.0;

/// A law's name and each of its sentences may be this long, bytes.
const LONGEST_NAME: usize = 256;
const LONGEST_SENTENCE: usize = 1000;

/// A law that explains less of the variance says so with each prediction.
const INFORMATIVE: f64 = 0.5;

impl LawSummary {
    /// Whether the daemon made it from the errors of the run it predicts.
    #[must_use]
    pub fn is_of_run(&self) -> bool {
        self.name == "run" || self.name.ends_with("+run")
    }
}

impl Conditions {
    /// How those of a measurement differ, in words; `None` where they agree.
    #[must_use]
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

impl Law {
    /// Checks the numbers of a law that a user wrote down, and cuts its words to what each prediction can quote.
    ///
    /// # Errors
    /// `Law` for coefficients that are not finite, not positive where they must be, or fewer than two classes.
    pub fn validated(mut self) -> Result<Self> {
        cut(&mut self.name, LONGEST_NAME);
        cut(&mut self.source, LONGEST_SENTENCE);
        self.forced.iter_mut().for_each(|forced| cut(forced, LONGEST_SENTENCE));
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let fault = if !positive(self.a) {
            Some("a must be a positive number")
        } else if !self.b.is_finite() {
            Some("b must be a number")
        } else if self.posterior.is_none() && self.sd_log.is_some_and(|sd| !positive(sd)) {
            Some("sd_log must be a positive number")
        } else if self.posterior.is_none() && self.terms != [Term::RF] {
            Some("a law of other terms than r_f needs its posterior")
        } else if self.posterior.as_ref().is_some_and(|line| !self.is_sound(line)) {
            Some("posterior must be a line in the law's terms, with a known noise")
        } else if self.classes < 2 {
            Some("classes must be 2 or more")
        } else {
            None
        };
        match fault {
            Some(reason) => Err(Error::Law { name: self.name, reason: reason.to_owned() }),
            None => Ok(self),
        }
    }

    fn is_sound(&self, line: &Linear) -> bool {
        let fit = line.fit().filter(|fit| fit.coefficients.len() == self.terms.len() + 1);
        fit.and_then(|fit| fit.noise()).is_some_and(f64::is_finite)
    }

    /// What a measurement must share with it.
    #[must_use]
    pub fn conditions(&self) -> Conditions {
        Conditions {
            cutoff: self.cutoff,
            delta: self.delta,
            interpolation: self.interpolation,
            estimator: self.estimator,
            side: self.side,
        }
    }

    /// Predicted test error at `r_f`, with the interval for a new network: `log error ~ log a + b log R_f`, Student-t, from
    /// the calibrated line; without one, with `points - 2` degrees of freedom and the law's residual spread. `None` if a term
    /// of the law is not among the `others`.
    #[must_use]
    pub fn predict(&self, r_f: &Estimate, others: &Quantities) -> Option<Prediction> {
        let quantities = others.iter().map(|(term, value)| (*term, *value)).chain([(Term::RF, r_f.value)]).collect();
        let x = logs(&self.terms, &quantities)?;
        let chance = 1.0 - 1.0 / self.classes as f64;
        let line = self.posterior.as_ref().and_then(Linear::fit);
        let error = line.as_ref().map_or(self.a * r_f.value.powf(self.b), |line| line.at(&x).exp());
        let factor = match &line {
            Some(line) => line.predictive(&x),
            None => self.spread(),
        };
        let factor = factor.and_then(|predictive| predictive.half_width(r_f.level)).map(f64::exp);
        Some(Prediction {
            error: error.min(chance),
            low: factor.map(|factor| (error / factor).min(chance)),
            high: factor.map(|factor| (error * factor).min(chance)),
            level: r_f.level,
            law: LawSummary {
                name: self.name.clone(),
                version: self.version,
                terms: self.terms.clone(),
                a: self.a,
                b: self.b,
                sd_log: self.sd_log,
                source: self.source.clone(),
            },
            warnings: self.warnings(r_f, factor, error > chance),
        })
    }

    /// Whether its predictions have intervals.
    #[must_use]
    pub fn has_interval(&self) -> bool {
        self.posterior.is_some() || self.sd_log.is_some()
    }

    /// The spread of a law that is known by its numbers alone, about the error it predicts.
    fn spread(&self) -> Option<Student> {
        let points = f64::from(self.points.unwrap_or(u32::MAX)).max(3.0);
        let scale = self.sd_log? * (1.0 + 1.0 / points).sqrt();
        Some(Student { mean: 0.0, scale, degrees: points - 2.0 })
    }

    /// Why a prediction at `r_f`, whose interval spans `factor` either way, may be off.
    fn warnings(&self, r_f: &Estimate, factor: Option<f64>, is_capped: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        match factor {
            None => warnings.push(format!("the spread of law {} is unknown: no interval", self.name)),
            Some(factor) if factor > USELESS_FACTOR => warnings.push(format!(
                "law {} is too wide to be useful: its interval spans a factor of {factor:.1} either way",
                self.name
            )),
            Some(factor) => {
                let measured = (r_f.high / r_f.low).powf(self.b.abs() / 2.0);
                if self.terms == [Term::RF] && measured.is_finite() && measured > factor {
                    warnings.push("R_f is known less well than the law predicts: measure more images".to_owned());
                }
            }
        }
        if let Some(explained) = self.explained.filter(|explained| *explained < INFORMATIVE) {
            let share = (100.0 * explained.max(0.0)).round();
            let terms: Vec<_> = self.terms.iter().map(|term| term.factor()).collect();
            warnings.push(format!(
                "law {} says little: {} explains {share}% of the spread of errors among networks it was not fitted on",
                self.name,
                terms.join(" and ")
            ));
        }
        if let Some(forced) = &self.forced {
            warnings.push(format!("law {} was forced to take points of other settings: {forced}", self.name));
        }
        if let (Some(low), Some(high)) = (self.r_f_min, self.r_f_max)
            && !(low..=high).contains(&r_f.value)
        {
            warnings.push(format!("R_f lies outside what law {} was fitted on ({low} to {high})", self.name));
        }
        if is_capped {
            warnings.push(format!("capped at chance, {}", 1.0 - 1.0 / self.classes as f64));
        }
        warnings
    }

    /// The law as an equation.
    #[must_use]
    pub fn equation(&self) -> String {
        let fit = self.posterior.as_ref().and_then(Linear::fit);
        let exponents = fit.map_or_else(|| vec![self.b], |fit| fit.coefficients[1..].to_vec());
        let factor = |(term, exponent): (&Term, f64)| format!(" {}^{exponent:.3}", term.factor());
        format!("error = {:.3}{}", self.a, self.terms.iter().zip(exponents).map(factor).collect::<String>())
    }
}
