//! Pairs of different images, all of them or a seeded sample, with their distances and their weights.

use std::collections::HashSet;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::lanes::{self, LANES, Row};
use super::select::signed;
use super::weights::Weights;

/// Most pairs of images that the normaliser looks at; a seeded sample is drawn where there are more.
pub const MAX_PAIRS: usize = 125_000;

/// Pairs of different images, each once, sorted by first image.
pub struct Pairs {
    pub images: usize,
    pub list: Vec<[u32; 2]>,
    /// Second images, in the order of `list`.
    pub partners: Vec<u32>,
    /// Whether every pair is there.
    complete: bool,
}

impl Pairs {
    pub fn new(images: usize, seed: u64) -> Self {
        let all = images as u64 * (images as u64 - 1) / 2;
        let complete = all <= MAX_PAIRS as u64;
        let list: Vec<_> = if complete { (0..all).map(pair).collect() } else { sample(all, seed).map(pair).collect() };
        let partners = list.iter().map(|&[_, partner]| partner).collect();
        Self { images, list, partners, complete }
    }

    /// Ranges of pairs that share their first image.
    pub fn rows(&self) -> impl Iterator<Item = (u32, std::ops::Range<usize>)> {
        let mut end = 0;
        self.list.chunk_by(|a, b| a[0] == b[0]).map(move |row| {
            let start = end;
            end += row.len();
            (row[0][0], start..end)
        })
    }

    /// `|f(x) - f(z)|^2` of each pair; `clean` is `[image, output]`.
    pub fn distances(&self, clean: &[f32], outputs: usize) -> Vec<f32> {
        let row = |image: u32| &clean[image as usize * outputs..][..outputs];
        // Long enough to share the work, short enough to keep both cores busy.
        self.list.par_iter().with_min_len(1024).map(|&[x, z]| lanes::squared_distance(row(x), row(z))).collect()
    }

    /// Weight of all pairs in each resample.
    pub fn totals(&self, weights: &Weights) -> Vec<[i32; LANES]> {
        weights.blocks().map(|rows| self.block_total(rows)).collect()
    }

    fn block_total(&self, rows: &[Row]) -> [i32; LANES] {
        let mut total = [0; LANES];
        if self.complete {
            // sum over i < j of w_i w_j = (n^2 - sum of w_i^2) / 2, for weights that sum to n.
            let images = signed(self.images);
            lanes::add_squares(rows, &mut total);
            // The lanes past the last resample weigh nothing.
            return total.map(|squares| if squares > 0 { (images * images - squares) / 2 } else { 0 });
        }
        for (image, range) in self.rows() {
            lanes::add_products(rows, image, &self.partners[range], &mut total);
        }
        total
    }
}

/// The pair with this number when pairs are counted (1, 0), (2, 0), (2, 1), (3, 0), ...
fn pair(number: u64) -> [u32; 2] {
    let mut first = f64::midpoint((8.0 * number as f64 + 1.0).sqrt(), 1.0) as u64;
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
}
