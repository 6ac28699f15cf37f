//! ONNX Runtime through its shared library, loaded at run time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use half::{bf16, f16};
use ort::ep::{CUDA, ExecutionProvider};
use ort::logging::LogLevel;
use ort::session::SessionInputValue;
use ort::session::builder::SessionBuilder;
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session as OrtSession, SessionOutputs};
use ort::value::{DynTensor, DynValue, PrimitiveTensorElementType, Tensor, TensorElementType, TensorRef, ValueType};

use super::discover::candidates;
use super::graph::{Element, Graph, Input};
use super::network::Given;
use super::{
    Backend, Coordinates, Identity, Lanes, Network, Provider, Session, engine_error, in_fixed_batches, wrong_outputs,
};
use crate::error::{Error, Result};
use crate::probe::Shape;

const NAME: &str = "onnxruntime";

/// The library, once it is loaded; a process holds one.
#[derive(Debug, Clone)]
pub struct Runtime {
    environment: ort::environment::Environment,
    /// The library's file.
    pub path: PathBuf,
    /// Who named it.
    pub origin: &'static str,
    /// The library's version.
    pub version: String,
}

impl Runtime {
    /// Whether the library was built with CUDA.
    #[must_use]
    pub fn has_cuda(&self) -> bool {
        CUDA::is_available().unwrap_or(false)
    }
}

/// Finds and loads ONNX Runtime, or gives the one that is loaded already.
///
/// # Errors
/// `Unavailable` if there is no library, or none that is ONNX Runtime 1.17 or newer.
pub fn runtime(named: Option<&Path>) -> Result<Runtime> {
    static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = &*loaded {
        return Ok(runtime.clone());
    }
    let mut first_failure = None;
    for candidate in candidates(named) {
        match load(&candidate.path) {
            Ok((environment, version)) => {
                let runtime = Runtime { environment, version, path: candidate.path, origin: candidate.origin };
                *loaded = Some(runtime.clone());
                return Ok(runtime);
            }
            Err(reason) => {
                first_failure.get_or_insert((candidate, reason));
            }
        }
    }
    let (what, reason) = match first_failure {
        Some((candidate, reason)) => {
            (format!("ONNX Runtime library {} (from {})", candidate.path.display(), candidate.origin), reason)
        }
        None => (
            "ONNX Runtime library".to_owned(),
            "none in the active Python environment or the system's library path".to_owned(),
        ),
    };
    Err(Error::Unavailable {
        what,
        reason,
        help: "install it with `pip install onnxruntime` (1.17 or newer), name it with --onnxruntime, or use --backend tract",
    })
}

fn load(path: &Path) -> Result<(ort::environment::Environment, String), String> {
    if !path.is_file() {
        return Err("expected a shared library, found no such file".to_owned());
    }
    let absolute = path.canonicalize().map_err(|error| error.to_string())?;
    let environment = ort::init_from(&absolute).map_err(|error| match error {
        ort::LoadDynamicError::BadVersion { version_str, .. } => {
            format!("expected version 1.{} or newer, found {version_str}", ort::MINOR_VERSION)
        }
        ort::LoadDynamicError::MissingApi { .. } => "expected ONNX Runtime, found another library".to_owned(),
        other => format!("expected ONNX Runtime, found a file that does not load ({other})"),
    })?;
    let environment =
        environment.with_name("relstab").with_telemetry(false).build().map_err(|error| error.to_string())?;
    environment.set_log_level(LogLevel::Fatal);
    Ok((environment, version(&absolute)))
}

/// The version in the library's file name, else the release it says it was built from.
fn version(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let from_name = name.split_once(".so.").map(|(_, version)| version.to_owned());
    let from_build =
        || ort::info().split_once("git-branch=rel-").and_then(|(_, rest)| rest.split(',').next()).map(str::to_owned);
    from_name.or_else(from_build).unwrap_or_else(|| "unknown".to_owned())
}

/// Sessions that no lane holds: all are made when the network is loaded, and given back when a lane is done.
type Idle = Arc<Mutex<Vec<OrtSession>>>;

/// A network in ONNX Runtime.
pub(super) struct OnnxRuntime {
    network: Arc<Network>,
    element: Element,
    identity: Identity,
    lanes: Lanes,
    idle: Idle,
}

