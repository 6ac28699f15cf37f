//! tract, the embedded engine: single images on all cores, nothing to install.

use std::path::PathBuf;
use std::sync::Arc;

use tract_onnx::prelude::{
    InferenceFact, InferenceModelExt, IntoRunnable, IntoTValue, IntoTensor, Tensor, TractResult, TypedRunnableModel,
    TypedSimpleState, tvec,
};
use tract_onnx::tract_hir::internal::DatumType;

use super::graph::Graph;
use super::{
    Backend, Identity, Lanes, Network, Provider, Session, engine_error, in_fixed_batches, input_dims, wrong_outputs,
};
use crate::error::Result;
use crate::probe::Shape;

const NAME: &str = "tract";
/// The version pinned in `Cargo.toml`; tract does not tell its own.
pub const VERSION: &str = "0.23.9";

/// A network in tract, optimised for one batch size.
pub(super) struct Tract {
    network: Network,
    identity: Identity,
    lanes: Lanes,
    plan: Arc<TypedRunnableModel>,
}

impl Tract {
    pub fn load(graph: Graph, shape: Shape, provider: Provider, threads: usize, note: Option<String>) -> Result<Self> {
        let path = graph.path.clone();
        // One image at a time keeps the working set in the cache: faster for tract than any larger batch.
        let rows = graph.fixed_batch.unwrap_or(1);
        let mut network = Network::new(&graph, shape, 0, note);
        let dims = network.input_dims(rows);
        let plan = plan(graph, &dims).map_err(|error| engine_error(&path, NAME, "load", error))?;
        let zeros = vec![0.0; rows * shape.len()];
        let values = plan.spawn().and_then(|mut state| run(&mut state, &dims, &zeros));
        let found = values
            .and_then(|values| Ok(floats(&values)?.len()))
            .map_err(|error| engine_error(&path, NAME, "run", error))?;
        if found == 0 || found % rows != 0 {
            return Err(wrong_outputs(&path, NAME, rows, found));
        }
        network.outputs = found / rows;
        let identity = Identity {
            name: NAME.to_owned(),
            version: VERSION.to_owned(),
            provider: "cpu".to_owned(),
            provider_requested: provider,
        };
        Ok(Self { network, identity, lanes: Lanes { count: threads.max(1), batch: rows }, plan })
    }
}

fn plan(graph: Graph, dims: &[usize; 4]) -> TractResult<Arc<TypedRunnableModel>> {
    let folder = graph.path.parent().and_then(|folder| folder.to_str()).map(str::to_owned);
    // The shapes that exporters write down keep the batch symbolic and would contradict the fixed one.
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let proto = graph.into_proto_with_output();
    let mut model = onnx.parse(&proto, folder.as_deref())?.model;
    drop(proto);
    model.set_input_fact(0, InferenceFact::dt_shape(DatumType::F32, dims))?;
    model.into_optimized()?.into_runnable()
}

fn run(state: &mut TypedSimpleState, dims: &[usize; 4], images: &[f32]) -> TractResult<Tensor> {
    let input = Tensor::from_shape(dims, images)?;
    let mut outputs = state.run(tvec!(input.into_tvalue()))?;
    Ok(outputs.remove(0).into_tensor())
}

fn floats(tensor: &Tensor) -> TractResult<&[f32]> {
    tensor.try_as_plain_ram()?.as_slice::<f32>()
}

impl Backend for Tract {
    fn network(&self) -> &Network {
        &self.network
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn lanes(&self) -> Lanes {
        self.lanes
    }

    fn session(&self) -> Result<Box<dyn Session>> {
        let network = &self.network;
        let state = self.plan.spawn().map_err(|error| engine_error(&network.path, NAME, "load", error))?;
        let rows = network.fixed_batch.unwrap_or(1);
        let dims = input_dims(network.layout, network.shape, rows);
        Ok(Box::new(Lane { state, dims, outputs: network.outputs, path: network.path.clone() }))
    }
}

struct Lane {
    state: TypedSimpleState,
    dims: [usize; 4],
    outputs: usize,
    path: PathBuf,
}

impl Session for Lane {
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> Result<()> {
        let rows = self.dims[0];
        let row = self.dims[1..].iter().product();
        in_fixed_batches(Some(rows), images, outputs, row, self.outputs, |images, outputs| {
            let failed = |error| engine_error(&self.path, NAME, "run", error);
            let tensor = run(&mut self.state, &self.dims, images).map_err(failed)?;
            let values = floats(&tensor).map_err(failed)?;
            if values.len() != outputs.len() {
                return Err(wrong_outputs(&self.path, NAME, outputs.len(), values.len()));
            }
            outputs.copy_from_slice(values);
            Ok(())
        })
    }
}
