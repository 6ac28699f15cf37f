//! Perturbing as an ONNX graph, in front of the network where that computes: what decides a draw crosses the bus, images do not.
//!
//! Displacements are products of matrices of sines, `GridSample` reads the image there, and the noise's numbers come from the same
//! counters as on the CPU. ONNX Runtime has each of these operators on CUDA.

use tract_onnx::pb::tensor_proto::DataType;

use super::input::Element;
use super::network::Network;
use super::onnx::{Builder, number, numbers, word};
use crate::perturb::{NOISE_BITS, NOISE_UNIT, Perturber, ROUNDING};
use crate::probe::{Layout, Shape};

/// Images before they are perturbed, `[n, channel, y, x]`.
pub(super) const IMAGES: &str = "images";
/// Spectra of the displacements, `[n, j, i]` each, in pixels.
pub(super) const SPECTRA: [&str; 2] = ["spectra_x", "spectra_y"];
/// Keys of the noises, `[n, 1]`.
pub(super) const KEYS: &str = "keys";
/// What the network takes.
pub(super) const DEFORMED: &str = "deformed";
/// As [`DEFORMED`].
pub(super) const NOISY: &str = "noisy";

/// The version of all operators but `GridSample`.
const OPSET: i64 = 16;

/// From [`IMAGES`], [`SPECTRA`] and [`KEYS`] to [`DEFORMED`] and [`NOISY`], in the order and the precision that the network takes.
pub(super) fn graph(perturber: &Perturber, network: &Network, element: Element) -> Vec<u8> {
    let shape = perturber.shape();
    let Shape { channels, height, width } = shape;
    let half_waves = perturber.deformation().cutoff as usize;
    let mut graph = Builder::new("perturb");
    graph.input(IMAGES, DataType::Float, &[channels, height, width]);
    for spectra in SPECTRA {
        graph.input(spectra, DataType::Float, &[half_waves, half_waves]);
    }
    graph.input(KEYS, DataType::Uint64, &[1]);

    let grid = grid(&mut graph, perturber);
    let reading = vec![word("mode", "bilinear"), word("padding_mode", "border"), number("align_corners", 1)];
    // Every ONNX Runtime has this one on CUDA; that of ONNX is not there before about 1.25, and would be read on the CPU.
    let deformed = graph.own_node("GridSample", &[IMAGES, &grid], reading);
    let flat = graph.places(&[-1, shape.len() as i64]);
    let (base, deformed) =
        (graph.node("Reshape", &[IMAGES, &flat], vec![]), graph.node("Reshape", &[&deformed, &flat], vec![]));
    let noise = noise(&mut graph, shape.len());
    let scale = scale(&mut graph, [&base, &deformed, &noise]);
    let noise = graph.node("Mul", &[&noise, &scale], vec![]);
    let noisy = graph.node("Add", &[&base, &noise], vec![]);
    for (name, images) in [(DEFORMED, deformed), (NOISY, noisy)] {
        taken(&mut graph, network, element, name, &images);
    }
    graph.file(OPSET)
}

/// Where images are read, `[n, y, x, 2]`, x first, from -1 to 1 between the centres of the outermost pixels.
fn grid(graph: &mut Builder, perturber: &Perturber) -> String {
    let Shape { height, width, .. } = perturber.shape();
    let half_waves = perturber.deformation().cutoff as usize;
    let (along_x, along_y) = perturber.sines();
    let along_x = graph.floats(&[half_waves, width], along_x);
    let centres = |side: usize| (0..side).map(move |k| (2.0 * k as f64 / (side - 1) as f64 - 1.0) as f32);
    let undisplaced = [graph.floats(&[width], centres(width)), graph.floats(&[height, 1], centres(height))];
    let last = graph.places(&[-1]);
    let axes: Vec<_> = SPECTRA
        .into_iter()
        .zip([width, height])
        .zip(undisplaced)
        .map(|((spectra, side), undisplaced)| {
            let unit = 2.0 / (side - 1) as f32;
            // Against the displacement.
            let columns = along_y.iter().map(|sine| -unit * sine);
            let along_y = graph.floats(&[height, half_waves], columns);
            let rows = graph.node("MatMul", &[spectra, &along_x], vec![]);
            let displaced = graph.node("MatMul", &[&along_y, &rows], vec![]);
            let places = graph.node("Add", &[&displaced, &undisplaced], vec![]);
            graph.node("Unsqueeze", &[&places, &last], vec![])
        })
        .collect();
    graph.node("Concat", &[&axes[0], &axes[1]], vec![number("axis", -1)])
}

