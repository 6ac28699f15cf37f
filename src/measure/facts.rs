//! What is gathered for findings besides the passes: a look at the images, some of them once more, and after suspicion other
//! preprocessings.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};

use super::passes;
use super::reading::Reading;
use super::scores::Tally;
use crate::backend::{Backend, Network};
use crate::check::shares::Discordant;
use crate::checkpoint::trained_on;
use crate::error::Result;
use crate::event::{Answers, Code, Finding};
use crate::findings::{Channel, Facts, Images, Seen};
use crate::perturb::Perturber;
use crate::preprocess::USUAL;
use crate::probe::{ProbeSet, Shape};

/// Images that are looked at.
const LOOKED_AT: usize = 64;
/// Images that are compared with each other.
const COMPARED: usize = 2_000;
/// Images that go through the network once more, in another batch.
const REPEATED: usize = 8;
/// Images of each preprocessing that is tried.
const FIRST_TRIED: usize = 50;
/// As many of the best of them are tried on more.
const LIKELIEST: usize = 3;
/// So many images.
const TRIED: usize = 200;
/// What is left of the error where one of these mends it.
const SHARE_LEFT: f64 = 0.85;
/// It mends at least this much of it, in points.
const LEAST_GAIN: f64 = 0.04;
/// Level at which one of these must lower the error.
const LEVEL: f64 = 0.99;
/// Places of an image that tell copies apart before all are compared.
const PLACES: usize = 97;

/// What tells of a network besides its passes: the network itself, or what was written down of it.
pub(super) trait Witness {
    /// A look at it.
    fn look(&self) -> Result<Look>;

    /// The other preprocessing that serves it best on some images.
    fn tried(&self, images: &Images) -> Result<Option<Tried>>;
}

/// What a look at a network tells.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Look {
    /// Outputs of the first images that went through once more, in a smaller batch, `[image, output]`.
    pub again: Vec<f32>,
    /// Which of the images it was trained on.
    pub seen: Option<std::result::Result<Seen, String>>,
}

impl Look {
    /// With what all its answers tell.
    pub fn facts(self, images: Images, answers: &Answers, confidence: Option<f64>) -> Facts {
        let unsteadiness = unsteadiness(&self.again, answers);
        Facts { images, seen: self.seen, confidence, unsteadiness }
    }
}

/// A network that is loaded, with the images of its probe set.
#[derive(Clone, Copy)]
pub(super) struct Present<'a> {
    pub network: &'a dyn Backend,
    pub probe: &'a ProbeSet,
    pub perturber: &'a Perturber,
}

impl Present<'_> {
    /// What the first images are like, as the network sees them.
    pub fn images(self) -> Images {
        Images { scaling: self.network.network().scaling, ..images(self.probe) }
    }

    /// What is gathered of its answers to all images of the probe set.
    ///
    /// # Errors
    /// As [`passes::run`].
    pub fn facts(self, answers: &Answers, tallies: &[Tally]) -> Result<Facts> {
        let confidence = Reading::of(self.network.network()).confidence(tallies);
        Ok(self.look()?.facts(self.images(), answers, confidence))
    }

    /// How many of the first images it answers wrongly, of how many; `None` where that cannot be known.
    fn errors(self) -> Result<Option<(usize, usize)>> {
        let few = self.probe.prefix(TRIED);
        let is_classifier = self.network.network().output.coordinates.are_classes();
        let Some(labels) = few.labels().filter(|_| is_classifier) else { return Ok(None) };
        let wrong = self.answers(&few)?.wrong(labels);
        Ok(wrong.map(|wrong| (count(&wrong), wrong.len())))
    }

    /// As [`Witness::tried`], of a network whose error leaves room for a better one.
    pub fn tried_unless_good(self, images: &Images) -> Result<Option<Tried>> {
        match self.errors()? {
            Some((wrong, of)) if wrong as f64 > LEAST_GAIN * of as f64 => self.tried(images),
            _ => Ok(None),
        }
    }

    /// What the network answers to images as they are.
    fn answers(self, probe: &ProbeSet) -> Result<Answers> {
        let passes = passes::run(self.network, probe, self.perturber, 0, &|_, _| ())?;
        Ok(Reading::of(self.network.network()).answers(passes.output.clean, &passes.tallies, None))
    }
}

