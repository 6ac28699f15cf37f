//! The pair normaliser: typical `|f(x) - f(z)|^2` over pairs of different images.

use std::sync::OnceLock;

use rayon::prelude::*;

use super::lanes::{self, LANES, Row};
use super::median::{key, low, sort_middle, value};
use super::pairs::Pairs;
use super::readings::Resampled;
use super::select::{BAND_SDS, half, middle, position_of, positions, resampled_sd};
use super::weights::Weights;

/// Median and mean of the squared distance over pairs, with their resamples.
///
/// Pair (i, j) of a resample weighs `w_i * w_j`; an image is never paired with itself.
pub struct Normaliser {
    pub median: Resampled,
    pub mean: Resampled,
}

impl Normaliser {
    /// `clean` is `[image, output]`.
    pub fn new(clean: &[f32], weights: &Weights, seed: u64) -> Self {
        let pairs = Pairs::new(weights.images(), seed);
        let distances = pairs.distances(clean, clean.len() / weights.images());
        let totals = pairs.totals(weights);
        Self {
            median: median(&pairs, &distances, &totals, weights, BAND_SDS),
            mean: mean(&pairs, &distances, &totals, weights),
        }
    }
}

fn mean(pairs: &Pairs, distances: &[f32], totals: &[[i32; LANES]], weights: &Weights) -> Resampled {
    let point = lanes::sum(distances) / distances.len() as f64;
    let block_means = |(rows, totals): (&[Row], &[i32; LANES])| {
        let rows: Vec<[f32; LANES]> = rows.iter().map(|row| row.map(f32::from)).collect();
        let mut sum = [0.0; LANES];
        for (image, range) in pairs.rows() {
            lanes::add_scaled_products(&rows, image, &pairs.partners[range.clone()], &distances[range], &mut sum);
        }
        // Without a pair of different images the sum is zero too.
        std::array::from_fn(|lane| sum[lane] / f64::from(totals[lane].max(1)))
    };
    Resampled::new(point, weights, weights.blocks().zip(totals).map(block_means))
}

fn median(pairs: &Pairs, distances: &[f32], totals: &[[i32; LANES]], weights: &Weights, band_sds: f64) -> Resampled {
    let mut keys = keys(distances);
    let middle = middle(keys.len());
    let (below, &mut middle_key, _) = keys.select_nth_unstable(middle);
    let point = value(middle_key);

    let half_width = band_sds * middle_sd(pairs, below);
    let (start, sorted) = sort_middle(&mut keys, middle, half_width);
    let band: Vec<[u32; 2]> = sorted.iter().map(|&key| pairs.list[low(key)]).collect();
    let below = Below::new(pairs, distances, sorted[0], start);
    let all_sorted = OnceLock::new();

    let block_medians = |(rows, totals): (&[Row], &[i32; LANES])| {
        let mut weight_below = [0; LANES];
        below.add_products(rows, &mut weight_below);
        let need = std::array::from_fn(|lane| half(totals[lane]) - weight_below[lane]);
        let found = positions(&band, &need, |steps, need, passed| lanes::walk_pairs(rows, steps, need, passed));
        std::array::from_fn(|lane| match found[lane] {
            // One image only, or a lane past the last resample.
            _ if totals[lane] == 0 => 0.0,
            Some(index) => f64::from(value(sorted[index])),
            None => {
                let all = all_sorted.get_or_init(|| sorted_keys(distances));
                f64::from(search(pairs, all, rows, lane, totals[lane]))
            }
        })
    };
    Resampled::new(f64::from(point), weights, weights.blocks().zip(totals).map(block_medians))
}

fn keys(distances: &[f32]) -> Vec<u64> {
    distances.iter().enumerate().map(|(pair, &distance)| key(distance, pair)).collect()
}

fn sorted_keys(distances: &[f32]) -> Vec<u64> {
    let mut keys = keys(distances);
    keys.sort_unstable();
    keys
}

