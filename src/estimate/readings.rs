//! The three readings of a 'typical squared change': the numerators of `D_f` and of `G_f`.

use rayon::prelude::*;

use super::lanes::{self, LANES, Row};
use super::median::{Scratch, key, resampled_medians};
use super::weights::Weights;

/// A statistic of all images, and of each resample.
#[derive(Debug)]
pub struct Resampled {
    pub point: f64,
    pub replicates: Vec<f64>,
}

impl Resampled {
    /// From one value per lane of every block of resamples.
    pub fn new(point: f64, weights: &Weights, blocks: impl IndexedParallelIterator<Item = [f64; LANES]>) -> Self {
        let mut replicates: Vec<f64> = blocks.flatten_iter().collect();
        replicates.truncate(weights.resamples());
        Self { point, replicates }
    }
}

/// The readings of one kind of change, in the order of `Estimator::ALL`.
pub struct Readings {
    pub all: [Resampled; 3],
    /// Measurements, image and draw, in which no output changed at all.
    pub still: usize,
}

/// The three readings of `changes`, `[image, draw, output]`.
pub fn readings(changes: &[f32], outputs: usize, weights: &Weights) -> Readings {
    let norms: Vec<f64> = changes.par_chunks(outputs).with_min_len(64).map(lanes::sum).collect();
    let (coordinate_median, (median, mean)) = rayon::join(
        || coordinate_median(changes, outputs, weights),
        || rayon::join(|| norm_median(&norms, weights), || mean(&norms, weights)),
    );
    let still = norms.iter().filter(|&&norm| norm <= 0.0).count();
    Readings { all: [coordinate_median, median, mean], still }
}

/// Coordinates that are gathered together: two cache lines where there are many, fewer to share out a few.
fn tile(outputs: usize) -> usize {
    (outputs / 16).clamp(1, 32)
}

fn coordinate_median(changes: &[f32], outputs: usize, weights: &Weights) -> Resampled {
    let starts: Vec<usize> = (0..outputs).step_by(tile(outputs)).collect();
    let tiles: Vec<Resampled> = starts
        .into_par_iter()
        .map_init(Scratch::default, |scratch, start| {
            let columns = start..outputs.min(start + tile(outputs));
            tile_median(changes, outputs, columns, weights, scratch)
        })
        .collect();
    // In the order of the tiles, whichever thread made them.
    let mut sum = Resampled { point: 0.0, replicates: vec![0.0; weights.resamples()] };
    for tile in tiles {
        sum.point += tile.point;
        sum.replicates.iter_mut().zip(tile.replicates).for_each(|(sum, value)| *sum += value);
    }
    sum
}

/// Sum over some coordinates of their medians.
fn tile_median(
    changes: &[f32],
    outputs: usize,
    columns: std::ops::Range<usize>,
    weights: &Weights,
    scratch: &mut Scratch,
) -> Resampled {
    let draws = changes.len() / outputs / weights.images();
    // Copied first: short rows far apart are slow to read, and each would be read once per column.
    let width = columns.len();
    let mut tile = Vec::with_capacity(changes.len() / outputs * width);
    for change in changes.chunks_exact(outputs) {
        tile.extend_from_slice(&change[columns.clone()]);
    }
    let mut medians = vec![0.0; weights.resamples()];
    let mut sum = Resampled { point: 0.0, replicates: vec![0.0; weights.resamples()] };
    let mut keys = Vec::with_capacity(tile.len() / width);
    for column in 0..width {
        // [image, draw, column] -> [image, draw]
        keys.clear();
        for (image, changes) in tile.chunks_exact(draws * width).enumerate() {
            keys.extend(changes.chunks_exact(width).map(|change| key(change[column], image)));
        }
        sum.point += f64::from(resampled_medians(&mut keys, weights, scratch, &mut medians));
        sum.replicates.iter_mut().zip(&medians).for_each(|(sum, &median)| *sum += f64::from(median));
    }
    sum
}

fn norm_median(norms: &[f64], weights: &Weights) -> Resampled {
    let draws = norms.len() / weights.images();
    // Rounding keeps the order, so the median is that of the unrounded norms, rounded.
    let mut keys: Vec<u64> = norms.iter().enumerate().map(|(at, &norm)| key(norm as f32, at / draws)).collect();
    let mut medians = vec![0.0; weights.resamples()];
    let point = resampled_medians(&mut keys, weights, &mut Scratch::default(), &mut medians);
    Resampled { point: f64::from(point), replicates: medians.into_iter().map(f64::from).collect() }
}

fn mean(norms: &[f64], weights: &Weights) -> Resampled {
    let draws = norms.len() / weights.images();
    let count = norms.len() as f64;
    let sums: Vec<f64> = norms.chunks(draws).map(|draws| draws.iter().sum()).collect();
    let block_means = |rows: &[Row]| {
        let mut total = [0.0; LANES];
        lanes::add_scaled(rows, &sums, &mut total);
        total.map(|total| total / count)
    };
    Resampled::new(sums.iter().sum::<f64>() / count, weights, weights.blocks().map(block_means))
}
