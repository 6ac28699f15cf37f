//! What is wrong or doubtful about a measurement: pure functions of what was gathered beside it.
//!
//! [`of_network`] looks at images and answers, [`of_record`] at the finished record, anew whenever its prediction or its
//! known error changes.

mod images;
mod order;
mod record;

pub use images::{Channel, Images};
pub use record::{errors_disagree, of_record, settle};

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::check::shares::share_interval;
use crate::checkpoint::trained_on;
use crate::event::{Answers, Code, Finding};

/// What measuring gathers besides the stabilities.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The images, as the network sees them.
    pub images: Images,
    /// Average probability of the predicted class; `None` for a single output, or one that tells no classes.
    pub confidence: Option<f64>,
    /// How far the outputs of some images moved when they went through again in another batch: mean square, relative to how
    /// far outputs lie apart.
    pub unsteadiness: Option<f64>,
    /// Which of the images the checkpoint was trained on, or why that cannot be told; `None` where it names none.
    pub seen: Option<Result<Seen, String>>,
}

/// Probe images that are among those of the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// How many are.
    pub count: usize,
    /// Of how many.
    pub images: usize,
    /// The file that names those of the training.
    pub file: String,
}

/// A share of chance beyond which an error is near it.
pub const NEAR_CHANCE: f64 = 0.85;
/// A network this sure of its answers is not guessing.
const CONFIDENT: f64 = 0.5;
/// Mean square change on a second pass, relative to the outputs' distance, that rounding and 8-bit scales do not reach.
const UNSTEADY: f64 = 0.01;
/// Nearly all images.
const NEARLY_ALL: f64 = 0.95;
/// Fewer images show nothing.
const FEWEST: usize = 50;
/// Copies between the parts of a data set are fewer than this share.
const COPIES: f64 = 0.01;

/// What images and answers tell.
pub fn of_network(facts: &Facts, answers: &Answers) -> Vec<Finding> {
    let error = error(answers);
    let mut findings = Vec::new();
    if let Some(labels) = &answers.labels {
        findings.extend(beyond(labels, answers));
        let order = order::other_order(&answers.classes, labels, answers.outputs);
        findings.extend(order.or_else(|| near_chance(facts, answers, error?)));
    }
    findings.extend(facts.unsteadiness.filter(|moved| *moved > UNSTEADY).map(|moved| {
        let text = format!(
            "the same images give other outputs when they go through again in another batch: they move by {:.0}% of the \
             distance between outputs",
            100.0 * moved.sqrt()
        );
        Finding::new(Code::UnsteadyAnswers, text)
    }));
    // Whatever looks odd about the images, labels that agree say that the network is used to it.
    let agree = error.is_some_and(|error| error < 0.5 * chance(answers.outputs));
    findings.extend(images::findings(&facts.images, agree));
    findings.extend(facts.seen.as_ref().and_then(seen));
    if let Some(sorted) = sorted(answers) {
        findings.push(sorted);
        return findings;
    }
    findings.extend(one_class(answers));
    findings.extend(rounded(answers));
    match squashed(answers) {
        Some(finding) => findings.push(finding),
        None => findings.extend(untrained(answers).filter(|_| !agree)),
    }
    findings
}

/// The largest outputs, as behind a `TopK`.
fn sorted(answers: &Answers) -> Option<Finding> {
    if answers.outputs < 3 || answers.classes.len() < FEWEST {
        return None;
    }
    let falls = |row: &[f32]| row.is_sorted_by(|one, next| one >= next) && row.first() > row.last();
    answers.clean.chunks_exact(answers.outputs).all(falls).then(|| {
        let text = "the outputs of each image are sorted, the largest first: their places name no classes";
        Finding::new(Code::SortedOutputs, text)
    })
}

