//! The forward passes: each lane perturbs a block of images, runs it, and keeps only squared changes of the outputs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Progress;
use super::scores::{Changed, Tally};
use crate::backend::{Backend, Network, Session};
use crate::error::{Error, Result};
use crate::perturb::{Displacement, Interpolation, Perturber, Scratch};
use crate::probe::{Layout, ProbeSet};

/// What the passes leave behind; image-major, so that blocks of images are contiguous.
pub(super) struct Passes {
    pub draws: usize,
    pub outputs: usize,
    /// Outputs of the unperturbed images, `[image, output]`.
    pub clean: Vec<f32>,
    /// Squared changes under deformation, `[image, draw, output]`.
    pub deformed: Vec<f32>,
    /// Squared changes under noise, `[image, draw, output]`.
    pub noisy: Vec<f32>,
    /// `[image, draw]`.
    pub displacements: Vec<Displacement>,
    /// Of each image.
    pub tallies: Vec<Tally>,
    pub perturb: Duration,
    pub inference: Duration,
    /// Images that went through the network.
    pub count: u64,
}

/// A block of consecutive images and its share of every result.
struct Job<'a> {
    first: usize,
    rows: usize,
    clean: &'a mut [f32],
    deformed: &'a mut [f32],
    noisy: &'a mut [f32],
    displacements: &'a mut [Displacement],
    tallies: &'a mut [Tally],
    faults: &'a mut [Option<Fault>],
}

/// The kind of pass that first gave an image NaN or infinite outputs.
type Fault = &'static str;

/// Runs `1 + 2 draws` passes over every image of the probe set, on all lanes of the network.
pub(super) fn run(
    network: &dyn Backend,
    probe: &ProbeSet,
    perturber: &Perturber,
    draws: u32,
    progress: Progress,
) -> Result<Passes> {
    let (images, draws, outputs) = (probe.len(), draws as usize, network.network().outputs());
    let count = (images * (1 + 2 * draws)) as u64;
    let mut passes = Passes {
        draws,
        outputs,
        clean: vec![0.0; images * outputs],
        deformed: vec![0.0; images * draws * outputs],
        noisy: vec![0.0; images * draws * outputs],
        displacements: vec![Displacement::default(); images * draws],
        tallies: vec![Tally::default(); images],
        perturb: Duration::ZERO,
        inference: Duration::ZERO,
        count,
    };
    let mut faults = vec![None; images];
    let sizes = block_sizes(images, network.lanes().count, network.lanes().batch);
    let lanes = network.lanes().count.min(sizes.len());
    let largest = sizes.iter().copied().max().unwrap_or(1);
    let jobs = Mutex::new(jobs(&mut passes, &mut faults, &sizes).into_iter());
    let (done, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let report = |rows: usize| progress(done.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64, count);
    let work = || -> Result<(Duration, Duration)> {
        let mut lane = Lane::new(network, probe, perturber, largest, &report)?;
        while !failed.load(Ordering::Relaxed) {
            let Some(mut job) = jobs.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
            lane.run(&mut job).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok((lane.perturb, lane.inference))
    };
    let times: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..lanes).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    drop(jobs);
    for time in times {
        let (perturb, inference) = time?;
        passes.perturb += perturb / lanes as u32;
        passes.inference += inference / lanes as u32;
    }
    finite(network.network(), probe, &faults)?;
    Ok(passes)
}

/// Splits `images` into blocks of nearly equal size, at most `batch`, a multiple of `lanes` of them where there is enough:
/// no lane is left with a whole block while the others are done.
fn block_sizes(images: usize, lanes: usize, batch: usize) -> Vec<usize> {
    let blocks = images.div_ceil(batch).next_multiple_of(lanes).min(images);
    (0..blocks).map(|block| (block + 1) * images / blocks - block * images / blocks).collect()
}

fn jobs<'a>(passes: &'a mut Passes, faults: &'a mut [Option<Fault>], sizes: &[usize]) -> Vec<Job<'a>> {
    let (outputs, draws) = (passes.outputs, passes.draws);
    let mut clean = passes.clean.as_mut_slice();
    let mut deformed = passes.deformed.as_mut_slice();
    let mut noisy = passes.noisy.as_mut_slice();
    let mut displacements = passes.displacements.as_mut_slice();
    let mut tallies = passes.tallies.as_mut_slice();
    let mut faults = faults;
    let mut first = 0;
    let mut jobs = Vec::with_capacity(sizes.len());
    for &rows in sizes {
        jobs.push(Job {
            first,
            rows,
            clean: clean.split_off_mut(..rows * outputs).unwrap_or_default(),
            deformed: deformed.split_off_mut(..rows * draws * outputs).unwrap_or_default(),
            noisy: noisy.split_off_mut(..rows * draws * outputs).unwrap_or_default(),
            displacements: displacements.split_off_mut(..rows * draws).unwrap_or_default(),
            tallies: tallies.split_off_mut(..rows).unwrap_or_default(),
            faults: faults.split_off_mut(..rows).unwrap_or_default(),
        });
        first += rows;
    }
    jobs
}

/// One thread's session and buffers; images are `[row, channel, y, x]`.
struct Lane<'a> {
    session: Box<dyn Session>,
    network: &'a Network,
    probe: &'a ProbeSet,
    perturber: &'a Perturber,
    report: &'a (dyn Fn(usize) + Sync),
    scratch: Scratch,
    images: Vec<f32>,
    /// The images as deformations see them: smoothed for gaussian interpolation, else empty.
    smoothed: Vec<f32>,
    deformed: Vec<f32>,
    noisy: Vec<f32>,
    /// The batch with channels last, for networks that want it so.
    channels_last: Vec<f32>,
    changed: Vec<f32>,
    perturb: Duration,
    inference: Duration,
}

