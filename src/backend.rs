//! Running a network: [`open`] gives a [`Backend`], a backend gives one [`Session`] for each lane of work.
//!
//! No type of an engine leaves this module. Lanes run side by side, each with its own session and buffers, so that
//! several batches are in flight while others are being made.

mod alone;
mod at_hand;
mod batches;
mod coordinates;
mod cuda;
mod discover;
mod elf;
mod ending;
mod engine;
mod external;
mod first;
mod flow;
mod perturb_graph;
mod graph;
mod in_floats;
mod inline;
mod input;
mod layers;
mod network;
mod notice;
mod onnx;
mod onnxruntime;
mod options;
mod outputs;
mod pixels;
mod pool;
mod proto;
mod refusals;
mod runtime;
mod saturation;
mod squash;
mod tract;
mod trial;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use at_hand::{AtHand, at_hand};
pub use coordinates::Coordinates;
pub use cuda::{Driver, INSTALL, driver, lacks, visible_gpus};
pub use discover::{Candidate, candidates};
pub use engine::{Backend, Identity, Lanes, PerturbGraph, PerturbSession, Perturbing, Session};
pub use graph::{read_metadata, weights_beside};
pub use layers::Selection;
pub use network::{Network, Output};
pub use notice::{Code as NoticeCode, Notice};
pub use options::{Engine, Options, PerturbOn, Provider};
pub use pixels::Pixels;
pub use runtime::{Runtime, runtime};
pub use saturation::lacks_vnni;
pub use tract::VERSION as TRACT_VERSION;
pub use trial::{Trial, trial};

use crate::checkpoint::Metadata;
use crate::checkpoint::native::{Native, is_native};
use crate::error::{Error, Result};
use crate::export::Exported;
use crate::probe::Shape;
use engine::{LIBRARY, perturbs_elsewhere};
use graph::Graph;

/// An ONNX file that was read, parsed and hashed, not yet loaded into an engine.
#[derive(Debug)]
pub struct Model {
    graph: Graph,
    /// What the file goes with, where it was exported from a checkpoint.
    exported: Option<(Exported, Native)>,
}

impl Model {
    /// Hash of the file and of its external data, or of the checkpoint that it was exported from.
    pub fn sha256(&self) -> &str {
        &self.graph.sha256
    }

    /// The files that hold its external data, as they were before they were read, unless they go with it.
    pub fn external_data(&self) -> &BTreeMap<PathBuf, fs::Metadata> {
        const NONE: &BTreeMap<PathBuf, fs::Metadata> = &BTreeMap::new();
        if self.exported.is_some() { NONE } else { &self.graph.external_data }
    }

    /// What the checkpoint says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.graph.metadata
    }

    /// Its file, or the checkpoint that it was exported from.
    pub fn path(&self) -> &Path {
        &self.graph.path
    }

    /// Rows and columns of the images that it takes, where it declares them.
    pub fn extent(&self) -> Option<(usize, usize)> {
        self.graph.extent()
    }

    /// Whether it declares an input that images of `shape` fit.
    pub fn takes(&self, shape: Shape) -> bool {
        self.fits(shape).is_ok()
    }

    /// As [`Model::takes`].
    ///
    /// # Errors
    /// `Mismatch` tells what it takes.
    pub fn fits(&self, shape: Shape) -> Result<()> {
        self.graph.fits(shape)
    }

    /// How bytes of an image go with the numbers that it takes, where these are bytes.
    pub fn pixels(&self) -> Option<Pixels> {
        self.graph.pixels
    }

    /// The same with one more thing for the user to know.
    #[must_use]
    pub fn with_notice(mut self, notice: Notice) -> Self {
        self.graph.notices.push(notice);
        self
    }

    /// The same, to give layers of at most `numbers` coordinates together besides its output.
    ///
    /// # Errors
    /// `Model` for a tensor or a kind of node that it does not have, `Setting` for more layers than `numbers`.
    pub fn with_layers(mut self, selection: &Selection, numbers: usize) -> Result<Self> {
        self.graph.select(selection, numbers)?;
        Ok(self)
    }

    /// Its input and its outputs with their types and sizes, as people read them.
    pub fn signature(&self) -> (String, &[String]) {
        (self.graph.input_text(), &self.graph.outputs)
    }
}

/// Reads the ONNX network at `path`; `output` names the tensor to measure.
///
/// # Errors
/// `Io`, `Unfinished` or `Model` for a file that cannot be measured.
pub fn read(path: &Path, output: Option<&str>) -> Result<Model> {
    Ok(Model { graph: Graph::read(path, output)?, exported: None })
}

