//! What trial runs tell of a network before it is measured: what it gives, in what batches, and whether an image's answer is its own.

use std::collections::BTreeSet;

use super::graph::Graph;
use super::network::{Given, Network};
use super::notice::{Code, Notice};
use super::proto::{Constants, is_op, numbers};
use crate::error::{Error, Result};

/// What the file says of how its answers may differ.
#[derive(Debug, Default)]
pub(super) struct Traits {
    /// Sizes that its shapes may hold of a batch.
    baked: BTreeSet<usize>,
    /// It scales 8-bit numbers by what a whole batch holds.
    scales_by_batch: bool,
    /// It computes in 8 or 16 bits somewhere.
    is_coarse: bool,
}

/// Batch sizes that are tried, at most.
const MOST_SIZES: usize = 8;

impl Traits {
    pub fn of(graph: &Graph) -> Self {
        let nodes = graph.reaching();
        let mut traits = Self::default();
        for node in &nodes {
            traits.scales_by_batch |= node.op_type.starts_with("DynamicQuantize");
            traits.is_coarse |= node.op_type.contains("Quantize") || node.op_type.starts_with("QLinear");
            let to = |node: &&tract_onnx::pb::NodeProto| {
                node.attribute.iter().any(|to| to.name == "to" && matches!(to.i, 10 | 16))
            };
            traits.is_coarse |= is_op(node, "Cast") && to(node);
        }
        traits.is_coarse |=
            super::proto::tensors(&graph.proto).iter().any(|tensor| matches!(tensor.data_type, 10 | 16));
        if let Some(whole) = &graph.proto.graph {
            let constants = Constants::of(whole);
            let shapes = nodes.iter().filter(|node| matches!(node.op_type.as_str(), "Reshape" | "Expand"));
            let first =
                |node: &&&tract_onnx::pb::NodeProto| Some(*numbers(constants.get(node.input.get(1)?)?)?.first()?);
            let sizes = shapes.filter_map(|node| first(&node)).filter(|size| (2.0..=4096.0).contains(size));
            traits.baked = sizes.map(|size| size as usize).collect();
        }
        traits
    }
}

/// Runs so many rows of images; gives what each tensor came to.
pub(super) type Run<'a> = dyn FnMut(&Network, usize, &[f32]) -> Result<Vec<Given>> + 'a;

/// Settles what a network gives and in what batches, by a few images that are run alone and together; says which layers stay.
///
/// # Errors
/// `Engine` where it fails, `Unsupported` where an image's answer is not its own.
pub(super) fn settled(
    network: &mut Network,
    engine: &'static str,
    graph: (&super::layers::Layers, &Traits),
    run: &mut Run,
) -> Result<Vec<bool>> {
    let (layers, traits) = graph;
    let declared = network.fixed_batch;
    let [one, other] = [0, 1].map(|seed| image(network, seed));
    let mut first_failure = None;
    let sizes = traits.baked.iter().copied().take(MOST_SIZES).filter(|_| declared.is_none() && network.has_batch);
    for rows in [declared.unwrap_or(1)].into_iter().chain(sizes) {
        let mut tried = Network { fixed_batch: declared.or((rows > 1).then_some(rows)), ..network.clone() };
        let given = run(&tried, rows, &one.repeat(rows));
        match given.and_then(|given| Ok((tried.settle(engine, layers, rows, given.clone())?, given))) {
            Ok((stay, given)) => {
                *network = tried;
                if declared.is_none() && rows > 1 {
                    network.note(baked(rows));
                }
                check(network, traits, (&one, &other), &given, run)?;
                return Ok(stay);
            }
            Err(error) => first_failure = first_failure.or(Some(error)),
        }
    }
    Err(first_failure.unwrap_or_else(|| super::engine_error(&network.path, engine, "run", "no batch to try")))
}

fn baked(rows: usize) -> Notice {
    let text = match rows {
        1 => "the file declares a free batch, the network takes one image at a time: so it is run".to_owned(),
        rows => format!("the file declares a free batch, the network takes {rows} images at a time: so it is run"),
    };
    Notice::new(Code::BakedBatch, text)
}