impl<'a> Lane<'a> {
    fn new(
        backend: &'a dyn Backend,
        probe: &'a ProbeSet,
        perturber: &'a Perturber,
        rows: usize,
        report: &'a (dyn Fn(usize) + Sync),
    ) -> Result<Self> {
        let network = backend.network();
        let buffer = || vec![0.0; rows * network.shape.len()];
        let smooths = perturber.interpolation() == Interpolation::Gaussian;
        Ok(Self {
            session: backend.session()?,
            network,
            probe,
            perturber,
            report,
            scratch: perturber.scratch(),
            images: buffer(),
            smoothed: if smooths { buffer() } else { Vec::new() },
            deformed: buffer(),
            noisy: buffer(),
            channels_last: if network.layout == Layout::Nhwc { buffer() } else { Vec::new() },
            changed: vec![0.0; rows * network.outputs()],
            perturb: Duration::ZERO,
            inference: Duration::ZERO,
        })
    }

    fn run(&mut self, job: &mut Job) -> Result<()> {
        let (outputs, draws) = (self.network.outputs(), job.displacements.len() / job.rows);
        self.load(job.first, job.rows);
        self.infer(Batch::Clean, job.rows)?;
        job.clean.copy_from_slice(&self.changed[..job.rows * outputs]);
        note_faults(job.clean, outputs, "clean", job.faults);
        for (tally, row) in job.tallies.iter_mut().zip(job.clean.chunks_exact(outputs)) {
            *tally = Tally::clean(row);
        }
        for draw in 0..draws {
            self.perturb(job.first, draw, draws, job.displacements);
            self.infer(Batch::Deformed, job.rows)?;
            note_faults(&self.changed[..job.rows * outputs], outputs, "deformed", job.faults);
            squared_changes(&self.changed, job.clean, outputs, draw, draws, job.deformed);
            tally(job.tallies, Changed::Deformed, &self.changed, outputs);
            self.infer(Batch::Noisy, job.rows)?;
            note_faults(&self.changed[..job.rows * outputs], outputs, "noisy", job.faults);
            squared_changes(&self.changed, job.clean, outputs, draw, draws, job.noisy);
            tally(job.tallies, Changed::Noisy, &self.changed, outputs);
        }
        Ok(())
    }

    fn load(&mut self, first: usize, rows: usize) {
        let started = Instant::now();
        let size = self.network.shape.len();
        for (row, image) in self.images.chunks_exact_mut(size).enumerate().take(rows) {
            self.probe.image(first + row, image);
        }
        for (image, smoothed) in self.images.chunks_exact(size).zip(self.smoothed.chunks_exact_mut(size)).take(rows) {
            self.perturber.base(image, smoothed, &mut self.scratch);
        }
        self.perturb += started.elapsed();
    }

