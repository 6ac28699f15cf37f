//! What the first operators of a network tell of its input: the order of its axes, and how its numbers are scaled and shifted.

use tract_onnx::pb::{GraphProto, NodeProto};

use super::proto::{Constants, attribute, is_op, numbers};
use crate::preprocess::Scaling;
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
        let Some(node) = readers(graph, name).next() else { break };
        let told = by(node, &constants, shape);
        if told != Implied::default() {
            return told;
        }
        let Some(made) = node.output.first().filter(|_| keeps_places(&node.op_type)) else { break };
        name = made;
    }
    Implied::default()
}

/// How a network scales and then shifts the numbers of its input before it computes with them, in the first channel; `None` where it
/// does not.
pub(super) fn scaling(graph: &GraphProto, input: &str) -> Option<Scaling> {
    let constants = Constants::of(graph);
    let (mut name, mut scale, mut shift, mut learned) = (input, 1.0, 0.0, None);
    for _ in 0..MOST_STEPS {
        let Some(node) = readers(graph, name).next() else { break };
        let first = |place: usize| Some(*constants.numbers(node.input.get(place)?)?.first()?);
        let image_first = node.input.first().is_some_and(|read| read == name);
        let operand = first(usize::from(image_first));
        (scale, shift) = match (node.op_type.as_str(), operand) {
            ("Add", Some(by)) => (scale, shift + by),
            ("Sub", Some(by)) if image_first => (scale, shift - by),
            ("Sub", Some(from)) => (-scale, from - shift),
            ("Mul", Some(by)) => (scale * by, shift * by),
            ("Div", Some(by)) if image_first && by != 0.0 => (scale / by, shift / by),
            ("BatchNormalization", Some(by)) => {
                let (Some(bias), Some(mean), Some(variance)) = (first(2), first(3), first(4)) else { break };
                let std = (variance + attribute(node, "epsilon").map_or(1e-5, |it| f64::from(it.f))).sqrt();
                learned = learned.or(Some((((mean - shift) / scale) as f32, (std / f64::abs(scale)) as f32)));
                let by = by / std;
                (scale * by, (shift - mean) * by + bias)
            }
            ("Cast" | "Identity" | "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten", _) => (scale, shift),
            _ => break,
        };
        let Some(made) = node.output.first() else { break };
        name = made;
    }
    ((scale, shift) != (1.0, 0.0)).then_some(Scaling { factor: scale as f32, shift: shift as f32, learned })
}

/// Whether the network rounds its input to steps before it computes with it, as networks of 8 bits that take floats do.
pub(super) fn rounds(graph: &GraphProto, input: &str) -> bool {
    let mut name = input;
    for _ in 0..MOST_STEPS {
        let mut reading = readers(graph, name);
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

/// The nodes that read a tensor's numbers.
fn readers<'a>(graph: &'a GraphProto, name: &'a str) -> impl Iterator<Item = &'a NodeProto> {
    let reads = move |node: &&NodeProto| node.input.iter().any(|read| read == name) && node.op_type != "Shape";
    graph.node.iter().filter(reads)
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
        "Pad" => {
            let pads = operand(1)
                .and_then(numbers)
                .or_else(|| Some(attribute(node, "pads")?.ints.iter().map(|pad| *pad as f64).collect()));
            // Before and behind each axis; nobody pads channels.
            match pads.as_deref().unwrap_or_default() {
                [_, 0.0, _, last, _, 0.0, _, end] if *last + *end > 0.0 => of(Layout::Nchw, 4),
                [_, first, _, 0.0, _, end, _, 0.0] if *first + *end > 0.0 => of(Layout::Nhwc, 4),
                _ => Implied::default(),
            }
        }
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
            | "Pad"
            | "Resize"
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

    #[test]
    fn scaling_before_the_first_layer_is_told() {
        let of = |build: &dyn Fn(&mut Builder)| {
            let mut graph = Builder::new("first");
            build(&mut graph);
            scaling(&graph.into_graph(), "x")
        };
        let near = |found: Option<Scaling>, (factor, shift): (f32, f32)| {
            found.is_some_and(|is| (is.factor - factor).abs() < 1e-3 && (is.shift - shift).abs() < 1e-3)
        };
        assert_eq!(of(&|graph| drop(graph.node("Conv", &["x", "w"], vec![]))), None);
        let normalised = |graph: &mut Builder| {
            let (mean, std) =
                (graph.floats(&[1, 3, 1, 1], [0.5, 0.4, 0.3]), graph.floats(&[1, 3, 1, 1], [0.25, 0.2, 0.2]));
            let turned = graph.node("Transpose", &["x"], vec![numbers("perm", &[0, 3, 1, 2])]);
            let centred = graph.node("Sub", &[&turned, &mean], vec![]);
            let divided = graph.node("Div", &[&centred, &std], vec![]);
            graph.node("Conv", &[&divided, "w"], vec![]);
        };
        assert!(near(of(&normalised), (4.0, -2.0)));
        let batch = |graph: &mut Builder| {
            let [by, bias, mean, variance] = [2.0, 0.5, 0.25, 0.04].map(|value| graph.floats(&[3], [value; 3]));
            graph.node("BatchNormalization", &["x", &by, &bias, &mean, &variance], vec![]);
        };
        // 2 / sqrt(0.04 + 1e-5), and 0.5 less a quarter of it.
        assert!(near(of(&batch), (9.99875, -1.99969)));
        assert_eq!(of(&normalised).and_then(|it| it.learned), None);
        let (mean, std) = of(&batch).and_then(|it| it.learned).expect("a batch norm's");
        assert!((mean - 0.25).abs() < 1e-6 && (std - 0.2).abs() < 1e-4, "{mean} {std}");
        let turned_round = |graph: &mut Builder| {
            let one = graph.float(1.0);
            graph.node("Sub", &[&one, "x"], vec![]);
        };
        assert!(near(of(&turned_round), (-1.0, 1.0)));
    }

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
        for (pads, expected) in [([0, 0, 1, 1, 0, 0, 1, 1], first), ([0, 1, 1, 0, 0, 1, 1, 0], last)] {
            let padded = |graph: &mut Builder| {
                let pads = graph.places(&pads);
                graph.node("Pad", &["x", &pads], vec![]);
            };
            assert_eq!(told(padded), expected);
        }
        let folded = |graph: &mut Builder| {
            let sizes = graph.places(&[-1, 32, 32, 3]);
            graph.node("Reshape", &["x", &sizes], vec![]);
        };
        assert_eq!(told(folded).layout, Some(Layout::Nhwc));
        assert_eq!(told(|graph| drop(graph.node("Flatten", &["x"], vec![]))), Implied::default());
    }

    fn is_rounded(build: impl FnOnce(&mut Builder)) -> bool {
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
        assert!(is_rounded(|graph| drop(rounded(graph, "x"))));
        assert!(is_rounded(|graph| {
            let mean = graph.float(0.5);
            let centred = graph.node("Sub", &["x", &mean], vec![]);
            rounded(graph, &centred);
        }));
        assert!(!is_rounded(|graph| {
            let layer = graph.node("Conv", &["x", "w"], vec![]);
            rounded(graph, &layer);
        }));
    }
}
