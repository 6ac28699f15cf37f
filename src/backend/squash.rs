//! What operators do to the numbers of class logits: squash them, as a softmax does, scale them, cut them off or move them.

use std::borrow::Cow;

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::input::Element;
use super::proto::{attribute, constant, is_op, number, numbers, size};

/// A graph, the body in it that is looked at, the body in that, ...: each sees what those before it make.
pub(super) struct Scopes(pub Vec<GraphProto>);

impl Scopes {
    /// The graph and the place in it of the node that makes a tensor.
    pub fn making(&self, name: &str) -> Option<(usize, usize)> {
        let within =
            |graph: &GraphProto| graph.node.iter().position(|node| node.output.iter().any(|made| made == name));
        self.0.iter().enumerate().rev().find_map(|(scope, graph)| Some((scope, within(graph)?)))
    }

    /// The node that makes a tensor first.
    fn node(&self, name: &str) -> Option<&NodeProto> {
        let (scope, place) = self.making(name)?;
        self.0[scope].node.get(place).filter(|node| node.output.first().is_some_and(|made| made == name))
    }

    /// As [`Self::node`], if it is of this kind.
    fn made_by(&self, name: &str, kind: &str) -> Option<&NodeProto> {
        self.node(name).filter(|node| is_op(node, kind))
    }

    pub fn constant(&self, name: &str) -> Option<Cow<'_, TensorProto>> {
        self.0.iter().rev().find_map(|graph| constant(graph, name))
    }

    /// The number of a tensor that holds one.
    fn number(&self, name: &str) -> Option<f64> {
        number(&*self.constant(name)?)
    }
}

/// How a node's output goes with one of its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The same numbers, in another kind.
    Same,
    /// Each number by itself, or all of an image together, larger or smaller; whether the largest stays the largest.
    Scaled { keeps_order: bool },
    /// Numbers beyond an end are cut off.
    Clamped,
    /// The same numbers in other places; whether no others come beside them.
    Moved { keeps_order: bool },
    /// Several tensors, one behind the other.
    Joined,
}

/// The effect of a node, and the place of the input that it leads to.
pub(super) fn effect(scopes: &Scopes, node: &NodeProto) -> Option<(Effect, usize)> {
    let scaled = |keeps_order| (Effect::Scaled { keeps_order }, 0);
    Some(match node.op_type.as_str() {
        "Identity" | "QuantizeLinear" | "DequantizeLinear" | "Dropout" | "CastLike" => (Effect::Same, 0),
        "Cast" => {
            attribute(node, "to").filter(|to| Element::of(to.i as i32).is_some())?;
            (Effect::Same, 0)
        }
        "Concat" | "Sum" | "Mean" | "Max" | "Min" if node.input.len() == 1 => (Effect::Same, 0),
        "Concat" => (Effect::Joined, 0),
        "Relu" | "Clip" => (Effect::Clamped, 0),
        "Log" | "Exp" | "Sqrt" | "LpNormalization" | "Round" | "Floor" | "Ceil" => scaled(true),
        "Neg" => scaled(false),
        "Pow" => scaled(scopes.number(node.input.get(1)?)? > 0.0),
        "Div" | "Sub" if is_by_its_own(scopes, node) || is_odds(scopes, node) => scaled(true),
        "Where" => {
            let is_constant = |place: usize| Some(scopes.constant(node.input.get(place)?).is_some());
            match (is_constant(1)?, is_constant(2)?) {
                (true, false) => (Effect::Scaled { keeps_order: false }, 2),
                (false, true) => (Effect::Scaled { keeps_order: false }, 1),
                _ => return None,
            }
        }
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" => by_constant(scopes, node)?,
        "Pad" => (Effect::Moved { keeps_order: false }, 0),
        // The exported output tells what an axis of the batch became that another operator reads as one of classes.
        "Transpose" => {
            let perm = attribute(node, "perm").and_then(|perm| perm.ints.first().copied());
            (Effect::Moved { keeps_order: perm == Some(0) }, 0)
        }
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Slice" | "Gather" | "GatherND" | "GatherElements"
        | "Split" | "Expand" | "Tile" | "DepthToSpace" | "SpaceToDepth" => (Effect::Moved { keeps_order: true }, 0),
        _ => return None,
    })
}

