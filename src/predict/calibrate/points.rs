//! The points of a calibration: networks with a known error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::predict::linear::Sample;
use crate::predict::terms::{Quantities, Term, logs};

/// Fewer points give no verdict.
pub const FEWEST: usize = 5;

/// A network with a known error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Point {
    /// Names it to people.
    pub label: String,
    /// The training it comes from.
    pub run: Option<String>,
    /// What was measured of it.
    pub quantities: Quantities,
    /// Standard deviation of the logarithm that stands in laws, of those that have an interval.
    #[serde(default, skip_serializing_if = "Quantities::is_empty")]
    pub spreads: Quantities,
    /// Its error, a fraction.
    pub error: f64,
}

/// Points as a line sees them; `None` if one of them lacks a term.
pub(in crate::predict) fn samples(terms: &[Term], points: &[Point]) -> Option<Vec<Sample>> {
    points.iter().map(|point| Some((logs(terms, &point.quantities)?, point.error.ln()))).collect()
}
