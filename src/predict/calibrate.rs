//! A law from networks with a known error: the line, what it makes of points it has not seen, and whether that is worth anything.

mod candidates;
mod evidence;
mod left_out;
mod points;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::law::INFORMATIVE;
use super::linear::{Fit, Linear};
use super::terms::Term;
use super::{Conditions, Law};
use crate::error::{Error, Result};
pub use candidates::{Candidate, Form};
pub use evidence::{Told, evidence};
use left_out::{Group, Residual, rank_correlation, residuals, summary};
pub use left_out::{LEVEL, LeftOut};
pub(super) use points::samples;
pub use points::{FEWEST, Point};

/// A network with a known error, and what it was measured at.
#[derive(Debug, Clone)]
pub struct Known {
    /// The network.
    pub point: Point,
    /// What it was measured at.
    pub conditions: Conditions,
    /// Classes of its data set.
    pub classes: usize,
    /// The data set, and which copies of its images, where a table tells.
    pub data_set: Option<String>,
}

/// A law's line and what the points say about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Calibration {
    /// What the law goes by.
    pub form: Form,
    /// `log error` against the logarithms of its terms.
    pub line: Linear,
    /// The points it was fitted on.
    pub points: Vec<Judged>,
    /// Each point predicted from all others; null where too few determine a line.
    pub by_point: Option<LeftOut>,
    /// Each run's points predicted from all other runs; null for fewer than two runs.
    pub by_run: Option<LeftOut>,
    /// Spearman's rank correlation of the law's term, or of the line if it has two, with the error; null for fewer than three
    /// points.
    pub rank_correlation: Option<f64>,
    /// Whether the line tells the error here; null for fewer than [`FEWEST`] points.
    pub verdict: Option<Verdict>,
    /// What else the law could go by, on points left out; empty where a form was asked for.
    pub candidates: Vec<Candidate>,
}

/// A point and how far off it lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// The point.
    #[serde(flatten)]
    pub point: Point,
    /// Its distance from the line through the others, in standard errors (externally studentised residual).
    pub studentised: Option<f64>,
    /// So far off that one set of points in twenty has such a point by chance. It counts as much as any other.
    pub outlier: bool,
}

/// Whether a line tells the error, judged by points left out: by runs where there are two or more, else one by one.
///
/// On points without any relation, five of them are called predictive in 6% and weakly predictive in 9% of draws, twenty in
/// less than 1% and 10%.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// The line explains half of the variance of log error or more, and the rank correlation is 0.5 or more.
    Predictive,
    /// The line explains some of it: more than the mean does.
    Weakly,
    /// The mean error does as well.
    Not,
}

/// Fewer runs are too few to choose a form by.
const FEWEST_RUNS: usize = 3;
/// How often a set of points without outliers has one flagged.
const FALSE_ALARMS: f64 = 0.05;
/// A rank correlation of this or more goes with a predictive law.
const RANKED: f64 = 0.5;

/// Scale of log a between published laws.
const SCALE_OF_HEIGHT: f64 = 0.33;
/// Scale of b between published laws.
const SCALE_OF_SLOPE: f64 = 0.085;
/// The spread of log error differs between the presets by a factor of about 1.5 (0.2 to 0.6 in its logarithm; 0.4 here).
const DEGREES: f64 = 4.0;
/// The geometric mean of the presets' spreads, for a law whose own is unknown.
const USUAL_SPREAD: f64 = 0.3;

/// What `law` leads one to expect of another data set's law: its numbers, as far off as published laws are from each other;
/// a calibrated law is taken as it is.
pub fn prior(law: &Law) -> Linear {
    law.posterior.clone().unwrap_or_else(|| {
        let variance = law.sd_log.unwrap_or(USUAL_SPREAD).powi(2);
        let known = [(law.a.ln(), variance / SCALE_OF_HEIGHT.powi(2)), (law.b, variance / SCALE_OF_SLOPE.powi(2))];
        Linear::prior(&known, variance, DEGREES)
    })
}

