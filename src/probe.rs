//! Probe images: read from a file, put in a seeded order, normalised one at a time.
//!
//! A new format is one file in this module and one line in `read`.

mod idx;
mod npy;
mod npz;
mod order;
mod raw;

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use raw::{Pixels, Raw};

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
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels * self.plane()
    }

    /// Whether an image holds no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of pixels, which is the number of values in one channel.
    #[must_use]
    pub fn plane(&self) -> usize {
        self.height * self.width
    }

    /// The side n that the formulas use, in pixels: `n^2 = (height^2 + width^2) / 2`.
    #[must_use]
    pub fn side(&self) -> f64 {
        ((self.height as f64).powi(2) + (self.width as f64).powi(2)).sqrt() / 2f64.sqrt()
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

/// How to read a probe set.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How many images to keep, by class where there are labels; all by default.
    pub images: Option<usize>,
    /// Seed of the order of the images.
    pub seed: u64,
    /// Order of the file's axes, where it cannot be told from the sizes.
    pub layout: Option<Layout>,
}

/// What a training did to its images: `(x - mean) / std`, for each channel, pixels in [0, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
}

/// A non-empty set of finite images of one shape, with labels if there are any; clones share the pixels.
#[derive(Debug, Clone)]
pub struct ProbeSet {
    images: Arc<Images>,
    /// How many of them belong to the set: the first.
    len: usize,
    sha256: String,
    /// Multiplies and then shifts each channel's stored values.
    scale: Vec<(f32, f32)>,
    normalisation: Option<Normalisation>,
}

#[derive(Debug)]
struct Images {
    source: String,
    /// In the chosen order, in the file's layout.
    pixels: Pixels,
    layout: Layout,
    shape: Shape,
    labels: Option<Vec<u32>>,
    /// Where each image stands in the file.
    indices: Vec<usize>,
}

