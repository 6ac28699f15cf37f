//! What an engine says when it refuses a network, with what to do about it.

use std::path::Path;

use tract_onnx::pb::NodeProto;

use super::graph::Graph;
use super::proto::{is_onnx, opset};
use super::refusals::bound;
use crate::error::Error;
use crate::text::cut;

/// Bytes of an engine's words that are told: it may add what it knows of the whole network.
const LONGEST: usize = 500;

/// On one line.
pub(super) fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without the place in ONNX Runtime's source that they come from.
fn message(words: &str) -> String {
    let line = one_line(words);
    let from_source = line.contains("onnxruntime_src/").then(|| line.rsplit_once(") ")).flatten();
    let mut message = from_source.map_or(line.clone(), |(_, message)| message.to_owned());
    cut(&mut message, LONGEST);
    message
}

fn unsupported(path: &Path, what: String, next: &str, words: &str) -> Error {
    Error::Unsupported { path: path.to_owned(), what, next: next.to_owned(), words: Some(message(words)) }
}

/// ONNX Runtime of this version could not load the network.
pub(super) fn of_onnxruntime(graph: &Graph, version: &str, words: &str) -> Error {
    let path = &graph.path;
    let says = |text: &str| words.contains(text);
    if is_too_new(words) {
        let (ir, opset) = (graph.proto.ir_version, opset(&graph.proto));
        let what = format!("IR version {ir}, opset {opset}: {NEWER} ONNX Runtime {version} takes");
        return unsupported(
            path,
            what,
            "pip install -U onnxruntime, or export with a lower opset_version (and IR version)",
            words,
        );
    }
    if is_bound(graph) {
        return bound(path, Some(message(words)));
    }
    if says("is not a registered function/op") || says("No Op registered for") || says("No opset import for domain") {
        let next = "a newer ONNX Runtime may have it (pip install -U onnxruntime), or the library that brings it (--custom-ops LIBRARY)";
        return unsupported(path, format!("an operator that ONNX Runtime {version} does not know"), next, words);
    }
    if says("NOT_IMPLEMENTED") || says("Could not find an implementation") {
        let next = "it may run on another provider (--provider cuda) or engine (--backend tract); else export it in float32, as it was before \
                    it was optimised, fused or cast for other hardware";
        return unsupported(path, "an operator that this provider does not run".to_owned(), next, words);
    }
    if says("invalid model") || says("INVALID_GRAPH") {
        let next = "export it again; onnx.checker.check_model(FILE, full_check=True) says what is wrong with it";
        return unsupported(path, "a network that ONNX Runtime finds invalid".to_owned(), next, words);
    }
    engine_error(path, "onnxruntime", "load", words)
}

/// Whether a file holds what ONNX Runtime made of a network for one kind of processor.
fn is_bound(graph: &Graph) -> bool {
    let is_bound = |node: &&NodeProto| node.domain.contains("ms.internal") || node.op_type == "EPContext";
    graph.reaching().iter().any(is_bound)
}

/// Whether ONNX Runtime says that a file is newer than itself.
pub(super) fn is_too_new(words: &str) -> bool {
    (words.contains("IR version") && words.contains("max supported"))
        || (words.contains("pset") && (words.contains("under development") || words.contains("is till opset")))
}

/// How a file is called that says so.
const NEWER: &str = "newer than";

/// As [`is_too_new`], of a failure.
pub(super) fn is_of_a_newer_file(error: &Error) -> bool {
    matches!(error, Error::Unsupported { what, .. } if what.contains(NEWER))
}

/// The embedded engine could not load or run the network.
pub(super) fn of_tract(path: &Path, words: &str) -> Error {
    let next = "ONNX Runtime runs more operators: pip install onnxruntime, then --backend auto or onnxruntime; if it refuses the network \
                too, export it again, in float32";
    let unknown = words.split("Unimplemented(").nth(1).and_then(|rest| rest.split(')').next());
    let what = match unknown {
        Some(kind) => format!("operator {} is not one of the embedded engine's", kind.escape_debug()),
        None => "the embedded engine does not take it".to_owned(),
    };
    unsupported(path, what, next, words)
}

/// Refuses operators that only ONNX Runtime has: the embedded engine goes by their names alone.
pub(super) fn foreign_to_tract(graph: &Graph) -> Option<Error> {
    /// ONNX Runtime's own that tract knows under these names.
    const KNOWN: [&str; 14] = [
        "BiasGelu",
        "DequantizeLinear",
        "FastGelu",
        "GatherBlockQuantized",
        "Gelu",
        "GroupQueryAttention",
        "MatMulNBits",
        "MultiHeadAttention",
        "QuantizeLinear",
        "QuickGelu",
        "RotaryEmbedding",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    ];
    let is_known = |node: &NodeProto| {
        is_onnx(&node.domain)
            || node.domain == "ai.onnx.ml"
            || (node.domain == "com.microsoft" && KNOWN.contains(&node.op_type.as_str()))
            || super::proto::called(&graph.proto.functions, node).is_some()
    };
    let nodes = graph.reaching();
    let node = nodes.into_iter().find(|node| !is_known(node))?;
    let what = format!(
        "operator {} of domain {} is not one of the embedded engine's",
        node.op_type.escape_debug(),
        node.domain.escape_debug()
    );
    let next = "ONNX Runtime has its own operators, and takes others with --custom-ops: pip install onnxruntime, then --backend onnxruntime";
    Some(Error::Unsupported { path: graph.path.clone(), what, next: next.to_owned(), words: None })
}

/// An engine that failed, in one line.
pub(super) fn engine_error(
    path: &Path,
    engine: &'static str,
    action: &'static str,
    error: impl std::fmt::Display,
) -> Error {
    let message = one_line(&format!("{error:#}"));
    Error::Engine { path: path.to_owned(), engine, action, message }
}
