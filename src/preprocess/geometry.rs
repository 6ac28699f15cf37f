//! Resizing, cropping and colour of 8-bit images, as Pillow and torchvision do them.

use std::fmt;
use std::str::FromStr;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::pixels::U8x4;
use fast_image_resize::{
    FilterType, IntoImageView as _, IntoImageViewMut as _, PixelType, ResizeAlg, ResizeOptions, Resizer,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, FromRepr};

use crate::text::as_text;

/// A decoded image of 8-bit pixels, `[y][x][channel]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    /// `height x width x channels` values.
    pub pixels: Vec<u8>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
}

/// Size, crop and colour of an image; each as it is where not given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Geometry {
    /// The size to resample to, before the crop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// The size of the centre to keep; zeros around an image that is smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Extent>,
    /// Where the crop begins if that is half a pixel off; `even` where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_rounding: Option<Rounding>,
    /// How to resample; bilinear where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resample: Option<Resample>,
    /// Colour and order of the channels; grey where all images are, else red, green, blue, where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<Color>,
}

/// Rows and columns, written `HxW`, or `SIDE` for a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Extent {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

/// What to resample to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Resize {
    /// This many pixels for the shorter side, the other in proportion, rounded down; written `SIDE`.
    Shorter(u32),
    /// Exactly this, whatever the proportions; written `HxW`.
    Exactly(Extent),
}

/// A filter of Pillow's; its box filter is left out, for it breaks ties in another way here.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Display, EnumString, FromRepr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are Pillow's, the numbers too")]
pub enum Resample {
    Nearest = 0,
    Lanczos = 1,
    Bilinear = 2,
    Bicubic = 3,
    Hamming = 5,
}

/// How half a pixel is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Display, EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Rounding {
    /// To the even pixel, as torchvision and timm.
    Even,
    /// Down, as Transformers.
    Down,
}

/// The channels of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Display, EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Color {
    /// Red, green, blue; a grey image three times.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luma of ITU-R 601: `0.299 R + 0.587 G + 0.114 B`.
    Gray,
}

/// No image side may be larger: a typing error must not fill the memory.
const MAX_SIDE: u32 = 1 << 14;

impl FromStr for Extent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| text.trim().parse().ok().filter(|side| (2..=MAX_SIDE).contains(side));
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        let extent = side(height).zip(side(width)).map(|(height, width)| Self { height, width });
        extent.ok_or_else(|| format!("expected SIDE or HxW of 2 to {MAX_SIDE} pixels, found {text}"))
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}x{}", self.height, self.width)
    }
}

impl FromStr for Resize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let extent = Extent::from_str(text)?;
        Ok(if text.contains('x') { Self::Exactly(extent) } else { Self::Shorter(extent.height) })
    }
}

impl fmt::Display for Resize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Shorter(side) => write!(f, "{side}"),
            Self::Exactly(extent) => write!(f, "{extent}"),
        }
    }
}

as_text!(Extent, Resize);

impl Resize {
    /// Rows and columns that an image of this size comes to.
    fn of(self, height: usize, width: usize) -> (usize, usize) {
        match self {
            Self::Exactly(extent) => (extent.height as usize, extent.width as usize),
            Self::Shorter(side) => {
                let side = side as usize;
                // As torchvision: the longer side is cut, not rounded, to whole pixels.
                let longer = |long: usize, short: usize| (side as f64 * long as f64 / short as f64) as usize;
                if height <= width { (side, longer(width, height)) } else { (longer(height, width), side) }
            }
        }
    }
}

impl Geometry {
    /// Whether an image stays as it is.
    pub fn is_identity(&self) -> bool {
        self.resize.is_none() && self.crop.is_none() && self.color.is_none()
    }

    /// Resizes and crops.
    pub fn apply(&self, mut image: Bitmap) -> Bitmap {
        if let Some(resize) = self.resize {
            let (height, width) = resize.of(image.height, image.width);
            image = image.resized(height, width, self.resample.unwrap_or(Resample::Bilinear));
        }
        if let Some(crop) = self.crop {
            let rounding = self.crop_rounding.unwrap_or(Rounding::Even);
            image = image.centre(crop.height as usize, crop.width as usize, rounding);
        }
        image
    }
}

impl Resample {
    /// `None` where each pixel is another one's copy.
    fn filter(self) -> Option<FilterType> {
        match self {
            Self::Nearest => None,
            Self::Lanczos => Some(FilterType::Lanczos3),
            Self::Bilinear => Some(FilterType::Bilinear),
            // Pillow's bicubic has a = -1/2: Catmull and Rom's.
            Self::Bicubic => Some(FilterType::CatmullRom),
            Self::Hamming => Some(FilterType::Hamming),
        }
    }
}

impl Bitmap {
    /// Resampled with a filter as wide as the reduction (antialiased).
    fn resized(self, height: usize, width: usize, resample: Resample) -> Self {
        if (height, width) == (self.height, self.width) {
            return self;
        }
        match resample.filter() {
            None => self.picked(height, width),
            // Rows first and rounded between, as Pillow does: beyond black and white the order shows.
            Some(filter) => {
                let rows = self.height;
                let pixels = resampled(self.fours(), (rows, self.width), (rows, width), filter);
                let pixels = resampled(pixels, (rows, width), (height, width), filter);
                let pixels = pixels.chunks_exact(4).flat_map(|pixel| &pixel[..self.channels]).copied().collect();
                Self { pixels, height, width, channels: self.channels }
            }
        }
    }

