//! Which engines and providers are here, what is missing, and what a network sees before it is measured.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::backend::{self, Driver, Provider, Runtime, Trial, candidates, runtime, trial};
use crate::checkpoint::Metadata;
use crate::error::Result;
use crate::event::Finding;
use crate::measure::{Preview, Progress};
use crate::plan::Setup;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// The version of relstab.
    pub relstab: &'static str,
    /// Cores there are.
    pub cores: usize,
    /// The version of the embedded engine.
    pub tract: &'static str,
    /// How far the embedded engine is off on a network of 8 bits, over the largest output.
    pub tract_8_bit: Option<f32>,
    /// Whether the processor's sums of 8-bit products may saturate in ONNX Runtime.
    pub lacks_vnni: bool,
    /// The library that is used, if one can be.
    pub onnxruntime: Option<Library>,
    /// Why ONNX Runtime cannot be used, where it cannot.
    pub onnxruntime_missing: Option<String>,
    /// Libraries that were looked at, in order.
    pub candidates: Vec<String>,
    /// The GPU's.
    pub driver: Option<Driver>,
    /// What CUDA lacks, each with what mends it; empty where it can be tried.
    pub cuda_missing: Vec<String>,
    /// A network that was looked at too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Inspection>,
}

/// An ONNX Runtime library.
#[derive(Debug, Serialize)]
pub struct Library {
    /// Its version.
    pub version: String,
    /// Where it lies.
    pub path: PathBuf,
    /// What led to it.
    pub found_by: &'static str,
    /// Those that can be tried.
    pub providers: Vec<Tried>,
}

/// What became of a small network on a provider of ONNX Runtime.
#[derive(Debug, Serialize)]
pub struct Tried {
    /// The provider.
    pub provider: Provider,
    /// From the embedded engine's outputs, over the largest of them.
    pub difference: Option<f32>,
    /// Of a network of 8 bits, from what it should give.
    pub difference_8_bit: Option<f32>,
    /// Why it did not run, or that it computes something else.
    pub failure: Option<String>,
}

/// What is said of a network before it is measured.
#[derive(Debug, Serialize)]
pub struct Inspection {
    /// Its file.
    pub model: PathBuf,
    /// Its input, with type and shape.
    pub input: String,
    /// Its outputs, alike.
    pub outputs: Vec<String>,
    /// What it says of itself.
    pub metadata: Metadata,
    /// What it makes of the first images.
    #[serde(flatten)]
    pub preview: Preview,
    /// What is wrong, doubtful or worth knowing, from clean images alone; other preprocessings are tried in any case.
    pub diagnosis: Vec<Finding>,
}

/// Engines round differently, by 1e-6 of an output; those that compute something else are off by far more.
const ROUNDING: f32 = 1e-3;
/// In 8 bits, a sum that lies between two steps may fall on either.
pub const ROUNDING_8_BIT: f32 = 0.02;

impl Diagnosis {
    /// Looks for what these options would use.
    pub fn new(options: &backend::Options) -> Self {
        let named = options.library.as_ref().map(|library| library.0.as_path());
        let candidates =
            candidates(named).into_iter().map(|c| format!("{} ({})", c.path.display(), c.origin)).collect();
        let found = runtime(named);
        let cuda_missing = match &found {
            Ok(runtime) => backend::lacks(runtime),
            Err(_) => vec![format!("ONNX Runtime with CUDA: {}", backend::INSTALL)],
        };
        let cuda = cuda_missing.is_empty().then_some(Provider::Cuda);
        let (library, missing) = match found {
            Ok(runtime) => {
                let libraries = Provider::LIBRARIES.into_iter().filter(|library| runtime.has(*library));
                let providers = cuda.into_iter().chain([Provider::Cpu]).chain(libraries);
                let providers = providers.map(|provider| tried(&runtime, options, provider)).collect();
                (
                    Some(Library { version: runtime.version, path: runtime.path, found_by: runtime.origin, providers }),
                    None,
                )
            }
            Err(error) => (None, Some(error.one_line())),
        };
        Self {
            relstab: env!("CARGO_PKG_VERSION"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            tract: backend::TRACT_VERSION,
            tract_8_bit: trial(Trial::Bytes, None).ok(),
            lacks_vnni: backend::lacks_vnni(),
            onnxruntime: library,
            onnxruntime_missing: missing,
            candidates,
            driver: backend::driver(),
            cuda_missing,
            network: None,
        }
    }
}

fn tried(runtime: &Runtime, options: &backend::Options, provider: Provider) -> Tried {
    let options = backend::Options { provider, ..options.clone() };
    let run = |network: Trial| trial(network, Some((runtime, &options)));
    let (floats, bytes) = match (run(Trial::Floats), run(Trial::Bytes)) {
        (Ok(floats), Ok(bytes)) => (floats, bytes),
        (Err(error), _) | (_, Err(error)) => {
            return Tried { provider, difference: None, difference_8_bit: None, failure: Some(error.one_line()) };
        }
    };
    let off = |difference: f32, most: f32, of: &str| {
        // What is no number is off too.
        let agrees = difference < most;
        (!agrees).then(|| format!("its outputs of {of} are off by {difference:.1e} of the largest: do not use it"))
    };
    let failure = off(floats, ROUNDING, "a network of floats")
        .or_else(|| off(bytes, ROUNDING_8_BIT, "a network of 8 bits (DequantizeLinear, Softmax, QuantizeLinear)"));
    Tried { provider, difference: Some(floats), difference_8_bit: Some(bytes), failure }
}

/// What the network at `path` says of itself and makes of the first probe images.
///
/// # Errors
/// As [`Setup::read`] and [`Setup::open`], and where it fails.
pub fn inspect(setup: &Setup, path: &Path, progress: Progress) -> Result<Inspection> {
    let model = setup.read(path)?;
    let (input, outputs) = model.signature();
    let (input, outputs, metadata) = (input, outputs.to_vec(), model.metadata().clone());
    let opened = setup.open(model, progress)?;
    let (preview, diagnosis) = (opened.preview(progress)?, opened.diagnose(progress)?);
    Ok(Inspection { model: path.to_owned(), input, outputs, metadata, preview, diagnosis })
}
