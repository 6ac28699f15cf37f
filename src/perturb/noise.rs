//! Isotropic noise of a given norm.
//!
//! Its numbers come from sums, products and quotients of a counter alone, so that an ONNX graph can make the same ones where the
//! network computes ([`backend`](crate::backend)).
#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled again for the vector instructions of their caller"
)]

use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::field::LANES;

/// What draws the directions of noises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Generator {
    /// Xoshiro256++ by the ziggurat method, in records that name none.
    #[default]
    Ziggurat,
    /// Widynski's squares by Box and Muller.
    Squares,
}

/// Running sums in f32; enough vectors of them that no addition waits for the one before.
const SUMS: usize = 4 * LANES;

/// Values summed in f32 before they are added to a sum in f64; few enough to stay in the nearest cache.
const BLOCK: usize = 64 * SUMS;

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

/// Fills a buffer with the `N(0, 1)` values of an odd key: numbers i and n + i of 2 n are `r cos t` and `r sin t` (Box and Muller),
/// by [`squares`] of the counters i and n + i.
#[inline(always)]
pub(super) fn fill_direction(key: u64, out: &mut [f32]) {
    let half = out.len().div_ceil(2);
    let (cosines, sines) = out.split_at_mut(half);
    let mut sines = sines.chunks_mut(PAIRS);
    for (first, cosines) in (0..).step_by(PAIRS).zip(cosines.chunks_mut(PAIRS)) {
        // The last of an odd number of values has no partner.
        let sines = sines.next().unwrap_or_default();
        let (x, y) = pairs(numbers(first, key), numbers(first + half as u64, key));
        cosines.copy_from_slice(&x[..cosines.len()]);
        sines.copy_from_slice(&y[..sines.len()]);
    }
}

/// Pairs of values made together: enough for vectors, few enough to stay in the nearest cache.
const PAIRS: usize = 4 * LANES;

/// Bits of a number that become a float, which holds them all.
pub const BITS: u32 = 24;

/// 24 bits of Widynski's counter-based generator (*Squares*, arXiv:2004.06278): the middle of squares, four rounds.
#[inline(always)]
fn squares(counter: u64, key: u64) -> u32 {
    let round = |x: u64, add: u64| x.wrapping_mul(x).wrapping_add(add);
    let y = counter.wrapping_mul(key);
    let z = y.wrapping_add(key);
    let x = round(y, y).rotate_left(32);
    let x = round(x, z).rotate_left(32);
    let x = round(x, y).rotate_left(32);
    (round(x, z) >> (u64::BITS - BITS)) as u32
}

#[inline(always)]
fn numbers(first: u64, key: u64) -> [u32; PAIRS] {
    std::array::from_fn(|place| squares(first + place as u64, key))
}

/// Two independent `N(0, 1)` values for each pair of numbers: `sqrt(-2 ln u)` times cosine and sine of a share of a turn.
#[inline(always)]
fn pairs(radii: [u32; PAIRS], turns: [u32; PAIRS]) -> ([f32; PAIRS], [f32; PAIRS]) {
    let (mut x, mut y) = ([0.0; PAIRS], [0.0; PAIRS]);
    for place in 0..PAIRS {
        let r = (-2.0 * ln((radii[place] as f32 + 0.5) * UNIT)).sqrt();
        let (sine, cosine) = sin_cos(turns[place]);
        (x[place], y[place]) = (r * cosine, r * sine);
    }
    (x, y)
}

/// What the last of [`BITS`] stands for.
pub const UNIT: f32 = 1.0 / (1 << BITS) as f32;

/// `ln x` of a positive normal number to 2e-7 of itself: the series of `2 artanh((m - 1) / (m + 1))`, m within sqrt(1/2) and sqrt(2).
/// Only sums, products and quotients, alike on every machine.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const MANTISSA: u32 = f32::MANTISSA_DIGITS - 1;
    let least = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    let above = x.to_bits().wrapping_sub(least);
    let exponent = above.cast_signed() >> MANTISSA;
    let m = f32::from_bits((above & ((1 << MANTISSA) - 1)) + least);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let series =
        [1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0].into_iter().fold(0.0, |sum, term| sum * square + term);
    exponent as f32 * std::f32::consts::LN_2 + 2.0 * s * series
}

