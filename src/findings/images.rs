//! What the probe images alone tell.

use serde::{Deserialize, Serialize};

use super::{Code, Finding};

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
    /// By what the network multiplies them itself, and what it adds then.
    pub scaling: Option<(f32, f32)>,
    /// How many were compared with each other.
    pub compared: usize,
    /// How many of these are copies of an earlier one.
    pub copies: usize,
}

impl Images {
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
/// Pixels in [0, 1] may exceed it by the overshoot of a filter.
const ONE: f32 = 1.05;

/// What is wrong with the images; a network whose labels `agree` is used to whatever looks odd.
pub(super) fn findings(images: &Images, agree: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(constant(images).filter(|_| !agree));
    findings.extend(normalisation(images).filter(|found| {
        // Of pixels in [0, 1] labels that agree say less: training may have normalised them all the same.
        !agree || found.code == Code::Preprocessing || (found.code == Code::NoNormalisation && images.are_units())
    }));
    findings.extend(copies(images));
    findings
}

fn constant(images: &Images) -> Option<Finding> {
    let (channel, Channel { min, .. }) =
        images.channels.iter().enumerate().find(|(_, channel)| channel.max <= channel.min && images.compared > 1)?;
    Some(Finding::new(Code::ConstantChannel, format!("channel {channel} is {min} in every pixel of the probe images")))
}

fn normalisation(images: &Images) -> Option<Finding> {
    if images.in_steps {
        return None;
    }
    let largest = images.channels.iter().map(|channel| channel.max).fold(f32::MIN, f32::max);
    let least = images.channels.iter().map(|channel| channel.min).fold(f32::MAX, f32::min);
    let (min, max) = (format!("{least:.2}"), format!("{largest:.2}"));
    let text = if images.channels.is_empty() {
        return None;
    } else if images.mean.is_empty() {
        let text = if let Some((scale, shift)) = images.scaling {
            let ends = [least, largest].map(|value| value * scale + shift);
            let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            if high - low > NARROW && low >= -FAR && high <= FAR {
                return None;
            }
            format!(
                "the network itself scales pixels of {min} to {max} to {low:.3} to {high:.3}: does it take 0 to 255, or 0 to 1?"
            )
        } else if largest > FAR {
            format!("the probe images have values beyond {FAR} and nothing normalises them: are they 0 to 255?")
        } else if images.are_units() {
            "no normalisation: the network gets pixels in [0, 1]".to_owned()
        } else {
            return None;
        };
        return Some(Finding::new(Code::NoNormalisation, text));
    } else if let Some(mean) = images.mean.iter().find(|mean| largest <= ONE && !(-ONE..=ONE).contains(*mean)) {
        format!("a mean of {mean} is subtracted from pixels of {min} to {max}")
    } else if let Some(std) = images.std.iter().find(|std| least >= 0.0 && largest <= ONE && **std > LARGEST_STD) {
        format!("pixels of {min} to {max} are divided by a standard deviation of {std}")
    } else if images.mean.iter().zip(&images.std).any(|(mean, std)| ((largest - mean) / std).abs() > FAR)
        && largest > FAR
    {
        format!(
            "normalised, the probe images have values beyond {FAR}: they are {min} to {max}, and the mean is for other units"
        )
    } else if least < -0.1
        && images.mean.iter().all(|mean| (0.0..=1.0).contains(mean))
        && images.mean.iter().any(|m| *m > 0.0)
    {
        let text = format!(
            "the probe images are {min} to {max}, as if they were normalised already, and a mean is subtracted from them: \
             normalised twice?"
        );
        return Some(Finding::new(Code::Preprocessing, text));
    } else {
        return None;
    };
    Some(Finding::new(Code::ImpossibleNormalisation, text))
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
        let inside = |range, scaling| codes(&Images { scaling: Some(scaling), ..images(range, &[], &[]) });
        let none = [Code::NoNormalisation];
        assert_eq!((inside((0.0, 1.0), (4.0, -2.0)), inside((0.0, 255.0), (4.0, -2.0))), (vec![], none.to_vec()));
        let of_bytes = (1.0 / 57.0, -2.1);
        assert_eq!((inside((0.0, 1.0), of_bytes), inside((0.0, 255.0), of_bytes)), (none.to_vec(), vec![]));
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
