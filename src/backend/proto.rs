//! Nodes, attributes and tensors of ONNX files, as they are read and rewritten.

use std::borrow::Cow;
use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto};

/// The attribute of this name.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// Whether the node is ONNX's own operator of this name.
pub(super) fn is_op(node: &NodeProto, kind: &str) -> bool {
    node.op_type == kind && is_onnx(&node.domain)
}

/// Whether a domain is ONNX's own.
pub(super) fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// The version of ONNX's own operators.
pub(super) fn opset(model: &ModelProto) -> i64 {
    let own = model.opset_import.iter().find(|import| is_onnx(&import.domain));
    own.map_or(1, |import| import.version)
}

/// A node's own name, else that of what it makes.
pub(super) fn name_of(node: &NodeProto) -> String {
    let made = node.output.iter().find(|name| !name.is_empty());
    [Some(&node.name), made].into_iter().flatten().find(|name| !name.is_empty()).cloned().unwrap_or_default()
}

/// A node like ONNX's own.
pub(super) fn node(kind: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: kind.to_owned(),
        name: output.to_owned(),
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

/// Constants of a graph that are not computed: weights, and nodes that hold a tensor or numbers.
pub(super) struct Constants<'a> {
    tensors: HashMap<&'a str, Cow<'a, TensorProto>>,
}

impl<'a> Constants<'a> {
    pub fn of(graph: &'a GraphProto) -> Self {
        let held = graph.node.iter().filter_map(|node| Some((node.output.first()?.as_str(), held(node)?)));
        let weights = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), Cow::Borrowed(tensor)));
        Self { tensors: weights.chain(held).collect() }
    }

    /// Those that a body sees: its own and these.
    pub fn within<'b>(&'b self, body: &'b GraphProto) -> Constants<'b> {
        let outer = self.tensors.iter().map(|(name, tensor)| (*name, Cow::Borrowed(tensor.as_ref())));
        Constants { tensors: outer.chain(Constants::of(body).tensors).collect() }
    }

    pub fn get(&self, name: &str) -> Option<&TensorProto> {
        self.tensors.get(name).map(AsRef::as_ref)
    }

    /// Its numbers, where they lie in the file.
    pub fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        numbers(self.get(name)?)
    }

    /// Whether a tensor holds floats of 32 bits.
    pub fn is_float(&self, name: &str) -> bool {
        self.get(name).is_some_and(|tensor| tensor.data_type == DataType::Float as i32)
    }

    /// The number of a tensor that holds one.
    pub fn number(&self, name: &str) -> Option<f64> {
        number(self.get(name)?)
    }
}

/// What a `Constant` holds.
pub(super) fn held(node: &NodeProto) -> Option<Cow<'_, TensorProto>> {
    if !is_op(node, "Constant") {
        return None;
    }
    let of = |kind: DataType, dims: Vec<usize>| TensorProto {
        data_type: kind as i32,
        dims: dims.into_iter().map(|size| size as i64).collect(),
        ..TensorProto::default()
    };
    node.attribute.iter().find_map(|value| match value.name.as_str() {
        "value" => value.t.as_ref().map(Cow::Borrowed),
        "value_float" => Some(Cow::Owned(TensorProto { float_data: vec![value.f], ..of(DataType::Float, vec![]) })),
        "value_floats" => {
            let dims = vec![value.floats.len()];
            Some(Cow::Owned(TensorProto { float_data: value.floats.clone(), ..of(DataType::Float, dims) }))
        }
        "value_int" => Some(Cow::Owned(TensorProto { int64_data: vec![value.i], ..of(DataType::Int64, vec![]) })),
        "value_ints" => {
            let dims = vec![value.ints.len()];
            Some(Cow::Owned(TensorProto { int64_data: value.ints.clone(), ..of(DataType::Int64, dims) }))
        }
        _ => None,
    })
}

/// The constant of this name in a graph.
pub(super) fn constant<'a>(graph: &'a GraphProto, name: &str) -> Option<Cow<'a, TensorProto>> {
    let weight = graph.initializer.iter().find(|tensor| tensor.name == name).map(Cow::Borrowed);
    let making = || graph.node.iter().find(|node| node.output.first().is_some_and(|made| made == name));
    weight.or_else(|| held(making()?))
}

/// How many numbers a tensor holds.
pub(super) fn size(tensor: &TensorProto) -> usize {
    tensor.dims.iter().try_fold(1_usize, |all, dim| all.checked_mul(usize::try_from(*dim).ok()?)).unwrap_or(usize::MAX)
}

/// The number of a tensor that holds one.
pub(super) fn number(tensor: &TensorProto) -> Option<f64> {
    match numbers(tensor)?[..] {
        [number] => Some(number),
        _ => None,
    }
}

