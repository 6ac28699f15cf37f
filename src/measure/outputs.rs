//! What passes leave of one tensor of the network: its clean numbers, and how they changed.

/// Image-major, so that blocks of images are contiguous.
#[derive(Debug)]
pub(super) struct Outputs {
    /// How many numbers of an image are measured.
    pub coordinates: usize,
    /// Of the unperturbed images, `[image, coordinate]`.
    pub clean: Vec<f32>,
    /// Squared changes under deformation, `[image, draw, coordinate]`.
    pub deformed: Vec<f32>,
    /// Squared changes under noise, `[image, draw, coordinate]`.
    pub noisy: Vec<f32>,
    /// Of each image.
    pub faults: Vec<Option<Fault>>,
}

/// The kind of pass that first gave an image NaN or infinite numbers.
pub(super) type Fault = &'static str;

/// A kind of changed image.
#[derive(Debug, Clone, Copy)]
pub(super) enum Changed {
    Deformed,
    Noisy,
}

impl Outputs {
    pub fn new(images: usize, draws: usize, coordinates: usize) -> Self {
        Self {
            coordinates,
            clean: vec![0.0; images * coordinates],
            deformed: vec![0.0; images * draws * coordinates],
            noisy: vec![0.0; images * draws * coordinates],
            faults: vec![None; images],
        }
    }

    /// Adds those of images that follow.
    pub fn append(&mut self, mut next: Self) {
        self.clean.append(&mut next.clean);
        self.deformed.append(&mut next.deformed);
        self.noisy.append(&mut next.noisy);
        self.faults.append(&mut next.faults);
    }

    /// How much the rounding of 32-bit floats is of the changes, root mean square: large where outputs hardly differ between images.
    pub fn rounding(&self) -> f64 {
        let mean = |values: &[f32], of: fn(f64) -> f64| {
            values.iter().map(|value| of(f64::from(*value))).sum::<f64>() / values.len().max(1) as f64
        };
        let rounding = mean(&self.clean, |value| (value * f64::from(f32::EPSILON) / 2.0).powi(2));
        let change = mean(&self.deformed, |square| square).min(mean(&self.noisy, |square| square));
        // Where nothing changes, `R_f` is undefined, which is said elsewhere.
        if change > 0.0 { (rounding / change).sqrt() } else { 0.0 }
    }

    /// The changes of one kind in the first of `draws` draws alone.
    pub fn first_draw(&self, kind: Changed, draws: usize) -> Vec<f32> {
        let changes = match kind {
            Changed::Deformed => &self.deformed,
            Changed::Noisy => &self.noisy,
        };
        changes.chunks_exact(draws * self.coordinates).flat_map(|image| &image[..self.coordinates]).copied().collect()
    }

    pub fn block(&mut self) -> Block<'_> {
        let Self { coordinates, clean, deformed, noisy, faults } = self;
        Block { coordinates: *coordinates, clean, deformed, noisy, faults }
    }
}

/// Those of consecutive images.
pub(super) struct Block<'a> {
    coordinates: usize,
    clean: &'a mut [f32],
    deformed: &'a mut [f32],
    noisy: &'a mut [f32],
    faults: &'a mut [Option<Fault>],
}

impl Block<'_> {
    /// Takes the first `rows` images off.
    pub fn split_off(&mut self, rows: usize, draws: usize) -> Self {
        let (clean, changes) = (rows * self.coordinates, rows * draws * self.coordinates);
        Self {
            coordinates: self.coordinates,
            clean: self.clean.split_off_mut(..clean).unwrap_or_default(),
            deformed: self.deformed.split_off_mut(..changes).unwrap_or_default(),
            noisy: self.noisy.split_off_mut(..changes).unwrap_or_default(),
            faults: self.faults.split_off_mut(..rows).unwrap_or_default(),
        }
    }

    /// Keeps the numbers of the unperturbed images, one row for each.
    pub fn keep_clean<'r>(&mut self, rows: impl Iterator<Item = &'r [f32]>) {
        let places = self.clean.chunks_exact_mut(self.coordinates);
        for ((row, clean), fault) in rows.zip(places).zip(&mut *self.faults) {
            clean.copy_from_slice(row);
            *fault = None;
            note_fault(row, "clean", fault);
        }
    }

    /// Writes `|f(changed) - f(clean)|^2` of each coordinate into its draw's place in `[image, draw, coordinate]`.
    pub fn keep_changes<'r>(
        &mut self,
        kind: Changed,
        rows: impl Iterator<Item = &'r [f32]>,
        (draw, draws): (usize, usize),
    ) {
        let (changes, name) = match kind {
            Changed::Deformed => (&mut *self.deformed, "deformed"),
            Changed::Noisy => (&mut *self.noisy, "noisy"),
        };
        let images = changes.chunks_exact_mut(draws * self.coordinates).zip(self.clean.chunks_exact(self.coordinates));
        for ((row, (image, clean)), fault) in rows.zip(images).zip(&mut *self.faults) {
            let place = &mut image[draw * self.coordinates..(draw + 1) * self.coordinates];
            for ((into, changed), clean) in place.iter_mut().zip(row).zip(clean) {
                *into = (changed - clean) * (changed - clean);
            }
            note_fault(row, name, fault);
        }
    }
}

fn note_fault(values: &[f32], kind: Fault, fault: &mut Option<Fault>) {
    // Squares and pair differences must stay finite too, hence the bound rather than `is_finite`.
    if fault.is_none() && !values.iter().all(|value| value.abs() < f32::MAX.sqrt() / 4.0) {
        *fault = Some(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_shows_where_outputs_are_large_beside_their_changes() {
        let of = |offset: f32| {
            let mut outputs = Outputs::new(2, 1, 2);
            outputs.clean = vec![offset, offset + 1.0, offset, offset - 1.0];
            (outputs.deformed, outputs.noisy) = (vec![0.04; 4], vec![0.01; 4]);
            outputs.rounding()
        };
        assert!(of(0.0) < 1e-6 && (of(1000.0) / 5.96e-4 - 1.0).abs() < 1e-2, "{} {}", of(0.0), of(1000.0));
    }
}
