//! Reading an image at displaced positions: where to read, and the bilinear rule.
#![expect(
    clippy::inline_always,
    reason = "the loops must be compiled again for the vector instructions of their caller"
)]

use super::lanes::LANES;
use crate::probe::Shape;

/// Where the pixels of one row are read: the pixel above and to the left, and the fractions of a pixel beyond it.
///
/// Padded to whole blocks of `LANES`; the padding reads pixel 0.
#[derive(Debug, Clone)]
pub struct Cells {
    /// Column of the left neighbours, at most width - 2.
    pub column: Vec<u32>,
    /// Row of the upper neighbours, at most height - 2.
    pub row: Vec<u32>,
    /// Distance from the left neighbours, in [0, 1] pixels.
    pub right: Vec<f32>,
    /// Distance from the upper neighbours, in [0, 1] pixels.
    pub down: Vec<f32>,
}

impl Cells {
    /// Buffers for one row of this shape.
    pub fn new(shape: Shape) -> Self {
        let padded = shape.width.next_multiple_of(LANES);
        Self { column: vec![0; padded], row: vec![0; padded], right: vec![0.0; padded], down: vec![0.0; padded] }
    }

    /// The cells that hold `(x - dx, y - dy)`, clamped to the image, for the pixels of row y.
    #[inline(always)]
    pub(super) fn locate(&mut self, shape: Shape, y: usize, dx: &[f32], dy: &[f32]) {
        let (last_column, last_row, y) = ((shape.width - 2) as f32, (shape.height - 2) as f32, y as f32);
        for (x, (dx, (column, right))) in (0i32..).zip(dx.iter().zip(self.column.iter_mut().zip(&mut self.right))) {
            (*column, *right) = locate(x as f32, *dx, last_column);
        }
        for (dy, (row, down)) in dy.iter().zip(self.row.iter_mut().zip(&mut self.down)) {
            (*row, *down) = locate(y, *dy, last_row);
        }
    }
}

/// Adding this to a float of less than 22 bits leaves its nearest whole number in the last bits of the mantissa.
const WHOLE: f32 = 12_582_912.0;

/// The cell, at most `last`, and the fraction of `position - displacement` along one axis, clamped to [0, last + 1].
///
/// The displacement alone is split into whole and fraction: beside a large coordinate f32 would lose digits.
#[inline(always)]
fn locate(position: f32, displacement: f32, last: f32) -> (u32, f32) {
    // max and min, unlike clamp, also make a NaN a number.
    let shift = (-displacement).max(-last - 2.0).min(last + 2.0);
    let nearest = (shift + WHOLE) - WHOLE;
    let whole = if nearest > shift { nearest - 1.0 } else { nearest };
    let cell = position + whole;
    let inside = cell.clamp(0.0, last);
    let fraction = (cell - inside + (shift - whole)).clamp(0.0, 1.0);
    ((inside + WHOLE).to_bits() - WHOLE.to_bits(), fraction)
}

/// Locates the cells of one row after the other, and hands each row on with its number.
#[inline(always)]
pub(super) fn for_each_row(
    shape: Shape,
    (dx, dy): (&[f32], &[f32]),
    cells: &mut Cells,
    mut read: impl FnMut(usize, &Cells),
) {
    for (y, (dx, dy)) in dx.chunks_exact(shape.width).zip(dy.chunks_exact(shape.width)).enumerate() {
        cells.locate(shape, y, dx, dy);
        read(y, cells);
    }
}

/// Deforms an image `[channel][y][x]` by the bilinear rule: the four neighbours weighted by distance.
#[inline(always)]
pub(super) fn bilinear(
    shape: Shape,
    displacement: (&[f32], &[f32]),
    image: &[f32],
    out: &mut [f32],
    cells: &mut Cells,
) {
    let (width, plane) = (shape.width, shape.plane());
    for_each_row(shape, displacement, cells, |y, cells| {
        for (image, out) in image.chunks_exact(plane).zip(out.chunks_exact_mut(plane)) {
            let corners =
                cells.row.iter().zip(&cells.column).map(|(&row, &column)| row as usize * width + column as usize);
            let out = out[y * width..(y + 1) * width].iter_mut();
            for ((out, corner), (right, down)) in out.zip(corners).zip(cells.right.iter().zip(&cells.down)) {
                let (left, up) = (1.0 - right, 1.0 - down);
                let (upper, lower) = (&image[corner..corner + 2], &image[corner + width..corner + width + 2]);
                *out = (upper[0] * left + upper[1] * right) * up + (lower[0] * left + lower[1] * right) * down;
            }
        }
    });
}
