//! From passes to a record: statistics, prediction, warnings.

use std::time::Instant;

use sha2::{Digest, Sha256};

use super::facts::Witness;
use super::outputs::Outputs;
use super::passes::Passes;
use super::scores;
use super::settings::ChosenLaw;
use super::subject::Subject;
use crate::error::{Error, Result};
use crate::estimate::{self, Bootstrap, Estimate, Estimator, Resampling, Responses, Stabilities, Stability};
use crate::event::{
    Answers, Code, Finding, MEASUREMENT_SCHEMA, Measurement, Probe, Reading, Readings, Scores, Settings, Severity,
    Undefined, has,
};
use crate::findings;
use crate::predict::terms::{Measured, Term, known};
use crate::predict::{Conditions, Law, Prediction};
use crate::probe::Shape;

/// The law to apply, or why there is none.
pub(super) type Applicable<'a> = std::result::Result<Applied<'a>, String>;

/// A law that speaks of the settings of a measurement, or was forced to.
pub(super) struct Applied<'a> {
    law: &'a Law,
    force: bool,
    /// What the reader should know of that.
    mark: Option<String>,
}

/// Whether the chosen law speaks of measurements under these conditions.
pub(super) fn applicable_law<'a>(chosen: Option<&'a ChosenLaw>, conditions: &Conditions) -> Result<Applicable<'a>> {
    let Some(ChosenLaw { law, explicit, force }) = chosen else {
        return Ok(Err("name a law with --law, for instance invariance or cifar10".to_owned()));
    };
    let force = *force;
    let Some(difference) = law.difference(conditions) else { return Ok(Ok(Applied { law, force, mark: None })) };
    let reason = format!("it was fitted at other settings: {difference}");
    match (force, explicit) {
        (true, _) => Ok(Ok(Applied { law, force, mark: Some(format!("law {} was forced: {reason}", law.name)) })),
        (false, true) => Err(Error::Law { name: law.name.clone(), reason }),
        (false, false) => Ok(Err(format!("law {}: {reason}", law.name))),
    }
}

/// What the chosen law makes of a network that was measured before; `None` where it makes nothing.
pub fn predict(measurement: &Measurement, chosen: Option<&ChosenLaw>) -> Option<Prediction> {
    let law = applicable_law(chosen, &conditions(measurement)).ok()?;
    prediction(&law, measurement).ok()
}

/// Predicts a measured network by another law.
pub fn predict_anew(measurement: &mut Measurement, chosen: Option<&ChosenLaw>) {
    measurement.prediction = None;
    let law = applicable_law(chosen, &conditions(measurement)).unwrap_or_else(|error| Err(error.one_line()));
    settle_prediction(measurement, &law);
}

fn settle_prediction(measurement: &mut Measurement, law: &Applicable) {
    let why_not = match prediction(law, measurement) {
        Ok(prediction) => {
            measurement.prediction = Some(prediction);
            None
        }
        Err(reason) => Some(reason),
    };
    findings::settle(measurement, why_not.as_deref());
}

/// What a measurement shares with the laws that speak of it.
pub fn conditions(measurement: &Measurement) -> Conditions {
    conditions_of(&measurement.settings, &measurement.probe)
}

pub(super) fn conditions_of(settings: &Settings, probe: &Probe) -> Conditions {
    let [channels, height, width] = probe.shape;
    Conditions {
        cutoff: settings.cutoff,
        delta: settings.delta,
        interpolation: settings.interpolation,
        estimator: settings.estimator,
        side: Shape { channels, height, width }.side(),
    }
}

/// What a law may go by.
pub fn measured(measurement: &Measurement) -> Measured {
    let Measurement { r_f, d_f, g_f, scores, .. } = measurement;
    let value = |estimate: &Option<Estimate>| estimate.map(|estimate| estimate.value);
    let scores = scores.as_ref();
    let invariance = scores.and_then(|scores| scores.invariance);
    let (deformed, noisy) = (invariance.map(|both| both.deformed), invariance.map(|both| both.noisy));
    let quantities = known([
        (Term::RF, value(r_f)),
        (Term::DF, value(d_f)),
        (Term::GF, value(g_f)),
        (Term::ConfidenceClean, scores.map(|scores| scores.confidence.clean)),
        (Term::ConfidenceDeformed, scores.map(|scores| scores.confidence.deformed)),
        (Term::ConfidenceNoisy, scores.map(|scores| scores.confidence.noisy)),
        (Term::AgreementDeformed, scores.map(|scores| scores.agreement.deformed)),
        (Term::AgreementNoisy, scores.map(|scores| scores.agreement.noisy)),
        (Term::InvarianceDeformed, value(&deformed)),
        (Term::InvarianceNoisy, value(&noisy)),
    ]);
    let estimates = [
        (Term::RF, *r_f),
        (Term::DF, *d_f),
        (Term::GF, *g_f),
        (Term::InvarianceDeformed, deformed),
        (Term::InvarianceNoisy, noisy),
    ];
    Measured {
        quantities,
        spreads: known(estimates.map(|(term, estimate)| (term, estimate.and_then(|estimate| term.spread(&estimate))))),
        level: r_f.or(deformed).map_or(0.0, |estimate| estimate.level),
        classes: measurement.model.outputs,
        images: measurement.probe.images,
        side: conditions(measurement).side,
    }
}

