//! Whether ONNX Runtime computes what it should where it computes: a small network, run there and on the embedded engine.

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

/// Runs a convolution and a matrix product; gives the largest difference from the embedded engine's outputs, over the largest
/// output.
///
/// # Errors
/// `Unavailable` if the provider cannot be had, `Engine` if it fails.
pub fn trial(runtime: &Runtime, options: &Options) -> Result<f32> {
    let load = || -> Result<_> {
        let graph = Graph::of(Path::new("a small network"), network(), None)?;
        let input = graph.input_of(SHAPE, None)?;
        Ok((graph, (SHAPE, input)))
    };
    let (graph, fit) = load()?;
    let expected = outputs(&Tract::load(graph, fit, Provider::Cpu, 1, None)?)?;
    let (graph, fit) = load()?;
    let found = outputs(&OnnxRuntime::load(runtime.clone(), graph, fit, options, 1)?)?;
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    Ok(farthest(&expected, &found) / largest)
}

/// The largest difference; not a number where one of them is not.
fn farthest(expected: &[f32], found: &[f32]) -> f32 {
    let differences = expected.iter().zip(found).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |largest, value| if largest.is_nan() || value <= largest { largest } else { value })
}

fn outputs(backend: &dyn Backend) -> Result<Vec<f32>> {
    let images: Vec<f32> = (0..IMAGES * SHAPE.len()).map(|place| (place as f32 * 0.37).sin()).collect();
    let mut outputs = vec![0.0; IMAGES * CLASSES];
    backend.session(IMAGES)?.run(&images, &mut outputs)?;
    Ok(outputs)
}

/// As an exporter would write it: `[n, 1, 8, 8]` to `[n, 10]`.
fn network() -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::farthest;

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
