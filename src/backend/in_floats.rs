//! Networks of 8 bits for the embedded engine: it rounds as they say and computes in floats. What it has of its own for 8 bits is
//! wrong in places (a softmax in 8 bits gives its largest value everywhere).

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{ModelProto, NodeProto, TensorProto};

use super::onnx::number;
use super::proto::{Constants, node};

/// Spells out each rounding to a step, and each return from it, of tensors that are computed.
pub(super) fn in_floats(model: &mut ModelProto) {
    let Some(graph) = &mut model.graph else { return };
    let constants = Constants::of(graph);
    let spelled: HashMap<usize, Spelled> = graph
        .node
        .iter()
        .enumerate()
        .filter_map(|(place, node)| Some((place, Spelled::of(node, &constants)?)))
        .collect();
    let mut weights = Vec::new();
    let made: HashSet<String> = graph.node.iter().flat_map(|node| node.output.iter().cloned()).collect();
    let nodes = std::mem::take(&mut graph.node);
    for (place, node) in nodes.into_iter().enumerate() {
        match spelled.get(&place) {
            Some(spelled) => spelled.write(&node, &mut graph.node, &mut weights),
            None if is_dynamic(&node, &made) => from_dynamic(&node, &mut graph.node),
            None => graph.node.push(node),
        }
    }
    graph.initializer.extend(weights);
}

/// Whether a node returns from steps that are computed, as those of a `DynamicQuantizeLinear` are.
fn is_dynamic(node: &NodeProto, made: &HashSet<String>) -> bool {
    node.op_type == "DequantizeLinear" && node.input.get(1).is_some_and(|scale| made.contains(scale))
}

fn from_dynamic(like: &NodeProto, nodes: &mut Vec<NodeProto>) {
    let Some(made) = like.output.first() else { return };
    let to_float = || vec![number("to", DataType::Float as i64)];
    let [whole, zero, steps] = ["whole", "zero", "steps"].map(|part| format!("{made} {part}"));
    nodes.push(node("Cast", &[&like.input[0]], &whole, to_float()));
    let from = if let Some(computed) = like.input.get(2).filter(|name| !name.is_empty()) {
        nodes.push(node("Cast", &[computed], &zero, to_float()));
        nodes.push(node("Sub", &[&whole, &zero], &steps, Vec::new()));
        &steps
    } else {
        &whole
    };
    nodes.push(node("Mul", &[from, &like.input[1]], made, Vec::new()));
}

/// A rounding to a step, or a return from it.
struct Spelled {
    scale: f32,
    zero: f32,
    /// The kind of integers, and the least and the largest; `None` on the way back.
    integers: Option<(DataType, f32, f32)>,
}

impl Spelled {
    fn of(node: &NodeProto, constants: &Constants) -> Option<Self> {
        let rounds = match node.op_type.as_str() {
            "QuantizeLinear" => true,
            // Weights are no trouble.
            "DequantizeLinear" => constants.get(node.input.first()?).map_or(Some(false), |_| None)?,
            _ => return None,
        };
        let scale = constants.number(node.input.get(1)?)? as f32;
        let zero = node.input.get(2).filter(|name| !name.is_empty());
        let kind =
            zero.map_or(Some(DataType::Uint8), |name| DataType::try_from(constants.get(name)?.data_type).ok())?;
        let zero = zero.map_or(Some(0.0), |name| constants.number(name))? as f32;
        let (least, largest) = match kind {
            DataType::Uint8 => (0.0, 255.0),
            DataType::Int8 => (-128.0, 127.0),
            _ => return None,
        };
        Some(Self { scale, zero, integers: rounds.then_some((kind, least, largest)) })
    }

    fn write(&self, like: &NodeProto, nodes: &mut Vec<NodeProto>, weights: &mut Vec<TensorProto>) {
        let Some(made) = like.output.first() else { return };
        let mut number_of = |part: &str, value: f32| {
            let name = format!("{made} {part}");
            let (data_type, raw_data) = (DataType::Float as i32, value.to_le_bytes().into());
            weights.push(TensorProto { name: name.clone(), data_type, raw_data, ..TensorProto::default() });
            name
        };
        let (scale, zero) = (number_of("scale", self.scale), number_of("zero", self.zero));
        let mut steps: Vec<(&str, Option<String>)> = Vec::new();
        let kind = if let Some((kind, least, largest)) = self.integers {
            steps.extend([("Div", Some(scale)), ("Round", None), ("Add", Some(zero))]);
            steps.extend([("Max", Some(number_of("least", least))), ("Min", Some(number_of("largest", largest)))]);
            steps.push(("Cast", None));
            kind
        } else {
            steps.extend([("Cast", None), ("Sub", Some(zero)), ("Mul", Some(scale))]);
            DataType::Float
        };
        let mut from = like.input[0].clone();
        for (place, (op, operand)) in steps.iter().enumerate() {
            let to = if place + 1 == steps.len() { made.clone() } else { format!("{made} {op}") };
            let attributes = if *op == "Cast" { vec![number("to", kind as i64)] } else { Vec::new() };
            let inputs: Vec<&str> = [&from].into_iter().chain(operand).map(String::as_str).collect();
            nodes.push(node(op, &inputs, &to, attributes));
            from = to;
        }
    }
}
