//! What the daemon and its workers say to each other: JSON lines of bounded length.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::weights::Part;
use crate::backend::{AtHand, at_hand};
use crate::config::{Flags, RunPlan};
use crate::error::ExitCode;
use crate::event::{Measurement, Strip};
use crate::path::RawPath;
use crate::plan::{Plan, Resolved};
use crate::store::address::Object;
use crate::text::cut;

/// A worker's line may be this long, bytes: a record takes some tens of thousands, a picture some millions.
pub const LONGEST_REPLY: usize = 4 << 20;
/// A word of a hello, such as a machine's name, may be this long, bytes.
const LONGEST_WORD: usize = 256;

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
    /// Size and second of the last write of the file that the daemon sees: a worker elsewhere may see another one at the same path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<(u64, i64)>,
}

/// Who a worker is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Of the program: workers of another version are refused, for they measure otherwise.
    pub version: String,
    /// Name of its machine.
    pub host: String,
    /// What it computes with unless it is told otherwise, with the version; as far as that is known before anything is loaded.
    #[serde(default)]
    pub engine: String,
    /// Where, alike: `cuda` or `cpu`.
    #[serde(default)]
    pub provider: String,
    /// The GPUs that it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

impl Hello {
    /// The name of its machine, where that is not this one.
    pub fn elsewhere(&self) -> Option<String> {
        (self.host != own_host()).then(|| self.host.clone())
    }

    /// The same, with words of bounded length.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let Self { version, host, engine, provider, device } = &mut self;
        for word in [version, host, engine, provider].into_iter().chain(device) {
            cut(word, LONGEST_WORD);
        }
        self
    }

    /// What it is and computes with, in words.
    pub fn told(&self) -> String {
        let Self { version, engine, provider, device, .. } = self;
        let device = device.as_ref().map_or_else(String::new, |device| format!(", {device}"));
        format!("relstab {version}, {engine}, {provider}{device}")
    }

    /// This process's.
    pub fn own() -> Self {
        let AtHand { engine, provider, device } = at_hand();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { version, host: own_host(), engine, provider: provider.to_owned(), device }
    }

    /// Why the daemon does not work with it.
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

/// This machine's name.
pub fn own_host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    host.map_or_else(|| "a machine without a name".to_owned(), |name| name.trim().to_owned())
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
    /// The file is another one here than the daemon sees.
    Stale {
        /// One line.
        reason: String,
    },
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
    /// Its store does not give it now, or it has no place here: the others of its run may be brought.
    Unfetched {
        /// One line.
        reason: String,
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
    /// A store did not answer, or refused: later it may not.
    pub is_of_store: bool,
    /// What its `relstab.toml` names: another one there may change that.
    pub files: Vec<RawPath>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_told_in_bounded_length() {
        let own = Hello::own();
        assert!(own.engine.starts_with("onnxruntime") || own.engine.starts_with("tract "), "{own:?}");
        assert_eq!(own.provider == "cuda", own.device.is_some(), "{own:?}");
        assert_eq!(own.elsewhere(), None);
        let long = "x".repeat(1 << 20);
        let hello = Hello { host: long.clone(), engine: long.clone(), device: Some(long), ..own }.bounded();
        assert!(hello.told().len() < 4 * 300 && hello.elsewhere().is_some_and(|host| host.len() < 300));
        let old: Hello = serde_json::from_str(r#"{"version":"0.0.1","host":"gpu-7"}"#).expect("an earlier one's");
        assert!(old.refusal().is_some_and(|reason| reason.contains("gpu-7")));
    }
}
