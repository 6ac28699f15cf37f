//! What stands between class logits and a network's output: a softmax and whatever hides it, or a final `ReLU` or `Clip`.

use std::collections::HashSet;

use tract_onnx::pb::{FunctionProto, GraphProto, NodeProto, ValueInfoProto};

use super::inline::inline;
use super::input::Element;
use super::proto::{Constants, attribute, bodies, bodies_mut, called, is_op, node, rename, size};

/// The end of a network that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// The tensor before it, with a row for each image as the output has.
    pub before: String,
    /// The kind of operator.
    pub op: String,
    /// Whether it leaves the order of classes as it is; a `ReLU` or a `Clip` may tie them.
    pub keeps_classes: bool,
}

/// Bodies within bodies that are searched.
const MOST_DEPTH: usize = 8;
/// Nodes of functions that are looked into.
const MOST_NODES: usize = 100_000;

/// Looks back from the tensor `output` of `graph` through operators that change only shapes, kinds of numbers or their scale; what
/// the search needs is added to the graph: copies of shapes, outputs of branches, what functions do. Says whether there is any.
pub(super) fn ending(graph: &mut GraphProto, functions: &[FunctionProto], output: &str) -> (Option<Ending>, bool) {
    let mut search = Search { functions, left: MOST_NODES, changed: false };
    (search.back(graph, output, MOST_DEPTH), search.changed)
}

struct Search<'a> {
    functions: &'a [FunctionProto],
    /// Nodes of functions that may still be put in place of calls.
    left: usize,
    /// Whether the graph is another one than before.
    changed: bool,
}

