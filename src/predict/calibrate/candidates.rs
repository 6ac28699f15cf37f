//! What a law may go by besides `R_f` with a free exponent, chosen on points left out and never by the fit itself.

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, IntoEnumIterator as _};

use super::left_out::{Group, Residual, residuals};
use super::points::{FEWEST, Point, samples};
use crate::predict::Law;
use crate::predict::linear::Linear;
use crate::predict::terms::{Term, logs};

/// A form of law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum, Display, EnumIter)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
#[clap(rename_all = "snake_case")]
pub enum Form {
    /// `a R_f^b`.
    #[serde(rename = "r_f")]
    #[strum(serialize = "r_f")]
    #[value(name = "r_f")]
    RF,
    /// `a R_f^0.5`.
    SquareRoot,
    /// `a D_f^b G_f^c`; a second term beside `R_f = D_f / G_f`, be it `D_f` or `G_f`, comes to this.
    #[serde(rename = "d_f_and_g_f")]
    #[strum(serialize = "d_f_and_g_f")]
    #[value(name = "d_f_and_g_f")]
    DFAndGF,
    /// `a (1 - confidence_clean)^b`.
    ConfidenceClean,
    /// `a (1 - confidence_deformed)^b`.
    ConfidenceDeformed,
    /// `a (1 - agreement_deformed)^b`.
    AgreementDeformed,
    /// `a (1 - agreement_noisy)^b`.
    AgreementNoisy,
    /// `a (1 - EI)^b`, EI the effective invariance under deformation.
    Invariance,
}

/// How a form predicts points that it was not fitted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The form.
    pub form: Form,
    /// Mean absolute error of the predicted log error.
    pub error: f64,
    /// By how much less it errs than the usual form, with its standard error; null for that form.
    pub gain: Option<[f64; 2]>,
}

/// The exponent of the square root counts as known to this precision, in units of the noise's.
const KNOWN: f64 = 1e6;
/// A gain of fewer standard errors is no reason to leave the usual form.
const DECISIVE: f64 = 2.0;

impl Form {
    /// What it goes by.
    pub fn terms(self) -> &'static [Term] {
        match self {
            Self::RF | Self::SquareRoot => &[Term::RF],
            Self::DFAndGF => &[Term::DF, Term::GF],
            Self::ConfidenceClean => &[Term::ConfidenceClean],
            Self::ConfidenceDeformed => &[Term::ConfidenceDeformed],
            Self::AgreementDeformed => &[Term::AgreementDeformed],
            Self::AgreementNoisy => &[Term::AgreementNoisy],
            Self::Invariance => &[Term::InvarianceDeformed],
        }
    }

    /// That of a law that starts from nothing: `1 - EI` where every point has one.
    pub fn usual<'a>(mut points: impl Iterator<Item = &'a Point>) -> Self {
        let form = Self::Invariance;
        if points.all(|point| logs(form.terms(), &point.quantities).is_some()) { form } else { Self::RF }
    }

    /// The form of a law.
    pub fn of(law: &Law) -> Self {
        Self::iter().find(|form| form.terms() == law.terms).unwrap_or(Self::RF)
    }

    /// What is known of its line before any point.
    pub fn vague(self) -> Linear {
        match self {
            Self::SquareRoot => Linear::prior(&[(0.0, 0.0), (0.5, KNOWN)], 0.0, -1.0),
            form => Linear::vague(form.terms().len()),
        }
    }
}

/// The usual form, unless another one errs less on groups left out by more than chance, in enough runs; and how each of them
/// does.
pub fn choose(
    points: &[Point],
    (groups, runs): (&[Group], usize),
    usual: Form,
    start: &dyn Fn(Form) -> Linear,
) -> (Form, Vec<Candidate>) {
    let errors = |form: Form| errors(&residuals(&samples(form.terms(), points)?, groups, &start(form)));
    let Some(of_usual) = errors(usual) else { return (usual, Vec::new()) };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut candidates = vec![Candidate { form: usual, error: mean(&of_usual), gain: None }];
    for form in Form::iter().filter(|form| *form != usual) {
        let Some(errors) = errors(form) else { continue };
        let gains: Vec<_> = of_usual.iter().zip(&errors).map(|(usual, error)| usual - error).collect();
        candidates.push(Candidate { form, error: mean(&errors), gain: Some(of_groups(&gains, groups)) });
    }
    candidates.sort_by(|a, b| a.error.total_cmp(&b.error));
    let is_better = |candidate: &&Candidate| {
        candidate.gain.is_some_and(|[gain, deviation]| runs >= FEWEST && gain > DECISIVE * deviation && gain > 0.0)
    };
    (candidates.iter().find(is_better).map_or(usual, |candidate| candidate.form), candidates)
}

/// The absolute error of each point; `None` if one of them could not be predicted.
fn errors(residuals: &[Option<Residual>]) -> Option<Vec<f64>> {
    residuals.iter().map(|residual| residual.as_ref().map(Residual::error)).collect()
}

/// Mean over groups and its standard error: points of one run are no independent witnesses.
fn of_groups(gains: &[f64], groups: &[Group]) -> [f64; 2] {
    let mut sums = std::collections::BTreeMap::<_, (f64, f64)>::new();
    for (gain, group) in gains.iter().zip(groups) {
        let sum = sums.entry(group).or_default();
        *sum = (sum.0 + gain, sum.1 + 1.0);
    }
    let means: Vec<_> = sums.values().map(|(sum, count)| sum / count).collect();
    let count = means.len() as f64;
    let mean = means.iter().sum::<f64>() / count;
    let variance = means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
    [mean, (variance / count).sqrt()]
}