/// What sessions are made from.
struct Source {
    runtime: Runtime,
    path: PathBuf,
    model: Model,
    cuda: bool,
    threads_per_lane: usize,
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
        provider: Provider,
        threads: usize,
    ) -> Result<Self> {
        let cuda_possible = runtime.has_cuda();
        if provider == Provider::Cuda && !cuda_possible {
            return Err(Error::Unavailable {
                what: "provider cuda".to_owned(),
                reason: format!(
                    "ONNX Runtime {} at {} was built without CUDA",
                    runtime.version,
                    runtime.path.display()
                ),
                help: "install onnxruntime-gpu in place of onnxruntime, or use --provider cpu",
            });
        }
        let cuda = cuda_possible && provider != Provider::Cpu;
        let mut lanes = if cuda { lanes(2, 0, shape) } else { lanes(threads, graph.total_bytes, shape) };
        let model = if !graph.external_data.is_empty() && graph.is_ready() {
            Model::File
        } else {
            Model::Memory(graph.take_bytes())
        };
        let mut source =
            Source { runtime, path: graph.path.clone(), model, cuda, threads_per_lane: threads.div_ceil(lanes.count) };
        let (session, note) = match source.session() {
            Ok(session) => (session, None),
            Err(error) if source.cuda && provider == Provider::Cuda => {
                return Err(Error::Unavailable {
                    what: "provider cuda".to_owned(),
                    reason: error.to_string(),
                    help: "run `relstab doctor` to see what CUDA lacks, or use --provider cpu",
                });
            }
            Err(error) if source.cuda => {
                source.cuda = false;
                (source.session()?, Some(format!("CUDA could not be used, the CPU ran instead: {error}")))
            }
            Err(error) => return Err(error),
        };
        let identity = Identity {
            name: NAME.to_owned(),
            version: source.runtime.version.clone(),
            provider: if source.cuda { "cuda" } else { "cpu" }.to_owned(),
            provider_requested: provider,
        };
        let element = graph.element;
        let mut network = Arc::new(Network::new(&graph, (shape, input), note));
        let idle = Idle::default();
        let (rows, given) = Lane::new(session, &network, element, &idle)?.trial()?;
        Arc::make_mut(&mut network).settle(NAME, &graph.layers, rows, given)?;
        let bytes = network.tensors().map(|tensor| tensor.coordinates.total()).sum::<usize>() * size_of::<f32>();
        lanes.batch = lanes.batch.min(OUTPUT_BYTES / bytes.max(1)).max(1);
        for _ in 1..lanes.count {
            let session = source.session()?;
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        }
        Ok(Self { network, element, identity, lanes, idle })
    }
}

/// Memory that copies of a network's weights may take together before lanes share cores instead.
const WEIGHTS_LIMIT_BYTES: u64 = 512 << 20;
/// Input of one batch: enough rows to amortise a call, few enough to stay near the cache.
const BATCH_BYTES: usize = 2 << 20;
/// What one batch gives, at most: the whole tensors, of which coordinates are taken.
const OUTPUT_BYTES: usize = 64 << 20;

/// One single-threaded session for each core: no core waits for another inside a layer. Large networks get fewer
/// lanes of several threads each, so that their weights are not held once for every core. On a GPU, two lanes: one
/// perturbs while the other runs.
fn lanes(threads: usize, weights_bytes: u64, shape: Shape) -> Lanes {
    let affordable = usize::try_from(WEIGHTS_LIMIT_BYTES / weights_bytes.max(1)).unwrap_or(usize::MAX);
    let batch = BATCH_BYTES / (shape.len() * size_of::<f32>()).max(1);
    Lanes { count: threads.min(affordable).max(1), batch: batch.clamp(1, 64) }
}

impl Source {
    fn session(&self) -> Result<OrtSession> {
        let failed = |error: ort::Error| engine_error(&self.path, NAME, "load", error);
        let builder = || -> std::result::Result<SessionBuilder, ort::Error> {
            let mut builder = OrtSession::builder(&self.runtime.environment)?
                .with_intra_threads(self.threads_per_lane)?
                .with_inter_threads(1)?
                .with_log_level(LogLevel::Fatal)?;
            if let Some(folder) = self.path.parent() {
                // From memory, ONNX Runtime has no other way to know where external data lies.
                let key = "session.model_external_initializers_file_folder_path";
                builder = builder.with_config_entry(key, folder.to_string_lossy())?;
            }
            if self.cuda {
                builder = builder.with_execution_providers([CUDA::default().build().error_on_failure()])?;
            }
            Ok(builder)
        };
        let mut builder = builder().map_err(failed)?;
        match &self.model {
            Model::File => builder.commit_from_file(&self.path),
            Model::Memory(bytes) => builder.commit_from_memory(bytes),
        }
        .map_err(failed)
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
        self.lanes
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let session = idle.ok_or_else(|| engine_error(&self.network.path, NAME, "run", "more sessions than lanes"))?;
        Ok(Box::new(Lane::new(session, &self.network, self.element, &self.idle)?))
    }
}

struct Lane {
    /// `None` only while the lane is dropped.
    session: Option<OrtSession>,
    idle: Idle,
    options: RunOptions<HasSelectedOutputs>,
    network: Arc<Network>,
    element: Element,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.session.take());
    }
}