/// The effect of an operator of two inputs, one of which is constant.
fn by_constant(scopes: &Scopes, node: &NodeProto) -> Option<(Effect, usize)> {
    let [first, second] = &node.input[..] else { return None };
    let (operand, input) = match (scopes.constant(first), scopes.constant(second)) {
        (None, Some(operand)) => (operand, 0),
        (Some(operand), None) if node.op_type != "Div" => (operand, 1),
        _ => return None,
    };
    let is_one = size(&operand) == 1;
    let effect = match node.op_type.as_str() {
        "Max" | "Min" if is_one => Effect::Clamped,
        "Add" | "Sub" => Effect::Scaled { keeps_order: is_one && (input == 0 || node.op_type == "Add") },
        _ => {
            let is_positive = || numbers(&operand).is_some_and(|numbers| numbers.iter().all(|number| *number > 0.0));
            Effect::Scaled { keeps_order: is_one && is_positive() }
        }
    };
    Some((effect, input))
}

/// Whether a node divides its first input by that input's own sum, largest number or the like, or takes that off.
pub(super) fn is_by_its_own(scopes: &Scopes, node: &NodeProto) -> bool {
    let [first, own] = &node.input[..] else { return false };
    reduced(scopes, own).is_some_and(|reduced| reduced.input.first() == Some(first))
}

/// Whether a node sets a probability against what is left to 1: `p / (1 - p)`, `log(p) - log(1 - p)`.
fn is_odds(scopes: &Scopes, node: &NodeProto) -> bool {
    let [above, below] = &node.input[..] else { return false };
    let log = |name: &String| scopes.made_by(name, "Log").and_then(|log| log.input.first());
    let (above, below) = if is_op(node, "Div") { (Some(above), Some(below)) } else { (log(above), log(below)) };
    let rest = below.and_then(|below| scopes.made_by(below, "Sub"));
    rest.is_some_and(|rest| {
        rest.input.first().and_then(|one| scopes.number(one)) == Some(1.0) && rest.input.get(1) == above
    })
}

/// The node that makes a sum, a largest number or the like, kept from zero or spread afterwards.
fn reduced<'a>(scopes: &'a Scopes, name: &str) -> Option<&'a NodeProto> {
    const MOST_STEPS: usize = 4;
    let mut node = scopes.node(name)?;
    for _ in 0..MOST_STEPS {
        match node.op_type.as_str() {
            "ReduceSum" | "ReduceL1" | "ReduceL2" | "ReduceMax" | "ReduceMean" => return Some(node),
            "Clip" | "Max" | "Add" | "Expand" | "Identity" | "Cast" => node = scopes.node(node.input.first()?)?,
            _ => return None,
        }
    }
    None
}

/// What a node squashes, and how: a softmax, a sigmoid, or the last operator of one that is spelled out. A hyperbolic tangent that is
/// `scaled` afterwards is a sigmoid.
pub(super) fn squashed(scopes: &Scopes, node: &NodeProto, scaled: bool) -> Option<(String, String)> {
    let input = node.input.first()?.clone();
    match node.op_type.as_str() {
        "Softmax" | "LogSoftmax" | "Sigmoid" | "HardSigmoid" | "Hardmax" | "QLinearSoftmax" | "QLinearSigmoid" => {
            Some((input, node.op_type.trim_start_matches("QLinear").to_owned()))
        }
        "Tanh" if scaled => Some((input, "Sigmoid".to_owned())),
        // Shares of the largest one.
        "Exp" => {
            let less = scopes.made_by(&input, "Sub").filter(|less| is_by_its_own(scopes, less))?;
            Some((less.input.first()?.clone(), "Softmax".to_owned()))
        }
        "Div" | "Sub" | "Mul" | "Reciprocal" | "Pow" => {
            spelled_out(scopes, node).map(|(input, op)| (input, op.to_owned()))
        }
        _ => None,
    }
}

