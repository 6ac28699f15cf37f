//! Displacement fields: sums of sines over the pixel grid, and what they do to it.
#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled again for the vector instructions of their caller"
)]

use super::lanes::{LANES, sum_of_squares};
use super::modes::{Coefficients, Mode, modes, sine};
use crate::probe::Shape;

/// What one deformation did to the pixel grid.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Displacement {
    /// Mean over the grid of `dx^2 + dy^2`, in square pixels.
    pub mean_square_px: f64,
    /// Whether the map folds: its Jacobian determinant, by differences to the next pixels, is <= 0 somewhere.
    pub folds: bool,
}

/// The modes of one cutoff, tabulated on the pixel grid of one shape.
#[derive(Debug, Clone)]
pub struct Sines {
    half_waves: usize,
    modes: Vec<Mode>,
    /// `1 / sqrt(i^2 + j^2)` by mode.
    inverse_radii: Vec<f32>,
    /// `sin(i pi u)` as `[block of LANES columns][i]`, zero beyond the last column.
    along_x: Vec<[f32; LANES]>,
    /// `sin(j pi v)` as `[row][j]`.
    along_y: Vec<f32>,
}

/// Buffers for one displacement of the whole grid, in pixels.
#[derive(Debug, Clone)]
pub struct Field {
    /// Along x, as `[y][x]`.
    pub dx: Vec<f32>,
    /// Along y, as `[y][x]`.
    pub dy: Vec<f32>,
    /// Scaled coefficients of both as `[j][i]`, zero where there is no mode.
    pub spectra: [Vec<f32>; 2],
    /// The same, summed over j for one row.
    row: Vec<f32>,
}

impl Sines {
    /// The tables; computed in f64, kept in f32.
    pub fn new(shape: Shape, cutoff: u32) -> Self {
        let modes = modes(cutoff);
        let column = |k, i| if k < shape.width { sine(i, k, shape.width) as f32 } else { 0.0 };
        let blocks = (0..shape.width).step_by(LANES);
        let along_x = blocks
            .flat_map(|start| (1..=cutoff).map(move |i| std::array::from_fn(|lane| column(start + lane, i))))
            .collect();
        let along_y =
            (0..shape.height).flat_map(|k| (1..=cutoff).map(move |j| sine(j, k, shape.height) as f32)).collect();
        let inverse_radii = modes.iter().map(|mode| mode.radius().recip() as f32).collect();
        Self { half_waves: cutoff as usize, modes, inverse_radii, along_x, along_y }
    }

    /// `sin(i pi u)` as `[i][column]`, and `sin(j pi v)` as `[row][j]`.
    pub fn by_axis(&self, shape: Shape) -> (Vec<f32>, &[f32]) {
        let at = |i: usize, column: usize| self.along_x[column / LANES * self.half_waves + i][column % LANES];
        let along_x = (0..self.half_waves).flat_map(|i| (0..shape.width).map(move |column| at(i, column))).collect();
        (along_x, &self.along_y)
    }

    /// Number of modes.
    pub fn modes(&self) -> usize {
        self.modes.len()
    }

    /// Zero displacement, with the buffers to compute others.
    pub fn field(&self, shape: Shape) -> Field {
        let (plane, spectrum) = (vec![0.0; shape.plane()], vec![0.0; self.half_waves * self.half_waves]);
        Field { dx: plane.clone(), dy: plane, spectra: [spectrum.clone(), spectrum], row: vec![0.0; self.half_waves] }
    }

    /// Fills both displacements from their coefficients: `sqrt(T) n tau`, n being the length of the field's own axis.
    #[inline(always)]
    pub(super) fn displace(&self, shape: Shape, temperature: f64, coefficients: &Coefficients, field: &mut Field) {
        let Field { dx, dy, spectra: [x, y], row } = field;
        let (along_x, along_y) = ((&coefficients.x, shape.width, dx, x), (&coefficients.y, shape.height, dy, y));
        for (coefficients, side, plane, spectrum) in [along_x, along_y] {
            let amplitude = (temperature.sqrt() * side as f64) as f32;
            for ((mode, inverse_radius), c) in self.modes.iter().zip(&self.inverse_radii).zip(coefficients) {
                spectrum[(mode.j as usize - 1) * self.half_waves + mode.i as usize - 1] =
                    amplitude * inverse_radius * c;
            }
            self.scalar_field(shape, spectrum, row, plane);
        }
    }

