//! What the first operators of a network tell of the order of its input's axes.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::proto::{Constants, attribute, numbers};
use crate::probe::{Layout, Shape};

/// What they tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Implied {
    pub layout: Option<Layout>,
    /// Number of axes, the batch's among them.
    pub rank: Option<usize>,
}

/// Steps along a chain of operators, at most: those of a preamble, not of a network.
const MOST_STEPS: usize = 16;

/// From `input` on, through operators that change each number by itself.
pub(super) fn implied(graph: &GraphProto, input: &str, shape: Shape) -> Implied {
    let constants = Constants::of(graph);
    let mut name = input;
    for _ in 0..MOST_STEPS {
        let reads = |node: &&NodeProto| node.input.iter().any(|read| read == name) && node.op_type != "Shape";
        let Some(node) = graph.node.iter().find(reads) else { break };
        let told = by(node, &constants, shape);
        if told != Implied::default() {
            return told;
        }
        let Some(made) = node.output.first().filter(|_| keeps_places(&node.op_type)) else { break };
        name = made;
    }
    Implied::default()
}

fn by(node: &NodeProto, constants: &Constants, shape: Shape) -> Implied {
    let of = |layout, rank| Implied { layout: Some(layout), rank: Some(rank) };
    let operand = |place: usize| node.input.get(place).and_then(|name| constants.get(name));
    match node.op_type.as_str() {
        "Conv"
        | "QLinearConv"
        | "ConvInteger"
        | "BatchNormalization"
        | "InstanceNormalization"
        | "MaxPool"
        | "AveragePool"
        | "GlobalAveragePool"
        | "LRN"
        | "DepthToSpace"
        | "SpaceToDepth" => of(Layout::Nchw, 4),
        "Transpose" => match attribute(node, "perm").map(|perm| &perm.ints[..]) {
            Some([0, 3, 1, 2]) => of(Layout::Nhwc, 4),
            Some([0, 2, 3, 1]) => of(Layout::Nchw, 4),
            _ => Implied::default(),
        },
        "MatMul" | "Gemm" if operand(1).is_some() => Implied { layout: None, rank: Some(2) },
        "Reshape" => {
            let sizes = operand(1).and_then(numbers).unwrap_or_default();
            Implied { layout: sizes.get(1..).and_then(|sizes| layout_of(sizes, shape)), rank: None }
        }
        "Sub" | "Add" | "Mul" | "Div" => {
            let dims = operand(1).or_else(|| operand(0)).map(|tensor| &tensor.dims[..]).unwrap_or_default();
            let channels = shape.channels as i64;
            match dims {
                _ if channels == 1 => Implied::default(),
                [.., size, 1, 1] if *size == channels => of(Layout::Nchw, 4),
                [rest @ .., size] if *size == channels && rest.iter().all(|size| *size == 1) => of(Layout::Nhwc, 4),
                _ => Implied::default(),
            }
        }
        _ => Implied::default(),
    }
}

fn layout_of(sizes: &[f64], shape: Shape) -> Option<Layout> {
    let Shape { channels, height, width } = shape;
    let is = |axes: [usize; 3]| sizes.len() == 3 && sizes.iter().zip(axes).all(|(size, axis)| *size as usize == axis);
    match (is([channels, height, width]), is([height, width, channels])) {
        (true, false) => Some(Layout::Nchw),
        (false, true) => Some(Layout::Nhwc),
        _ => None,
    }
}

fn keeps_places(kind: &str) -> bool {
    matches!(
        kind,
        "Cast"
            | "Identity"
            | "QuantizeLinear"
            | "DequantizeLinear"
            | "Sub"
            | "Add"
            | "Mul"
            | "Div"
            | "Clip"
            | "Dropout"
            | "Neg"
            | "Relu"
            | "Round"
            | "Floor"
            | "Min"
            | "Max"
    )
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::tensor_proto::DataType;

    use super::*;
    use crate::backend::onnx::{Builder, number, numbers};

    const SHAPE: Shape = Shape { channels: 3, height: 32, width: 32 };

    fn told(build: impl FnOnce(&mut Builder)) -> Implied {
        let mut graph = Builder::new("first");
        build(&mut graph);
        implied(&graph.into_graph(), "x", SHAPE)
    }

    #[test]
    fn the_first_operator_behind_a_preamble_tells() {
        let first = Implied { layout: Some(Layout::Nchw), rank: Some(4) };
        let last = Implied { layout: Some(Layout::Nhwc), rank: Some(4) };
        let behind = |graph: &mut Builder| {
            let unit = graph.float(0.5);
            let floats = graph.node("Cast", &["x"], vec![number("to", DataType::Float as i64)]);
            graph.node("Mul", &[&floats, &unit], vec![])
        };
        assert_eq!(told(|graph| drop(graph.node("Conv", &["x", "w"], vec![]))), first);
        let transposed = |graph: &mut Builder| {
            let scaled = behind(graph);
            graph.node("Transpose", &[&scaled], vec![numbers("perm", &[0, 3, 1, 2])]);
        };
        assert_eq!(told(transposed), last);
        for (dims, expected) in [(&[1, 3, 1, 1][..], first), (&[3, 1, 1], first), (&[3], last), (&[1, 1, 1, 3], last)] {
            let centred = |graph: &mut Builder| {
                let scaled = behind(graph);
                let mean = graph.floats(dims, [0.1, 0.2, 0.3]);
                graph.node("Sub", &[&scaled, &mean], vec![]);
            };
            assert_eq!(told(centred), expected, "{dims:?}");
        }
        let row = |graph: &mut Builder| {
            let matrix = graph.floats(&[1, 1], [1.0]);
            graph.node("MatMul", &["x", &matrix], vec![]);
        };
        assert_eq!(told(row), Implied { layout: None, rank: Some(2) });
        let folded = |graph: &mut Builder| {
            let sizes = graph.places(&[-1, 32, 32, 3]);
            graph.node("Reshape", &["x", &sizes], vec![]);
        };
        assert_eq!(told(folded).layout, Some(Layout::Nhwc));
        assert_eq!(told(|graph| drop(graph.node("Flatten", &["x"], vec![]))), Implied::default());
    }
}