/// Whether a measured network was trained at all, as far as its step and its answers tell.
pub fn is_trained(measurement: &Measurement) -> bool {
    !measurement.metadata.is_initial() && measurement.findings.iter().all(|finding| finding.code != Code::Untrained)
}

fn prediction(law: &Applicable, measurement: &Measurement) -> std::result::Result<Prediction, String> {
    let Applied { law, force, mark } = law.as_ref().map_err(Clone::clone)?;
    let model = &measurement.model;
    if !model.output_axes.is_empty() {
        return Err(format!(
            "output {} of shape {} is no vector of class logits",
            model.output,
            axes_text(&model.output_axes)
        ));
    }
    let untrained = if measurement.metadata.is_initial() {
        Some("the checkpoint was written before any training")
    } else {
        (!is_trained(measurement)).then_some("the network answers like an untrained one")
    };
    // It lies outside what a law over data sets was fitted on, which is no doubt of its own.
    if let Some(reason) = untrained.filter(|_| law.sets.is_some()) {
        return Err(reason.to_owned());
    }
    if law.terms.contains(&Term::InvarianceDeformed) && measurement.model.outputs == 1 {
        return Err(format!("a single output has no EI, which law {} goes by", law.name));
    }
    let are_independent = |scores: &Scores| scores.classes.is_some() && scores.invariance.is_none();
    if law.terms.contains(&Term::InvarianceDeformed) && measurement.scores.as_ref().is_some_and(are_independent) {
        return Err(format!(
            "several classes may be right at once (each output has a sigmoid, or they lie in [0, 1] and do not sum to 1): there is no EI, which law {} goes by",
            law.name
        ));
    }
    let measured = measured(measurement);
    let silence = law.silence(&measured);
    if let Some(reason) = silence.as_ref().filter(|_| !(*force && law.sets.is_some())) {
        return Err(reason.clone());
    }
    if law.terms.contains(&Term::RF) && measurement.r_f.is_none() {
        return Err("R_f is undefined".to_owned());
    }
    if let Some(wrong) = measurement.findings.iter().find(|finding| finding.severity == Severity::Wrong) {
        return Err(format!("{} ({})", wrong.text, wrong.code));
    }
    if let Some(reason) = untrained {
        return Err(reason.to_owned());
    }
    let mut prediction = law.predict(&measured)?;
    prediction
        .warnings
        .extend(mark.iter().cloned().chain(silence.map(|reason| format!("law {} was forced: {reason}", law.name))));
    Ok(prediction)
}

/// Sizes of axes as people read them: `84 x 8400`.
pub fn axes_text(axes: &[usize]) -> String {
    axes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}

/// The resamples of so many images; they depend only on the probe set, by its hash, and the seed.
pub(super) fn bootstrap(images: usize, probe: &str, seed: u64) -> Result<Bootstrap> {
    let mut hash = Sha256::new_with_prefix(probe);
    hash.update(seed.to_le_bytes());
    let seed = hash.finalize().first_chunk().map_or(seed, |bytes| u64::from_le_bytes(*bytes));
    Bootstrap::new(images, &Resampling { seed, ..Resampling::default() })
}

/// All readings of a tensor with their intervals.
pub(super) fn statistics(outputs: &Outputs, draws: usize, bootstrap: &Bootstrap) -> Result<Stabilities> {
    bootstrap.stabilities(&Responses {
        images: outputs.faults.len(),
        draws,
        outputs: outputs.coordinates,
        clean: &outputs.clean,
        deformed: &outputs.deformed,
        noisy: &outputs.noisy,
    })
}

/// All that was told of a network, by one run or by the parts of one.
pub(super) struct Told<'a> {
    pub subject: Subject,
    /// Of all images.
    pub passes: &'a Passes,
    pub labels: Option<Vec<u32>>,
    pub notes: Vec<Finding>,
}

