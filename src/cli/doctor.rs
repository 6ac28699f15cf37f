//! `relstab doctor`: which engines and providers are here, and what is missing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::flags::Shared;
use super::terminal::{Format, print, print_json, with_progress};
use crate::backend::{self, Driver, Provider, Runtime, candidates, runtime};
use crate::checkpoint::Metadata;
use crate::error::{ExitCode, Result};
use crate::measure::Preview;
use crate::report;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network to look at with its probe images, before it is measured
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared,
}

/// What is said of a network.
#[derive(Debug, Serialize)]
struct Inspection {
    model: PathBuf,
    input: String,
    outputs: Vec<String>,
    metadata: Metadata,
    #[serde(flatten)]
    preview: Preview,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct Findings {
    relstab: &'static str,
    cores: usize,
    tract: &'static str,
    onnxruntime: Option<Library>,
    /// Why ONNX Runtime cannot be used, where it cannot.
    onnxruntime_missing: Option<String>,
    /// Libraries that were looked at, in order.
    candidates: Vec<String>,
    driver: Option<Driver>,
    /// What CUDA lacks, each with what mends it; empty where it can be tried.
    cuda_missing: Vec<String>,
    /// The network that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<Inspection>,
}

#[derive(Debug, Serialize)]
struct Library {
    version: String,
    path: PathBuf,
    found_by: &'static str,
    /// Those that can be tried.
    providers: Vec<Tried>,
}

/// What became of a small network on a provider of ONNX Runtime.
#[derive(Debug, Serialize)]
struct Tried {
    provider: Provider,
    /// From the embedded engine's outputs, over the largest of them.
    difference: Option<f32>,
    /// Why it did not run, or that it computes something else.
    failure: Option<String>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let mut findings = examine(&args.shared)?;
    findings.network = args.model.as_deref().map(|model| inspect(&args.shared, model)).transpose()?;
    match args.shared.format {
        Format::Text => print(&text(&findings))?,
        Format::Json => print_json(&findings)?,
    }
    // A library that was named and cannot be used is an error; one that is merely absent is not.
    Ok(if args.shared.onnxruntime.is_some() && findings.onnxruntime.is_none() {
        ExitCode::Unavailable
    } else {
        ExitCode::Success
    })
}

fn inspect(shared: &Shared, path: &Path) -> Result<Inspection> {
    let setup = shared.plan_for(path)?.load()?;
    let model = setup.read(path)?;
    let (input, outputs) = model.signature();
    let (input, outputs, metadata) = (input, outputs.to_vec(), model.metadata().clone());
    let opened = with_progress(|progress| setup.open(model, progress))?;
    let preview = with_progress(|progress| opened.preview(progress))?;
    Ok(Inspection { model: path.to_owned(), input, outputs, metadata, preview })
}

fn examine(shared: &Shared) -> Result<Findings> {
    let options = shared.backend_options()?;
    let named = shared.onnxruntime.as_deref();
    let candidates = candidates(named).into_iter().map(|c| format!("{} ({})", c.path.display(), c.origin)).collect();
    let found = runtime(named);
    let cuda_missing = match &found {
        Ok(runtime) => backend::lacks(runtime),
        Err(_) => vec![format!("ONNX Runtime with CUDA: {}", backend::INSTALL)],
    };
    let providers = if cuda_missing.is_empty() { &[Provider::Cuda, Provider::Cpu][..] } else { &[Provider::Cpu] };
    let (library, missing) = match found {
        Ok(runtime) => {
            let providers = providers.iter().map(|provider| tried(&runtime, &options, *provider)).collect();
            (Some(Library { version: runtime.version, path: runtime.path, found_by: runtime.origin, providers }), None)
        }
        Err(error) => (None, Some(error.one_line())),
    };
    Ok(Findings {
        relstab: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        tract: backend::TRACT_VERSION,
        onnxruntime: library,
        onnxruntime_missing: missing,
        candidates,
        driver: backend::driver(),
        cuda_missing,
        network: None,
    })
}

/// Engines round differently, by 1e-6 of an output; those that compute something else are off by far more.
const ROUNDING: f32 = 1e-3;

fn tried(runtime: &Runtime, options: &backend::Options, provider: Provider) -> Tried {
    let options = backend::Options { provider, ..options.clone() };
    match backend::trial(runtime, &options) {
        Ok(difference) if difference < ROUNDING => Tried { provider, difference: Some(difference), failure: None },
        Ok(difference) => {
            let failure = format!("its outputs are off by {difference:.1e} of the largest: do not use it");
            Tried { provider, difference: Some(difference), failure: Some(failure) }
        }
        Err(error) => Tried { provider, difference: None, failure: Some(error.one_line()) },
    }
}

fn text(findings: &Findings) -> String {
    let mut lines = vec![format!("relstab {}, {} cores", findings.relstab, findings.cores)];
    match (&findings.onnxruntime, &findings.onnxruntime_missing) {
        (Some(library), _) => {
            lines.push(format!("onnxruntime  {}", library.version));
            lines.push(format!("             {} (found by: {})", library.path.display(), library.found_by));
            for Tried { provider, difference, failure } in &library.providers {
                let agrees = || format!("computes what tract does, to {:.0e}", difference.unwrap_or_default());
                lines.push(format!("             {provider}: {}", failure.clone().unwrap_or_else(agrees)));
            }
        }
        (None, Some(reason)) => lines.push(format!("onnxruntime  not usable: {reason}")),
        (None, None) => {}
    }
    for candidate in findings.candidates.iter().skip(1) {
        lines.push(format!("             also there: {candidate}"));
    }
    lines.push(format!("tract        {}, embedded", findings.tract));
    match &findings.driver {
        None => lines.push("gpu          no driver".to_owned()),
        Some(Driver { version, cuda: (major, minor), gpus }) => {
            lines.push(format!("gpu          driver {version}, for CUDA {major}.{minor} and older"));
            lines.extend(gpus.iter().map(|gpu| format!("             {gpu}")));
        }
    }
    for missing in &findings.cuda_missing {
        lines.push(format!("cuda lacks   {missing}"));
    }
    let used = if findings.onnxruntime.is_some() { "onnxruntime" } else { "tract" };
    lines.push(format!("--backend auto uses {used}"));
    let mut text = lines.join("\n") + "\n";
    if let Some(Inspection { model, input, outputs, metadata, preview }) = &findings.network {
        text += &format!("\n{}\n  {:<16} {input}\n", model.display(), "input");
        for output in outputs {
            text += &format!("  {:<16} {output}\n", "has output");
        }
        if let Ok(said) = serde_json::to_string(metadata)
            && *metadata != Metadata::default()
        {
            text += &format!("  {:<16} {said}\n", "says of itself");
        }
        text += &report::preview::text(preview);
    }
    text
}
