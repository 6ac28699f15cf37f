//! Which tensors are layers: the ends of blocks, those of a name, or all that one kind of node makes.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use tract_onnx::pb::{ModelProto, NodeProto};

use super::flow::{Flow, Stretch};
use super::proto::bodies;
use crate::error::{Error, Result};

/// The tensors before the output that are measured too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Selection {
    /// The end of each block.
    ///
    /// A block ends at a tensor that every path from the image to the output crosses, so never inside a residual
    /// block: at the last such tensor before the next weights or the next pooling. Tensors that only rearrange
    /// another (reshaped, transposed, cast, ...) are none.
    #[default]
    Blocks,
    /// Those of these names; a text that is no tensor's name is a list of names with commas between.
    Named(Vec<String>),
    /// Every output of the nodes of a kind, such as `Relu`.
    Kind(String),
}

/// What a selection came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    /// In an order in which they can be computed, without the output.
    pub tensors: Vec<Layer>,
    /// Coordinates of each, at most.
    pub coordinates: usize,
    /// Named by the user: one that cannot be measured is an error.
    pub are_named: bool,
}

/// A tensor and the kind of node that makes it.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub name: String,
    pub op: String,
}

/// More coordinates of a layer tell little more.
pub(super) const MOST_COORDINATES: usize = 1024;

impl Selection {
    /// The layers of the network that makes `output` of `image`, of at most `numbers` coordinates together.
    pub(super) fn of(
        &self,
        path: &Path,
        model: &ModelProto,
        (image, output): (&str, &str),
        numbers: usize,
    ) -> Result<Layers> {
        let Some(graph) = &model.graph else { return Ok(Layers::default()) };
        let flow = Flow::new(path, graph, image)?;
        let chosen: HashSet<&str> = match self {
            Self::Blocks => {
                let is_module = |node: &NodeProto| model.functions.iter().any(|module| module.name() == node.op_type);
                blocks(&flow.stretches(output), &is_module).into_iter().collect()
            }
            Self::Named(texts) => named(path, &flow, texts)?,
            Self::Kind(kind) => of_kind(path, &flow, kind)?,
        };
        let is_layer = |name: &str| chosen.contains(name) && name != output;
        let layers = flow.made().filter(|(name, _)| is_layer(name));
        let layers = layers.map(|(name, node)| Layer { name: name.to_owned(), op: node.op_type.clone() });
        let tensors: Vec<_> = layers.collect();
        let each = numbers.checked_div(tensors.len()).unwrap_or(MOST_COORDINATES);
        let coordinates = each.min(MOST_COORDINATES);
        if coordinates == 0 {
            return Err(Error::setting(
                "layers",
                format!("at most {numbers} for so many images and draws"),
                tensors.len(),
            ));
        }
        Ok(Layers { tensors, coordinates, are_named: matches!(self, Self::Named(_)) })
    }
}

/// Ends of blocks; that of the last is the output.
fn blocks<'a>(way: &[Stretch<'a>], is_module: &dyn Fn(&NodeProto) -> bool) -> Vec<&'a str> {
    let mut ends = Vec::new();
    // What comes before the first weights is still the image.
    let mut end = None;
    for stretch in way {
        if stretch.nodes.iter().any(|node| has_weights(node) || is_module(node)) || pools(stretch) {
            ends.extend(end.replace(stretch.end));
        } else if end.is_some() && !stretch.nodes.iter().all(|node| rearranges(node)) {
            end = Some(stretch.end);
        }
    }
    ends
}

/// Whether a kind of node applies weights, whatever the runtime that fused or quantised it.
fn has_weights(node: &NodeProto) -> bool {
    let kinds = ["Conv", "Gemm", "MatMul", "Einsum", "Attention", "LSTM", "GRU", "RNN"];
    kinds.iter().any(|kind| node.op_type.contains(kind)) || bodies(node).any(|body| body.node.iter().any(has_weights))
}

fn pools(stretch: &Stretch) -> bool {
    let is_pool = |kind: &str| kind.contains("Pool") || matches!(kind, "ReduceMean" | "ReduceMax");
    matches!(stretch.nodes[..], [node] if is_pool(&node.op_type))
}

/// Whether a node gives the same numbers again.
fn rearranges(node: &NodeProto) -> bool {
    let kinds = ["Identity", "Dropout", "Cast", "QuantizeLinear", "DequantizeLinear"];
    let shapes = ["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"];
    kinds.contains(&node.op_type.as_str()) || shapes.contains(&node.op_type.as_str())
}

fn named<'a>(path: &Path, flow: &Flow, texts: &'a [String]) -> Result<HashSet<&'a str>> {
    let made: HashSet<&str> = flow.made().map(|(name, _)| name).collect();
    let names = |text: &'a String| {
        if made.contains(text.as_str()) { vec![text.as_str()] } else { text.split(',').collect() }
    };
    let names: Vec<&str> = texts.iter().flat_map(names).collect();
    match names.iter().find(|name| !made.contains(*name)) {
        None => Ok(names.into_iter().collect()),
        Some(unknown) => {
            let mut near: Vec<_> = made.into_iter().collect();
            let likeness = |name: &str| strsim::jaro_winkler(name, unknown);
            near.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)).then(a.cmp(b)));
            near.truncate(3);
            let near: Vec<_> = near.into_iter().map(|name| name.escape_debug().to_string()).collect();
            let expected = format!("a tensor made of the image named {unknown:?}");
            Err(Error::model(path, expected, format!("none; near it: {}", near.join(", "))))
        }
    }
}