/// The numbers of a tensor, of the kinds that scales, shapes and flags have; `None` where they lie elsewhere.
pub(super) fn numbers(tensor: &TensorProto) -> Option<Vec<f64>> {
    if !tensor.external_data.is_empty() {
        return None;
    }
    let raw = &tensor.raw_data;
    let kind = DataType::try_from(tensor.data_type).ok()?;
    macro_rules! read {
        ($number:ty) => {
            raw.as_chunks::<{ size_of::<$number>() }>().0.iter().map(|bytes| <$number>::from_le_bytes(*bytes))
        };
    }
    #[expect(clippy::cast_lossless, reason = "one rule for all kinds")]
    let numbers: Vec<f64> = match kind {
        DataType::Float if raw.is_empty() => tensor.float_data.iter().map(|value| *value as f64).collect(),
        DataType::Float => read!(f32).map(|value| value as f64).collect(),
        DataType::Double if raw.is_empty() => tensor.double_data.clone(),
        DataType::Double => read!(f64).collect(),
        DataType::Int64 if raw.is_empty() => tensor.int64_data.iter().map(|value| *value as f64).collect(),
        DataType::Int64 => read!(i64).map(|value| value as f64).collect(),
        DataType::Int32 | DataType::Int8 | DataType::Uint8 | DataType::Bool if raw.is_empty() => {
            tensor.int32_data.iter().map(|value| *value as f64).collect()
        }
        DataType::Int32 => read!(i32).map(|value| value as f64).collect(),
        DataType::Int8 => read!(i8).map(|value| value as f64).collect(),
        DataType::Uint8 | DataType::Bool => read!(u8).map(|value| value as f64).collect(),
        _ => return None,
    };
    (numbers.len() == size(tensor)).then_some(numbers)
}

/// The function of the model that a node calls, where it is one.
pub(super) fn called<'a>(functions: &'a [FunctionProto], node: &NodeProto) -> Option<&'a FunctionProto> {
    functions.iter().find(|function| function.name() == node.op_type && function.domain() == node.domain)
}

/// The graphs inside a node: branches, and what loops run.
pub(super) fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// As [`bodies`].
pub(super) fn bodies_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    node.attribute.iter_mut().flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
}

/// Makes a node read the tensor `to` where it read `from`, in its bodies too.
pub(super) fn rename(node: &mut NodeProto, from: &str, to: &str) {
    node.input.iter_mut().filter(|name| *name == from).for_each(|name| to.clone_into(name));
    for body in bodies_mut(node) {
        body.output.iter_mut().filter(|output| output.name == from).for_each(|output| to.clone_into(&mut output.name));
        body.node.iter_mut().for_each(|node| rename(node, from, to));
    }
}

/// Calls `visit` with every list of nodes: of the graph, of the bodies in it, of the functions.
pub(super) fn each_list(model: &mut ModelProto, visit: &mut impl FnMut(&mut Vec<NodeProto>)) {
    fn within(nodes: &mut Vec<NodeProto>, visit: &mut impl FnMut(&mut Vec<NodeProto>)) {
        visit(nodes);
        for body in nodes.iter_mut().flat_map(bodies_mut) {
            within(&mut body.node, visit);
        }
    }
    if let Some(graph) = &mut model.graph {
        within(&mut graph.node, visit);
    }
    for function in &mut model.functions {
        within(&mut function.node, visit);
    }
}

/// Calls `visit` with every dense tensor that [`tensors`] finds.
pub(super) fn each_tensor<E>(
    model: &mut ModelProto,
    visit: &mut impl FnMut(&mut TensorProto) -> Result<(), E>,
) -> Result<(), E> {
    fn of_graph<E>(graph: &mut GraphProto, visit: &mut impl FnMut(&mut TensorProto) -> Result<(), E>) -> Result<(), E> {
        graph.initializer.iter_mut().try_for_each(&mut *visit)?;
        of_nodes(&mut graph.node, visit)
    }
    fn of_nodes<E>(
        nodes: &mut [NodeProto],
        visit: &mut impl FnMut(&mut TensorProto) -> Result<(), E>,
    ) -> Result<(), E> {
        for attribute in nodes.iter_mut().flat_map(|node| &mut node.attribute) {
            attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
            for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                of_graph(body, visit)?;
            }
        }
        Ok(())
    }
    model.graph.iter_mut().try_for_each(|graph| of_graph(graph, visit))?;
    model.functions.iter_mut().try_for_each(|function| of_nodes(&mut function.node, visit))
}

/// Every tensor that a file holds: weights, constants of nodes, and those of bodies and functions.
pub(super) fn tensors(model: &ModelProto) -> Vec<&TensorProto> {
    fn of_graph<'a>(graph: &'a GraphProto, all: &mut Vec<&'a TensorProto>) {
        all.extend(&graph.initializer);
        let sparse = &graph.sparse_initializer;
        all.extend(sparse.iter().flat_map(|sparse| sparse.values.iter().chain(&sparse.indices)));
        of_nodes(&graph.node, all);
    }
    fn of_nodes<'a>(nodes: &'a [NodeProto], all: &mut Vec<&'a TensorProto>) {
        for attribute in nodes.iter().flat_map(|node| &node.attribute) {
            all.extend(attribute.t.iter().chain(&attribute.tensors));
            let sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
            all.extend(sparse.flat_map(|sparse| sparse.values.iter().chain(&sparse.indices)));
            attribute.g.iter().chain(&attribute.graphs).for_each(|body| of_graph(body, all));
        }
    }
    let mut all = Vec::new();
    model.graph.iter().for_each(|graph| of_graph(graph, &mut all));
    model.functions.iter().for_each(|function| of_nodes(&function.node, &mut all));
    all
}
