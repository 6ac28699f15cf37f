//! What the daemon knows of a run besides the journal: its plan, and why it waits.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use crate::alert::Alert;
use crate::config::RunPlan;
use crate::measure::ChosenLaw;
use crate::watch::scan::Found;
use crate::watch::source::Rest;

/// A run and how to measure it.
pub(super) struct Run {
    pub path: PathBuf,
    /// None while the run cannot be planned.
    pub plan: Option<RunPlan>,
    /// What its last plan alerts of.
    pub alerts: Option<Vec<Alert>>,
    /// Key of the plan with the probe file as it is, or as it was last; empty where there was none yet.
    pub key: String,
    pub blocked: Option<Blocked>,
    /// The reason that was logged last.
    pub complaint: Option<String>,
    pub planning: Planning,
    /// What its files were before the last plan was asked for.
    pub stamps: HashMap<PathBuf, Option<String>>,
    /// What was found before the first plan.
    pub held: Vec<(Found, Rest)>,
    /// Workers that died in a row while they loaded what the run is measured on.
    pub deaths: u32,
}

/// Whether a plan is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planning {
    Done,
    Asked,
    /// It may be of files that changed since.
    AskedAnew,
}

impl Run {
    pub fn law(&self) -> Option<ChosenLaw> {
        self.plan.as_ref()?.plan.settings.law.clone()
    }

    /// Whether nothing of it may be taken now.
    pub fn is_waiting(&self) -> bool {
        self.blocked.is_some() || self.is_new()
    }

    /// Whether a plan of it is on its way.
    pub fn is_planning(&self) -> bool {
        self.planning != Planning::Done
    }

    pub fn is_new(&self) -> bool {
        self.plan.is_none() && self.blocked.is_none()
    }
}

/// Why nothing of a run can be measured, and the files that may change that.
pub(super) struct Blocked {
    pub reason: String,
    /// Besides `relstab.toml` and the probe set of its plan.
    pub files: Vec<PathBuf>,
    /// When its files are looked at, and when it is tried again.
    pub look: Instant,
    pub retry: Instant,
}