/// Fits and judges a law, from `prior` on if there is one; without a `form` the prior's, or the best on points left out.
///
/// # Errors
/// `Points` for numbers without a logarithm, and where the points and the prior together determine no interval.
pub fn calibrate(points: &[Point], prior: Option<&Law>, form: Option<Form>) -> Result<Calibration> {
    let refuse = |expected: &str, found: String| Err(Error::points("calibration", expected, found));
    if points.is_empty() {
        return refuse("networks with a known error", "none".to_owned());
    }
    for point in points {
        if let Some(r_f) = point.quantities.get(&Term::RF).filter(|r_f| !(r_f.is_finite() && **r_f > 0.0)) {
            return Err(Error::points(&point.label, "a positive R_f", r_f.to_string()));
        }
        if !(point.error > 0.0 && point.error <= 1.0) {
            return Err(Error::points(&point.label, "an error above 0 and at most 1", point.error.to_string()));
        }
    }
    let given = prior.map(|law| (Form::of(law), self::prior(law)));
    let start = |form: Form| match &given {
        Some((of_prior, line)) if *of_prior == form => line.clone(),
        _ => form.vague(),
    };
    let usual = given.as_ref().map_or_else(|| Form::usual(points.iter()), |(form, _)| *form);
    let (by_points, by_runs) = (groups(points.iter(), false), groups(points.iter(), true));
    let runs = count(&by_runs);
    let choose = || {
        let groups = if runs >= FEWEST_RUNS { &by_runs } else { &by_points };
        candidates::choose(points, (groups, runs), usual, &start)
    };
    let (form, candidates) = form.map_or_else(choose, |form| (form, Vec::new()));
    let Some(samples) = samples(form.terms(), points) else {
        return refuse("a value above 0 of each term in every point", format!("points without, for {form}"));
    };
    let prior = start(form);
    let line = prior.updated(&samples);
    let Some(fit) = line.fit() else {
        let first = form.terms()[0];
        let expected =
            format!("points of different {}, 3 or more, or a law to start from with --prior", first.factor());
        let value = first.counted(points[0].quantities[&first]);
        return refuse(&expected, format!("{} of {} {value}", points.len(), first.factor()));
    };
    if fit.noise().is_none() {
        let expected = format!("{} points or more, or a law to start from with --prior", form.terms().len() + 2);
        return refuse(&expected, format!("{} of them", points.len()));
    }

    let alone = residuals(&samples, &by_points, &prior);
    let alarm = FALSE_ALARMS / points.len() as f64;
    let judge = |(point, residual): (&Point, &Option<Residual>)| Judged {
        point: point.clone(),
        studentised: residual.as_ref().and_then(|residual| residual.studentised).filter(|t| t.is_finite()),
        outlier: residual.as_ref().and_then(|residual| residual.beyond).is_some_and(|share| share < alarm),
    };
    let judged = points.iter().zip(&alone).map(judge).collect();
    let by_run = || summary(&residuals(&samples, &by_runs, &prior));
    let ranked = |x: &[f64]| if let [x] = x { *x } else { fit.at(x) };
    let pairs: Vec<_> = samples.iter().map(|(x, y)| (ranked(x), *y)).collect();
    let mut calibration = Calibration {
        form,
        line,
        by_point: summary(&alone),
        by_run: if has_runs(runs, points.len()) { by_run() } else { None },
        rank_correlation: rank_correlation(&pairs),
        verdict: None,
        points: judged,
        candidates,
    };
    calibration.verdict = (points.len() >= FEWEST && calibration.can_tell()).then(|| verdict(&calibration));
    Ok(calibration)
}

impl Calibration {
    /// The law of this line, in a data set of `classes` under `conditions`.
    pub fn law(&self, name: &str, conditions: &Conditions, classes: usize, source: String) -> Law {
        let points: Vec<_> = self.points.iter().map(|judged| &judged.point).collect();
        let explained = self.decisive().and_then(|left_out| left_out.explained);
        Law { explained, ..law(name, (self.form, &self.line), &points, (conditions, classes), source) }
    }

    /// How many trainings the points come from; a point without a run is a training of its own.
    pub fn runs(&self) -> usize {
        count(&groups(self.points.iter().map(|judged| &judged.point), true))
    }

