//! What a rule looks at, and which way is better.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a rule looks at.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Monitor {
    /// The best that there is: `val_error`, else `probe_error`, else `predicted_error`, else `invariance`, else `r_f`.
    #[default]
    Auto,
    /// Relative stability.
    #[strum(serialize = "r_f")]
    RF,
    /// What the run's law makes of it.
    PredictedError,
    /// Change under deformation.
    #[strum(serialize = "d_f")]
    DF,
    /// Change under noise.
    #[strum(serialize = "g_f")]
    GF,
    /// Effective invariance under deformation; more is better.
    Invariance,
    /// Average confidence on the probe images; more is better.
    Confidence,
    /// Share of deformed images in the class of the clean one; more is better.
    Agreement,
    /// Error on the labelled probe set.
    ProbeError,
    /// Error that the training loop knows.
    ValError,
}

/// What `auto` goes by, the best evidence first: `R_f` alone stops trainings too early.
pub(super) const BY_EVIDENCE: [Monitor; 5] =
    [Monitor::ValError, Monitor::ProbeError, Monitor::PredictedError, Monitor::Invariance, Monitor::RF];

impl Monitor {
    /// Whether it can be known without labels: then it says nothing of a network before training, whose stabilities are
    /// small by accident, and such a checkpoint is neither judged nor best.
    pub fn is_label_free(self) -> bool {
        !matches!(self, Self::ProbeError | Self::ValError)
    }

    /// Whether it is one of a classifier's scores.
    fn is_score(self) -> bool {
        matches!(self, Self::Invariance | Self::Confidence | Self::Agreement)
    }

    /// Whether only a checkpoint's record holds it, no column of the journal.
    pub fn is_in_record_only(self) -> bool {
        matches!(self, Self::Confidence | Self::Agreement)
    }

    /// What it is, for people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Auto => "the error that is known, else the predicted one",
            Self::RF => "relative stability R_f",
            Self::PredictedError => "the error that the law predicts",
            Self::DF => "change under deformation D_f",
            Self::GF => "change under noise G_f",
            Self::Invariance => "effective invariance EI",
            Self::Confidence => "confidence",
            Self::Agreement => "agreement under deformation",
            Self::ProbeError => "the error on the probe images",
            Self::ValError => "the error that the training told",
        }
    }
}

/// Which way is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As the monitor has it: more is better of invariance, confidence and agreement, less of the others.
    #[default]
    Auto,
    /// Less is better.
    Min,
    /// More is better.
    Max,
}

impl Mode {
    /// The way that is better of `monitor`; `Auto` of a monitor that is not settled.
    #[must_use]
    pub fn of(self, monitor: Monitor) -> Self {
        match self {
            Self::Auto if monitor == Monitor::Auto => Self::Auto,
            Self::Auto if monitor.is_score() => Self::Max,
            Self::Auto => Self::Min,
            mode => mode,
        }
    }
}