impl Witness for Present<'_> {
    fn look(&self) -> Result<Look> {
        let seen = seen(self.network.network(), self.probe);
        Ok(Look { again: self.answers(&self.probe.prefix(REPEATED))?.clean, seen })
    }

    fn tried(&self, images: &Images) -> Result<Option<Tried>> {
        let Some(labels) = self.probe.labels() else { return Ok(None) };
        let tried = |trial: &Trial, count: usize| -> Result<Option<Vec<bool>>> {
            let changed = trial.of(&self.probe.prefix(count))?;
            // Images as no training saw them may overflow a network: that trial tells nothing.
            let Ok(answers) = self.answers(&changed) else { return Ok(None) };
            Ok(answers.wrong(&labels[..changed.len()]))
        };
        let mut likeliest = Vec::new();
        for trial in trials(images, self.probe.shape()) {
            likeliest.extend(tried(&trial, FIRST_TRIED)?.map(|wrong| (count(&wrong), trial)));
        }
        likeliest.sort_by_key(|(count, _)| *count);
        let mut best: Option<Tried> = None;
        for (_, trial) in likeliest.into_iter().take(LIKELIEST) {
            let Some(wrong) = tried(&trial, TRIED)? else { continue };
            if best.as_ref().is_none_or(|best| count(&wrong) < count(&best.wrong)) {
                best = Some(Tried { name: trial.name, wrong });
            }
        }
        Ok(best)
    }
}

/// Another preprocessing, and which of the first images it has the network answer wrongly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Tried {
    name: String,
    wrong: Vec<bool>,
}

impl Tried {
    /// What is to be told if it lowers the error clearly.
    pub fn gain(&self, answers: &Answers) -> Option<Finding> {
        let now = answers.wrong(answers.labels.as_deref()?)?;
        let then = Some(&self.wrong).filter(|then| !then.is_empty())?;
        let gained = Discordant::of(then.iter().copied().zip(now.iter().copied()));
        let share = |count: usize| count as f64 / then.len() as f64;
        let present = share(now.iter().take(then.len()).filter(|wrong| **wrong).count());
        let new = share(count(then));
        let is_clear = gained.interval(LEVEL).0 > 0.02 && new < (present - LEAST_GAIN).min(SHARE_LEFT * present);
        is_clear.then(|| {
            let text = format!(
                "with the images {} the error is {:.1}% rather than {:.1}% (on {} of them)",
                self.name,
                100.0 * new,
                100.0 * present,
                then.len()
            );
            Finding::new(Code::Preprocessing, text)
        })
    }
}

fn count(wrong: &[bool]) -> usize {
    wrong.iter().filter(|wrong| **wrong).count()
}

/// What the first images are like.
fn images(probe: &ProbeSet) -> Images {
    let few = probe.prefix(LOOKED_AT);
    let shape = few.shape();
    let normalisation = few.normalisation();
    let (mean, std) = normalisation.map_or_else(Default::default, |n| (n.mean.clone(), n.std.clone()));
    let undone = |channel: usize, value: f32| match normalisation {
        None => value,
        Some(_) => value * std[channel] + mean[channel],
    };
    let mut channels = vec![Channel { min: f32::MAX, max: f32::MIN, mean: 0.0 }; shape.channels];
    let mut image = vec![0.0; shape.len()];
    for index in 0..few.len() {
        few.image(index, &mut image);
        for (channel, plane) in image.chunks_exact(shape.plane()).enumerate() {
            let into = &mut channels[channel];
            let (mut min, mut max, mut sum) = (f32::MAX, f32::MIN, 0.0);
            for value in plane {
                min = min.min(*value);
                max = max.max(*value);
                sum += value;
            }
            into.min = into.min.min(undone(channel, min));
            into.max = into.max.max(undone(channel, max));
            into.mean += undone(channel, sum / plane.len() as f32) / few.len() as f32;
        }
    }
    let compared = probe.prefix(COMPARED);
    Images {
        channels,
        mean,
        std,
        are_bytes: few.is_bytes(),
        in_steps: few.are_in_steps(),
        scaling: None,
        compared: compared.len(),
        copies: copies(&compared),
    }
}