fn of_kind<'a>(path: &Path, flow: &Flow<'a>, kind: &str) -> Result<HashSet<&'a str>> {
    let is_kind = |node: &NodeProto| node.op_type.eq_ignore_ascii_case(kind);
    let found: HashSet<_> = flow.made().filter(|(_, node)| is_kind(node)).map(|(name, _)| name).collect();
    if found.is_empty() {
        let kinds: BTreeSet<_> = flow.made().map(|(_, node)| node.op_type.escape_debug().to_string()).collect();
        let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Error::model(path, format!("nodes of kind {}", kind.escape_debug()), format!("kinds {kinds}")));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::{AttributeProto, GraphProto};

    use super::*;

    /// Nodes as lines of `Kind: inputs -> outputs`.
    fn nodes(text: &str) -> Vec<NodeProto> {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let node = |line: &str| {
            let (kind, rest) = line.split_once(':')?;
            let (input, output) = rest.split_once("->")?;
            let op_type = kind.trim().to_owned();
            Some(NodeProto { op_type, input: names(input), output: names(output), ..NodeProto::default() })
        };
        text.lines().filter_map(node).collect()
    }

    fn select(nodes: Vec<NodeProto>, selection: &Selection) -> Result<Vec<String>> {
        let graph = Some(GraphProto { node: nodes, ..GraphProto::default() });
        let model = ModelProto { graph, ..ModelProto::default() };
        let layers = selection.of("x.onnx".as_ref(), &model, ("image", "logits"), 1 << 16)?;
        Ok(layers.tensors.into_iter().map(|layer| layer.name).collect())
    }

    fn blocks(nodes: Vec<NodeProto>) -> Vec<String> {
        select(nodes, &Selection::Blocks).expect("sorted")
    }

    #[test]
    fn what_passes_a_tensor_by_opens_a_block_and_shapes_do_not() {
        // A dense block, whose end is the concatenation; a head that reshapes by the image's own size.
        let dense = "
            Shape: image -> size
            Sub: image mean -> centred
            Conv: centred w -> a
            Conv: a w -> b
            Concat: a b -> ab
            Conv: ab w -> c
            Concat: a b c -> abc
            BatchNormalization: abc w -> norm
            Relu: norm -> relu
            MaxPool: relu -> pool
            Reshape: pool size -> flat
            Gemm: flat w -> hidden
            Sigmoid: hidden -> gate
            Mul: hidden gate -> swish
            Gemm: swish w -> logits";
        assert_eq!(blocks(nodes(dense)), ["a", "relu", "pool", "swish"]);
    }

    #[test]
    fn attention_and_its_perceptron_are_blocks() {
        let transformer = "
            Conv: image w -> patches
            Transpose: patches -> tokens
            Concat: class tokens -> all
            LayerNormalization: all w -> n
            MatMul: n w -> q
            MatMul: n w -> k
            MatMul: q k -> qk
            Softmax: qk -> share
            MatMul: share n -> v
            Add: all v -> first
            LayerNormalization: first w -> m
            MatMul: m w -> up
            Gelu: up -> gelu
            MatMul: gelu w -> down
            Add: first down -> second
            LayerNormalization: second w -> last
            Gather: last zero -> token
            Gemm: token w -> logits";
        assert_eq!(blocks(nodes(transformer)), ["all", "first", "token"]);
    }

    #[test]
    fn bodies_read_what_is_around_them() {
        let mut network = nodes("Conv: image w -> a\nRelu: a -> b\nIf: go -> c\nGemm: c w -> logits");
        let g = |text: &str| Some(GraphProto { node: nodes(text), ..GraphProto::default() });
        network[2].attribute = vec![AttributeProto { g: g("Add: a b -> c_inside"), ..AttributeProto::default() }];
        assert_eq!(blocks(network.clone()), ["c"]);
        network[2].attribute[0].g = g("Conv: b w -> c_inside");
        assert_eq!(blocks(network), ["b", "c"]);
    }

    #[test]
    fn graphs_that_are_none_are_refused_or_have_no_layers() {
        let cyclic = "Conv: image b -> a\nRelu: a -> b\nGemm: b w -> logits";
        let error = select(nodes(cyclic), &Selection::Blocks).expect_err("a cycle").to_string();
        assert!(error.contains("topological order") && error.contains("b read before it is made"), "{error}");
        assert!(blocks(nodes("Relu: constant -> logits")).is_empty());
        assert!(blocks(Vec::new()).is_empty());
        let twice = "Conv: image w -> a\nConv: image w -> a\nConv: a w -> b\nGemm: b w -> logits";
        assert!(blocks(nodes(twice)).is_empty());
        let wide =
            format!("Split: image -> {}\nSum: p0 p9 -> logits", (0..10).map(|n| format!("p{n} ")).collect::<String>());
        assert!(blocks(nodes(&wide)).is_empty());
    }
}
