//! A part of a measurement, of some of its images, and the file that keeps it: what their passes left, and never a statistic.

use std::io::{Cursor, Result as IoResult};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zip::{CompressionMethod, ZipWriter};

use super::facts::{Look, Tried};
use super::forward::Times;
use super::outputs::Outputs;
use super::passes::Passes;
use super::scores::{Row, Tally};
use super::settings::ChosenLaw;
use super::subject::Subject;
use crate::arrays::{Fault, Stored, add};
use crate::error::{Error, Result};
use crate::event::{Finding, Timing};
use crate::perturb::Displacement;
use crate::small_file::{self, json_fault};
use crate::text::as_text;

/// The version of a part's file, to count up with every change of it.
const SCHEMA: &str = "relstab.part/2";
/// Of the program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A part's text may be this long, bytes.
const LONGEST_TEXT: usize = 64 << 20;
/// Its file may be this large, bytes.
const LARGEST: u64 = 64 << 30;
/// Its passes may take this long, seconds.
const CENTURY: f64 = 3e9;

/// Which of so many shares of the images: `3/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    /// Counts from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl Shard {
    /// Its share of so many images: whole batches, all but the very last.
    ///
    /// # Errors
    /// `Setting` for more shards than there are batches.
    pub fn images(self, images: usize, batch: usize) -> Result<Range<usize>> {
        let batches = images.div_ceil(batch);
        if self.of > batches {
            let expected = format!("{batches} shards or fewer: {images} images are so many batches of {batch}");
            return Err(Error::setting("--shard", expected, self));
        }
        let border =
            |before: usize| ((before as u128 * batches as u128 / self.of as u128) as usize * batch).min(images);
        Ok(border(self.number - 1)..border(self.number))
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("expected a shard and how many there are, from 1/8 to 8/8".to_owned()),
        }
    }
}

as_text!(Shard);

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// A part of a measurement.
pub struct Part {
    /// The file that it was read from.
    pub(super) path: PathBuf,
    pub(super) text: Text,
    pub(super) passes: Passes,
    /// Of its images.
    pub(super) labels: Option<Vec<u32>>,
}

/// All of a part but its arrays.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Text {
    pub schema: String,
    /// Of the program.
    pub version: String,
    pub shard: Shard,
    /// Images in a batch: shards begin at its multiples.
    pub batch: usize,
    pub subject: Subject,
    pub law: Option<ChosenLaw>,
    pub notes: Vec<Finding>,
    /// What the passes had to say.
    pub note: Option<String>,
    pub has_labels: bool,
    /// What was looked at besides the passes, in the part with the first image.
    pub beside: Option<Beside>,
    pub timing: Timing,
}

/// What findings go by besides the passes, written down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Beside {
    pub look: Look,
    pub tried: Option<Tried>,
}

/// What every version of the text has.
#[derive(Deserialize)]
struct Kind {
    schema: String,
    version: String,
}

impl Text {
    pub fn new(shard: Shard, batch: usize, subject: Subject, timing: Timing) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: VERSION.to_owned(),
            shard,
            batch,
            subject,
            law: None,
            notes: Vec::new(),
            note: None,
            has_labels: false,
            beside: None,
            timing,
        }
    }

    fn parse(bytes: &[u8]) -> std::result::Result<Self, Fault> {
        let nonsense = |error| {
            let found = json_fault(&String::from_utf8_lossy(bytes), &error);
            Fault::new("what relstab measure --shard writes", found)
        };
        if bytes.len() > LONGEST_TEXT {
            let expected = format!("a text of at most {LONGEST_TEXT} bytes");
            return Err(Fault::new(expected, bytes.len().to_string()));
        }
        let text: Self = match (serde_json::from_slice(bytes), serde_json::from_slice(bytes)) {
            (_, Ok(Kind { schema, version })) if schema != SCHEMA => {
                let found = format!("{schema} of relstab {version}");
                return Err(Fault::new(format!("{SCHEMA} of relstab {VERSION}"), found));
            }
            (text, _) => text.map_err(nonsense)?,
        };
        let Subject { reading, settings, probe, .. } = &text.subject;
        let pixels = probe.shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        let is_sound = reading.outputs > 0
            && reading.outputs == text.subject.model.outputs
            && settings.draws > 0
            && text.batch > 0
            && pixels.is_some_and(|size| size > 0);
        if is_sound && (2..=u32::MAX as usize).contains(&probe.images) {
            return Ok(text);
        }
        let sizes = format!("{} images, {} draws, {} outputs", probe.images, settings.draws, reading.outputs);
        Err(Fault::new("two images or more, with draws and outputs", sizes))
    }
}

impl Part {
    /// Which one it is.
    pub fn shard(&self) -> Shard {
        self.text.shard
    }

    /// The bytes of its file, a `.npz` archive.
    ///
    /// # Errors
    /// `Io` where they cannot be made.
    pub fn to_npz(&self) -> Result<Vec<u8>> {
        self.npz().map_err(Error::io("a part".as_ref(), "write"))
    }