    fn perturb(&mut self, first: usize, draw: usize, draws: usize, displacements: &mut [Displacement]) {
        let started = Instant::now();
        let size = self.network.shape.len();
        for (row, displacements) in displacements.chunks_exact_mut(draws).enumerate() {
            let (index, pixels) = ((first + row) as u64, row * size..(row + 1) * size);
            let image = &self.images[pixels.clone()];
            let base = if self.smoothed.is_empty() { image } else { &self.smoothed[pixels.clone()] };
            let deformed = &mut self.deformed[pixels.clone()];
            displacements[draw] = self.perturber.deform(index, draw as u64, image, deformed, &mut self.scratch);
            self.perturber.noise(index, draw as u64, base, deformed, &mut self.noisy[pixels]);
        }
        self.perturb += started.elapsed();
    }

    /// Runs the first `rows` images of a batch; the outputs are then in `changed`.
    fn infer(&mut self, batch: Batch, rows: usize) -> Result<()> {
        let started = Instant::now();
        let images = match batch {
            Batch::Clean if self.smoothed.is_empty() => &self.images,
            Batch::Clean => &self.smoothed,
            Batch::Deformed => &self.deformed,
            Batch::Noisy => &self.noisy,
        };
        let shape = self.network.shape;
        let images = &images[..rows * shape.len()];
        let images = if self.channels_last.is_empty() {
            images
        } else {
            // [row, channel, pixel] -> [row, pixel, channel]
            let pixels = shape.height * shape.width;
            for (from, to) in images.chunks_exact(shape.len()).zip(self.channels_last.chunks_exact_mut(shape.len())) {
                for (channel, plane) in from.chunks_exact(pixels).enumerate() {
                    for (value, pixel) in plane.iter().zip(to.chunks_exact_mut(shape.channels)) {
                        pixel[channel] = *value;
                    }
                }
            }
            &self.channels_last[..images.len()]
        };
        self.session.run(images, &mut self.changed[..rows * self.network.outputs()])?;
        self.inference += started.elapsed();
        (self.report)(rows);
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Batch {
    Clean,
    Deformed,
    Noisy,
}

/// Writes `|f(changed) - f(clean)|^2` of each output coordinate into its draw's place in `[image, draw, output]`.
fn squared_changes(changed: &[f32], clean: &[f32], outputs: usize, draw: usize, draws: usize, into: &mut [f32]) {
    let rows = changed.chunks_exact(outputs).zip(clean.chunks_exact(outputs));
    for ((changed, clean), image) in rows.zip(into.chunks_exact_mut(draws * outputs)) {
        let into = &mut image[draw * outputs..(draw + 1) * outputs];
        for ((into, changed), clean) in into.iter_mut().zip(changed).zip(clean) {
            *into = (changed - clean) * (changed - clean);
        }
    }
}

fn tally(tallies: &mut [Tally], kind: Changed, changed: &[f32], outputs: usize) {
    for (tally, row) in tallies.iter_mut().zip(changed.chunks_exact(outputs)) {
        tally.add(kind, row);
    }
}

fn note_faults(values: &[f32], outputs: usize, kind: Fault, faults: &mut [Option<Fault>]) {
    for (values, fault) in values.chunks_exact(outputs).zip(faults) {
        // Squares and pair differences must stay finite too, hence the bound rather than `is_finite`.
        if fault.is_none() && !values.iter().all(|value| value.abs() < f32::MAX.sqrt() / 4.0) {
            *fault = Some(kind);
        }
    }
}

fn finite(network: &Network, probe: &ProbeSet, faults: &[Option<Fault>]) -> Result<()> {
    let mut faulty = faults.iter().enumerate().filter_map(|(image, fault)| Some((image, (*fault)?)));
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

    #[test]
    fn blocks_are_even_and_within_the_batch() {
        assert_eq!(block_sizes(500, 2, 64), [62, 63, 62, 63, 62, 63, 62, 63]);
        assert_eq!(block_sizes(3, 2, 64), [1, 2]);
        assert_eq!(block_sizes(1, 4, 8), [1]);
        for (images, lanes, batch) in [(500, 3, 17), (2, 16, 1), (10_000, 2, 3)] {
            let sizes = block_sizes(images, lanes, batch);
            assert_eq!(sizes.iter().sum::<usize>(), images);
            assert!(sizes.iter().all(|size| (1..=batch).contains(size)));
        }
    }
}