impl Search<'_> {
    fn back(&mut self, graph: &mut GraphProto, output: &str, depth: usize) -> Option<Ending> {
        let (mut name, mut shapes, mut clamp) = (output.to_owned(), Vec::new(), None);
        let mut keeps_numbers = true;
        let mut seen = HashSet::new();
        // A graph that is none may go round.
        while seen.insert(name.clone()) {
            let Some(place) = self.making(graph, &name) else { break };
            let made = &graph.node[place];
            let Some(first) = made.output.iter().position(|made| *made == name) else { break };
            if is_op(made, "If") && depth > 0 && given_on(made).is_none() {
                let Some(found) = self.in_branches(graph, place, first, depth - 1) else { break };
                return Some(self.behind(graph, found, shapes, output));
            }
            if first > 0 {
                break;
            }
            if let Some((before, op)) = self.squasher(graph, place, !keeps_numbers) {
                // A softmax that was exported with one already, and trained or wrapped with another.
                let first = depth.checked_sub(1).and_then(|depth| self.back(graph, &before, depth));
                let found = first.filter(|ending| ending.keeps_classes);
                let found = found.unwrap_or(Ending { before, op, keeps_classes: true });
                return Some(self.behind(graph, found, shapes, output));
            }
            let made = &graph.node[place];
            if is_op(made, "If")
                && let Some(input) = given_on(made)
            {
                shapes.push(made.clone());
                name = input;
                continue;
            }
            let Some(input) = passed_through(graph, made) else { break };
            keeps_numbers &= !matches!(made.op_type.as_str(), "Log" | "Exp" | "Add" | "Sub" | "Mul" | "Div");
            if clamps(made) && keeps_numbers {
                clamp = Some((input.clone(), made.op_type.clone(), shapes.len()));
            } else if is_shape(made) {
                shapes.push(made.clone());
            }
            name = input;
        }
        let (before, op, count) = clamp?;
        shapes.truncate(count);
        Some(self.behind(graph, Ending { before, op, keeps_classes: false }, shapes, output))
    }

    /// Where the node stands that makes a tensor; a call is replaced by what its function does.
    fn making(&mut self, graph: &mut GraphProto, name: &str) -> Option<usize> {
        loop {
            let place = graph.node.iter().position(|node| node.output.iter().any(|made| made == name))?;
            let Some(function) = called(self.functions, &graph.node[place]) else { return Some(place) };
            self.left = self.left.checked_sub(function.node.len().max(1))?;
            if !inline(&mut graph.node, place, self.functions) {
                return None;
            }
            self.changed = true;
        }
    }

    /// Where both branches end alike, the tensor of both before that, as a further output of theirs.
    fn in_branches(&mut self, graph: &mut GraphProto, place: usize, index: usize, depth: usize) -> Option<Ending> {
        let mut branching = graph.node[place].clone();
        let mut endings = Vec::new();
        for body in bodies_mut(&mut branching) {
            let output = body.output.get(index)?.name.clone();
            let ending = self.back(body, &output, depth)?;
            let name = format!("{} of {}", ending.before, body.name);
            body.node.push(node("Identity", &[&ending.before], &name, Vec::new()));
            body.output.push(ValueInfoProto { name, ..ValueInfoProto::default() });
            endings.push(ending);
        }
        let [first, second] = &endings[..] else { return None };
        if first.op != second.op {
            return None;
        }
        let before = format!("{} before its {}", branching.output[index], first.op);
        branching.output.push(before.clone());
        graph.node[place] = branching;
        self.changed = true;
        Some(Ending { before, ..first.clone() })
    }

    /// The ending with the shapes that followed it: copies of their nodes, from what was found to the output.
    fn behind(&mut self, graph: &mut GraphProto, mut ending: Ending, shapes: Vec<NodeProto>, output: &str) -> Ending {
        let (count, found) = (shapes.len(), ending.before.clone());
        self.changed |= count > 0;
        for (place, mut shape) in shapes.into_iter().rev().enumerate() {
            let name = match count - place {
                1 => format!("{found} as {output}"),
                left => format!("{found} as {output}, step {left}"),
            };
            let from = std::mem::replace(&mut ending.before, name.clone());
            if is_op(&shape, "If") {
                let passed = given_on(&shape).unwrap_or_default();
                rename(&mut shape, &passed, &from);
            } else {
                shape.input[0] = from;
            }
            shape.name.clone_from(&name);
            shape.output = vec![name];
            graph.node.push(shape);
        }
        ending
    }

    /// The tensor that enters the softmax or sigmoid that the node at `place` is, or that it is the last part of; and what to call it.
    /// A hyperbolic tangent that is `scaled` afterwards is a sigmoid.
    fn squasher(&mut self, graph: &mut GraphProto, place: usize, scaled: bool) -> Option<(String, String)> {
        let made = &graph.node[place];
        let input = made.input.first()?.clone();
        match made.op_type.as_str() {
            "Softmax" | "LogSoftmax" | "Sigmoid" | "HardSigmoid" | "Hardmax" => Some((input, made.op_type.clone())),
            "QLinearSoftmax" | "QLinearSigmoid" => {
                let [scale, zero] = [1, 2].map(|place| made.input.get(place).cloned().unwrap_or_default());
                let op = made.op_type.trim_start_matches("QLinear").to_owned();
                let name = format!("{input} dequantized");
                self.changed = true;
                graph.node.push(node("DequantizeLinear", &[&input, &scale, &zero], &name, Vec::new()));
                Some((name, op))
            }
            "Tanh" if scaled => Some((input, "Sigmoid".to_owned())),
            "Div" | "Sub" | "Mul" | "Reciprocal" => spelled_out(graph, &graph.node[place]),
            _ => None,
        }
    }
}