/// A softmax in single operators: `exp(x) / sum(exp(x))`, `x - log(sum(exp(x)))`, with or without the largest x taken off first; a
/// sigmoid: `1 / (1 + exp(-x))`. Divisions may be products with a reciprocal.
fn spelled_out(scopes: &Scopes, last: &NodeProto) -> Option<(String, &'static str)> {
    let first = |node: &NodeProto| node.input.first().cloned().unwrap_or_default();
    let uncentred = |name: &str| {
        let less = scopes.made_by(name, "Sub").filter(|less| {
            let taken = less.input.get(1).and_then(|name| scopes.node(name));
            taken.is_some_and(|taken| {
                matches!(taken.op_type.as_str(), "ReduceMax" | "ReduceLogSumExp") && first(taken) == first(less)
            })
        });
        less.map_or_else(|| name.to_owned(), first)
    };
    if let Some(divisor) = reciprocal(scopes, last) {
        return Some((sigmoid(scopes, divisor)?, "Sigmoid"));
    }
    let [above, below] = &last.input[..] else { return None };
    if is_op(last, "Div") || is_op(last, "Mul") {
        let divisor = |name: &String| scopes.node(name).and_then(|node| reciprocal(scopes, node));
        let (above, below) = match (is_op(last, "Div"), divisor(above), divisor(below)) {
            (true, ..) => (above, below),
            (_, Some(divisor), _) => (below, divisor),
            (_, _, Some(divisor)) => (above, divisor),
            _ => return None,
        };
        let exponential = scopes.made_by(above, "Exp")?;
        let sum = reduced(scopes, below)?;
        return (first(sum) == *above).then(|| (uncentred(&first(exponential)), "Softmax"));
    }
    if !is_op(last, "Sub") {
        return None;
    }
    if let Some(whole) = scopes.made_by(below, "ReduceLogSumExp") {
        return (first(whole) == *above).then(|| (above.clone(), "LogSoftmax"));
    }
    let sum = scopes.made_by(below, "Log").and_then(|log| scopes.made_by(log.input.first()?, "ReduceSum"))?;
    let exponential = scopes.made_by(sum.input.first()?, "Exp")?;
    (first(exponential) == *above).then(|| (uncentred(above), "LogSoftmax"))
}

/// What one is divided by here.
fn reciprocal<'a>(scopes: &Scopes, node: &'a NodeProto) -> Option<&'a String> {
    let is = |place: usize, value: f64| node.input.get(place).and_then(|name| scopes.number(name)) == Some(value);
    match node.op_type.as_str() {
        "Reciprocal" => node.input.first(),
        "Pow" if is(1, -1.0) => node.input.first(),
        "Div" if is(0, 1.0) => node.input.get(1),
        _ => None,
    }
}

/// What enters a sigmoid whose divisor is `1 + exp(-x)`.
fn sigmoid(scopes: &Scopes, divisor: &str) -> Option<String> {
    let sum =
        scopes.made_by(divisor, "Add").filter(|sum| sum.input.iter().any(|name| scopes.number(name) == Some(1.0)))?;
    let exponential = sum.input.iter().find_map(|name| scopes.made_by(name, "Exp"))?;
    let negated = scopes.node(exponential.input.first()?)?;
    match (negated.op_type.as_str(), &negated.input[..]) {
        ("Neg", [input]) => Some(input.clone()),
        ("Mul", [input, minus] | [minus, input]) if scopes.number(minus) == Some(-1.0) => Some(input.clone()),
        _ => None,
    }
}

/// The tensor of which a node blots some numbers out, as attention does: a softmax gives these no share, and infinities have no
/// `R_f`.
pub(super) fn unmasked(scopes: &Scopes, name: &str) -> Option<String> {
    const ENDLESS: f64 = -1e18;
    let node = scopes.node(name)?;
    let is_endless = |name: &String| {
        scopes.constant(name).and_then(|tensor| numbers(&tensor)).is_some_and(|all| all.iter().any(|it| *it < ENDLESS))
    };
    match (node.op_type.as_str(), &node.input[..]) {
        ("Where", [_, from, mask] | [_, mask, from]) | ("Add", [from, mask] | [mask, from]) if is_endless(mask) => {
            Some(from.clone())
        }
        _ => None,
    }
}
