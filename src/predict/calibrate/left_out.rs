//! Points predicted from the others.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::predict::linear::{Linear, Sample};

/// The level of the intervals whose coverage is told.
pub const LEVEL: f64 = 0.9;

/// How points are predicted by a line that was not fitted on them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Points that could be predicted.
    pub points: usize,
    /// Mean absolute error of the predicted log error.
    pub error: f64,
    /// The same if the mean log error of the other points is the prediction.
    pub error_of_mean: f64,
    /// Share of the squared error of that mean which the line takes away; null where the mean has none.
    pub explained: Option<f64>,
    /// Share of the points inside their 90% intervals; null where there are none.
    pub coverage: Option<f64>,
}

/// The group a point is left out with: its run, or itself.
pub type Group<'a> = (Option<&'a str>, usize);

/// How far a point lies from what its group's complement predicts.
pub struct Residual {
    from_line: f64,
    from_mean: f64,
    pub studentised: Option<f64>,
    /// The probability of a new point at least as far off.
    pub beyond: Option<f64>,
}

impl Residual {
    /// How far the line's log error is off.
    pub fn error(&self) -> f64 {
        self.from_line.abs()
    }
}

/// For each point, predicted from those of all other groups.
pub fn residuals(samples: &[Sample], groups: &[Group], prior: &Linear) -> Vec<Option<Residual>> {
    let mut fits = BTreeMap::new();
    let fit = |group: &Group| {
        let others = || samples.iter().zip(groups).filter(|(_, other)| *other != group).map(|(sample, _)| sample);
        let mean = others().map(|(_, y)| y).sum::<f64>() / others().count() as f64;
        (prior.updated(others()).fit(), mean)
    };
    let predicted = samples.iter().zip(groups).map(|((x, y), group)| {
        let (line, mean) = fits.entry(group).or_insert_with(|| fit(group));
        let line = line.as_ref()?;
        let from_line = y - line.at(x);
        let predictive = line.predictive(x);
        Some(Residual {
            from_line,
            from_mean: y - *mean,
            studentised: predictive.map(|predictive| from_line / predictive.scale),
            beyond: predictive.map(|predictive| predictive.beyond(*y)),
        })
    });
    predicted.collect()
}

/// `None` where nothing could be predicted, or nothing is left that gives a mean.
pub fn summary(residuals: &[Option<Residual>]) -> Option<LeftOut> {
    let known: Vec<_> = residuals.iter().flatten().filter(|residual| residual.from_mean.is_finite()).collect();
    let mean =
        |of: &dyn Fn(&Residual) -> f64| known.iter().map(|residual| of(residual)).sum::<f64>() / known.len() as f64;
    let square_of_mean = mean(&|residual| residual.from_mean.powi(2));
    let inside: Vec<_> =
        known.iter().filter_map(|residual| residual.beyond).map(|share| share >= 1.0 - LEVEL).collect();
    (!known.is_empty()).then(|| LeftOut {
        points: known.len(),
        error: mean(&Residual::error),
        error_of_mean: mean(&|residual| residual.from_mean.abs()),
        explained: (square_of_mean > 0.0).then(|| 1.0 - mean(&|residual| residual.from_line.powi(2)) / square_of_mean),
        coverage: (!inside.is_empty())
            .then(|| inside.iter().filter(|is_inside| **is_inside).count() as f64 / inside.len() as f64),
    })
}

/// Spearman's: Pearson's correlation of the ranks, ties at their mean rank; `None` for fewer than three points or where all
/// are equal.
pub fn rank_correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let ranks = |values: Vec<f64>| {
        let rank = |value: &f64| {
            let below = values.iter().filter(|other| *other < value).count();
            let equal = values.iter().filter(|other| other.total_cmp(value).is_eq()).count();
            below as f64 + equal as f64 / 2.0 - values.len() as f64 / 2.0
        };
        values.iter().map(rank).collect::<Vec<_>>()
    };
    let (x, y): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
    let (x, y) = (ranks(x), ranks(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norm = (dot(&x, &x) * dot(&y, &y)).sqrt();
    (pairs.len() >= 3 && norm > 0.0).then(|| dot(&x, &y) / norm)
}
