//! The limits of `relstab check`, as people write them.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::path::PathBuf;

use crate::check::{Bound, Limit, Quantity};
use crate::error::{Error, Result};

/// The largest rise of the error that a baseline allows where nothing else is said.
pub(super) const MAX_RISE: f64 = 0.01;

/// A network falls short only if the whole interval of a quantity is beyond its limit.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
#[group(id = "limits", required = true, multiple = true)]
pub(super) struct Limits {
    /// Largest error on the probe images, such as 8%; needs labels
    #[arg(long = "max-probe-error", value_name = "SHARE", value_parser = error_share)]
    probe_error: Option<f64>,
    /// Largest predicted error, such as 8%; needs a law with an interval
    #[arg(long = "max-predicted-error", value_name = "SHARE", value_parser = error_share)]
    predicted_error: Option<f64>,
    /// Largest relative stability R_f
    #[arg(long = "max-rf", value_name = "X", value_parser = number)]
    rf: Option<f64>,
    /// Largest change under deformation D_f
    #[arg(long = "max-df", value_name = "X", value_parser = number)]
    df: Option<f64>,
    /// Largest change under noise G_f
    #[arg(long = "max-gf", value_name = "X", value_parser = number)]
    gf: Option<f64>,
}

/// The network beside another, image by image.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Baseline")]
pub(super) struct Comparison {
    /// A network, or what --save-baseline wrote; without a limit below, the error may rise by 1 point
    #[arg(long, value_name = "FILE", group = "limits")]
    pub baseline: Option<PathBuf>,
    /// Largest rise of the error on the probe images, in points such as 1%; needs labels
    #[arg(long = "max-error-rise", value_name = "SHARE", requires = "baseline", value_parser = error_share)]
    error_rise: Option<f64>,
    /// Least share of probe images that keep their class, such as 97%; needs no labels
    #[arg(long = "min-agreement", value_name = "SHARE", requires = "baseline", value_parser = least_share)]
    agreement: Option<f64>,
    /// Largest mean square change of the outputs, relative to how far the baseline's lie apart, such as 0.05
    #[arg(long = "max-change", value_name = "X", requires = "baseline", value_parser = share)]
    change: Option<f64>,
    /// Largest rise of R_f over the baseline's, such as 5%
    #[arg(long = "max-regression", value_name = "SHARE", requires = "baseline", value_parser = share)]
    regression: Option<f64>,
    /// Probability that no network at its limits fails by a comparison with the baseline, all networks together
    #[arg(long, value_name = "LEVEL", default_value_t = 0.95, value_parser = share)]
    pub confidence: f64,
    /// Write the network's measurement, outputs and classes, for a later --baseline
    #[arg(long, value_name = "FILE", conflicts_with = "baseline", group = "limits")]
    pub save_baseline: Option<PathBuf>,
}

impl Limits {
    /// Those that were given.
    pub fn all(&self) -> Vec<Limit> {
        given([
            (Quantity::ProbeError, self.probe_error.map(Bound::Max)),
            (Quantity::PredictedError, self.predicted_error.map(Bound::Max)),
            (Quantity::RF, self.rf.map(Bound::Max)),
            (Quantity::DF, self.df.map(Bound::Max)),
            (Quantity::GF, self.gf.map(Bound::Max)),
        ])
    }
}

impl Comparison {
    /// The limits on comparisons with the baseline: those that were given, else one on the error.
    ///
    /// # Errors
    /// `Setting` where none was given and the probe images have no labels.
    pub fn all(&self, has_labels: bool) -> Result<Vec<Limit>> {
        let limits = given([
            (Quantity::ErrorRise, self.error_rise.map(Bound::Max)),
            (Quantity::Agreement, self.agreement.map(Bound::Min)),
            (Quantity::Change, self.change.map(Bound::Max)),
            (Quantity::Regression, self.regression.map(Bound::Max)),
        ]);
        match (limits.is_empty(), has_labels) {
            (false, _) => Ok(limits),
            (true, true) => Ok(vec![Limit { quantity: Quantity::ErrorRise, bound: Bound::Max(MAX_RISE) }]),
            (true, false) => Err(Error::setting(
                "--baseline",
                "probe images with labels, or a limit that needs none, such as --min-agreement 97%",
                "neither",
            )),
        }
    }
}

fn given<const N: usize>(limits: [(Quantity, Option<Bound>); N]) -> Vec<Limit> {
    limits.into_iter().filter_map(|(quantity, bound)| Some(Limit { quantity, bound: bound? })).collect()
}

fn number(text: &str) -> std::result::Result<f64, String> {
    let value = text.trim().parse::<f64>().map_err(|error| error.to_string())?;
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err("expected zero or a positive number".to_owned()) }
}

/// `5%` or `0.05`.
fn share(text: &str) -> std::result::Result<f64, String> {
    match text.trim().strip_suffix('%') {
        // Divided, for 8% is then what 0.08 is.
        Some(percent) => Ok(number(percent)? / 100.0),
        None => number(text),
    }
}

/// The largest share of images that a limit allows: no share is beyond all of them.
fn error_share(text: &str) -> std::result::Result<f64, String> {
    let value = share_of_images(text)?;
    if value < 1.0 { Ok(value) } else { Err("nothing exceeds it: expected less than 100%".to_owned()) }
}

/// The least share that a limit demands.
fn least_share(text: &str) -> std::result::Result<f64, String> {
    let value = share_of_images(text)?;
    if value > 0.0 { Ok(value) } else { Err("nothing falls below it: expected more than 0%".to_owned()) }
}

/// A bare 8 is neither 8% for sure nor a share.
fn share_of_images(text: &str) -> std::result::Result<f64, String> {
    let value = share(text)?;
    match (value, text.trim().ends_with('%')) {
        (..=1.0, true) | (..1.0, false) => Ok(value),
        (_, true) => Err("expected at most 100%".to_owned()),
        (_, false) => Err(format!("for {value} of 100 write {value}%, or {}", value / 100.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_written_either_way_and_a_bare_8_is_refused() {
        assert_eq!(error_share("8%"), error_share("0.08"));
        assert_eq!(error_share(" 0.5 % "), Ok(0.005));
        assert_eq!(least_share("100%"), Ok(1.0));
        let refused = error_share("8").expect_err("a bare 8");
        assert!(refused.contains("8%") && refused.contains("0.08"), "{refused}");
        for bad in ["0%", "0", "1", "101%"] {
            assert!(least_share(bad).is_err(), "{bad}");
        }
        for bad in ["1", "1.0", "100%", "101%", "-1%", "nan", "inf", "%", "five"] {
            assert!(error_share(bad).is_err(), "{bad}");
        }
        assert_eq!(share("3"), Ok(3.0));
    }
}
