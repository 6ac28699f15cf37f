//! What a measurement sees and would take, told from a few images before it is made.

use std::time::Instant;

use serde::Serialize;

use super::facts::Present;
use super::passes::{self, Passes};
use super::subject::notices;
use super::{Progress, Settings, validate};
use crate::backend::{Backend, Identity};
use crate::error::{Error, Result};
use crate::event::Finding;
use crate::findings;
use crate::perturb::Perturber;
use crate::probe::{Layout, ProbeSet};
use crate::process;

/// A network and its images as they meet, and what measuring them would take.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// The measured tensor's name.
    pub output: String,
    /// Sizes of one image's output.
    pub output_axes: Vec<usize>,
    /// The order of the input's axes.
    pub layout: Layout,
    /// Channels, height, width of the images.
    pub shape: [usize; 3],
    /// Of each channel, as the network sees it.
    pub channels: Vec<Range>,
    /// What it says of the first images; empty for outputs that are no class logits.
    pub predictions: Vec<Answer>,
    /// Error on the images that were looked at, where they have labels.
    pub probe_error: Option<f64>,
    /// How many those are.
    pub looked_at: usize,
    /// What would run it.
    pub backend: Identity,
    /// What the measurement would take.
    pub cost: Cost,
    /// What is wrong, doubtful or worth knowing.
    pub findings: Vec<Finding>,
    /// The same in words alone.
    pub warnings: Vec<String>,
}

/// Values of one channel over the images that were looked at.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Range {
    /// The least.
    pub min: f32,
    /// The average.
    pub mean: f32,
    /// The largest.
    pub max: f32,
}

/// The classes that a network holds likeliest for an image.
#[derive(Debug, Clone, Serialize)]
pub struct Answer {
    /// What the image is called.
    pub image: String,
    /// Its label, if it has one.
    pub label: Option<u32>,
    /// Classes with their probability after the softmax, the likeliest first.
    pub classes: Vec<(usize, f32)>,
}

/// Images, draws, and what they take.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// Images.
    pub images: usize,
    /// Draws of each.
    pub draws: u32,
    /// Images that go through the network.
    pub passes: u64,
    /// Seconds for all of it, once the network is loaded.
    pub seconds: f64,
    /// Memory of this process at the end, bytes; 0 where the system does not tell.
    pub bytes: u64,
}

/// Images that are looked at: enough to time a batch of them on every core.
const LOOKED_AT: usize = 64;
/// Images whose predictions are told.
const TOLD: usize = 5;
/// Classes of each.
const LIKELIEST: usize = 3;
/// Of a budget, the share that is planned with: passes take longer when others use the machine.
const PLANNED: f64 = 0.9;

/// Looks at a network's first images and times one draw of them.
///
/// # Errors
/// As [`super::measure`].
pub fn preview(network: &dyn Backend, probe: &ProbeSet, settings: &Settings, progress: Progress) -> Result<Preview> {
    validate(network, probe, settings)?;
    let perturber = Perturber::new(probe.shape(), &settings.deformation, settings.seed)?;
    let few = probe.prefix(LOOKED_AT);
    let started = Instant::now();
    let passes = passes::run(network, &few, &perturber, 1, progress)?;
    let seconds_each = started.elapsed().as_secs_f64() / passes.count as f64;
    let described = network.network();
    let is_classifier = described.output.coordinates.are_classes();
    let images = settings.images.min(probe.len());
    let draws = settings.draws_of(images);
    let count = count(images, draws);
    // Outputs of every pass are kept as squared changes, 4 bytes each.
    let bytes = process::resident(std::process::id()).map_or(0, |now| now + 4 * count * described.outputs() as u64);
    let answered = super::answers(described, &few, passes.output.clean.clone(), &passes.tallies);
    let facts = Present { network, probe: &few, perturber: &perturber }.facts(&answered, &passes.tallies)?;
    let mut findings = notices(described, &few, &perturber);
    findings.extend(findings::of_network(&facts, &answered));
    let shape = probe.shape();
    Ok(Preview {
        output: described.output.name.clone(),
        output_axes: described.output.coordinates.axes().to_vec(),
        layout: described.layout,
        shape: [shape.channels, shape.height, shape.width],
        channels: ranges(&few),
        predictions: if is_classifier { answers(&few, &passes) } else { Vec::new() },
        probe_error: findings::error(&answered),
        looked_at: few.len(),
        backend: network.identity().clone(),
        cost: Cost { images, draws, passes: count, seconds: seconds_each * count as f64, bytes },
        warnings: findings.iter().map(|finding| finding.text.clone()).collect(),
        findings,
    })
}