impl ProbeSet {
    /// Reads `.npy`, `.npz` or IDX (plain or `.gz`), and chooses images in a seeded order of which every beginning is
    /// stratified by label.
    ///
    /// # Errors
    /// `Io` for a file that cannot be read, `Probe` for one that is not a set of finite images, `Setting` for zero images.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        if options.images == Some(0) {
            return Err(Error::setting("--images", "1 or more", 0));
        }
        Self::new(path, read(path)?, options)
    }

    /// A set in memory, `[image, channel, y, x]`, in the order given.
    ///
    /// # Errors
    /// `Probe` for sizes that do not fit, values that are not finite, or another number of labels than of images.
    pub fn from_nchw(images: Vec<f32>, dims: [usize; 4], labels: Option<Vec<u32>>) -> Result<Self> {
        let path = Path::new("memory");
        let raw = Raw { pixels: Pixels::F32(images), dims: dims.to_vec(), labels };
        let (shape, layout) = raw.validate(path, Some(Layout::Nchw))?;
        Ok(Self::assemble(path, raw.pixels, layout, shape, raw.labels, (0..dims[0]).collect()))
    }

    fn new(path: &Path, raw: Raw, options: &Options) -> Result<Self> {
        let (shape, layout) = raw.validate(path, options.layout)?;
        let mut indices = order::stratified(raw.dims[0], raw.labels.as_deref(), options.seed);
        indices.truncate(options.images.unwrap_or(usize::MAX));
        let Raw { mut pixels, labels, .. } = raw;
        if indices.len() < raw.dims[0] {
            pixels = pixels.gather(&indices, shape.len());
        } else {
            // All are kept: moved into their order without a second copy.
            pixels.permute(&indices, shape.len());
        }
        let labels = labels.map(|labels| indices.iter().map(|index| labels[*index]).collect());
        Ok(Self::assemble(path, pixels, layout, shape, labels, indices))
    }

    fn assemble(
        path: &Path,
        pixels: Pixels,
        layout: Layout,
        shape: Shape,
        labels: Option<Vec<u32>>,
        indices: Vec<usize>,
    ) -> Self {
        let len = indices.len();
        let source = path.to_string_lossy().into_owned();
        let images = Images { source, pixels, layout, shape, labels, indices };
        let scale = vec![(images.pixels.unit(), 0.0); shape.channels];
        Self { sha256: images.hash(len), images: Arc::new(images), len, scale, normalisation: None }
    }

    /// The same images, normalised by `(x - mean) / std`: one value or one for each channel, 0 and 1 where not given.
    ///
    /// # Errors
    /// `Setting` for another number of values, a mean that is not finite, a deviation that is not positive.
    pub fn normalised(mut self, mean: Option<&[f32]>, std: Option<&[f32]>) -> Result<Self> {
        if mean.is_none() && std.is_none() {
            return Ok(self);
        }
        let channels = self.shape().channels;
        let spread = |name, values: Option<&[f32]>, default: f32| match values.unwrap_or(&[default]) {
            [value] => Ok(vec![*value; channels]),
            values if values.len() == channels => Ok(values.to_vec()),
            values => Err(Error::setting(name, format!("one value or {channels}, one for each channel"), values.len())),
        };
        let (mean, std) = (spread("--mean", mean, 0.0)?, spread("--std", std, 1.0)?);
        if let Some(value) = mean.iter().find(|value| !value.is_finite()) {
            return Err(Error::setting("--mean", "finite numbers", value));
        }
        if let Some(value) = std.iter().find(|value| !(value.is_finite() && **value > 0.0)) {
            return Err(Error::setting("--std", "positive numbers", value));
        }
        let unit = self.images.pixels.unit();
        self.scale = mean.iter().zip(&std).map(|(mean, std)| (unit / std, -mean / std)).collect();
        self.normalisation = Some(Normalisation { mean, std });
        Ok(self)
    }

    /// The first `n` images, sharing the pixels.
    #[must_use]
    pub fn prefix(&self, n: usize) -> Self {
        let len = n.clamp(1, self.len);
        let sha256 = if len == self.len { self.sha256.clone() } else { self.images.hash(len) };
        Self { len, sha256, ..self.clone() }
    }

    /// Number of images.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a probe set is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The shape of every image.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.images.shape
    }

    /// Writes image number `index`, normalised, as `[channel, y, x]`.
    ///
    /// # Panics
    /// If `index` is not in the set or `out` is not of its shape.
    pub fn image(&self, index: usize, out: &mut [f32]) {
        let Images { pixels, layout, shape, .. } = &*self.images;
        assert!(index < self.len && out.len() == shape.len(), "an image of the set and a buffer of its shape");
        let at = index * shape.len();
        match pixels {
            Pixels::U8(values) => self.write(&values[at..at + shape.len()], *layout, out),
            Pixels::F32(values) => self.write(&values[at..at + shape.len()], *layout, out),
        }
    }

    fn write<T: Copy + Into<f32>>(&self, image: &[T], layout: Layout, out: &mut [f32]) {
        let shape = self.shape();
        for ((channel, plane), (scale, shift)) in out.chunks_exact_mut(shape.plane()).enumerate().zip(&self.scale) {
            match layout {
                Layout::Nchw => {
                    let stored = &image[channel * plane.len()..][..plane.len()];
                    plane.iter_mut().zip(stored).for_each(|(out, value)| *out = (*value).into() * scale + shift);
                }
                Layout::Nhwc => {
                    let stored = image[channel..].iter().step_by(shape.channels);
                    plane.iter_mut().zip(stored).for_each(|(out, value)| *out = (*value).into() * scale + shift);
                }
            }
        }
    }

    /// Labels in the order of the images.
    #[must_use]
    pub fn labels(&self) -> Option<&[u32]> {
        self.images.labels.as_ref().map(|labels| &labels[..self.len])
    }

    /// Where image number `index` stands in its file.
    ///
    /// # Panics
    /// If `index` is not in the set.
    #[must_use]
    pub fn source_index(&self, index: usize) -> usize {
        self.images.indices[index]
    }

    /// Hash of the images in order: names the set whatever its file's layout, labels or normalisation.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The file the images came from.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.images.source
    }

    /// What is subtracted and divided by, if anything.
    #[must_use]
    pub fn normalisation(&self) -> Option<&Normalisation> {
        self.normalisation.as_ref()
    }

    /// What looks like a mistake.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.normalisation.is_none() {
            if self.images.pixels.largest() > 20.0 && self.images.pixels.unit() >= 1.0 {
                warnings.push(
                    "the probe images are floats beyond 20 and nothing normalises them: are they 0 to 255?".to_owned(),
                );
            } else if self.images.pixels.unit() < 1.0 {
                warnings.push(
                    "no normalisation: the network gets pixels in [0, 1]; name the training's with --mean and --std if it had one"
                        .to_owned(),
                );
            }
        }
        warnings
    }
}

impl Images {
    /// Over shape, type and pixels in channel-first order.
    fn hash(&self, len: usize) -> String {
        let mut hash = Sha256::new();
        let Shape { channels, height, width } = self.shape;
        hash.update(format!("{} {len} {channels} {height} {width}\n", self.pixels.type_name()));
        let mut bytes = Vec::new();
        for index in 0..len {
            bytes.clear();
            self.pixels.channel_first_bytes(index, self.shape, self.layout, &mut bytes);
            hash.update(&bytes);
        }
        hex::encode(hash.finalize())
    }
}

/// Reads whatever format the file's first bytes show.
fn read(path: &Path) -> Result<Raw> {
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    if file.metadata().map_err(Error::io(path, "read"))?.is_dir() {
        return Err(Error::probe(path, FORMATS, "a directory"));
    }
    let mut magic = Vec::new();
    file.by_ref().take(6).read_to_end(&mut magic).map_err(Error::io(path, "read"))?;
    file.rewind().map_err(Error::io(path, "read"))?;
    match magic.as_slice() {
        [] => Err(Error::probe(path, FORMATS, "an empty file")),
        [0x93, b'N', b'U', b'M', b'P', b'Y'] => npy::read(path, BufReader::new(file)),
        [b'P', b'K', ..] => npz::read(path),
        [0x1f, 0x8b, ..] | [0, 0, 0x08..=0x0e, ..] => idx::read(path),
        _ => Err(Error::probe(path, FORMATS, "another kind of file")),
    }
}

const FORMATS: &str = "a .npy, .npz or IDX file of images";
