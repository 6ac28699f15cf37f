//! One network under many deformations: `R_f`, `D_f` and `G_f` over cutoffs and sizes, on the same images and seed.
//!
//! Coefficients are drawn for (seed, image, draw), so that along the sizes of one cutoff the same fields grow.

use serde::{Deserialize, Serialize};

use super::{Progress, Settings, measure};
use crate::backend::Backend;
use crate::error::{Error, Reach, Result};
use crate::event::Measurement;
use crate::perturb::{Deformation, Perturber, Size, is_natural, temperature_range};
use crate::predict::NO_PREDICTION;
use crate::probe::ProbeSet;

/// The version of [`Sweep`].
pub const SCHEMA: &str = "relstab.sweep/1";

/// Which deformations to measure under: every cutoff with every size.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    cutoffs: Vec<u32>,
    sizes: Sizes,
}

/// How far pixels move.
#[derive(Debug, Clone, PartialEq)]
pub enum Sizes {
    /// Typical displacements, pixels.
    Deltas(Vec<f64>),
    /// So many temperatures, in equal ratios from end to end of each cutoff's natural range.
    Temperatures(u16),
}

/// A network over a grid of deformations, as `relstab sweep` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sweep {
    /// Always `relstab.sweep/1`.
    pub schema: String,
    /// In rising order of cutoff, then of size.
    pub points: Vec<Point>,
    /// What the reader should know of the whole.
    pub notes: Vec<String>,
}

/// A network under one kind of deformation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// Cutoff, in half-waves.
    pub cutoff: u32,
    /// Typical displacement, pixels.
    pub delta: f64,
    /// Temperature.
    pub temperature: f64,
    /// Whether the temperature is in the natural range: from half a pixel to where many maps fold.
    pub in_natural_range: bool,
    /// Why it could not be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The record, without replicates.
    pub measurement: Option<Measurement>,
}

impl Grid {
    /// A grid of these cutoffs and sizes, in rising order.
    ///
    /// # Errors
    /// `Setting` for no cutoff or size, for one that is named twice, and for fewer than two temperatures.
    pub fn new(mut cutoffs: Vec<u32>, mut sizes: Sizes) -> Result<Self> {
        cutoffs.sort_unstable();
        distinct("--cutoffs", &cutoffs)?;
        match &mut sizes {
            Sizes::Deltas(deltas) => {
                deltas.sort_by(f64::total_cmp);
                distinct("--deltas", deltas)?;
            }
            Sizes::Temperatures(2..) => {}
            Sizes::Temperatures(count) => {
                return Err(Error::setting("--temperatures", "2 or more, the ends of the natural range", *count));
            }
        }
        Ok(Self { cutoffs, sizes })
    }

    /// Its deformations of images of `side`, and what is to be said of cutoffs that have none.
    fn deformations(&self, default: Deformation, side: f64) -> Result<(Vec<Deformation>, Vec<String>)> {
        let (mut deformations, mut notes) = (Vec::new(), Vec::new());
        for &cutoff in &self.cutoffs {
            let sizes: Vec<_> = match &self.sizes {
                Sizes::Deltas(deltas) => deltas.iter().copied().map(Size::Delta).collect(),
                Sizes::Temperatures(count) => {
                    natural_temperatures(cutoff, side, *count).into_iter().map(Size::Temperature).collect()
                }
            };
            if sizes.is_empty() {
                let limit = 2.0 * side / std::f64::consts::PI;
                notes.push(format!(
                    "cutoff {cutoff} is above 2n/pi = {limit:.1}: it has no natural range and no points"
                ));
            }
            deformations.extend(sizes.into_iter().map(|size| Deformation { cutoff, size, ..default }));
        }
        if deformations.is_empty() {
            return Err(Error::setting("--temperatures", "a cutoff that has a natural range", notes.join("; ")));
        }
        Ok((deformations, notes))
    }
}

