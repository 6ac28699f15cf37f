//! Networks in order of their `R_f`, by paired comparisons: what cannot be told apart is tied.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::paired;
use crate::error::Result;
use crate::event::Measurement;

/// Two networks on the same images and draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// The one of smaller `R_f`.
    #[serde(serialize_with = "crate::path::serialize_text", deserialize_with = "crate::path::deserialize_text")]
    pub better: PathBuf,
    /// The other.
    #[serde(serialize_with = "crate::path::serialize_text", deserialize_with = "crate::path::deserialize_text")]
    pub worse: PathBuf,
    /// `R_f` of the worse over that of the better.
    pub ratio: f64,
    /// Lower end of its paired interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The interval's level.
    pub level: f64,
    /// The interval holds 1.
    pub is_tie: bool,
}

/// The version of [`Ranking`].
pub const SCHEMA: &str = "relstab.comparison/1";

/// Networks in order, as `relstab compare` prints them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ranking {
    /// Always `relstab.comparison/1`.
    pub schema: String,
    /// Least `R_f` first.
    pub models: Vec<Ranked>,
    /// Each pair of them, the better one first.
    pub pairs: Vec<Pair>,
}

/// A network of a ranking.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ranked {
    /// One more than the number of networks that are surely better.
    pub rank: usize,
    /// The record, without replicates.
    pub measurement: Measurement,
}

impl Ranking {
    /// Puts measurements with their replicates in order.
    ///
    /// # Errors
    /// As [`paired`].
    pub fn new(measurements: &[Measurement], level: f64) -> Result<Self> {
        let (places, pairs) = ranked(measurements, level)?;
        let models = places.into_iter().map(|place| {
            let mut measurement = measurements[place.index].clone();
            measurement.forget_replicates();
            Ranked { rank: place.rank, measurement }
        });
        Ok(Self { schema: SCHEMA.to_owned(), models: models.collect(), pairs })
    }

    /// A network's rank, marked where it shares it.
    pub fn rank(&self, model: &Ranked) -> String {
        let is_tied = self.models.iter().filter(|other| other.rank == model.rank).count() > 1;
        format!("{}{}", model.rank, if is_tied { "=" } else { "" })
    }

    /// The pair of the first network and this one; `None` for the first itself.
    pub fn over_first(&self, model: &Ranked) -> Option<&Pair> {
        let first = &self.models.first()?.measurement.model.path;
        self.pairs.iter().find(|pair| pair.better == *first && pair.worse == model.measurement.model.path)
    }
}

/// A place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// One more than the number of networks that are better by more than the choice of images explains.
    pub rank: usize,
    /// Which measurement.
    pub index: usize,
}

/// Places in order of `R_f`, and every pair of those that have one; networks without one share the last place.
///
/// # Errors
/// As [`paired`]; `NoValue` if no network has one.
pub fn ranked(measurements: &[Measurement], level: f64) -> Result<(Vec<Place>, Vec<Pair>)> {
    let r_f = |index: usize| measurements[index].r_f.as_ref().map_or(f64::INFINITY, |r_f| r_f.value);
    let mut order: Vec<_> = (0..measurements.len()).collect();
    order.sort_by(|a, b| r_f(*a).total_cmp(&r_f(*b)));
    let defined = measurements.iter().filter(|measurement| measurement.r_f.is_some()).count();
    let (mut places, mut pairs) = (Vec::new(), Vec::new());
    for (number, &worse) in order.iter().enumerate() {
        if (1..=number).contains(&defined) {
            places.push(Place { rank: defined + 1, index: worse });
            continue;
        }
        let mut rank = 1;
        for &better in &order[..number] {
            let comparison = paired(&measurements[worse], &measurements[better], level)?;
            let is_tie = !comparison.is_different();
            rank += usize::from(!is_tie);
            pairs.push(Pair {
                better: measurements[better].model.path.clone(),
                worse: measurements[worse].model.path.clone(),
                ratio: comparison.log_ratio.exp(),
                low: comparison.low.exp(),
                high: comparison.high.exp(),
                level,
                is_tie,
            });
        }
        places.push(Place { rank, index: worse });
    }
    Ok((places, pairs))
}