    /// What the verdict goes by: trainings left out where there are two or more, else points; `None` where one of them leaves no line.
    pub fn decisive(&self) -> Option<LeftOut> {
        let judge = if has_runs(self.runs(), self.points.len()) { self.by_run } else { self.by_point };
        judge.filter(|left_out| left_out.points == self.points.len())
    }

    /// Whether what is left out judges: two trainings do only if at least half of their points lie inside the intervals of the other.
    fn can_tell(&self) -> bool {
        let covers = |left_out: LeftOut| left_out.coverage.is_some_and(|share| share >= 0.5);
        let is_of_few = self.by_run.is_some() && self.runs() < FEWEST_RUNS;
        self.decisive().is_some_and(|left_out| !is_of_few || covers(left_out))
    }
}

/// The law of a line through `points`.
pub(super) fn law(
    name: &str,
    (form, line): (Form, &Linear),
    points: &[&Point],
    (conditions, classes): (&Conditions, usize),
    source: String,
) -> Law {
    let r_f = || points.iter().filter_map(|point| point.quantities.get(&Term::RF).copied());
    let first = form.terms()[0];
    let range = extremes(points.iter().filter_map(|point| Some(first.counted(*point.quantities.get(&first)?))));
    let spreads: Option<Vec<_>> = points.iter().map(|point| point.spreads.get(&first).copied()).collect();
    let mean_square = |all: Vec<f64>| all.iter().map(|spread| spread.powi(2)).sum::<f64>() / all.len().max(1) as f64;
    let [r_f_min, r_f_max] = extremes(r_f()).map_or([None; 2], |range| range.map(Some));
    let fit = line.fit();
    let coefficient = |index: usize| fit.as_ref().map_or(f64::NAN, |fit| fit.coefficients[index]);
    Law {
        name: name.to_owned(),
        version: 1,
        terms: form.terms().to_vec(),
        a: coefficient(0).exp(),
        b: coefficient(1),
        sd_log: fit.as_ref().and_then(Fit::noise),
        explained: None,
        points: Some(points.len() as u32),
        degrees: None,
        r_f_min,
        r_f_max,
        range: range.filter(|_| first != Term::RF),
        sd_measured: spreads.map(|spreads| mean_square(spreads).sqrt()),
        sets: None,
        // A single output tells two.
        classes: classes.max(2),
        cutoff: conditions.cutoff,
        delta: conditions.delta,
        interpolation: conditions.interpolation,
        estimator: conditions.estimator,
        side: conditions.side,
        source,
        posterior: Some(line.clone()),
        forced: None,
    }
}

/// The least and the largest, widened to four digits.
fn extremes(values: impl Iterator<Item = f64> + Clone) -> Option<[f64; 2]> {
    let least = values.clone().min_by(f64::total_cmp)?;
    Some([four_digits(least, f64::floor), four_digits(values.max_by(f64::total_cmp)?, f64::ceil)])
}

fn four_digits(value: f64, round: fn(f64) -> f64) -> f64 {
    let scale = 10f64.powf(3.0 - value.log10().floor());
    round(value * scale) / scale
}

/// What points are left out with: their run, where `by_run` and they have one, else nothing.
fn groups<'a>(points: impl Iterator<Item = &'a Point>, by_run: bool) -> Vec<Group<'a>> {
    let group = |(index, point): (usize, &'a Point)| match &point.run {
        Some(run) if by_run => (Some(run.as_str()), 0),
        _ => (None, index),
    };
    points.enumerate().map(group).collect()
}

/// Whether points come from runs that can be left out whole.
fn has_runs(runs: usize, points: usize) -> bool {
    runs >= 2 && runs < points
}

fn count(groups: &[Group]) -> usize {
    groups.iter().collect::<BTreeSet<_>>().len()
}

fn verdict(calibration: &Calibration) -> Verdict {
    let explained = calibration.decisive().and_then(|left_out| left_out.explained).unwrap_or(0.0);
    match calibration.rank_correlation {
        Some(ranked) if explained >= INFORMATIVE && ranked >= RANKED => Verdict::Predictive,
        Some(_) if explained > 0.0 => Verdict::Weakly,
        _ => Verdict::Not,
    }
}
