//! What a finished record tells: its error beside its prediction, and the law beside both.

use crate::check::shares::share_interval;
use crate::event::{Code, Finding, Measurement};
use crate::predict::{NO_PREDICTION, OUTSIDE, Prediction};
use crate::preprocess;

/// Level of the interval of the error on the probe images.
const LEVEL: f64 = 0.95;
/// A law without an interval is taken to be off by this factor either way.
const UNKNOWN_FACTOR: f64 = 2.0;
/// More folded maps than this share are many.
const MANY: f64 = 0.1;

/// What the record tells, and why it has no prediction where it has none.
pub fn of_record(record: &Measurement, no_prediction: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(prediction) = &record.prediction {
        findings.extend(beside(record, prediction));
        findings.extend(prediction.warnings.iter().map(|text| of_law(text.clone(), Code::Law)));
    }
    if let (Some(probe_error), Some(val_error)) = (record.probe_error, record.metadata.val_error) {
        let text = errors_disagree(probe_error, val_error, record.model.outputs);
        findings.extend(text.map(|text| Finding::new(Code::ErrorsDisagree, text)));
    }
    if record.folded_share > MANY {
        let text = format!("{:.0}% of the deformations fold the image", 100.0 * record.folded_share);
        findings.push(Finding::new(Code::FoldedMaps, text));
    }
    findings.extend(no_prediction.map(|reason| of_law(format!("{NO_PREDICTION}{reason}"), Code::NoPrediction)));
    findings
}

/// What a law says, with a `code` unless the network is none like those that the law was fitted on.
fn of_law(text: String, code: Code) -> Finding {
    Finding::new(if text.contains(OUTSIDE) { Code::OutsideLaw } else { code }, text)
}

/// Puts what the record tells in place of what it told before.
pub fn settle(record: &mut Measurement, no_prediction: Option<&str>) {
    let is_of_record = |code: Code| {
        matches!(
            code,
            Code::ErrorOutsidePrediction
                | Code::KnownErrorOutsidePrediction
                | Code::ErrorsDisagree
                | Code::OtherDataSet
                | Code::FoldedMaps
                | Code::OutsideLaw
                | Code::Law
                | Code::FittedOnIt
                | Code::NoPrediction
        )
    };
    let (old, kept) = std::mem::take(&mut record.findings).into_iter().partition(|finding| is_of_record(finding.code));
    let old: Vec<Finding> = old;
    record.findings = kept;
    // In records of earlier versions no finding says what each warning is.
    record.warnings.retain(|text| !text.starts_with(NO_PREDICTION) && old.iter().all(|finding| finding.text != *text));
    for finding in of_record(record, no_prediction) {
        record.warnings.push(finding.text.clone());
        record.findings.push(finding);
    }
}

fn beside(record: &Measurement, prediction: &Prediction) -> Vec<Finding> {
    let mut findings = Vec::new();
    let law = &prediction.law;
    let low = prediction.low.unwrap_or(prediction.error / UNKNOWN_FACTOR);
    let high = prediction.high.unwrap_or(prediction.error * UNKNOWN_FACTOR);
    let predicted = match (prediction.low, prediction.high) {
        (Some(low), Some(high)) => format!("{:.1}% to {:.1}%", 100.0 * low, 100.0 * high),
        _ => format!("{:.1}%", 100.0 * prediction.error),
    };
    if let Some(error) = record.probe_error {
        let (least, most) = share_interval(error, record.probe.images, LEVEL);
        if least > high || most < low {
            let text = format!(
                "law {} predicts an error of {predicted}, the probe images show {:.1}% [{:.1}%, {:.1}%]",
                law.name,
                100.0 * error,
                100.0 * least,
                100.0 * most
            );
            findings.push(Finding::new(Code::ErrorOutsidePrediction, text));
        }
    }
    let is_fit = record.metadata.val_error.is_some() && law.is_of_run();
    if let Some(error) = record.metadata.val_error.filter(|error| !is_fit && !(low..=high).contains(error)) {
        let text = format!(
            "law {} predicts an error of {predicted}, the checkpoint says {:.1}% (val_error)",
            law.name,
            100.0 * error
        );
        findings.push(Finding::new(Code::KnownErrorOutsidePrediction, text));
    }
    if is_fit {
        let text = format!("law {} was fitted on this checkpoint's own error too: a fit, not a prediction", law.name);
        findings.push(Finding::new(Code::FittedOnIt, text));
    }
    findings.extend(other_data_set(record, &law.name));
    findings
}

/// Data sets that are told apart by name, longer names first where one holds another.
const DATA_SETS: [&str; 9] =
    ["cifar100", "cifar10", "fashionmnist", "kmnist", "emnist", "mnist", "svhn", "stl10", "imagenet"];

fn data_set(name: &str) -> Option<&'static str> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    DATA_SETS.into_iter().find(|known| plain.contains(known))
}

fn other_data_set(record: &Measurement, law: &str) -> Option<Finding> {
    let of_law = data_set(law)?;
    let said = ["data_set", "dataset"].into_iter().find_map(|key| record.metadata.other.get(key));
    // A file and its folder, such as fashion-mnist/probe.npz.
    let source: Vec<_> = record.probe.source.rsplit('/').take(2).collect();
    let source = source.into_iter().rev().collect::<Vec<_>>().join("/");
    let of_checkpoint = said.and_then(|name| data_set(name)).map(|set| ("the checkpoint", set));
    let of_probe = data_set(&source).map(|set| ("the probe set's name", set));
    let normalisation = record.probe.mean.as_deref().zip(record.probe.std.as_deref());
    let preset = normalisation.and_then(|(mean, std)| preprocess::data_set(mean, std));
    let of_user = preset.map(|set| ("the preprocessing", set));
    let (who, other) = [of_checkpoint, of_probe, of_user].into_iter().flatten().find(|(_, set)| *set != of_law)?;
    Some(Finding::new(Code::OtherDataSet, format!("law {law} is of {of_law}, {who} says {other}")))
}

/// How much the error on the probe images and the checkpoint's own may lie apart, in points.
const POINTS: f64 = 0.1;

/// A network that does far worse on the probe set than training found sees other images than training did.
pub fn errors_disagree(probe_error: f64, val_error: f64, classes: usize) -> Option<String> {
    let chance = super::chance(classes);
    let near_chance = probe_error > super::NEAR_CHANCE * chance && val_error < 0.6 * chance;
    let far = probe_error > val_error + POINTS && probe_error > 2.0 * val_error;
    let near = if near_chance { ", near chance" } else { "" };
    (near_chance || far).then(|| {
        format!(
            "the error on the labelled probe images is {probe_error:.3}{near}, but val_error is {val_error:.3}: \
             normalisation, layout or label order of the probe set is likely wrong"
        )
    })
}
