//! tract, the embedded engine: single images on all cores, nothing to install.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::{
    InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, TValue, TVec, Tensor, TractResult,
    TypedRunnableModel, TypedSimpleState, tvec,
};
use tract_onnx::tract_hir::internal::DatumType;

use super::alone::{Traits, settled};
use super::graph::Graph;
use super::in_floats::in_floats;
use super::inline::inline_all;
use super::input::{Element, Input};
use super::network::Given;
use super::network::wrong_outputs;
use super::notice::Notice;
use super::words::engine_error;
use super::{Backend, Identity, Lanes, Network, Provider, Session, batches, words};
use crate::error::Result;
use crate::panics;
use crate::probe::Shape;

const NAME: &str = "tract";
/// The version pinned in `Cargo.toml`; tract does not tell its own.
pub const VERSION: &str = "0.23.9";

/// A network in tract, optimised for one batch size.
pub(super) struct Tract {
    network: Arc<Network>,
    identity: Identity,
    element: DatumType,
    lanes: Lanes,
    plan: Arc<TypedRunnableModel>,
    /// Of each tensor that the plan gives, whether it is measured.
    is_kept: Arc<[bool]>,
    /// Whether it has operators that go on where the last image ended.
    goes_on: bool,
}

impl Tract {
    pub fn load(
        graph: Graph,
        input: (Shape, Input),
        provider: Provider,
        threads: usize,
        note: Option<Notice>,
    ) -> Result<Self> {
        let path = graph.path.clone();
        caught(&path, || Self::loaded(graph, input, provider, threads, note))
    }

    fn loaded(
        graph: Graph,
        (shape, input): (Shape, Input),
        provider: Provider,
        threads: usize,
        note: Option<Notice>,
    ) -> Result<Self> {
        let path = graph.path.clone();
        let mut network = Network::new(&graph, (shape, input), note);
        let Some(element) = datum_type(graph.element) else {
            return Err(engine_error(&path, NAME, "load", format!("it takes no {}, ONNX Runtime does", graph.element)));
        };
        if let Some(refused) = words::foreign_to_tract(&graph) {
            return Err(refused);
        }
        let (traits, layers) = (Traits::of(&graph), graph.layers.clone());
        let recurs = |node: &&NodeProto| ["LSTM", "GRU", "RNN", "Scan", "Loop"].contains(&node.op_type.as_str());
        let goes_on = graph.reaching().iter().any(recurs);
        let refused = |error: tract_onnx::prelude::TractError| words::of_tract(&path, &format!("{error:#}"));
        let model = model(graph).map_err(refused)?;
        let mut plans: HashMap<usize, Arc<TypedRunnableModel>> = HashMap::new();
        let mut tried = |network: &Network, rows: usize, images: &[f32]| {
            let dims = network.input_dims(rows);
            let ready = match plans.get(&rows) {
                Some(ready) => Arc::clone(ready),
                None => plan(model.clone(), element, &dims).map_err(refused)?,
            };
            plans.insert(rows, Arc::clone(&ready));
            let given = ready.spawn().and_then(|mut state| run(&mut state, element, &dims, images)).map_err(refused)?;
            let outputs = layers.tensors.len()..;
            given
                .iter()
                .enumerate()
                .map(|(index, value)| told(value, outputs.contains(&index)))
                .collect::<TractResult<_>>()
                .map_err(refused)
        };
        // A batch that it panics on may be the wrong one.
        let mut try_batch = |network: &Network, rows, images: &[f32]| caught(&path, || tried(network, rows, images));
        let mut is_kept = settled(&mut network, NAME, (&layers, &traits), &mut try_batch)?;
        is_kept.extend([true, true]);
        // One image at a time keeps the working set in the cache: faster for tract than any larger batch.
        let rows = network.fixed_batch.unwrap_or(1);
        let plan =
            plans.remove(&rows).map_or_else(|| plan(model, element, &network.input_dims(rows)).map_err(refused), Ok)?;
        let identity = Identity {
            name: NAME.to_owned(),
            version: VERSION.to_owned(),
            provider: "cpu".to_owned(),
            provider_requested: provider,
            host: None,
        };
        Ok(Self {
            network: Arc::new(network),
            identity,
            element,
            lanes: Lanes { count: threads.max(1), batch: rows, whole: false },
            plan,
            is_kept: is_kept.into(),
            goes_on,
        })
    }
}

