//! The laws that ship with the program, each with its source.

use super::Law;
use super::terms::Term;
use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::perturb::Interpolation;

const PAPER: &str = "Petrini, Favero, Geiger, Wyart (NeurIPS 2021, arXiv:2105.02468): CIFAR-10, 15 architectures trained on \
                     50,000 images; the spread was not published";

/// Every preset: the paper's own law, fits to the numbers that the paper's authors published, fits to our training zoo.
#[must_use]
pub fn presets() -> Vec<Law> {
    let paper = Law {
        name: "cifar10".to_owned(),
        a: 0.2,
        b: 0.5,
        sd_log: None,
        points: Some(15),
        r_f_min: None,
        r_f_max: None,
        source: PAPER.to_owned(),
        ..fitted("cifar10", "15 architectures", 3, 32.0, [0.0; 5], 0)
    };
    // Columns: a, b, sd of log error, least and largest R_f; then the number of networks.
    let both = "ResNet18 and EfficientNetB0";
    let mut laws = vec![
        paper,
        fitted("cifar10", both, 5, 32.0, [0.383, 0.506, 0.296, 0.09, 13.6], 493),
        fitted("cifar10", "ResNet18", 5, 32.0, [0.465, 0.614, 0.203, 0.09, 3.7], 317),
        fitted("cifar10", "EfficientNetB0", 5, 32.0, [0.309, 0.542, 0.296, 0.25, 13.6], 176),
        fitted("fashionmnist", both, 3, 28.0, [0.225, 0.416, 0.274, 0.016, 5.3], 357),
        fitted("fashionmnist", "ResNet18", 3, 28.0, [0.233, 0.381, 0.197, 0.016, 4.4], 181),
        fitted("mnist", both, 3, 28.0, [0.031, 0.581, 0.979, 0.006, 11.0], 368),
    ];
    for law in laws.iter_mut().skip(1).filter(|law| !law.source.contains(both)) {
        let architecture = if law.source.contains("ResNet18") { "resnet18" } else { "efficientnetb0" };
        law.name = format!("{}-{architecture}", law.name);
    }
    laws.extend(zoo());
    laws
}

impl Law {
    /// The preset called `name`.
    ///
    /// # Errors
    /// `Law` naming the presets if there is none of that name.
    pub fn preset(name: &str) -> Result<Self> {
        presets().into_iter().find(|law| law.name == name).ok_or_else(|| unknown(name, Vec::new()))
    }
}

/// There is no law called `name` among the presets and those that are `saved`.
pub(super) fn unknown(name: &str, saved: Vec<String>) -> Error {
    let names: Vec<_> = presets().into_iter().map(|law| law.name).chain(saved).collect();
    Error::Law { name: name.to_owned(), reason: format!("no such law; there are {}", names.join(", ")) }
}

/// Fits to the training zoo, made by `models/zoo/fit.py`.
fn zoo() -> Vec<Law> {
    serde_json::from_str(include_str!("zoo.json")).unwrap_or_default()
}

fn fitted(data_set: &str, networks: &str, cutoff: u32, side: f64, [a, b, sd, low, high]: [f64; 5], points: u32) -> Law {
    Law {
        name: format!("{data_set}-c{cutoff}"),
        version: 1,
        terms: vec![Term::RF],
        a,
        b,
        sd_log: Some(sd),
        explained: None,
        points: Some(points),
        r_f_min: Some(low),
        r_f_max: Some(high),
        classes: 10,
        cutoff,
        delta: 1.0,
        interpolation: Interpolation::Bilinear,
        estimator: Estimator::CoordinateMedian,
        side,
        source: format!(
            "our fit to the numbers published by the authors of arXiv:2105.02468: {data_set}, {networks}, training sets of \
             64 to 50,000, {points} networks"
        ),
        posterior: None,
        forced: None,
    }
}
