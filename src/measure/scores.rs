//! What else the passes tell of a classifier without labels: how sure it is, how often it stays with its answer, and both at once.

use super::outputs::Changed;
use crate::error::Result;
use crate::estimate::{Bootstrap, Mean};
use crate::event::{Agreement, Confidence, Invariance, Scores};

/// One image's share: of its clean pass, and summed over its draws, deformed and noisy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    class: usize,
    agreeing: [u32; 2],
    /// By what its outputs may be.
    sums: [Sums; 2],
    /// Whether all of its outputs lie in [0, 1], and whether they are about the probabilities of classes.
    bounded: bool,
    probable: bool,
}

/// A [`Tally`] as numbers: the class and how often it stayed, sums by what outputs may be, and what they may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Row {
    pub counts: [u32; 3],
    pub sums: [[f32; 5]; 2],
    pub kinds: [u8; 2],
}

/// What outputs may be, and in `Tally::sums`.
#[derive(Clone, Copy)]
enum Kind {
    Logits,
    /// The graph ends with a softmax that it does not show, or was trained towards 1 for the class and 0 for the others.
    Probabilities,
}

/// What the outputs are, by all images together.
#[derive(Clone, Copy)]
pub(super) struct Nature {
    kind: Kind,
    /// Whether one class excludes the others; outputs in [0, 1] that do not sum to one tell of each class by itself, and so do those
    /// that are independent, a sigmoid standing behind them.
    pub is_exclusive: bool,
}

impl Nature {
    pub fn of(tallies: &[Tally], are_independent: bool) -> Self {
        let says_yes = |tally: &Tally| tally.sums[Kind::Probabilities as usize].clean > 0.5;
        let are_bounded = tallies.iter().all(|tally| tally.bounded) && tallies.iter().any(says_yes);
        let are_probabilities = tallies.iter().all(|tally| tally.probable);
        let kind = if are_probabilities { Kind::Probabilities } else { Kind::Logits };
        Self { kind, is_exclusive: !are_independent && (!are_bounded || are_probabilities) }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    clean: f32,
    changed: [f32; 2],
    invariance: [f32; 2],
}

impl Tally {
    pub fn clean(outputs: &[f32]) -> Self {
        let Answer { class, confidence, bounded, probable } = Answer::of(outputs);
        let sums = confidence.map(|clean| Sums { clean, ..Sums::default() });
        Self { class, sums, bounded, probable, ..Self::default() }
    }

    /// The class of the clean image.
    pub fn class(&self) -> usize {
        self.class
    }

    /// The probability of that class, a fraction.
    pub fn confidence(&self, nature: Nature) -> f32 {
        self.sums[nature.kind as usize].clean.clamp(0.0, 1.0)
    }

    /// Effective invariance under deformation, summed over the draws.
    pub fn invariance(&self, nature: Nature) -> f32 {
        self.sums[nature.kind as usize].invariance[Changed::Deformed as usize]
    }

    /// As numbers, for a file.
    pub fn to_row(self) -> Row {
        let sums = self.sums.map(|Sums { clean, changed: [c, d], invariance: [i, j] }| [clean, c, d, i, j]);
        let [first, second] = self.agreeing;
        Row { counts: [self.class as u32, first, second], sums, kinds: [self.bounded, self.probable].map(u8::from) }
    }

    /// The share that [`Tally::to_row`] gave.
    pub fn of_row(Row { counts: [class, first, second], sums, kinds }: Row) -> Self {
        let sums = sums.map(|[clean, c, d, i, j]| Sums { clean, changed: [c, d], invariance: [i, j] });
        let [bounded, probable] = kinds.map(|kind| kind != 0);
        Self { class: class as usize, agreeing: [first, second], sums, bounded, probable }
    }

