//! One lane's way through the sessions of a network: images in, measured coordinates out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::{bf16, f16};
use ort::session::{
    HasSelectedOutputs, OutputSelector, RunOptions, Session as OrtSession, SessionInputValue, SessionOutputs,
};
use ort::value::{DynTensor, DynValue, PrimitiveTensorElementType, Tensor, TensorElementType, TensorRef, ValueType};

use super::NAME;
use crate::backend::graph::Element;
use crate::backend::network::Given;
use crate::backend::pool::Pool;
use crate::backend::{Coordinates, Network, Session, batches, engine_error, wrong_outputs};
use crate::error::Result;

/// The sessions of a network, all made when it is loaded; a lane holds one while a batch runs.
pub(super) struct Sessions {
    pub pool: Pool<OrtSession>,
    /// Images that memory holds at once, as far as it is known.
    pub most: AtomicUsize,
}

pub(super) struct Lane {
    pub sessions: Arc<Sessions>,
    options: RunOptions<HasSelectedOutputs>,
    pub network: Arc<Network>,
    element: Element,
}

impl Lane {
    pub fn new(sessions: &Arc<Sessions>, network: &Arc<Network>, element: Element) -> Result<Self> {
        let outputs = network.tensors().fold(OutputSelector::no_default(), |all, tensor| all.with(&tensor.name));
        let options = RunOptions::new().map_err(|error| engine_error(&network.path, NAME, "run", error))?;
        Ok(Self {
            sessions: Arc::clone(sessions),
            options: options.with_outputs(outputs),
            network: Arc::clone(network),
            element,
        })
    }

    /// Runs one batch of zeros: how many rows it has, and what it gives.
    pub fn trial(&self) -> Result<(usize, Vec<Given>)> {
        let rows = self.network.fixed_batch.unwrap_or(1);
        let zeros = vec![0.0; rows * self.network.shape.len()];
        let mut all = Vec::new();
        self.with_input(&zeros, rows, |input| {
            self.with_outputs(input, |given| {
                all = (0..given.len()).map(|index| told(given[index].dtype())).collect();
                Ok(())
            })
        })?;
        Ok((rows, all))
    }

    fn run_batch(&self, images: &[f32], outputs: &mut [f32]) -> Result<()> {
        let count = images.len() / self.network.shape.len();
        self.with_input(images, count, |input| self.run_value(input, outputs))
    }

    /// Runs a batch in a tensor as the network takes it, wherever that lies.
    pub fn run_value(&self, input: SessionInputValue, outputs: &mut [f32]) -> Result<()> {
        let network = &*self.network;
        let row = network.row();
        let mut outcome = Ok(());
        self.with_outputs(input, |given| {
            for (index, (tensor, columns)) in network.tensors().zip(network.columns()).enumerate() {
                let places = outputs.chunks_exact_mut(row).map(|row| &mut row[columns.clone()]);
                if !gather(&tensor.coordinates, &given[index], places)? {
                    let found = given[index].shape().num_elements();
                    outcome = Err(wrong_outputs(&network.path, NAME, tensor, outputs.len() / row, found));
                }
            }
            Ok(())
        })?;
        outcome
    }

    fn with_input<T>(
        &self,
        images: &[f32],
        rows: usize,
        run: impl FnOnce(SessionInputValue) -> Result<T>,
    ) -> Result<T> {
        let failed = |error: ort::Error| engine_error(&self.network.path, NAME, "run", error);
        let dims = self.network.input_dims(rows);
        let converted = match self.element {
            Element::Float32 => return run(TensorRef::from_array_view((dims, images)).map_err(failed)?.into()),
            Element::Float16 => tensor(dims, images, f16::from_f32),
            Element::Bfloat16 => tensor(dims, images, bf16::from_f32),
            Element::Float64 => tensor(dims, images, f64::from),
        };
        run((&converted.map_err(failed)?).into())
    }

    fn with_outputs(
        &self,
        input: SessionInputValue,
        read: impl FnOnce(&SessionOutputs) -> ort::Result<()>,
    ) -> Result<()> {
        let failed = |error: ort::Error| engine_error(&self.network.path, NAME, "run", error);
        let inputs = vec![(self.network.input.as_str(), input)];
        let mut session = self.sessions.pool.hold();
        let outputs = session.run_with_options(inputs, &self.options).map_err(failed)?;
        read(&outputs).map_err(failed)
    }
}

fn told(kind: &ValueType) -> Given {
    use TensorElementType::{Bfloat16, Float16, Float32, Float64};
    let are_floats = matches!(kind.tensor_type(), Some(Float16 | Bfloat16 | Float32 | Float64));
    let sizes = kind.tensor_shape().into_iter().flat_map(|shape| shape.iter());
    Given { are_floats, sizes: sizes.map(|size| usize::try_from(*size).unwrap_or(0)).collect() }
}

fn tensor<T>(dims: Vec<usize>, images: &[f32], convert: fn(f32) -> T) -> ort::Result<DynTensor>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let values: Vec<T> = images.iter().map(|value| convert(*value)).collect();
    Ok(Tensor::from_array((dims, values))?.upcast())
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
        let (size, row) = (self.network.shape.len(), self.network.row());
        let run = |images: &[f32], outputs: &mut [f32]| self.run_batch(images, outputs);
        if let Some(batch) = self.network.fixed_batch {
            return batches::of_fixed_size(batch, images, outputs, size, row, run);
        }
        let mut most = self.sessions.most.load(Ordering::Relaxed);
        let outcome = batches::within_memory(&mut most, images, outputs, size, row, run);
        self.sessions.most.fetch_min(most, Ordering::Relaxed);
        outcome
    }
}