fn count(images: usize, draws: u32) -> u64 {
    images as u64 * (1 + 2 * u64::from(draws))
}

impl Cost {
    /// The same in at most this many seconds: fewer draws first, down to one, for images narrow the interval more; then fewer
    /// images.
    ///
    /// # Errors
    /// `Setting` where not even two images would be done in time.
    pub fn within(self, seconds: f64) -> Result<Self> {
        let each = self.seconds / self.passes as f64;
        let affordable = |draws: u32| (PLANNED * seconds / (each * count(1, draws) as f64)) as usize;
        let enough = (1..=self.draws).rev().find(|draws| affordable(*draws) >= self.images);
        let (images, draws) = enough.map_or_else(|| (affordable(1), 1), |draws| (self.images, draws));
        if images < 2 {
            let least = each * count(2, 1) as f64 / PLANNED;
            let expected = format!("{least:.3} s or more for this network, once it is loaded");
            return Err(Error::setting("--budget", expected, format!("{seconds:.3} s left")));
        }
        let passes = count(images, draws);
        Ok(Self { images, draws, passes, seconds: each * passes as f64, ..self })
    }
}

/// The least, the average and the largest value of each channel.
pub fn ranges(probe: &ProbeSet) -> Vec<Range> {
    let shape = probe.shape();
    let mut ranges = vec![Range { min: f32::INFINITY, mean: 0.0, max: f32::NEG_INFINITY }; shape.channels];
    let mut image = vec![0.0; shape.len()];
    for index in 0..probe.len() {
        probe.image(index, &mut image);
        for (range, plane) in ranges.iter_mut().zip(image.chunks_exact(shape.plane())) {
            range.min = plane.iter().copied().fold(range.min, f32::min);
            range.max = plane.iter().copied().fold(range.max, f32::max);
            range.mean += plane.iter().sum::<f32>() / (plane.len() * probe.len()) as f32;
        }
    }
    ranges
}

fn answers(probe: &ProbeSet, passes: &Passes) -> Vec<Answer> {
    let answer = |(index, logits): (usize, &[f32])| {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let mut classes: Vec<_> = logits.iter().map(|logit| (logit - largest).exp() / sum).enumerate().collect();
        classes.sort_by(|a, b| b.1.total_cmp(&a.1));
        classes.truncate(LIKELIEST);
        Answer { image: probe.name(index), label: probe.labels().map(|labels| labels[index]), classes }
    };
    passes.output.clean.chunks_exact(passes.output.coordinates).enumerate().take(TOLD).map(answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_takes_draws_first_and_images_then() {
        let cost = Cost { images: 500, draws: 4, passes: 4500, seconds: 45.0, bytes: 0 };
        let within = |seconds| cost.within(seconds).map(|cost| (cost.images, cost.draws));
        assert_eq!(within(60.0).expect("all of it"), (500, 4));
        assert_eq!(within(40.0).expect("fewer draws"), (500, 3));
        assert_eq!(within(20.0).expect("one draw"), (500, 1));
        assert_eq!(within(2.0).expect("fewer images"), (60, 1));
        assert!(within(0.05).expect_err("too short").to_string().contains("0.067 s"));
        let one = Cost { draws: 1, passes: 1500, seconds: 15.0, ..cost };
        assert_eq!(one.within(9.0).map(|cost| (cost.images, cost.draws)).expect("fewer images"), (270, 1));
    }
}
