//! The pair normaliser: typical `|f(x) - f(z)|^2` over pairs of different images.

use std::collections::HashSet;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::lanes::{self, LANES, Row};
use super::median::{key, low, sort_middle, value};
use super::readings::Resampled;
use super::select::{half, position_of, positions, resampled_sd};
use super::weights::Weights;

/// Most pairs of images that the normaliser looks at; a seeded sample is drawn where there are more.
pub const MAX_PAIRS: usize = 125_000;

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
        Self { median: median(&pairs, &distances, &totals, weights), mean: mean(&pairs, &distances, &totals, weights) }
    }
}

/// Pairs of different images, each once, sorted by first image.
struct Pairs {
    images: usize,
    list: Vec<[u32; 2]>,
    /// Second images, in the order of `list`.
    partners: Vec<u32>,
    /// Whether every pair is there.
    complete: bool,
}

impl Pairs {
    fn new(images: usize, seed: u64) -> Self {
        let all = images as u64 * (images as u64 - 1) / 2;
        let complete = all <= MAX_PAIRS as u64;
        let list: Vec<_> = if complete { (0..all).map(pair).collect() } else { sample(all, seed).map(pair).collect() };
        let partners = list.iter().map(|&[_, partner]| partner).collect();
        Self { images, list, partners, complete }
    }

    /// Ranges of pairs that share their first image.
    fn rows(&self) -> impl Iterator<Item = (u32, std::ops::Range<usize>)> {
        let mut end = 0;
        self.list.chunk_by(|a, b| a[0] == b[0]).map(move |row| {
            let start = end;
            end += row.len();
            (row[0][0], start..end)
        })
    }

    fn distances(&self, clean: &[f32], outputs: usize) -> Vec<f32> {
        let row = |image: u32| &clean[image as usize * outputs..][..outputs];
        // Long enough to share the work, short enough to keep both cores busy.
        self.list.par_iter().with_min_len(1024).map(|&[x, z]| lanes::squared_distance(row(x), row(z))).collect()
    }

    /// Weight of all pairs in each resample.
    fn totals(&self, weights: &Weights) -> Vec<[i32; LANES]> {
        weights.blocks().map(|rows| self.block_total(rows)).collect()
    }

    fn block_total(&self, rows: &[Row]) -> [i32; LANES] {
        let mut total = [0; LANES];
        for (image, range) in self.rows() {
            lanes::add_products(rows, image, &self.partners[range], &mut total);
        }
        total
    }
}

/// The pair with this number when pairs are counted (1, 0), (2, 0), (2, 1), (3, 0), ...
fn pair(number: u64) -> [u32; 2] {
    let mut first = (((8.0 * number as f64 + 1.0).sqrt() + 1.0) / 2.0) as u64;
    // The square root may be off by one for large numbers.
    while first * (first - 1) / 2 > number {
        first -= 1;
    }
    while first * (first + 1) / 2 <= number {
        first += 1;
    }
    [first as u32, (number - first * (first - 1) / 2) as u32]
}

/// [`MAX_PAIRS`] different numbers below `all`, sorted, every set as likely (Floyd's algorithm).
fn sample(all: u64, seed: u64) -> impl Iterator<Item = u64> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut chosen = HashSet::with_capacity(MAX_PAIRS);
    for last in all - MAX_PAIRS as u64..all {
        let number = ((u128::from(rng.next_u64()) * u128::from(last + 1)) >> 64) as u64;
        if !chosen.insert(number) {
            chosen.insert(last);
        }
    }
    let mut chosen: Vec<u64> = chosen.into_iter().collect();
    chosen.sort_unstable();
    chosen.into_iter()
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

fn median(pairs: &Pairs, distances: &[f32], totals: &[[i32; LANES]], weights: &Weights) -> Resampled {
    let mut keys: Vec<u64> = distances.iter().enumerate().map(|(pair, &distance)| key(distance, pair)).collect();
    let middle = half(keys.len() as i32) as usize - 1;
    let (below, &mut middle_key, _) = keys.select_nth_unstable(middle);
    let point = value(middle_key);

    let sd = middle_sd(pairs, below);
    let (start, sorted) = sort_middle(&mut keys, middle, sd);
    let band: Vec<[u32; 2]> = sorted.iter().map(|&key| pairs.list[low(key)]).collect();
    let first = sorted[0];
    let below = Below::new(pairs, distances, first, start);

    let block_medians = |(rows, totals): (&[Row], &[i32; LANES])| {
        let mut weight_below = [0; LANES];
        below.add_products(rows, &mut weight_below);
        let need = std::array::from_fn(|lane| half(totals[lane]) - weight_below[lane]);
        let found = positions(&band, &need, |steps, need, passed| lanes::walk_pairs(rows, steps, need, passed));
        std::array::from_fn(|lane| {
            if totals[lane] == 0 {
                return 0.0;
            }
            f64::from(
                found[lane].map_or_else(|| search(pairs, distances, rows, lane, totals[lane]), |at| value(sorted[at])),
            )
        })
    };
    Resampled::new(f64::from(point), weights, weights.blocks().zip(totals).map(block_medians))
}

/// Spread of a resample's weight below the middle, about half of its total weight.
fn middle_sd(pairs: &Pairs, below: &[u64]) -> f64 {
    // Twice the excess of each image's pairs below the middle over half of its pairs.
    let mut excess = vec![0_i32; pairs.images];
    let mut add = |[x, z]: [u32; 2], amount| {
        excess[x as usize] += amount;
        excess[z as usize] += amount;
    };
    pairs.list.iter().for_each(|&pair| add(pair, -1));
    below.iter().for_each(|&key| add(pairs.list[low(key)], 2));
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

/// The median of one resample without the band, from a full sort.
fn search(pairs: &Pairs, distances: &[f32], rows: &[Row], lane: usize, total: i32) -> f32 {
    let mut keys: Vec<u64> = distances.iter().enumerate().map(|(pair, &distance)| key(distance, pair)).collect();
    keys.sort_unstable();
    let weight = |&key: &u64| {
        let [x, z] = pairs.list[low(key)];
        i32::from(rows[x as usize][lane]) * i32::from(rows[z as usize][lane])
    };
    position_of(half(total), keys.iter().map(weight)).map_or(0.0, |index| value(keys[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_pairs() {
        let counted: Vec<[u32; 2]> = (0..6).map(pair).collect();
        assert_eq!(counted, [[1, 0], [2, 0], [2, 1], [3, 0], [3, 1], [3, 2]]);
        let last = 4_000_000_000_u64;
        assert_eq!(pair(last * (last - 1) / 2 - 1), [last as u32 - 1, last as u32 - 2]);
        assert_eq!(pair(last * (last - 1) / 2), [last as u32, 0]);
    }

    #[test]
    fn more_pairs_than_the_limit_are_sampled() {
        let pairs = Pairs::new(501, 3);
        assert_eq!(pairs.list.len(), MAX_PAIRS);
        assert!(pairs.list.is_sorted() && pairs.list.windows(2).all(|two| two[0] != two[1]));
        assert!(pairs.list.iter().all(|&[first, second]| second < first && first < 501));
        assert_eq!(pairs.list, Pairs::new(501, 3).list);
        assert_ne!(pairs.list, Pairs::new(501, 4).list);
        assert_eq!(Pairs::new(500, 3).list.len(), 500 * 499 / 2);
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
