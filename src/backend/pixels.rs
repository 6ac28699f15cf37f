//! Networks that take images in integers: they are given floats.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, ValueInfoProto, type_proto::Value};

use super::input::Element;
use super::onnx::number;
use super::outputs::is_byte;
use super::proto::{Constants, attribute, bodies, bodies_mut, name_of, node, rename};

/// How the numbers that a network takes go with the bytes of an image: `scale (byte + least - zero)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pixels {
    /// What a step of its integers is worth.
    pub scale: f32,
    /// The integer that stands for nothing.
    pub zero: f32,
    /// The least of its integers.
    pub least: f32,
}

/// Whether the input `name` of integers of the type `code` may be one of floats: of bytes, or of wider ones that all that reads it turns
/// into floats first.
pub(super) fn may_take_floats(graph: &GraphProto, name: &str, code: i32) -> bool {
    let is_wide =
        [DataType::Uint16, DataType::Int16, DataType::Uint32, DataType::Int32, DataType::Uint64, DataType::Int64]
            .iter()
            .any(|kind| *kind as i32 == code);
    is_byte(code) || is_wide && turned(graph, name).is_some()
}

/// Makes the input `name` of bytes, of the type `code`, one of floats. Where all that reads it turns it into floats first, that is
/// taken out, and images are neither rounded nor cut off; else they are, in front.
pub(super) fn take_floats(graph: &mut GraphProto, name: &str, code: i32) -> (Pixels, bool) {
    let least = if code == DataType::Int8 as i32 { -128.0 } else { 0.0 };
    let turned = turned(graph, name);
    let exact = turned.is_some();
    let (scale, zero) = if let Some((turned, steps)) = turned {
        // Bodies first: what is put into a graph moves its nodes.
        turned.into_iter().rev().for_each(|turned| turned.take_out(graph));
        steps.unwrap_or((1.0, 0.0))
    } else {
        let steps = first_steps(graph, name).unwrap_or((1.0, 0.0));
        let [whole, scale, zero] = ["rounded", "scale", "zero"].map(|part| format!("{name} {part}"));
        graph.node.iter_mut().for_each(|node| rename(node, name, &whole));
        let scales = TensorProto {
            name: scale.clone(),
            data_type: DataType::Float as i32,
            raw_data: steps.0.to_le_bytes().into(),
            ..TensorProto::default()
        };
        let zeros = TensorProto {
            name: zero.clone(),
            data_type: code,
            raw_data: vec![steps.1 as i32 as u8],
            ..TensorProto::default()
        };
        graph.initializer.extend([scales, zeros]);
        graph.node.insert(0, node("QuantizeLinear", &[name, &scale, &zero], &whole, Vec::new()));
        steps
    };
    graph.input.iter_mut().filter(|input| input.name == name).for_each(hold_floats);
    (Pixels { scale, zero, least }, exact)
}

fn hold_floats(value: &mut ValueInfoProto) {
    if let Some(Value::TensorType(tensor)) = value.r#type.as_mut().and_then(|kind| kind.value.as_mut()) {
        tensor.elem_type = DataType::Float as i32;
    }
}

/// Scale and zero point by which bytes are turned into floats; `None` where they are only cast.
type Steps = Option<(f32, f32)>;

/// Where bytes are turned into floats, in a graph or in a body within it.
struct Turned {
    /// The way to the body: nodes, and which of their bodies.
    within: Vec<(usize, usize)>,
    /// The nodes that do, or that make wider integers of them.
    places: Vec<usize>,
    /// Constants that they are added to or multiplied by: node and input.
    operands: Vec<(usize, usize)>,
    /// The tensors of bytes before them.
    images: HashSet<String>,
}

impl Turned {
    fn take_out(self, mut graph: &mut GraphProto) {
        for (place, body) in self.within {
            graph = bodies_mut(&mut graph.node[place]).nth(body).expect("a body that was seen");
        }
        for place in self.places {
            let node = &mut graph.node[place];
            if is_cast_to_integers(node)
                || matches!(node.op_type.as_str(), "DequantizeLinear" | "CastLike")
                || attribute(node, "to").is_some_and(|to| to.i == DataType::Float as i64)
            {
                "Identity".clone_into(&mut node.op_type);
                node.domain.clear();
                node.input.truncate(1);
                node.attribute.clear();
            }
        }
        graph.value_info.retain(|value| !self.images.contains(&value.name));
        graph.output.iter_mut().filter(|output| self.images.contains(&output.name)).for_each(hold_floats);
        // The last first: what is put in front of a node moves those behind it.
        for (place, operand) in self.operands.into_iter().rev() {
            // A constant that bytes are added to becomes one of floats.
            let reader = &mut graph.node[place];
            let float = format!("{} for {}", reader.input[operand], name_of(reader));
            let whole = std::mem::replace(&mut reader.input[operand], float.clone());
            graph.node.insert(place, node("Cast", &[&whole], &float, vec![number("to", DataType::Float as i64)]));
        }
    }
}

/// Where the bytes of the input `name` are turned, and by what steps; `None` where something computes with them, or two nodes turn them
/// differently.
fn turned(graph: &GraphProto, name: &str) -> Option<(Vec<Turned>, Steps)> {
    let mut search = Search::default();
    let images = search.graph(graph, &Constants::of(graph), &[], HashSet::from([name.to_owned()]))?;
    let first = *search.steps.first()?;
    let is_whole = !graph.output.iter().any(|output| images.contains(&output.name));
    (is_whole && search.steps.iter().all(|steps| *steps == first)).then_some((search.turned, first))
}