impl Told<'_> {
    /// The record, and what the network answered, by the resamples of its images and the stabilities that come of them.
    ///
    /// # Errors
    /// As [`scores::scores`], and those of the witness.
    pub fn concluded(
        self,
        (bootstrap, stabilities): (&Bootstrap, &Stabilities),
        law: &Applicable,
        witness: &dyn Witness,
        started: Instant,
    ) -> Result<(Measurement, Answers)> {
        let Self { subject, passes, labels, notes } = self;
        let Subject { backend, mut model, reading, metadata, settings, probe, images, notices } = subject;
        let (scores, replicates_invariance) = if reading.are_classes && reading.outputs > 1 {
            let (scores, replicates) =
                scores::scores((&passes.tallies, passes.draws), reading.is_independent, bootstrap)?;
            (Some(scores), replicates)
        } else {
            (None, None)
        };
        let answers = reading.answers(passes.output.clean.clone(), &passes.tallies, labels);
        let headline = stabilities.get(settings.estimator);
        let looking = Instant::now();
        let facts = witness.look()?.facts(images, &answers, reading.confidence(&passes.tallies));
        let mut findings = notices;
        findings.extend(passes.note.iter().map(|text| Finding::new(Code::Perturbation, text.clone())));
        findings.extend(notes);
        findings.extend((passes.output.rounding() > COARSE).then(|| {
            let text = "the outputs are so large beside their changes that 32-bit floats round these: engines may differ by a percent \
                        or more (leave a common offset, or a mask of large numbers, out of the export)";
            Finding::new(Code::Network, text)
        }));
        findings.extend(findings::of_network(&facts, &answers));
        let findings_s = looking.elapsed().as_secs_f64();
        model.probabilities = has(&findings, Code::SquashedOutputs);
        let displacements = &passes.displacements;
        let mean_square = displacements.iter().map(|d| d.mean_square_px).sum::<f64>() / displacements.len() as f64;
        let folds = displacements.iter().filter(|d| d.folds).count();
        let mut measurement = Measurement {
            schema: MEASUREMENT_SCHEMA.to_owned(),
            model,
            probe,
            settings,
            backend,
            undefined: undefined(&headline.r_f),
            d_f: headline.d_f,
            g_f: headline.g_f,
            r_f: headline.r_f.as_ref().ok().copied(),
            estimators: readings(stabilities),
            prediction: None,
            replicates_log_r_f: Some(headline.replicates_log_r_f.clone()),
            replicates_invariance,
            scores,
            probe_error: findings::error(&answers),
            displacement_rms_px: mean_square.sqrt(),
            folded_share: folds as f64 / displacements.len() as f64,
            metadata,
            timing: passes.timing(started, findings_s),
            warnings: findings.iter().map(|finding| finding.text.clone()).collect(),
            findings,
        };
        settle_prediction(&mut measurement, law);
        if is_suspicious(&measurement) {
            let trying = Instant::now();
            let found = witness.tried(&facts.images)?.and_then(|tried| tried.gain(&answers));
            measurement.warnings.extend(found.iter().map(|finding| finding.text.clone()));
            measurement.findings.extend(found);
            measurement.timing.findings_s += trying.elapsed().as_secs_f64();
            measurement.timing.total_s = started.elapsed().as_secs_f64();
        }
        Ok((measurement, answers))
    }
}

/// Where rounding is more than this of the changes, engines were seen to lie 0.1% to 3% apart.
const COARSE: f64 = 1e-4;

/// A network surer than it is right by more than this, in points, may see other images than its training.
const OVERCONFIDENT: f64 = 0.1;

/// An error of more than this share of chance is worth a look, however unsure the network is.
const HIGH: f64 = 0.4;

/// Whether something about the error makes it worth trying other preprocessings.
fn is_suspicious(record: &Measurement) -> bool {
    let Some(error) = record.probe_error else { return false };
    let has = |codes: &[Code]| record.findings.iter().any(|finding| codes.contains(&finding.code));
    if has(&[Code::ClassOrder]) || error < OVERCONFIDENT {
        return false;
    }
    let doubt = record.scores.as_ref().map_or(0.0, |scores| 1.0 - scores.confidence.clean);
    let is_overconfident = error > 1.5 * doubt && error > doubt + OVERCONFIDENT;
    is_overconfident
        || error > HIGH * findings::chance(record.model.outputs)
        || has(&[
            Code::ErrorOutsidePrediction,
            Code::KnownErrorOutsidePrediction,
            Code::ErrorsDisagree,
            Code::ImpossibleNormalisation,
            Code::Preprocessing,
            Code::NoNormalisation,
        ])
}

pub(super) fn readings(stabilities: &Stabilities) -> Readings {
    let reading = |estimator| {
        let Stability { d_f, g_f, r_f, .. } = stabilities.get(estimator);
        Reading { d_f: *d_f, g_f: *g_f, r_f: r_f.as_ref().ok().copied() }
    };
    Readings {
        coordinate_median: reading(Estimator::CoordinateMedian),
        median: reading(Estimator::Median),
        mean: reading(Estimator::Mean),
    }
}

/// Why there is no `R_f`, where there is none.
pub(super) fn undefined(r_f: &std::result::Result<Estimate, estimate::Undefined>) -> Option<Undefined> {
    r_f.as_ref().err().map(|reason| Undefined { reason: reason.to_string() })
}
