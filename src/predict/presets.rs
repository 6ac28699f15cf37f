//! The laws that ship with the program, each with its source.

use super::Law;
use super::terms::Term;
use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::perturb::Interpolation;

const PAPER: &str = "Petrini, Favero, Geiger, Wyart (NeurIPS 2021, arXiv:2105.02468): CIFAR-10, original images, 15 architectures trained on \
                     50,000 images; the spread was not published";

/// Every preset: the laws in `1 - EI`, the paper's own law, fits to the numbers that its authors published, fits to our training zoo.
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
    let mut published = vec![
        paper,
        fitted("cifar10", both, 5, 32.0, [0.393, 0.499, 0.254, 0.09, 13.6], 477),
        fitted("cifar10", "ResNet18", 5, 32.0, [0.465, 0.614, 0.203, 0.09, 3.7], 317),
        fitted("cifar10", "EfficientNetB0", 5, 32.0, [0.337, 0.489, 0.222, 0.25, 13.6], 160),
        fitted("fashionmnist", both, 3, 28.0, [0.230, 0.408, 0.245, 0.016, 5.3], 341),
        fitted("fashionmnist", "ResNet18", 3, 28.0, [0.233, 0.381, 0.197, 0.016, 4.4], 181),
        fitted("mnist", both, 3, 28.0, [0.034, 0.590, 0.939, 0.006, 11.0], 352),
    ];
    for law in published.iter_mut().skip(1).filter(|law| !law.source.contains(both)) {
        let architecture = if law.source.contains("ResNet18") { "resnet18" } else { "efficientnetb0" };
        law.name = format!("{}-{architecture}", law.name);
    }
    let made = [INVARIANCE, ZOO].map(|laws| serde_json::from_str::<Vec<Law>>(laws).unwrap_or_default());
    let [invariance, zoo] = made;
    [invariance, published, zoo].concat()
}

/// Fits to public networks, made by `models/public/fit.py`.
const INVARIANCE: &str = include_str!("invariance.json");
/// Fits to the training zoo, made by `models/zoo/fit.py`.
const ZOO: &str = include_str!("zoo.json");

impl Law {
    /// The preset called `name`.
    ///
    /// # Errors
    /// `Law` naming the presets if there is none of that name.
    pub fn preset(name: &str) -> Result<Self> {
        presets().into_iter().find(|law| law.name == name).ok_or_else(|| unknown(name, Vec::new()))
    }

    /// The law of those who name none.
    ///
    /// # Errors
    /// As [`Law::preset`].
    pub fn usual() -> Result<Self> {
        Self::preset("invariance")
    }
}

/// There is no law called `name` among the presets and those that are `saved`.
pub(super) fn unknown(name: &str, saved: Vec<String>) -> Error {
    let names: Vec<_> = presets().into_iter().map(|law| law.name).chain(saved).collect();
    Error::Law { name: name.to_owned(), reason: format!("no such law; there are {}", names.join(", ")) }
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
        degrees: None,
        r_f_min: Some(low),
        r_f_max: Some(high),
        range: None,
        // 500 images, one draw of each.
        sd_measured: Some(0.057),
        sets: None,
        classes: 10,
        cutoff,
        delta: 1.0,
        interpolation: Interpolation::Bilinear,
        estimator: Estimator::CoordinateMedian,
        side,
        source: format!(
            "our fit to the numbers published by the authors of arXiv:2105.02468: {data_set}, original images, {networks}, training sets of \
             64 to 50,000, {points} networks{}",
            if networks.contains("EfficientNetB0") {
                "; EfficientNetB0 at 50,000 left out (another protocol)"
            } else {
                ""
            }
        ),
        posterior: None,
        forced: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_that_scripts_made_are_sound() {
        for (file, least) in [(INVARIANCE, 3), (ZOO, 6)] {
            let laws: Vec<Law> = serde_json::from_str(file).expect("laws");
            assert!(laws.len() >= least);
            for law in laws {
                law.validated().expect("sound");
            }
        }
    }
}