/// Spread of a resample's weight below the middle, about half of its total weight.
fn middle_sd(pairs: &Pairs, below: &[u64]) -> f64 {
    // Twice the excess of each image's pairs below the middle over half of its pairs.
    let mut excess = vec![0_i32; pairs.images];
    let mut add = |[x, z]: [u32; 2], amount| {
        excess[x as usize] += amount;
        excess[z as usize] += amount;
    };
    for &pair in &pairs.list {
        add(pair, -1);
    }
    for &key in below {
        add(pairs.list[low(key)], 2);
    }
    let between = resampled_sd(excess.iter().map(|&twice| f64::from(twice) / 2.0));
    // Within: each pair is below or not by itself.
    (between * between + pairs.list.len() as f64 / 4.0).sqrt()
}

/// The pairs below the band, by first image.
struct Below {
    rows: Vec<(u32, std::ops::Range<usize>)>,
    partners: Vec<u32>,
}

impl Below {
    fn new(pairs: &Pairs, distances: &[f32], first_of_band: u64, count: usize) -> Self {
        let mut partners = Vec::with_capacity(count);
        let mut rows = Vec::new();
        for (image, range) in pairs.rows() {
            let start = partners.len();
            let below = range.filter(|&pair| key(distances[pair], pair) < first_of_band);
            partners.extend(below.map(|pair| pairs.partners[pair]));
            rows.push((image, start..partners.len()));
        }
        Self { rows, partners }
    }

    fn add_products(&self, block: &[Row], total: &mut [i32; LANES]) {
        for (image, range) in &self.rows {
            lanes::add_products(block, *image, &self.partners[range.clone()], total);
        }
    }
}

/// The median of one resample without the band, from all pairs in order of distance.
fn search(pairs: &Pairs, sorted: &[u64], rows: &[Row], lane: usize, total: i32) -> f32 {
    let weight = |&key: &u64| {
        let [x, z] = pairs.list[low(key)];
        i32::from(rows[x as usize][lane]) * i32::from(rows[z as usize][lane])
    };
    position_of(half(total), sorted.iter().map(weight)).map_or(0.0, |index| value(sorted[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_outside_the_band_are_found_too() {
        let images = 150;
        let clean: Vec<f32> = (0..images).map(|image| (image as f32 * 0.7).sin().exp()).collect();
        let weights = Weights::new(images, 100, 8);
        let pairs = Pairs::new(images, 0);
        let (distances, totals) = (pairs.distances(&clean, 1), pairs.totals(&weights));
        let banded = |band_sds| median(&pairs, &distances, &totals, &weights, band_sds).replicates;
        assert_eq!(banded(0.0), banded(BAND_SDS));
    }

    #[test]
    fn a_sample_of_pairs_is_near_all_of_them() {
        // One output, the image's number: |x - z|^2 over all pairs has mean n(n+1)/6 and median about (0.293 n)^2.
        let images = 3000_usize;
        let clean: Vec<f32> = (0..images).map(|image| image as f32).collect();
        let weights = Weights::new(images, 20, 1);
        let normaliser = Normaliser::new(&clean, &weights, 1);
        let n = images as f64;
        assert!((normaliser.mean.point / (n * (n + 1.0) / 6.0) - 1.0).abs() < 0.02);
        assert!((normaliser.median.point / (0.2929 * n).powi(2) - 1.0).abs() < 0.02);
        for (fast, slow) in normaliser.median.replicates.iter().zip(0..) {
            let pairs = Pairs::new(images, 1);
            let distances = pairs.distances(&clean, 1);
            let weight = |&[x, z]: &[u32; 2]| {
                u32::from(weights.get(slow, x as usize)) * u32::from(weights.get(slow, z as usize))
            };
            let mut expanded = Vec::new();
            for (pair, &distance) in pairs.list.iter().zip(&distances) {
                expanded.extend(std::iter::repeat_n(distance, weight(pair) as usize));
            }
            expanded.sort_unstable_by(f32::total_cmp);
            let median = f64::from(expanded[(expanded.len() - 1) / 2]);
            assert!((fast - median).abs() < f64::EPSILON, "{fast} {median}");
        }
    }
}
