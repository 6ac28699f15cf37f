//! What a law may go by: quantities of one measurement, all from the same passes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A quantity of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, strum::Display)]
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
    /// Share of deformed images whose predicted class is that of the clean one.
    AgreementDeformed,
    /// Share of noisy images whose predicted class is that of the clean one.
    AgreementNoisy,
}

/// What is known of a network.
pub type Quantities = BTreeMap<Term, f64>;

impl Term {
    /// Whether a network that is right on every image comes near 1, not 0.
    fn is_score(self) -> bool {
        !matches!(self, Self::RF | Self::DF | Self::GF)
    }

    /// What the logarithm of the error is linear in: `log q`, or `log (1 - q)` for confidence and agreement.
    #[must_use]
    pub fn log(self, quantities: &Quantities) -> Option<f64> {
        let value = *quantities.get(&self)?;
        let log = if self.is_score() { (1.0 - value).ln() } else { value.ln() };
        log.is_finite().then_some(log)
    }

    /// As it stands in an equation.
    #[must_use]
    pub fn factor(self) -> String {
        match self {
            Self::RF => "R_f".to_owned(),
            Self::DF => "D_f".to_owned(),
            Self::GF => "G_f".to_owned(),
            score => format!("(1 - {score})"),
        }
    }
}

/// Those quantities that have a value.
pub fn known(values: impl IntoIterator<Item = (Term, Option<f64>)>) -> Quantities {
    values.into_iter().filter_map(|(term, value)| Some((term, value?))).collect()
}

/// The logarithms of `terms`; `None` if one is not known or has none.
#[must_use]
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
    }

    #[test]
    fn names_are_those_of_records() {
        let json = serde_json::to_string(&[Term::RF, Term::AgreementDeformed]).expect("JSON");
        assert_eq!(json, r#"["r_f","agreement_deformed"]"#);
        assert_eq!(Term::RF.to_string(), "r_f");
    }
}
