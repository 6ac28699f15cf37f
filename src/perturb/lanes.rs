//! Numbers handled together, for vector instructions: how many, and sums of many in one order.
#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled again for the vector instructions of their caller"
)]

/// Pixels handled together: eight `f32` fill a 256-bit register.
pub(super) const LANES: usize = 8;

/// Running sums in f32; enough vectors of them that no addition waits for the one before.
const SUMS: usize = 4 * LANES;

/// Values summed in f32 before they are added to a sum in f64; few enough to stay in the nearest cache.
const BLOCK: usize = 64 * SUMS;

/// The sum of squares.
#[inline(always)]
pub(super) fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sum = 0.0;
    for block in values.chunks(BLOCK) {
        sum += sum_by_place(block, block, |value, _| value * value);
    }
    sum
}

/// The sum of squared differences of two images of one length.
#[inline(always)]
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        sum += sum_by_place(a, b, |a, b| (b - a) * (b - a));
    }
    sum
}

/// The sum of `term` over a block, by the place of its values in groups: an order that no machine changes.
///
/// The term of two zeros is zero: the last group is filled up with them.
#[inline(always)]
fn sum_by_place(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let mut sums = [0f32; SUMS];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    for (a, b) in a.iter().zip(b) {
        for place in 0..SUMS {
            sums[place] += term(a[place], b[place]);
        }
    }
    if !a_rest.is_empty() {
        let (mut a, mut b) = ([0.0; SUMS], [0.0; SUMS]);
        a[..a_rest.len()].copy_from_slice(a_rest);
        b[..b_rest.len()].copy_from_slice(b_rest);
        for place in 0..SUMS {
            sums[place] += term(a[place], b[place]);
        }
    }
    total(sums)
}

/// The sum of the sums, half upon half; apart from the loops, whose vectors it would otherwise break up.
#[inline(never)]
fn total(mut sums: [f32; SUMS]) -> f64 {
    let mut half = SUMS / 2;
    while half > 0 {
        for place in 0..half {
            sums[place] += sums[place + half];
        }
        half /= 2;
    }
    f64::from(sums[0])
}
