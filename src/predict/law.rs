//! A law: its equation, what it was fitted on, what it predicts and when it does not speak.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::linear::{Linear, Student};
use super::terms::{Measured, Term, logs};
use super::{Conditions, LawSummary, Prediction, first_version, r_f_alone};
use crate::error::{Error, Result};
use crate::estimate::{Estimator, Resampling};
use crate::perturb::Interpolation;
use crate::text::cut;

/// `error = a q^b`, `q` being `R_f` or `1 - EI`, with the spread of the points it was fitted on: for one data set, or over several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Law {
    /// `DATASET-cCUTOFF`, with `-ARCH` where narrower.
    pub name: String,
    /// Counts up when another law of the same name is saved.
    #[serde(default = "first_version")]
    pub version: u32,
    /// What it goes by: `R_f` unless it says otherwise; several only in a law that was calibrated.
    #[serde(default = "r_f_alone")]
    pub terms: Vec<Term>,
    /// Error where every term is 1.
    pub a: f64,
    /// Exponent of the first term.
    pub b: f64,
    /// Standard deviation of log error about the law; `None` where it was never published.
    #[serde(default)]
    pub sd_log: Option<f64>,
    /// Share of the variance of log error that it explains in architectures the law was not fitted on; `None` if unknown.
    #[serde(default)]
    pub explained: Option<f64>,
    /// How many networks the law was fitted on.
    #[serde(default)]
    pub points: Option<u32>,
    /// Degrees of freedom of `sd_log`: fewer than `points - 2` where networks of one repository have something in common.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degrees: Option<f64>,
    /// Least `R_f` among them.
    #[serde(default)]
    pub r_f_min: Option<f64>,
    /// Largest `R_f` among them.
    #[serde(default)]
    pub r_f_max: Option<f64>,
    /// Least and largest value of its first term among them, as it stands in the equation, where that is not `R_f`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// What `sd_log` holds of measuring: standard deviation of the first term's logarithm over images, in these networks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd_measured: Option<f64>,
    /// Of a law over several data sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<Sets>,
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

/// What a law over several data sets speaks of: a set that is not among them lies as far off as they lie from each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sets {
    /// The data sets.
    pub names: Vec<String>,
    /// Scale of the half-normal prior on the standard deviation of log error between data sets.
    pub prior: f64,
    /// Least and largest number of classes that it was tried on.
    pub classes: [usize; 2],
    /// Least and largest image side, pixels.
    pub sides: [f64; 2],
}

impl Sets {
    /// Whether networks of so many `classes`, on images of this `side`, are among them.
    pub fn are_like(&self, classes: usize, side: f64) -> bool {
        let ([least, most], [low, high]) = (self.classes, self.sides);
        (least..=most).contains(&classes) && (low - 0.5..=high + 0.5).contains(&side)
    }
}