/// The directions of noises, `[n, count]`: what [`Perturber::noise`] draws for the same keys.
fn noise(graph: &mut Builder, count: usize) -> String {
    let half = count.div_ceil(2);
    // Two chains, so that neither passes on more bytes than the images have.
    let [radii, turns] = [0, half as u64].map(|first| {
        let counters = graph.words(&[1, half], first..first + half as u64);
        let bits = squares(graph, &counters);
        graph.node("Cast", &[&bits], vec![number("to", DataType::Float as i64)])
    });
    let [middle, unit, turn, minus_two] =
        [0.5, NOISE_UNIT, NOISE_UNIT * std::f32::consts::TAU, -2.0].map(|value| graph.float(value));
    let uniform = graph.node("Add", &[&radii, &middle], vec![]);
    let uniform = graph.node("Mul", &[&uniform, &unit], vec![]);
    let logarithm = graph.node("Log", &[&uniform], vec![]);
    let square = graph.node("Mul", &[&logarithm, &minus_two], vec![]);
    let radius = graph.node("Sqrt", &[&square], vec![]);
    let angle = graph.node("Mul", &[&turns, &turn], vec![]);
    let [x, y] = ["Cos", "Sin"].map(|projection| {
        let share = graph.node(projection, &[&angle], vec![]);
        graph.node("Mul", &[&radius, &share], vec![])
    });
    let pairs = graph.node("Concat", &[&x, &y], vec![number("axis", 1)]);
    if count.is_multiple_of(2) {
        return pairs;
    }
    let [start, end, axis] = [0, count as i64, 1].map(|place| graph.places(&[place]));
    graph.node("Slice", &[&pairs, &start, &end, &axis], vec![])
}

/// As `perturb::direction::squares`: products and sums wrap, and quotients by powers of two shift.
fn squares(graph: &mut Builder, counters: &str) -> String {
    let half = graph.words(&[], [1 << 32]);
    let y = graph.node("Mul", &[counters, KEYS], vec![]);
    let z = graph.node("Add", &[&y, KEYS], vec![]);
    let round = |graph: &mut Builder, x: &str, add: &str| {
        let square = graph.node("Mul", &[x, x], vec![]);
        graph.node("Add", &[&square, add], vec![])
    };
    let mut x = y.clone();
    for add in [&y, &z, &y] {
        x = round(graph, &x, add);
        let (up, down) = (graph.node("Mul", &[&x, &half], vec![]), graph.node("Div", &[&x, &half], vec![]));
        x = graph.node("Add", &[&up, &down], vec![]);
    }
    x = round(graph, &x, &z);
    let rest = graph.words(&[], [1 << (u64::BITS - NOISE_BITS)]);
    graph.node("Div", &[&x, &rest], vec![])
}

/// What makes a noise as long as its deformation, `[n, 1]`, as [`Perturber::noise_along`].
fn scale(graph: &mut Builder, [base, deformed, noise]: [&str; 3]) -> String {
    let change = graph.node("Sub", &[deformed, base], vec![]);
    let [moved, drawn, size] =
        [&change, noise, base].map(|images| graph.node("ReduceSumSquare", &[images], vec![numbers("axes", &[1])]));
    let rounding = graph.float((ROUNDING * ROUNDING) as f32);
    let rounding = graph.node("Mul", &[&size, &rounding], vec![]);
    let moves = graph.node("Greater", &[&moved, &rounding], vec![]);
    let square = graph.node("Div", &[&moved, &drawn], vec![]);
    let (scale, none) = (graph.node("Sqrt", &[&square], vec![]), graph.float(0.0));
    graph.node("Where", &[&moves, &scale, &none], vec![])
}

/// Makes flat `images` an output, as the network takes them.
fn taken(graph: &mut Builder, network: &Network, element: Element, name: &str, images: &str) {
    let sizes = |axes: &[usize]| std::iter::once(-1).chain(axes.iter().map(|size| *size as i64)).collect::<Vec<_>>();
    let Shape { channels, height, width } = network.shape;
    let mut images = images.to_owned();
    if network.layout == Layout::Nhwc {
        let shape = graph.places(&sizes(&[channels, height, width]));
        images = graph.node("Reshape", &[&images, &shape], vec![]);
        images = graph.node("Transpose", &[&images], vec![numbers("perm", &[0, 2, 3, 1])]);
    }
    let shape = graph.places(&sizes(&network.axes));
    images = graph.node("Reshape", &[&images, &shape], vec![]);
    let kind = match element {
        Element::Float32 => DataType::Float,
        Element::Float16 => DataType::Float16,
        Element::Bfloat16 => DataType::Bfloat16,
        Element::Float64 => DataType::Double,
    };
    if kind != DataType::Float {
        graph.node("Cast", &[&images], vec![number("to", kind as i64)]);
    }
    graph.output(name, kind, &network.axes);
}
