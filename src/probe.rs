//! Probe images: read from a file or a folder, put in a seeded order, preprocessed, normalised one at a time.
//!
//! A new format is one file in this module and one line in `formats`.

mod cifar;
mod contents;
mod decode;
mod folder;
mod formats;
mod idx;
mod npy;
mod npz;
mod order;
mod parquet;
mod pickle;
mod raw;
mod save;
mod shape;
mod source;
mod webdataset;

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::preprocess::{Bitmap, Geometry, Preprocess, is_positive};
pub use idx::labels_beside;
use raw::{Pixels, Raw};
pub use shape::{Layout, Shape};
pub use source::Source;

/// Called with what is done and what there is to do, from several threads.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// How to read a probe set.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How many images to keep, by class where there are labels; all by default.
    pub images: Option<usize>,
    /// Seed of the order of the images.
    pub seed: u64,
    /// Order of an array's axes, where it cannot be told from the sizes.
    pub layout: Option<Layout>,
    /// The shape of the images of an array that holds each as one row.
    pub image_shape: Option<Shape>,
    /// How many images that cannot be decoded are passed over.
    pub max_bad: usize,
    /// What is done to each image after it is decoded.
    pub preprocess: Preprocess,
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
    /// What stored values are multiplied by before the normalisation, where that is not the usual.
    rescale: Option<f32>,
    /// Multiplies and then shifts each channel's stored values.
    scale: Vec<(f32, f32)>,
    normalisation: Option<Normalisation>,
    /// For a network of bytes: values from 0 to 255 are no mistake.
    in_steps: bool,
    /// What the user should know of it.
    notes: Vec<String>,
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
    /// What the images are called, where they have names.
    names: Option<Vec<String>>,
    /// How they were resized, cropped and coloured.
    geometry: Geometry,
}

impl ProbeSet {
    /// A set in memory, `[image, channel, y, x]`, in the order given.
    ///
    /// # Errors
    /// `Probe` for sizes that do not fit, values that are not finite, or another number of labels than of images.
    pub fn from_nchw(images: Vec<f32>, dims: [usize; 4], labels: Option<Vec<u32>>) -> Result<Self> {
        let path = Path::new("memory");
        let raw = Raw { pixels: Pixels::F32(images), dims: dims.to_vec(), labels, notes: Vec::new() };
        let (shape, layout) = raw.validate(path, Some(Layout::Nchw), None)?;
        let Raw { pixels, labels, .. } = raw;
        Ok(Self::new(Images { labels, ..Images::new(path, pixels, layout, shape, (0..dims[0]).collect()) }))
    }

    /// An array of which images are chosen.
    fn of_array(path: &Path, raw: Raw, options: &Options) -> Result<Self> {
        let (shape, layout) = raw.validate(path, options.layout, options.image_shape)?;
        let mut indices = order::stratified(raw.dims[0], raw.labels.as_deref(), options.seed);
        indices.truncate(options.images.unwrap_or(usize::MAX));
        let Raw { mut pixels, labels, dims, notes } = raw;
        if indices.len() < dims[0] {
            pixels = pixels.gather(&indices, shape.len());
        } else {
            // All are kept: moved into their order without a second copy.
            pixels.permute(&indices, shape.len());
        }
        let labels = labels.map(|labels| indices.iter().map(|index| labels[*index]).collect());
        let images = Images { labels, ..Images::new(path, pixels, layout, shape, indices) };
        Ok(Self { notes, ..Self::new(images) })
    }

    /// Images that were chosen and decoded; `indices` tells where each stands in its source.
    fn of_decoded(
        path: &Path,
        raw: Raw,
        indices: Vec<usize>,
        names: Option<Vec<String>>,
        geometry: Geometry,
    ) -> Result<Self> {
        let (shape, layout) = raw.validate(path, Some(Layout::Nhwc), None)?;
        let Raw { pixels, labels, notes, .. } = raw;
        let images = Images { labels, names, geometry, ..Images::new(path, pixels, layout, shape, indices) };
        Ok(Self { notes, ..Self::new(images) })
    }

    fn new(images: Images) -> Self {
        let len = images.indices.len();
        let scale = vec![(images.pixels.unit(), 0.0); images.shape.channels];
        Self {
            sha256: images.hash(len),
            images: Arc::new(images),
            len,
            rescale: None,
            scale,
            normalisation: None,
            in_steps: false,
            notes: Vec::new(),
        }
    }

    /// The same images, resized, cropped and recoloured.
    fn reshaped(&self, geometry: &Geometry) -> Result<Self> {
        let Images { pixels, layout, shape, indices, labels, names, .. } = &*self.images;
        let path = Path::new(self.source());
        let images = (0..self.len).map(|index| pixels.bitmap(index, *shape, *layout));
        let Some(images) = images.collect::<Option<Vec<_>>>() else {
            let found = if pixels.is_bytes() { shape.to_string() } else { "floats".to_owned() };
            let expected = "images of 1 or 3 channels of bytes, to resize or recolour (--mean and --std do neither)";
            return Err(Error::probe(path, expected, found));
        };
        let images: Vec<_> =
            images.into_par_iter().map(|image| geometry.apply(image).in_color(geometry.color)).collect();
        let Bitmap { height, width, channels, .. } = images[0];
        let pixels = images.into_iter().flat_map(|image| image.pixels).collect();
        let (dims, notes) = (vec![self.len, height, width, channels], self.notes.clone());
        let raw = Raw { pixels: Pixels::U8(pixels), dims, labels: labels.clone(), notes };
        Self::of_decoded(path, raw, indices.clone(), names.clone(), *geometry)
    }

