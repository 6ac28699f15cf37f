//! Images as a file holds them, before anything is chosen.

use std::path::Path;

use super::{Layout, Shape};
use crate::error::{Error, Result};
use crate::preprocess::Bitmap;

/// What a format gives: pixels of `dims`, rank 3 `[n, h, w]` or rank 4.
pub struct Raw {
    pub pixels: Pixels,
    pub dims: Vec<usize>,
    pub labels: Option<Vec<u32>>,
    /// What the user should know of it.
    pub notes: Vec<String>,
}

#[derive(Debug)]
pub enum Pixels {
    U8(Vec<u8>),
    F32(Vec<f32>),
}

/// Numbers of channels by which an axis is recognised.
const CHANNELS: std::ops::RangeInclusive<usize> = 1..=4;

/// The number if it is whole, as labels are.
pub fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0).then_some(value as i64)
}

impl Raw {
    /// The shape of one image and the order of its axes.
    pub fn validate(&self, path: &Path, layout: Option<Layout>, declared: Option<Shape>) -> Result<(Shape, Layout)> {
        let found = || format!("an array of shape {:?}", self.dims);
        let [images, axes @ ..] = self.dims.as_slice() else {
            return Err(Error::probe(path, "images of rank 3 or 4", found()));
        };
        let (shape, layout) = match *axes {
            [values] => match declared {
                Some(shape) if shape.len() == values => (shape, layout.unwrap_or(Layout::Nchw)),
                Some(shape) => {
                    return Err(Error::probe(path, format!("rows of {} values ({shape})", shape.len()), found()));
                }
                None => {
                    let expected = "images of rank 3 or 4 (or --image-shape, such as 1x28x28, for one image a row)";
                    return Err(Error::probe(path, expected, found()));
                }
            },
            [height, width] => (Shape { channels: 1, height, width }, Layout::Nchw),
            [a, b, c] => {
                let first = (Shape { channels: a, height: b, width: c }, Layout::Nchw);
                let last = (Shape { channels: c, height: a, width: b }, Layout::Nhwc);
                match (layout, CHANNELS.contains(&a), CHANNELS.contains(&c)) {
                    (Some(Layout::Nchw), ..) | (None, true, false) => first,
                    (Some(Layout::Nhwc), ..) | (None, false, true) => last,
                    _ => {
                        let expected = "an axis of 1 to 4 channels, first or last (or --layout nchw or nhwc)";
                        return Err(Error::probe(path, expected, found()));
                    }
                }
            }
            _ => return Err(Error::probe(path, "images of rank 3 [n, h, w] or 4", found())),
        };
        if *images == 0 {
            return Err(Error::probe(path, "at least one image", "zero images"));
        }
        if shape.height < 2 || shape.width < 2 || shape.channels == 0 {
            return Err(Error::probe(path, "images with sides of 2 pixels or more", found()));
        }
        let expected = self.dims.iter().try_fold(1, |product: usize, size| product.checked_mul(*size));
        if expected != Some(self.pixels.len()) {
            return Err(Error::probe(path, found(), format!("{} values", self.pixels.len())));
        }
        if let Some(labels) = &self.labels
            && labels.len() != *images
        {
            return Err(Error::probe(path, format!("{images} labels"), format!("{} labels", labels.len())));
        }
        self.pixels.finite(path, shape.len())?;
        Ok((shape, layout))
    }
}

