//! What else the passes tell of a classifier without labels: how sure it is, and how often it stays with its answer.

use super::outputs::Changed;
use crate::event::{Agreement, Confidence, Scores};

/// One image's share: of its clean pass, and summed over its draws, deformed and noisy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    class: usize,
    clean: f32,
    changed: [f32; 2],
    agreeing: [u32; 2],
}

impl Tally {
    pub fn clean(outputs: &[f32]) -> Self {
        let (class, clean) = answer(outputs);
        Self { class, clean, ..Self::default() }
    }

    /// The class of the clean image.
    pub fn class(&self) -> usize {
        self.class
    }

    pub fn add(&mut self, kind: Changed, outputs: &[f32]) {
        let (class, confidence) = answer(outputs);
        self.changed[kind as usize] += confidence;
        self.agreeing[kind as usize] += u32::from(class == self.class);
    }
}

/// Means over images and draws; `None` for a network of one output.
pub(super) fn scores(tallies: &[Tally], outputs: usize, draws: usize) -> Option<Scores> {
    if outputs < 2 || draws == 0 {
        return None;
    }
    let mean = |value: &dyn Fn(&Tally) -> f64, each: usize| {
        tallies.iter().map(value).sum::<f64>() / (tallies.len() * each) as f64
    };
    let [deformed, noisy] = [Changed::Deformed as usize, Changed::Noisy as usize];
    Some(Scores {
        confidence: Confidence {
            clean: mean(&|tally| f64::from(tally.clean), 1),
            deformed: mean(&|tally| f64::from(tally.changed[deformed]), draws),
            noisy: mean(&|tally| f64::from(tally.changed[noisy]), draws),
        },
        agreement: Agreement {
            deformed: mean(&|tally| f64::from(tally.agreeing[deformed]), draws),
            noisy: mean(&|tally| f64::from(tally.agreeing[noisy]), draws),
        },
    })
}

/// The predicted class, the first of equals, and its probability after the softmax.
fn answer(outputs: &[f32]) -> (usize, f32) {
    let better = |best: usize, (k, value): (usize, &f32)| if *value > outputs[best] { k } else { best };
    let class = outputs.iter().enumerate().fold(0, better);
    let sum: f32 = outputs.iter().map(|value| (value - outputs[class]).exp()).sum();
    (class, 1.0 / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidence_is_the_largest_probability_and_agreement_counts_classes() {
        let half = 2f32.ln();
        let mut tallies = [Tally::clean(&[0.0, half]), Tally::clean(&[1e4, -1e4])];
        tallies[0].add(Changed::Deformed, &[half, 0.0]);
        tallies[1].add(Changed::Deformed, &[3.0, 3.0]);
        for tally in &mut tallies {
            tally.add(Changed::Noisy, &[0.0, 0.0]);
        }
        let Scores { confidence, agreement } = scores(&tallies, 2, 1).expect("two outputs");
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(close(confidence.clean, 5.0 / 6.0), "{confidence:?}");
        assert!(close(confidence.deformed, 7.0 / 12.0), "{confidence:?}");
        assert!(close(confidence.noisy, 0.5), "{confidence:?}");
        assert!(close(agreement.deformed, 0.5) && close(agreement.noisy, 0.5), "{agreement:?}");
        assert!(scores(&tallies, 1, 1).is_none());
    }
}
