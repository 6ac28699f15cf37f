//! Whether measured networks hold to limits, and how two of them compare: pure functions over records.

mod against;
mod limit;
mod looks;
mod paired;
pub mod shares;

pub use against::{Against, Rise};
pub use limit::{Bound, Check, Limit, Quantity, Verdict, check};
pub use looks::{Look, look_level, looks};
pub use paired::{paired, regression, regression_verdict};

use serde::{Deserialize, Serialize};

use crate::error::ExitCode;
use crate::event::{Code, Measurement, Severity};

/// The version of [`Report`].
pub const SCHEMA: &str = "relstab.check/1";

/// A network and what its checks say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Checked {
    /// The network's file.
    pub path: String,
    /// The worst verdict; null where none could be told.
    pub verdict: Option<Verdict>,
    /// Each limit.
    pub checks: Vec<Check>,
    /// Where it was decided before all images were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// How it compares with the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Against>,
    /// Codes of what may be wrong with it without failing it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Code>,
    /// Why something could not be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The exit code of that.
    #[serde(skip)]
    pub code: ExitCode,
    /// The record, without replicates.
    pub measurement: Option<Measurement>,
}

/// An end before all images were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Images that decided.
    pub images: usize,
    /// Images that there are.
    pub of: usize,
}

/// All networks of one run of `relstab check`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Always `relstab.check/1`.
    pub schema: String,
    /// The worst verdict; null where none could be told.
    pub verdict: Option<Verdict>,
    /// What the networks were compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Probability, about and at most, that any network exactly at its limits fails by its comparison with the baseline, over all
    /// networks and limits together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_alarms: Option<f64>,
    /// In the order given.
    pub models: Vec<Checked>,
}

impl Checked {
    /// Whether what was measured cannot be right, for a reason that is not allowed.
    pub fn is_wrong(&self) -> bool {
        let findings = self.measurement.iter().flat_map(|record| &record.findings);
        findings.into_iter().any(|found| found.severity == Severity::Wrong && !self.allowed.contains(&found.code))
    }

    /// Whether anything about it is doubtful, or wrong and allowed.
    pub fn is_doubtful(&self) -> bool {
        let findings = self.measurement.iter().flat_map(|record| &record.findings);
        findings.into_iter().any(|found| found.severity == Severity::Doubt)
    }
}

impl Report {
    /// Sums up what was found.
    pub fn new(models: Vec<Checked>, baseline: Option<String>, false_alarms: Option<f64>) -> Self {
        let verdict = models.iter().filter_map(|model| model.verdict).max();
        Self { schema: SCHEMA.to_owned(), verdict, baseline, false_alarms, models }
    }
}
