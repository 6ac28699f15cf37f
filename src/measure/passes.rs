//! The forward passes: each lane perturbs a block of images, runs it, and keeps only squared changes of the outputs.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Progress;
use super::forward::{Shared, Times};
use super::job::Job;
use super::outputs::{Fault, Outputs};
use super::scheduler::Scheduler;
use super::scores::Tally;
use crate::backend::{Backend, Lanes, Network, Output};
use crate::error::{Error, Result};
use crate::event::Timing;
use crate::perturb::{Displacement, Perturber};
use crate::probe::ProbeSet;

/// What the passes leave behind.
pub(super) struct Passes {
    pub draws: usize,
    /// Of each layer that the network gives besides its output.
    pub layers: Vec<Outputs>,
    /// Of the measured output.
    pub output: Outputs,
    /// `[image, draw]`.
    pub displacements: Vec<Displacement>,
    /// Of each image.
    pub tallies: Vec<Tally>,
    pub times: Times,
    /// Images that went through the network.
    pub count: u64,
    /// Images in a batch.
    pub batch: usize,
    /// What the reader should know.
    pub note: Option<String>,
}

impl Passes {
    /// Images that went through.
    pub fn images(&self) -> usize {
        self.tallies.len()
    }

    /// What they took, since `started` altogether.
    pub fn timing(&self, started: Instant, findings_s: f64) -> Timing {
        Timing {
            total_s: started.elapsed().as_secs_f64(),
            perturb_s: self.times.perturb.as_secs_f64(),
            inference_s: self.times.inference.as_secs_f64(),
            findings_s,
            passes: self.count,
            perturbed_on_provider: self.times.on_provider,
            batch: self.batch,
        }
    }

    /// Adds those of images that follow.
    pub fn append(&mut self, next: Self) {
        for (tensor, next) in self.layers.iter_mut().zip(next.layers).chain([(&mut self.output, next.output)]) {
            tensor.append(next);
        }
        self.displacements.extend(next.displacements);
        self.tallies.extend(next.tallies);
        self.times.add(&next.times, 1);
        self.count += next.count;
        self.batch = self.batch.max(next.batch);
        self.note = self.note.take().or(next.note);
    }
}

/// Runs `1 + 2 draws` passes over every image of the probe set, on all lanes of the network.
pub(super) fn run(
    network: &dyn Backend,
    probe: &ProbeSet,
    perturber: &Perturber,
    draws: u32,
    progress: Progress,
) -> Result<Passes> {
    let sizes = block_sizes(probe.len(), network.lanes());
    run_blocks(network, probe, perturber, draws, (0, &sizes, false), progress)
}

/// As [`run`]; what went through before, of as many draws, is not run again.
pub(super) fn extend(
    before: Passes,
    network: &dyn Backend,
    probe: &ProbeSet,
    perturber: &Perturber,
    progress: Progress,
) -> Result<Passes> {
    let first = before.images();
    let mut passes = before;
    if first < probe.len() {
        let sizes = block_sizes(probe.len() - first, network.lanes());
        let before = passes.count;
        let of_all = |done, all| progress(before + done, before + all);
        passes.append(run_blocks(network, probe, perturber, passes.draws as u32, (first, &sizes, false), &of_all)?);
    }
    Ok(passes)
}

/// As [`run`], over some of the images in whole batches, all but the last: however the others are shared out, these go through the
/// network in the same company, and are perturbed in the same place.
pub(super) fn run_share(
    network: &dyn Backend,
    probe: &ProbeSet,
    perturber: &Perturber,
    draws: u32,
    images: Range<usize>,
    progress: Progress,
) -> Result<Passes> {
    let sizes = block_sizes(images.len(), Lanes { whole: true, ..network.lanes() });
    run_blocks(network, probe, perturber, draws, (images.start, &sizes, true), progress)
}

