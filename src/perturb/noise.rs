//! Isotropic noise of a given norm.
#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled again for the vector instructions of their caller"
)]

use rand::{Rng, RngExt as _};
use rand_distr::StandardNormal;

use super::field::{LANES, sum_of_squares};

/// Fills a buffer with independent `N(0, 1)` values.
pub fn fill_normal(out: &mut [f32], stream: &mut impl Rng) {
    out.fill_with(|| stream.sample(StandardNormal));
}

/// Replaces the draws g in `out` by `base + g / |g| * |deformed - base|`; all three of one length.
///
/// One norm over all pixels and channels, so that noise and deformation move the image equally far.
#[inline(always)]
pub(super) fn add_noise(base: &[f32], deformed: &[f32], out: &mut [f32]) {
    let drawn = sum_of_squares(out);
    // A direction of length zero has no multiple of another length.
    let scale = if drawn > 0.0 { (squared_distance(base, deformed) / drawn).sqrt() as f32 } else { 0.0 };
    out.iter_mut().zip(base).for_each(|(out, base)| *out = base + *out * scale);
}

/// `|b - a|^2`, summed like [`sum_of_squares`].
#[inline(always)]
fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let blocks = a.chunks(32 * LANES).zip(b.chunks(32 * LANES));
    blocks
        .map(|(a, b)| {
            let mut sums = [0f32; LANES];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            for (a, b) in a.iter().zip(b) {
                (0..LANES).for_each(|lane| sums[lane] += (b[lane] - a[lane]) * (b[lane] - a[lane]));
            }
            for (sum, (a, b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
                *sum += (b - a) * (b - a);
            }
            sums.into_iter().map(f64::from).sum::<f64>()
        })
        .sum()
}
