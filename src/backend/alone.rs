//! What trial runs tell of a network before it is measured: what it gives, in what batches, and whether an image's answer is its own.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto};

use super::graph::Graph;
use super::network::{Given, Network};
use super::notice::{Code, Notice};
use super::proto::{bodies, held, is_op, numbers};
use super::words::engine_error;
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
/// Operators that are looked back through for a constant.
const MOST_STEPS: usize = 8;

impl Traits {
    pub fn of(graph: &Graph) -> Self {
        let nodes = graph.reaching();
        let mut traits = Self::default();
        for node in &nodes {
            traits.scales_by_batch |= node.op_type.starts_with("DynamicQuantize");
            traits.is_coarse |= node.op_type.contains("Quantize") || node.op_type.starts_with("QLinear");
            let to = |node: &&NodeProto| node.attribute.iter().any(|to| to.name == "to" && matches!(to.i, 10 | 16));
            traits.is_coarse |= is_op(node, "Cast") && to(node);
        }
        traits.is_coarse |=
            super::proto::tensors(&graph.proto).iter().any(|tensor| matches!(tensor.data_type, 10 | 16));
        if let Some(whole) = &graph.proto.graph {
            traits.baked = baked_sizes(whole, &nodes);
        }
        traits
    }
}

/// Sizes that shapes, and the first axes of constants beside an image's tensors, hold: one may be that of the batch.
fn baked_sizes(graph: &GraphProto, nodes: &[&NodeProto]) -> BTreeSet<usize> {
    let own =
        graph.initializer.iter().chain(nodes.iter().flat_map(|node| bodies(node)).flat_map(|body| &body.initializer));
    let weights = own.map(|tensor| (tensor.name.as_str(), Cow::Borrowed(tensor)));
    // Of bodies and functions too: names that several share only add sizes.
    let made = nodes.iter().filter_map(|node| Some((node.output.first()?.as_str(), held(node)?)));
    let constants: HashMap<&str, Cow<TensorProto>> = weights.chain(made).collect();
    let makers: HashMap<&str, &NodeProto> =
        nodes.iter().filter_map(|node| Some((node.output.first()?.as_str(), *node))).collect();
    let mut sizes = Vec::new();
    for node in nodes {
        let constant = |place: usize| {
            let mut name = node.input.get(place)?;
            // Behind operators that leave the first number first.
            for _ in 0..MOST_STEPS {
                let Some(maker) = makers.get(name.as_str()).filter(|maker| keeps_first(maker)) else { break };
                name = maker.input.first()?;
            }
            constants.get(name.as_str())
        };
        let of = |place: usize| constant(place).and_then(|tensor| numbers(tensor)).unwrap_or_default();
        match node.op_type.as_str() {
            "Reshape" | "Expand" | "Tile" => sizes.extend(of(1).first().copied()),
            "ConstantOfShape" => sizes.extend(of(0).first().copied()),
            "Split" => sizes.push(of(1).iter().sum()),
            "Slice" => sizes.extend(of(2)),
            "Resize" => sizes.extend(of(3).first().copied()),
            "Range" => sizes.extend(of(1)),
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Min" | "Sum" | "Mean" | "Concat" | "Where" | "Gather" => {
                let beside = (0..node.input.len()).filter_map(|place| constant(place)?.dims.first().copied());
                sizes.extend(beside.map(|size| size as f64));
            }
            "LSTM" | "GRU" | "RNN" => sizes.extend(constant(5).and_then(|state| Some(*state.dims.get(1)? as f64))),
            _ => {}
        }
    }
    sizes.into_iter().filter(|size: &f64| (2.0..=4096.0).contains(size)).map(|size| size as usize).collect()
}

