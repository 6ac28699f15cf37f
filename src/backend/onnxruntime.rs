//! Networks in ONNX Runtime: where they compute, and the sessions that lanes share.

mod lane;
mod on_provider;
mod staging;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch, OneDNN, OpenVINO, XNNPACK};
use ort::logging::LogLevel;
use ort::session::Session as OrtSession;
use ort::session::builder::SessionBuilder;

use super::alone::{Traits, settled};
use super::batches::halved;
use super::cuda::lacks;
use super::graph::Graph;
use super::input::{Element, Input};
use super::notice::{Code, Notice};
use super::pool::Pool;
use super::{
    Backend, Identity, LIBRARY, Lanes, Network, Options, PerturbGraph, PerturbOn, Perturbing, Provider, Runtime,
    Session, perturbs_elsewhere, saturation, words,
};
use crate::checkpoint::file::is_packed;
use crate::error::{Error, Result};
use crate::perturb::{Interpolation, Perturber};
use crate::probe::Shape;
use lane::{Lane, NAME, Sessions, trial};
use on_provider::OnProvider;

/// A network in ONNX Runtime.
pub(super) struct OnnxRuntime {
    network: Arc<Network>,
    element: Element,
    identity: Identity,
    sessions: Arc<Sessions>,
    runtime: Runtime,
    place: Place,
    perturb_on: PerturbOn,
}

/// What sessions are made from.
struct Source<'a> {
    runtime: Runtime,
    graph: Graph,
    model: Model,
    /// Before a trial tells what it gives.
    network: Network,
    traits: Traits,
    options: &'a Options,
}

/// Where sessions compute, how many of them and on how many cores each, and how many lanes share them.
struct Place {
    cuda: Option<(CUDA, u16)>,
    /// What computes on the CPU.
    library: Provider,
    sessions: usize,
    threads_per_session: usize,
    lanes: Lanes,
}

enum Model {
    /// The file as it is: its external data is found beside it by every version of ONNX Runtime.
    File,
    Memory(Vec<u8>),
}

impl OnnxRuntime {
    pub fn load(
        runtime: Runtime,
        mut graph: Graph,
        (shape, input): (Shape, Input),
        options: &Options,
        threads: usize,
    ) -> Result<Self> {
        let (provider, bytes) = (options.provider, graph.total_bytes);
        let traits = Traits::of(&graph);
        let saturates = saturation::saturates(&graph);
        let model = if !graph.external_data.is_empty() && graph.is_ready() && !is_packed(&graph.file) {
            Model::File
        } else {
            Model::Memory(graph.take_bytes())
        };
        let network = Network::new(&graph, (shape, input), None);
        let source = Source { runtime, graph, model, network, traits, options };
        let library = if Provider::LIBRARIES.contains(&provider) { provider } else { Provider::Cpu };
        if !source.runtime.has(library) {
            let Runtime { version, path, .. } = &source.runtime;
            let reason = format!("ONNX Runtime {version} at {} was built without it", path.display());
            return Err(Error::Unavailable { what: format!("provider {library}"), reason, help: LIBRARY });
        }
        let on_cpu = || -> Result<Self> {
            let mut loaded = Self::tried(&source, Place { library, ..Place::cpu(threads, bytes, shape) })?;
            if saturates {
                Arc::make_mut(&mut loaded.network).add_notice(Notice::new(Code::Saturation, saturation::NOTE));
            }
            Ok(loaded)
        };
        let wanted = provider == Provider::Cuda || provider == Provider::Auto && source.runtime.has_cuda();
        let on_cuda = wanted.then(|| {
            let lacks = lacks(&source.runtime);
            if !lacks.is_empty() {
                return Err(format!("it lacks {}", lacks.join("; ")));
            }
            Self::tried(&source, Place::cuda(options, threads, shape)).map_err(|error| error.to_string())
        });
        match on_cuda {
            None => on_cpu(),
            Some(Ok(loaded)) => Ok(loaded),
            Some(Err(reason)) => {
                // A network that the CPU refuses too is at fault itself.
                let mut loaded = on_cpu()?;
                if provider == Provider::Cuda {
                    let help = "`relstab doctor` tells what CUDA lacks; --provider cpu does without";
                    return Err(Error::Unavailable { what: "provider cuda".to_owned(), reason, help });
                }
                let note = format!("CUDA could not be used, the CPU ran instead: {reason}");
                Arc::make_mut(&mut loaded.network).add_notice(Notice::new(Code::OtherEngine, note));
                Ok(loaded)
            }
        }
    }

