//! What makes a network unfit to be measured, told before an engine loads it, with what to do.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use tract_onnx::pb::{FunctionProto, GraphProto, ModelProto, NodeProto};

use super::proto::{Constants, attribute, bodies, called, each_list, is_onnx, is_op, name_of};
use crate::error::{Error, Result};

/// Takes out dropout that would drop; gives the nodes' names.
pub(super) fn take_out_dropout(model: &mut ModelProto) -> Vec<String> {
    let mut names = Vec::new();
    let Some(graph) = &model.graph else { return names };
    let is_off: HashSet<String> = {
        let constants = Constants::of(graph);
        let modes = graph.node.iter().filter_map(|node| node.input.get(2));
        modes.filter(|mode| constants.number(mode) == Some(0.0)).cloned().collect()
    };
    let mut used: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    each_list(model, &mut |nodes| used.extend(nodes.iter().flat_map(|node| node.input.iter().cloned())));
    each_list(model, &mut |nodes| {
        for node in nodes.iter_mut().filter(|node| is_op(node, "Dropout")) {
            let trains = match node.input.get(2) {
                Some(mode) if !mode.is_empty() => !is_off.contains(mode),
                // Before version 7 an attribute said so.
                _ => attribute(node, "is_test").is_some_and(|is_test| is_test.i == 0),
            };
            if trains && !node.output.get(1).is_some_and(|mask| used.contains(mask)) {
                names.push(name_of(node));
                "Identity".clone_into(&mut node.op_type);
                node.input.truncate(1);
                node.output.truncate(1);
                node.attribute.clear();
            }
        }
    });
    names
}

/// Operators that draw random numbers.
const RANDOM: [&str; 6] =
    ["RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"];

/// Refuses what makes an image's output another one each time, or with each batch.
///
/// # Errors
/// `Unsupported` names the node and what to do.
pub(super) fn of_training(path: &Path, nodes: &[&NodeProto], opset: i64) -> Result<()> {
    let refuse = |node: &NodeProto, what: &str, next: &str| {
        let what = format!("{} {} {what}", node.op_type, name_of(node).escape_debug());
        Err(Error::Unsupported { path: path.to_owned(), what, next: next.to_owned(), words: None })
    };
    for node in nodes.iter().filter(|node| is_onnx(&node.domain)) {
        if is_op(node, "BatchNormalization") && trains(node, opset) {
            let next = "export it in evaluation mode: model.eval() before torch.onnx.export, training=False in Keras";
            return refuse(node, "is in training mode: what an image gives depends on the others of its batch", next);
        }
        if RANDOM.contains(&node.op_type.as_str()) {
            let next = "export it without: in evaluation mode, without augmentation or noise layers";
            return refuse(node, "reaches the output: it gives another answer each time", next);
        }
    }
    Ok(())
}

/// Whether a batch normalisation takes the statistics of its batch: an attribute says so, before version 7 by its absence, and in
/// between further outputs do.
fn trains(node: &NodeProto, opset: i64) -> bool {
    let is_on = |name: &str| attribute(node, name).is_some_and(|value| value.i != 0);
    match opset {
        ..7 => !is_on("is_test"),
        7..14 => node.output.iter().filter(|name| !name.is_empty()).count() > 1,
        14.. => is_on("training_mode"),
    }
}

/// Nodes that are looked at: functions may call functions without end.
const MOST_NODES: usize = 1_000_000;

/// The nodes that `outputs` are made of, those of bodies and functions among them; what only a shape is taken of is not.
pub(super) fn reaching<'a>(model: &'a ModelProto, outputs: &[&'a str]) -> Vec<&'a NodeProto> {
    fn all<'a>(node: &'a NodeProto, functions: &'a [FunctionProto], depth: usize, found: &mut Vec<&'a NodeProto>) {
        if found.len() >= MOST_NODES {
            return;
        }
        found.push(node);
        let of_function = called(functions, node).into_iter().flat_map(|function| &function.node);
        let inner = bodies(node).flat_map(|body| &body.node).chain(of_function);
        if depth > 0 {
            inner.for_each(|node| all(node, functions, depth - 1, found));
        }
    }
    let Some(graph) = &model.graph else { return Vec::new() };
    let making: HashMap<&str, &NodeProto> =
        graph.node.iter().flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node))).collect();
    let (mut waiting, mut seen, mut found) = (outputs.to_vec(), HashSet::new(), Vec::new());
    while let Some(name) = waiting.pop() {
        let Some(node) = making.get(name) else { continue };
        if !seen.insert(std::ptr::from_ref::<NodeProto>(node)) {
            continue;
        }
        all(node, &model.functions, 8, &mut found);
        if !matches!(node.op_type.as_str(), "Shape" | "Size") {
            waiting.extend(node.input.iter().map(String::as_str));
            waiting.extend(bodies(node).flat_map(read_outside));
        }
    }
    found
}