/// How a law says that a network is none like those it was fitted on.
pub const OUTSIDE: &str = "outside what law";
/// A law's name and each of its sentences may be this long, bytes.
const LONGEST_NAME: usize = 256;
const LONGEST_SENTENCE: usize = 1000;
/// A law whose interval spans more than this factor either way says nothing useful.
const USELESS_FACTOR: f64 = 4.0;
/// A law that explains less of the variance says so with each prediction.
pub(super) const INFORMATIVE: f64 = 0.5;

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
        } else if self.degrees.is_some_and(|degrees| !positive(degrees)) {
            Some("degrees must be a positive number")
        } else if self.posterior.is_none() && self.terms.len() != 1 {
            Some("a law of several terms needs its posterior")
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
    pub fn conditions(&self) -> Conditions {
        Conditions {
            cutoff: self.cutoff,
            delta: self.delta,
            interpolation: self.interpolation,
            estimator: self.estimator,
            side: self.side,
        }
    }

    /// How the settings of a measurement differ from those it was fitted at, in words; `None` where it speaks of them. The sides of
    /// images are left to [`Law::silence`] where it is of several.
    pub fn difference(&self, measured: &Conditions) -> Option<String> {
        let mut own = self.conditions();
        if self.sets.is_some() {
            own.side = measured.side;
        }
        if !self.terms.iter().any(|term| matches!(term, Term::RF | Term::DF | Term::GF)) {
            own.estimator = measured.estimator;
        }
        own.difference(measured)
    }

    /// The same with the classes and sides that a law over several data sets was tried on.
    pub fn unlike(&self, measured: &Conditions, classes: usize) -> Option<String> {
        let of_sets = || {
            let sets = self.sets.as_ref().filter(|sets| !sets.are_like(classes, measured.side))?;
            let ([least, most], [low, high]) = (sets.classes, sets.sides);
            let side = measured.side;
            Some(format!(
                "{least} to {most} classes, side {low:.0} to {high:.0} (measured: {classes} classes, side {side:.0})"
            ))
        };
        self.difference(measured).or_else(of_sets)
    }

    /// Why it does not speak of a network of these classes, images and quantities, in words; those of a law over several data sets
    /// hold [`OUTSIDE`].
    pub fn silence(&self, measured: &Measured) -> Option<String> {
        let Self { name, terms, classes, .. } = self;
        let outputs = measured.classes;
        let Some(sets) = &self.sets else {
            // 0 in records of earlier versions.
            let is_of_classes = outputs == 0 || outputs == *classes || (outputs == 1 && *classes == 2);
            return (!is_of_classes)
                .then(|| format!("law {name} is of {classes} classes, the network has {outputs} outputs"));
        };
        let term = terms.first()?;
        let x = term.counted(*measured.quantities.get(term)?);
        let outside = |what: String, how: &str, low: f64, high: f64| {
            format!("{what}, {OUTSIDE} {name} was {how} on ({low} to {high})")
        };
        if !sets.are_like(outputs, measured.side) {
            let ([least, most], [low, high]) = (sets.classes, sets.sides);
            return Some(if (least..=most).contains(&outputs) {
                outside(format!("images of side {:.0}", measured.side), "fitted", low, high)
            } else {
                outside(format!("{outputs} classes"), "tried", least as f64, most as f64)
            });
        }
        let [low, high] = self.range?;
        let is_within = self.is_bound(measured) || (low..=high).contains(&x);
        (!is_within).then(|| outside(format!("{} is {x:.3}", term.factor()), "fitted", low, high))
    }

    /// Predicted test error, with the interval for a new network: Student-t about `log error ~ log a + b log q`, from the calibrated
    /// line; without one, with the law's residual spread and its degrees of freedom. What the network's own measurement leaves
    /// open counts as far as it is more than the residual spread holds. An EI of 1 has no logarithm: then the error is an upper bound.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn predict(&self, measured: &Measured) -> std::result::Result<Prediction, String> {
        let level = if measured.level > 0.0 { measured.level } else { Resampling::default().level };
        let term = self.terms.first().copied().unwrap_or(Term::RF);
        let bound = self.bound(measured, level);
        let x = match bound {
            Some(least) => vec![least.ln()],
            None => logs(&self.terms, &measured.quantities).ok_or_else(|| {
                format!("law {} needs more than this measurement has: {}", self.name, self.equation())
            })?,
        };
        let chance = 1.0 - 1.0 / self.chances(measured) as f64;
        let line = self.posterior.as_ref().and_then(Linear::fit);
        let log_error = line.as_ref().map_or_else(|| self.a.ln() + self.b * x[0], |line| line.at(&x));
        let open = self.left_open(measured.spreads.get(&term).copied());
        let half_width = line
            .as_ref()
            .map_or_else(|| self.spread(), |line| line.predictive(&x))
            .and_then(|predictive| predictive.widened(open).half_width(level));
        let factor = half_width.map(f64::exp);
        let error = if bound.is_some() { log_error.exp() * factor.unwrap_or(1.0) } else { log_error.exp() };
        let mut warnings = self.warnings(measured, factor, open);
        if bound.is_some() {
            warnings.push(format!(
                "EI is 1 on all of {} images: the error is an upper bound, at {:.0}%",
                measured.images,
                100.0 * level
            ));
        }
        if error > chance {
            warnings.push(format!("capped at chance, {chance}"));
        }
        let (low, high) = match bound {
            Some(_) => (Some(0.0), Some(error.min(chance))),
            None => (factor.map(|f| (error / f).min(chance)), factor.map(|f| (error * f).min(chance))),
        };
        let law = LawSummary {
            name: self.name.clone(),
            version: self.version,
            terms: self.terms.clone(),
            a: self.a,
            b: self.b,
            sd_log: self.sd_log,
            source: self.source.clone(),
        };
        Ok(Prediction { error: error.min(chance), low, high, level, law, warnings })
    }

    /// Classes to count chance by: the network's own where the law is over several data sets.
    fn chances(&self, measured: &Measured) -> usize {
        if self.sets.is_some() && measured.classes > 1 { measured.classes } else { self.classes }
    }

    /// Whether it goes by an effective invariance that is 1 on all images.
    fn is_bound(&self, measured: &Measured) -> bool {
        let [term @ Term::InvarianceDeformed] = self.terms[..] else { return false };
        measured.images > 0 && measured.quantities.get(&term).is_some_and(|value| term.counted(*value) <= 0.0)
    }

    /// What 1 - EI is less than, at `level`, where it is 0 on all images: so often none of so many is seen. A law over several data
    /// sets does not go below what it was fitted on.
    fn bound(&self, measured: &Measured, level: f64) -> Option<f64> {
        let least = self.range.filter(|_| self.sets.is_some()).map_or(0.0, |[low, _]| low);
        self.is_bound(measured).then(|| (1.0 - (1.0 - level).powf(1.0 / measured.images as f64)).max(least))
    }

    /// What measuring leaves open of log error, beyond what it left open in the networks that the law was fitted on; a standard
    /// deviation.
    fn left_open(&self, spread: Option<f64>) -> f64 {
        let held = self.sd_measured.unwrap_or(0.0);
        let beyond = spread.map_or(0.0, |spread| spread.powi(2) - held.powi(2));
        self.b.abs() * beyond.max(0.0).sqrt()
    }

    /// Whether its predictions have intervals.
    pub fn has_interval(&self) -> bool {
        self.posterior.is_some() || self.sd_log.is_some()
    }

    /// The factor that the interval of a new network spans either way, in the middle of the range; for a law of one term.
    pub fn reach(&self, level: f64) -> Option<f64> {
        let [low, high] = self.fitted_range().filter(|_| self.terms.len() == 1)?;
        let line = self.posterior.as_ref().and_then(Linear::fit);
        let of_line = line.and_then(|line| line.predictive(&[(low * high).sqrt().ln()]));
        Some(of_line.or_else(|| self.spread())?.half_width(level)?.exp())
    }

    /// The spread of a law that is known by its numbers alone, about the error it predicts.
    fn spread(&self) -> Option<Student> {
        let of_points = || f64::from(self.points.unwrap_or(u32::MAX)).max(3.0) - 2.0;
        let degrees = self.degrees.unwrap_or_else(of_points);
        let scale = self.sd_log? * (1.0 + 1.0 / (degrees + 2.0)).sqrt();
        Some(Student { mean: 0.0, scale, degrees })
    }

    /// Least and largest value of its first term, as it stands in the equation, among the networks that it was fitted on.
    pub fn fitted_range(&self) -> Option<[f64; 2]> {
        self.range.or_else(|| Some([self.r_f_min?, self.r_f_max?]))
    }

    /// Why a prediction may be off whose interval spans `factor` either way, and to which measuring adds a deviation of `open`.
    fn warnings(&self, measured: &Measured, factor: Option<f64>, open: f64) -> Vec<String> {
        let mut warnings = Vec::new();
        let term = self.terms.first().copied().unwrap_or(Term::RF);
        match factor {
            None => warnings.push(format!("the spread of law {} is unknown: no interval", self.name)),
            Some(factor) if factor > USELESS_FACTOR => warnings.push(format!(
                "law {} is too wide to be useful: its interval spans a factor of {factor:.1} either way",
                self.name
            )),
            Some(_) if self.sd_log.is_some_and(|sd| open > sd) => warnings
                .push(format!("{} is known less well than the law predicts: measure more images", term.factor())),
            Some(_) => {}
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
        if let (Some([low, high]), Some(value)) = (self.fitted_range(), measured.quantities.get(&term))
            && self.sets.is_none()
            && !(low..=high).contains(&term.counted(*value))
        {
            warnings.push(format!("{} lies {OUTSIDE} {} was fitted on ({low} to {high})", term.factor(), self.name));
        }
        warnings
    }

    /// The law as an equation.
    pub fn equation(&self) -> String {
        let fit = self.posterior.as_ref().and_then(Linear::fit);
        let exponents = fit.map_or_else(|| vec![self.b], |fit| fit.coefficients[1..].to_vec());
        let factor = |(term, exponent): (&Term, f64)| format!(" {}^{exponent:.3}", term.factor());
        format!("error = {:.3}{}", self.a, self.terms.iter().zip(exponents).map(factor).collect::<String>())
    }
}
