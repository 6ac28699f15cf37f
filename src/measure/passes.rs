//! The forward passes: each lane perturbs a block of images, runs it, and keeps only squared changes of the outputs.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Progress;
use super::outputs::{Block, Changed, Fault, Outputs};
use super::scores::Tally;
use crate::backend::{Backend, Network, Output, Session};
use crate::error::{Error, Result};
use crate::perturb::{Displacement, Interpolation, Perturber, Scratch};
use crate::probe::{Layout, ProbeSet};

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
    pub perturb: Duration,
    pub inference: Duration,
    /// Images that went through the network.
    pub count: u64,
}

/// A block of consecutive images and its share of every result.
struct Job<'a> {
    first: usize,
    rows: usize,
    /// Of each layer, then of the output.
    tensors: Vec<Block<'a>>,
    displacements: &'a mut [Displacement],
    tallies: &'a mut [Tally],
}

/// Runs `1 + 2 draws` passes over every image of the probe set, on all lanes of the network.
pub(super) fn run(
    network: &dyn Backend,
    probe: &ProbeSet,
    perturber: &Perturber,
    draws: u32,
    progress: Progress,
) -> Result<Passes> {
    let (images, draws) = (probe.len(), draws as usize);
    let count = (images * (1 + 2 * draws)) as u64;
    let Network { layers, output, .. } = network.network();
    let outputs = |output: &Output| Outputs::new(images, draws, output.coordinates.len());
    let mut passes = Passes {
        draws,
        layers: layers.iter().map(outputs).collect(),
        output: outputs(output),
        displacements: vec![Displacement::default(); images * draws],
        tallies: vec![Tally::default(); images],
        perturb: Duration::ZERO,
        inference: Duration::ZERO,
        count,
    };
    let sizes = block_sizes(images, network.lanes().count, network.lanes().batch);
    let lanes = network.lanes().count.min(sizes.len());
    let largest = sizes.iter().copied().max().unwrap_or(1);
    let jobs = Mutex::new(jobs(&mut passes, &sizes).into_iter());
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
    finite(network.network(), probe, &passes.output.faults)?;
    Ok(passes)
}

/// Splits `images` into blocks of nearly equal size, at most `batch`, a multiple of `lanes` of them where there is enough:
/// no lane is left with a whole block while the others are done.
fn block_sizes(images: usize, lanes: usize, batch: usize) -> Vec<usize> {
    let blocks = images.div_ceil(batch).next_multiple_of(lanes).min(images);
    (0..blocks).map(|block| (block + 1) * images / blocks - block * images / blocks).collect()
}

fn jobs<'a>(passes: &'a mut Passes, sizes: &[usize]) -> Vec<Job<'a>> {
    let draws = passes.draws;
    let mut tensors: Vec<_> = passes.layers.iter_mut().chain([&mut passes.output]).map(Outputs::block).collect();
    let mut displacements = passes.displacements.as_mut_slice();
    let mut tallies = passes.tallies.as_mut_slice();
    let mut first = 0;
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
    /// What the network gave last, `[row, numbers of all tensors]`.
    given: Vec<f32>,
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
            given: vec![0.0; rows * network.row()],
            perturb: Duration::ZERO,
            inference: Duration::ZERO,
        })
    }

    fn run(&mut self, job: &mut Job) -> Result<()> {
        let draws = job.displacements.len() / job.rows;
        self.load(job.first, job.rows);
        self.infer(Batch::Clean, job.rows)?;
        for (tensor, columns) in job.tensors.iter_mut().zip(self.network.columns()) {
            tensor.keep_clean(self.given(job.rows, columns));
        }
        for (tally, row) in job.tallies.iter_mut().zip(self.output(job.rows)) {
            *tally = Tally::clean(row);
        }
        for draw in 0..draws {
            self.perturb(job.first, draw, draws, job.displacements);
            for (batch, kind) in [(Batch::Deformed, Changed::Deformed), (Batch::Noisy, Changed::Noisy)] {
                self.infer(batch, job.rows)?;
                for (tensor, columns) in job.tensors.iter_mut().zip(self.network.columns()) {
                    tensor.keep_changes(kind, self.given(job.rows, columns), (draw, draws));
                }
                for (tally, row) in job.tallies.iter_mut().zip(self.output(job.rows)) {
                    tally.add(kind, row);
                }
            }
        }
        Ok(())
    }

    /// These columns of what the network gave last.
    fn given(&self, rows: usize, columns: Range<usize>) -> impl Iterator<Item = &[f32]> {
        self.given.chunks_exact(self.network.row()).take(rows).map(move |row| &row[columns.clone()])
    }

    fn output(&self, rows: usize) -> impl Iterator<Item = &[f32]> {
        let row = self.network.row();
        self.given(rows, row - self.network.outputs()..row)
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

    /// Runs the first `rows` images of a batch; the outputs are then in `given`.
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
        self.session.run(images, &mut self.given[..rows * self.network.row()])?;
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
