//! How large and how smooth a deformation is: the settings and the formulas that tie them together.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::probe::Shape;

/// Beyond this the field has more modes than any image side can show.
const MAX_CUTOFF: u32 = 1000;

/// Gather indices are 32-bit and column numbers are held as `f32`; both stay exact up to here.
const MAX_SIDE: usize = 1 << 15;

/// Displacements of this many pixels leave every image; their squares still fit an `f32`.
const MAX_DELTA: f64 = 1e9;

/// Whether images of this shape can be deformed.
pub(super) fn validate(shape: Shape) -> Result<()> {
    let sides = 2..=MAX_SIDE;
    let fits = sides.contains(&shape.height) && sides.contains(&shape.width) && shape.channels > 0;
    // The product is checked apart: a huge number of channels must not wrap.
    if fits && shape.channels.checked_mul(shape.plane()).is_some() {
        return Ok(());
    }
    let expected = format!("channels x height x width with sides of 2 to {MAX_SIDE} pixels");
    Err(Error::setting("image", expected, shape))
}

/// How a deformed image is read between its pixels.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum, strum::Display,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Interpolation {
    /// The four neighbours, weighted by their distance along each axis.
    #[default]
    Bilinear,
    /// All pixels, weighted by a Gaussian of 0.4715 pixels; the undeformed image is smoothed alike.
    Gaussian,
}

/// The size of a deformation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// Typical displacement, in pixels.
    Delta(f64),
    /// Temperature T of the maximum-entropy distribution; unitless.
    Temperature(f64),
}

/// Which deformations to draw.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Deformation {
    /// Cutoff c: modes (i, j) with `sqrt(i^2 + j^2) < c + 1/2` take part; at least 2.
    pub cutoff: u32,
    /// How far pixels move.
    pub size: Size,
    /// How the deformed image is read.
    pub interpolation: Interpolation,
}

impl Default for Deformation {
    fn default() -> Self {
        Self { cutoff: 3, size: Size::Delta(1.0), interpolation: Interpolation::Bilinear }
    }
}

impl Deformation {
    /// Refuses what images of no size can be deformed by.
    ///
    /// # Errors
    /// `Setting` names the cutoff, the delta or the temperature that is outside its domain.
    pub fn check(&self) -> Result<()> {
        self.temperature_and_delta(Shape { channels: 1, height: 32, width: 32 }).map(drop)
    }

    /// Temperature and typical displacement in pixels, for images of this shape.
    ///
    /// # Errors
    /// `Setting` names the cutoff, the delta or the temperature that is outside its domain.
    pub(super) fn temperature_and_delta(&self, shape: Shape) -> Result<(f64, f64)> {
        if !(2..=MAX_CUTOFF).contains(&self.cutoff) {
            return Err(Error::setting("cutoff", format!("a whole number from 2 to {MAX_CUTOFF}"), self.cutoff));
        }
        let n = shape.side();
        let (name, given, unit, t, delta) = match self.size {
            Size::Delta(delta) => ("delta", delta, " of pixels", temperature(self.cutoff, delta, n), delta),
            Size::Temperature(t) => ("temperature", t, "", t, typical_displacement(self.cutoff, t, n)),
        };
        // A negative delta squares to a fine temperature, so both the setting and what follows from it are looked at.
        if given > 0.0 && t.is_normal() && delta.is_normal() && delta <= MAX_DELTA {
            return Ok((t, delta));
        }
        Err(Error::setting(name, format!("a finite number{unit} above 0 (at most {MAX_DELTA:e} pixels)"), given))
    }
}

/// Typical displacement `(n / 2) sqrt(pi T ln c)`, in pixels, for images of `side` n.
///
/// Asymptotic in c: [`super::expected_rms_px`] is the exact root mean square, 0.8 to 0.9 of this.
pub fn typical_displacement(cutoff: u32, temperature: f64, side: f64) -> f64 {
    side / 2.0 * (PI * temperature * f64::from(cutoff).ln()).sqrt()
}

/// Temperature `4 delta^2 / (pi n^2 ln c)` of a typical displacement in pixels; undoes [`typical_displacement`].
pub fn temperature(cutoff: u32, delta: f64, side: f64) -> f64 {
    4.0 * delta.powi(2) / (PI * side.powi(2) * f64::from(cutoff).ln())
}

/// Natural range of temperatures: from half a pixel, `1 / (pi n^2 ln c)`, to folding, `4 / (pi^3 c^2 ln c)`.
///
/// Empty, with the first above the second, for c > 2n/pi.
pub fn temperature_range(cutoff: u32, side: f64) -> (f64, f64) {
    let c = f64::from(cutoff);
    (1.0 / (PI * side.powi(2) * c.ln()), 4.0 / (PI.powi(3) * c.powi(2) * c.ln()))
}

/// Whether a temperature lies in the natural range; its ends do.
pub fn is_natural(cutoff: u32, temperature: f64, side: f64) -> bool {
    range_warning(cutoff, temperature, side).is_none()
}

/// What is unusual about a temperature outside the natural range; one sentence, or none.
pub fn range_warning(cutoff: u32, t: f64, side: f64) -> Option<String> {
    let (least, most) = temperature_range(cutoff, side);
    let px = |t| typical_displacement(cutoff, t, side);
    let delta = px(t);
    // The ends are usable, also when they come back from a delta through two roundings.
    let slack = 1e-9;
    if least > most * (1.0 + slack) {
        let limit = 2.0 * side / PI;
        Some(format!(
            "cutoff {cutoff} is above 2n/pi = {limit:.1} for images of side {side:.1}: no size both moves pixels by half a \
             pixel and keeps folds rare, delta is {delta:.3} pixels"
        ))
    } else if t < least * (1.0 - slack) {
        Some(format!(
            "temperature {t:.3e} is below the natural range {least:.3e} to {most:.3e}: delta is {delta:.3} pixels, \
             less than half a pixel, so the result measures the interpolation"
        ))
    } else if t > most * (1.0 + slack) {
        Some(format!(
            "temperature {t:.3e} is above the natural range {least:.3e} to {most:.3e}: many deformations fold the image, \
             delta is {delta:.3} pixels and should be at most {:.3} for cutoff {cutoff}",
            px(most)
        ))
    } else {
        None
    }
}
