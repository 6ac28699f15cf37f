//! Turns network outputs into stabilities: `D_f`, `G_f` and `R_f` with bootstrap intervals.
//!
//! Pure functions over arrays. Every interval resamples whole images: all draws of an image move together, and
//! numerator, denominator and pair normaliser of one resample share its weights. Definitions: arXiv:2105.02468, section 2.

mod bootstrap;
mod compare;
mod estimator;
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
pub use estimator::Estimator;
pub use interval::{Estimate, LOG_LIMIT, Resampling, percentiles, quantile};
pub use pairs::MAX_PAIRS;
pub use responses::Responses;
pub use stability::{Stabilities, Stability, Undefined};