/// Whether the checkpoint at `path`, an ONNX network or a framework's own, is still the one that was measured with the hash `sha256`.
///
/// # Errors
/// `Io` for one that cannot be read.
pub fn holds(path: &Path, sha256: &str) -> Result<bool> {
    let is_measured = |content: Result<String>| match content {
        // What was measured was whole.
        Err(Error::Unfinished { .. } | Error::Model { .. }) => Ok(false),
        content => Ok(content? == sha256),
    };
    // A pattern may give ONNX networks any name.
    let is_own = is_native(path) && is_measured(Native::read(path).map(|native| native.sha256))?;
    if is_own { Ok(true) } else { is_measured(graph::content(path)) }
}

/// The framework's own checkpoint at `path`, if it is one that `options` say how to export.
///
/// # Errors
/// As [`Native::read`].
pub fn native(path: &Path, options: &Options) -> Result<Option<Native>> {
    (options.export.is_some() && is_native(path)).then(|| Native::read(path)).transpose()
}

/// Exports a checkpoint and reads its network. The file lies in `room` until it is loaded, or among the system's temporary files.
///
/// # Errors
/// As [`Export::run`](crate::export::Export::run), and `Model` for a file that cannot be measured.
pub fn export(native: Native, options: &Options, room: Option<&Path>) -> Result<Model> {
    let Some(export) = &options.export else { return read(&native.path, options.output.as_deref()) };
    let exported = export.run(&native, room)?;
    let graph = Graph::exported(&exported.file(), &native, options.output.as_deref())?;
    Ok(Model { graph, exported: Some((exported, native)) })
}

/// [`read()`], then [`load()`].
///
/// # Errors
/// As both.
pub fn open(path: &Path, shape: Shape, options: &Options) -> Result<Box<dyn Backend>> {
    load(read(path, options.output.as_deref())?, shape, options)
}

/// Loads a network into an engine for images of `shape`, and tries it once.
///
/// # Errors
/// `Mismatch` for images that it does not take, `Unavailable` for an engine or provider that cannot be had, `Engine` where
/// the engine refuses the network.
pub fn load(model: Model, shape: Shape, options: &Options) -> Result<Box<dyn Backend>> {
    // The file stays until it is loaded.
    let Model { graph, exported } = model;
    let input = graph.input_of(shape, options.input_layout)?;
    let reaching = graph.reaching();
    refusals::of_blocks(&graph.path, &reaching)?;
    if options.custom_ops.is_empty() {
        refusals::of_unknown_domains(&graph.path, &graph.proto, &reaching)?;
    }
    let library = options.library.as_ref().map(|library| library.0.as_path());
    let threads = options.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let (runtime, note) = match options.engine {
        Engine::Tract => (None, None),
        Engine::Onnxruntime => (Some(runtime(library)?), None),
        Engine::Auto => match runtime(library) {
            Ok(runtime) => (Some(runtime), None),
            // A library that was named must serve; one that was merely found may be passed over, and that is said.
            Err(error) if library.is_some() || discover::is_named() || !options.custom_ops.is_empty() => {
                return Err(error);
            }
            Err(_) if discover::candidates(None).is_empty() => (None, None),
            Err(error) => (None, Some(format!("{error}; the embedded engine ran instead"))),
        },
    };
    let on_tract = |graph: Graph, note: Option<String>| -> Result<Box<dyn Backend>> {
        let note = note.map(|note| Notice::new(NoticeCode::OtherEngine, note));
        Ok(Box::new(tract::Tract::load(graph, (shape, input.clone()), options.provider, threads, note)?))
    };
    match runtime {
        Some(runtime) => {
            let may_be_too_new = options.engine == Engine::Auto && !options.provider.needs_onnxruntime();
            let read_again = |path: &Path| match &exported {
                Some((exported, native)) => Graph::exported(&exported.file(), native, options.output.as_deref()),
                None => Graph::read(path, options.output.as_deref()),
            };
            let spare = may_be_too_new.then(|| graph.path.clone());
            let loaded = onnxruntime::OnnxRuntime::load(runtime, graph, (shape, input.clone()), options, threads);
            match (loaded, spare) {
                (Err(error), Some(path)) if words::is_of_a_newer_file(&error) => {
                    let note = format!("{error}; the embedded engine ran instead");
                    let again = read_again(&path).and_then(|graph| on_tract(graph, Some(note)));
                    again.map_err(|_| error)
                }
                (loaded, _) => Ok(Box::new(loaded?)),
            }
        }
        None if options.provider == Provider::Cuda => Err(Error::Unavailable {
            what: "provider cuda".to_owned(),
            reason: "it needs ONNX Runtime, and the embedded engine would run".to_owned(),
            help: "pip install 'onnxruntime-gpu[cuda,cudnn]' in the active Python environment, or name its library (--onnxruntime)",
        }),
        None if options.provider.needs_onnxruntime() => Err(Error::Unavailable {
            what: format!("provider {}", options.provider),
            reason: "it needs ONNX Runtime, and the embedded engine would run".to_owned(),
            help: LIBRARY,
        }),
        None if options.perturb_on == PerturbOn::Provider => Err(perturbs_elsewhere()),
        None => on_tract(graph, note),
    }
}
