use std::path::Path;

use half::{bf16, f16};
use ort::value::PrimitiveTensorElementType;
use tract_onnx::pb::tensor_proto::DataType;

use super::staging::Staging;
use super::*;
use crate::backend::onnx::{Builder, number};
use crate::backend::runtime;
use crate::perturb::{Deformation, Draws, Purpose, Size, fill_normal, stream};

const SHAPE: Shape = Shape { channels: 1, height: 4, width: 4 };

/// A network that gives of each image its first pixel and how many rows its batch had.
fn counting() -> OnnxRuntime {
    let mut graph = Builder::new("counting");
    graph.input("images", DataType::Float, &[SHAPE.channels, SHAPE.height, SHAPE.width]);
    let (first, flat) = (graph.places(&[0]), graph.node("Flatten", &["images"], vec![]));
    let pixels = graph.node("Gather", &[&flat, &first], vec![number("axis", 1)]);
    let shape = graph.node("Shape", &["images"], vec![]);
    let rows = graph.node("Gather", &[&shape, &first], vec![]);
    let rows = graph.node("Cast", &[&rows], vec![number("to", DataType::Float as i64)]);
    // One image counts for two: a network that tells one alone from two together is refused.
    let two = graph.float(2.0);
    let rows = graph.node("Max", &[&rows, &two], vec![]);
    let nothing = graph.float(0.0);
    let counts = graph.node("Mul", &[&pixels, &nothing], vec![]);
    let counts = graph.node("Add", &[&counts, &rows], vec![]);
    graph.node("Concat", &[&pixels, &counts], vec![number("axis", 1)]);
    graph.output("logits", DataType::Float, &[2]);

    let graph = Graph::of(Path::new("counting"), graph.file(17), None).expect("a network");
    let input = graph.input_of(SHAPE, None).expect("images fit");
    let options = Options { provider: Provider::Cpu, ..Options::default() };
    let runtime = runtime(None).expect("ONNX Runtime in the active Python environment");
    OnnxRuntime::load(runtime, graph, (SHAPE, input), &options, 1).expect("a network")
}

/// A network that needs four bytes times the rows of a batch to the 24th power: 64 MiB for two rows, 1 PiB for four.
fn hungry() -> Vec<u8> {
    let mut graph = Builder::new("hungry");
    graph.input("images", DataType::Float, &[SHAPE.channels, SHAPE.height, SHAPE.width]);
    let (first, flat) = (graph.places(&[0]), graph.node("Flatten", &["images"], vec![]));
    let shape = graph.node("Shape", &["images"], vec![]);
    let rows = graph.node("Gather", &[&shape, &first], vec![]);
    let mut powers = vec![rows];
    for _ in 0..4 {
        let last = &powers[powers.len() - 1];
        powers.push(graph.node("Mul", &[last, last], vec![]));
    }
    let count = graph.node("Mul", &[&powers[3], &powers[4]], vec![]);
    let nothing = graph.float(0.0);
    let nothings = graph.node("Expand", &[&nothing, &count], vec![]);
    let most = graph.node("ReduceMax", &[&nothings], vec![number("keepdims", 0)]);
    graph.node("Add", &[&flat, &most], vec![]);
    graph.output("logits", DataType::Float, &[SHAPE.len()]);
    graph.file(17)
}

#[test]
fn whole_batches_are_halved_until_every_session_holds_one() {
    let mut graph = Graph::of(Path::new("hungry"), hungry(), None).expect("a network");
    let input = graph.input_of(SHAPE, None).expect("images fit");
    let options = Options { provider: Provider::Cpu, ..Options::default() };
    let source = Source {
        runtime: runtime(None).expect("ONNX Runtime in the active Python environment"),
        model: Model::Memory(graph.take_bytes()),
        network: Network::new(&graph, (SHAPE, input), None),
        traits: Traits::default(),
        graph,
        options: &options,
    };
    for (whole, expected) in [(false, 4), (true, 2)] {
        let lanes = Lanes { count: 2, batch: 4, whole };
        let place = Place { cuda: None, library: Provider::Cpu, sessions: 2, threads_per_session: 1, lanes };
        let network = OnnxRuntime::tried(&source, place).expect("a network");
        assert_eq!(network.lanes(), Lanes { batch: expected, ..lanes });
        let mut outputs = vec![1.0; 4 * SHAPE.len()];
        network.session(4).expect("a session").run(&images(4), &mut outputs).expect("in parts");
        assert_eq!(outputs, images(4));
    }
}