/// Whole numbers, as behind a `Round`.
fn rounded(answers: &Answers) -> Option<Finding> {
    let clean = &answers.clean;
    if answers.outputs < 2 || answers.classes.len() < FEWEST || clean.iter().any(|value| value.fract() != 0.0) {
        return None;
    }
    Some(Finding::new(
        Code::RoundedOutputs,
        "the outputs are whole numbers: small changes of the logits do not show in them",
    ))
}

/// An untrained network's answers say no more than this of which image it was, whatever its weights were drawn from.
const SILENT: f64 = 0.01;
/// Or they say no more than this, and its classes occur no more evenly: 15 architectures come to at most 0.28 and 0.66 at their
/// start, trained networks to at least 0.29 and 0.96.
const DULL: (f64, f64) = (0.3, 0.75);

fn untrained(answers: &Answers) -> Option<Finding> {
    let information = answers.information()?;
    let is_dull = information < DULL.0 && answers.evenness()? < DULL.1;
    (information < SILENT || is_dull).then(|| {
        let text = "the network answers like an untrained one: its answers hardly depend on the image";
        Finding::new(Code::Untrained, text)
    })
}

/// Share of images that are answered wrongly.
pub fn error(answers: &Answers) -> Option<f64> {
    let wrong = answers.wrong(answers.labels.as_deref()?)?;
    Some(wrong.iter().filter(|wrong| **wrong).count() as f64 / wrong.len() as f64)
}

/// The error of guessing.
pub fn chance(outputs: usize) -> f64 {
    1.0 - 1.0 / outputs.max(2) as f64
}

fn beyond(labels: &[u32], answers: &Answers) -> Option<Finding> {
    let classes = answers.outputs.max(2);
    let label = labels.iter().find(|label| **label as usize >= classes).filter(|_| !answers.classes.is_empty())?;
    let text = format!("label {label} is beyond the network's {} outputs: no probe_error", answers.outputs);
    Some(Finding::new(Code::LabelBeyondOutputs, text))
}

fn near_chance(facts: &Facts, answers: &Answers, error: f64) -> Option<Finding> {
    let (chance, confidence) = (chance(answers.outputs), facts.confidence?);
    let (low, _) = share_interval(error, answers.classes.len(), 0.95);
    let is_wrong =
        error > NEAR_CHANCE * chance && low > 0.75 * chance && confidence > CONFIDENT.max(1.5 * (1.0 - chance));
    is_wrong.then(|| {
        let named = answers.labels.iter().flatten().collect::<BTreeSet<_>>().len();
        let fewer = format!(" (the labels name {named} classes, the network has {})", answers.outputs);
        let text = format!(
            "the error on the probe images is {:.1}%, near chance, yet the network is {:.0}% sure of its answers: it was not \
             trained on images or labels like these{}",
            100.0 * error,
            100.0 * confidence,
            if named < answers.outputs { fewer } else { String::new() }
        );
        Finding::new(Code::NearChance, text)
    })
}

fn one_class(answers: &Answers) -> Option<Finding> {
    let images = answers.classes.len();
    if images < FEWEST || answers.outputs < 3 {
        return None;
    }
    let mut counts = vec![0_usize; answers.outputs];
    answers.classes.iter().for_each(|class| counts[*class as usize] += 1);
    let (class, most) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    let share = *most as f64 / images as f64;
    let are_alike = answers.labels.as_ref().is_some_and(|labels| {
        let of_it = labels.iter().filter(|label| **label as usize == class).count();
        of_it as f64 > NEARLY_ALL * images as f64
    });
    (share > NEARLY_ALL && !are_alike).then(|| {
        Finding::new(Code::OneClass, format!("the network gives class {class} to {:.0}% of the images", 100.0 * share))
    })
}

fn seen(seen: &Result<Seen, String>) -> Option<Finding> {
    match seen {
        Ok(Seen { count, images, file }) => (*count as f64 > COPIES * *images as f64).then(|| {
            let text = format!("{count} of {images} probe images are among those of the training ({file})");
            Finding::new(Code::SeenInTraining, text)
        }),
        Err(reason) => {
            Some(Finding::new(Code::MetadataRefused, format!("metadata relstab.{}: {reason}", trained_on::KEY)))
        }
    }
}

