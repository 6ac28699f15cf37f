//! Isotropic noise of a given norm.
#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled again for the vector instructions of their caller"
)]

use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Fills a buffer with independent `N(0, 1)` values from a stream.
#[inline(never)]
pub fn fill_normal(out: &mut [f32], stream: &mut Xoshiro256PlusPlus) {
    // A copy of its own can stay in registers.
    let mut local = stream.clone();
    for value in out {
        *value = StandardNormal.sample(&mut local);
    }
    *stream = local;
}

/// Replaces the draws g in `out` by `base + g scale`.
#[inline(always)]
pub(super) fn add_scaled(base: &[f32], scale: f32, out: &mut [f32]) {
    out.iter_mut().zip(base).for_each(|(out, base)| *out = base + *out * scale);
}
