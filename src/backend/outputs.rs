//! Which output of a network is measured.

use std::path::Path;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

use super::input::{Element, describe, dims, tensor_type};
use super::notice::{Code, Notice};
use crate::error::{Error, Result};

/// The output named by the user, else what looks most like class logits, by shape, name and width.
///
/// # Errors
/// `Model` for a network without such an output.
pub(super) fn choose<'a>(
    path: &Path,
    graph: &'a GraphProto,
    name: Option<&str>,
) -> Result<(&'a ValueInfoProto, Option<Notice>)> {
    let all = || graph.output.iter().map(describe).collect::<Vec<_>>().join("; ");
    if let Some(name) = name {
        let expected = format!("a float output named {name}");
        let named = graph.output.iter().find(|output| output.name == name && is_measurable(graph, output));
        return named
            .map(|output| (output, None))
            .ok_or_else(|| Error::model(path, expected, format!("outputs {}", all())));
    }
    let measurable = || graph.output.iter().filter(|output| is_measurable(graph, output));
    let has_rank = |output: &&ValueInfoProto, rank| dims(output).is_some_and(|dims| dims.len() == rank);
    let is_one_pixel = |output: &&ValueInfoProto| {
        dims(output)
            .is_some_and(|dims| dims.len() == 4 && dims[1..].iter().filter(|size| **size == Some(1)).count() >= 2)
    };
    let mut classes: Vec<_> = measurable().filter(|output| has_rank(output, 2)).collect();
    if classes.is_empty() {
        classes.extend(measurable().filter(|output| dims(output).is_none()));
    }
    if classes.is_empty() {
        classes.extend(measurable().filter(is_one_pixel));
    }
    classes.sort_by_key(|output| std::cmp::Reverse(likeness(output)));
    let Some(chosen) = classes.first().copied().or_else(|| measurable().next()) else {
        let expected = "an output of floats: export the logits, not the predicted class (scikit-learn: zipmap=False)";
        let found = if graph.output.is_empty() { "no outputs".to_owned() } else { format!("outputs {}", all()) };
        return Err(Error::model(path, expected, found));
    };
    // The same numbers, before or behind a softmax, are no other answer.
    let is_other = |output: &&&ValueInfoProto| {
        !stems_from(graph, &output.name, &chosen.name) && !stems_from(graph, &chosen.name, &output.name)
    };
    let others: Vec<_> = classes.iter().skip(1).filter(is_other).map(|output| describe(output)).collect();
    let notice = (!others.is_empty()).then(|| {
        let text = format!(
            "several outputs may be class logits: measured {}, not {} (--output NAME measures another)",
            describe(chosen),
            others.join(", ")
        );
        Notice::new(Code::SeveralOutputs, text)
    });
    Ok((chosen, notice))
}

/// Whether it is of floats, or of floats written in 8 bits.
fn is_measurable(graph: &GraphProto, output: &ValueInfoProto) -> bool {
    let Some(tensor) = tensor_type(output) else { return false };
    Element::of(tensor.elem_type).is_some() || is_quantised(graph, output)
}

/// Whether it is of 8 bits that stand for floats.
pub(super) fn is_quantised(graph: &GraphProto, output: &ValueInfoProto) -> bool {
    let is_byte = tensor_type(output).is_some_and(|tensor| is_byte(tensor.elem_type));
    let quantises = |node: &NodeProto| {
        node.op_type.starts_with("QLinear") || node.op_type.ends_with("QuantizeLinear") || node.op_type == "QGemm"
    };
    is_byte && chain(graph, &output.name).find(|node| !is_shape(node)).is_some_and(quantises)
}

pub(super) fn is_byte(code: i32) -> bool {
    matches!(DataType::try_from(code), Ok(DataType::Uint8 | DataType::Int8))
}

/// The nodes that make a tensor out of their first inputs, the last first.
pub(super) fn chain<'a>(graph: &'a GraphProto, name: &'a str) -> impl Iterator<Item = &'a NodeProto> {
    let making = |name: &str| graph.node.iter().find(|node| node.output.iter().any(|made| made == name));
    let before = move |node: &&'a NodeProto| node.input.first().and_then(|name| making(name));
    std::iter::successors(making(name), before).take(graph.node.len())
}

/// Whether a tensor is another one, reshaped or squashed.
fn stems_from(graph: &GraphProto, name: &str, other: &str) -> bool {
    let squashes = |node: &NodeProto| {
        matches!(node.op_type.as_str(), "Softmax" | "LogSoftmax" | "Sigmoid" | "Log" | "Clip" | "Relu")
    };
    chain(graph, name)
        .take_while(|node| is_shape(node) || squashes(node))
        .any(|node| node.input.first().is_some_and(|input| input == other))
}

fn is_shape(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "Identity" | "Cast" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose")
}

/// How much an output's name and width look like those of class logits.
fn likeness(output: &ValueInfoProto) -> i32 {
    let name = output.name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let width = dims(output).and_then(|dims| dims.into_iter().flatten().next_back());
    // Features are as wide as the layer before: a power of two; classes seldom are.
    let is_wide = width.is_some_and(|width| width >= 16 && width.is_power_of_two() || width > 1024);
    8 * i32::from(has(&["logit"]))
        + 2 * i32::from(has(&["prob", "softmax", "score", "pred", "class", "output", "label"]))
        - 6 * i32::from(has(&[
            "aux",
            "coarse",
            "superclass",
            "embed",
            "feature",
            "hidden",
            "latent",
            "repr",
            "pool",
            "attention",
        ]))
        - 3 * i32::from(is_wide)
}
