//! The forward passes of a lane: from probe images to what the network gives of them, clean and perturbed by this process or where the
//! network computes.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::backend::{Backend, Network, PerturbGraph, PerturbSession, Session};
use crate::error::Result;
use crate::perturb::{Displacement, Draws, Interpolation, Perturber, Scratch};
use crate::probe::{Layout, ProbeSet};

/// What all lanes share.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    pub backend: &'a dyn Backend,
    pub probe: &'a ProbeSet,
    pub perturber: &'a Perturber,
    /// Called with the images of each batch that went through.
    pub report: &'a (dyn Fn(usize) + Sync),
}

/// Forward passes over one block of consecutive images after the other; what they give is `[row, numbers of all tensors]`.
pub(super) trait Forward {
    /// Runs the images of a block as they are.
    fn clean(&mut self, block: Range<usize>) -> Result<&[f32]>;

    /// Runs the same images deformed, then noisy; a displacement for each is filled in.
    fn draw<'d>(&mut self, draw: u64, displacements: impl Iterator<Item = &'d mut Displacement>)
    -> Result<[&[f32]; 2]>;

    fn times(&self) -> Times;
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    pub perturb: Duration,
    pub inference: Duration,
    /// Images that were perturbed where the network computes.
    pub on_provider: u64,
}

impl Times {
    /// Adds those of one lane, or of one of `lanes` side by side.
    pub fn add(&mut self, other: &Self, lanes: u32) {
        self.perturb += other.perturb / lanes;
        self.inference += other.inference / lanes;
        self.on_provider += other.on_provider;
    }
}

/// Images of one block and what the network gave of them, in the buffers of a lane.
struct Buffers {
    block: Range<usize>,
    /// `[row, channel, y, x]`
    images: Vec<f32>,
    clean: Vec<f32>,
    perturbed: [Vec<f32>; 2],
}

impl Buffers {
    fn new(network: &Network, rows: usize) -> Self {
        let given = || vec![0.0; rows * network.row()];
        Self {
            block: 0..0,
            images: vec![0.0; rows * network.shape.len()],
            clean: given(),
            perturbed: [given(), given()],
        }
    }

    fn load(&mut self, probe: &ProbeSet, block: Range<usize>) {
        let size = probe.shape().len();
        for (image, index) in self.images.chunks_exact_mut(size).zip(block.clone()) {
            probe.image(index, image);
        }
        self.block = block;
    }
}

/// Perturbs in this process.
pub(super) struct OnCpu<'a> {
    shared: Shared<'a>,
    runner: Runner<'a>,
    scratch: Scratch,
    buffers: Buffers,
    /// The images as deformations see them: smoothed for gaussian interpolation, else empty.
    smoothed: Vec<f32>,
    deformed: Vec<f32>,
    noisy: Vec<f32>,
    times: Times,
}

impl<'a> OnCpu<'a> {
    /// For blocks of `rows` images at most.
    pub fn new(shared: Shared<'a>, rows: usize) -> Result<Self> {
        let network = shared.backend.network();
        let buffer = || vec![0.0; rows * network.shape.len()];
        let smooths = shared.perturber.interpolation() == Interpolation::Gaussian;
        Ok(Self {
            shared,
            runner: Runner::new(shared.backend, rows)?,
            scratch: shared.perturber.scratch(),
            buffers: Buffers::new(network, rows),
            smoothed: if smooths { buffer() } else { Vec::new() },
            deformed: buffer(),
            noisy: buffer(),
            times: Times::default(),
        })
    }
}

impl Forward for OnCpu<'_> {
    fn clean(&mut self, block: Range<usize>) -> Result<&[f32]> {
        let started = Instant::now();
        let (rows, size) = (block.len(), self.shared.probe.shape().len());
        self.buffers.load(self.shared.probe, block);
        let Buffers { images, clean, .. } = &mut self.buffers;
        for (image, smoothed) in images.chunks_exact(size).zip(self.smoothed.chunks_exact_mut(size)).take(rows) {
            self.shared.perturber.base(image, smoothed, &mut self.scratch);
        }
        self.times.perturb += started.elapsed();
        let images = if self.smoothed.is_empty() { images } else { &self.smoothed };
        self.times.inference += self.runner.run(images, rows, clean)?;
        (self.shared.report)(rows);
        Ok(clean)
    }

    fn draw<'d>(
        &mut self,
        draw: u64,
        displacements: impl Iterator<Item = &'d mut Displacement>,
    ) -> Result<[&[f32]; 2]> {
        let started = Instant::now();
        let Shared { probe, perturber, report, .. } = self.shared;
        let Buffers { block, images, perturbed, .. } = &mut self.buffers;
        let (size, rows) = (probe.shape().len(), block.len());
        for ((row, index), displacement) in (0..).zip(block.clone()).zip(displacements) {
            let (index, pixels) = (index as u64, row * size..(row + 1) * size);
            let image = &images[pixels.clone()];
            let base = if self.smoothed.is_empty() { image } else { &self.smoothed[pixels.clone()] };
            let deformed = &mut self.deformed[pixels.clone()];
            *displacement = perturber.deform(index, draw, image, deformed, &mut self.scratch);
            perturber.noise(index, draw, base, deformed, &mut self.noisy[pixels]);
        }
        self.times.perturb += started.elapsed();
        for (images, given) in [&self.deformed, &self.noisy].into_iter().zip(&mut *perturbed) {
            self.times.inference += self.runner.run(images, rows, given)?;
            report(rows);
        }
        Ok([&perturbed[0], &perturbed[1]])
    }

    fn times(&self) -> Times {
        self.times
    }
}

