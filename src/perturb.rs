//! Deforms images by random smooth maps of the plane, and adds noise that moves them equally far.
//!
//! Maximum-entropy diffeomorphisms of Petrini, Favero, Geiger and Wyart (arXiv:2105.02468): parameters are drawn from
//! (seed, image, draw), then applied without further randomness, so that any order of the work gives the same numbers.

mod direction;
mod field;
mod gaussian;
mod lanes;
mod modes;
mod noise;
mod random;
mod remap;
mod settings;
mod simd;
#[cfg(test)]
mod tests;

use crate::error::Result;
use crate::probe::Shape;

pub use direction::Generator;
pub(crate) use direction::{BITS as NOISE_BITS, UNIT as NOISE_UNIT};
pub use field::{Displacement, folds};
pub use modes::{Coefficients, Mode, expected_rms_px, modes};
pub use noise::fill_normal;
pub use random::{Purpose, stream};
pub use settings::{
    Deformation, Interpolation, Size, is_natural, range_warning, temperature, temperature_range, typical_displacement,
};

/// A relative change of an image that rounding explains.
pub(crate) const ROUNDING: f64 = 4.0 * f32::EPSILON as f64;

/// Deforms and perturbs images of one shape; holds the tables and no state, so threads share it.
#[derive(Debug, Clone)]
pub struct Perturber {
    shape: Shape,
    deformation: Deformation,
    temperature: f64,
    delta: f64,
    seed: u64,
    sines: field::Sines,
    kernel: simd::Kernel,
}

/// The buffers of one thread, made by [`Perturber::scratch`] for one shape and cutoff.
#[derive(Debug, Clone)]
pub struct Scratch {
    coefficients: Coefficients,
    field: field::Field,
    cells: remap::Cells,
    window: Option<gaussian::Window>,
}

impl Scratch {
    /// Displacement along x of the last deformation, `[y][x]` in pixels.
    pub fn dx(&self) -> &[f32] {
        &self.field.dx
    }

    /// Displacement along y of the last deformation, `[y][x]` in pixels.
    pub fn dy(&self) -> &[f32] {
        &self.field.dy
    }
}

/// What decides draws of several images, for a graph that perturbs them where the network computes.
#[derive(Debug, Clone, Default)]
pub struct Draws {
    /// Spectra of the displacements along x, `[row][j][i]` in pixels.
    pub x: Vec<f32>,
    /// Spectra of the displacements along y, `[row][j][i]` in pixels.
    pub y: Vec<f32>,
    /// Keys of the noises.
    pub keys: Vec<u64>,
}

impl Draws {
    /// Of no image.
    pub fn clear(&mut self) {
        self.x.clear();
        self.y.clear();
        self.keys.clear();
    }
}

impl Perturber {
    /// Tables for images of one shape.
    ///
    /// # Errors
    /// `Setting` names the shape, cutoff, delta or temperature outside its domain; an unusual one only [warns].
    ///
    /// [warns]: Self::warnings
    pub fn new(shape: Shape, deformation: &Deformation, seed: u64) -> Result<Self> {
        settings::validate(shape)?;
        let (temperature, delta) = deformation.temperature_and_delta(shape)?;
        let sines = field::Sines::new(shape, deformation.cutoff);
        Ok(Self { shape, deformation: *deformation, temperature, delta, seed, sines, kernel: simd::Kernel::detect() })
    }

