//! What a process would compute with, told within a few milliseconds: nothing is loaded, and no driver is asked.

use super::cuda::gpus_at_hand;
use super::runtime::version_in_name;
use super::{TRACT_VERSION, discover};

/// What is there, unless options say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AtHand {
    /// Its name, and its version where that is told by the library's file.
    pub engine: String,
    /// `cuda` where a library with CUDA and a GPU are there, else `cpu`: what CUDA lacks besides shows when it is loaded.
    pub provider: &'static str,
    /// The GPUs.
    pub device: Option<String>,
}

/// Looks at files only.
pub fn at_hand() -> AtHand {
    let library = discover::at_hand().map(|found| found.path.canonicalize().unwrap_or(found.path));
    let engine = match &library {
        Some(path) => {
            let version = version_in_name(path).map_or_else(String::new, |version| format!(" {version}"));
            format!("onnxruntime{version}")
        }
        None if discover::asks_python() => format!("tract {TRACT_VERSION}, unless python3 has onnxruntime"),
        None => format!("tract {TRACT_VERSION}"),
    };
    let has_cuda = library.is_some_and(|path| path.with_file_name("libonnxruntime_providers_cuda.so").is_file());
    let device = has_cuda.then(gpus_at_hand).flatten();
    AtHand { engine, provider: if device.is_some() { "cuda" } else { "cpu" }, device }
}
