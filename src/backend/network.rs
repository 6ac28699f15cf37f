//! What a loaded network takes and gives.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Coordinates;
use super::graph::Graph;
use super::input::Input;
use super::layers::Layers;
use super::notice::{Code, Notice};
use super::pixels::Pixels;
use super::words::engine_error;
use crate::checkpoint::Metadata;
use crate::error::{Error, Result};
use crate::preprocess::Scaling;
use crate::probe::{Layout, Shape};

/// A network, ready to run.
#[derive(Debug, Clone)]
pub struct Network {
    /// The ONNX file.
    pub path: PathBuf,
    /// Hash of the file and of its external data.
    pub sha256: String,
    /// Size of the file and of its external data.
    pub bytes: u64,
    /// The input's name.
    pub input: String,
    /// Tensors before the output that it gives too.
    pub layers: Vec<Output>,
    /// The measured output.
    pub output: Output,
    /// The output that tells the class, where what is measured stands before a final `ReLU` or `Clip`.
    pub answer: Option<Output>,
    /// Whether each number of the measured output goes through a sigmoid of its own behind it: several classes may be right at once.
    pub is_independent: bool,
    /// The order of the input's axes.
    pub layout: Layout,
    /// One image.
    pub shape: Shape,
    /// Sizes of one image's axes as the network takes them: fewer than 3 where it wants images flat.
    pub axes: Vec<usize>,
    /// The batch size the network insists on, if it does.
    pub fixed_batch: Option<usize>,
    /// Whether its input has an axis for the batch.
    pub has_batch: bool,
    /// How bytes of an image go with the numbers that it takes, where these are bytes.
    pub pixels: Option<Pixels>,
    /// What its first operators do to the numbers of its input.
    pub scaling: Option<Scaling>,
    /// What the checkpoint says of itself.
    pub metadata: Metadata,
    /// What the user should know.
    pub notices: Vec<Notice>,
}

/// A tensor that a network gives.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// The kind of node that makes it.
    pub op: String,
    /// Its measured numbers for one image.
    pub coordinates: Coordinates,
}

impl Network {
    /// Without the coordinates of what it gives, which a trial run tells.
    pub(super) fn new(graph: &Graph, (shape, input): (Shape, Input), note: Option<Notice>) -> Self {
        let Input { axes, layout, fixed_batch, has_batch } = input;
        let is_flat = shape.channels > 1 && axes.iter().filter(|size| **size != 1).count() == 1;
        let flat = is_flat.then(|| {
            let order = if layout == Layout::Nchw { "channel by channel" } else { "pixel by pixel" };
            let text = format!("the network takes an image as {} numbers: given {order} (--input-layout)", shape.len());
            Notice::new(Code::PixelOrder, text)
        });
        let mut network = Self {
            path: graph.path.clone(),
            sha256: graph.sha256.clone(),
            bytes: graph.total_bytes,
            input: graph.input.clone(),
            layers: graph.layers.tensors.iter().map(|layer| Output::new(&layer.name, &layer.op)).collect(),
            output: Output::new(&graph.output, graph.op_of(&graph.output)),
            answer: graph.answer.as_ref().map(|name| Output::new(name, graph.op_of(name))),
            is_independent: graph.is_independent,
            layout,
            shape,
            axes,
            fixed_batch,
            has_batch,
            pixels: graph.pixels,
            scaling: graph.scaling(),
            metadata: graph.metadata.clone(),
            notices: Vec::new(),
        };
        network.notices.extend(graph.notices.iter().cloned().chain(flat).chain(note));
        network
    }

    /// One more thing for the user to know.
    pub(super) fn add_notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Measured numbers of the output for one image.
    pub fn outputs(&self) -> usize {
        self.output.coordinates.len()
    }

    /// All tensors that it gives: layers, the measured output, the one that tells the class.
    pub fn tensors(&self) -> impl Iterator<Item = &Output> {
        self.layers.iter().chain([&self.output]).chain(&self.answer)
    }

