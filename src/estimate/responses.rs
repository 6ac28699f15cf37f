//! The outputs of one measurement and the checks that the other files rely on.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Outputs of one network on one probe set, row-major, images in the same order throughout.
#[derive(Debug, Clone, Copy)]
pub struct Responses<'a> {
    /// Number of images, at least 2.
    pub images: usize,
    /// Number of draws per image, at least 1.
    pub draws: usize,
    /// Number of output coordinates, at least 1.
    pub outputs: usize,
    /// Outputs on the clean images, `[image, output]`.
    pub clean: &'a [f32],
    /// Squared change of each output under deformation, `[image, draw, output]`.
    pub deformed: &'a [f32],
    /// Squared change of each output under noise of the same norm, `[image, draw, output]`.
    pub noisy: &'a [f32],
}

impl Responses<'_> {
    /// Checks shapes and values, once, so that the estimators need not.
    pub(super) fn validate(&self) -> Result<()> {
        let Self { images, draws, outputs, .. } = *self;
        if draws == 0 || outputs == 0 {
            let found = format!("{draws} draws of {outputs} outputs");
            return Err(Error::setting("responses", "at least one draw and one output", found));
        }
        // Weighted counts are 32-bit.
        if images.checked_mul(draws).is_none_or(|values| i32::try_from(values).is_err()) {
            return Err(Error::setting("draws", "images x draws below 2^31", draws));
        }
        let changes = images * draws * outputs;
        shape("clean outputs", self.clean, images * outputs)?;
        shape("deformed outputs", self.deformed, changes)?;
        shape("noisy outputs", self.noisy, changes)?;
        values("clean outputs", "finite values", self.clean, f32::is_finite)?;
        let expected = "finite squared changes, zero or more";
        values("deformed outputs", expected, self.deformed, |value| (0.0..=f32::MAX).contains(&value))?;
        values("noisy outputs", expected, self.noisy, |value| (0.0..=f32::MAX).contains(&value))
    }
}

fn shape(name: &'static str, values: &[f32], expected: usize) -> Result<()> {
    if values.len() == expected {
        return Ok(());
    }
    Err(Error::setting(name, format!("{expected} values"), values.len()))
}

fn values(name: &'static str, expected: &str, values: &[f32], good: impl Fn(f32) -> bool + Sync) -> Result<()> {
    // A fold without early exit inside a chunk vectorises.
    let chunk_good = |chunk: &[f32]| chunk.iter().fold(true, |all, &value| all & good(value));
    if values.par_chunks(1 << 14).all(chunk_good) {
        return Ok(());
    }
    let (at, value) = values.iter().enumerate().find(|&(_, &value)| !good(value)).map_or((0, 0.0), |(at, &v)| (at, v));
    Err(Error::setting(name, expected, format!("{value} at index {at}")))
}
