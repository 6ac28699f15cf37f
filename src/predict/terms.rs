//! What a law may go by: quantities of one measurement, all from the same passes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter};

use crate::estimate::{Estimate, quantile};

/// A quantity of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, Display, EnumIter)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Term {
    /// Relative stability.
    #[strum(serialize = "r_f")]
    RF,
    /// Relative change under deformation.
    #[strum(serialize = "d_f")]
    DF,
    /// Relative change under noise.
    #[strum(serialize = "g_f")]
    GF,
    /// Average confidence on the probe images.
    ConfidenceClean,
    /// Average confidence on the deformed images.
    ConfidenceDeformed,
    /// Average confidence on the noisy images.
    ConfidenceNoisy,
    /// Share of deformed images whose predicted class is that of the clean one.
    AgreementDeformed,
    /// Share of noisy images whose predicted class is that of the clean one.
    AgreementNoisy,
    /// Effective invariance under deformation.
    InvarianceDeformed,
    /// Effective invariance under noise.
    InvarianceNoisy,
}

/// What is known of a network.
pub type Quantities = BTreeMap<Term, f64>;

/// A measured network as a law sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// What the passes gave.
    pub quantities: Quantities,
    /// Standard deviation of the logarithm that stands in laws, of those that have an interval.
    pub spreads: Quantities,
    /// The level of intervals.
    pub level: f64,
    /// Classes that the network tells apart.
    pub classes: usize,
    /// Images that it was measured on.
    pub images: usize,
    /// Their side, pixels; for non-square images the root mean square of both.
    pub side: f64,
}

impl Term {
    /// Whether it lies from 0 to 1, and a network that is right on every image comes near 1.
    pub fn is_score(self) -> bool {
        !matches!(self, Self::RF | Self::DF | Self::GF)
    }

    /// As it stands in a law's equation: itself, or for a score what is left to 1.
    pub fn counted(self, value: f64) -> f64 {
        if self.is_score() { 1.0 - value } else { value }
    }

    /// What the logarithm of the error is linear in: `log q`, or `log (1 - q)` for a score.
    pub fn log(self, quantities: &Quantities) -> Option<f64> {
        let log = self.counted(*quantities.get(&self)?).ln();
        log.is_finite().then_some(log)
    }

    /// Standard deviation of that logarithm, from an interval of the quantity. Where one end has no logarithm, as an EI of 1, half of
    /// the interval is from the value to the other end.
    pub fn spread(self, estimate: &Estimate) -> Option<f64> {
        let Estimate { value, low, high, level } = *estimate;
        let [low, value, high] = [low, value, high].map(|value| self.counted(value).ln());
        let half = match (low.is_finite(), high.is_finite()) {
            (true, true) => (low - high).abs() / 2.0,
            (true, false) => (low - value).abs(),
            (false, _) => (high - value).abs(),
        };
        let spread = half / quantile(level);
        spread.is_finite().then_some(spread)
    }

    /// As it stands in an equation.
    pub fn factor(self) -> String {
        match self {
            Self::RF => "R_f".to_owned(),
            Self::DF => "D_f".to_owned(),
            Self::GF => "G_f".to_owned(),
            Self::InvarianceDeformed => "(1 - EI)".to_owned(),
            score => format!("(1 - {score})"),
        }
    }
}

/// Those quantities that have a value.
pub fn known(values: impl IntoIterator<Item = (Term, Option<f64>)>) -> Quantities {
    values.into_iter().filter_map(|(term, value)| Some((term, value?))).collect()
}

/// The logarithms of `terms`; `None` if one is not known or has none.
pub fn logs(terms: &[Term], quantities: &Quantities) -> Option<Vec<f64>> {
    terms.iter().map(|term| term.log(quantities)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_count_from_their_best_value() {
        let quantities =
            Quantities::from([(Term::RF, 0.25), (Term::ConfidenceClean, 0.75), (Term::AgreementNoisy, 1.0)]);
        assert_eq!(Term::RF.log(&quantities), Term::ConfidenceClean.log(&quantities));
        assert_eq!(Term::AgreementNoisy.log(&quantities), None);
        assert_eq!(logs(&[Term::RF, Term::DF], &quantities), None);
        assert_eq!(Term::ConfidenceClean.factor(), "(1 - confidence_clean)");
        assert_eq!(Term::InvarianceDeformed.factor(), "(1 - EI)");
    }

    #[test]
    fn a_spread_is_that_of_the_logarithm() {
        let estimate = |low, high| Estimate { value: 0.5, low, high, level: 0.95 };
        let of_ratio = Term::RF.spread(&estimate(0.5, 0.5 * 3.92f64.exp())).expect("an interval");
        let of_score = Term::InvarianceDeformed.spread(&estimate(1.0 - 0.1 * 3.92f64.exp(), 0.9));
        assert!((of_ratio - 1.0).abs() < 1e-4 && (of_score.expect("an interval") - 1.0).abs() < 1e-4);
        // Nothing is left to 1 at one end, which tells less than a short interval does, not more.
        let to_one = Estimate { value: 1.0 - 0.1 * (-1.96f64).exp(), ..estimate(0.9, 1.0) };
        assert!((Term::InvarianceDeformed.spread(&to_one).expect("an interval") - 1.0).abs() < 1e-4);
        let from_nothing = Estimate { value: 0.5 * (-1.96f64).exp(), ..estimate(0.0, 0.5) };
        assert!((Term::RF.spread(&from_nothing).expect("an interval") - 1.0).abs() < 1e-4);
        assert_eq!(Term::InvarianceDeformed.spread(&Estimate { value: 1.0, ..estimate(1.0, 1.0) }), None);
    }

    #[test]
    fn names_are_those_of_records() {
        let json = serde_json::to_string(&[Term::RF, Term::AgreementDeformed]).expect("JSON");
        assert_eq!(json, r#"["r_f","agreement_deformed"]"#);
        assert_eq!(Term::RF.to_string(), "r_f");
    }
}