fn images(count: usize) -> Vec<f32> {
    (0..count * SHAPE.len()).map(|place| (place / SHAPE.len()) as f32).collect()
}

fn rows_of_batches(outputs: &[f32]) -> Vec<usize> {
    outputs.chunks_exact(2).map(|row| row[1] as usize).collect()
}

/// As if they computed on a GPU; that there is no pinned memory costs nothing but speed.
fn on_a_gpu(sessions: &mut Arc<Sessions>) {
    Arc::get_mut(sessions).expect("not shared yet").gpu = Some(0);
}

#[test]
fn batches_of_a_gpu_have_one_size() {
    let mut network = counting();
    let mut outputs = vec![0.0; 2 * 11];
    network.session(4).expect("a session").run(&images(11), &mut outputs).expect("on the CPU");
    assert_eq!(rows_of_batches(&outputs), [11; 11]);
    on_a_gpu(&mut network.sessions);
    let mut session = network.session(4).expect("a session");
    for most in [usize::MAX, 2] {
        network.sessions.most.store(most, Ordering::Relaxed);
        session.run(&images(11), &mut outputs).expect("on a GPU");
        assert_eq!(rows_of_batches(&outputs), vec![most.min(4); 11]);
        assert!(outputs.chunks_exact(2).enumerate().all(|(image, row)| row[0] as usize == image), "{outputs:?}");
    }
}

#[test]
fn batches_that_a_gpu_perturbs_have_one_size() {
    let network = counting();
    let perturber = Perturber::new(SHAPE, &Deformation::default(), 0).expect("usable settings");
    let mut front = network.on_provider(&perturber).expect("a graph");
    drop(network);
    on_a_gpu(&mut front.sessions);
    let mut draws = Draws::default();
    let mut scratch = perturber.scratch();
    for index in 0..5 {
        perturber.draw(index, 0, &mut draws, &mut scratch);
    }
    for (most, expected) in [(usize::MAX, 4), (2, 2)] {
        front.sessions.most.store(most, Ordering::Relaxed);
        let mut session = front.session(4).expect("a session");
        session.take(&images(5));
        let (mut deformed, mut noisy) = (vec![0.0; 10], vec![0.0; 10]);
        session.run(&draws, &mut deformed, &mut noisy).expect("perturbed");
        for outputs in [&deformed, &noisy] {
            assert_eq!(rows_of_batches(outputs), [expected; 5]);
            // Images of one shade stay as they are.
            assert!(outputs.chunks_exact(2).enumerate().all(|(image, row)| (row[0] - image as f32).abs() < 1e-5));
        }
    }
}

#[test]
fn staged_images_are_those_of_the_last_batch() {
    fn check<T: PrimitiveTensorElementType + PartialEq + std::fmt::Debug>(
        element: Element,
        convert: impl Fn(f32) -> T,
    ) {
        let mut staging = Staging::new(element);
        for (rows, first) in [(3, 0.5), (3, -0.3), (2, 0.1), (5, 7.0)] {
            let images: Vec<f32> = (0..rows * 4).map(|place| first + place as f32).collect();
            let tensor = staging.fill(vec![rows, 4], &images).expect("a tensor");
            let (shape, values) = tensor.try_extract_tensor::<T>().expect("of this type");
            assert_eq!(**shape, [rows as i64, 4]);
            assert_eq!(values, images.iter().map(|value| convert(*value)).collect::<Vec<_>>());
        }
    }
    runtime(None).expect("ONNX Runtime in the active Python environment");
    check(Element::Float32, |value| value);
    check(Element::Float16, f16::from_f32);
    check(Element::Bfloat16, bf16::from_f32);
    check(Element::Float64, f64::from);
}

/// A network whose outputs are the pixels that it is given.
fn pixels(shape: Shape) -> Vec<u8> {
    let mut graph = Builder::new("pixels");
    graph.input("images", DataType::Float, &[shape.channels, shape.height, shape.width]);
    graph.node("Flatten", &["images"], vec![]);
    graph.output("pixels", DataType::Float, &[shape.len()]);
    graph.file(16)
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
