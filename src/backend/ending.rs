//! What stands between class logits and a network's output: a softmax and whatever hides it, or a final `ReLU` or `Clip`.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{FunctionProto, GraphProto, NodeProto, ValueInfoProto};

use super::inline::inline;
use super::proto::{attribute, bodies_mut, called, is_op, node};
use super::squash::{Effect, Scopes, effect, is_by_its_own, squashed, unmasked};

/// The end of a network that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// The tensor before it, with a row for each image as the output has.
    pub before: String,
    /// The kind of operator.
    pub op: String,
    /// Whether that squashes what enters it; a `ReLU` or a `Clip` does not.
    pub squashes: bool,
    /// Whether that squashes each number by itself, as a sigmoid does, so that several classes may be right at once.
    pub is_independent: bool,
    /// Whether the largest number of an image is the same one before and behind it.
    pub keeps_classes: bool,
}

/// Operators that are looked back through, one behind the other.
const MOST_STEPS: usize = 200;
/// Nodes of functions that are looked into, and tensors that are looked at.
const MOST_NODES: usize = 100_000;

/// Looks back from the tensor `output` of `graph` through operators that change only shapes, kinds of numbers or their scale; what
/// the search needs is added to the graph: copies of shapes, outputs of branches, what functions do. Says whether there is any.
pub(super) fn ending(graph: &mut GraphProto, functions: &[FunctionProto], output: &str) -> (Option<Ending>, bool) {
    let mut search = Search {
        functions,
        scopes: Scopes(vec![std::mem::take(graph)]),
        known: HashMap::new(),
        names: HashSet::new(),
        left: MOST_NODES,
        changed: false,
    };
    let found = search.before(output, true, MOST_STEPS);
    *graph = search.scopes.0.swap_remove(0);
    (found, search.changed)
}

struct Search<'a> {
    functions: &'a [FunctionProto],
    /// The graph, and the bodies in it that lead to where the search is.
    scopes: Scopes,
    /// What was found behind a tensor of a scope, with whether it holds the numbers of the output.
    known: HashMap<(usize, String, bool), Option<Ending>>,
    /// Names of tensors that were added.
    names: HashSet<String>,
    /// Nodes of functions that may still be put in place of calls, and tensors that may be looked at.
    left: usize,
    /// Whether the graph is another one than before.
    changed: bool,
}