/// How many images are copies of one before them.
fn copies(probe: &ProbeSet) -> usize {
    let hasher = RandomState::new();
    let mut seen: HashMap<u64, Vec<usize>> = HashMap::new();
    let [mut image, mut other] = [0, 1].map(|_| vec![0.0_f32; probe.shape().len()]);
    let step = (image.len() / PLACES).max(1);
    let mut copies = 0;
    for index in 0..probe.len() {
        probe.image(index, &mut image);
        let some: Vec<u32> = image.iter().step_by(step).map(|value| value.to_bits()).collect();
        let alike = seen.entry(hasher.hash_one(some)).or_default();
        let mut is_like = |before: &usize| {
            probe.image(*before, &mut other);
            image == other
        };
        if alike.iter().any(&mut is_like) {
            copies += 1;
        } else {
            alike.push(index);
        }
    }
    copies
}

/// How many of the images the checkpoint was trained on; `None` where that cannot be known.
fn seen(network: &Network, probe: &ProbeSet) -> Option<std::result::Result<Seen, String>> {
    let name = network.metadata.other.get(trained_on::KEY)?;
    Some(trained_on::read(&network.path, name).and_then(|hashes| {
        let found = probe
            .pixel_hashes()
            .ok_or("probe images of bytes, neither resized nor recoloured, can be told from those of the training")?;
        let count = found.iter().filter(|hash| hashes.contains(*hash)).count();
        Ok(Seen { count, images: found.len(), file: name.clone() })
    }))
}

/// How far outputs of some images moved when they went through `again`, in a smaller batch: mean square, relative to how far
/// the outputs of two images lie apart. `None` where these do not.
fn unsteadiness(again: &[f32], answers: &Answers) -> Option<f64> {
    let outputs = answers.outputs;
    let rows = answers.clean.len() / outputs;
    let mut mean = vec![0.0_f64; outputs];
    for row in answers.clean.chunks_exact(outputs) {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / rows as f64);
    }
    let square = |value: f64| value * value;
    let spread = answers.clean.chunks_exact(outputs).flat_map(|row| row.iter().zip(&mean));
    let variance = spread.map(|(value, mean)| square(f64::from(*value) - mean)).sum::<f64>() / rows as f64;
    let moved =
        again.iter().zip(&answers.clean).map(|(new, old)| square(f64::from(*new) - f64::from(*old))).sum::<f64>();
    let moved = moved * outputs as f64 / again.len().max(1) as f64;
    (variance > 0.0).then(|| moved / (2.0 * variance))
}