    /// The sum over modes of `spectrum[j][i] sin(i pi u) sin(j pi v)`: over j once for a row, then over i by pixel.
    #[inline(always)]
    fn scalar_field(&self, shape: Shape, spectrum: &[f32], row: &mut [f32], plane: &mut [f32]) {
        let rows = plane.chunks_exact_mut(shape.width).zip(self.along_y.chunks_exact(self.half_waves));
        for (pixels, sines) in rows {
            row.fill(0.0);
            for (sine, harmonics) in sines.iter().zip(spectrum.chunks_exact(self.half_waves)) {
                row.iter_mut().zip(harmonics).for_each(|(sum, harmonic)| *sum += sine * harmonic);
            }
            let mut sines = self.along_x.chunks_exact(self.half_waves);
            let (blocks, rest) = pixels.as_chunks_mut::<LANES>();
            blocks.iter_mut().zip(&mut sines).for_each(|(block, sines)| *block = combine(row, sines));
            if let Some(sines) = sines.next() {
                rest.copy_from_slice(&combine(row, sines)[..rest.len()]);
            }
        }
    }
}

/// The sum over modes of `factors[i] sines[i]`, for each lane.
#[inline(always)]
fn combine(factors: &[f32], sines: &[[f32; LANES]]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (factor, sines) in factors.iter().zip(sines) {
        (0..LANES).for_each(|lane| sums[lane] += factor * sines[lane]);
    }
    sums
}

/// Mean square and folding of a displacement of the grid.
#[inline(always)]
pub(super) fn measure(shape: Shape, dx: &[f32], dy: &[f32]) -> Displacement {
    let mean_square_px = (sum_of_squares(dx) + sum_of_squares(dy)) / shape.plane() as f64;
    let width = shape.width;
    let mut folds = false;
    for (dx, dy) in dx.windows(2 * width).step_by(width).zip(dy.windows(2 * width).step_by(width)) {
        folds |= folds_between(dx.split_at(width), dy.split_at(width));
    }
    Displacement { mean_square_px, folds }
}

/// Whether `(1 - dx_x)(1 - dy_y) <= dx_y dy_x` at any pixel of a row, given that row and the next.
#[inline(always)]
fn folds_between((dx, dx_next): (&[f32], &[f32]), (dy, dy_next): (&[f32], &[f32])) -> bool {
    let mut folds = 0;
    let last = dx.len() - 1;
    let (dx_right, dy_right) = (&dx[1..], &dy[1..]);
    let (dx, dx_next, dy, dy_next) = (&dx[..last], &dx_next[..last], &dy[..last], &dy_next[..last]);
    for x in 0..last {
        let (xx, xy) = (dx_right[x] - dx[x], dx_next[x] - dx[x]);
        let (yx, yy) = (dy_right[x] - dy[x], dy_next[x] - dy[x]);
        folds |= u32::from(is_fold([xx, xy], [yx, yy]));
    }
    folds != 0
}

/// By the changes of `dx` and `dy` to the next pixel along x and y.
#[inline(always)]
fn is_fold([xx, xy]: [f32; 2], [yx, yy]: [f32; 2]) -> bool {
    (1.0 - xx) * (1.0 - yy) <= xy * yx
}

/// Where a displacement `[y][x]` of an image `width` pixels wide folds: for each pixel with a next one to the right and below,
/// `[y][x]` of one row and one column less.
pub fn folds(width: usize, dx: &[f32], dy: &[f32]) -> Vec<bool> {
    let rows = dx.len() / width;
    let corners = (1..rows).flat_map(|y| (1..width).map(move |x| (y - 1) * width + x - 1));
    let changes = |d: &[f32], at: usize| [d[at + 1] - d[at], d[at + width] - d[at]];
    corners.map(|at| is_fold(changes(dx, at), changes(dy, at))).collect()
}
