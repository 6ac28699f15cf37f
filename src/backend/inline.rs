//! Calls of a model's own functions, replaced by what the functions do.

use std::collections::HashMap;

use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

use super::proto::{bodies_mut, called, each_list};

/// Nodes that take the place of calls, at most: functions call functions, and each may be called often.
const MOST_NODES: usize = 1_000_000;

/// Replaces the call at `place` of `nodes` by the nodes of its function; false where that is not possible: where several functions
/// share its name.
pub(super) fn inline(nodes: &mut Vec<NodeProto>, place: usize, functions: &[FunctionProto]) -> bool {
    let call = &nodes[place];
    let Some(function) = called(functions, call) else { return false };
    let is_same = |other: &&FunctionProto| other.name() == function.name() && other.domain() == function.domain();
    if functions.iter().filter(is_same).count() > 1 {
        return false;
    }
    let prefix = call.output.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
    let actual = |names: &[String], place: usize| names.get(place).cloned().unwrap_or_default();
    let formal = |(place, name): (usize, &'_ String)| (name.clone(), place);
    let inputs: HashMap<String, usize> = function.input.iter().enumerate().map(formal).collect();
    let outputs: HashMap<String, usize> = function.output.iter().enumerate().map(formal).collect();
    let rename = |name: &mut String| {
        if name.is_empty() {
            return;
        }
        *name = match (inputs.get(name), outputs.get(name)) {
            (Some(place), _) => actual(&call.input, *place),
            (None, Some(place)) if !actual(&call.output, *place).is_empty() => actual(&call.output, *place),
            _ => format!("{prefix}/{name}"),
        };
    };
    let given: HashMap<&str, &AttributeProto> =
        call.attribute.iter().map(|attribute| (attribute.name.as_str(), attribute)).collect();
    let mut body = function.node.clone();
    for node in &mut body {
        filled(node, &given);
        renamed(node, &rename);
    }
    // A function may give one of its inputs as it is.
    let passed_on = function.output.iter().enumerate().filter_map(|(place, name)| {
        let (from, to) = (actual(&call.input, *inputs.get(name)?), actual(&call.output, place));
        (!to.is_empty()).then(|| super::proto::node("Identity", &[&from], &to, Vec::new()))
    });
    body.extend(passed_on.collect::<Vec<_>>());
    nodes.splice(place..=place, body);
    true
}

/// Gives attributes that stand for the call's own their values; those that the call leaves out are left out.
fn filled(node: &mut NodeProto, given: &HashMap<&str, &AttributeProto>) {
    node.attribute.retain_mut(|attribute| {
        if attribute.ref_attr_name.is_empty() {
            return true;
        }
        let Some(value) = given.get(attribute.ref_attr_name.as_str()) else { return false };
        *attribute = AttributeProto { name: std::mem::take(&mut attribute.name), ..(*value).clone() };
        true
    });
    for body in bodies_mut(node) {
        body.node.iter_mut().for_each(|node| filled(node, given));
    }
}

fn renamed(node: &mut NodeProto, rename: &dyn Fn(&mut String)) {
    node.input.iter_mut().chain(&mut node.output).for_each(rename);
    if !node.name.is_empty() {
        let mut name = format!("node {}", node.name);
        rename(&mut name);
        node.name = name;
    }
    for GraphProto { node, input, output, initializer, value_info, .. } in bodies_mut(node) {
        for node in node {
            renamed(node, rename);
        }
        input.iter_mut().chain(output).chain(value_info).for_each(|value| rename(&mut value.name));
        for tensor in initializer {
            rename(&mut tensor.name);
        }
    }
}

/// Replaces the calls that read the tensor `name`, in bodies too, so that what is done to it first can be seen; says whether there was one.
pub(super) fn inline_reading(nodes: &mut Vec<NodeProto>, name: &str, functions: &[FunctionProto]) -> bool {
    let mut left = MOST_NODES;
    inline_within(nodes, name, functions, &mut left);
    left < MOST_NODES
}

/// As [`inline_reading`], while nodes are `left`: all bodies share one bound.
fn inline_within(nodes: &mut Vec<NodeProto>, name: &str, functions: &[FunctionProto], left: &mut usize) {
    let cost = |node: &NodeProto| called(functions, node).map(|function| function.node.len().max(1));
    while let Some((place, cost)) = nodes.iter().enumerate().find_map(|(place, node)| {
        let is_reading = node.input.iter().any(|read| read == name);
        Some((place, cost(node).filter(|cost| is_reading && *cost <= *left)?))
    }) {
        if !inline(nodes, place, functions) {
            break;
        }
        *left -= cost;
    }
    for body in nodes.iter_mut().flat_map(bodies_mut) {
        inline_within(&mut body.node, name, functions, left);
    }
}

/// Replaces every call; what is left of the functions is not needed any more.
pub(super) fn inline_all(model: &mut ModelProto) {
    let functions = std::mem::take(&mut model.functions);
    let mut left = MOST_NODES;
    each_list(model, &mut |nodes| {
        let mut place = 0;
        while place < nodes.len() && left > 0 {
            let count = called(&functions, &nodes[place]).map(|function| function.node.len().max(1));
            if count.is_some() && inline(nodes, place, &functions) {
                left = left.saturating_sub(count.unwrap_or(1));
            } else {
                place += 1;
            }
        }
    });
    import(model, &functions);
}

/// Names the operator sets of functions that the model does not name itself.
pub(super) fn import(model: &mut ModelProto, functions: &[FunctionProto]) {
    for OperatorSetIdProto { domain, version } in functions.iter().flat_map(|function| &function.opset_import) {
        if !model.opset_import.iter().any(|import| import.domain == *domain) {
            model.opset_import.push(OperatorSetIdProto { domain: domain.clone(), version: *version });
        }
    }
}