impl Search<'_> {
    /// The end behind which the tensor `name` stands; one that only cuts numbers off counts while `keeps_numbers`.
    fn before(&mut self, name: &str, keeps_numbers: bool, steps: usize) -> Option<Ending> {
        let steps = steps.checked_sub(1)?;
        self.left = self.left.checked_sub(1)?;
        let (scope, place) = self.making(name)?;
        let key = (scope, name.to_owned(), keeps_numbers);
        if let Some(found) = self.known.get(&key) {
            return found.clone();
        }
        // A graph that is none may go round.
        self.known.insert(key.clone(), None);
        let inner = self.scopes.0.split_off(scope + 1);
        let found = self.through(place, name, keeps_numbers, steps);
        self.scopes.0.extend(inner);
        self.known.insert(key, found.clone());
        found
    }

    /// Where the node stands that makes a tensor; a call is replaced by what its function does.
    fn making(&mut self, name: &str) -> Option<(usize, usize)> {
        loop {
            let (scope, place) = self.scopes.making(name)?;
            let nodes = &mut self.scopes.0[scope].node;
            let Some(function) = called(self.functions, &nodes[place]) else { return Some((scope, place)) };
            self.left = self.left.checked_sub(function.node.len().max(1))?;
            if !inline(nodes, place, self.functions) {
                return None;
            }
            self.changed = true;
        }
    }

    /// The graph or the body in which the search is.
    fn here(&mut self) -> Option<&mut GraphProto> {
        self.scopes.0.last_mut()
    }

    /// As [`Self::before`], through the node at `place` here.
    fn through(&mut self, place: usize, name: &str, keeps_numbers: bool, steps: usize) -> Option<Ending> {
        let made = self.here()?.node.get(place)?.clone();
        let index = made.output.iter().position(|made| made == name)?;
        if is_op(&made, "If") {
            return self.in_branches(made, index, keeps_numbers, steps);
        }
        if index > 0 && made.op_type != "Split" {
            return None;
        }
        if let Some((input, op)) = squashed(&self.scopes, &made, !keeps_numbers) {
            return Some(self.before_squashing(&made, input, op, steps));
        }
        let (through, from) = effect(&self.scopes, &made)?;
        let input = made.input.get(from)?;
        match through {
            Effect::Same => self.before(input, keeps_numbers, steps),
            Effect::Scaled { keeps_order } => {
                let is_shared = is_op(&made, "Div") && is_by_its_own(&self.scopes, &made);
                self.before(input, false, steps).map(|found| found.kept(keeps_order).within(!is_shared))
            }
            Effect::Clamped => self.before(input, keeps_numbers, steps).or_else(|| {
                let (before, op) = (input.clone(), made.op_type.clone());
                keeps_numbers.then_some(Ending {
                    before,
                    op,
                    squashes: false,
                    is_independent: false,
                    keeps_classes: false,
                })
            }),
            Effect::Moved { keeps_order } => {
                let found = self.before(input, keeps_numbers, steps)?.kept(keeps_order);
                Some(self.moved(&made, index, vec![found]))
            }
            Effect::Joined => {
                let parts: Option<Vec<Ending>> = made
                    .input
                    .iter()
                    .map(|input| Some(self.before(input, keeps_numbers, steps)?.kept(false)))
                    .collect();
                Some(self.moved(&made, 0, parts?))
            }
        }
    }

    /// Behind a node that squashes `input`, by itself or as the last one of those that do.
    fn before_squashing(&mut self, made: &NodeProto, input: String, op: String, steps: usize) -> Ending {
        // The first axis is that of the batch, unless something turned it before: the exported output tells.
        let keeps_classes = attribute(made, "axis").is_none_or(|axis| axis.i > 0 || axis.i == -1);
        // Numbers whose hyperbolic tangent is scaled may be logits that are kept small.
        let is_independent = matches!(op.as_str(), "Sigmoid" | "HardSigmoid") && !is_op(made, "Tanh");
        // A softmax that was exported with one already, and trained or wrapped with another.
        if let Some(found) = self.before(&input, true, steps).filter(|found| found.squashes) {
            return found.kept(keeps_classes).within(is_independent);
        }
        let mut found = Ending { before: input, op, squashes: true, is_independent, keeps_classes };
        if let Some(before) = unmasked(&self.scopes, &found.before) {
            return Ending { before, ..found }.kept(false);
        }
        if made.op_type.starts_with("QLinear") {
            let [scale, zero] = [1, 2].map(|place| made.input.get(place).cloned().unwrap_or_default());
            let name = self.named(&format!("{} dequantized", found.before));
            self.add(made, node("DequantizeLinear", &[&found.before, &scale, &zero], &name, Vec::new()));
            found.before = name;
        }
        found
    }

    /// What stands before `parts`, moved as the node moves its inputs: by a copy of it.
    fn moved(&mut self, made: &NodeProto, index: usize, parts: Vec<Ending>) -> Ending {
        let mut copy = made.clone();
        for (input, part) in copy.input.iter_mut().zip(&parts) {
            input.clone_from(&part.before);
        }
        let whole = Ending::of_all(parts);
        for output in &mut copy.output {
            *output = self.named(&format!("{output} before its {}", whole.op));
        }
        let before = copy.output[index].clone();
        copy.name.clone_from(&before);
        self.add(made, copy);
        Ending { before, ..whole }
    }

    /// Puts a node behind another one, which reads what it does.
    fn add(&mut self, behind: &NodeProto, new: NodeProto) {
        self.changed = true;
        let Some(graph) = self.here() else { return };
        let place = graph.node.iter().position(|node| node.output == behind.output);
        graph.node.insert(place.map_or(graph.node.len(), |place| place + 1), new);
    }

    /// A name that no tensor has that was added before.
    fn named(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        for number in 2.. {
            if self.names.insert(free.clone()) {
                break;
            }
            free = format!("{name} ({number})");
        }
        free
    }

    /// Where a branch ends so, what stands before it there, and in the other one its own output, as a further output of both.
    fn in_branches(&mut self, mut made: NodeProto, index: usize, keeps_numbers: bool, steps: usize) -> Option<Ending> {
        let output = made.output.get(index)?.clone();
        let mut endings = Vec::new();
        for body in bodies_mut(&mut made) {
            let own = body.output.get(index)?.name.clone();
            self.scopes.0.push(std::mem::take(body));
            let found = self.before(&own, keeps_numbers, steps);
            *body = self.scopes.0.pop()?;
            let depth = self.scopes.0.len();
            self.known.retain(|(scope, ..), _| *scope < depth);
            endings.push((own, found));
        }
        // What one branch cuts off says nothing of the other.
        let is_squashed = endings.iter().flat_map(|(_, found)| found).any(|found| found.squashes);
        if is_squashed {
            for (_, found) in &mut endings {
                *found = found.take().filter(|found| found.squashes);
            }
        } else if endings.iter().any(|(_, found)| found.is_none()) {
            return None;
        }
        let whole = Ending::of_all(endings.iter().filter_map(|(_, found)| found.clone()).collect());
        let before = self.named(&format!("{output} before its {}", whole.op));
        for (body, (own, found)) in bodies_mut(&mut made).zip(&endings) {
            let from = found.as_ref().map_or(own, |found| &found.before);
            let name = self.named(&format!("{from} of {}", body.name));
            body.node.push(node("Identity", &[from], &name, Vec::new()));
            body.output.push(ValueInfoProto { name, ..ValueInfoProto::default() });
        }
        made.output.push(before.clone());
        let place = self.scopes.making(&output)?.1;
        self.here()?.node[place] = made;
        self.changed = true;
        Some(Ending { before, ..whole })
    }
}

impl Ending {
    /// The same, behind something else that keeps the order of classes or not.
    fn kept(self, keeps_classes: bool) -> Self {
        Self { keeps_classes: self.keeps_classes && keeps_classes, ..self }
    }

    /// The same, with something else that leaves each number by itself or not.
    fn within(self, is_independent: bool) -> Self {
        Self { is_independent: self.is_independent && is_independent, ..self }
    }

    /// Of several ends, of which there is one at least: the first, or one that squashes.
    fn of_all(all: Vec<Self>) -> Self {
        let keeps_classes = all.iter().all(|ending| ending.keeps_classes);
        let none =
            Self { before: String::new(), op: String::new(), squashes: false, is_independent: false, keeps_classes };
        all.into_iter()
            .reduce(|first, other| if other.squashes && !first.squashes { other } else { first })
            .map_or(none, |ending| Self { keeps_classes, ..ending })
    }
}