    /// The same images, rescaled and normalised: `(rescale x - mean) / std`.
    ///
    /// # Errors
    /// As [`ProbeSet::normalised`], and `Setting` for a scale that is not positive.
    pub fn prepared(mut self, preprocess: &Preprocess) -> Result<Self> {
        if let Some(factor) = preprocess.rescale {
            if !is_positive(factor) {
                return Err(Error::setting("rescale", "a positive number", factor));
            }
            self.rescale = Some(factor);
            self.scale = vec![(factor, 0.0); self.shape().channels];
        }
        self.normalised(preprocess.mean.as_deref(), preprocess.std.as_deref())
    }

    /// The same images as a network of bytes takes them where nobody says otherwise: `scale (byte + first)`.
    #[must_use]
    pub fn in_steps(mut self, scale: f32, first: f32) -> Self {
        let is_whole = self.images.pixels.exceed_one();
        let (factor, mean) = (if is_whole { scale } else { 255.0 * scale }, -scale * first);
        let channels = self.shape().channels;
        self.rescale = Some(factor);
        self.scale = vec![(factor, -mean); channels];
        self.normalisation = Some(Normalisation { mean: vec![mean; channels], std: vec![1.0; channels] });
        self.in_steps = true;
        self
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
        let unit = self.unit();
        self.scale = mean.iter().zip(&std).map(|(mean, std)| (unit / std, -mean / std)).collect();
        self.normalisation = Some(Normalisation { mean, std });
        Ok(self)
    }

    fn unit(&self) -> f32 {
        self.rescale.unwrap_or_else(|| self.images.pixels.unit())
    }

    /// What pixels are multiplied by before the normalisation, where it is not 1/255 for bytes and 1 for floats.
    pub fn rescale(&self) -> Option<f32> {
        self.rescale
    }

    /// How the images were resized, cropped and coloured.
    pub fn geometry(&self) -> &Geometry {
        &self.images.geometry
    }

    /// Whether the images are of bytes rather than floats.
    pub fn is_bytes(&self) -> bool {
        self.images.pixels.is_bytes()
    }

    /// The same with one more thing for the user to know.
    #[must_use]
    pub fn with_note(mut self, note: String) -> Self {
        self.notes.push(note);
        self
    }

    /// The first `n` images, sharing the pixels.
    #[must_use]
    pub fn prefix(&self, n: usize) -> Self {
        let len = n.clamp(1, self.len);
        let sha256 = if len == self.len { self.sha256.clone() } else { self.images.hash(len) };
        Self { len, sha256, ..self.clone() }
    }

    /// Number of images.
    #[expect(clippy::len_without_is_empty, reason = "a probe set is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The shape of every image.
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
    pub fn labels(&self) -> Option<&[u32]> {
        self.images.labels.as_ref().map(|labels| &labels[..self.len])
    }

    /// Where image number `index` stands in its file.
    ///
    /// # Panics
    /// If `index` is not in the set.
    pub fn source_index(&self, index: usize) -> usize {
        self.images.indices[index]
    }

    /// What image number `index` is called, to people: its file's name, or its place in the file.
    ///
    /// # Panics
    /// If `index` is not in the set.
    pub fn name(&self, index: usize) -> String {
        let Images { names, indices, .. } = &*self.images;
        names.as_ref().map_or_else(|| format!("image {}", indices[index]), |names| names[index].clone())
    }

    /// Hash of the images in order: names the set whatever its file's layout, labels or normalisation.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// SHA-256 of each image's decoded pixels, row by row, the channels of a pixel together; `None` for floats, and for images that were
    /// resized or recoloured.
    pub fn pixel_hashes(&self) -> Option<Vec<[u8; 32]>> {
        let Images { pixels, layout, shape, geometry, .. } = &*self.images;
        let hash =
            |index| -> Option<[u8; 32]> { Some(Sha256::digest(pixels.bitmap(index, *shape, *layout)?.pixels).into()) };
        geometry.is_identity().then(|| (0..self.len).map(hash).collect())?
    }

    /// The file the images came from.
    pub fn source(&self) -> &str {
        &self.images.source
    }

    /// What is subtracted and divided by, if anything.
    pub fn normalisation(&self) -> Option<&Normalisation> {
        self.normalisation.as_ref()
    }

    /// What the user should know of how they were read.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether the values are those of a network of bytes: 0 to 255 is no mistake.
    pub fn are_in_steps(&self) -> bool {
        self.in_steps
    }
}

impl Images {
    fn new(path: &Path, pixels: Pixels, layout: Layout, shape: Shape, indices: Vec<usize>) -> Self {
        let source = crate::path::text(path);
        let geometry = Geometry::default();
        Self { source, pixels, layout, shape, indices, labels: None, names: None, geometry }
    }

    /// Over shape, type and pixels in channel-first order.
    fn hash(&self, len: usize) -> String {
        let mut hash = Sha256::new();
        let Shape { channels, height, width } = self.shape;
        hash.update(format!("{} {len} {channels} {height} {width}\n", self.pixels.type_name()));
        for index in 0..len {
            let mut bytes = Vec::new();
            self.pixels.channel_first_bytes(index, self.shape, self.layout, &mut bytes);
            hash.update(&bytes);
        }
        hex::encode(hash.finalize())
    }
}
