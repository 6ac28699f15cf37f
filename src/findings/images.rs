//! What the probe images alone tell.

use serde::{Deserialize, Serialize};

use super::{Code, Finding};
use crate::preprocess::Scaling;

/// The probe images, as the network sees them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Images {
    /// Each channel, over the images that were looked at.
    pub channels: Vec<Channel>,
    /// What was done to them, in channels; empty for nothing.
    pub mean: Vec<f32>,
    /// What they were divided by, in channels.
    pub std: Vec<f32>,
    /// Whether they are stored as bytes.
    pub are_bytes: bool,
    /// Whether they are given as a network of bytes takes them, where nobody says otherwise: 0 to 255 is no mistake.
    pub in_steps: bool,
    /// What the network itself does to them first.
    pub scaling: Option<Scaling>,
    /// How many were compared with each other.
    pub compared: usize,
    /// How many of these are copies of an earlier one.
    pub copies: usize,
}

impl Images {
    /// The least and the largest value that was looked at.
    pub fn ends(&self) -> (f32, f32) {
        let least = self.channels.iter().map(|channel| channel.min).fold(f32::MAX, f32::min);
        (least, self.channels.iter().map(|channel| channel.max).fold(f32::MIN, f32::max))
    }

    /// The same as the network is given them.
    fn given(&self) -> (f32, f32) {
        let of = |place: usize, value: f32| match (self.mean.get(place), self.std.get(place)) {
            (Some(mean), Some(std)) => (value - mean) / std,
            _ => value,
        };
        let each = || self.channels.iter().enumerate();
        let low = each().map(|(place, channel)| of(place, channel.min)).fold(f32::MAX, f32::min);
        (low, each().map(|(place, channel)| of(place, channel.max)).fold(f32::MIN, f32::max))
    }

    /// Whether all values that were looked at lie in [0, 1].
    fn are_units(&self) -> bool {
        self.channels.iter().all(|channel| channel.min >= 0.0 && channel.max <= ONE)
    }
}

/// Values of one channel before the normalisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// The least.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// The average.
    pub mean: f32,
}

/// A standard deviation of values in [0, 1] is 0.5 at most; larger ones by some margin belong to other units.
const LARGEST_STD: f32 = 1.0;
/// No network is trained on values as large as this.
const FAR: f32 = 20.0;
/// Nor on values that span less than this: pixels in [0, 1] that are divided by 255 again.
const NARROW: f32 = 0.02;
/// The same of bytes: photographs have brighter pixels than an eighth of white.
const FEW_BITS: f32 = 0.125;
/// Values that are normalised lie on both sides of 0, a mean to subtract does not lie so near it.
const OFF_CENTRE: f32 = 0.1;
/// Means of two samples of a data set differ by less, in standard deviations of a pixel.
const UNLIKE: f32 = 0.5;
/// Pixels in [0, 1] may exceed it by the overshoot of a filter.
const ONE: f32 = 1.05;

/// What is wrong with the images; a network whose labels `agree` is used to whatever looks odd.
pub(super) fn findings(images: &Images, agree: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(constant(images).filter(|_| !agree));
    if !images.in_steps && !images.channels.is_empty() {
        // Labels may agree although training normalised once, or at all.
        let values = twice(images).or_else(|| units(images).filter(|_| !agree));
        findings.extend(values.or_else(|| unlike_training(images)).or_else(|| not_at_all(images)));
    }
    findings.extend(copies(images));
    findings
}

fn constant(images: &Images) -> Option<Finding> {
    let (channel, Channel { min, .. }) =
        images.channels.iter().enumerate().find(|(_, channel)| channel.max <= channel.min && images.compared > 1)?;
    Some(Finding::new(Code::ConstantChannel, format!("channel {channel} is {min} in every pixel of the probe images")))
}

/// Normalised again: by relstab after the user, or by the network after relstab.
fn twice(images: &Images) -> Option<Finding> {
    let is_usual = images.mean.iter().all(|mean| (0.0..=1.0).contains(mean)) && images.mean.iter().any(|m| *m > 0.0);
    if !is_usual {
        return None;
    }
    let (least, largest) = images.ends();
    if least < -OFF_CENTRE {
        let text = format!(
            "the probe images are {least:.2} to {largest:.2}, as if they were normalised already, and a mean is subtracted from \
             them: normalised twice?"
        );
        return Some(Finding::new(Code::Preprocessing, text));
    }
    let own = images.scaling.filter(|own| own.learned.is_none() && own.factor > 0.0)?;
    // What the network takes for the middle of its range, where relstab's normalisation has 0 already.
    let mean = -own.shift / own.factor;
    (mean > OFF_CENTRE && images.given().0 < 0.0).then(|| {
        let text = format!(
            "the network itself subtracts {mean:.3} from its input, and a mean is subtracted from the images before: normalised \
             twice?"
        );
        Finding::new(Code::Preprocessing, text)
    })
}

