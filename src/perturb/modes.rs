//! The modes of a deformation and their random coefficients.

use rand_xoshiro::Xoshiro256PlusPlus;

use super::noise::fill_normal;
use crate::probe::Shape;

/// A mode `sin(i pi u) sin(j pi v)` of the field, u along x and v along y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// Half-waves along x, from 1.
    pub i: u32,
    /// Half-waves along y, from 1.
    pub j: u32,
}

impl Mode {
    fn square(self) -> u64 {
        u64::from(self.i).pow(2) + u64::from(self.j).pow(2)
    }

    /// `sqrt(i^2 + j^2)`.
    pub fn radius(self) -> f64 {
        (self.square() as f64).sqrt()
    }
}

/// All modes with `sqrt(i^2 + j^2) < cutoff + 1/2`, by radius: those of a smaller cutoff come first.
pub fn modes(cutoff: u32) -> Vec<Mode> {
    let c = u64::from(cutoff);
    let mut modes: Vec<_> = (1..=cutoff)
        .flat_map(|j| (1..=cutoff).map(move |i| Mode { i, j }))
        // (c + 1/2)^2 = c^2 + c + 1/4, in whole numbers.
        .filter(|mode| mode.square() <= c * c + c)
        .collect();
    modes.sort_by_key(|mode| (mode.square(), mode.i));
    modes
}

/// The coefficients `C_ij ~ N(0, 1)` of both fields, one for each of [`modes`] in that order; unitless.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Coefficients {
    /// Of the displacement along x.
    pub x: Vec<f32>,
    /// Of the displacement along y.
    pub y: Vec<f32>,
}

impl Coefficients {
    /// Replaces the coefficients by new ones for `modes` modes.
    ///
    /// Depends on nothing but the stream, and a larger cutoff only adds coefficients.
    pub fn draw(&mut self, modes: usize, stream: &mut Xoshiro256PlusPlus) {
        self.x.clear();
        self.y.clear();
        for _ in 0..modes {
            let mut pair = [0.0; 2];
            fill_normal(&mut pair, stream);
            self.x.push(pair[0]);
            self.y.push(pair[1]);
        }
    }
}

/// Exact expected root mean square of the displacement `(dx, dy)` over the pixel grid, in pixels.
///
/// The finite sum of `T (w^2 + h^2) / (i^2 + j^2)` over modes, each times its mean square over the grid.
pub fn expected_rms_px(shape: Shape, cutoff: u32, temperature: f64) -> f64 {
    let mean_squares = |side: usize| -> Vec<f64> {
        let mean = |i| (0..side).map(|k| sine(i, k, side).powi(2)).sum::<f64>() / side as f64;
        (1..=cutoff).map(mean).collect()
    };
    let (along_x, along_y) = (mean_squares(shape.width), mean_squares(shape.height));
    let sum: f64 = modes(cutoff)
        .into_iter()
        .map(|mode| along_x[mode.i as usize - 1] * along_y[mode.j as usize - 1] / mode.square() as f64)
        .sum();
    (temperature * 2.0 * shape.side().powi(2) * sum).sqrt()
}

/// `sin(i pi k / (side - 1))`, exactly zero at both ends.
pub(super) fn sine(i: u32, k: usize, side: usize) -> f64 {
    if k == 0 || k + 1 == side {
        0.0
    } else {
        (f64::from(i) * std::f64::consts::PI * k as f64 / (side - 1) as f64).sin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perturb::random::{Purpose, stream};

    #[test]
    fn modes_are_those_below_the_cutoff() {
        for cutoff in 2..40 {
            let all: Vec<_> = modes(cutoff);
            let limit = f64::from(cutoff) + 0.5;
            let expected = (1..=cutoff).flat_map(|i| (1..=cutoff).map(move |j| f64::from(i).hypot(f64::from(j))));
            assert_eq!(all.len(), expected.filter(|&radius| radius < limit).count());
            assert!(modes(cutoff + 1).starts_with(&all));
        }
    }

    #[test]
    fn coefficients_are_standard_normal_and_uncorrelated() {
        let (count, modes) = (4000, modes(3).len());
        let mut sums = vec![0.0; 2 * modes];
        let (mut squares, mut products) = (sums.clone(), sums.clone());
        let mut coefficients = Coefficients::default();
        for image in 0..count {
            coefficients.draw(modes, &mut stream(5, image, 0, Purpose::Field));
            let all: Vec<f64> = coefficients.x.iter().chain(&coefficients.y).map(|&c| f64::from(c)).collect();
            for k in 0..all.len() {
                sums[k] += all[k];
                squares[k] += all[k] * all[k];
                products[k] += all[k] * all[(k + 1) % all.len()];
            }
        }
        // Standard errors of mean, mean square and mean product: 1, sqrt(2) and 1 over sqrt(count); 4.5 of them each.
        let n = count as f64;
        let allowed = 4.5 / n.sqrt();
        for k in 0..sums.len() {
            assert!((sums[k] / n).abs() < allowed);
            assert!((squares[k] / n - 1.0).abs() < allowed * 2f64.sqrt());
            assert!((products[k] / n).abs() < allowed);
        }
    }

    #[test]
    fn exact_rms_is_below_the_asymptotic_delta() {
        let shape = Shape { channels: 1, height: 32, width: 32 };
        for (cutoff, ratio) in [(3, 0.81), (5, 0.83), (15, 0.87)] {
            let t = crate::perturb::temperature(cutoff, 1.0, 32.0);
            let rms = expected_rms_px(shape, cutoff, t);
            assert!((rms - ratio).abs() < 0.01, "cutoff {cutoff}: {rms}");
        }
    }
}
