//! The graph that perturbs images, in front of a network in ONNX Runtime: what it gives stays where the network computes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;
use ort::session::{IoBinding, Session as OrtSession};
use ort::value::{DynValue, Tensor};

use super::lane::{NAME, Runner, Sessions};
use crate::backend::batches::halved;
use crate::backend::input::Element;
use crate::backend::perturb_graph::{DEFORMED, IMAGES, KEYS, NOISY, SPECTRA, graph};
use crate::backend::words::engine_error;
use crate::backend::{Network, PerturbGraph, PerturbSession};
use crate::error::Result;
use crate::perturb::{Draws, Perturber};
use crate::probe::Shape;

/// The graph in one session, which all lanes share.
pub(super) struct OnProvider {
    graph: Arc<Mutex<OrtSession>>,
    pub sessions: Arc<Sessions>,
    network: Arc<Network>,
    lanes: usize,
    memory: MemoryInfo<'static>,
    half_waves: usize,
    most: Arc<AtomicUsize>,
}

impl OnProvider {
    /// For what `network` takes, in a session of `builder`, where `lanes` sessions run the network.
    pub fn new(
        builder: ort::Result<SessionBuilder>,
        (network, element): (&Arc<Network>, Element),
        (sessions, lanes): (&Arc<Sessions>, usize),
        perturber: &Perturber,
    ) -> Result<Self> {
        let failed = |error| engine_error(&network.path, NAME, "load what perturbs images for", error);
        let file = graph(perturber, network, element);
        let graph = builder.and_then(|mut builder| builder.commit_from_memory(&file));
        let (device, number) =
            sessions.gpu.map_or((AllocationDevice::CPU, 0), |number| (AllocationDevice::CUDA, number));
        let memory =
            MemoryInfo::new(device, number.into(), AllocatorType::Device, MemoryType::Default).map_err(failed)?;
        Ok(Self {
            graph: Arc::new(Mutex::new(graph.map_err(failed)?)),
            sessions: Arc::clone(sessions),
            network: Arc::clone(network),
            lanes,
            memory,
            half_waves: perturber.deformation().cutoff as usize,
            most: Arc::new(AtomicUsize::new(usize::MAX)),
        })
    }
}

impl PerturbGraph for OnProvider {
    fn lanes(&self) -> usize {
        self.lanes
    }

    fn session(&self, rows: usize) -> Result<Box<dyn PerturbSession>> {
        Ok(Box::new(PerturbLane {
            graph: Arc::clone(&self.graph),
            runner: Runner::new(&self.sessions, &self.network)?,
            whole_batch: self.network.fixed_batch.or_else(|| self.sessions.whole_batch(rows)),
            memory: self.memory.clone(),
            half_waves: self.half_waves,
            most: Arc::clone(&self.most),
            images: Vec::new(),
            batches: Vec::new(),
        }))
    }
}

struct PerturbLane {
    graph: Arc<Mutex<OrtSession>>,
    runner: Runner,
    /// The rows of all batches, where these have one size.
    whole_batch: Option<usize>,
    memory: MemoryInfo<'static>,
    half_waves: usize,
    /// Images that memory holds at once, as far as it is known.
    most: Arc<AtomicUsize>,
    /// `[row, channel, y, x]`, to be bound anew where memory does not hold a batch.
    images: Vec<f32>,
    batches: Vec<Batch>,
}

/// Images that are bound to the graph's input, where that computes.
struct Batch {
    rows: usize,
    /// With rows of zeros that make the batch whole.
    all: usize,
    binding: IoBinding,
}

impl PerturbLane {
    /// Rows of a batch.
    fn rows(&self) -> usize {
        let Runner { network, sessions, .. } = &self.runner;
        let most = self.most.load(Ordering::Relaxed).min(sessions.most.load(Ordering::Relaxed));
        let rows = self.whole_batch.unwrap_or(self.images.len() / network.shape.len());
        network.fixed_batch.unwrap_or_else(|| rows.min(most).max(1))
    }

