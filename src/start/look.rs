//! What is seen of a run's images and of a network, and the preprocessing that answers the images best.

use std::collections::BTreeSet;

use super::candidates::{geometries, reversed, values};
use crate::backend::Model;
use crate::check::shares::Discordant;
use crate::error::{Error, Result};
use crate::findings::{NEAR_CHANCE, chance};
use crate::measure::{Progress, Range, ranges};
use crate::plan::{Opened, Setup};
use crate::preprocess::{Geometry, Preprocess};
use crate::probe::ProbeSet;

/// Images of each preprocessing that is tried.
const TRIED: usize = 200;
/// Level at which one preprocessing is better than another.
const LEVEL: f64 = 0.95;

/// What was seen.
pub struct Look {
    /// The chosen images, of the size and number of channels that the network takes, their values as they are stored.
    pub set: ProbeSet,
    /// Their values, channel by channel: bytes as 0 to 1.
    pub channels: Vec<Range>,
    /// How they came to their size.
    pub geometry: Geometry,
    /// What is done to them for the network.
    pub choice: Choice,
}

/// What decides the preprocessing.
pub enum Choice {
    /// Nothing: in words, why.
    Open(&'static str),
    /// The network says it of itself; the error that it has so, where labels tell.
    Said(Option<f64>),
    /// The smallest error of those that were tried, the best first; how many of them are as good for all that was seen.
    Best(Vec<Tried>, usize),
}

/// One preprocessing and what it came to.
pub struct Tried {
    /// In words.
    pub name: String,
    /// What it does besides the geometry.
    pub preprocess: Preprocess,
    /// Which of the images are answered wrongly.
    wrong: Vec<bool>,
}

impl Tried {
    /// The share of images that are answered wrongly.
    pub fn error(&self) -> f64 {
        share(&self.wrong)
    }

    /// How many images it was tried on.
    pub fn images(&self) -> usize {
        self.wrong.len()
    }

    /// Whether `other` may be as good for all that these images tell.
    fn is_like(&self, other: &Self) -> bool {
        let pairs = self.wrong.iter().copied().zip(other.wrong.iter().copied());
        Discordant::of(pairs).interval(LEVEL).0 <= 0.0
    }
}

fn share(wrong: &[bool]) -> f64 {
    wrong.iter().filter(|wrong| **wrong).count() as f64 / wrong.len().max(1) as f64
}

/// Looks at the images of `setup`, and where there is a network at what it makes of them.
///
/// # Errors
/// As [`Setup::probe_for`] and [`Setup::open`].
pub fn look(setup: &Setup, model: Option<Model>, progress: Progress) -> Result<Look> {
    let Some(model) = model else {
        let set = setup.probe(progress)?;
        return Ok(Look::new(set, Choice::Open("there is no network yet to try preprocessings with")));
    };
    let speaks = model.metadata().preprocess.says_values() || model.pixels().is_some();
    let extent = model.extent();
    let (geometry, others) = fitting(setup, &model, extent, progress)?;
    let opened = setup.with_preprocess(Preprocess::default().with_geometry(geometry)).open(model, progress)?;
    let geometry = *opened.probe().geometry();
    let base = setup.with_preprocess(Preprocess::default().with_geometry(geometry));
    let set = base.probe(progress)?;
    if speaks {
        let wrong = opened.wrong(&opened.probe().prefix(TRIED), progress)?;
        return Ok(Look::new(set, Choice::Said(wrong.as_deref().map(share))));
    }
    if !setup.has_labels() {
        return Ok(Look::new(set, Choice::Open("the images have no labels to tell one preprocessing from another")));
    }
    let mut tries = Tries { setup, opened: &opened, progress, tried: Vec::new() };
    let channels = ranges(&set);
    let range = channels
        .iter()
        .fold((f32::MAX, f32::MIN), |(least, largest), channel| (least.min(channel.min), largest.max(channel.max)));
    for (name, preprocess) in values(&set, range) {
        tries.add(geometry, &name, &preprocess)?;
        if let Some((name, preprocess)) = reversed(&set, &name, &preprocess) {
            tries.add(geometry, &name, &preprocess)?;
        }
    }
    let found = tries.best().map(|best| (best.name.clone(), best.preprocess.clone()));
    let mut look = Look::new(set, Choice::Open("the network's outputs are no classes of these labels"));
    let Some((best, preprocess)) = found else { return Ok(look) };
    for (name, other) in others {
        tries.add(other, &format!("{best}, {name}"), &preprocess)?;
    }
    let mut tried = tries.tried;
    tried.sort_by(|(_, a), (_, b)| a.error().total_cmp(&b.error()));
    let (geometry, _) = &tried[0];
    if *geometry != look.geometry {
        look.set = setup.with_preprocess(Preprocess::default().with_geometry(*geometry)).probe(progress)?;
        look.geometry = *geometry;
    }
    let tried: Vec<_> = tried.into_iter().map(|(_, tried)| tried).collect();
    look.choice = if tried[0].error() > NEAR_CHANCE * chance(opened.outputs()) {
        Choice::Open("with none of those that were tried the network does better than guessing")
    } else {
        let alike = tried[1..].iter().take_while(|other| tried[0].is_like(other)).count();
        Choice::Best(tried, alike)
    };
    Ok(look)
}

impl Look {
    fn new(set: ProbeSet, choice: Choice) -> Self {
        Self { channels: ranges(&set), geometry: *set.geometry(), set, choice }
    }

