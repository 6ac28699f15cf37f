//! Directions of noises, from a counter-based generator.
//!
//! Sums, products and quotients make the numbers from a key and a counter, so that an ONNX graph can make the same ones where a network
//! computes, and vector instructions here.
#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled again for the vector instructions of their caller"
)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::lanes::LANES;

/// What draws the directions of noises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Generator {
    /// Xoshiro256++ by the ziggurat method.
    Ziggurat,
    /// Widynski's squares by Box and Muller.
    Squares,
}

impl Generator {
    /// That of this version.
    pub const PRESENT: Self = Self::Squares;

    /// That of records that name none.
    pub(crate) fn unnamed() -> Self {
        Self::Ziggurat
    }
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
    let y = counter.wrapping_mul(key);
    let z = y.wrapping_add(key);
    let x = round(y, y).rotate_left(32);
    let x = round(x, z).rotate_left(32);
    let x = round(x, y).rotate_left(32);
    (round(x, z) >> (u64::BITS - BITS)) as u32
}

#[inline(always)]
fn round(x: u64, add: u64) -> u64 {
    x.wrapping_mul(x).wrapping_add(add)
}

/// Those of consecutive counters.
#[inline(always)]
fn numbers(first: u64, key: u64) -> [u32; PAIRS] {
    let mut numbers = [0; PAIRS];
    // A closure would not be compiled for the vector instructions of the caller.
    for (counter, number) in (first..).zip(&mut numbers) {
        *number = squares(counter, key);
    }
    numbers
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
    let series = polynomial([1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0], square);
    exponent as f32 * std::f32::consts::LN_2 + 2.0 * s * series
}

/// The highest power's coefficient first.
#[inline(always)]
fn polynomial(coefficients: [f32; 5], x: f32) -> f32 {
    let mut sum = 0.0;
    for coefficient in coefficients {
        sum = sum * x + coefficient;
    }
    sum
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
    let (sine, cosine) = (angle * polynomial(SINE, square), polynomial(COSINE, square));
    let (sine, cosine) = if quarter % 2 == 1 { (cosine, sine) } else { (sine, cosine) };
    // Below zero are sines of the third and fourth quarter, cosines of the second and third.
    let (sine, cosine) = (sine.to_bits() ^ (quarter & 2) << 30, cosine.to_bits() ^ ((quarter + 1) & 2) << 30);
    (f32::from_bits(sine), f32::from_bits(cosine))
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