    /// A network in the sessions of one place. One image, or a batch of the size that it insists on, tells what it gives; where
    /// batches are whole, each session then runs one before it serves: that warms it, and shows that there is room.
    fn tried(source: &Source, mut place: Place) -> Result<Self> {
        let Source { runtime, graph, options, .. } = source;
        let mut network = source.network.clone();
        let (element, is_whole) = (graph.element, place.lanes.whole);
        let mut first = source.session(&place)?;
        settled(&mut network, NAME, (&graph.layers, &source.traits), &mut |network, rows, images| {
            trial(&mut first, network, element, rows, images)
        })?;
        let mut rows = network.fixed_batch.unwrap_or(1);
        let zeros = |rows: usize| vec![0.0; rows * network.shape.len()];
        let bytes = network.tensors().map(|tensor| tensor.coordinates.total()).sum::<usize>() * size_of::<f32>();
        place.lanes.batch = place.lanes.batch.min(OUTPUT_BYTES / bytes.max(1)).max(1);
        let most = AtomicUsize::new(usize::MAX);
        if is_whole && network.fixed_batch.is_none() {
            rows = halved(place.lanes.batch, &most, |rows| {
                trial(&mut first, &network, element, rows, &zeros(rows))?;
                Ok(rows)
            })?;
        }
        let mut sessions = vec![first];
        while sessions.len() < place.sessions {
            let next = source.session(&place).and_then(|mut session| {
                if is_whole {
                    trial(&mut session, &network, element, rows, &zeros(rows))?;
                }
                Ok(session)
            });
            match next {
                Ok(session) => sessions.push(session),
                // A card that others fill may have room for one.
                Err(_) if is_whole => break,
                Err(error) => return Err(error),
            }
        }
        let identity = Identity {
            name: NAME.to_owned(),
            version: runtime.version.clone(),
            provider: if place.cuda.is_some() { Provider::Cuda } else { place.library }.to_string(),
            provider_requested: options.provider,
            host: None,
        };
        let gpu = place.cuda.as_ref().map(|(_, device)| *device);
        Ok(Self {
            network: Arc::new(network),
            element,
            identity,
            sessions: Arc::new(Sessions { pool: Pool::new(sessions), gpu, most }),
            runtime: runtime.clone(),
            place,
            perturb_on: options.perturb_on,
        })
    }
}

/// Memory that copies of a network's weights may take together before lanes share cores instead.
const WEIGHTS_LIMIT_BYTES: u64 = 512 << 20;
/// Input of one batch on the CPU: enough rows to amortise a call, few enough to stay near the cache.
const BATCH_BYTES: usize = 2 << 20;
/// Input of one batch on a GPU: two are in flight there, enough rows to fill it; each holds memory that a training may want.
const GPU_BATCH_BYTES: usize = 8 << 20;
/// Sessions on a GPU: one copies while the other computes.
const GPU_SESSIONS: usize = 2;
/// Lanes that perturb for a GPU, at most: each keeps five batches in memory.
const GPU_LANES: usize = 8;
/// A guess of what it takes to prepare a graph that perturbs images on a GPU.
const PREPARING: Duration = Duration::from_millis(300);
/// What one batch gives, at most: the whole tensors, of which coordinates are taken.
const OUTPUT_BYTES: usize = 64 << 20;

impl Place {
    /// One single-threaded session for each core: no core waits for another inside a layer. Large networks get fewer
    /// lanes of several threads each, so that their weights are not held once for every core.
    fn cpu(threads: usize, weights_bytes: u64, shape: Shape) -> Self {
        let affordable = usize::try_from(WEIGHTS_LIMIT_BYTES / weights_bytes.max(1)).unwrap_or(usize::MAX);
        let count = threads.min(affordable).max(1);
        let lanes = Lanes { count, batch: batch(BATCH_BYTES, shape), whole: false };
        Self {
            cuda: None,
            library: Provider::Cpu,
            sessions: count,
            threads_per_session: threads.div_ceil(count),
            lanes,
        }
    }

    /// The arena grows by what is needed, not by doubling. Every checkpoint is a new session: its convolutions are chosen by the
    /// quickest heuristics.
    fn cuda(options: &Options, threads: usize, shape: Shape) -> Self {
        let device = options.device.unwrap_or(0);
        let mut cuda = CUDA::default()
            .with_device_id(device.into())
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
        if let Some(bytes) = options.gpu_memory {
            let sessions = GPU_SESSIONS + usize::from(options.perturb_on != PerturbOn::Cpu);
            cuda = cuda.with_memory_limit(usize::try_from(bytes).unwrap_or(usize::MAX) / sessions);
        }
        let count = threads.clamp(GPU_SESSIONS, GPU_LANES);
        let lanes = Lanes { count, batch: batch(GPU_BATCH_BYTES, shape), whole: true };
        Self {
            cuda: Some((cuda, device)),
            library: Provider::Cpu,
            sessions: GPU_SESSIONS,
            threads_per_session: 1,
            lanes,
        }
    }