/// Sine and cosine of a share of a turn in units of 2^-24, to 1e-7: their series within an eighth of a turn about a quarter's end.
#[inline(always)]
fn sin_cos(turn: u32) -> (f32, f32) {
    const QUARTER: u32 = 1 << (BITS - 2);
    const SINE: [f32; 5] = [1.0 / 362_880.0, -1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0];
    const COSINE: [f32; 5] = [1.0 / 40320.0, -1.0 / 720.0, 1.0 / 24.0, -0.5, 1.0];
    let from_eighth = turn + QUARTER / 2;
    let quarter = from_eighth / QUARTER;
    let beyond = (from_eighth % QUARTER).cast_signed() - (QUARTER / 2).cast_signed();
    let angle = beyond as f32 * (std::f32::consts::FRAC_PI_2 / QUARTER as f32);
    let square = angle * angle;
    let series = |terms: [f32; 5]| terms.into_iter().fold(0.0, |sum, term| sum * square + term);
    let (sine, cosine) = (angle * series(SINE), series(COSINE));
    let (sine, cosine) = if quarter % 2 == 1 { (cosine, sine) } else { (sine, cosine) };
    // Below zero are sines of the third and fourth quarter, cosines of the second and third.
    let signed = |value: f32, negative: u32| f32::from_bits(value.to_bits() ^ (negative & 2) << 30);
    (signed(sine, quarter), signed(cosine, quarter + 1))
}

/// Replaces the draws g in `out` by `base + g scale`.
#[inline(always)]
pub(super) fn add_scaled(base: &[f32], scale: f32, out: &mut [f32]) {
    out.iter_mut().zip(base).for_each(|(out, base)| *out = base + *out * scale);
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of n values in turn, each from a key of its own; n is odd and no multiple of a block.
    fn directions(keys: u64, n: usize) -> Vec<Vec<f64>> {
        let fill = |key: u64| {
            let mut out = vec![0.0; n];
            fill_direction(key.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, &mut out);
            out.into_iter().map(f64::from).collect()
        };
        (1..=keys).map(fill).collect()
    }

    #[test]
    fn the_numbers_are_pinned() {
        // Stored measurements rely on these draws: a change here is a change of every result.
        assert_eq!([0, 1, 2].map(|counter| squares(counter, 0x548C_9DEC_BCE6_5295)), [10_110_379, 11_246_497, 511_494]);
        let mut out = [0.0f32; 3];
        fill_direction(0x548C_9DEC_BCE6_5295, &mut out);
        for (found, expected) in out.into_iter().zip([0.988_029_5, -0.673_105_6, 0.191_614_54]) {
            assert!((found - expected).abs() < 2e-7, "{out:?}");
        }
    }

    #[test]
    fn logarithm_sine_and_cosine_are_close() {
        for number in (0..1u32 << BITS).step_by(97) {
            let u = (number as f32 + 0.5) * UNIT;
            let exact = f64::from(u).ln();
            assert!((f64::from(ln(u)) - exact).abs() <= 2e-7 * exact.abs(), "{u}");
            let (sine, cosine) = sin_cos(number);
            let angle = f64::from(number) * f64::from(UNIT) * std::f64::consts::TAU;
            assert!(
                (f64::from(sine) - angle.sin()).abs().max((f64::from(cosine) - angle.cos()).abs()) < 1e-7,
                "{number}"
            );
        }
    }

    #[test]
    fn values_are_standard_normal_and_uncorrelated() {
        let (keys, n) = (400, 1501);
        let all = directions(keys, n);
        let count = (keys as usize * n) as f64;
        let moment = |power: i32| all.iter().flatten().map(|value| value.powi(power)).sum::<f64>() / count;
        // The variance of a power of a normal is that of its even moments: 1, 2, 15, 96 for powers 1 to 4; 4.5 standard errors.
        for (power, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0f64)] {
            assert!((moment(power) - expected).abs() < 4.5 * (variance / count).sqrt(), "{power}: {}", moment(power));
        }
        // Neighbours, partners of a pair, the same place under neighbouring keys.
        let neighbours = all.iter().flat_map(|values| values.windows(2)).map(|pair| pair[0] * pair[1]);
        let partners = all.iter().flat_map(|values| values.iter().zip(&values[n.div_ceil(2)..])).map(|(a, b)| a * b);
        let keys = all.windows(2).flat_map(|keys| keys[0].iter().zip(&keys[1])).map(|(a, b)| a * b);
        for products in [neighbours.collect::<Vec<_>>(), partners.collect(), keys.collect()] {
            let mean = products.iter().sum::<f64>() / products.len() as f64;
            assert!(mean.abs() < 4.5 / (products.len() as f64).sqrt(), "{mean}");
        }
        // Squared norms of n values: mean n, variance 2 n.
        let norms = all.iter().map(|values| values.iter().map(|value| value * value).sum::<f64>());
        let scores: Vec<_> = norms.map(|square| (square - n as f64) / (2.0 * n as f64).sqrt()).collect();
        let spread = scores.iter().map(|score| score * score).sum::<f64>() / scores.len() as f64;
        assert!((spread - 1.0).abs() < 4.5 * (2.0 / scores.len() as f64).sqrt(), "{spread}");
    }
}