    /// Where the numbers of each tensor stand in a row of them all.
    pub fn columns(&self) -> impl Iterator<Item = Range<usize>> {
        self.tensors().scan(0, |start, tensor| {
            let columns = *start..*start + tensor.coordinates.len();
            *start = columns.end;
            Some(columns)
        })
    }

    /// Where the numbers stand in a row that tell the class.
    pub fn answers(&self) -> Range<usize> {
        let count = self.answer.as_ref().unwrap_or(&self.output).coordinates.len();
        self.row() - count..self.row()
    }

    /// Numbers of a row: of all tensors for one image.
    pub fn row(&self) -> usize {
        self.tensors().map(|tensor| tensor.coordinates.len()).sum()
    }

    /// Sizes of the input for a batch of `rows` images.
    pub(super) fn input_dims(&self, rows: usize) -> Vec<usize> {
        self.has_batch.then_some(rows).into_iter().chain(self.axes.iter().copied()).collect()
    }

    /// Settles what is measured, from what a trial of `rows` images gave; says which of `layers` stay.
    pub(super) fn settle(
        &mut self,
        engine: &'static str,
        layers: &Layers,
        rows: usize,
        mut given: Vec<Given>,
    ) -> Result<Vec<bool>> {
        let single = rows == 1 && self.fixed_batch == Some(1);
        let axes = |given: &Given| match given.sizes[..] {
            [batch, ref axes @ ..] if batch == rows && !axes.contains(&0) => Some(axes.to_vec()),
            // Of a network that knows no batches.
            ref axes if single && !axes.contains(&0) => Some(axes.to_vec()),
            _ => None,
        };
        let path = self.path.clone();
        let coordinates = |given: Option<Given>| {
            let given = given.unwrap_or_default();
            axes(&given).map(Coordinates::of).ok_or_else(|| {
                let message =
                    format!("expected an output for each of {rows} images, found one of shape {:?}", given.sizes);
                engine_error(&path, engine, "run", message)
            })
        };
        if let Some(answer) = &mut self.answer {
            answer.coordinates = coordinates(given.pop())?;
        }
        self.output.coordinates = coordinates(given.pop())?;
        let (mut stay, mut passed_over) = (Vec::new(), Vec::new());
        let candidates = std::mem::take(&mut self.layers);
        for (mut layer, given) in candidates.into_iter().zip(&given) {
            let axes = axes(given).filter(|_| given.are_floats);
            stay.push(axes.is_some());
            if let Some(axes) = axes {
                layer.coordinates = Coordinates::sampled(axes, layers.coordinates);
                self.layers.push(layer);
            } else {
                let numbers = if given.are_floats { "floats" } else { "no floats" };
                passed_over.push(format!("{} ({numbers}, {:?})", layer.name.escape_debug(), given.sizes));
            }
        }
        let expected = format!("tensors of floats with a row for each of {rows} images");
        match passed_over.join(", ") {
            none if none.is_empty() => {}
            found if layers.are_named => return Err(Error::model(&self.path, expected, found)),
            found => self.add_notice(Notice::new(Code::Layers, format!("layers are {expected}; passed over: {found}"))),
        }
        Ok(stay)
    }
}

impl Output {
    fn new(name: &str, op: &str) -> Self {
        Self { name: name.to_owned(), op: op.to_owned(), coordinates: Coordinates::default() }
    }
}

/// What a trial run told of a tensor.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    pub are_floats: bool,
    pub sizes: Vec<usize>,
    /// Its numbers; of layers none.
    pub values: Vec<f32>,
}

/// An engine that gave another number of values than it said.
pub(super) fn wrong_outputs(path: &Path, engine: &'static str, tensor: &Output, rows: usize, found: usize) -> Error {
    let expected = rows * tensor.coordinates.total();
    engine_error(path, engine, "run", format!("expected {expected} values of {}, found {found}", tensor.name))
}
