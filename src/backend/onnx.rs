//! ONNX files made here, node by node.

use prost::Message as _;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

use super::proto::node;

/// The domain of ONNX Runtime's own operators, all of version 1.
const MICROSOFT: &str = "com.microsoft";

/// A graph under construction; tensors that need no name of their own are numbered.
#[derive(Default)]
pub(super) struct Builder {
    graph: GraphProto,
}

impl Builder {
    pub fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.to_owned(), ..GraphProto::default() } }
    }

    /// An input `[n, axes]`, n being any number.
    pub fn input(&mut self, name: &str, kind: DataType, axes: &[usize]) {
        self.graph.input.push(value(name, kind, axes));
    }

    /// The last node's result, `[n, axes]`, is an output of this name.
    pub fn output(&mut self, name: &str, kind: DataType, axes: &[usize]) {
        if let Some(node) = self.graph.node.last_mut() {
            node.output = vec![name.to_owned()];
        }
        self.graph.output.push(value(name, kind, axes));
    }

    pub fn floats(&mut self, dims: &[usize], values: impl IntoIterator<Item = f32>) -> String {
        self.constant(DataType::Float, dims, values.into_iter().flat_map(f32::to_le_bytes).collect())
    }

    pub fn float(&mut self, value: f32) -> String {
        self.floats(&[], [value])
    }

    pub fn words(&mut self, dims: &[usize], values: impl IntoIterator<Item = u64>) -> String {
        self.constant(DataType::Uint64, dims, values.into_iter().flat_map(u64::to_le_bytes).collect())
    }

    /// Signed bytes.
    pub fn steps(&mut self, dims: &[usize], values: impl IntoIterator<Item = i8>) -> String {
        self.constant(DataType::Int8, dims, values.into_iter().map(i8::cast_unsigned).collect())
    }

    /// A shape, axes, or places along them.
    pub fn places(&mut self, values: &[i64]) -> String {
        self.constant(DataType::Int64, &[values.len()], values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn constant(&mut self, kind: DataType, dims: &[usize], raw_data: Vec<u8>) -> String {
        let name = format!("constant {}", self.graph.initializer.len());
        let dims = dims.iter().map(|size| *size as i64).collect();
        let data_type = kind as i32;
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims,
            data_type,
            raw_data,
            ..TensorProto::default()
        });
        name
    }

    /// The result of a node.
    pub fn node(&mut self, op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = format!("result {}", self.graph.node.len());
        self.graph.node.push(node(op_type, inputs, &output, attributes));
        output
    }

    /// The result of a node that is ONNX Runtime's own.
    pub fn own_node(&mut self, op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = self.node(op_type, inputs, attributes);
        if let Some(node) = self.graph.node.last_mut() {
            MICROSOFT.clone_into(&mut node.domain);
        }
        output
    }

    /// The graph as it is.
    #[cfg(test)]
    pub fn into_graph(self) -> GraphProto {
        self.graph
    }

    /// The file, of operators as they were in version `opset`.
    pub fn file(self, opset: i64) -> Vec<u8> {
        let mut opset_import = vec![OperatorSetIdProto { version: opset, ..OperatorSetIdProto::default() }];
        if self.graph.node.iter().any(|node| node.domain == MICROSOFT) {
            opset_import.push(OperatorSetIdProto { domain: MICROSOFT.to_owned(), version: 1 });
        }
        ModelProto { ir_version: 8, opset_import, graph: Some(self.graph), ..ModelProto::default() }.encode_to_vec()
    }
}

fn value(name: &str, kind: DataType, axes: &[usize]) -> ValueInfoProto {
    let size = |value| Dimension { value: Some(value), ..Dimension::default() };
    let batch = size(dimension::Value::DimParam("n".to_owned()));
    let axes = axes.iter().map(|axis| size(dimension::Value::DimValue(*axis as i64)));
    let shape = Some(TensorShapeProto { dim: std::iter::once(batch).chain(axes).collect() });
    let tensor = type_proto::Tensor { elem_type: kind as i32, shape };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// An attribute that is a whole number.
pub(super) fn number(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i, ..AttributeProto::default() }
}

/// An attribute that is a list of whole numbers.
pub(super) fn numbers(name: &str, ints: &[i64]) -> AttributeProto {
    let ints = ints.to_vec();
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Ints as i32, ints, ..AttributeProto::default() }
}

/// An attribute that is a word.
pub(super) fn word(name: &str, word: &str) -> AttributeProto {
    let s = word.as_bytes().to_vec();
    AttributeProto { name: name.to_owned(), r#type: AttributeType::String as i32, s, ..AttributeProto::default() }
}