    /// How many classes the labels tell apart.
    pub fn classes(&self) -> Option<usize> {
        self.set.labels().map(|labels| labels.iter().collect::<BTreeSet<_>>().len())
    }

    /// The preprocessing that was chosen.
    pub fn chosen(&self) -> Option<&Preprocess> {
        match &self.choice {
            Choice::Best(tried, _) => tried.first().map(|tried| &tried.preprocess),
            Choice::Open(_) | Choice::Said(_) => None,
        }
    }
}

/// Images as they are where the network takes them so; else the first geometry that makes them fit, and the others.
fn fitting(
    setup: &Setup,
    model: &Model,
    extent: Option<(usize, usize)>,
    progress: Progress,
) -> Result<(Geometry, Vec<(String, Geometry)>)> {
    let misfit = match setup.probe_for(model, progress) {
        Ok(_) => return Ok((Geometry::default(), Vec::new())),
        Err(error @ (Error::Probe { .. } | Error::Mismatch { .. })) => error,
        Err(error) => return Err(error),
    };
    let Some(extent) = extent else { return Err(misfit) };
    let fits = |(_, geometry): &(String, Geometry)| {
        setup.with_preprocess(Preprocess::default().with_geometry(*geometry)).probe_for(model, progress).is_ok()
    };
    let mut all: Vec<_> = geometries(extent).into_iter().filter(fits).collect();
    if all.is_empty() {
        return Err(misfit);
    }
    let (_, first) = all.remove(0);
    Ok((first, all))
}

/// The network and what was tried on it.
struct Tries<'a> {
    setup: &'a Setup,
    opened: &'a Opened,
    progress: Progress<'a>,
    tried: Vec<(Geometry, Tried)>,
}

impl Tries<'_> {
    /// Images as no training saw them may overflow a network: that tells nothing.
    fn add(&mut self, geometry: Geometry, name: &str, preprocess: &Preprocess) -> Result<()> {
        let color = preprocess.color.or(geometry.color);
        let whole = preprocess.clone().with_geometry(Geometry { color, ..geometry });
        let set = self.setup.with_preprocess(whole).probe(self.progress)?.prefix(TRIED);
        let wrong = match self.opened.wrong(&set, self.progress) {
            Err(Error::NonFinite { .. }) => return Ok(()),
            wrong => wrong?,
        };
        let tried = |wrong| (geometry, Tried { name: name.to_owned(), preprocess: preprocess.clone(), wrong });
        self.tried.extend(wrong.map(tried));
        Ok(())
    }

    fn best(&self) -> Option<&Tried> {
        self.tried.iter().map(|(_, tried)| tried).min_by(|a, b| a.error().total_cmp(&b.error()))
    }
}
