//! Where probe images come from: an array that is read whole, or encoded images of which only the chosen ones are.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::contents::{Catalogue, Contents, Encoded};
use super::decode::decode;
use super::raw::{Pixels, Raw};
use super::{Options, ProbeSet, Progress, formats, order};
use crate::error::{Error, Result};
use crate::preprocess::{Bitmap, Color, Geometry};

/// A probe set's source, opened, ordered and named; its images are made by [`Source::set`].
pub struct Source {
    path: PathBuf,
    id: String,
    chosen: Chosen,
}

enum Chosen {
    Array(ProbeSet),
    Encoded { catalogue: Catalogue, order: Vec<usize>, wanted: usize, max_bad: usize },
}

/// Where every image there is may be needed, this many are enough for any precision.
const MOST: usize = 10_000;
/// Images whose files are in memory at once.
const BATCH: usize = 256;
/// Undecodable images named in a note.
const NAMED: usize = 3;

impl ProbeSet {
    /// Reads images of any of the formats, and chooses some in a seeded order of which every beginning is stratified by label.
    ///
    /// # Errors
    /// As [`Source::open`], [`Source::set`] and [`ProbeSet::prepared`].
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        let set = Source::open(path, options)?.set(&options.preprocess.geometry(), &|_, _| ())?;
        set.prepared(&options.preprocess)
    }
}

impl Source {
    /// Opens a file or folder of images and chooses images in a seeded order of which every beginning is stratified by label.
    ///
    /// # Errors
    /// `Io` for a file that cannot be read, `Probe` for one that is not a set of images, `Setting` for zero images.
    pub fn open(path: &Path, options: &Options) -> Result<Self> {
        if options.images == Some(0) {
            return Err(Error::setting("--images", "1 or more", 0));
        }
        let (id, chosen) = match formats::open(path)? {
            Contents::Array(raw) => {
                let set = ProbeSet::of_array(path, raw, options)?;
                (set.sha256().to_owned(), Chosen::Array(set))
            }
            Contents::Encoded(catalogue) => {
                let order = order::stratified(catalogue.count, catalogue.labels.as_deref(), options.seed);
                let wanted = options.images.unwrap_or(MOST).min(order.len());
                let id = hash(&*catalogue.images, &order[..wanted]);
                (id, Chosen::Encoded { catalogue, order, wanted, max_bad: options.max_bad })
            }
        };
        Ok(Self { path: path.to_owned(), id, chosen })
    }

    /// Names the chosen images as they lie in their files: a hash of their contents in order.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the images have labels.
    pub fn has_labels(&self) -> bool {
        match &self.chosen {
            Chosen::Array(set) => set.labels().is_some(),
            Chosen::Encoded { catalogue, .. } => catalogue.labels.is_some(),
        }
    }

    /// Whether the images are encoded files rather than an array.
    pub fn is_encoded(&self) -> bool {
        matches!(self.chosen, Chosen::Encoded { .. })
    }

    /// The chosen images, of this geometry; `progress` hears how many of how many are decoded.
    ///
    /// # Errors
    /// `Probe` for images that cannot be decoded, that are of different sizes, or floats that should be resized.
    pub fn set(&self, geometry: &Geometry, progress: Progress) -> Result<ProbeSet> {
        match &self.chosen {
            Chosen::Array(set) if geometry.is_identity() => Ok(set.clone()),
            Chosen::Array(set) => set.reshaped(geometry),
            Chosen::Encoded { catalogue, order, wanted, max_bad } => {
                let decoded = self.decode(catalogue, order, (*wanted, *max_bad), geometry, progress)?;
                self.assemble(catalogue, decoded, *geometry)
            }
        }
    }

    fn decode(
        &self,
        catalogue: &Catalogue,
        order: &[usize],
        (wanted, max_bad): (usize, usize),
        geometry: &Geometry,
        progress: Progress,
    ) -> Result<Decoded> {
        let mut candidates = order.iter().copied();
        let mut decoded = Decoded::default();
        loop {
            let missing = wanted - decoded.images.len();
            let batch: Vec<_> = candidates.by_ref().take(missing.min(BATCH)).collect();
            if batch.is_empty() {
                break;
            }
            let outcomes = catalogue.images.read(&batch).into_par_iter().map(|bytes| {
                let image = decode(&bytes?)?;
                Ok(geometry.apply(image))
            });
            let outcomes: Vec<std::result::Result<_, String>> = outcomes.collect();
            for (index, outcome) in batch.into_iter().zip(outcomes) {
                match outcome {
                    Ok(image) => decoded.images.push((index, image)),
                    Err(reason) => decoded.bad.push(format!("{} ({reason})", catalogue.images.name(index))),
                }
            }
            if decoded.bad.len() > max_bad {
                let found = format!("{}{}", decoded.bad[0], more(decoded.bad.len() - 1));
                return Err(Error::probe(&self.path, "images that decode (or --max-bad, to pass some over)", found));
            }
            progress(decoded.images.len() as u64, wanted as u64);
        }
        Ok(decoded)
    }

    fn assemble(&self, catalogue: &Catalogue, decoded: Decoded, geometry: Geometry) -> Result<ProbeSet> {
        let Decoded { images, bad } = decoded;
        let Some((first, Bitmap { height, width, .. })) = images.first() else {
            return Err(Error::probe(&self.path, "images that decode", format!("none, {} that do not", bad.len())));
        };
        let (first, height, width) = (*first, *height, *width);
        let name = |index: usize| catalogue.images.name(index);
        if let Some((other, image)) = images.iter().find(|(_, image)| (image.height, image.width) != (height, width)) {
            let found =
                format!("{height}x{width} ({}) and {}x{} ({})", name(first), image.height, image.width, name(*other));
            return Err(Error::probe(&self.path, "images of one size (or --preprocess, to resize and crop)", found));
        }
        let is_gray = images.iter().all(|(_, image)| image.channels == 1);
        let color = geometry.color.or((!is_gray).then_some(Color::Rgb));
        let channels = if is_gray && color.is_none() || color == Some(Color::Gray) { 1 } else { 3 };
        let mut pixels = Vec::with_capacity(images.len() * height * width * channels);
        let mut indices = Vec::with_capacity(images.len());
        for (index, image) in images {
            pixels.extend(image.in_color(color).pixels);
            indices.push(index);
        }
        let labels = catalogue.labels.as_ref().map(|labels| indices.iter().map(|index| labels[*index]).collect());
        let names = Some(indices.iter().map(|index| name(*index)).collect());
        let mut notes = catalogue.notes.clone();
        if !bad.is_empty() {
            let named = bad.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
            let more = more(bad.len().saturating_sub(NAMED));
            notes.push(format!("{} images were passed over: {named}{more}", bad.len()));
        }
        let raw = Raw { dims: vec![indices.len(), height, width, channels], pixels: Pixels::U8(pixels), labels, notes };
        ProbeSet::of_decoded(&self.path, raw, indices, names, geometry)
    }
}

#[derive(Default)]
struct Decoded {
    images: Vec<(usize, Bitmap)>,
    bad: Vec<String>,
}

fn more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(", and {count} more") }
}

fn hash(images: &dyn Encoded, indices: &[usize]) -> String {
    let mut hash = Sha256::new();
    for batch in indices.chunks(BATCH) {
        for file in images.read(batch) {
            let bytes = file.unwrap_or_default();
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
        }
    }
    hex::encode(hash.finalize())
}
