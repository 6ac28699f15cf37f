//! `relstab doctor`: which engines and providers are here, and what is missing.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::measure::with_progress;
use super::setup::Shared;
use super::{Format, print, print_json};
use crate::backend::{candidates, runtime};
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
    gpus: Vec<String>,
    driver: Option<String>,
    /// What CUDA lacks; empty where it can be tried.
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
    providers: Vec<&'static str>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let named = args.shared.onnxruntime.as_deref();
    let mut findings = examine(named);
    findings.network = args.model.as_deref().map(|model| inspect(&args.shared, model)).transpose()?;
    match args.shared.format {
        Format::Text => print(&text(&findings))?,
        Format::Json => print_json(&findings, true)?,
    }
    // A library that was named and cannot be used is an error; one that is merely absent is not.
    Ok(if named.is_some() && findings.onnxruntime.is_none() { ExitCode::Unavailable } else { ExitCode::Success })
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

fn examine(named: Option<&Path>) -> Findings {
    let candidates = candidates(named).into_iter().map(|c| format!("{} ({})", c.path.display(), c.origin)).collect();
    let (library, missing) = match runtime(named) {
        Ok(runtime) => {
            let mut providers = vec!["cpu"];
            if runtime.has_cuda() {
                providers.insert(0, "cuda");
            }
            (Some(Library { version: runtime.version, path: runtime.path, found_by: runtime.origin, providers }), None)
        }
        Err(error) => (None, Some(error.one_line())),
    };
    let (driver, gpus) = (driver(), gpus());
    Findings {
        relstab: env!("CARGO_PKG_VERSION"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        tract: crate::backend::TRACT_VERSION,
        cuda_missing: cuda_missing(library.as_ref(), driver.as_deref()),
        onnxruntime: library,
        onnxruntime_missing: missing,
        candidates,
        gpus,
        driver,
        network: None,
    }
}

fn cuda_missing(library: Option<&Library>, driver: Option<&str>) -> Vec<String> {
    let mut missing = Vec::new();
    if driver.is_none() {
        missing.push("the NVIDIA driver (nothing at /proc/driver/nvidia/version)".to_owned());
    }
    match library {
        None => missing.push("ONNX Runtime with CUDA: pip install onnxruntime-gpu".to_owned()),
        Some(library) if !library.providers.contains(&"cuda") => {
            missing.push(
                "an ONNX Runtime built with CUDA: pip install onnxruntime-gpu in place of onnxruntime".to_owned(),
            );
        }
        Some(library) => {
            let beside = library.path.with_file_name("libonnxruntime_providers_cuda.so");
            if !beside.exists() {
                missing.push(format!("{}: reinstall onnxruntime-gpu", beside.display()));
            }
        }
    }
    missing
}

fn driver() -> Option<String> {
    let text = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    text.lines().next().map(str::to_owned)
}

fn gpus() -> Vec<String> {
    let cards = fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let model =
        |text: String| text.lines().find_map(|line| line.strip_prefix("Model:").map(|name| name.trim().to_owned()));
    cards.filter_map(|card| fs::read_to_string(card.path().join("information")).ok().and_then(model)).collect()
}

fn text(findings: &Findings) -> String {
    let mut lines = vec![format!("relstab {}, {} cores", findings.relstab, findings.cores)];
    match (&findings.onnxruntime, &findings.onnxruntime_missing) {
        (Some(library), _) => {
            lines.push(format!("onnxruntime  {}, providers {}", library.version, library.providers.join(", ")));
            lines.push(format!("             {} (found by: {})", library.path.display(), library.found_by));
        }
        (None, Some(reason)) => lines.push(format!("onnxruntime  not usable: {reason}")),
        (None, None) => {}
    }
    for candidate in findings.candidates.iter().skip(1) {
        lines.push(format!("             also there: {candidate}"));
    }
    lines.push(format!("tract        {}, embedded", findings.tract));
    match findings.gpus.as_slice() {
        [] => lines.push("gpu          none found".to_owned()),
        gpus => lines.push(format!("gpu          {}; {}", gpus.join(", "), findings.driver.as_deref().unwrap_or(""))),
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