    fn bind(&self, rows: usize) -> Result<Vec<Batch>> {
        let network = &self.runner.network;
        let Shape { channels, height, width } = network.shape;
        let bind = |images: &[f32]| -> ort::Result<Batch> {
            let own = images.len() / network.shape.len();
            let all = self.whole_batch.map_or(own, |_| rows);
            let mut images = images.to_vec();
            images.resize(all * network.shape.len(), 0.0);
            // Not beside a run: what that frees is not yet free for a copy.
            let graph = self.graph();
            let mut binding = graph.create_binding()?;
            binding.bind_input(IMAGES, &Tensor::from_array(([all, channels, height, width], images))?)?;
            binding.synchronize_inputs()?;
            Ok(Batch { rows: own, all, binding })
        };
        let batches = self.images.chunks(rows * network.shape.len()).map(bind);
        batches.collect::<ort::Result<_>>().map_err(|error| engine_error(&network.path, NAME, "copy images for", error))
    }

    fn graph(&self) -> MutexGuard<'_, OrtSession> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_batches(&self, batches: &mut [Batch], draws: &Draws, mut perturbed: [&mut [f32]; 2]) -> Result<()> {
        let (network, numbers) = (&self.runner.network, self.runner.network.row());
        let mut given = vec![0.0; batches.iter().map(|batch| batch.all).max().unwrap_or(0) * numbers];
        let mut first = 0;
        for batch in batches {
            let values = self
                .perturb(batch, draws, first)
                .map_err(|error| engine_error(&network.path, NAME, "perturb images for", error))?;
            for (value, perturbed) in values.iter().zip(&mut perturbed) {
                let given = &mut given[..batch.all * numbers];
                self.runner.run(value.into(), given)?;
                let own = first * numbers..(first + batch.rows) * numbers;
                perturbed[own.clone()].copy_from_slice(&given[..own.len()]);
            }
            first += batch.rows;
        }
        Ok(())
    }

    /// Images deformed, and noisy, as the network takes them.
    fn perturb(&self, batch: &mut Batch, draws: &Draws, first: usize) -> ort::Result<[DynValue; 2]> {
        let Batch { rows, all, binding } = batch;
        let (half_waves, own) = (self.half_waves, first..first + *rows);
        let spectrum = half_waves * half_waves;
        let mut graph = self.graph();
        for (name, spectra) in SPECTRA.into_iter().zip([&draws.x, &draws.y]) {
            let mut spectra = spectra[own.start * spectrum..own.end * spectrum].to_vec();
            spectra.resize(*all * spectrum, 0.0);
            binding.bind_input(name, &Tensor::from_array(([*all, half_waves, half_waves], spectra))?)?;
        }
        let mut keys = draws.keys[own].to_vec();
        keys.resize(*all, 1);
        binding.bind_input(KEYS, &Tensor::from_array(([*all, 1], keys))?)?;
        for name in [DEFORMED, NOISY] {
            binding.bind_output_to_device(name, &self.memory)?;
        }
        binding.synchronize_inputs()?;
        let mut given = graph.run_binding(binding)?;
        let mut take = |name| given.remove(name).ok_or_else(|| ort::Error::new(format!("no {name} images")));
        let images = [take(DEFORMED)?, take(NOISY)?];
        drop(given);
        // It would hold them until the next run.
        binding.clear_outputs();
        Ok(images)
    }
}

impl PerturbSession for PerturbLane {
    fn take(&mut self, images: &[f32]) {
        self.batches.clear();
        self.images.clear();
        self.images.extend_from_slice(images);
    }

    fn run(&mut self, draws: &Draws, deformed: &mut [f32], noisy: &mut [f32]) -> Result<()> {
        let mut bound = std::mem::take(&mut self.batches);
        let rows = bound.first().map_or_else(|| self.rows(), |batch| batch.all);
        let mut run = |rows: usize| {
            let batches = std::mem::take(&mut bound);
            let mut batches = if batches.is_empty() { self.bind(rows)? } else { batches };
            self.run_batches(&mut batches, draws, [&mut *deformed, &mut *noisy])?;
            Ok(batches)
        };
        self.batches = match self.runner.network.fixed_batch {
            Some(rows) => run(rows)?,
            None => halved(rows, &self.most, run)?,
        };
        Ok(())
    }
}
