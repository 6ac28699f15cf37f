//! What is here to measure with, as people read it.

use crate::backend::Driver;
use crate::checkpoint::Metadata;
use crate::doctor::{Diagnosis, Inspection, ROUNDING_8_BIT, Tried};
use crate::event::{Finding, Severity};

/// A diagnosis on lines of its own, then what is said of a network.
pub fn text(found: &Diagnosis) -> String {
    let mut lines = vec![format!("relstab {}, {} cores", found.relstab, found.cores)];
    match (&found.onnxruntime, &found.onnxruntime_missing) {
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
    for candidate in found.candidates.iter().skip(1) {
        lines.push(format!("             also there: {candidate}"));
    }
    lines.push(format!("tract        {}, embedded", found.tract));
    let in_bytes = match found.tract_8_bit {
        Some(off) if off < ROUNDING_8_BIT => format!("in 8 bits it computes what it should, to {off:.0e}"),
        Some(off) => {
            format!("in 8 bits its outputs are off by {off:.1e} of the largest: use ONNX Runtime for such networks")
        }
        None => "it could not run a network of 8 bits".to_owned(),
    };
    lines.push(format!("             {in_bytes}"));
    if found.lacks_vnni {
        lines.push(
            "processor    without VNNI: ONNX Runtime's 8-bit sums saturate where weights use their full range (records say so)"
                .to_owned(),
        );
    }
    match &found.driver {
        None => lines.push("gpu          no driver".to_owned()),
        Some(Driver { version, cuda: (major, minor), gpus }) => {
            lines.push(format!("gpu          driver {version}, for CUDA {major}.{minor} and older"));
            lines.extend(gpus.iter().map(|gpu| format!("             {gpu}")));
        }
    }
    for missing in &found.cuda_missing {
        lines.push(format!("cuda lacks   {missing}"));
    }
    let used = if found.onnxruntime.is_some() { "onnxruntime" } else { "tract" };
    lines.push(format!("--backend auto uses {used}"));
    let mut text = lines.join("\n") + "\n";
    if let Some(Inspection { model, input, outputs, metadata, preview, diagnosis }) = &found.network {
        text += &format!("\n{}\n  {:<16} {input}\n", model.display(), "input");
        for output in outputs {
            text += &format!("  {:<16} {output}\n", "has output");
        }
        if let Ok(said) = serde_json::to_string(metadata)
            && *metadata != Metadata::default()
        {
            text += &format!("  {:<16} {said}\n", "says of itself");
        }
        text += &super::preview::text(preview);
        text += &explained(diagnosis);
    }
    text
}

/// Findings at length: what each kind means, and what to do.
fn explained(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { code, severity, text: what, help } in findings {
        let meaning = match severity {
            Severity::Wrong => "no prediction is made, and relstab check fails",
            Severity::Doubt => "the prediction stands, and relstab check --strict fails",
            Severity::Note => "worth knowing",
        };
        text += &format!("\n  {severity} {code} ({meaning})\n    {what}\n");
        if !help.is_empty() {
            text += &format!("    next: {help}\n");
        }
    }
    if text.is_empty() { "\n  nothing looks wrong\n".to_owned() } else { text }
}
