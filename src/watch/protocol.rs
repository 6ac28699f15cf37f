//! What the daemon and its workers say to each other: JSON lines of bounded length.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::weights::Part;
use crate::config::{Flags, RunPlan};
use crate::error::ExitCode;
use crate::event::{Measurement, Strip};
use crate::path::RawPath;
use crate::plan::{Plan, Resolved};
use crate::store::address::Object;
use crate::text::cut;

/// A worker's line may be this long, bytes: a record takes some tens of thousands, a picture some millions.
pub const LONGEST_REPLY: usize = 4 << 20;
/// A machine's name may be this long, bytes.
const LONGEST_HOST: usize = 256;

/// What the daemon asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// What is a run measured on?
    Plan(Box<RunOf>),
    /// What is the network at this path?
    Measure(Box<Measure>),
    /// What is the network at this path, of this run, shown?
    Draw {
        /// The run.
        run: Box<RunOf>,
        /// The network.
        model: RawPath,
    },
}

/// A run, and what flags say of all.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunOf {
    /// They win over its `relstab.toml`.
    pub flags: Flags,
    /// Its directory.
    pub run: RawPath,
    /// The watched directory that it lies in.
    pub root: RawPath,
}

/// A network to measure.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measure {
    /// The file.
    pub path: RawPath,
    /// What to measure it on.
    pub plan: Plan,
    /// Contents that need no measuring, each with its settings.
    pub known: Vec<(String, String)>,
    /// What the run's precision came to, if it did already.
    pub resolved: Option<Resolved>,
    /// What to bring first, where it lies in an object store: the network and what is read with it, as they were listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
    /// The folder for what is exported from it.
    pub room: RawPath,
}

/// Who a worker is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Of the program: workers of another version are refused, for they measure otherwise.
    pub version: String,
    /// Name of its machine.
    pub host: String,
}

impl Hello {
    /// The name of its machine, where that is not this one.
    #[must_use]
    pub fn elsewhere(&self) -> Option<String> {
        let mut host = Some(&self.host).filter(|host| **host != Self::own().host)?.clone();
        cut(&mut host, LONGEST_HOST);
        Some(host)
    }

    /// This process's.
    #[must_use]
    pub fn own() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
        let host = host.map_or_else(|| "a machine without a name".to_owned(), |name| name.trim().to_owned());
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), host }
    }

    /// Why the daemon does not work with it.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let own = env!("CARGO_PKG_VERSION");
        (self.version != own).then(|| {
            format!(
                "the worker on {} is relstab {}, and this is {own}: install the same version there",
                self.host, self.version
            )
        })
    }
}

/// What the worker says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Said {
    /// The answer.
    pub reply: Reply,
    /// How long it is to be left alone, so that it computes its share of the time.
    pub rest: Duration,
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// The first words of a worker.
    Hello(Hello),
    /// The request arrived; what the run is measured on is read next.
    Taken,
    /// The file is read next; what happens from here on is its doing.
    Loaded,
    /// A command exports it next; then the file is read.
    Exporting,
    /// Measured, and the file is still the one that was read.
    Measured {
        /// Key of settings and probe images.
        settings: String,
        /// With its replicates.
        measurement: Box<Measurement>,
        /// What the run's precision came to.
        resolved: Option<Resolved>,
        /// Files of its weights whose names only the network tells.
        weights: Vec<Part>,
        /// The images whose answers move most, where they can be shown.
        #[serde(default)]
        strip: Option<Box<Strip>>,
    },
    /// The content is among the known ones.
    Known {
        /// Hash of the content.
        content: String,
        /// Key of settings and probe images.
        settings: String,
        /// Files of its weights whose names only the network tells.
        weights: Vec<Part>,
    },
    /// Not whole.
    Unfinished {
        /// What it lacks.
        reason: String,
    },
    /// The file changed while it was read or measured.
    Changed,
    /// The file cannot be measured.
    Failed {
        /// Hash of the content and key of the settings, if it came so far.
        content: Option<(String, String)>,
        /// One line.
        reason: String,
        /// False if the outputs are NaN or infinite.
        is_finite: bool,
        /// Files of its weights whose names only the network tells, as far as it could be read.
        weights: Vec<Part>,
    },
    /// Nothing of this run can be measured: its probe set, a setting, or the engine.
    Unusable {
        /// One line.
        reason: String,
    },
    /// What a run is measured on.
    Planned(Box<Planned>),
    /// A run that cannot be planned.
    Unplanned(Unplanned),
    /// What a network is shown.
    Drawn(Picture),
}

/// What a run is measured on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Planned {
    /// The plan.
    pub plan: RunPlan,
    /// Key of the plan with the probe file as it is; `None` where there is none.
    pub key: Option<String>,
}

/// Why a run cannot be planned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unplanned {
    /// One line.
    pub reason: String,
    /// What a command ends with.
    pub code: ExitCode,
    /// A file that was read besides `relstab.toml`.
    pub file: Option<RawPath>,
}

/// A PNG.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Picture {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The file's bytes, base64.
    pub png: String,
}
