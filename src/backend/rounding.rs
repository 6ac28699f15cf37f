//! Networks of 8 bits that take floats: they round images first, and cut them off at the ends of what they were calibrated on.

use tract_onnx::pb::GraphProto;

use super::first::MOST_STEPS;
use super::proto::is_op;

/// Whether the network rounds its input `name` to steps before it computes with it.
pub(super) fn rounds(graph: &GraphProto, name: &str) -> bool {
    let mut name = name;
    for _ in 0..MOST_STEPS {
        let mut reading = graph.node.iter().filter(|node| node.input.iter().any(|input| input == name));
        let (Some(node), None) = (reading.next(), reading.next()) else { return false };
        if is_op(node, "QuantizeLinear") {
            return true;
        }
        let keeps = ["Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Add", "Sub", "Mul", "Div"];
        let Some(next) = node.output.first().filter(|_| keeps.contains(&node.op_type.as_str())) else { return false };
        name = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::onnx::Builder;

    fn told(build: impl FnOnce(&mut Builder)) -> bool {
        let mut graph = Builder::new("rounded");
        build(&mut graph);
        rounds(&graph.into_graph(), "x")
    }

    #[test]
    fn a_rounding_of_the_image_is_told_from_one_behind_a_layer() {
        let rounded = |graph: &mut Builder, from: &str| {
            let scale = graph.float(0.1);
            let whole = graph.node("QuantizeLinear", &[from, &scale], vec![]);
            graph.node("DequantizeLinear", &[&whole, &scale], vec![])
        };
        assert!(told(|graph| drop(rounded(graph, "x"))));
        assert!(told(|graph| {
            let mean = graph.float(0.5);
            let centred = graph.node("Sub", &["x", &mean], vec![]);
            rounded(graph, &centred);
        }));
        assert!(!told(|graph| {
            let layer = graph.node("Conv", &["x", "w"], vec![]);
            rounded(graph, &layer);
        }));
    }
}