fn distinct<T: PartialEq + std::fmt::Display>(name: &'static str, sorted: &[T]) -> Result<()> {
    if sorted.is_empty() {
        return Err(Error::setting(name, "one value or more", "none"));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::setting(name, "each value once", format!("{} twice", pair[0]))),
        None => Ok(()),
    }
}

/// None where the range is empty.
fn natural_temperatures(cutoff: u32, side: f64, count: u16) -> Vec<f64> {
    let (least, most) = temperature_range(cutoff, side);
    if !is_natural(cutoff, least, side) {
        return Vec::new();
    }
    let share = |index: u16| f64::from(index) / f64::from(count - 1);
    (0..count).map(|index| least * (most / least).powf(share(index))).collect()
}

/// Measures a network at each point of `grid`, otherwise as `settings` say; a precision is settled by the first point.
///
/// A law speaks only of the points that it was fitted at, even if it was named for this sweep, unless it is forced.
///
/// # Errors
/// As [`measure()`] for what concerns all points. A point that fails alone says so and costs only itself; if all fail, the
/// first error.
pub fn sweep(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    grid: &Grid,
    progress: Progress,
) -> Result<Sweep> {
    let shape = probe.shape();
    let (deformations, notes) = grid.deformations(settings.deformation, shape.side())?;
    let mut settings = settings.clone();
    let asks_for_law = settings.law.as_mut().is_some_and(|law| std::mem::take(&mut law.explicit));
    // What is wrong with a setting is known before anything is measured.
    let perturber = |deformation: &Deformation| Perturber::new(shape, deformation, settings.seed);
    let perturbers = deformations.iter().map(perturber).collect::<Result<Vec<_>>>()?;
    let mut sweep = Sweep { schema: SCHEMA.to_owned(), points: Vec::new(), notes };
    let mut first = None;
    for (deformation, perturber) in deformations.iter().zip(&perturbers) {
        settings.deformation = *deformation;
        let (before, points) = (sweep.points.len() as u64, deformations.len() as u64);
        let result = measure(network, probe, &settings, &|done, all| progress(before * all + done, points * all));
        let mut point = Point {
            cutoff: deformation.cutoff,
            delta: perturber.delta(),
            temperature: perturber.temperature(),
            in_natural_range: is_natural(deformation.cutoff, perturber.temperature(), shape.side()),
            error: None,
            measurement: None,
        };
        match result {
            Ok(mut measurement) => {
                if measurement.r_f.is_some() && settings.precision.take().is_some() {
                    settings.images = measurement.probe.images;
                    settings = settings.with_draws(measurement.settings.draws);
                }
                measurement.forget_replicates();
                point.measurement = Some(measurement);
            }
            Err(error) if error.reach() == Reach::Checkpoint => {
                point.error = Some(error.one_line());
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
        sweep.points.push(point);
    }
    if let Some(error) = first
        && sweep.measured().next().is_none()
    {
        return Err(error);
    }
    if asks_for_law {
        sweep.notes.extend(sweep.no_prediction());
    }
    Ok(sweep)
}

impl Sweep {
    /// The records of the points that could be measured.
    pub fn measured(&self) -> impl Iterator<Item = &Measurement> {
        self.points.iter().filter_map(|point| point.measurement.as_ref())
    }

    /// Why the law predicts no error at all; `None` where it does.
    fn no_prediction(&self) -> Option<String> {
        if self.measured().any(|measurement| measurement.prediction.is_some()) {
            return None;
        }
        let reason =
            self.measured().flat_map(|m| &m.warnings).find_map(|warning| warning.strip_prefix(NO_PREDICTION))?;
        Some(format!("no point has a predicted error; of the first: {reason}"))
    }
}

impl Point {
    /// Why there is no `R_f`; `None` where there is one.
    pub fn untold(&self) -> Option<String> {
        let undefined = || self.measurement.as_ref()?.undefined.as_ref();
        self.error.clone().or_else(|| Some(format!("R_f is undefined: {}", undefined()?.reason)))
    }
}