/// What may have been done to the images in training, from what is done to them now: multiplies and shifts each channel of
/// the normalised image, and may change places.
struct Trial {
    name: String,
    scale: Vec<(f32, f32)>,
    places: Places,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Places {
    Same,
    /// The last channel first.
    Reversed,
    /// Rows for columns.
    Transposed,
}

impl Trial {
    /// These images, prepared so.
    fn of(&self, set: &ProbeSet) -> Result<ProbeSet> {
        let shape = set.shape();
        let mut pixels = vec![0.0; set.len() * shape.len()];
        for (index, image) in pixels.chunks_exact_mut(shape.len()).enumerate() {
            set.image(index, image);
            for (plane, (scale, shift)) in image.chunks_exact_mut(shape.plane()).zip(&self.scale) {
                for value in plane {
                    *value = *value * scale + shift;
                }
            }
            match self.places {
                Places::Same => {}
                Places::Reversed => {
                    let (first, rest) = image.split_at_mut(shape.plane());
                    first.swap_with_slice(&mut rest[shape.plane()..]);
                }
                Places::Transposed => {
                    for plane in image.chunks_exact_mut(shape.plane()) {
                        for (y, x) in (0..shape.height).flat_map(|y| (0..y).map(move |x| (y, x))) {
                            plane.swap(y * shape.width + x, x * shape.width + y);
                        }
                    }
                }
            }
        }
        ProbeSet::from_nchw(pixels, [set.len(), shape.channels, shape.height, shape.width], None)
    }
}

fn trials(images: &Images, shape: Shape) -> Vec<Trial> {
    let channels = shape.channels;
    let is_normalised = !images.mean.is_empty();
    let (mean, std) = if is_normalised {
        (images.mean.clone(), images.std.clone())
    } else {
        (vec![0.0; channels], vec![1.0; channels])
    };
    let spread = |values: &[f32]| -> Option<Vec<f32>> {
        (values.len() == channels || values.len() == 1)
            .then(|| (0..channels).map(|c| values[c % values.len()]).collect())
    };
    // (x std + mean - m) / s, for what is stored: x is what the network sees now.
    let anew = |m: &[f32], s: &[f32]| -> Vec<(f32, f32)> {
        (0..channels).map(|c| (std[c] / s[c], (mean[c] - m[c]) / s[c])).collect()
    };
    let (least, largest) = images.ends();
    let mut trials = Vec::new();
    let mut add = |name: &str, scale: Vec<(f32, f32)>| {
        for places in [Places::Same, Places::Reversed] {
            let is_present = scale.iter().all(|(scale, shift)| (scale - 1.0).abs() < 1e-3 && shift.abs() < 1e-3);
            if (places == Places::Reversed && channels != 3) || (places == Places::Same && is_present) {
                continue;
            }
            let order = match (places, is_present) {
                (Places::Reversed, true) => "with the channels in reverse order (BGR for RGB)".to_owned(),
                (Places::Reversed, false) => format!("{name} and with the channels in reverse order (BGR for RGB)"),
                _ => name.to_owned(),
            };
            trials.push(Trial { name: order, scale: scale.clone(), places });
        }
    };
    add("as they are", vec![(1.0, 0.0); channels]);
    if is_normalised {
        let name = if least < -0.1 { "normalised once rather than twice" } else { "without the normalisation" };
        add(name, anew(&vec![0.0; channels], &vec![1.0; channels]));
    }
    // To what the images are in [0, 1].
    let (unit, rescale) = if largest > 20.0 { (255.0, "--preprocess rescale=0.003921569") } else { (1.0, "") };
    for (name, m, s) in USUAL {
        if let (Some(m), Some(s)) = (spread(m), spread(s)) {
            let scaled = |values: &[f32]| values.iter().map(|value| value * unit).collect::<Vec<_>>();
            let numbers = |values: &[f32]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let flags = format!("{rescale} --mean {} --std {}", numbers(&m), numbers(&s));
            let name = format!("with the normalisation {name} ({})", flags.trim_start());
            add(&name, anew(&scaled(&m), &scaled(&s)));
        }
    }
    if unit > 1.0 {
        add(&format!("divided by 255 ({rescale})"), anew(&vec![0.0; channels], &vec![unit; channels]));
    } else {
        add("as 0 to 255", anew(&vec![0.0; channels], &vec![1.0 / 255.0; channels]));
    }
    if least >= 0.0 {
        // (unit - (x std + mean) - mean) / std.
        let scale = (0..channels).map(|c| (-1.0, (unit - 2.0 * mean[c]) / std[c])).collect();
        trials.push(Trial { name: "inverted (black for white)".to_owned(), scale, places: Places::Same });
    }
    if shape.height == shape.width {
        let name = "transposed (rows for columns)".to_owned();
        trials.push(Trial { name, scale: vec![(1.0, 0.0); channels], places: Places::Transposed });
    }
    trials
}
