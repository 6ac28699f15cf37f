//! The graph that perturbs images, in front of a network in ONNX Runtime: what it gives stays where the network computes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session as OrtSession};
use ort::value::{DynValue, Tensor};

use super::lane::{Lane, Sessions};
use super::{NAME, OnnxRuntime};
use crate::backend::batches::is_out_of_memory;
use crate::backend::front::{DEFORMED, IMAGES, KEYS, NOISY, SPECTRA, graph};
use crate::backend::graph::Element;
use crate::backend::{Front, FrontSession, Network, engine_error};
use crate::error::Result;
use crate::perturb::{Draws, Perturber};

/// The graph in one session, which all lanes share.
pub(super) struct OnProvider {
    graph: Arc<Mutex<OrtSession>>,
    sessions: Arc<Sessions>,
    network: Arc<Network>,
    element: Element,
    lanes: usize,
    memory: MemoryInfo<'static>,
    half_waves: usize,
}

impl OnProvider {
    pub fn new(backend: &OnnxRuntime, perturber: &Perturber) -> Result<Self> {
        let failed = |error| engine_error(&backend.network.path, NAME, "load what perturbs images for", error);
        let file = graph(perturber, &backend.network, backend.element);
        let graph = backend.place.builder(&backend.runtime).and_then(|mut builder| builder.commit_from_memory(&file));
        let cuda = backend.place.cuda.is_some();
        let device = if cuda { AllocationDevice::CUDA } else { AllocationDevice::CPU };
        let number = backend.place.device.into();
        let memory = MemoryInfo::new(device, number, AllocatorType::Device, MemoryType::Default).map_err(failed)?;
        Ok(Self {
            graph: Arc::new(Mutex::new(graph.map_err(failed)?)),
            sessions: Arc::clone(&backend.sessions),
            network: Arc::clone(&backend.network),
            element: backend.element,
            lanes: backend.place.sessions,
            memory,
            half_waves: perturber.deformation().cutoff as usize,
        })
    }
}

impl Front for OnProvider {
    fn lanes(&self) -> usize {
        self.lanes
    }

    fn session(&self) -> Result<Box<dyn FrontSession>> {
        let graph = Arc::clone(&self.graph);
        let memory = self.memory.clone();
        let (lane, half_waves) = (Lane::new(&self.sessions, &self.network, self.element)?, self.half_waves);
        Ok(Box::new(FrontLane { graph, lane, memory, half_waves, images: Vec::new(), batches: Vec::new() }))
    }
}

struct FrontLane {
    graph: Arc<Mutex<OrtSession>>,
    lane: Lane,
    memory: MemoryInfo<'static>,
    half_waves: usize,
    /// `[row, channel, y, x]`, to be cut anew where memory does not hold a batch.
    images: Vec<f32>,
    batches: Vec<Batch>,
}

/// Images that are bound to the graph's input, where that computes.
struct Batch {
    rows: usize,
    /// Rows of zeros after them, for networks of one batch size.
    padding: usize,
    half_waves: usize,
    binding: IoBinding,
}

impl FrontLane {
    /// Rows of a batch.
    fn rows(&self) -> usize {
        let Lane { network, sessions, .. } = &self.lane;
        let all = self.images.len() / network.shape.len();
        network.fixed_batch.unwrap_or_else(|| all.min(sessions.most.load(Ordering::Relaxed)).max(1))
    }

    /// Binds the images, in batches that memory holds.
    fn bind(&mut self) -> Result<()> {
        let network = &self.lane.network;
        let failed = |error| engine_error(&network.path, NAME, "copy images for", error);
        let size = network.shape.len();
        for images in self.images.chunks(self.rows() * size) {
            let rows = images.len() / size;
            let padding = network.fixed_batch.map_or(0, |batch| batch - rows);
            let mut images = images.to_vec();
            images.resize((rows + padding) * size, 0.0);
            let shape = network.shape;
            let dims = [rows + padding, shape.channels, shape.height, shape.width];
            let bind = || -> ort::Result<IoBinding> {
                let mut binding = self.graph.lock().unwrap_or_else(PoisonError::into_inner).create_binding()?;
                binding.bind_input(IMAGES, &Tensor::from_array((dims, images))?)?;
                binding.synchronize_inputs()?;
                Ok(binding)
            };
            let binding = bind().map_err(failed)?;
            self.batches.push(Batch { rows, padding, half_waves: self.half_waves, binding });
        }
        Ok(())
    }

    fn try_run(&mut self, draws: &Draws, mut perturbed: [&mut [f32]; 2]) -> Result<()> {
        if self.batches.is_empty() {
            self.bind()?;
        }
        let numbers = self.lane.network.row();
        let mut first = 0;
        for batch in &mut self.batches {
            let end = first + batch.rows;
            let values = batch
                .perturb(&self.graph, &self.memory, draws, first)
                .map_err(|error| engine_error(&self.lane.network.path, NAME, "perturb images for", error))?;
            for (value, given) in values.iter().zip(&mut perturbed) {
                self.lane.run_value(
                    value.into(),
                    batch.rows + batch.padding,
                    &mut given[first * numbers..end * numbers],
                )?;
            }
            first = end;
        }
        Ok(())
    }
}

impl Batch {
    /// Images deformed, and noisy, as the network takes them.
    fn perturb(
        &mut self,
        graph: &Mutex<OrtSession>,
        memory: &MemoryInfo,
        draws: &Draws,
        first: usize,
    ) -> ort::Result<[DynValue; 2]> {
        let rows = self.rows + self.padding;
        let half_waves = self.half_waves;
        let spectrum = half_waves * half_waves;
        for (name, spectra) in SPECTRA.into_iter().zip([&draws.x, &draws.y]) {
            let mut spectra = spectra[first * spectrum..(first + self.rows) * spectrum].to_vec();
            spectra.resize(rows * spectrum, 0.0);
            self.binding.bind_input(name, &Tensor::from_array(([rows, half_waves, half_waves], spectra))?)?;
        }
        let mut keys = draws.keys[first..first + self.rows].to_vec();
        keys.resize(rows, 1);
        self.binding.bind_input(KEYS, &Tensor::from_array(([rows, 1, 1], keys))?)?;
        // Bound anew, for what they gave before still is in use.
        for name in [DEFORMED, NOISY] {
            self.binding.bind_output_to_device(name, memory)?;
        }
        self.binding.synchronize_inputs()?;
        let mut graph = graph.lock().unwrap_or_else(PoisonError::into_inner);
        let mut given = graph.run_binding(&self.binding)?;
        let mut take = |name| given.remove(name).ok_or_else(|| ort::Error::new(format!("no {name} images")));
        Ok([take(DEFORMED)?, take(NOISY)?])
    }
}

impl FrontSession for FrontLane {
    fn take(&mut self, images: &[f32]) {
        self.batches.clear();
        self.images.clear();
        self.images.extend_from_slice(images);
    }

    fn run(&mut self, draws: &Draws, deformed: &mut [f32], noisy: &mut [f32]) -> Result<()> {
        loop {
            let most = self.rows();
            match self.try_run(draws, [&mut *deformed, &mut *noisy]) {
                Err(error) if self.lane.network.fixed_batch.is_none() && most > 1 && is_out_of_memory(&error) => {
                    self.lane.sessions.most.fetch_min(most / 2, Ordering::Relaxed);
                    self.batches.clear();
                }
                outcome => return outcome,
            }
        }
    }
}
