//! `relstab doctor`: which engines and providers are here, and what is missing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::measure::with_progress;
use super::setup::Shared;
use super::{Format, print, print_json};
use crate::backend::{self, Driver, Provider, Runtime, Trial, candidates, runtime, trial};
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
    /// How far the embedded engine is off on a network of 8 bits, over the largest output.
    tract_8_bit: Option<f32>,
    /// Whether the processor's sums of 8-bit products may saturate in ONNX Runtime.
    lacks_vnni: bool,
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
    /// Of a network of 8 bits, from what it should give.
    difference_8_bit: Option<f32>,
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
    let options = shared.backend_options(&[])?;
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
        tract_8_bit: trial(Trial::Bytes, None).ok(),
        lacks_vnni: backend::lacks_vnni(),
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
/// In 8 bits, a sum that lies between two steps may fall on either.
const ROUNDING_8_BIT: f32 = 0.02;

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

fn text(findings: &Findings) -> String {
    let mut lines = vec![format!("relstab {}, {} cores", findings.relstab, findings.cores)];
    match (&findings.onnxruntime, &findings.onnxruntime_missing) {
        (Some(library), _) => {
            lines.push(format!("onnxruntime  {}", library.version));
            lines.push(format!("             {} (found by: {})", library.path.display(), library.found_by));
            for Tried { provider, difference, difference_8_bit, failure } in &library.providers {
                let agrees = || {
                    let [floats, bytes] = [difference, difference_8_bit].map(|off| off.unwrap_or_default());
                    format!("computes what tract does, to {floats:.0e}; in 8 bits what it should, to {bytes:.0e}")
                };
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
    let in_bytes = match findings.tract_8_bit {
        Some(off) if off < ROUNDING_8_BIT => format!("in 8 bits it computes what it should, to {off:.0e}"),
        Some(off) => format!("in 8 bits its outputs are off by {off:.1e} of the largest: use ONNX Runtime for such networks"),
        None => "it could not run a network of 8 bits".to_owned(),
    };
    lines.push(format!("             {in_bytes}"));
    if findings.lacks_vnni {
        lines.push(
            "processor    without VNNI: ONNX Runtime's 8-bit sums saturate where weights use their full range (records say so)".to_owned(),
        );
    }
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
