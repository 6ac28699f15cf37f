//! Whether ONNX Runtime's sums of 8-bit products are cut off on this processor.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;

use super::graph::Graph;
use super::proto::{is_op, numbers};

/// What the user is told.
pub(super) const NOTE: &str = "8-bit weights use their full range and this processor lacks VNNI: ONNX Runtime's fused 8-bit sums saturate, \
     so outputs differ a little from those of processors with VNNI, and from the embedded engine's (quantise with reduce_range=True)";

/// Whether the processor adds pairs of 8-bit products in 16 bits: x86 without VNNI.
pub fn lacks_vnni() -> bool {
    #[cfg(target_arch = "x86_64")]
    return !std::arch::is_x86_feature_detected!("avx512vnni") && !std::arch::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Two products of 255 and a weight as large as this fit into 16 bits.
const SAFE: f64 = 64.0;

/// Whether sums of this network may saturate here: it has weights that do not keep to 7 bits.
pub(super) fn saturates(graph: &Graph) -> bool {
    lacks_vnni() && has_full_range(graph)
}

fn has_full_range(graph: &Graph) -> bool {
    let Some(whole) = &graph.proto.graph else { return false };
    let takes_weights = |node: &&tract_onnx::pb::NodeProto| {
        is_op(node, "DequantizeLinear")
            || node.op_type.starts_with("QLinear")
            || node.op_type.ends_with("Integer")
            || node.op_type == "QGemm"
    };
    let read: HashSet<&str> =
        whole.node.iter().filter(takes_weights).flat_map(|node| node.input.iter().map(String::as_str)).collect();
    let weights =
        whole.initializer.iter().filter(|tensor| tensor.data_type == DataType::Int8 as i32 && tensor.dims.len() >= 2);
    weights
        .filter(|tensor| read.contains(tensor.name.as_str()))
        .any(|tensor| numbers(tensor).is_some_and(|all| all.iter().any(|weight| weight.abs() > SAFE)))
}
