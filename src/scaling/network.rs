//! A network of a known size of training set, and its stabilities.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::predict::terms::Term;

/// What is fitted.
pub const QUANTITIES: [Term; 3] = [Term::RF, Term::DF, Term::GF];

/// A trained network.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// Names it to people.
    pub label: String,
    /// The table it comes from, or that it was measured.
    pub source: String,
    /// Whose law it belongs to.
    pub group: String,
    /// Size of its training set.
    pub train_size: f64,
    /// `R_f`, `D_f` and `G_f`, as far as they are known.
    pub values: BTreeMap<Term, Measured>,
    #[serde(skip)]
    pub(super) replicates: Option<Replicates>,
}

/// A value with its interval over probe images, if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// Both ends of its interval.
    pub interval: Option<(f64, f64)>,
}

/// Replicates of log `R_f`, over resamples that networks on the same probe images share.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Replicates {
    /// Probe images and seed.
    pub over: (String, u64),
    pub log_r_f: Vec<f32>,
}