    /// For a graph that takes floats of this size. Those of 32 bits are multiplied as such: TensorFloat-32 rounds to 10 bits, and
    /// changes of outputs are small differences. Where it is off, those of 16 bits do without tensor cores.
    fn builder(&self, runtime: &Runtime, element: Element) -> ort::Result<SessionBuilder> {
        let mut builder = OrtSession::builder(&runtime.environment)?
            .with_intra_threads(self.threads_per_session)?
            .with_inter_threads(1)?
            .with_log_level(LogLevel::Fatal)?;
        if let Some((cuda, _)) = &self.cuda {
            let cuda = cuda.clone().with_tf32(matches!(element, Element::Float16 | Element::Bfloat16));
            // A pattern takes all of a run's memory as one block, on top of what the arena took for the first run in parts.
            builder =
                builder.with_memory_pattern(false)?.with_execution_providers([cuda.build().error_on_failure()])?;
        }
        if let Some(library) = self.library() {
            builder = builder.with_execution_providers([library.error_on_failure()])?;
        }
        Ok(builder)
    }

    /// What computes on the CPU in place of ONNX Runtime itself, on as many threads; in 32 bits, for changes of outputs are small.
    fn library(&self) -> Option<ExecutionProviderDispatch> {
        let threads = self.threads_per_session;
        match self.library {
            Provider::Openvino => {
                let openvino = OpenVINO::default().with_device_type("CPU").with_precision("FP32");
                Some(openvino.with_num_threads(threads).build())
            }
            Provider::Dnnl => Some(OneDNN::default().build()),
            Provider::Xnnpack => {
                Some(XNNPACK::default().with_intra_op_num_threads(NonZeroUsize::new(threads)?).build())
            }
            Provider::Auto | Provider::Cuda | Provider::Cpu => None,
        }
    }
}

/// Images in a batch of so many bytes.
fn batch(bytes: usize, shape: Shape) -> usize {
    (bytes / (shape.len() * size_of::<f32>()).max(1)).clamp(1, 64)
}

impl Source<'_> {
    fn session(&self, place: &Place) -> Result<OrtSession> {
        let path = &self.graph.file;
        let failed = |error: ort::Error| words::of_onnxruntime(&self.graph, &self.runtime.version, error.message());
        let builder = || -> ort::Result<SessionBuilder> {
            let mut builder = place.builder(&self.runtime, self.graph.element)?;
            if let Some(folder) = path.parent() {
                // From memory, ONNX Runtime has no other way to know where external data lies.
                let key = "session.model_external_initializers_file_folder_path";
                builder = builder.with_config_entry(key, folder.to_string_lossy())?;
            }
            Ok(builder)
        };
        let mut builder = builder().map_err(failed)?;
        for library in &self.options.custom_ops {
            builder = builder.with_operator_library(&library.0).map_err(|error| not_operators(&library.0, &error))?;
        }
        match &self.model {
            Model::File => builder.commit_from_file(path),
            Model::Memory(bytes) => builder.commit_from_memory(bytes),
        }
        .map_err(failed)
    }
}

fn not_operators(library: &Path, error: &ort::Error<SessionBuilder>) -> Error {
    Error::Unavailable {
        what: format!("--custom-ops {}", library.display()),
        reason: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
        help: "name a shared library of custom operators (it exports RegisterCustomOps) that was built for this machine",
    }
}

impl OnnxRuntime {
    /// What perturbs images for it, where it computes.
    fn on_provider(&self, perturber: &Perturber) -> Result<OnProvider> {
        // Whatever the network takes, displacements and noises are 32-bit floats.
        let builder = self.place.builder(&self.runtime, Element::Float32);
        OnProvider::new(builder, (&self.network, self.element), (&self.sessions, self.place.sessions), perturber)
    }
}

impl Backend for OnnxRuntime {
    fn network(&self) -> &Network {
        &self.network
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn lanes(&self) -> Lanes {
        let lanes = self.place.lanes;
        Lanes { batch: lanes.batch.min(self.sessions.most.load(Ordering::Relaxed)), ..lanes }
    }

    fn session(&self, rows: usize) -> Result<Box<dyn Session>> {
        Ok(Box::new(Lane::new(&self.sessions, &self.network, self.element, rows)?))
    }

    fn perturbing(&self, interpolation: Interpolation) -> Perturbing {
        let is_bilinear = interpolation == Interpolation::Bilinear;
        if !self.network.has_batch {
            return Perturbing::Caller;
        }
        match self.perturb_on {
            PerturbOn::Provider => Perturbing::Graph,
            PerturbOn::Auto if is_bilinear && self.place.cuda.is_some() => Perturbing::Quicker(PREPARING),
            PerturbOn::Auto | PerturbOn::Cpu => Perturbing::Caller,
        }
    }

    fn perturb_graph(&self, perturber: &Perturber) -> Result<Box<dyn PerturbGraph>> {
        match perturber.interpolation() {
            Interpolation::Bilinear => Ok(Box::new(self.on_provider(perturber)?)),
            Interpolation::Gaussian => Err(perturbs_elsewhere()),
        }
    }
}