impl Lane {
    fn new(session: OrtSession, network: &Arc<Network>, element: Element, idle: &Idle) -> Result<Self> {
        let outputs = network.tensors().fold(OutputSelector::no_default(), |all, tensor| all.with(&tensor.name));
        let options = RunOptions::new().map_err(|error| engine_error(&network.path, NAME, "run", error))?;
        Ok(Self {
            session: Some(session),
            idle: Arc::clone(idle),
            options: options.with_outputs(outputs),
            network: Arc::clone(network),
            element,
        })
    }

    /// Runs one batch of zeros: how many rows it has, and what it gives.
    fn trial(&mut self) -> Result<(usize, Vec<Given>)> {
        let rows = self.network.fixed_batch.unwrap_or(1);
        let zeros = vec![0.0; rows * self.network.shape.len()];
        let mut all = Vec::new();
        self.with_outputs(&zeros, rows, &mut |given| {
            all = (0..given.len()).map(|index| told(given[index].dtype())).collect();
            Ok(())
        })?;
        Ok((rows, all))
    }

    fn with_outputs(
        &mut self,
        images: &[f32],
        rows: usize,
        read: &mut dyn FnMut(&SessionOutputs) -> ort::Result<()>,
    ) -> Result<()> {
        let failed = |error: ort::Error| engine_error(&self.network.path, NAME, "run", error);
        let Some(session) = &mut self.session else { return Ok(()) };
        let dims = self.network.input_dims(rows);
        let converted: DynTensor;
        let input: SessionInputValue = match self.element {
            Element::Float32 => TensorRef::from_array_view((dims, images)).map_err(failed)?.into(),
            element => {
                converted = match element {
                    Element::Float16 => tensor(dims, images, f16::from_f32),
                    Element::Bfloat16 => tensor(dims, images, bf16::from_f32),
                    Element::Float32 | Element::Float64 => tensor(dims, images, f64::from),
                }
                .map_err(failed)?;
                (&converted).into()
            }
        };
        let inputs = vec![(self.network.input.as_str(), input)];
        let outputs = session.run_with_options(inputs, &self.options).map_err(failed)?;
        read(&outputs).map_err(failed)
    }
}

fn told(kind: &ValueType) -> Given {
    use TensorElementType::{Bfloat16, Float16, Float32, Float64};
    let are_floats = matches!(kind.tensor_type(), Some(Float16 | Bfloat16 | Float32 | Float64));
    let sizes = kind.tensor_shape().into_iter().flat_map(|shape| shape.iter());
    Given { are_floats, sizes: sizes.map(|size| usize::try_from(*size).unwrap_or(0)).collect() }
}

fn tensor<T>(dims: Vec<usize>, images: &[f32], convert: fn(f32) -> T) -> ort::Result<DynTensor>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let values: Vec<T> = images.iter().map(|value| convert(*value)).collect();
    Ok(Tensor::from_array((dims, values))?.upcast())
}

/// Writes the measured coordinates into a row each; whether there were as many values as there should be.
fn gather<'a>(
    coordinates: &Coordinates,
    output: &DynValue,
    rows: impl ExactSizeIterator<Item = &'a mut [f32]>,
) -> ort::Result<bool> {
    Ok(match output.dtype().tensor_type() {
        Some(TensorElementType::Float16) => {
            coordinates.gather(output.try_extract_tensor::<f16>()?.1, f16::to_f32, rows)
        }
        Some(TensorElementType::Bfloat16) => {
            coordinates.gather(output.try_extract_tensor::<bf16>()?.1, bf16::to_f32, rows)
        }
        Some(TensorElementType::Float64) => {
            coordinates.gather(output.try_extract_tensor::<f64>()?.1, |value| value as f32, rows)
        }
        _ => coordinates.gather(output.try_extract_tensor::<f32>()?.1, |value| value, rows),
    })
}

impl Session for Lane {
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> Result<()> {
        let network = Arc::clone(&self.network);
        let (size, row) = (network.shape.len(), network.row());
        in_fixed_batches(network.fixed_batch, images, outputs, size, row, |images, outputs| {
            let count = images.len() / size;
            let mut outcome = Ok(());
            self.with_outputs(images, count, &mut |given| {
                for (index, (tensor, columns)) in network.tensors().zip(network.columns()).enumerate() {
                    let rows = outputs.chunks_exact_mut(row).map(|row| &mut row[columns.clone()]);
                    if !gather(&tensor.coordinates, &given[index], rows)? {
                        let found = given[index].shape().num_elements();
                        outcome = Err(wrong_outputs(&network.path, NAME, tensor, count, found));
                    }
                }
                Ok(())
            })?;
            outcome
        })
    }
}
