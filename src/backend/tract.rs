//! tract, the embedded engine: single images on all cores, nothing to install.

use std::path::PathBuf;
use std::sync::Arc;

use tract_onnx::prelude::{
    InferenceFact, InferenceModelExt, IntoRunnable, IntoTValue, IntoTensor, Tensor, TractResult, TypedRunnableModel,
    TypedSimpleState, tvec,
};
use tract_onnx::tract_hir::internal::DatumType;

use super::graph::{Element, Graph, Input};
use super::{
    Backend, Coordinates, Identity, Lanes, Network, Provider, Session, engine_error, in_fixed_batches, output_axes,
    wrong_outputs,
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
    element: DatumType,
    lanes: Lanes,
    plan: Arc<TypedRunnableModel>,
}

impl Tract {
    pub fn load(
        graph: Graph,
        (shape, input): (Shape, Input),
        provider: Provider,
        threads: usize,
        note: Option<String>,
    ) -> Result<Self> {
        let path = graph.path.clone();
        // One image at a time keeps the working set in the cache: faster for tract than any larger batch.
        let rows = input.fixed_batch.unwrap_or(1);
        let mut network = Network::new(&graph, (shape, input), note);
        let Some(element) = datum_type(graph.element) else {
            return Err(engine_error(&path, NAME, "load", format!("it takes no {}, ONNX Runtime does", graph.element)));
        };
        let dims = network.input_dims(rows);
        let plan = plan(graph, element, &dims).map_err(|error| engine_error(&path, NAME, "load", error))?;
        let zeros = vec![0.0; rows * shape.len()];
        let values = plan.spawn().and_then(|mut state| run(&mut state, element, &dims, &zeros));
        let output = values.map_err(|error| engine_error(&path, NAME, "run", error))?;
        network.coordinates = Coordinates::of(output_axes(&path, NAME, rows, output.shape())?);
        let identity = Identity {
            name: NAME.to_owned(),
            version: VERSION.to_owned(),
            provider: "cpu".to_owned(),
            provider_requested: provider,
        };
        Ok(Self { network, identity, element, lanes: Lanes { count: threads.max(1), batch: rows }, plan })
    }
}

/// `None` for what tract has no numbers of.
fn datum_type(element: Element) -> Option<DatumType> {
    match element {
        Element::Float32 => Some(DatumType::F32),
        Element::Float16 => Some(DatumType::F16),
        Element::Float64 => Some(DatumType::F64),
        Element::Bfloat16 => None,
    }
}

fn plan(graph: Graph, element: DatumType, dims: &[usize]) -> TractResult<Arc<TypedRunnableModel>> {
    let folder = graph.path.parent().and_then(|folder| folder.to_str()).map(str::to_owned);
    // The shapes that exporters write down keep the batch symbolic and would contradict the fixed one.
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let proto = graph.into_proto_with_output();
    let mut model = onnx.parse(&proto, folder.as_deref())?.model;
    drop(proto);
    model.set_input_fact(0, InferenceFact::dt_shape(element, dims))?;
    model.into_optimized()?.into_runnable()
}

/// The output, as `f32`.
fn run(state: &mut TypedSimpleState, element: DatumType, dims: &[usize], images: &[f32]) -> TractResult<Tensor> {
    let input = Tensor::from_shape(dims, images)?.cast_to_dt(element)?.into_owned();
    let mut outputs = state.run(tvec!(input.into_tvalue()))?;
    Ok(outputs.remove(0).into_tensor().cast_to::<f32>()?.into_owned())
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
        let dims = network.input_dims(network.fixed_batch.unwrap_or(1));
        let coordinates = network.coordinates.clone();
        Ok(Box::new(Lane { state, element: self.element, dims, coordinates, path: network.path.clone() }))
    }
}

struct Lane {
    state: TypedSimpleState,
    element: DatumType,
    dims: Vec<usize>,
    coordinates: Coordinates,
    path: PathBuf,
}

impl Session for Lane {
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> Result<()> {
        let rows = self.dims[0];
        let row = self.dims[1..].iter().product();
        let per_row = self.coordinates.len();
        in_fixed_batches(Some(rows), images, outputs, row, per_row, |images, outputs| {
            let failed = |error| engine_error(&self.path, NAME, "run", error);
            let tensor = run(&mut self.state, self.element, &self.dims, images).map_err(failed)?;
            let values = floats(&tensor).map_err(failed)?;
            if self.coordinates.gather(values.iter().copied(), outputs) {
                return Ok(());
            }
            Err(wrong_outputs(&self.path, NAME, rows * self.coordinates.axes().iter().product::<usize>(), values.len()))
        })
    }
}