#[derive(Default)]
struct Search {
    /// Of graphs that see the bytes, each before the bodies in it.
    turned: Vec<Turned>,
    /// Those of each node that turns bytes into floats.
    steps: Vec<Steps>,
}

impl Search {
    /// The tensors of bytes that a graph makes of those in `images`, and these; `None` where it computes with one.
    fn graph(
        &mut self,
        graph: &GraphProto,
        constants: &Constants,
        within: &[(usize, usize)],
        mut images: HashSet<String>,
    ) -> Option<HashSet<String>> {
        let own = self.turned.len();
        let (places, operands) = (Vec::new(), Vec::new());
        self.turned.push(Turned { within: within.to_vec(), places, operands, images: HashSet::new() });
        for (place, node) in graph.node.iter().enumerate() {
            let read: Vec<_> = (0..node.input.len()).filter(|input| images.contains(&node.input[*input])).collect();
            let turned = &mut self.turned[own];
            match (&read[..], node.op_type.as_str()) {
                ([], _) => {
                    let passed = self.bodies(node, constants, &images, within, place)?;
                    images.extend(passed);
                }
                ([0], "Cast") if attribute(node, "to").is_some_and(|to| Element::of(to.i as i32).is_some()) => {
                    turned.places.push(place);
                    self.steps.push(None);
                }
                ([0], "Cast") if is_cast_to_integers(node) => {
                    turned.places.push(place);
                    images.extend(node.output.first().cloned());
                }
                ([input], "Add" | "Sub" | "Mul")
                    if node.input.get(1 - input).is_some_and(|other| constants.get(other).is_some()) =>
                {
                    turned.operands.push((place, 1 - input));
                    images.extend(node.output.first().cloned());
                }
                ([0], "CastLike") if node.input.get(1).is_some_and(|like| constants.is_float(like)) => {
                    turned.places.push(place);
                    self.steps.push(None);
                }
                ([0], "DequantizeLinear") => {
                    turned.places.push(place);
                    self.steps.push(Some(steps(constants, node, 1)?));
                }
                (
                    [0],
                    "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Identity" | "Slice" | "Gather"
                    | "Split" | "Shape" | "Expand" | "Tile" | "DepthToSpace" | "SpaceToDepth",
                ) => {
                    images.extend(node.output.iter().filter(|_| node.op_type != "Shape").cloned());
                }
                ([0], "Resize" | "Upsample") if attribute(node, "mode").is_none_or(|mode| mode.s == b"nearest") => {
                    images.extend(node.output.first().cloned());
                }
                // What is padded with bytes other than 0 would need these as floats.
                ([0], "Pad") if node.input.get(2).is_none_or(String::is_empty) => {
                    images.extend(node.output.first().cloned());
                }
                (read, "Concat") if read.len() == node.input.len() => images.extend(node.output.first().cloned()),
                _ => return None,
            }
        }
        self.turned[own].images.clone_from(&images);
        Some(images)
    }

    /// The tensors of bytes that a node's bodies make of those they see around them: an `If` passes on what all its branches do.
    fn bodies(
        &mut self,
        node: &NodeProto,
        constants: &Constants,
        images: &HashSet<String>,
        within: &[(usize, usize)],
        place: usize,
    ) -> Option<Vec<String>> {
        let mut passed: Option<Vec<bool>> = None;
        for (at, body) in bodies(node).enumerate() {
            let own = if images.iter().any(|name| mentions(body, name)) {
                self.graph(body, &constants.within(body), &[within, &[(place, at)]].concat(), images.clone())?
            } else {
                HashSet::new()
            };
            let passes: Vec<_> = body.output.iter().map(|output| own.contains(&output.name)).collect();
            if passed.is_some_and(|before| before != passes) || passes.contains(&true) && node.op_type != "If" {
                return None;
            }
            passed = Some(passes);
        }
        let passed = node.output.iter().zip(passed.unwrap_or_default());
        Some(passed.filter(|(_, passes)| *passes).map(|(output, _)| output.clone()).collect())
    }
}

/// Whether a node makes integers of bytes that hold them all.
fn is_cast_to_integers(node: &NodeProto) -> bool {
    let wide = [DataType::Int16, DataType::Int32, DataType::Int64].map(|kind| kind as i64);
    node.op_type == "Cast" && attribute(node, "to").is_some_and(|to| wide.contains(&to.i))
}

/// Scale and zero point of a node, where both are single numbers.
fn steps(constants: &Constants, node: &NodeProto, place: usize) -> Option<(f32, f32)> {
    let scale = constants.number(node.input.get(place)?)? as f32;
    let zero = match node.input.get(place + 1) {
        Some(name) if !name.is_empty() => constants.number(name)? as f32,
        _ => 0.0,
    };
    (scale.is_finite() && scale > 0.0).then_some((scale, zero))
}

/// Those of the first node that computes with the bytes and says them.
fn first_steps(graph: &GraphProto, name: &str) -> Option<(f32, f32)> {
    let constants = Constants::of(graph);
    let says = |node: &NodeProto| {
        node.op_type.starts_with("QLinear") || node.op_type == "QGemm" || node.op_type == "DequantizeLinear"
    };
    let reading = graph.node.iter().filter(|node| node.input.first().is_some_and(|input| input == name));
    reading.filter(|node| says(node)).find_map(|node| steps(&constants, node, 1))
}

fn mentions(body: &GraphProto, name: &str) -> bool {
    body.output.iter().any(|output| output.name == name)
        || body
            .node
            .iter()
            .any(|node| node.input.iter().any(|input| input == name) || bodies(node).any(|body| mentions(body, name)))
}
