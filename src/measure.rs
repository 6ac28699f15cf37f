//! The whole line: probe images, perturbed, through the network, to stabilities and a predicted error.
//!
//! [`measure`] is what every command and the daemon call.

mod job;
pub mod layers;
mod facts;
mod outputs;
mod part;
mod passes;
mod precision;
mod preview;
mod reading;
mod record;
mod scores;
mod settings;
pub mod shards;
mod strip;
mod subject;
pub mod sweep;
mod forward;
mod scheduler;

pub use preview::{Answer, Cost, Preview, Range, preview, ranges};
pub use record::{axes_text, conditions, is_trained, measured, predict, predict_anew};
pub use settings::{ChosenLaw, IMAGES, Settings};
pub use strip::strip;

use std::time::Instant;

use crate::backend::{Backend, Network};
use crate::error::{Error, Result};
use crate::estimate::{Bootstrap, Estimator, Responses};
use crate::event::{Answers, Code, Finding, Measurement};
use crate::findings;
use crate::perturb::{Deformation, Perturber};
use crate::predict::Conditions;
use crate::probe::ProbeSet;
pub use crate::probe::Progress;
use facts::Present;
use outputs::Changed;
use passes::Passes;
use precision::Precision;
use reading::Reading;
use record::{Applicable, Told};
use scores::Tally;
use subject::Subject;

/// Changes of outputs that are kept, at most.
const MOST_BYTES: u128 = 64 << 30;
/// Fewer images than this are worth a word where nobody says how many.
const ENOUGH_IMAGES: usize = 500;

/// Measures `D_f`, `G_f` and `R_f` of a network on a probe set and predicts its test error.
///
/// Equation: `R_f = D_f / G_f`, arXiv:2105.02468. One seed gives one result, on any number of threads; to rounding where
/// a GPU perturbs images.
///
/// # Errors
/// `Setting` for settings outside their domain, `Probe` for fewer than two images, `Mismatch` for images of another
/// shape than the network was opened for, `Engine` or `NonFinite` where the network fails, `Law` for an explicit law of
/// other settings. An undefined `R_f` is no error: the record says why.
pub fn measure(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    progress: Progress,
) -> Result<Measurement> {
    Ok(measure_more(network, probe, settings, &mut Kept::default(), progress)?.0)
}

/// What went through a network, for measurements of more images with as many draws.
#[derive(Default)]
pub struct Kept(Option<Passes>);

/// As [`measure`], with what the network answered; images whose passes are `kept` do not go through again.
///
/// # Errors
/// As [`measure`].
pub fn measure_more(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    kept: &mut Kept,
    progress: Progress,
) -> Result<(Measurement, Answers)> {
    let Measured { measurement, answers, .. } = run(network, probe, settings, kept, progress, |_, _, _| Ok(()))?;
    Ok((measurement, answers))
}

/// All that the same passes tell.
struct Measured<T> {
    /// What a caller made of the passes besides.
    besides: T,
    measurement: Measurement,
    answers: Answers,
}

/// As [`measure`], and what `besides` makes of the same passes, the settings they came to and their resamples.
fn run<T>(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    kept: &mut Kept,
    progress: Progress,
    besides: impl FnOnce(&Passes, &Settings, &Bootstrap) -> Result<T>,
) -> Result<Measured<T>> {
    let started = Instant::now();
    let Prepared { perturber, law, used, mut notes } = prepare(network, probe, settings)?;
    let mut precision = settings.precision.map(|target| Precision::new(target, settings.passes.is_some()));
    let asked = (used.images, used.draws);
    let (mut images, mut draws) = precision.as_ref().map_or(asked, |precision| precision.first(asked));
    loop {
        let set = probe.prefix(images);
        let passes = match kept.0.take() {
            Some(before) if before.draws == draws as usize && before.images() <= images => {
                passes::extend(before, network, &set, &perturber, progress)?
            }
            _ => passes::run(network, &set, &perturber, draws, progress)?,
        };
        let passes = &*kept.0.insert(passes);
        let bootstrap = record::bootstrap(set.len(), set.sha256(), settings.seed)?;
        let stabilities = record::statistics(&passes.output, passes.draws, &bootstrap)?;
        let r_f = stabilities.get(settings.estimator).r_f.as_ref();
        if let (Some(precision), Err(_)) = (&mut precision, r_f) {
            if precision.gives_up() {
                (images, draws) = asked;
                continue;
            }
            let text = format!(
                "precision {} not reached: R_f is undefined, so {images} images and {draws} draws were taken",
                settings.precision.unwrap_or_default()
            );
            notes.push(Finding::new(Code::Perturbation, text));
        }
        if let (Some(precision), Ok(r_f)) = (&mut precision, r_f) {
            let width = r_f.relative_half_width();
            let one_draw = || one_draw_width(passes, &bootstrap, settings.estimator);
            if let Some(next) = precision.next((images, draws), probe.len(), width, one_draw) {
                (images, draws) = next;
                continue;
            }
            if !precision.is_reached(width) {
                let text = format!(
                    "precision {} not reached: {width:.3} with all {images} images and {draws} draws, and more draws do not help",
                    settings.precision.unwrap_or_default()
                );
                notes.push(Finding::new(Code::Perturbation, text));
            }
        }
        let used = Settings { images, ..settings.clone() }.with_draws(draws);
        let besides = besides(passes, &used, &bootstrap)?;
        let present = Present { network, probe: &set, perturber: &perturber };
        let labels = set.labels().map(<[u32]>::to_vec);
        let told = Told { subject: Subject::of(present, &used), passes, labels, notes };
        let (measurement, answers) = told.concluded((&bootstrap, &stabilities), &law, &present, started)?;
        return Ok(Measured { besides, measurement, answers });
    }
}