/// Values of other units than the normalisation's, or the network's.
fn units(images: &Images) -> Option<Finding> {
    let (least, largest) = images.ends();
    let (min, max) = (format!("{least:.2}"), format!("{largest:.2}"));
    let impossible = |text: String| Some(Finding::new(Code::ImpossibleNormalisation, text));
    if let Some(mean) = images.mean.iter().find(|mean| largest <= ONE && !(-ONE..=ONE).contains(*mean)) {
        return impossible(format!("a mean of {mean} is subtracted from pixels of {min} to {max}"));
    }
    if let Some(std) = images.std.iter().find(|std| least >= 0.0 && largest <= ONE && **std > LARGEST_STD) {
        return impossible(format!("pixels of {min} to {max} are divided by a standard deviation of {std}"));
    }
    let far = |(mean, std): (&f32, &f32)| ((largest - mean) / std).abs() > FAR;
    if largest > FAR && images.mean.iter().zip(&images.std).any(far) {
        return impossible(format!(
            "normalised, the probe images have values beyond {FAR}: they are {min} to {max}, and the mean is for other units"
        ));
    }
    let (low, high) = images.given();
    if let Some(own) = images.scaling {
        let (a, b) = (own.of(low), own.of(high));
        let (from, to) = (a.min(b), a.max(b));
        let is_far = images.mean.is_empty() && (from < -FAR || to > FAR);
        if is_far || (high > low && to - from <= NARROW) {
            let text = format!(
                "the network itself scales its input of {low:.2} to {high:.2} to {from:.3} to {to:.3}: does it take 0 to 255, or 0 \
                 to 1?"
            );
            // A batch norm may scale as it likes.
            let code = if own.learned.is_some() { Code::NoNormalisation } else { Code::Preprocessing };
            return Some(Finding::new(code, text));
        }
    } else if high > low && high - low <= NARROW {
        return impossible(format!(
            "the network sees values of {low:.3} to {high:.3} only: the probe images are {least:.3} to {largest:.3}"
        ));
    } else if images.mean.is_empty() && largest > FAR {
        let text = format!("the probe images have values beyond {FAR} and nothing normalises them: are they 0 to 255?");
        return Some(Finding::new(Code::NoNormalisation, text));
    }
    let few_bits = images.are_bytes && largest > 0.0 && largest < FEW_BITS;
    few_bits.then(|| {
        let white = 255.0 * largest;
        let text = format!(
            "of 0 to 255 the probe images use 0 to {white:.0} only: are their values stored in fewer bits? --preprocess \
             rescale={:.4} makes {white:.0} white",
            1.0 / white
        );
        Finding::new(Code::Preprocessing, text)
    })
}

/// Another mean than that of the images that a batch norm in front was trained on.
fn unlike_training(images: &Images) -> Option<Finding> {
    let (mean, std) = images.scaling?.learned?;
    let first = |values: &[f32], default: f32| values.first().copied().unwrap_or(default);
    let given = (images.channels.first()?.mean - first(&images.mean, 0.0)) / first(&images.std, 1.0);
    ((given - mean).abs() > UNLIKE * std).then(|| {
        let text = format!(
            "a batch norm in front was trained on values around {mean:.2} +- {std:.2}, the network gets values around {given:.2}: \
             was it trained with another normalisation?"
        );
        Finding::new(Code::NoNormalisation, text)
    })
}

fn not_at_all(images: &Images) -> Option<Finding> {
    let is_plain = images.mean.is_empty() && images.scaling.is_none() && images.are_units();
    let text = "no normalisation: the network gets pixels in [0, 1]";
    is_plain.then(|| Finding::new(Code::NoNormalisation, text))
}

