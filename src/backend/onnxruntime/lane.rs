//! One lane's way through the sessions of a network: images in, measured coordinates out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::{bf16, f16};
use ort::session::{
    HasSelectedOutputs, OutputSelector, RunOptions, Session as OrtSession, SessionInputValue, SessionOutputs,
};
use ort::value::{DynValue, TensorElementType, TensorRef};

use super::staging::Staging;
use crate::backend::input::Element;
use crate::backend::network::{Given, wrong_outputs};
use crate::backend::pool::Pool;
use crate::backend::words::engine_error;
use crate::backend::{Coordinates, Network, Session, batches};
use crate::error::Result;

/// The engine's name.
pub(super) const NAME: &str = "onnxruntime";

/// The sessions of a network; a lane holds one while a batch runs.
pub(super) struct Sessions {
    pub pool: Pool<OrtSession>,
    /// The GPU that they compute on.
    pub gpu: Option<u16>,
    /// Images that memory holds at once, as far as it is known.
    pub most: AtomicUsize,
}

impl Sessions {
    /// The rows of all batches of a lane that gives `rows` at once or fewer, where batches have one size: cuDNN plans every
    /// convolution anew for each that it meets, which takes longer than rows of zeros.
    pub fn whole_batch(&self, rows: usize) -> Option<usize> {
        self.gpu.map(|_| rows)
    }
}

/// Runs tensors, wherever they lie.
pub(super) struct Runner {
    pub sessions: Arc<Sessions>,
    pub network: Arc<Network>,
    options: RunOptions<HasSelectedOutputs>,
}

impl Runner {
    pub fn new(sessions: &Arc<Sessions>, network: &Arc<Network>) -> Result<Self> {
        Ok(Self { sessions: Arc::clone(sessions), network: Arc::clone(network), options: measured(network)? })
    }

    /// Writes `[row, number]` of a batch as the network takes it.
    pub fn run(&self, input: SessionInputValue, outputs: &mut [f32]) -> Result<()> {
        let Self { sessions, network, options } = self;
        let row = network.row();
        let mut session = sessions.pool.hold();
        let given = run(&mut session, network, options, input)?;
        for (index, (tensor, columns)) in network.tensors().zip(network.columns()).enumerate() {
            let places = outputs.chunks_exact_mut(row).map(|row| &mut row[columns.clone()]);
            let are_all = gather(&tensor.coordinates, &given[index], places);
            if !are_all.map_err(|error| engine_error(&network.path, NAME, "run", error))? {
                let found = given[index].shape().num_elements();
                return Err(wrong_outputs(&network.path, NAME, tensor, outputs.len() / row, found));
            }
        }
        Ok(())
    }
}

/// Asks for [`Network::tensors`], in their order.
fn measured(network: &Network) -> Result<RunOptions<HasSelectedOutputs>> {
    let outputs = network.tensors().fold(OutputSelector::no_default(), |all, tensor| all.with(&tensor.name));
    let options = RunOptions::new().map_err(|error| engine_error(&network.path, NAME, "run", error))?;
    Ok(options.with_outputs(outputs))
}

fn run<'s>(
    session: &'s mut OrtSession,
    network: &Network,
    options: &'s RunOptions<HasSelectedOutputs>,
    input: SessionInputValue,
) -> Result<SessionOutputs<'s>> {
    let inputs = vec![(network.input.as_str(), input)];
    session.run_with_options(inputs, options).map_err(|error| engine_error(&network.path, NAME, "run", error))
}

/// Runs a batch in a session; tells what the network gives, and the numbers of its outputs.
pub(super) fn trial(
    session: &mut OrtSession,
    network: &Network,
    element: Element,
    rows: usize,
    images: &[f32],
) -> Result<Vec<Given>> {
    let options = measured(network)?;
    debug_assert_eq!(images.len(), rows * network.shape.len());
    with_input(network, &mut Some(Staging::new(element)), images, |input| {
        let given = run(session, network, &options, input)?;
        let outputs = network.layers.len()..;
        let all = (0..given.len()).map(|index| told(&given[index], outputs.contains(&index)));
        all.collect::<ort::Result<_>>().map_err(|error| engine_error(&network.path, NAME, "run", error))
    })
}

