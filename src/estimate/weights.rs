//! Bootstrap weights: how often each image occurs in each resample.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::lanes::{LANES, Row};

/// Largest weight of one image, so that the product of two fits 15 bits.
///
/// A draw that would exceed it is drawn again. Its probability is below 1/182!, so the weights stay multinomial.
const MAX_WEIGHT: u8 = 181;

/// Multinomial weights, `[block of resamples][image][resample in block]`.
///
/// They depend only on the seed and the number of images: resample r is the same whatever the number of resamples.
#[derive(Debug)]
pub struct Weights {
    images: usize,
    resamples: usize,
    rows: Vec<Row>,
}

impl Weights {
    pub fn new(images: usize, resamples: usize, seed: u64) -> Self {
        let mut rows = vec![[0; LANES]; images * resamples.div_ceil(LANES)];
        rows.par_chunks_mut(images).enumerate().for_each(|(block, rows)| {
            for lane in 0..LANES.min(resamples - block * LANES) {
                draw(rows, lane, resample_seed(seed, (block * LANES + lane) as u64));
            }
        });
        Self { images, resamples, rows }
    }

    pub fn images(&self) -> usize {
        self.images
    }

    pub fn resamples(&self) -> usize {
        self.resamples
    }

    /// Blocks of `[image][lane]`; the lanes past the last resample weigh nothing.
    pub fn blocks(&self) -> impl IndexedParallelIterator<Item = &[Row]> {
        self.rows.par_chunks(self.images)
    }

    /// The same blocks, one after another.
    pub fn blocks_in_turn(&self) -> impl Iterator<Item = &[Row]> {
        self.rows.chunks(self.images)
    }

    /// Weight of one image in one resample.
    pub fn get(&self, resample: usize, image: usize) -> u8 {
        self.rows[resample / LANES * self.images + image][resample % LANES]
    }
}

/// Draws as many images as there are, with replacement, into one lane.
fn draw(rows: &mut [Row], lane: usize, seed: u64) {
    let images = rows.len() as u64;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut left = rows.len();
    while left > 0 {
        // Two indices from 64 bits; the multiply-shift favours no image by more than images / 2^32.
        let bits = rng.next_u64();
        for half in [bits >> 32, bits & 0xffff_ffff] {
            let weight = &mut rows[((half * images) >> 32) as usize][lane];
            if left > 0 && *weight < MAX_WEIGHT {
                *weight += 1;
                left -= 1;
            }
        }
    }
}

/// Seeds the generator of one resample; `seed_from_u64` scrambles it further (`SplitMix64`).
fn resample_seed(seed: u64, resample: u64) -> u64 {
    seed ^ (resample + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resample_draws_as_many_images_as_there_are() {
        for (images, resamples) in [(2, 1), (7, 65), (500, 130)] {
            let weights = Weights::new(images, resamples, 3);
            for resample in 0..resamples {
                let total: usize = (0..images).map(|image| usize::from(weights.get(resample, image))).sum();
                assert_eq!(total, images);
            }
        }
    }

    #[test]
    fn resamples_differ_and_do_not_depend_on_their_number() {
        let (few, many) = (Weights::new(50, 10, 1), Weights::new(50, 100, 1));
        let row = |weights: &Weights, resample| (0..50).map(|image| weights.get(resample, image)).collect::<Vec<_>>();
        for resample in 0..10 {
            assert_eq!(row(&few, resample), row(&many, resample));
        }
        assert_ne!(row(&many, 0), row(&many, 1));
        assert_ne!(row(&many, 0), row(&Weights::new(50, 1, 2), 0));
    }

    #[test]
    fn weights_have_the_moments_of_a_multinomial() {
        let (images, resamples) = (40, 4000);
        let weights = Weights::new(images, resamples, 11);
        let image_moments = |image| {
            let values = (0..resamples).map(|resample| f64::from(weights.get(resample, image)));
            let (sum, squares) = values.fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
            (sum / resamples as f64, squares / resamples as f64)
        };
        for image in 0..images {
            let (mean, square) = image_moments(image);
            assert!((mean - 1.0).abs() < 0.08, "mean weight of image {image}: {mean}");
            // E w^2 = 1 + (1 - 1/n); its sd over 4000 resamples is about 0.05.
            assert!((square - (2.0 - 1.0 / 40.0)).abs() < 0.25, "mean squared weight of image {image}: {square}");
        }
    }
}
