//! What a network answered on each probe image: what two networks are compared by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Measurement;

/// Clean outputs and classes, image by image. Saved baselines keep them; the journal never does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answers {
    /// Names the probe images as they lie in their files, before any preprocessing: under one name, image k is image k.
    pub source: String,
    /// Measured numbers of one image's output.
    pub outputs: usize,
    /// The class of each image; empty where the output tells no classes.
    pub classes: Vec<u32>,
    /// Outputs of the first images, `[image, output]`: at most 2^20 numbers.
    pub clean: Vec<f32>,
    /// The labels of the images.
    #[serde(skip)]
    pub labels: Option<Vec<u32>>,
}

/// Numbers that are kept, at most.
const MOST: usize = 1 << 20;

impl Answers {
    /// From the outputs of all images, `[image, output]`.
    pub fn new(mut clean: Vec<f32>, outputs: usize, are_classes: bool, labels: Option<Vec<u32>>) -> Self {
        let outputs = outputs.max(1);
        let classes = if are_classes { classes(&clean, outputs) } else { Vec::new() };
        clean.truncate((MOST / outputs).max(2) * outputs);
        clean.shrink_to_fit();
        Self { source: String::new(), outputs, classes, clean, labels }
    }

    /// How much an answer says of which image it was: the entropy of the average answer, less the average entropy of an answer, over
    /// the largest entropy there can be. 0 where all images get one answer, 1 where each is sure and all classes are met.
    pub fn information(&self) -> Option<f64> {
        if self.outputs < 2 || self.classes.is_empty() {
            return None;
        }
        let (mut average, mut each) = (vec![0.0_f64; self.outputs], 0.0);
        let count = (self.clean.len() / self.outputs) as f64;
        for row in self.clean.chunks_exact(self.outputs) {
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            let exps: Vec<f64> = row.iter().map(|value| f64::from(value - largest).exp()).collect();
            let sum: f64 = exps.iter().sum();
            let shares = exps.iter().map(|exp| exp / sum);
            each += entropy(shares.clone()) / count;
            average.iter_mut().zip(shares).for_each(|(average, share)| *average += share / count);
        }
        Some((entropy(average.into_iter()) - each) / self.most_entropy())
    }

    /// The entropy of the classes that are met, over the largest there can be: 0 where all images get one class, 1 where each class
    /// is met as often as any.
    pub fn evenness(&self) -> Option<f64> {
        if self.outputs < 2 || self.classes.is_empty() {
            return None;
        }
        let mut counts = vec![0.0; self.outputs];
        self.classes.iter().for_each(|class| counts[*class as usize] += 1.0 / self.classes.len() as f64);
        Some(entropy(counts.into_iter()) / self.most_entropy())
    }

    /// Of as many classes as there are, or as images can meet.
    fn most_entropy(&self) -> f64 {
        (self.outputs.min(self.classes.len()).max(2) as f64).ln()
    }

    /// Which of the images are answered wrongly; `None` where the output tells no classes, or fewer than there are labels.
    pub fn wrong(&self, labels: &[u32]) -> Option<Vec<bool>> {
        let classes = self.outputs.max(2);
        let fit = !self.classes.is_empty() && labels.iter().all(|label| (*label as usize) < classes);
        fit.then(|| self.classes.iter().zip(labels).map(|(class, label)| class != label).collect())
    }
}

fn entropy(shares: impl Iterator<Item = f64>) -> f64 {
    -shares.filter(|share| *share > 0.0).map(|share| share * share.ln()).sum::<f64>()
}

/// The largest output of each image, the first of equals; of one output, whether it speaks for the second of two classes.
fn classes(clean: &[f32], outputs: usize) -> Vec<u32> {
    if outputs == 1 {
        let are_probabilities = clean.iter().all(|value| (0.0..=1.0).contains(value));
        let least = if are_probabilities { 0.5 } else { 0.0 };
        return clean.iter().map(|value| u32::from(*value > least)).collect();
    }
    let largest = |row: &[f32]| {
        let better = |best: usize, (k, value): (usize, &f32)| if *value > row[best] { k } else { best };
        row.iter().enumerate().fold(0, better) as u32
    };
    clean.chunks_exact(outputs).map(largest).collect()
}

/// What `check --save-baseline` writes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Saved {
    /// The record, with its replicates.
    #[serde(flatten)]
    pub measurement: Measurement,
    /// Absent in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_largest_output_or_the_sign_of_the_only_one() {
        let answers = Answers::new(vec![0.0, 2.0, 2.0, 5.0, 1.0, 0.0], 3, true, None);
        assert_eq!(answers.classes, [1, 0]);
        assert_eq!(answers.wrong(&[1, 2]), Some(vec![false, true]));
        assert_eq!(answers.wrong(&[1, 3]), None);
        assert_eq!(Answers::new(vec![-0.5, 3.0], 1, true, None).classes, [0, 1]);
        assert_eq!(Answers::new(vec![0.2, 0.9], 1, true, None).classes, [0, 1]);
        assert_eq!(Answers::new(vec![0.2, 0.9], 1, false, None).wrong(&[0, 0]), None);
    }

    #[test]
    fn outputs_are_kept_within_bounds_and_classes_of_all_images() {
        let answers = Answers::new(vec![0.0; 3 * MOST], 3, true, None);
        assert_eq!(answers.clean.len(), MOST / 3 * 3);
        assert_eq!(answers.classes.len(), MOST);
    }
}