/// Has images perturbed where the network computes; only what decides the draws is made here.
pub(super) struct OnProvider<'a> {
    shared: Shared<'a>,
    runner: Runner<'a>,
    session: Box<dyn PerturbSession>,
    scratch: Scratch,
    buffers: Buffers,
    draws: Draws,
    times: Times,
    /// Perturbed images of the present block.
    of_block: u64,
}

impl<'a> OnProvider<'a> {
    /// As [`OnCpu::new`].
    pub fn new(shared: Shared<'a>, graph: &dyn PerturbGraph, rows: usize) -> Result<Self> {
        Ok(Self {
            shared,
            runner: Runner::new(shared.backend, rows)?,
            session: graph.session(rows)?,
            scratch: shared.perturber.scratch(),
            buffers: Buffers::new(shared.backend.network(), rows),
            draws: Draws::default(),
            times: Times::default(),
            of_block: 0,
        })
    }
}

impl Forward for OnProvider<'_> {
    fn clean(&mut self, block: Range<usize>) -> Result<&[f32]> {
        let (started, rows) = (Instant::now(), block.len());
        self.buffers.load(self.shared.probe, block);
        let Buffers { images, clean, .. } = &mut self.buffers;
        self.times.on_provider += std::mem::take(&mut self.of_block);
        self.session.take(&images[..rows * self.shared.probe.shape().len()]);
        self.times.perturb += started.elapsed();
        self.times.inference += self.runner.run(images, rows, clean)?;
        (self.shared.report)(rows);
        Ok(clean)
    }

    fn draw<'d>(
        &mut self,
        draw: u64,
        displacements: impl Iterator<Item = &'d mut Displacement>,
    ) -> Result<[&[f32]; 2]> {
        let started = Instant::now();
        let Shared { perturber, report, backend, .. } = self.shared;
        let Buffers { block, perturbed: [deformed, noisy], .. } = &mut self.buffers;
        self.draws.clear();
        for (index, displacement) in block.clone().zip(displacements) {
            *displacement = perturber.draw(index as u64, draw, &mut self.draws, &mut self.scratch);
        }
        self.times.perturb += started.elapsed();
        let started = Instant::now();
        let (rows, numbers) = (block.len(), block.len() * backend.network().row());
        // A block that fails is perturbed elsewhere from its start.
        let before = std::mem::take(&mut self.of_block);
        self.session.run(&self.draws, &mut deformed[..numbers], &mut noisy[..numbers])?;
        self.of_block = before + 2 * rows as u64;
        self.times.inference += started.elapsed();
        report(2 * rows);
        Ok([deformed, noisy])
    }

    fn times(&self) -> Times {
        Times { on_provider: self.times.on_provider + self.of_block, ..self.times }
    }
}

/// Runs images `[row, channel, y, x]`, in the order of axes that the network takes.
struct Runner<'a> {
    session: Box<dyn Session>,
    network: &'a Network,
    /// The batch with channels last, for networks that want it so.
    channels_last: Vec<f32>,
}

impl<'a> Runner<'a> {
    fn new(backend: &'a dyn Backend, rows: usize) -> Result<Self> {
        let network = backend.network();
        let size = if network.layout == Layout::Nhwc { rows * network.shape.len() } else { 0 };
        Ok(Self { session: backend.session(rows)?, network, channels_last: vec![0.0; size] })
    }

    /// Writes `[row, number]` of the first `rows` images; gives the time it took.
    fn run(&mut self, images: &[f32], rows: usize, given: &mut [f32]) -> Result<Duration> {
        let started = Instant::now();
        let shape = self.network.shape;
        let images = &images[..rows * shape.len()];
        let images = if self.channels_last.is_empty() {
            images
        } else {
            // [row, channel, pixel] -> [row, pixel, channel]
            for (from, to) in images.chunks_exact(shape.len()).zip(self.channels_last.chunks_exact_mut(shape.len())) {
                for (channel, plane) in from.chunks_exact(shape.plane()).enumerate() {
                    for (value, pixel) in plane.iter().zip(to.chunks_exact_mut(shape.channels)) {
                        pixel[channel] = *value;
                    }
                }
            }
            &self.channels_last[..images.len()]
        };
        self.session.run(images, &mut given[..rows * self.network.row()])?;
        Ok(started.elapsed())
    }
}