/// Whether an image gives the same alone as beside another one.
fn check(
    network: &mut Network,
    traits: &Traits,
    (one, other): (&[f32], &[f32]),
    given: &[Given],
    run: &mut Run,
) -> Result<()> {
    let alone = answer(given);
    if traits.scales_by_batch && network.fixed_batch != Some(1) {
        let count = network.fixed_batch.unwrap_or(1);
        network.fixed_batch = Some(count);
        let text = format!("8-bit scales are taken from the whole batch: {count} image(s) at a time");
        network.note(Notice::new(Code::DynamicScale, text));
        return Ok(());
    }
    let (together, rest) = match network.fixed_batch {
        Some(1) => return Ok(()),
        Some(rows) => {
            let rest = other.repeat(rows - 1);
            (run(network, rows, &[one, &rest].concat())?, Vec::new())
        }
        None => {
            let other_alone = run(network, 1, other)?;
            let both = run(network, 2, &[one, other].concat());
            let Some(both) = both.ok().filter(|both| both.last().is_some_and(|given| given.sizes.first() == Some(&2)))
            else {
                network.fixed_batch = Some(1);
                network.note(baked(1));
                return Ok(());
            };
            (both, answer(&other_alone).to_vec())
        }
    };
    let together = answer(&together);
    let row = alone.len() / network.fixed_batch.unwrap_or(1);
    let (first, second) = together.split_at(row.min(together.len()));
    let alone = &alone[..row];
    let rest = if network.fixed_batch.is_some() { second.get(..row).unwrap_or_default() } else { &rest[..] };
    let apart = farthest(alone, rest);
    let largest = together.iter().chain(alone).fold(0_f32, |largest, value| largest.max(value.abs()));
    let moved = match network.fixed_batch {
        None => farthest(alone, first).max(farthest(rest, second)),
        Some(_) => farthest(alone, first),
    };
    let (of_difference, of_size) = if traits.is_coarse { (0.2, 1e-2) } else { (0.02, 3e-5) };
    if moved.is_nan() || apart.is_nan() || moved <= of_difference * apart + of_size * largest {
        return Ok(());
    }
    let again = run(network, network.fixed_batch.unwrap_or(1), &one.repeat(network.fixed_batch.unwrap_or(1)))?;
    let refused = |what: String, next: &str| {
        Err(Error::Unsupported { path: network.path.clone(), what, next: next.to_owned(), words: None })
    };
    if farthest(alone, &answer(&again)[..row]) > of_size * largest {
        let what = "it gives another answer to the same image each time".to_owned();
        return refused(what, "export it in evaluation mode (model.eval()), without noise or augmentation layers");
    }
    let what = format!(
        "what an image gives depends on the others of its batch (by {:.0}% of how far two images lie apart)",
        100.0 * (moved / apart).min(9.99)
    );
    refused(what, "export it in evaluation mode (model.eval()), or for one image at a time (a fixed batch of 1)")
}

/// The numbers of the measured output, and of the one that tells the class.
fn answer(given: &[Given]) -> &[f32] {
    given.last().map_or(&[], |given| &given.values)
}

/// The largest difference; not a number where one of them is not.
fn farthest(a: &[f32], b: &[f32]) -> f32 {
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |largest, value| if largest.is_nan() || value <= largest { largest } else { value })
}

/// An image of waves, in the range of pixels: two of them differ in every channel.
fn image(network: &Network, seed: usize) -> Vec<f32> {
    let wave = |place: usize| {
        let (slow, fast) = (place as f32 * (0.11 + 0.2 * seed as f32), place as f32 * (0.73 - 0.31 * seed as f32));
        0.5 + 0.3 * slow.sin() + 0.2 * fast.cos()
    };
    let (scale, shift) =
        network.pixels.map_or((1.0, 0.0), |pixels| (255.0 * pixels.scale, (pixels.least - pixels.zero) * pixels.scale));
    (0..network.shape.len()).map(|place| scale * wave(place) + shift).collect()
}
