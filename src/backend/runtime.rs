//! Finding ONNX Runtime's shared library and loading it at run time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::ep::{CUDA, ExecutionProvider as _, OneDNN, OpenVINO, XNNPACK};
use ort::logging::LogLevel;

use super::discover::candidates;
use super::elf;
use super::options::Provider;
use crate::error::{Error, Result};

/// The library, once it is loaded; a process holds one.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(super) environment: ort::environment::Environment,
    /// The library's file.
    pub path: PathBuf,
    /// Who named it.
    pub origin: &'static str,
    /// The library's version.
    pub version: String,
}

impl Runtime {
    /// Whether the library was built with CUDA.
    pub fn has_cuda(&self) -> bool {
        self.has(Provider::Cuda)
    }

    /// Whether the library was built with a provider.
    pub fn has(&self, provider: Provider) -> bool {
        let is_available = match provider {
            Provider::Auto | Provider::Cpu => return true,
            Provider::Cuda => CUDA::is_available(),
            Provider::Openvino => OpenVINO::is_available(),
            Provider::Dnnl => OneDNN::is_available(),
            Provider::Xnnpack => XNNPACK::is_available(),
        };
        is_available.unwrap_or(false)
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
    elf::whole(&absolute).map_err(|found| format!("expected ONNX Runtime, found {found}"))?;
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
    let from_build =
        || ort::info().split_once("git-branch=rel-").and_then(|(_, rest)| rest.split(',').next()).map(str::to_owned);
    version_in_name(path).or_else(from_build).unwrap_or_else(|| "unknown".to_owned())
}

pub(super) fn version_in_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    name.split_once(".so.").map(|(_, version)| version.to_owned())
}
