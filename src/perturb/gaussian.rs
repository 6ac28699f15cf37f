//! The Gaussian rule: every pixel weighted by its distance from the position read, weights summing to one.
//!
//! Weights further than three pixels along an axis are below 1e-8 of the largest and are left out. The others come
//! from one exponential: with f the fraction of a pixel from the middle of the cell and t = -5/2 ... 5/2 the taps,
//! `exp(-(f - t)^2 / (2 s^2))` is `exp(-t^2 / (2 s^2)) p^(2t)`, `p = exp(f / (2 s^2))`, times a factor common to all taps,
//! which the normalisation removes.
#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled again for the vector instructions of their caller"
)]

use super::lanes::LANES;
use super::remap::{Cells, for_each_row};
use crate::probe::Shape;

/// The standard deviation s of the weights, in pixels.
const S: f64 = 0.4715;

/// Pixels of the window before the left (upper) neighbour; as many come after the right (lower) one.
const BEFORE: usize = 2;

/// Taps along an axis; a row of them fits a block of [`LANES`].
const TAPS: usize = 2 * BEFORE + 2;

/// Weights that depend on the cell alone, and the image with a margin that no weight reaches.
#[derive(Debug, Clone)]
pub struct Window {
    /// `exp(-t^2 / (2 s^2))` by column of the cell and tap, zero for taps outside the image.
    columns: Vec<[f32; LANES]>,
    /// The same for rows.
    rows: Vec<[f32; LANES]>,
    /// The image `[channel][y][x]` with its margins, zero there.
    padded: Vec<f32>,
    stride: usize,
    weights: Vec<[[f32; LANES]; 2]>,
}

impl Window {
    /// Tables and buffers for one shape.
    pub fn new(shape: Shape) -> Self {
        let axis = |side: usize| (0..side - 1).map(|cell| weights_of_cell(cell, side)).collect();
        let stride = shape.width - 2 + LANES;
        Self {
            columns: axis(shape.width),
            rows: axis(shape.height),
            padded: vec![0.0; shape.channels * (shape.height - 2 + TAPS) * stride],
            stride,
            weights: vec![[[0.0; LANES]; 2]; shape.width],
        }
    }
}

fn weights_of_cell(cell: usize, side: usize) -> [f32; LANES] {
    std::array::from_fn(|tap| {
        let inside = (BEFORE..BEFORE + side).contains(&(cell + tap)) && tap < TAPS;
        let t = tap as f64 - (TAPS as f64 - 1.0) / 2.0;
        if inside { (-t * t / (2.0 * S * S)).exp() as f32 } else { 0.0 }
    })
}

/// Deforms an image `[channel][y][x]` by the Gaussian rule; without displacement this smooths it.
#[inline(always)]
pub(super) fn gaussian(
    shape: Shape,
    displacement: (&[f32], &[f32]),
    image: &[f32],
    out: &mut [f32],
    cells: &mut Cells,
    window: &mut Window,
) {
    let Window { columns, rows, padded, stride, weights } = window;
    let (width, plane, stride) = (shape.width, shape.plane(), *stride);
    let padded_plane = padded.len() / shape.channels;
    for (image, padded) in image.chunks_exact(plane).zip(padded.chunks_exact_mut(padded_plane)) {
        let inner = padded.chunks_exact_mut(stride).skip(BEFORE);
        image.chunks_exact(width).zip(inner).for_each(|(row, inner)| inner[BEFORE..][..width].copy_from_slice(row));
    }
    for_each_row(shape, displacement, cells, |y, cells| {
        for (x, weights) in weights.iter_mut().enumerate() {
            *weights = pixel_weights(
                (&columns[cells.column[x] as usize], cells.right[x]),
                (&rows[cells.row[x] as usize], cells.down[x]),
            );
        }
        for (padded, out) in padded.chunks_exact(padded_plane).zip(out.chunks_exact_mut(plane)) {
            let out = &mut out[y * width..(y + 1) * width];
            for (x, (out, weights)) in out.iter_mut().zip(weights.iter()).enumerate() {
                let start = cells.row[x] as usize * stride + cells.column[x] as usize;
                *out = weighted_sum(weights, &padded[start..start + (TAPS - 1) * stride + LANES], stride);
            }
        }
    });
}

/// The sum over a window of pixels weighted along x and along y; its rows lie `stride` values apart.
#[inline(always)]
fn weighted_sum([across, along]: &[[f32; LANES]; 2], window: &[f32], stride: usize) -> f32 {
    let mut sums = [0.0; LANES];
    for tap in 0..TAPS {
        let pixels = &window[tap * stride..tap * stride + LANES];
        (0..LANES).for_each(|lane| sums[lane] += along[tap] * pixels[lane]);
    }
    (0..LANES).for_each(|lane| sums[lane] *= across[lane]);
    sum(sums)
}

/// Normalised weights along x and along y of a position in a cell.
#[inline(always)]
fn pixel_weights(x: (&[f32; LANES], f32), y: (&[f32; LANES], f32)) -> [[f32; LANES]; 2] {
    let (mut across, mut along) = (axis_weights(x.0, x.1), axis_weights(y.0, y.1));
    let (scale_x, scale_y) = (sum(across).recip(), sum(along).recip());
    (0..LANES).for_each(|lane| across[lane] *= scale_x);
    (0..LANES).for_each(|lane| along[lane] *= scale_y);
    [across, along]
}

#[inline(always)]
fn axis_weights(of_cell: &[f32; LANES], fraction: f32) -> [f32; LANES] {
    let p = exp((fraction - 0.5) * (0.5 / (S * S)) as f32);
    let q = p.recip();
    let (p2, q2) = (p * p, q * q);
    let powers = [q * q2 * q2, q * q2, q, p, p * p2, p * p2 * p2, 0.0, 0.0];
    std::array::from_fn(|tap| of_cell[tap] * powers[tap])
}

/// `exp(x)` to 3e-8 for |x| below 1.13: the series at x / 2, squared. Only sums and products, alike on every machine.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const SERIES: [f32; 9] =
        [1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let half = 0.5 * x;
    let root = SERIES.into_iter().fold(0.0, |sum, term| sum * half + term);
    root * root
}

/// The sum of all lanes, in pairs: the order that vector instructions can follow.
#[inline(always)]
fn sum(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
