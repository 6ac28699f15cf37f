//! Whether engines compute what they should where they compute: small networks, run there and spelled out here.

use std::path::Path;

use tract_onnx::pb::tensor_proto::DataType;

use super::graph::Graph;
use super::onnx::Builder;
use super::onnxruntime::OnnxRuntime;
use super::tract::Tract;
use super::{Backend, Options, Provider, Runtime};
use crate::error::Result;
use crate::probe::Shape;

const SHAPE: Shape = Shape { channels: 1, height: 8, width: 8 };
const IMAGES: usize = 4;
const CLASSES: usize = 10;

/// A small network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// A convolution and a matrix product in floats.
    Floats,
    /// Matrix products and a softmax in 8 bits.
    Bytes,
}

/// Runs it on ONNX Runtime, or on the embedded engine; gives the largest difference from what it should give, over the largest
/// output.
///
/// # Errors
/// `Unavailable` if the provider cannot be had, `Engine` if it fails.
pub fn trial(trial: Trial, engine: Option<(&Runtime, &Options)>) -> Result<f32> {
    let file = || if trial == Trial::Floats { in_floats() } else { in_bytes() };
    let run = |engine: Option<(&Runtime, &Options)>| -> Result<Vec<f32>> {
        let graph = Graph::of(Path::new("a small network"), file(), None)?;
        let fit = (SHAPE, graph.input_of(SHAPE, None)?);
        match engine {
            Some((runtime, options)) => outputs(&OnnxRuntime::load(runtime.clone(), graph, fit, options, 1)?),
            None => outputs(&Tract::load(graph, fit, Provider::Cpu, 1, None)?),
        }
    };
    let expected = match trial {
        Trial::Floats => run(None)?,
        Trial::Bytes => images().chunks_exact(SHAPE.len()).flat_map(by_hand).collect(),
    };
    let found = run(engine)?;
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    Ok(farthest(&expected, &found) / largest)
}

/// The largest difference; not a number where one of them is not.
fn farthest(expected: &[f32], found: &[f32]) -> f32 {
    let differences = expected.iter().zip(found).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |largest, value| if largest.is_nan() || value <= largest { largest } else { value })
}

fn images() -> Vec<f32> {
    (0..IMAGES * SHAPE.len()).map(|place| (place as f32 * 0.37).sin()).collect()
}

fn outputs(backend: &dyn Backend) -> Result<Vec<f32>> {
    let mut outputs = vec![0.0; IMAGES * CLASSES];
    backend.session(IMAGES)?.run(&images(), &mut outputs)?;
    Ok(outputs)
}

/// As an exporter would write it: `[n, 1, 8, 8]` to `[n, 10]`.
fn in_floats() -> Vec<u8> {
    let mut graph = Builder::new("trial");
    graph.input("images", DataType::Float, &[SHAPE.channels, SHAPE.height, SHAPE.width]);
    let weights = |place: usize| (place as f32 * 0.71).cos() / 4.0;
    let kernel = graph.floats(&[4, 1, 3, 3], (0..4 * 9).map(weights));
    let maps = graph.node("Conv", &["images", &kernel], vec![]);
    let active = graph.node("Relu", &[&maps], vec![]);
    let features = graph.node("Flatten", &[&active], vec![]);
    let matrix = graph.floats(&[4 * 6 * 6, CLASSES], (0..4 * 6 * 6 * CLASSES).map(weights));
    graph.node("MatMul", &[&features, &matrix], vec![]);
    graph.output("logits", DataType::Float, &[CLASSES]);
    graph.file(17)
}

/// Width of the network in bytes.
const HIDDEN: usize = 16;
/// What a step of its images, its first sums, its shares and its weights is worth, and the integer that stands for nothing.
const STEPS: [(f32, i8); 4] = [(1.0 / 127.0, 0), (1.0 / 16.0, 5), (1.0 / 256.0, -128), (1.0 / 256.0, 0)];

/// Weights that keep to 7 bits, so that no processor's sums saturate.
fn weight(place: usize) -> i8 {
    ((place as f32 * 0.71).cos() * 63.0) as i8
}