/// What is known before a network runs.
struct Prepared<'a> {
    perturber: Perturber,
    law: Applicable<'a>,
    /// With as many images as there are, and as many draws as these leave.
    used: Settings,
    notes: Vec<Finding>,
}

fn prepare<'a>(network: &dyn Backend, probe: &ProbeSet, settings: &'a Settings) -> Result<Prepared<'a>> {
    validate(network, probe, settings)?;
    let perturber = Perturber::new(probe.shape(), &settings.deformation, settings.seed)?;
    let conditions = Conditions {
        cutoff: settings.deformation.cutoff,
        delta: perturber.delta(),
        interpolation: settings.deformation.interpolation,
        estimator: settings.estimator,
        side: probe.shape().side(),
    };
    let law = record::applicable_law(settings.law.as_ref(), &conditions)?;
    let images = settings.images.min(probe.len());
    let used = Settings { images, ..settings.clone() }.with_draws(settings.draws_of(images));
    Ok(Prepared { perturber, law, used, notes: few_images(probe, settings).into_iter().collect() })
}

/// A word on a probe set with few images.
fn few_images(probe: &ProbeSet, settings: &Settings) -> Option<Finding> {
    let (wanted, which) = match settings.images {
        IMAGES => (ENOUGH_IMAGES, "that narrow intervals take"),
        images => (images, "asked for"),
    };
    let text = || format!("the probe set holds {} images, fewer than the {wanted} {which}", probe.len());
    (probe.len() < wanted).then(|| Finding::new(Code::Images, text()))
}

/// The relative half-width of the interval of `R_f` from the first draw of each image alone.
fn one_draw_width(passes: &Passes, bootstrap: &Bootstrap, estimator: Estimator) -> Option<f64> {
    let Passes { output, draws, .. } = passes;
    let [deformed, noisy] = [Changed::Deformed, Changed::Noisy].map(|kind| output.first_draw(kind, *draws));
    let (images, outputs, clean) = (passes.images(), output.coordinates, &output.clean);
    let responses = Responses { images, draws: 1, outputs, clean, deformed: &deformed, noisy: &noisy };
    let stabilities = bootstrap.stabilities(&responses).ok()?;
    Some(stabilities.get(estimator).r_f.as_ref().ok()?.relative_half_width())
}

/// What findings say of a network before it is measured: of clean images alone, and of other preprocessings in any case.
///
/// # Errors
/// As [`measure`].
pub fn diagnose(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    progress: Progress,
) -> Result<Vec<Finding>> {
    validate(network, probe, settings)?;
    let set = probe.prefix(settings.images);
    let perturber = Perturber::new(probe.shape(), &settings.deformation, settings.seed)?;
    let passes = passes::run(network, &set, &perturber, 0, progress)?;
    let answers = answers(network.network(), &set, passes.output.clean, &passes.tallies);
    let present = Present { network, probe: &set, perturber: &perturber };
    let facts = present.facts(&answers, &passes.tallies)?;
    let mut findings = subject::notices(network.network(), &set, &perturber);
    findings.extend(findings::of_network(&facts, &answers));
    findings.extend(present.tried_unless_good(&facts.images)?.and_then(|tried| tried.gain(&answers)));
    Ok(findings)
}

fn answers(network: &Network, probe: &ProbeSet, clean: Vec<f32>, tallies: &[Tally]) -> Answers {
    Reading::of(network).answers(clean, tallies, probe.labels().map(<[u32]>::to_vec))
}

/// Which images a network answers wrongly; `None` without labels, or where its outputs are no classes of theirs.
///
/// # Errors
/// As [`logits`].
pub fn wrong(network: &dyn Backend, probe: &ProbeSet, progress: Progress) -> Result<Option<Vec<bool>>> {
    let passes = clean(network, probe, progress)?;
    let answers = answers(network.network(), probe, passes.output.clean, &passes.tallies);
    Ok(answers.labels.as_deref().and_then(|labels| answers.wrong(labels)))
}

/// A network's outputs on a probe set, `[image, output]`.
///
/// # Errors
/// `Mismatch` for images of another shape than the network was opened for, `Engine` or `NonFinite` where it fails.
pub fn logits(network: &dyn Backend, probe: &ProbeSet, progress: Progress) -> Result<Vec<f32>> {
    Ok(clean(network, probe, progress)?.output.clean)
}

/// The images as they are through the network.
fn clean(network: &dyn Backend, probe: &ProbeSet, progress: Progress) -> Result<Passes> {
    fitting(network.network(), probe)?;
    let perturber = Perturber::new(probe.shape(), &Deformation::default(), 0)?;
    passes::run(network, probe, &perturber, 0, progress)
}

fn validate(network: &dyn Backend, probe: &ProbeSet, settings: &Settings) -> Result<()> {
    let network = network.network();
    settings.check()?;
    let changes = probe.len().min(settings.images) as u128 * 2 * u128::from(settings.draws) * network.row() as u128;
    if changes * size_of::<f32>() as u128 > MOST_BYTES {
        let expected = format!("fewer, for changes of {} outputs by so many images take memory", network.row());
        return Err(Error::setting("--draws", expected, settings.draws));
    }
    if probe.len() < 2 {
        return Err(Error::probe(probe.source().as_ref(), "at least 2 images (R_f compares images)", "1 image"));
    }
    fitting(network, probe)
}

fn fitting(network: &Network, probe: &ProbeSet) -> Result<()> {
    if probe.shape() == network.shape {
        return Ok(());
    }
    Err(Error::mismatch(&network.path, network.shape.to_string(), probe.shape().to_string()))
}