fn copies(images: &Images) -> Option<Finding> {
    (images.compared > 1 && 2 * images.copies >= images.compared).then(|| {
        let text = format!("{} of {} probe images are copies of others", images.copies, images.compared);
        Finding::new(Code::IdenticalImages, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images((min, max): (f32, f32), mean: &[f32], std: &[f32]) -> Images {
        let channels = vec![Channel { min, max, mean: f32::midpoint(min, max) }; 3];
        Images {
            channels,
            mean: mean.to_vec(),
            std: std.to_vec(),
            are_bytes: true,
            in_steps: false,
            scaling: None,
            compared: 100,
            copies: 0,
        }
    }

    fn codes(images: &Images) -> Vec<Code> {
        findings(images, false).iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_normalisation_for_other_units_is_impossible() {
        let usual = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let impossible = [Code::ImpossibleNormalisation];
        assert_eq!(codes(&images((0.0, 1.0), &usual.0, &usual.1)), []);
        assert_eq!(codes(&images((0.0, 1.0), &[], &[])), [Code::NoNormalisation]);
        assert_eq!(codes(&images((-1.0, 1.0), &[], &[])), []);
        assert_eq!(codes(&images((0.0, 1.0), &[123.7, 116.3, 103.5], &[58.4, 57.1, 57.4])), impossible);
        assert_eq!(codes(&images((0.0, 1.0), &[0.0], &[255.0])), impossible);
        assert_eq!(codes(&images((0.0, 255.0), &[123.7], &[58.4])), []);
        assert_eq!(codes(&images((0.0, 255.0), &usual.0, &usual.1)), impossible);
        // Byte values for a network that wants 0 to 255: divided by 1/255.
        assert_eq!(codes(&images((0.0, 1.0), &[0.0], &[0.003_921_6])), []);
        assert_eq!(codes(&images((0.0, 255.0), &[], &[])), [Code::NoNormalisation]);
        assert_eq!(codes(&images((-2.1, 2.6), &usual.0, &usual.1)), [Code::Preprocessing]);
        assert!(findings(&images((0.0, 255.0), &usual.0, &usual.1), true).is_empty());
    }

    #[test]
    fn a_network_that_normalises_by_itself_needs_no_normalisation() {
        let inside = |range, (factor, shift), normalisation: (&[f32], &[f32]), is_learned: bool| {
            let learned = is_learned.then_some((0.1, 1.0));
            let scaling = Some(Scaling { factor, shift, learned });
            codes(&Images { scaling, ..images(range, normalisation.0, normalisation.1) })
        };
        let (of_units, of_bytes) = ((4.0, -2.0), (1.0 / 57.0, -2.1));
        let bare = |range, scaling| inside(range, scaling, (&[], &[]), false);
        let doubt = vec![Code::Preprocessing];
        assert_eq!((bare((0.0, 1.0), of_units), bare((0.0, 255.0), of_units)), (vec![], doubt.clone()));
        assert_eq!((bare((0.0, 1.0), of_bytes), bare((0.0, 255.0), of_bytes)), (doubt.clone(), vec![]));
        // A mean is subtracted by both, unless a batch norm has learned what it gets.
        let usual = (&[0.485_f32, 0.456, 0.406][..], &[0.229_f32, 0.224, 0.225][..]);
        assert_eq!(inside((0.0, 1.0), of_units, usual, false), doubt);
        assert_eq!(inside((0.0, 1.0), of_bytes, usual, false), doubt);
        assert_eq!(inside((0.0, 1.0), of_units, usual, true), []);
        let learned = Some((0.5, 0.25));
        let normed = Images {
            scaling: Some(Scaling { factor: 4.0, shift: -2.0, learned }),
            ..images((0.0, 1.0), usual.0, usual.1)
        };
        assert_eq!(codes(&normed), [Code::NoNormalisation]);
        assert_eq!(codes(&Images { mean: Vec::new(), std: Vec::new(), ..normed }), []);
        // It takes 0 to 255, and is given it.
        assert_eq!(inside((0.0, 1.0), of_bytes, (&[0.0], &[0.003_921_6]), false), []);
    }

    #[test]
    fn images_that_use_little_of_their_range_are_in_other_units() {
        let usual = ([0.286; 3], [0.353; 3]);
        let of = |largest: f32, are_bytes| codes(&Images { are_bytes, ..images((0.0, largest), &usual.0, &usual.1) });
        assert_eq!(of(1.0 / 255.0, true), [Code::ImpossibleNormalisation]);
        assert_eq!(of(1.0 / 255.0, false), [Code::ImpossibleNormalisation]);
        assert_eq!(of(15.0 / 255.0, true), [Code::Preprocessing]);
        assert_eq!((of(15.0 / 255.0, false), of(0.2, true)), (vec![], vec![]));
        assert_eq!(codes(&images((0.0, 1.0 / 255.0), &[], &[])), [Code::ImpossibleNormalisation]);
        assert!(findings(&images((0.0, 15.0 / 255.0), &usual.0, &usual.1), true).is_empty());
    }

    #[test]
    fn constant_channels_and_copies_are_wrong() {
        let mut one = images((0.0, 1.0), &[], &[]);
        one.channels[2] = Channel { min: 0.5, max: 0.5, mean: 0.5 };
        assert_eq!(codes(&one), [Code::ConstantChannel, Code::NoNormalisation]);
        let copied = Images { copies: 50, ..images((0.0, 1.0), &[], &[]) };
        assert_eq!(codes(&copied), [Code::NoNormalisation, Code::IdenticalImages]);
        assert_eq!(codes(&Images { copies: 20, ..copied }), [Code::NoNormalisation]);
    }
}
