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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::backend::graph::Graph;
    use crate::backend::onnx::Builder;
    use crate::backend::onnxruntime::OnnxRuntime;
    use crate::backend::{Backend as _, Options, Provider, runtime};
    use crate::perturb::{Deformation, Draws, Perturber, Purpose, Size, fill_normal, stream};
    use crate::probe::Shape;
    use tract_onnx::pb::tensor_proto::DataType;

    /// A network whose outputs are the pixels that it is given.
    fn pixels(shape: Shape) -> Vec<u8> {
        let mut graph = Builder::new("pixels");
        graph.input("images", DataType::Float, &[shape.channels, shape.height, shape.width]);
        graph.node("Flatten", &["images"], vec![]);
        graph.output("pixels", DataType::Float, &[shape.len()]);
        graph.file(super::OPSET)
    }

    #[test]
    fn images_are_perturbed_as_on_the_cpu() {
        const ROWS: usize = 3;
        // An odd number of values leaves a noise without its partner.
        for (channels, height, width, cutoff, delta) in
            [(3, 32, 32, 3, 1.0), (1, 7, 9, 5, 2.0), (2, 2, 5, 2, 0.5), (3, 65, 40, 30, 8.0)]
        {
            let shape = Shape { channels, height, width };
            let deformation = Deformation { cutoff, size: Size::Delta(delta), ..Deformation::default() };
            let perturber = Perturber::new(shape, &deformation, 7).expect("usable settings");
            let graph = Graph::of(Path::new("pixels"), pixels(shape), None).expect("a network");
            let input = graph.input_of(shape, None).expect("images fit");
            let options = Options { provider: Provider::Cpu, ..Options::default() };
            let runtime = runtime(None).expect("ONNX Runtime in the active Python environment");
            let network = OnnxRuntime::load(runtime, graph, (shape, input), &options, 1).expect("a network");
            let graph = network.perturb_graph(&perturber).expect("a graph");

            let size = shape.len();
            let mut images = vec![0.0; ROWS * size];
            fill_normal(&mut images, &mut stream(0, 0, 0, Purpose::Noise));
            // One of a single shade, which no deformation moves.
            images[size..2 * size].fill(0.3);
            let (mut draws, mut scratch) = (Draws::default(), perturber.scratch());
            let (mut deformed, mut noisy) = (images.clone(), images.clone());
            for (row, index) in (0..ROWS).zip(11..) {
                let pixels = row * size..(row + 1) * size;
                let image = &images[pixels.clone()];
                perturber.deform(index, 2, image, &mut deformed[pixels.clone()], &mut scratch);
                perturber.noise(index, 2, image, &deformed[pixels.clone()], &mut noisy[pixels]);
                perturber.draw(index, 2, &mut draws, &mut scratch);
            }
            let mut found = [vec![0.0; ROWS * size], vec![0.0; ROWS * size]];
            let [first, second] = &mut found;
            let mut session = graph.session(ROWS).expect("a session");
            session.take(&images);
            session.run(&draws, first, second).expect("perturbed images");
            for (expected, found) in [deformed, noisy].iter().zip(&found) {
                for (place, (expected, found)) in expected.iter().zip(found).enumerate() {
                    assert!((expected - found).abs() < 2e-5, "{shape}, value {place}: {expected} and {found}");
                }
            }
        }
    }
}
