//! What each quantity tells of the error: a line of its own, on networks that it was not fitted on.

use rand::SeedableRng as _;
use rand::seq::IndexedRandom as _;
use rand_xoshiro::Xoshiro256PlusPlus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::IntoEnumIterator as _;

use super::left_out::{Group, LEVEL, rank_correlation, residuals};
use super::{Point, count, groups, samples};
use crate::estimate::{Estimate, percentiles};
use crate::predict::linear::Linear;
use crate::predict::terms::Term;

/// How one quantity predicts networks of trainings that its line was not fitted on; intervals are over trainings, or over the networks of
/// a single one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Told {
    /// The quantity.
    pub quantity: String,
    /// Networks that have it.
    pub points: usize,
    /// Trainings that they come from.
    pub trainings: usize,
    /// Mean absolute error of the predicted log error.
    pub error: Estimate,
    /// Spearman's rank correlation with the error: 1 where the quantity puts the networks in their order.
    pub rank_correlation: Option<Estimate>,
    /// Share of the networks inside their 90% intervals; null for what has none.
    pub coverage: Option<Estimate>,
}

/// Resamples of trainings.
const RESAMPLES: usize = 1000;
/// The level of intervals over trainings.
const OVER_TRAININGS: f64 = 0.95;

/// A network as one quantity predicts it.
struct Judged {
    x: f64,
    y: f64,
    off: f64,
    is_inside: Option<bool>,
}

/// Every quantity that three networks or more have, least error first; then average confidence taken for the accuracy, unfitted.
pub fn evidence(points: &[Point]) -> Vec<Told> {
    let mut told: Vec<_> = Term::iter().filter_map(|term| of_term(term, points)).collect();
    told.sort_by(|a, b| a.error.value.total_cmp(&b.error.value));
    told.extend(of_confidence(points));
    told
}

/// How many trainings points are of, and what each is left out with: its training, or of a single training nothing else.
fn left_out<'a>(points: impl Iterator<Item = &'a Point> + Clone) -> (usize, Vec<Group<'a>>) {
    let trainings = count(&groups(points.clone(), true));
    (trainings, groups(points, trainings > 1))
}

fn of_term(term: Term, points: &[Point]) -> Option<Told> {
    let having: Vec<Point> = points.iter().filter(|point| term.log(&point.quantities).is_some()).cloned().collect();
    let samples = samples(&[term], &having)?;
    let (trainings, groups) = left_out(having.iter());
    let judged = samples.iter().zip(residuals(&samples, &groups, &Linear::vague(1))).map(|((x, y), residual)| {
        let residual = residual?;
        let is_inside = residual.beyond.map(|share| share >= 1.0 - LEVEL);
        Some(Judged { x: x[0], y: *y, off: residual.error(), is_inside })
    });
    told(term.factor(), &judged.collect::<Option<Vec<_>>>()?, &groups, trainings)
}

fn of_confidence(points: &[Point]) -> Option<Told> {
    let term = Term::ConfidenceClean;
    let having: Vec<&Point> = points.iter().filter(|point| term.log(&point.quantities).is_some()).collect();
    let judged = having.iter().filter_map(|point| {
        let (x, y) = (term.log(&point.quantities)?, point.error.ln());
        Some(Judged { x, y, off: (y - x).abs(), is_inside: None })
    });
    let name = format!("{} itself", term.factor());
    let (trainings, groups) = left_out(having.iter().copied());
    told(name, &judged.collect::<Vec<_>>(), &groups, trainings)
}

fn told(quantity: String, judged: &[Judged], of: &[Group], trainings: usize) -> Option<Told> {
    if judged.len() < 3 {
        return None;
    }
    let mut groups = std::collections::BTreeMap::<_, Vec<&Judged>>::new();
    for (judged, group) in judged.iter().zip(of) {
        groups.entry(group).or_default().push(judged);
    }
    let groups: Vec<_> = groups.into_values().collect();
    let statistics = |of: &[&Judged]| {
        let count = of.len() as f64;
        let error = of.iter().map(|judged| judged.off).sum::<f64>() / count;
        let ranked = rank_correlation(&of.iter().map(|judged| (judged.x, judged.y)).collect::<Vec<_>>());
        let inside =
            of.iter().map(|judged| judged.is_inside.map(|inside| f64::from(u8::from(inside)))).sum::<Option<f64>>();
        [Some(error), ranked, inside.map(|inside| inside / count)]
    };
    let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
    let resamples: Vec<_> = (0..RESAMPLES)
        .map(|_| {
            let drawn = (0..groups.len()).filter_map(|_| groups.choose(&mut random));
            statistics(&drawn.flatten().copied().collect::<Vec<_>>())
        })
        .collect();
    let all = statistics(&judged.iter().collect::<Vec<_>>());
    let estimate = |index: usize| {
        let replicates: Vec<f64> = resamples.iter().filter_map(|statistics| statistics[index]).collect();
        let value = all[index].filter(|_| !replicates.is_empty())?;
        let (low, high) = percentiles(replicates, OVER_TRAININGS);
        Some(Estimate { value, low, high, level: OVER_TRAININGS })
    };
    Some(Told {
        quantity,
        points: judged.len(),
        trainings,
        error: estimate(0)?,
        rank_correlation: estimate(1),
        coverage: estimate(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::terms::Quantities;

    #[test]
    fn the_quantity_that_tells_the_error_comes_first_and_confidence_is_judged_as_it_is() {
        let point = |index: usize| {
            let scatter = |seed: usize| ((index * seed) % 17) as f64 / 17.0;
            let invariance = 0.3 + 0.6 * scatter(3);
            let quantities = Quantities::from([
                (Term::RF, 0.1 + scatter(5)),
                (Term::InvarianceDeformed, invariance),
                (Term::ConfidenceClean, 1.0 - 0.2 * (1.0 - invariance)),
            ]);
            let error = 0.4 * (1.0 - invariance) * (1.0 + 0.02 * scatter(7));
            let run = Some(format!("run {}", index / 2));
            Point { label: String::new(), run, quantities, spreads: Quantities::new(), error }
        };
        let told = evidence(&(0..16).map(point).collect::<Vec<_>>());
        let names: Vec<_> = told.iter().map(|told| told.quantity.as_str()).collect();
        assert_eq!((names.len(), names[2], names[3]), (4, "R_f", "(1 - confidence_clean) itself"));
        let best = told.iter().find(|told| told.quantity == "(1 - EI)").expect("there");
        assert!(best.error.high < 0.05 && best.rank_correlation.is_some_and(|ranked| ranked.value > 0.95), "{best:?}");
        assert_eq!((best.points, best.trainings), (16, 8));
        assert!(best.coverage.is_some_and(|share| share.value > 0.6));
        // Half of the error's logarithm is off by log 2.
        assert!((told[3].error.value - 2f64.ln()).abs() < 0.05 && told[3].coverage.is_none(), "{:?}", told[3]);
        assert!(evidence(&[]).is_empty());
    }
}
