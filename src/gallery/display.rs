//! How values that a network sees become pictures for people.

use image::{Rgb, RgbImage};

use crate::preprocess::Color;
use crate::probe::{ProbeSet, Shape};

/// Undoes the normalisation and maps a range of values to black and white.
#[derive(Debug, Clone)]
pub struct Display {
    shape: Shape,
    /// Multiplies and then shifts each channel.
    undo: Vec<(f32, f32)>,
    /// Shown black, before normalisation.
    pub low: f32,
    /// Shown white.
    pub high: f32,
    /// The channels that are shown red, green and blue.
    pub channels: [usize; 3],
}

impl Display {
    /// For images like those of `probe`: bytes from 0 to 255 and floats from 0 to 1, other floats from their least to their
    /// greatest.
    pub fn new(probe: &ProbeSet) -> Self {
        let shape = probe.shape();
        let undo = match probe.normalisation() {
            Some(normalisation) => normalisation.std.iter().copied().zip(normalisation.mean.iter().copied()).collect(),
            None => vec![(1.0, 0.0); shape.channels],
        };
        let channels = match (shape.channels, probe.geometry().color) {
            (3, Some(Color::Bgr)) => [2, 1, 0],
            (3, _) => [0, 1, 2],
            _ => [0; 3],
        };
        let unit = if probe.is_bytes() { 255.0 } else { 1.0 };
        let high = unit * probe.rescale().unwrap_or(if probe.is_bytes() { 1.0 / 255.0 } else { 1.0 });
        let display = Self { shape, undo, low: 0.0, high, channels };
        if probe.is_bytes() { display } else { display.of_range(probe) }
    }

    /// The same, unless values go beyond black and white by more than rounding explains.
    fn of_range(self, probe: &ProbeSet) -> Self {
        let mut image = vec![0.0; self.shape.len()];
        let (mut least, mut greatest) = (f32::INFINITY, f32::NEG_INFINITY);
        for index in 0..probe.len() {
            probe.image(index, &mut image);
            for value in self.values(&image) {
                (least, greatest) = (least.min(value), greatest.max(value));
            }
        }
        let slack = 1e-4 * self.high;
        if least >= -slack && greatest <= self.high + slack {
            return self;
        }
        let high = if greatest > least { greatest } else { least + 1.0 };
        Self { low: least, high, ..self }
    }

    /// An image `[channel][y][x]` before its normalisation, in the same order.
    pub fn values(&self, image: &[f32]) -> impl Iterator<Item = f32> {
        let planes = image.chunks_exact(self.shape.plane()).zip(&self.undo);
        planes.flat_map(|(plane, (scale, shift))| plane.iter().map(move |value| value * scale + shift))
    }

    /// Deformed less original before normalisation, `[channel][y][x]`.
    pub fn change(&self, original: &[f32], deformed: &[f32]) -> Vec<f32> {
        self.values(deformed).zip(self.values(original)).map(|(deformed, original)| deformed - original).collect()
    }

    /// An image `[channel][y][x]` as a picture of its own size; values beyond black and white are clipped.
    pub fn picture(&self, image: &[f32]) -> RgbImage {
        self.shown(&self.values(image).collect::<Vec<_>>(), self.low, self.high)
    }

    /// [`Self::change`] as a picture: grey is none, black and white are [`Self::full_change`] less and more, and beyond.
    pub fn difference(&self, original: &[f32], deformed: &[f32]) -> RgbImage {
        let full = self.full_change();
        self.shown(&self.change(original, deformed), -full, full)
    }

    /// The change that is shown white: half of the range from black to white.
    pub fn full_change(&self) -> f32 {
        (self.high - self.low) / 2.0
    }

    fn shown(&self, values: &[f32], low: f32, high: f32) -> RgbImage {
        let byte = |value: f32| (255.0 * ((value - low) / (high - low)).clamp(0.0, 1.0)).round() as u8;
        let (width, plane) = (self.shape.width, self.shape.plane());
        RgbImage::from_fn(width as u32, self.shape.height as u32, |x, y| {
            let at = y as usize * width + x as usize;
            Rgb(self.channels.map(|channel| byte(values[channel * plane + at])))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::Preprocess;

    fn display(values: Vec<f32>, channels: usize) -> Display {
        let dims = [values.len() / (4 * channels), channels, 2, 2];
        Display::new(&ProbeSet::from_nchw(values, dims, None).expect("images"))
    }

    #[test]
    fn what_a_network_sees_is_shown_as_it_was_stored() {
        let stored: Vec<f32> = (0..12).map(|value| value as f32 / 11.0).collect();
        let probe = ProbeSet::from_nchw(stored.clone(), [1, 3, 2, 2], None).expect("images");
        let preprocess =
            Preprocess { mean: Some(vec![0.5, 0.4, 0.3]), std: Some(vec![0.25, 0.2, 0.1]), ..Preprocess::default() };
        let seen = probe.prepared(&preprocess).expect("normalised");
        let mut image = vec![0.0; 12];
        seen.image(0, &mut image);
        assert!(image[11] > 6.9);
        let display = Display::new(&seen);
        assert!(display.values(&image).zip(&stored).all(|(value, stored)| (value - stored).abs() < 1e-6));
        let byte = |value: f32| (255.0 * value).round() as u8;
        let expected = [stored[1], stored[5], stored[9]].map(byte);
        assert_eq!(display.picture(&image)[(1, 0)].0, expected);
    }

    #[test]
    fn a_difference_is_deformed_less_original_around_grey() {
        let display = display(vec![0.0, 1.0, 0.5, 0.2], 1);
        let (original, deformed) = ([0.5, 0.25, 1.0, 0.5], [0.5, 0.5, 0.0, 0.375]);
        assert_eq!(display.change(&original, &deformed), [0.0, 0.25, -1.0, -0.125]);
        let picture = display.difference(&original, &deformed);
        let shown: Vec<u8> = picture.pixels().map(|pixel| pixel.0[0]).collect();
        // 127.5 and its share of half the range; a change of the whole range is beyond black.
        assert_eq!(shown, [128, 191, 0, 96]);
    }

    #[test]
    fn floats_beyond_black_and_white_are_shown_by_their_range() {
        let range = |values: &[f32]| {
            let display = display(values.to_vec(), 1);
            (display.low, display.high)
        };
        assert_eq!(range(&[0.0, 0.2, 0.3, 0.1]), (0.0, 1.0));
        assert_eq!(range(&[-2.0, 0.2, 0.3, 3.0]), (-2.0, 3.0));
        assert_eq!(range(&[5.0; 4]), (5.0, 6.0));
        assert_eq!((display(vec![0.0; 8], 2).channels, display(vec![0.0; 12], 3).channels), ([0; 3], [0, 1, 2]));
    }
}
