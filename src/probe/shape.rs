//! The size of an image and the order of its axes.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The size of one image, stored channel by channel, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of channels.
    pub channels: usize,
    /// Rows, in pixels.
    pub height: usize,
    /// Columns, in pixels.
    pub width: usize,
}

impl Shape {
    /// Number of values in an image.
    pub fn len(&self) -> usize {
        self.channels * self.plane()
    }

    /// Whether an image holds no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of pixels, which is the number of values in one channel.
    pub fn plane(&self) -> usize {
        self.height * self.width
    }

    /// The side n that the formulas use, in pixels: `n^2 = (height^2 + width^2) / 2`.
    pub fn side(&self) -> f64 {
        ((self.height as f64).powi(2) + (self.width as f64).powi(2)).sqrt() / 2f64.sqrt()
    }
}

impl FromStr for Shape {
    type Err = String;

    /// From channels, height and width, as `3x32x32`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let sizes: Vec<usize> = text.split('x').map(|size| size.trim().parse().unwrap_or(0)).collect();
        match sizes[..] {
            [channels, height, width] if !sizes.contains(&0) => Ok(Self { channels, height, width }),
            _ => Err(format!("expected CHANNELSxHEIGHTxWIDTH, such as 3x32x32, found {text}")),
        }
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} x {} x {}", self.channels, self.height, self.width)
    }
}

/// The order of an image's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, strum::Display)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Layout {
    /// Channels first.
    Nchw,
    /// Channels last.
    Nhwc,
}