/// A softmax or a sigmoid that the graph does not show.
fn squashed(answers: &Answers) -> Option<Finding> {
    const TOLERANCE: f32 = 1e-3;
    if answers.classes.is_empty() || answers.clean.is_empty() {
        return None;
    }
    let rows = || answers.clean.chunks_exact(answers.outputs);
    let sums_to_one = |sum: f32| (sum - 1.0).abs() < TOLERANCE;
    let within = rows().flatten().all(|p| (0.0..=1.0 + TOLERANCE).contains(p));
    let (least, largest) = rows().flatten().fold((f32::MAX, f32::MIN), |(low, high), p| (low.min(*p), high.max(*p)));
    let probabilities = within && answers.outputs > 1 && rows().all(|row| sums_to_one(row.iter().sum()));
    // Logits that happen to lie there do not reach to both ends.
    let sigmoids = within && least < 0.05 && largest > 0.95;
    let logarithms = || {
        answers.outputs > 1
            && rows().all(|row| row.iter().all(|l| *l <= TOLERANCE) && sums_to_one(row.iter().map(|l| l.exp()).sum()))
    };
    let text = if probabilities || logarithms() {
        "the outputs look like probabilities: R_f is defined before the softmax"
    } else if sigmoids {
        "the outputs lie in [0, 1], as behind a sigmoid: R_f is defined before it"
    } else {
        return None;
    };
    Some(Finding::new(Code::SquashedOutputs, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(classes: &[u32], labels: &[u32], outputs: usize) -> Answers {
        let mut clean = vec![0.0; classes.len() * outputs];
        for (row, class) in clean.chunks_exact_mut(outputs).zip(classes) {
            row[*class as usize] = 5.5;
        }
        Answers::new(clean, outputs, true, Some(labels.to_vec()))
    }

    #[test]
    fn a_network_whose_answers_hardly_depend_on_the_image_is_untrained() {
        let labels = labels(200);
        let of = |logit: &dyn Fn(u32, u32) -> f32| {
            let clean = (0..200).flat_map(|image| (0..10).map(move |class| (image, class)));
            let clean = clean.map(|(image, class)| logit(image, class)).collect();
            let answers = Answers::new(clean, 10, true, Some(labels.clone()));
            codes(&of_network(&Facts::default(), &answers)).contains(&Code::Untrained)
        };
        let noise = |image: u32, class: u32| ((image * 37 + class * 11) as f32 * 0.7).sin();
        assert!(of(&|image, class| 0.01 * noise(image, class)), "small weights: unsure");
        assert!(
            of(&|image, class| noise(image, class) + 3.0 * (class as f32 * 1.7).sin()),
            "large weights: few classes"
        );
        assert!(!of(&|image, class| noise(image, class) + if class == image % 10 { 2.0 } else { 0.0 }), "trained");
        assert!(!of(&|image, class| noise(image, class) + if class == (image + image / 10) % 10 { 4.0 } else { 0.0 }));
    }

    fn codes(findings: &[Finding]) -> Vec<Code> {
        findings.iter().map(|finding| finding.code).collect()
    }

    /// Classes 0 to 9 in turn.
    fn labels(images: u32) -> Vec<u32> {
        (0..images).map(|k| k % 10).collect()
    }

    #[test]
    fn a_confident_network_near_chance_is_wrong_and_an_unsure_one_is_not() {
        let labels = labels(200);
        let guesses: Vec<u32> = (0..200).map(|k: u32| (k * k * 7 + k / 3 + 1) % 10).collect();
        let answers = answers(&guesses, &labels, 10);
        assert!(error(&answers).expect("labels") > 0.8);
        let sure = |confidence| Facts { confidence: Some(confidence), ..Facts::default() };
        assert_eq!(codes(&of_network(&sure(0.9), &answers)), [Code::NearChance]);
        assert_eq!(codes(&of_network(&sure(0.2), &answers)), []);
        let good = super::tests::answers(&labels, &labels, 10);
        assert_eq!(codes(&of_network(&sure(0.9), &good)), []);
    }

    #[test]
    fn answers_that_move_are_wrong() {
        let labels = labels(100);
        let answers = answers(&labels, &labels, 10);
        let moved = |unsteadiness| Facts { unsteadiness: Some(unsteadiness), ..Facts::default() };
        assert_eq!(codes(&of_network(&moved(0.05), &answers)), [Code::UnsteadyAnswers]);
        assert_eq!(codes(&of_network(&moved(1e-5), &answers)), []);
    }

    #[test]
    fn one_class_for_all_is_doubtful_unless_the_labels_say_so() {
        let ones = vec![1; 100];
        let of = |labels: &[u32]| codes(&of_network(&Facts::default(), &answers(&ones, labels, 10)));
        assert_eq!(of(&labels(100)), [Code::OneClass, Code::Untrained]);
        assert_eq!(of(&ones), []);
    }

    #[test]
    fn squashed_outputs_are_doubtful_and_logits_are_not() {
        let of = |clean: Vec<f32>| {
            let found = of_network(&Facts::default(), &Answers::new(clean, 2, true, None));
            codes(&found).contains(&Code::SquashedOutputs)
        };
        assert!(of(vec![0.3, 0.7, 0.9, 0.1]) && of(vec![0.3_f32.ln(), 0.7_f32.ln()]) && of(vec![0.01, 0.99, 0.5, 0.3]));
        assert!(!of(vec![0.4, 0.3, 0.5, 0.2]) && !of(vec![3.0, -1.0, 0.2, 0.1]));
    }

    #[test]
    fn outputs_that_are_sorted_are_wrong_and_whole_numbers_are_doubtful() {
        let of = |value: &dyn Fn(u32, u32) -> f32| {
            let clean = (0..60).flat_map(|image| (0..4).map(move |class| (image, class)));
            let clean = clean.map(|(image, class)| value(image, class)).collect();
            codes(&of_network(&Facts::default(), &Answers::new(clean, 4, true, None)))
        };
        let logit = |image: u32, class: u32| ((image * 37 + class * 11) as f32 * 0.7).sin();
        assert_eq!(of(&|image, class| logit(image, 0) - class as f32), [Code::SortedOutputs]);
        assert_eq!(of(&|image, class| (100.0 * logit(image, class)).round()), [Code::RoundedOutputs]);
        assert!(!of(&logit).iter().any(|code| matches!(code, Code::SortedOutputs | Code::RoundedOutputs)));
        // All alike are no longer sorted than shuffled.
        assert!(!of(&|_, _| 0.5).contains(&Code::SortedOutputs));
    }

    #[test]
    fn images_of_the_training_are_doubtful_but_for_a_few_copies() {
        let labels = labels(200);
        let answers = answers(&labels, &labels, 10);
        let of = |seen| codes(&of_network(&Facts { seen: Some(seen), ..Facts::default() }, &answers));
        let seen = |count| Ok(Seen { count, images: 200, file: "train.sha256".to_owned() });
        assert_eq!((of(seen(3)), of(seen(2))), (vec![Code::SeenInTraining], vec![]));
        assert_eq!(of(Err("no such file".to_owned())), [Code::MetadataRefused]);
    }

    #[test]
    fn a_label_without_an_output_is_doubtful() {
        let found = of_network(&Facts::default(), &answers(&[0, 1, 2], &[0, 1, 3], 3));
        assert_eq!(codes(&found), [Code::LabelBeyondOutputs]);
        assert_eq!(codes(&of_network(&Facts::default(), &answers(&[0, 1, 2], &[0, 1, 2], 3))), []);
    }
}
