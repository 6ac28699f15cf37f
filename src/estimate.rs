//! Turns network outputs into stabilities: `D_f`, `G_f` and `R_f` with bootstrap intervals.
//!
//! Pure functions over arrays. Every interval resamples whole images: all draws of an image move together, and
//! numerator, denominator and pair normaliser of one resample share its weights. Definitions: arXiv:2105.02468, section 2.

mod bootstrap;
mod compare;
mod interval;
mod lanes;
mod median;
mod normaliser;
mod pairs;
mod readings;
mod responses;
mod select;
mod stability;
#[cfg(test)]
mod tests;
mod weights;

pub use bootstrap::{Bootstrap, Mean, stabilities};
pub use compare::{Comparison, compare};
pub use interval::{Estimate, LOG_LIMIT, Resampling, percentiles};
pub use pairs::MAX_PAIRS;
pub use responses::Responses;
pub use stability::{Stabilities, Stability, Undefined};

/// What 'typical' means in the definitions of `D_f` and `G_f`.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
    strum::Display,
)]
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