    /// The same numbers by portable loops alone: the baseline of tests and benches.
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.kernel = simd::Kernel::Plain;
        self
    }

    /// The shape of the images.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Which deformations are drawn.
    pub fn deformation(&self) -> &Deformation {
        &self.deformation
    }

    /// Seed of all draws.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How deformed images are read.
    pub fn interpolation(&self) -> Interpolation {
        self.deformation.interpolation
    }

    /// Temperature T; unitless.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Typical displacement, in pixels.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// Exact expected root mean square of the displacement over the grid, in pixels.
    pub fn expected_rms_px(&self) -> f64 {
        expected_rms_px(self.shape, self.deformation.cutoff, self.temperature)
    }

    /// What is unusual about the settings, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        settings::range_warning(self.deformation.cutoff, self.temperature, self.shape.side()).into_iter().collect()
    }

    /// Buffers for one thread.
    pub fn scratch(&self) -> Scratch {
        let gaussian = self.deformation.interpolation == Interpolation::Gaussian;
        Scratch {
            coefficients: Coefficients::default(),
            field: self.sines.field(self.shape),
            cells: remap::Cells::new(self.shape),
            window: gaussian.then(|| gaussian::Window::new(self.shape)),
        }
    }

    /// The image that deformation and noise start from: the image itself, or smoothed by the Gaussian rule.
    ///
    /// # Panics
    /// If `image` or `out` is not of the shape `[channel][y][x]`.
    pub fn base(&self, image: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        match self.deformation.interpolation {
            Interpolation::Bilinear => out.copy_from_slice(image),
            Interpolation::Gaussian => {
                scratch.field.dx.fill(0.0);
                scratch.field.dy.fill(0.0);
                self.read(image, out, scratch);
            }
        }
    }

    /// The displacement of image number `index` by its draw number `draw`, left in `scratch`.
    pub fn displace(&self, index: u64, draw: u64, scratch: &mut Scratch) -> Displacement {
        scratch.coefficients.draw(self.sines.modes(), &mut stream(self.seed, index, draw, Purpose::Field));
        let Scratch { coefficients, field, .. } = scratch;
        self.kernel.displace(&self.sines, self.shape, self.temperature, coefficients, field);
        self.kernel.measure(self.shape, &field.dx, &field.dy)
    }

    /// The same, and adds what decides it, and the noise, to `draws`.
    pub fn draw(&self, index: u64, draw: u64, draws: &mut Draws, scratch: &mut Scratch) -> Displacement {
        let displacement = self.displace(index, draw, scratch);
        let [x, y] = &scratch.field.spectra;
        draws.x.extend_from_slice(x);
        draws.y.extend_from_slice(y);
        draws.keys.push(self.noise_key(index, draw));
        displacement
    }

    /// `sin(i pi u)` along x, `[i][x]`, and `sin(j pi v)` along y, `[y][j]`.
    pub(crate) fn sines(&self) -> (Vec<f32>, &[f32]) {
        self.sines.by_axis(self.shape)
    }

    /// Deforms image number `index`, read as `[channel][y][x]`, by its draw number `draw`.
    ///
    /// # Panics
    /// If `image` or `out` is not of the shape.
    pub fn deform(&self, index: u64, draw: u64, image: &[f32], out: &mut [f32], scratch: &mut Scratch) -> Displacement {
        let displacement = self.displace(index, draw, scratch);
        self.read(image, out, scratch);
        displacement
    }

    /// Deforms an image by given coefficients, one for each of [`modes`].
    ///
    /// # Panics
    /// If `image` or `out` is not of the shape, or the number of coefficients is not that of the modes.
    pub fn deform_by(
        &self,
        coefficients: &Coefficients,
        image: &[f32],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Displacement {
        let Coefficients { x, y } = coefficients;
        assert!(x.len() == self.sines.modes() && y.len() == self.sines.modes(), "a coefficient for each mode");
        self.kernel.displace(&self.sines, self.shape, self.temperature, coefficients, &mut scratch.field);
        self.measure_and_read(image, out, scratch)
    }

    /// Deforms an image by given displacements `[y][x]`, in pixels.
    ///
    /// # Panics
    /// If `image`, `out` or a displacement is not of the shape.
    pub fn remap(
        &self,
        (dx, dy): (&[f32], &[f32]),
        image: &[f32],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Displacement {
        scratch.field.dx.copy_from_slice(dx);
        scratch.field.dy.copy_from_slice(dy);
        self.measure_and_read(image, out, scratch)
    }

    /// Noise of the same norm: `out = base + g / |g| |deformed - base|`, g drawn for (seed, `index`, `draw`).
    ///
    /// One norm over all pixels and channels, so that noise and deformation move the image equally far.
    ///
    /// # Panics
    /// If the three are not of one length.
    pub fn noise(&self, index: u64, draw: u64, base: &[f32], deformed: &[f32], out: &mut [f32]) {
        self.kernel.fill_direction(self.noise_key(index, draw), out);
        self.noise_along(base, deformed, out);
    }

    /// The same with a given g, which `out` holds when called.
    ///
    /// # Panics
    /// If the three are not of one length.
    pub fn noise_along(&self, base: &[f32], deformed: &[f32], out: &mut [f32]) {
        assert!(base.len() == deformed.len() && base.len() == out.len(), "three images of one shape");
        let drawn = self.kernel.sum_of_squares(out);
        // A direction of length zero has no multiple of another length.
        let moved = self.kernel.squared_distance(base, deformed);
        // Interpolating a constant image moves it by rounding alone, which is no deformation.
        let rounding = ROUNDING * ROUNDING * self.kernel.sum_of_squares(base);
        let square = if drawn > 0.0 && moved > rounding { moved / drawn } else { 0.0 };
        self.kernel.add_scaled(base, square.sqrt() as f32, out);
    }

    fn noise_key(&self, index: u64, draw: u64) -> u64 {
        random::key(self.seed, index, draw, Purpose::Noise)
    }

    fn measure_and_read(&self, image: &[f32], out: &mut [f32], scratch: &mut Scratch) -> Displacement {
        self.read(image, out, scratch);
        self.kernel.measure(self.shape, &scratch.field.dx, &scratch.field.dy)
    }

    fn read(&self, image: &[f32], out: &mut [f32], scratch: &mut Scratch) {
        let shape = self.shape;
        assert!(image.len() == shape.len() && out.len() == shape.len(), "images of the shape {shape:?}");
        let Scratch { field, cells, window, .. } = scratch;
        let displacement = (field.dx.as_slice(), field.dy.as_slice());
        match window {
            Some(window) => self.kernel.gaussian(shape, displacement, image, out, cells, window),
            None => self.kernel.bilinear(shape, displacement, image, out, cells),
        }
    }
}