/// Does what networks that make no sense, such as a stride of 0, make tract panic at.
fn caught<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::caught(work).unwrap_or_else(|panic| Err(words::of_tract(path, &panic)))
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

/// The network with what is measured as its only outputs, in operators that tract has.
fn model(graph: Graph) -> TractResult<InferenceModel> {
    let folder = graph.file.parent().and_then(Path::to_str).map(str::to_owned);
    // The shapes that exporters write down keep the batch symbolic and would contradict the fixed one.
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let mut proto = graph.into_proto();
    inline_all(&mut proto);
    in_floats(&mut proto);
    Ok(onnx.parse(&proto, folder.as_deref())?.model)
}

fn plan(mut model: InferenceModel, element: DatumType, dims: &[usize]) -> TractResult<Arc<TypedRunnableModel>> {
    model.set_input_fact(0, InferenceFact::dt_shape(element, dims))?;
    model.into_optimized()?.into_runnable()
}

fn run(state: &mut TypedSimpleState, element: DatumType, dims: &[usize], images: &[f32]) -> TractResult<TVec<TValue>> {
    let input = Tensor::from_shape(dims, images)?.cast_to_dt(element)?.into_owned();
    state.run(tvec!(input.into_tvalue()))
}

fn told(value: &TValue, with_values: bool) -> TractResult<Given> {
    let (are_floats, sizes) = (value.datum_type().is_float(), value.shape().to_vec());
    let values = if with_values && are_floats {
        value.cast_to::<f32>()?.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()
    } else {
        Vec::new()
    };
    Ok(Given { are_floats, sizes, values })
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

    fn session(&self, _rows: usize) -> Result<Box<dyn Session>> {
        let network = Arc::clone(&self.network);
        let state = self.plan.spawn().map_err(|error| engine_error(&network.path, NAME, "load", error))?;
        let dims = network.input_dims(network.fixed_batch.unwrap_or(1));
        let plan = self.goes_on.then(|| Arc::clone(&self.plan));
        Ok(Box::new(Lane { state, plan, element: self.element, dims, network, is_kept: Arc::clone(&self.is_kept) }))
    }
}

struct Lane {
    state: TypedSimpleState,
    /// What makes a new state for each batch, where one would go on with the last.
    plan: Option<Arc<TypedRunnableModel>>,
    element: DatumType,
    dims: Vec<usize>,
    network: Arc<Network>,
    is_kept: Arc<[bool]>,
}

impl Session for Lane {
    fn run(&mut self, images: &[f32], outputs: &mut [f32]) -> Result<()> {
        let Self { state, plan, element, dims, network, is_kept } = self;
        let (count, size, row) = (network.fixed_batch.unwrap_or(1), network.shape.len(), network.row());
        let failed = |error| engine_error(&network.path, NAME, "run", error);
        batches::of_fixed_size(count, images, outputs, size, row, |images, outputs| {
            if let Some(plan) = plan {
                *state = plan.spawn().map_err(failed)?;
            }
            let given = run(state, *element, dims, images).map_err(failed)?;
            let given = given.iter().zip(&**is_kept).filter(|(_, is_kept)| **is_kept).map(|(value, _)| value);
            for ((tensor, columns), value) in network.tensors().zip(network.columns()).zip(given) {
                let value = value.cast_to::<f32>().map_err(failed)?;
                let values = value.try_as_plain_ram().and_then(|plain| plain.as_slice::<f32>()).map_err(failed)?;
                let rows = outputs.chunks_exact_mut(row).map(|row| &mut row[columns.clone()]);
                if !tensor.coordinates.gather(values, |value| value, rows) {
                    return Err(wrong_outputs(&network.path, NAME, tensor, count, values.len()));
                }
            }
            Ok(())
        })
    }
}
