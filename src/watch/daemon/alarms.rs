//! What the daemon knows of alerts besides the journal.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::alert::Webhook;
use crate::watch::messenger::Messenger;

/// Who hears of alerts that name nobody themselves.
#[derive(Debug, Clone, Default)]
pub struct Receivers {
    /// A program and its arguments.
    pub command: Vec<String>,
    /// An address.
    pub webhook: Option<Webhook>,
}

/// What the daemon knows of alerts besides the journal.
pub(super) struct Alarms {
    pub messenger: Messenger,
    /// When a run's alerts are looked at next, milliseconds since 1970.
    pub due: HashMap<i64, i64>,
    /// Errands on their way: run, alert's key, way.
    pub out: HashSet<(i64, String, u8)>,
    /// The ways in which events were told that the journal could not be told of yet, by their numbers.
    pub unnoted: HashMap<i64, u8>,
    /// Those whom telling failed: each way waits for its own sake.
    pub again: HashMap<(i64, String, u8), Again>,
}

/// Somebody who is told again.
pub(super) struct Again {
    /// When; `None` while an errand is on its way.
    pub at: Option<Instant>,
    /// How often it failed.
    pub failures: u32,
}

impl Alarms {
    pub fn new(messenger: Messenger) -> Self {
        Self { messenger, due: HashMap::new(), out: HashSet::new(), unnoted: HashMap::new(), again: HashMap::new() }
    }

    /// Whether nobody is being told.
    pub fn are_quiet(&self) -> bool {
        self.out.is_empty()
    }
}