/// Blocks of these sizes, one after the other from the image `first` on; of all images, or of a share.
fn run_blocks(
    network: &dyn Backend,
    probe: &ProbeSet,
    perturber: &Perturber,
    draws: u32,
    (first, sizes, is_share): (usize, &[usize], bool),
    progress: Progress,
) -> Result<Passes> {
    let (images, draws) = (sizes.iter().sum(), draws as usize);
    let count = (images * (1 + 2 * draws)) as u64;
    let Network { layers, output, .. } = network.network();
    let outputs = |output: &Output| Outputs::new(images, draws, output.coordinates.len());
    let mut passes = Passes {
        draws,
        layers: layers.iter().map(outputs).collect(),
        output: outputs(output),
        displacements: vec![Displacement::default(); images * draws],
        tallies: vec![Tally::default(); images],
        times: Times::default(),
        count,
        batch: 0,
        note: None,
    };
    let largest = sizes.iter().copied().max().unwrap_or(1);
    let done = AtomicU64::new(0);
    // A block that a graph failed at goes through again.
    let report =
        |rows: usize| progress((done.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64).min(count), count);
    let shared = Shared { backend: network, probe, perturber, report: &report };
    let scheduler = Scheduler { shared, largest, lanes: network.lanes().count, images, draws, is_share };
    let (times, note) = scheduler.run_all(jobs(&mut passes, first, sizes))?;
    for times in &times {
        passes.times.add(times, 1);
    }
    passes.batch = network.network().fixed_batch.unwrap_or_else(|| largest.min(network.lanes().batch));
    passes.note = note;
    finite(network.network(), probe, first, &passes.output.faults)?;
    Ok(passes)
}

/// Splits `images` into blocks of at most `batch`: whole ones where these are best, else small enough that no lane is left with
/// much while the others are done. All but the last have one size: an engine may plan anew for each that it meets.
fn block_sizes(images: usize, Lanes { count, batch, whole }: Lanes) -> Vec<usize> {
    let blocks = images.div_ceil(batch).next_multiple_of(count).min(images);
    let size = if whole { batch } else { images.div_ceil(blocks) };
    (0..images).step_by(size).map(|first| size.min(images - first)).collect()
}

fn jobs<'a>(passes: &'a mut Passes, mut first: usize, sizes: &[usize]) -> Vec<Job<'a>> {
    let draws = passes.draws;
    let mut tensors: Vec<_> = passes.layers.iter_mut().chain([&mut passes.output]).map(Outputs::block).collect();
    let mut displacements = passes.displacements.as_mut_slice();
    let mut tallies = passes.tallies.as_mut_slice();
    let mut jobs = Vec::with_capacity(sizes.len());
    for &rows in sizes {
        jobs.push(Job {
            first,
            rows,
            tensors: tensors.iter_mut().map(|tensor| tensor.split_off(rows, draws)).collect(),
            displacements: displacements.split_off_mut(..rows * draws).unwrap_or_default(),
            tallies: tallies.split_off_mut(..rows).unwrap_or_default(),
        });
        first += rows;
    }
    jobs
}

/// Of the images from `from` on.
fn finite(network: &Network, probe: &ProbeSet, from: usize, faults: &[Option<Fault>]) -> Result<()> {
    let mut faulty = faults.iter().enumerate().filter_map(|(image, fault)| Some((from + image, (*fault)?)));
    let Some((first, kind)) = faulty.next() else { return Ok(()) };
    Err(Error::NonFinite {
        path: network.path.clone(),
        images: 1 + faulty.count(),
        of: faults.len(),
        first: probe.name(first),
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::block_sizes;
    use crate::backend::Lanes;

    #[test]
    fn blocks_have_one_size_within_the_batch() {
        let sizes = |images, count, batch, whole| block_sizes(images, Lanes { count, batch, whole });
        assert_eq!(sizes(500, 2, 64, false), [63, 63, 63, 63, 63, 63, 63, 59]);
        assert_eq!(sizes(500, 2, 64, true), [64, 64, 64, 64, 64, 64, 64, 52]);
        assert_eq!(sizes(130, 8, 64, true), [64, 64, 2]);
        assert_eq!(sizes(3, 2, 64, false), [2, 1]);
        assert_eq!(sizes(3, 2, 64, true), [3]);
        assert_eq!(sizes(1, 4, 8, false), [1]);
        for (images, count, batch) in [(500, 3, 17), (2, 16, 1), (10_000, 2, 3)] {
            for sizes in [false, true].map(|whole| sizes(images, count, batch, whole)) {
                assert_eq!(sizes.iter().sum::<usize>(), images);
                assert!(sizes.iter().all(|size| (1..=batch).contains(size)));
            }
        }
    }
}