    fn npz(&self) -> IoResult<Vec<u8>> {
        let Passes { draws, output, displacements, tallies, .. } = &self.passes;
        let (images, draws, outputs) = (tallies.len(), *draws, output.coordinates);
        let as_it_is = |name| (name, CompressionMethod::Stored);
        let mut file = ZipWriter::new(Cursor::new(Vec::new()));
        let text = serde_json::to_vec(&self.text)?;
        add(&mut file, as_it_is("text"), &[text.len()], text)?;
        add(&mut file, as_it_is("clean"), &[images, outputs], output.clean.iter().copied())?;
        add(&mut file, as_it_is("deformed"), &[images, draws, outputs], output.deformed.iter().copied())?;
        add(&mut file, as_it_is("noisy"), &[images, draws, outputs], output.noisy.iter().copied())?;
        let squares = displacements.iter().map(|displacement| displacement.mean_square_px);
        add(&mut file, as_it_is("displacements"), &[images, draws], squares)?;
        let folds = displacements.iter().map(|displacement| u8::from(displacement.folds));
        add(&mut file, as_it_is("folds"), &[images, draws], folds)?;
        let rows = || tallies.iter().map(|tally| tally.to_row());
        add(&mut file, as_it_is("counts"), &[images, 3], rows().flat_map(|row| row.counts))?;
        add(&mut file, as_it_is("sums"), &[images, 2, 5], rows().flat_map(|row| row.sums.into_iter().flatten()))?;
        add(&mut file, as_it_is("kinds"), &[images, 2], rows().flat_map(|row| row.kinds))?;
        if let Some(labels) = &self.labels {
            add(&mut file, as_it_is("labels"), &[images], labels.iter().copied())?;
        }
        Ok(file.finish()?.into_inner())
    }

    /// The part that a file keeps.
    ///
    /// # Errors
    /// `Io` for a file that cannot be read, `Part` for what is no whole part of this version.
    pub fn read(path: &Path) -> Result<Self> {
        let file = small_file::open(path).map_err(Error::io(path, "open"))?;
        let size = file.metadata().map_err(Error::io(path, "open"))?.len();
        if size > LARGEST {
            return Err(Error::part(path, format!("a file of at most {LARGEST} bytes"), size.to_string()));
        }
        let parse = || -> std::result::Result<Self, Fault> {
            let mut arrays = Arrays(Stored::new(file)?);
            let text = Text::parse(&arrays.0.array("text")?.0)?;
            arrays.part(path, text)
        };
        parse().map_err(|Fault { expected, found }| Error::part(path, expected, found))
    }
}

/// The arrays of a part's file.
struct Arrays(Stored);

impl Arrays {
    fn part(mut self, path: &Path, text: Text) -> std::result::Result<Part, Fault> {
        let Subject { reading, settings, probe, .. } = &text.subject;
        let share = text.shard.images(probe.images, text.batch);
        let share = share.map_err(|error| Fault::new("a shard of its images", error.to_string()))?;
        let (images, draws, outputs) = (share.len(), settings.draws as usize, reading.outputs);
        let is_change = |value: &f32| (0.0..=f32::MAX).contains(value);
        let is_square = |value: &f64| (0.0..=f64::from(f32::MAX)).contains(value);
        let clean = self.take("clean", &[images, outputs], |value: &f32| value.is_finite())?;
        let deformed = self.take("deformed", &[images, draws, outputs], is_change)?;
        let noisy = self.take("noisy", &[images, draws, outputs], is_change)?;
        let squares = self.take("displacements", &[images, draws], is_square)?;
        let folds = self.take("folds", &[images, draws], |value: &u8| *value < 2)?;
        let counts = self.take("counts", &[images, 3], |_: &u32| true)?;
        let sums = self.take("sums", &[images, 2, 5], is_change)?;
        let kinds = self.take("kinds", &[images, 2], |value: &u8| *value < 2)?;
        let labels = text.has_labels.then(|| self.take("labels", &[images], |_: &u32| true)).transpose()?;
        let counts = counts.as_chunks::<3>().0;
        if let Some([found, ..]) = counts.iter().find(|[class, ..]| *class as usize >= outputs) {
            return Err(Fault::new(format!("classes below {outputs}"), found.to_string()));
        }
        let rows = counts.iter().zip(sums.as_chunks::<5>().0.as_chunks::<2>().0).zip(kinds.as_chunks::<2>().0);
        let tallies =
            rows.map(|((counts, sums), kinds)| Tally::of_row(Row { counts: *counts, sums: *sums, kinds: *kinds }));
        let moved = squares.into_iter().zip(folds);
        let Timing { total_s, perturb_s, inference_s, findings_s, passes, perturbed_on_provider, batch } = text.timing;
        let count = images as u64 * (1 + 2 * draws as u64);
        let are_times = [total_s, perturb_s, inference_s, findings_s].iter().all(|time| (0.0..CENTURY).contains(time));
        if passes != count || perturbed_on_provider > count || !are_times {
            return Err(Fault::new(format!("times of {count} passes"), format!("{:?}", text.timing)));
        }
        let duration = Duration::from_secs_f64;
        let passes = Passes {
            draws,
            layers: Vec::new(),
            output: Outputs { coordinates: outputs, clean, deformed, noisy, faults: vec![None; images] },
            displacements: moved
                .map(|(mean_square_px, folds)| Displacement { mean_square_px, folds: folds == 1 })
                .collect(),
            tallies: tallies.collect(),
            times: Times {
                perturb: duration(perturb_s),
                inference: duration(inference_s),
                on_provider: perturbed_on_provider,
            },
            count: passes,
            batch,
            note: text.note.clone(),
        };
        Ok(Part { path: path.to_owned(), text, passes, labels })
    }

    /// The values of an array of these sizes, each of which `is_sound`.
    fn take<T: npyz::Deserialize + std::fmt::Display>(
        &mut self,
        name: &str,
        dims: &[usize],
        is_sound: impl Fn(&T) -> bool,
    ) -> std::result::Result<Vec<T>, Fault> {
        let (values, found) = self.0.array(name)?;
        if found != dims {
            return Err(Fault::new(format!("{name} of shape {dims:?}"), format!("{found:?}")));
        }
        match values.iter().find(|value| !is_sound(value)) {
            Some(value) => Err(Fault::new(format!("{name} that passes leave"), value.to_string())),
            None => Ok(values),
        }
    }
}