    pub fn add(&mut self, kind: Changed, outputs: &[f32]) {
        let Answer { class, confidence, bounded, probable } = Answer::of(outputs);
        (self.bounded, self.probable) = (self.bounded && bounded, self.probable && probable);
        self.agreeing[kind as usize] += u32::from(class == self.class);
        for (sums, confidence) in self.sums.iter_mut().zip(confidence) {
            sums.changed[kind as usize] += confidence;
            if class == self.class {
                sums.invariance[kind as usize] += (sums.clean * confidence).sqrt();
            }
        }
    }
}

/// Means over images and draws, and the replicates of the effective invariance under deformation; that is for classes that exclude
/// each other.
///
/// # Errors
/// As [`Bootstrap::mean`].
pub(super) fn scores(
    (tallies, draws): (&[Tally], usize),
    are_independent: bool,
    bootstrap: &Bootstrap,
) -> Result<(Scores, Option<Vec<f32>>)> {
    let mean = |value: &dyn Fn(&Tally) -> f64, each: usize| {
        tallies.iter().map(value).sum::<f64>() / (tallies.len() * each) as f64
    };
    let [deformed, noisy] = [Changed::Deformed as usize, Changed::Noisy as usize];
    let nature = Nature::of(tallies, are_independent);
    let kind = nature.kind as usize;
    let invariance = |changed: usize| {
        let of_image = |tally: &Tally| f64::from(tally.sums[kind].invariance[changed]) / draws as f64;
        bootstrap.mean(&tallies.iter().map(of_image).collect::<Vec<_>>())
    };
    let (invariance, replicates) = if nature.is_exclusive {
        let Mean { estimate, replicates } = invariance(deformed)?;
        (Some(Invariance { deformed: estimate, noisy: invariance(noisy)?.estimate }), Some(replicates))
    } else {
        (None, None)
    };
    let scores = Scores {
        confidence: Confidence {
            clean: mean(&|tally| f64::from(tally.sums[kind].clean), 1),
            deformed: mean(&|tally| f64::from(tally.sums[kind].changed[deformed]), draws),
            noisy: mean(&|tally| f64::from(tally.sums[kind].changed[noisy]), draws),
        },
        agreement: Agreement {
            deformed: mean(&|tally| f64::from(tally.agreeing[deformed]), draws),
            noisy: mean(&|tally| f64::from(tally.agreeing[noisy]), draws),
        },
        invariance,
        classes: Some(classes_answered(tallies)),
    };
    Ok((scores, replicates))
}

/// Exponential of the entropy of the predicted classes' shares.
fn classes_answered(tallies: &[Tally]) -> f64 {
    let mut counts = std::collections::BTreeMap::<usize, f64>::new();
    for tally in tallies {
        *counts.entry(tally.class).or_default() += 1.0;
    }
    let share = |count: &f64| count / tallies.len() as f64;
    (-counts.values().map(|count| share(count) * share(count).ln()).sum::<f64>()).exp()
}

/// One row of outputs.
struct Answer {
    /// The first of the largest.
    class: usize,
    /// Its probability, by what the outputs may be.
    confidence: [f32; 2],
    bounded: bool,
    probable: bool,
}

/// Probabilities that were rounded to 8 bits lie in [0, 1] within this.
const ROUNDING: f32 = 0.02;
/// Those of a network trained on squared error, a line's values, lie in [0, 1] and sum to one within these, on every image.
const BEYOND: f32 = 0.5;
const OFF: f32 = 0.3;

impl Answer {
    fn of(outputs: &[f32]) -> Self {
        let better = |best: usize, (k, value): (usize, &f32)| if *value > outputs[best] { k } else { best };
        let class = outputs.iter().enumerate().fold(0, better);
        let largest = outputs[class];
        let exponentials: f32 = outputs.iter().map(|value| (value - largest).exp()).sum();
        let sum: f32 = outputs.iter().sum();
        let within = |most: f32| outputs.iter().all(|value| (-most..=1.0 + most).contains(value));
        Self {
            class,
            confidence: [1.0 / exponentials, largest.clamp(0.0, 1.0)],
            bounded: within(ROUNDING),
            probable: within(BEYOND) && (sum - 1.0).abs() <= OFF,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Resampling;

    fn of(tallies: &[Tally], draws: usize) -> Scores {
        let bootstrap = Bootstrap::new(tallies.len(), &Resampling::default()).expect("two images");
        let (scores, replicates) = scores((tallies, draws), false, &bootstrap).expect("as many tallies as images");
        assert_eq!(
            replicates.map_or(0, |replicates| replicates.len()),
            if scores.invariance.is_some() { 1000 } else { 0 }
        );
        scores
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn confidence_is_the_largest_probability_and_agreement_counts_classes() {
        let half = 2f32.ln();
        let mut tallies = [Tally::clean(&[0.0, half]), Tally::clean(&[1e4, -1e4])];
        tallies[0].add(Changed::Deformed, &[half, 0.0]);
        tallies[1].add(Changed::Deformed, &[3.0, 3.0]);
        for tally in &mut tallies {
            tally.add(Changed::Noisy, &[0.0, 0.0]);
        }
        let Scores { confidence, agreement, classes, .. } = of(&tallies, 1);
        assert!(close(classes.expect("a classifier's"), 2.0), "{classes:?}");
        assert!(close(confidence.clean, 5.0 / 6.0), "{confidence:?}");
        assert!(close(confidence.deformed, 7.0 / 12.0), "{confidence:?}");
        assert!(close(confidence.noisy, 0.5), "{confidence:?}");
        assert!(close(agreement.deformed, 0.5) && close(agreement.noisy, 0.5), "{agreement:?}");
    }

    #[test]
    fn invariance_is_the_root_of_both_confidences_where_the_class_stays() {
        let (two, eight) = (2f32.ln(), 8f32.ln());
        // Confidence 2/3; then 8/9 in the same class, 2/3 in the other one. The second image stays as it is.
        let mut tallies = [Tally::clean(&[0.0, two]), Tally::clean(&[0.0, two])];
        tallies[0].add(Changed::Deformed, &[0.0, eight]);
        tallies[0].add(Changed::Deformed, &[two, 0.0]);
        for tally in &mut tallies {
            tally.add(Changed::Noisy, &[0.0, two]);
            tally.add(Changed::Noisy, &[0.0, two]);
        }
        tallies[1].add(Changed::Deformed, &[0.0, two]);
        tallies[1].add(Changed::Deformed, &[0.0, two]);
        let Scores { invariance, classes, .. } = of(&tallies, 2);
        assert!(close(classes.expect("a classifier's"), 1.0), "{classes:?}");
        let invariance = invariance.expect("a classifier's");
        let first = (2.0f64 / 3.0 * 8.0 / 9.0).sqrt();
        assert!(close(invariance.deformed.value, f64::midpoint(first / 2.0, 2.0 / 3.0)), "{invariance:?}");
        assert!(close(invariance.deformed.low, first / 2.0) && close(invariance.deformed.high, 2.0 / 3.0));
        assert!(close(invariance.noisy.low, 2.0 / 3.0) && close(invariance.noisy.high, 2.0 / 3.0));
    }

    #[test]
    fn probabilities_are_taken_as_they_are_and_independent_ones_have_no_invariance() {
        let tallies = |rows: [[f32; 2]; 2]| {
            rows.map(|row| {
                let mut tally = Tally::clean(&row);
                tally.add(Changed::Deformed, &row);
                tally.add(Changed::Noisy, &row);
                tally
            })
        };
        let softmax = of(&tallies([[0.1, 0.9], [0.3, 0.7]]), 1);
        assert!(close(softmax.confidence.clean, 0.8), "{softmax:?}");
        assert!(close(softmax.invariance.expect("a classifier's").deformed.value, 0.8), "{softmax:?}");
        // Trained on squared error: about 1 for the class, about 0 for the others.
        let line = of(&tallies([[-0.1, 1.05], [0.9, 0.02]]), 1).invariance.expect("a classifier's");
        assert!(close(line.deformed.value, 0.95), "{line:?}");
        let sigmoids = of(&tallies([[0.1, 0.9], [0.9, 0.7]]), 1);
        assert!(sigmoids.invariance.is_none());
        let logits = tallies([[0.1, 9.0], [3.0, -2.0]]);
        assert!(of(&logits, 1).invariance.is_some());
        assert!(!Nature::of(&logits, true).is_exclusive);
    }
}