    /// Its pixels with four channels each, zeros where it has fewer: the library is compiled anew for each kind of pixel.
    fn fours(&self) -> Vec<u8> {
        let mut fours = vec![0; self.height * self.width * 4];
        for (four, pixel) in fours.chunks_exact_mut(4).zip(self.pixels.chunks_exact(self.channels)) {
            four[..self.channels].copy_from_slice(pixel);
        }
        fours
    }

    fn picked(self, height: usize, width: usize) -> Self {
        // As Pillow: the places are added up, with the rounding that comes of it.
        let places = |from: usize, to: usize| -> Vec<usize> {
            let step = from as f64 / to as f64;
            let sums = std::iter::successors(Some(step * 0.5), |place| Some(place + step));
            sums.take(to).map(|place| (place as usize).min(from - 1)).collect()
        };
        let columns = places(self.width, width);
        let pixel = |row: usize, column: usize| {
            let at = (row * self.width + column) * self.channels;
            &self.pixels[at..at + self.channels]
        };
        let rows = places(self.height, height);
        let pixels =
            rows.iter().flat_map(|row| columns.iter().flat_map(|column| pixel(*row, *column))).copied().collect();
        Self { pixels, height, width, channels: self.channels }
    }

    /// The middle.
    fn centre(self, height: usize, width: usize, rounding: Rounding) -> Self {
        if (height, width) == (self.height, self.width) {
            return self;
        }
        let start = |whole: usize, kept: usize| match (whole.checked_sub(kept), rounding) {
            (Some(margin), Rounding::Even) => (margin as f64 / 2.0).round_ties_even() as i64,
            (Some(margin), Rounding::Down) => (margin / 2) as i64,
            // A smaller image is padded with zeros, the odd one behind.
            (None, _) => -(((kept - whole) / 2) as i64),
        };
        let (top, left) = (start(self.height, height), start(self.width, width));
        let mut pixels = vec![0; height * width * self.channels];
        for (y, row) in pixels.chunks_exact_mut(width * self.channels).enumerate() {
            let Some(from) = usize::try_from(top + y as i64).ok().filter(|from| *from < self.height) else { continue };
            for (x, pixel) in row.chunks_exact_mut(self.channels).enumerate() {
                let column = usize::try_from(left + x as i64).ok().filter(|column| *column < self.width);
                if let Some(column) = column {
                    let at = (from * self.width + column) * self.channels;
                    pixel.copy_from_slice(&self.pixels[at..at + self.channels]);
                }
            }
        }
        Self { pixels, height, width, channels: self.channels }
    }

    /// Of another colour; `None` keeps it.
    #[must_use]
    pub fn in_color(mut self, color: Option<Color>) -> Self {
        match (color, self.channels) {
            (Some(Color::Rgb | Color::Bgr), 1) => {
                self.pixels = self.pixels.iter().flat_map(|value| [*value; 3]).collect();
                self.channels = 3;
            }
            (Some(Color::Bgr), _) => self.pixels.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2)),
            (Some(Color::Gray), 3) => {
                self.pixels = self.pixels.chunks_exact(3).map(luma).collect();
                self.channels = 1;
            }
            _ => {}
        }
        self
    }
}

/// An image of four channels in another size, rows and columns.
fn resampled(pixels: Vec<u8>, from: (usize, usize), to: (usize, usize), filter: FilterType) -> Vec<u8> {
    if from == to {
        return pixels;
    }
    let expected = "a bitmap holds the pixels of its size";
    let from = ImageRef::new(from.1 as u32, from.0 as u32, &pixels, PixelType::U8x4).expect(expected);
    let mut into = Image::new(to.1 as u32, to.0 as u32, PixelType::U8x4);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    let (from, mut typed) =
        (from.image_view::<U8x4>().expect(expected), into.image_view_mut::<U8x4>().expect(expected));
    Resizer::new().resize_typed(&from, &mut typed, &options).expect(expected);
    drop(typed);
    into.into_vec()
}

/// In Pillow's fixed point.
fn luma(pixel: &[u8]) -> u8 {
    let weighted: u32 =
        pixel.iter().zip([19_595, 38_470, 7_471]).map(|(value, weight)| u32::from(*value) * weight).sum();
    ((weighted + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_torchvision() {
        assert_eq!(Resize::Shorter(256).of(427, 640), (256, 383));
        assert_eq!(Resize::Shorter(256).of(640, 427), (383, 256));
        assert_eq!("224x448".parse::<Resize>().expect("valid").of(1, 1), (224, 448));
    }

    #[test]
    fn a_crop_takes_the_middle_and_pads_with_zeros() {
        let image = Bitmap { pixels: (1..=15).collect(), height: 3, width: 5, channels: 1 };
        assert_eq!(image.clone().centre(1, 3, Rounding::Even).pixels, [7, 8, 9]);
        assert_eq!(image.clone().centre(1, 2, Rounding::Even).pixels, [8, 9]);
        assert_eq!(image.clone().centre(1, 2, Rounding::Down).pixels, [7, 8]);
        let padded = image.centre(6, 2, Rounding::Even);
        assert_eq!(padded.pixels, [0, 0, 3, 4, 8, 9, 13, 14, 0, 0, 0, 0]);
    }

    #[test]
    fn colours_turn_into_each_other() {
        let image = Bitmap { pixels: vec![255, 0, 0, 10, 20, 30], height: 1, width: 2, channels: 3 };
        assert_eq!(image.clone().in_color(Some(Color::Bgr)).pixels, [0, 0, 255, 30, 20, 10]);
        let gray = image.in_color(Some(Color::Gray));
        assert_eq!((gray.pixels.as_slice(), gray.channels), ([76, 18].as_slice(), 1));
        assert_eq!(gray.in_color(Some(Color::Rgb)).pixels, [76, 76, 76, 18, 18, 18]);
    }
}
