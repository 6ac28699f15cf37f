//! The readings of 'typical'.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::Display;

/// What 'typical' means in the definitions of `D_f` and `G_f`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ValueEnum, Display)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Estimator {
    /// Median over images and draws of each output coordinate's squared change, summed over coordinates.
    #[default]
    CoordinateMedian,
    /// Median over images and draws of the squared norm of the change.
    Median,
    /// Mean over images and draws of the squared norm of the change.
    Mean,
}

impl Estimator {
    /// Every reading, the headline first.
    pub const ALL: [Self; 3] = [Self::CoordinateMedian, Self::Median, Self::Mean];
}