/// A softmax in single operators: `exp(x) / sum(exp(x))`, `x - log(sum(exp(x)))`, with or without the largest x taken off first; a
/// sigmoid: `1 / (1 + exp(-x))`. Divisions may be products with a reciprocal.
fn spelled_out(graph: &GraphProto, last: &NodeProto) -> Option<(String, String)> {
    let making = |name: &str| graph.node.iter().find(|node| node.output.first().is_some_and(|made| made == name));
    let made_by = |name: &str, kind: &str| making(name).filter(|node| is_op(node, kind));
    let first = |node: &NodeProto| node.input.first().cloned().unwrap_or_default();
    let uncentred = |name: String| match made_by(&name, "Sub") {
        Some(node)
            if node.input.get(1).is_some_and(|taken| {
                made_by(taken, "ReduceMax")
                    .or_else(|| made_by(taken, "ReduceLogSumExp"))
                    .is_some_and(|max| first(max) == first(node))
            }) =>
        {
            first(node)
        }
        _ => name,
    };
    let sigmoid = |sum: &String| {
        let sum = made_by(sum, "Add")?;
        let exp = sum.input.iter().find_map(|name| made_by(name, "Exp"))?;
        let negated = made_by(exp.input.first()?, "Neg")?;
        let is_one = sum.input.iter().any(|name| Constants::of(graph).number(name) == Some(1.0));
        is_one.then(|| (first(negated), "Sigmoid".to_owned()))
    };
    if is_op(last, "Reciprocal") {
        return sigmoid(last.input.first()?);
    }
    let [mut above, mut below] = [last.input.first()?, last.input.get(1)?];
    if is_op(last, "Mul") {
        if made_by(above, "Reciprocal").is_some() {
            std::mem::swap(&mut above, &mut below);
        }
        below = made_by(below, "Reciprocal")?.input.first()?;
    }
    if is_op(last, "Div") || is_op(last, "Mul") {
        if let (Some(exp), Some(sum)) = (made_by(above, "Exp"), made_by(below, "ReduceSum"))
            && first(sum) == *above
        {
            return Some((uncentred(first(exp)), "Softmax".to_owned()));
        }
        return sigmoid(below).filter(|_| Constants::of(graph).number(above) == Some(1.0));
    }
    if let Some(whole) = made_by(below, "ReduceLogSumExp") {
        return (first(whole) == *above).then(|| (above.clone(), "LogSoftmax".to_owned()));
    }
    let sum = made_by(below, "Log").and_then(|log| made_by(log.input.first()?, "ReduceSum"))?;
    let exp = made_by(sum.input.first()?, "Exp")?;
    (first(exp) == *above).then(|| (uncentred(above.clone()), "LogSoftmax".to_owned()))
}

/// What enters a node that changes nothing but shapes, kinds of numbers or their scale.
fn passed_through(graph: &GraphProto, node: &NodeProto) -> Option<String> {
    let input = node.input.first()?;
    let is_constant = |name: &String| Constants::of(graph).get(name).is_some_and(|tensor| size(tensor) == 1);
    let passes = match node.op_type.as_str() {
        "Identity" | "QuantizeLinear" | "DequantizeLinear" | "Dropout" | "CastLike" | "Relu" | "Clip" | "Log"
        | "Exp" => true,
        "Cast" => attribute(node, "to").is_some_and(|to| Element::of(to.i as i32).is_some()),
        "Concat" => node.input.len() == 1,
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" => {
            let [first, second] = &node.input[..] else { return None };
            return match (is_constant(first), is_constant(second)) {
                (false, true) => Some(first.clone()),
                (true, false) if node.op_type != "Div" => Some(second.clone()),
                _ => None,
            };
        }
        _ => is_shape(node),
    };
    passes.then(|| input.clone())
}

/// The tensor from outside that both branches give on, in one shape or another: what becomes of `squeeze` and the like.
fn given_on(branching: &NodeProto) -> Option<String> {
    let mut given = bodies(branching).map(|body| {
        let [output] = &body.output[..] else { return None };
        let mut name = output.name.as_str();
        // Each node stands behind those it reads.
        for node in body.node.iter().rev().filter(|node| is_shape(node) || is_op(node, "Identity")) {
            if node.output.first().is_some_and(|made| made == name) {
                name = node.input.first()?;
            }
        }
        let is_outside = body.node.iter().all(|node| node.output.iter().all(|made| made != name));
        is_outside.then(|| name.to_owned())
    });
    let first = given.next()??;
    (given.next()?.is_some_and(|second| second == first) && given.next().is_none()).then_some(first)
}

fn is_shape(node: &NodeProto) -> bool {
    let kinds = ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Gather"];
    kinds.contains(&node.op_type.as_str())
}

fn clamps(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "Relu" | "Clip" | "Max" | "Min")
}
