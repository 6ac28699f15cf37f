//! How an image flows through a graph: the nodes it reaches, and the tensors that every path to the output crosses.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use tract_onnx::pb::{GraphProto, NodeProto};

use super::proto::bodies;
use crate::error::{Error, Result};

/// The nodes that compute with the image's numbers, each after those it reads from.
#[derive(Debug)]
pub(super) struct Flow<'a> {
    nodes: Vec<&'a NodeProto>,
    /// The image, and all that is made of it.
    tensors: HashSet<&'a str>,
}

/// The nodes between two tensors that every path crosses.
#[derive(Debug)]
pub(super) struct Stretch<'a> {
    pub nodes: Vec<&'a NodeProto>,
    /// The tensor at its end.
    pub end: &'a str,
}

impl<'a> Flow<'a> {
    /// From the input `image` on.
    pub fn new(path: &Path, graph: &'a GraphProto, image: &'a str) -> Result<Self> {
        let names = graph.node.iter().enumerate().flat_map(|(at, node)| node.output.iter().map(move |name| (name, at)));
        let made_at: HashMap<&str, usize> = names.map(|(name, at)| (name.as_str(), at)).collect();
        let mut flow = Self { nodes: Vec::new(), tensors: HashSet::from([image]) };
        for (at, node) in graph.node.iter().enumerate() {
            let reads = reads(node);
            if let Some(later) = reads.iter().find(|name| made_at.get(*name).is_some_and(|made| *made >= at)) {
                let found = format!("{} read before it is made", later.escape_debug());
                return Err(Error::model(path, "nodes in topological order, as ONNX demands", found));
            }
            // A shape is the same for every image.
            let computes = !matches!(node.op_type.as_str(), "Shape" | "Size");
            if computes && reads.iter().any(|name| flow.tensors.contains(name)) {
                flow.nodes.push(node);
                flow.tensors.extend(made_by(node));
            }
        }
        Ok(flow)
    }

    /// Every tensor made of the image, with the node that makes it.
    pub fn made(&self) -> impl Iterator<Item = (&'a str, &'a NodeProto)> {
        self.nodes.iter().flat_map(|node| made_by(node).map(move |name| (name, *node)))
    }

    /// The way from the image to `output`, cut wherever a single tensor holds all that goes on.
    ///
    /// All nodes on the way stand before or behind such a tensor, those before it earlier in the order: once it is made,
    /// nothing else waits to be read. One sweep finds them all.
    pub fn stretches(&self, output: &'a str) -> Vec<Stretch<'a>> {
        let mut wanted = HashSet::from([output]);
        let mut way = Vec::new();
        for node in self.nodes.iter().rev() {
            if made_by(node).any(|name| wanted.contains(name)) {
                wanted.extend(reads(node));
                way.push(*node);
            }
        }
        way.reverse();
        let mut last_read = HashMap::new();
        for (at, node) in way.iter().enumerate() {
            last_read.extend(reads(node).into_iter().filter(|name| self.tensors.contains(name)).map(|name| (name, at)));
        }
        last_read.insert(output, way.len());

        let (mut stretches, mut first, mut waiting) = (Vec::new(), 0, 1_usize);
        for (at, node) in way.iter().enumerate() {
            let read_out = reads(node).iter().filter(|name| last_read.get(*name) == Some(&at)).count();
            let mut made = made_by(node).filter(|name| last_read.get(name).is_some_and(|last| *last > at));
            let end = made.next();
            waiting = (waiting + usize::from(end.is_some()) + made.count()).saturating_sub(read_out);
            if let (Some(end), 1) = (end, waiting) {
                stretches.push(Stretch { nodes: way[first..=at].to_vec(), end });
                first = at + 1;
            }
        }
        stretches
    }
}

/// Names of the tensors that a node makes.
fn made_by(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.output.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// Names of the tensors that a node reads, by itself or in a body of its own.
pub(super) fn reads(node: &NodeProto) -> HashSet<&str> {
    let mut names: HashSet<_> = node.input.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for body in bodies(node) {
        names.extend(body.node.iter().flat_map(reads));
        names.extend(body.output.iter().map(|output| output.name.as_str()));
    }
    names
}