impl Pixels {
    fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "uint8",
            Self::F32(_) => "float32",
        }
    }

    /// What a stored value is multiplied by before normalisation: bytes become [0, 1], floats stay as they are.
    pub fn unit(&self) -> f32 {
        match self {
            Self::U8(_) => 1.0 / 255.0,
            Self::F32(_) => 1.0,
        }
    }

    pub fn is_bytes(&self) -> bool {
        matches!(self, Self::U8(_))
    }

    /// Whether any value is larger than 1, as where images are kept from 0 to 255.
    pub fn exceed_one(&self) -> bool {
        match self {
            Self::U8(_) => true,
            Self::F32(values) => values.iter().any(|value| *value > 1.0),
        }
    }

    /// One image to resize or recolour; `None` for floats, and for channels that are no colours.
    pub fn bitmap(&self, index: usize, shape: Shape, layout: Layout) -> Option<Bitmap> {
        let Self::U8(values) = self else { return None };
        let Shape { channels, height, width } = shape;
        let stored = &values[index * shape.len()..(index + 1) * shape.len()];
        let pixels = match layout {
            Layout::Nhwc => stored.to_vec(),
            Layout::Nchw => (0..shape.len()).map(|k| stored[k % channels * shape.plane() + k / channels]).collect(),
        };
        matches!(channels, 1 | 3).then_some(Bitmap { pixels, height, width, channels })
    }

    fn finite(&self, path: &Path, size: usize) -> Result<()> {
        let Self::F32(values) = self else { return Ok(()) };
        let mut faulty =
            values.chunks_exact(size).enumerate().filter(|(_, image)| !image.iter().all(|value| value.is_finite()));
        let Some((first, _)) = faulty.next() else { return Ok(()) };
        let found = format!("NaN or infinity in {} images (first: image {first})", 1 + faulty.count());
        Err(Error::probe(path, "finite pixels", found))
    }

    /// The images at `indices`, in that order.
    pub fn gather(self, indices: &[usize], size: usize) -> Self {
        fn pick<T: Copy>(values: &[T], indices: &[usize], size: usize) -> Vec<T> {
            indices.iter().flat_map(|index| &values[index * size..(index + 1) * size]).copied().collect()
        }
        match self {
            Self::U8(values) => Self::U8(pick(&values, indices, size)),
            Self::F32(values) => Self::F32(pick(&values, indices, size)),
        }
    }

    /// Puts image `indices[k]` at place k, along the cycles of the permutation.
    pub fn permute(&mut self, indices: &[usize], size: usize) {
        fn walk<T>(values: &mut [T], indices: &[usize], size: usize) {
            let mut done = vec![false; indices.len()];
            for start in 0..indices.len() {
                let mut place = start;
                while !std::mem::replace(&mut done[place], true) {
                    let from = indices[place];
                    if !done[from] {
                        let (low, high) = (place.min(from) * size, place.max(from) * size);
                        let (head, tail) = values.split_at_mut(high);
                        head[low..low + size].swap_with_slice(&mut tail[..size]);
                    }
                    place = from;
                }
            }
        }
        match self {
            Self::U8(values) => walk(values, indices, size),
            Self::F32(values) => walk(values, indices, size),
        }
    }

    /// Appends the little-endian bytes of one image, channels first.
    pub fn channel_first_bytes(&self, index: usize, shape: Shape, layout: Layout, bytes: &mut Vec<u8>) {
        let at = |place: usize| {
            let (channel, pixel) = (place / shape.plane(), place % shape.plane());
            index * shape.len() + if layout == Layout::Nchw { place } else { pixel * shape.channels + channel }
        };
        match (self, layout) {
            (Self::U8(values), Layout::Nchw) => bytes.extend(&values[index * shape.len()..(index + 1) * shape.len()]),
            (Self::U8(values), Layout::Nhwc) => bytes.extend((0..shape.len()).map(|place| values[at(place)])),
            (Self::F32(values), _) => bytes.extend((0..shape.len()).flat_map(|place| values[at(place)].to_le_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permuting_in_place_is_gathering() {
        let indices = [3, 0, 1, 2, 5, 4, 6];
        let values: Vec<u8> = (0..14).collect();
        let mut permuted = Pixels::U8(values.clone());
        permuted.permute(&indices, 2);
        let gathered = Pixels::U8(values).gather(&indices, 2);
        let (Pixels::U8(permuted), Pixels::U8(gathered)) = (permuted, gathered) else { panic!("bytes") };
        assert_eq!(permuted, gathered);
    }
}
