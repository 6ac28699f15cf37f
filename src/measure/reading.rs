//! How a network's outputs are read: whether they tell classes, which, and how surely.

use serde::{Deserialize, Serialize};

use super::scores::{Nature, Tally};
use crate::backend::Network;
use crate::event::Answers;

/// How a network's outputs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reading {
    pub outputs: usize,
    pub are_classes: bool,
    /// Whether another output than the measured one, behind a final `ReLU` or `Clip`, tells the class.
    pub has_answer: bool,
    /// Whether the network ends so that several classes may be right at once.
    pub is_independent: bool,
}

impl Reading {
    pub fn of(network: &Network) -> Self {
        let are_classes = network.output.coordinates.are_classes();
        let (has_answer, is_independent) = (network.answer.is_some(), network.is_independent);
        Self { outputs: network.outputs(), are_classes, has_answer, is_independent }
    }

    /// What the network answered to images as they are.
    pub fn answers(self, clean: Vec<f32>, tallies: &[Tally], labels: Option<Vec<u32>>) -> Answers {
        let mut answers = Answers::new(clean, self.outputs, self.are_classes, labels);
        if self.has_answer && !answers.classes.is_empty() {
            answers.classes = tallies.iter().map(|tally| tally.class() as u32).collect();
        }
        answers
    }

    /// Average probability of the predicted class; `None` for a single output, or one that tells no classes.
    pub fn confidence(self, tallies: &[Tally]) -> Option<f64> {
        let nature = Nature::of(tallies, self.is_independent);
        let sum = || tallies.iter().map(|tally| f64::from(tally.confidence(nature))).sum::<f64>();
        (self.are_classes && self.outputs > 1).then(|| sum() / tallies.len().max(1) as f64)
    }
}
