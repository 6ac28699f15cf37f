//! Where resampled medians lie: the search through a band of sorted values that is known to hold nearly all of them.

use super::lanes::LANES;

/// Half-width of the band, in standard deviations of a resampled cumulated weight.
///
/// About one resample in 10^5 falls outside and is searched for one by one, so the width changes the time, not the result.
pub const BAND_SDS: f64 = 4.5;

/// Cumulated weight at which the lower median is reached: half of the total, rounded up.
pub fn half(total: i32) -> i32 {
    (total + 1) / 2
}

/// Rank of the lower median among `count` values, from zero.
pub fn middle(count: usize) -> usize {
    count.div_ceil(2) - 1
}

/// A count as the signed 32-bit integer that weights are added in.
#[expect(clippy::cast_possible_wrap, reason = "validated: images x draws and the number of pairs are below 2^31")]
pub fn signed(count: usize) -> i32 {
    count as i32
}

/// Standard deviation of `sum of w_i e_i` for multinomial weights: that of n independent picks among the `e_i`.
pub fn resampled_sd(excess: impl Iterator<Item = f64>) -> f64 {
    let (count, sum, squares) =
        excess.fold((0.0, 0.0, 0.0), |(n, sum, squares), e| (n + 1.0, sum + e, squares + e * e));
    let variance: f64 = squares - sum * sum / count;
    variance.max(0.0).sqrt()
}

/// Index in the sorted band of each lane's median; `None` where the band does not hold it.
///
/// `need` is what the weights from the band's start on must reach. `walk` takes steps of the band from the 16-bit `need`
/// (saturating) and counts those that leave some.
pub fn positions<T>(
    band: &[T],
    need: &[i32; LANES],
    walk: impl Fn(&[T], &mut [i16; LANES], &mut [u16; LANES]),
) -> [Option<usize>; LANES] {
    let mut left = need.map(|need| need.clamp(0, i32::from(i16::MAX)) as i16);
    let mut index = [0_usize; LANES];
    for part in band.chunks(usize::from(u16::MAX)) {
        let mut passed = [0; LANES];
        walk(part, &mut left, &mut passed);
        for lane in 0..LANES {
            index[lane] += usize::from(passed[lane]);
        }
    }
    std::array::from_fn(|lane| {
        let bracketed = (1..=i32::from(i16::MAX)).contains(&need[lane]) && left[lane] <= 0;
        bracketed.then_some(index[lane])
    })
}

/// The search without a band: the first index at which the cumulated weight reaches `need`.
pub fn position_of(need: i32, weights: impl Iterator<Item = i32>) -> Option<usize> {
    let cumulated = weights.scan(0, |sum, weight| {
        *sum += weight;
        Some(*sum)
    });
    cumulated.enumerate().find_map(|(index, sum)| (sum >= need).then_some(index))
}
