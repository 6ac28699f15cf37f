//! A displacement as graph paper that was deformed like the image.

use crate::perturb::folds;
use crate::probe::Shape;

/// Squares along the longer side.
const SQUARES: f32 = 16.0;
/// Width of a line as a share of the longer side.
const LINE: f32 = 1.0 / 170.0;
/// A flatter place than this, in squares a pixel, shows no line to its full width.
const FLAT: f32 = 1e-3;

/// Lines of the paper where the deformed image reads them, and where it folds.
#[derive(Debug)]
pub struct Mesh {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// How much of each pixel `[y][x]` is covered by lines, in [0, 1].
    pub lines: Vec<f32>,
    /// Whether the map folds there: its Jacobian determinant is <= 0.
    pub folded: Vec<bool>,
}

impl Mesh {
    /// Of displacements `[y][x]` of an image of `shape`, in pixels; `enlarged` is the side of an image's pixel in the mesh.
    ///
    /// A pixel at (x, y) shows the paper at (x - dx, y - dy), as it shows the image.
    pub fn new(shape: Shape, dx: &[f32], dy: &[f32], enlarged: usize) -> Self {
        let (width, height) = (shape.width * enlarged, shape.height * enlarged);
        let [wide, tall] = [shape.width, shape.height].map(|side| (side - 1) as f32);
        let squares = |side: f32| (SQUARES * side / wide.max(tall)).round().max(1.0);
        let (across, down) = (squares(wide), squares(tall));
        let place = |at: usize| (at as f32 + 0.5) / enlarged as f32 - 0.5;
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (place(x), place(y))));
        let paper: (Vec<_>, Vec<_>) = places
            .map(|(x, y)| {
                let read = |d: &[f32]| between(shape, d, x, y);
                ((x - read(dx)) * across / wide, (y - read(dy)) * down / tall)
            })
            .unzip();
        let line = (LINE * width.max(height) as f32).max(1.0);
        let vertical = ruled(&paper.0, width, across, line);
        let horizontal = ruled(&paper.1, width, down, line);
        let lines = vertical.into_iter().zip(horizontal).map(|(a, b)| a.max(b)).collect();
        let cells = folds(shape.width, dx, dy);
        let cell = |at: usize, side: usize| (place(at).max(0.0) as usize).min(side - 2);
        let cell_at = |x, y| cells[cell(y, shape.height) * (shape.width - 1) + cell(x, shape.width)];
        let folded = (0..height).flat_map(|y| (0..width).map(move |x| cell_at(x, y))).collect();
        Self { width, height, lines, folded }
    }
}

/// The value at (x, y) of a field on the pixel grid, bilinear; as at the border beyond it.
fn between(shape: Shape, field: &[f32], x: f32, y: f32) -> f32 {
    let split = |at: f32, side: usize| {
        let at = at.clamp(0.0, (side - 1) as f32);
        let whole = (at as usize).min(side - 2);
        (whole, at - whole as f32)
    };
    let ((column, right), (row, below)) = (split(x, shape.width), split(y, shape.height));
    let at = row * shape.width + column;
    let mix = |at: usize| field[at] * (1.0 - right) + field[at + 1] * right;
    mix(at) * (1.0 - below) + mix(at + shape.width) * below
}

/// Coverage by the lines at whole numbers from 0 to `last` of `paper`, each `line` pixels wide.
fn ruled(paper: &[f32], width: usize, last: f32, line: f32) -> Vec<f32> {
    let coverage = |(at, value): (usize, &f32)| {
        let nearest = value.round().clamp(0.0, last);
        // Change to the next pixel, or from the last.
        let along = if at % width + 1 < width { paper[at + 1] - value } else { value - paper[at - 1] };
        let down = if at + width < paper.len() { paper[at + width] - value } else { value - paper[at - width] };
        let pixels = (value - nearest).abs() / along.hypot(down).max(FLAT);
        (0.5 + line / 2.0 - pixels).clamp(0.0, 1.0)
    };
    paper.iter().enumerate().map(coverage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perturb::{Deformation, Interpolation, Perturber, Size};

    const SHAPE: Shape = Shape { channels: 1, height: 17, width: 33 };

    #[test]
    fn no_displacement_is_straight() {
        let still = vec![0.0; SHAPE.plane()];
        let mesh = Mesh::new(SHAPE, &still, &still, 8);
        assert_eq!((mesh.width, mesh.height), (264, 136));
        assert!(!mesh.folded.contains(&true));
        let at = |x: usize, y: usize| mesh.lines[y * mesh.width + x];
        // Every other pixel of the image has a line through its middle, 8 y + 4; this row and column are between two.
        let (between_rows, between_columns) = (12, 12);
        for y in 0..mesh.height {
            for x in 0..mesh.width {
                let straight = at(x, between_rows).max(at(between_columns, y));
                assert_eq!(at(x, y).to_bits(), straight.to_bits(), "{x} {y}");
            }
        }
        let inked: Vec<_> = (0..mesh.width).filter(|x| at(*x, between_rows) > 0.5).collect();
        assert_eq!(inked.len(), 2 * 17, "{inked:?}");
        assert!(inked.iter().all(|x| [3, 4].contains(&(x % 16))), "{inked:?}");
    }

    #[test]
    fn a_line_is_where_the_image_of_its_place_went() {
        // Everything in the middle moves by two pixels to the right.
        let dx: Vec<f32> = (0..SHAPE.plane()).map(|at| if (4..29).contains(&(at % 33)) { 2.0 } else { 0.0 }).collect();
        let mesh = Mesh::new(SHAPE, &dx, &vec![0.0; SHAPE.plane()], 8);
        let row = &mesh.lines[12 * mesh.width..13 * mesh.width];
        let inked: Vec<_> = (96..160).filter(|x| row[*x] > 0.5).collect();
        // Lines stand at even places; those of 10 and 12 are now at 12 and 14.
        assert_eq!(inked, [99, 100, 115, 116, 131, 132, 147, 148]);
        let moved = Mesh::new(SHAPE, &dx.iter().map(|d| d / 2.0).collect::<Vec<_>>(), &vec![0.0; SHAPE.plane()], 8);
        let row = &moved.lines[12 * mesh.width..13 * mesh.width];
        let inked: Vec<_> = (96..128).filter(|x| row[*x] > 0.5).collect();
        assert_eq!(inked, [107, 108, 123, 124]);
    }

    #[test]
    fn it_folds_where_the_measurement_says_so() {
        let deformation = Deformation { cutoff: 8, size: Size::Delta(1.0), interpolation: Interpolation::Bilinear };
        let perturber = Perturber::new(SHAPE, &deformation, 0).expect("valid settings");
        let mut scratch = perturber.scratch();
        let mut folded = 0;
        for image in 0..40 {
            let drawn = perturber.displace(image, 0, &mut scratch);
            let mesh = Mesh::new(SHAPE, scratch.dx(), scratch.dy(), 4);
            assert_eq!(mesh.folded.contains(&true), drawn.folds);
            folded += usize::from(drawn.folds);
        }
        assert!((5..36).contains(&folded), "{folded}");
    }
}