/// Runs images that lie in this process.
pub(super) struct Lane {
    runner: Runner,
    /// As [`Sessions::whole_batch`].
    whole_batch: Option<usize>,
    /// `None` where the network takes images as they are.
    staging: Option<Staging>,
}

impl Lane {
    /// For `rows` images at once, or fewer.
    pub fn new(sessions: &Arc<Sessions>, network: &Arc<Network>, element: Element, rows: usize) -> Result<Self> {
        let staging = match sessions.gpu {
            Some(device) => Some(Staging::pinned(element, &sessions.pool.hold(), device)),
            None => (element != Element::Float32).then(|| Staging::new(element)),
        };
        Ok(Self { runner: Runner::new(sessions, network)?, whole_batch: sessions.whole_batch(rows), staging })
    }
}

/// Runs with a batch of images in a tensor as the network takes it.
fn with_input<T>(
    network: &Network,
    staging: &mut Option<Staging>,
    images: &[f32],
    run: impl FnOnce(SessionInputValue) -> Result<T>,
) -> Result<T> {
    let failed = |error: ort::Error| engine_error(&network.path, NAME, "run", error);
    let dims = network.input_dims(images.len() / network.shape.len());
    match staging {
        None => run(TensorRef::from_array_view((dims, images)).map_err(failed)?.into()),
        Some(staging) => run(staging.fill(dims, images).map_err(failed)?.into()),
    }
}

fn told(value: &DynValue, with_values: bool) -> ort::Result<Given> {
    use TensorElementType::{Bfloat16, Float16, Float32, Float64};
    let kind = value.dtype();
    let are_floats = matches!(kind.tensor_type(), Some(Float16 | Bfloat16 | Float32 | Float64));
    let sizes = kind.tensor_shape().into_iter().flat_map(|shape| shape.iter());
    let sizes: Vec<_> = sizes.map(|size| usize::try_from(*size).unwrap_or(0)).collect();
    let mut values = vec![0.0; if with_values && are_floats { sizes.iter().product() } else { 0 }];
    if !values.is_empty() {
        gather(&Coordinates::of(vec![1]), value, values.chunks_exact_mut(1))?;
    }
    Ok(Given { are_floats, sizes, values })
}

/// Writes the measured coordinates into a row each; whether there were as many values as there should be.
fn gather<'a>(
    coordinates: &Coordinates,
    output: &DynValue,
    rows: impl ExactSizeIterator<Item = &'a mut [f32]>,
) -> ort::Result<bool> {
    Ok(match output.dtype().tensor_type() {
        Some(TensorElementType::Float16) => {
            coordinates.gather(output.try_extract_tensor::<f16>()?.1, f16::to_f32, rows)
        }
        Some(TensorElementType::Bfloat16) => {
            coordinates.gather(output.try_extract_tensor::<bf16>()?.1, bf16::to_f32, rows)
        }
        Some(TensorElementType::Float64) => {
            coordinates.gather(output.try_extract_tensor::<f64>()?.1, |value| value as f32, rows)
        }
        _ => coordinates.gather(output.try_extract_tensor::<f32>()?.1, |value| value, rows),
    })
}

impl Session for Lane {
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> Result<()> {
        let Self { runner, whole_batch, staging } = self;
        let Runner { sessions, network, .. } = &*runner;
        let (size, row) = (network.shape.len(), network.row());
        let mut run = |images: &[f32], outputs: &mut [f32]| {
            with_input(network, staging, images, |input| runner.run(input, outputs))
        };
        let most = &sessions.most;
        match (network.fixed_batch, *whole_batch) {
            (Some(rows), _) => batches::of_fixed_size(rows, images, outputs, size, row, run),
            (None, Some(rows)) => batches::halved(rows.min(most.load(Ordering::Relaxed)), most, |rows| {
                batches::of_fixed_size(rows, images, outputs, size, row, &mut run)
            }),
            (None, None) => batches::within_memory(most, images, outputs, size, row, run),
        }
    }
}