/// What the nodes of a body read, its own tensors among them.
fn read_outside(body: &GraphProto) -> Vec<&str> {
    let reads = body.node.iter().flat_map(|node| {
        let inner: Vec<&str> = bodies(node).flat_map(read_outside).collect();
        node.input.iter().map(String::as_str).chain(inner)
    });
    reads.chain(body.output.iter().map(|output| output.name.as_str())).collect()
}

/// Domains of operators that come with ONNX Runtime.
const KNOWN: [&str; 7] = [
    "ai.onnx.ml",
    "ai.onnx.training",
    "ai.onnx.preview.training",
    "com.microsoft",
    "com.ms.internal.nhwc",
    "com.microsoft.dml",
    "org.pytorch.aten",
];

/// Refuses weights in blocks of the processor that wrote the file: ONNX Runtime takes them for blocks of its own processor's size,
/// and gives wrong numbers or reads beyond them.
///
/// # Errors
/// `Unsupported` says so.
pub(super) fn of_blocks(path: &Path, nodes: &[&NodeProto]) -> Result<()> {
    if nodes.iter().any(|node| node.domain == "com.microsoft.nchwc") { Err(bound(path, None)) } else { Ok(()) }
}

/// A file that holds what ONNX Runtime made of a network for one kind of processor, with the engine's words.
pub(super) fn bound(path: &Path, words: Option<String>) -> Error {
    let what = "a file that ONNX Runtime optimised for the machine that wrote it".to_owned();
    let next = "give the network that it was made from".to_owned();
    Error::Unsupported { path: path.to_owned(), what, next, words }
}

/// Refuses operators that no engine has, where no library brings them.
///
/// # Errors
/// `Unsupported` names them and what to do.
pub(super) fn of_unknown_domains(path: &Path, model: &ModelProto, nodes: &[&NodeProto]) -> Result<()> {
    if let Some(node) = nodes.iter().find(|node| is_onnx(&node.domain) && node.op_type.starts_with("TFL_")) {
        let what = format!("operator {}, which tf2onnx left as it was in the TFLite file", node.op_type.escape_debug());
        let next = "convert the Keras model or the SavedModel that it was made from, with its variables as constants";
        return Err(Error::Unsupported { path: path.to_owned(), what, next: next.to_owned(), words: None });
    }
    let is_known = |node: &NodeProto| {
        is_onnx(&node.domain) || KNOWN.contains(&node.domain.as_str()) || called(&model.functions, node).is_some()
    };
    let unknown: BTreeSet<(&str, &str)> =
        nodes.iter().filter(|node| !is_known(node)).map(|node| (node.domain.as_str(), node.op_type.as_str())).collect();
    let Some((domain, _)) = unknown.first() else { return Ok(()) };
    let kinds: Vec<_> =
        unknown.iter().filter(|(other, _)| other == domain).map(|(_, kind)| kind.escape_debug().to_string()).collect();
    let what = format!("operator {} of domain {}", kinds.join(", "), domain.escape_debug());
    let is_qonnx = ["brevitas", "qonnx", "finn"].iter().any(|word| domain.contains(word));
    let next = if is_qonnx {
        "QONNX is no ONNX that engines run: convert it with qonnx.transformation.qonnx_to_qcdq (pip install qonnx), or export QCDQ from Brevitas"
    } else {
        "name the library that brings it with --custom-ops LIBRARY (ONNX Runtime runs it), or export without it"
    };
    Err(Error::Unsupported { path: path.to_owned(), what, next: next.to_owned(), words: None })
}