fn keeps_first(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "Identity" | "Cast" | "Concat" | "Unsqueeze" | "Squeeze" | "Reshape")
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
    // A network that squeezes every axis of size 1 takes two images or more.
    let sizes = traits.baked.iter().copied().take(MOST_SIZES).chain([2]);
    let sizes = sizes.filter(|_| declared.is_none() && network.has_batch);
    for rows in [declared.unwrap_or(1)].into_iter().chain(sizes) {
        let mut tried = Network { fixed_batch: declared.or((rows > 1).then_some(rows)), ..network.clone() };
        let given = run(&tried, rows, &one.repeat(rows));
        match given.and_then(|given| Ok((tried.settle(engine, layers, rows, given.clone())?, given))) {
            Ok((stay, given)) => {
                *network = tried;
                if declared.is_none() && rows > 1 {
                    network.add_notice(baked(rows));
                }
                check(network, traits, (&one, &other), &given, run)?;
                return Ok(stay);
            }
            Err(error) => first_failure = first_failure.or(Some(error)),
        }
    }
    Err(first_failure.unwrap_or_else(|| engine_error(&network.path, engine, "run", "no batch to try")))
}

fn baked(rows: usize) -> Notice {
    let text = match rows {
        1 => "the file declares a free batch, the network takes one image at a time: so it is run".to_owned(),
        rows => format!("the file declares a free batch, the network takes {rows} images at a time: so it is run"),
    };
    Notice::new(Code::BakedBatch, text)
}

/// Whether an image gives the same alone, or among copies of itself, as beside another one.
fn check(
    network: &mut Network,
    traits: &Traits,
    (one, other): (&[f32], &[f32]),
    alone: &[Given],
    run: &mut Run,
) -> Result<()> {
    let rows = network.fixed_batch.unwrap_or(2);
    if traits.scales_by_batch && rows > 1 {
        let count = *network.fixed_batch.get_or_insert(1);
        let text = format!("8-bit scales are taken from the whole batch: it is run in batches of {count}");
        network.add_notice(Notice::new(Code::DynamicScale, text));
        return Ok(());
    }
    if rows == 1 {
        return Ok(());
    }
    let mixed = run(network, rows, &[one, &other.repeat(rows - 1)].concat());
    let is_free = network.fixed_batch.is_none();
    let mixed = match mixed {
        Ok(mixed) if mixed.last().is_some_and(|given| given.sizes.first() == Some(&rows)) => mixed,
        _ if is_free => {
            network.fixed_batch = Some(1);
            network.add_notice(baked(1));
            return Ok(());
        }
        mixed => mixed?,
    };
    let (alone, mixed) = (answer(alone), answer(&mixed));
    let row = mixed.len() / rows;
    let (Some(alone), [first, second]) = (alone.get(..row), [&mixed[..row], &mixed[row..2 * row]]) else {
        return Ok(());
    };
    let mut moved = farthest(alone, first);
    if is_free {
        moved = moved.max(farthest(answer(&run(network, 1, other)?), second));
    }
    let (apart, largest) = (farthest(first, second), farthest(alone, &vec![0.0; row]));
    let (of_difference, of_size) = if traits.is_coarse { (0.2, 1e-2) } else { (0.02, 3e-5) };
    if moved.is_nan() || apart.is_nan() || moved <= of_difference * apart + of_size * largest {
        return Ok(());
    }
    let rows = network.fixed_batch.unwrap_or(1);
    let again = run(network, rows, &one.repeat(rows))?;
    let (what, next) = if answer(&again).get(..row).is_some_and(|again| farthest(alone, again) > of_size * largest) {
        let what = "it gives another answer to the same image each time".to_owned();
        (what, "export it in evaluation mode (model.eval()), without noise or augmentation layers")
    } else {
        let what = format!(
            "what an image gives depends on the others of its batch (by {:.0}% of how far two images lie apart)",
            100.0 * (moved / apart).min(9.99)
        );
        (what, "export it in evaluation mode (model.eval()), or for one image at a time (a fixed batch of 1)")
    };
    Err(Error::Unsupported { path: network.path.clone(), what, next: next.to_owned(), words: None })
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
