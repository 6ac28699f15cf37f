//! What is sent: events, each about a run or one of its checkpoints.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Measurement;
use crate::stop::{Compared, Mark, Rule};

/// One line of a stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts up from 1 within a stream.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// The run's canonical path.
    pub run: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

impl Event {
    /// When it happened, seconds since 1970.
    pub fn seconds(&self) -> Option<f64> {
        self.time.parse().ok().map(|time: jiff::Timestamp| time.as_nanosecond() as f64 / 1e9)
    }
}

/// What happened to a checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Kind {
    /// It was measured (`r_f` may still be undefined).
    Measured {
        /// The measurement.
        measurement: Box<Measurement>,
    },
    /// It was found and waits for its turn.
    CheckpointSeen {
        /// The checkpoint's file.
        #[serde(serialize_with = "crate::path::serialize_text", deserialize_with = "crate::path::deserialize_text")]
        path: PathBuf,
        /// Its step, as far as the file's name tells.
        step: Option<u64>,
    },
    /// It will not be measured.
    Skipped {
        /// The checkpoint's file.
        #[serde(serialize_with = "crate::path::serialize_text", deserialize_with = "crate::path::deserialize_text")]
        path: PathBuf,
        /// Why not.
        reason: Skip,
    },
    /// It could not be measured.
    Failed {
        /// The checkpoint's file.
        #[serde(serialize_with = "crate::path::serialize_text", deserialize_with = "crate::path::deserialize_text")]
        path: PathBuf,
        /// One line: file, expected, found.
        reason: String,
    },
    /// A client told a checkpoint's error.
    Annotated {
        /// The checkpoint.
        #[serde(flatten)]
        checkpoint: CheckpointName,
        /// The error, a fraction.
        val_error: f64,
    },
    /// The training began again: what follows is another attempt, which rules judge by itself.
    Attempt {
        /// Its number.
        attempt: u64,
        /// The step that it began at.
        step: u64,
        /// Whether the training said so; else it was noticed by a file of an earlier step that was written again.
        declared: bool,
    },
    /// A person overruled the stop of the run.
    Resumed,
    /// What an alert waits for has come.
    Alert {
        /// The alert's name.
        alert: String,
        /// What came, in words.
        text: String,
        /// The checkpoint that it is about, if it is about one, and the value there.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<Mark>,
    },
    /// A rule says that the run should stop; once for each attempt, and again after each time that a person overruled it.
    Stop {
        /// Why, in words.
        reason: String,
        /// The checkpoint that decided it.
        at: Mark,
        /// The best checkpoint under the rule.
        best: Option<Mark>,
        /// The rule.
        rule: Rule,
        /// The runs that it was compared with, the best first; at most 32 are named.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        compared: Vec<Compared>,
    },
}

impl Kind {
    /// The value of `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CheckpointSeen { .. } => "checkpoint_seen",
            Self::Measured { .. } => "measured",
            Self::Skipped { .. } => "skipped",
            Self::Failed { .. } => "failed",
            Self::Annotated { .. } => "annotated",
            Self::Alert { .. } => "alert",
            Self::Attempt { .. } => "attempt",
            Self::Resumed => "resumed",
            Self::Stop { .. } => "stop",
        }
    }
}

/// Why a checkpoint is not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Skip {
    /// The file went away before its turn.
    Gone,
    /// A later checkpoint of the run came first, under the policy `latest`.
    Superseded,
    /// It is not one that the policy `every:N` takes.
    Policy,
    /// The file was written again with content that was measured before.
    Unchanged,
}

/// A checkpoint as a client names it: by its file or by its step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointName {
    /// The file, as events give it.
    Path(String),
    /// The step.
    Step(u64),
}