fn in_bytes() -> Vec<u8> {
    let mut graph = Builder::new("trial");
    graph.input("images", DataType::Float, &[SHAPE.channels, SHAPE.height, SHAPE.width]);
    let steps = STEPS.map(|(scale, zero)| [graph.float(scale), graph.steps(&[], [zero])]);
    let [images, sums, shares, weights] = &steps;
    let rounded = |graph: &mut Builder, from: &str, [scale, zero]: &[String; 2]| {
        let bytes = graph.node("QuantizeLinear", &[from, scale, zero], vec![]);
        graph.node("DequantizeLinear", &[&bytes, scale, zero], vec![])
    };
    let product = |graph: &mut Builder, from: &str, (rows, columns): (usize, usize)| {
        let matrix = graph.steps(&[rows, columns], (0..rows * columns).map(weight));
        let matrix = graph.node("DequantizeLinear", &[&matrix, &weights[0], &weights[1]], vec![]);
        graph.node("MatMul", &[from, &matrix], vec![])
    };
    let flat = graph.node("Flatten", &["images"], vec![]);
    let flat = rounded(&mut graph, &flat, images);
    let hidden = product(&mut graph, &flat, (SHAPE.len(), HIDDEN));
    let hidden = rounded(&mut graph, &hidden, sums);
    let share = graph.node("Softmax", &[&hidden], vec![super::onnx::number("axis", -1)]);
    let share = rounded(&mut graph, &share, shares);
    product(&mut graph, &share, (HIDDEN, CLASSES));
    graph.output("logits", DataType::Float, &[CLASSES]);
    graph.file(17)
}

/// What the network in bytes gives of an image.
fn by_hand(image: &[f32]) -> Vec<f32> {
    let rounded = |values: &mut [f32], (scale, zero): (f32, i8)| {
        for value in values {
            *value = ((*value / scale).round_ties_even() + f32::from(zero)).clamp(-128.0, 127.0);
            *value = (*value - f32::from(zero)) * scale;
        }
    };
    let product = |values: &[f32], columns: usize| -> Vec<f32> {
        let sum = |column: usize| -> f32 {
            let terms = values.iter().enumerate().map(|(row, value)| value * f32::from(weight(row * columns + column)));
            terms.sum::<f32>() * STEPS[3].0
        };
        (0..columns).map(sum).collect()
    };
    let mut image = image.to_vec();
    rounded(&mut image, STEPS[0]);
    let mut hidden = product(&image, HIDDEN);
    rounded(&mut hidden, STEPS[1]);
    let exponentials: Vec<f32> = hidden.iter().map(|value| value.exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    let mut shares: Vec<f32> = exponentials.iter().map(|value| value / sum).collect();
    rounded(&mut shares, STEPS[2]);
    product(&shares, CLASSES)
}

#[cfg(test)]
mod tests {
    use super::{Trial, farthest, trial};
    use crate::backend::{Options, Provider, runtime};

    #[test]
    fn engines_compute_in_floats_and_in_bytes_what_they_should() {
        let runtime = runtime(None).expect("ONNX Runtime in the active Python environment");
        let options = Options { provider: Provider::Cpu, ..Options::default() };
        for (network, most) in [(Trial::Floats, 1e-4), (Trial::Bytes, 0.02)] {
            for engine in [None, Some((&runtime, &options))] {
                let difference = trial(network, engine).expect("runs");
                assert!(difference < most, "{network:?}, embedded: {}: {difference}", engine.is_none());
            }
        }
    }

    #[test]
    fn a_provider_that_computes_no_number_does_not_agree() {
        assert!((farthest(&[1.0, 2.0, 3.0], &[1.0, 2.5, 3.25]) - 0.5).abs() < 1e-6);
        for place in 0..3 {
            let mut found = [1.0, 2.0, 3.0];
            found[place] = f32::NAN;
            assert!(farthest(&[1.0, 2.0, 3.0], &found).is_nan());
        }
    }
}
