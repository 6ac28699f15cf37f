//! Lower medians of values that belong to images, over all of them and in every resample, exactly.
//!
//! The values are partitioned once. Resampled medians lie near the middle: the weight below a middle band is one weighted
//! sum over images, and only the band is sorted and walked, all resamples of a block at once.

use super::lanes::{self, LANES};
use super::select::{BAND_SDS, middle, position_of, positions, resampled_sd, signed};
use super::weights::Weights;

/// A value and its image in one integer that sorts by value: non-negative floats sort like their bits.
pub fn key(value: f32, image: usize) -> u64 {
    // Adding zero turns -0 into 0, whose bits sort first.
    (u64::from((value + 0.0).to_bits()) << 32) | image as u64
}

/// The value in a [`key`].
pub fn value(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

/// The low half of a [`key`]: an image, or a pair.
pub fn low(key: u64) -> usize {
    (key & 0xffff_ffff) as usize
}

/// Buffers that successive columns share, and the width of their bands.
pub struct Scratch {
    band_sds: f64,
    counts: Vec<i32>,
    band: Vec<u32>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { band_sds: BAND_SDS, counts: Vec::new(), band: Vec::new() }
    }
}

/// Lower median of `keys`, and into `medians` the lower median of each resample.
///
/// `keys` holds as many values of each image, in any order, and is reordered.
pub fn resampled_medians(keys: &mut [u64], weights: &Weights, scratch: &mut Scratch, medians: &mut [f32]) -> f32 {
    let middle = middle(keys.len());
    // Each resample has as many values as there are keys.
    let target = signed(middle + 1);
    let (below, &mut key, _) = keys.select_nth_unstable(middle);
    let median = value(key);

    let Scratch { band_sds, counts, band } = scratch;
    counts.clear();
    counts.resize(weights.images(), 0);
    for &key in &*below {
        counts[low(key)] += 1;
    }
    let sd = resampled_sd(counts.iter().map(|&count| f64::from(count)));
    let (start, sorted) = sort_middle(keys, middle, *band_sds * sd);

    for &key in &sorted[..middle - start] {
        counts[low(key)] -= 1;
    }
    band.clear();
    band.extend(sorted.iter().map(|&key| low(key) as u32));

    let mut outside = Vec::new();
    for (block, (rows, medians)) in weights.blocks_in_turn().zip(medians.chunks_mut(LANES)).enumerate() {
        let mut below = [0; LANES];
        lanes::add_weighted(rows, counts, &mut below);
        let need = below.map(|below| target - below);
        let found = positions(band, &need, |steps, need, passed| lanes::walk_images(rows, steps, need, passed));
        for (lane, (median, found)) in medians.iter_mut().zip(found).enumerate() {
            match found {
                Some(index) => *median = value(sorted[index]),
                None => outside.push(block * LANES + lane),
            }
        }
    }
    if !outside.is_empty() {
        keys.sort_unstable();
        for resample in outside {
            let weight = |&key: &u64| i32::from(weights.get(resample, low(key)));
            let index = position_of(target, keys.iter().map(weight));
            medians[resample] = index.map_or(median, |index| value(keys[index]));
        }
    }
    median
}

/// Sorts the ranks near `middle`, where `keys` is already partitioned; where they start and the ranks.
pub fn sort_middle(keys: &mut [u64], middle: usize, half_width: f64) -> (usize, &mut [u64]) {
    // The constant covers small samples, which are not normal.
    let half_width = half_width as usize + 32;
    let start = middle.saturating_sub(half_width);
    let end = keys.len().min(middle + 1 + half_width);
    if start > 0 {
        keys[..middle].select_nth_unstable(start);
    }
    if end < keys.len() {
        keys[middle + 1..].select_nth_unstable(end - middle - 1);
    }
    let band = &mut keys[start..end];
    band.sort_unstable();
    (start, band)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expands every resample, sorts and takes the lower median.
    fn naive(values: &[f32], draws: usize, weights: &Weights, resample: usize) -> f32 {
        let mut expanded = Vec::new();
        for (at, &value) in values.iter().enumerate() {
            expanded.extend(std::iter::repeat_n(value, usize::from(weights.get(resample, at / draws))));
        }
        expanded.sort_unstable_by(f32::total_cmp);
        expanded[(expanded.len() - 1) / 2]
    }

    fn check(values: &[f32], draws: usize, mut scratch: Scratch) {
        let weights = Weights::new(values.len() / draws, 200, 5);
        let mut keys: Vec<u64> = values.iter().enumerate().map(|(at, &value)| key(value, at / draws)).collect();
        let mut medians = vec![f32::NAN; 200];
        let median = resampled_medians(&mut keys, &weights, &mut scratch, &mut medians);
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f32::total_cmp);
        assert_eq!(median.to_bits(), sorted[(sorted.len() - 1) / 2].to_bits());
        for (resample, fast) in medians.iter().enumerate() {
            assert_eq!(fast.to_bits(), naive(values, draws, &weights, resample).to_bits(), "{values:?} x {draws}");
        }
    }

    #[test]
    fn equals_the_expanded_and_sorted_resamples() {
        for images in [2, 3, 7, 50, 400] {
            for draws in 1..=4 {
                let spread = |at: usize| ((at * 7919 + draws) % 1009) as f32 * 0.37;
                let check = |values: Vec<f32>| check(&values, draws, Scratch::default());
                let count = images * draws;
                check((0..count).map(spread).collect());
                // Ties, zeros, and images that lie wholly on one side.
                check((0..count).map(|at| spread(at) % 3.0).map(f32::floor).collect());
                check(vec![0.0; count]);
                check((0..count).map(|at| (at / draws) as f32).collect());
            }
        }
    }

    #[test]
    fn medians_outside_the_band_are_found_too() {
        // 64 ranks around the middle, while the resampled medians' ranks have a standard deviation of 50.
        let narrow = Scratch { band_sds: 0.0, ..Scratch::default() };
        check(&(0..5000).map(|at| (at / 2) as f32).collect::<Vec<_>>(), 2, narrow);
    }
}
