//! What an ONNX file says of its network: the input, the output to measure, the weights it keeps elsewhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{self, GraphProto, ModelProto, ValueInfoProto, tensor_proto::DataType};

use super::ending::{Ending, ending};
use super::flow::reads;
use super::input::{self, Element, Input, describe_dims, type_name};
use super::layers::{Layers, MOST_COORDINATES, Selection};
use super::notice::{Code, Notice};
use super::outputs::{self, is_byte};
use super::pixels::{Pixels, may_take_floats, take_floats};
use super::proto::{is_op, node, opset};
use super::{external, first, inline, refusals};
use crate::checkpoint::native::Native;
use crate::checkpoint::{Metadata, check_hash, file};
use crate::error::{Error, Result};
use crate::preprocess::Scaling;
use crate::probe::{Layout, Shape};

/// A parsed ONNX file with everything decided that does not depend on the engine.
#[derive(Debug)]
pub(super) struct Graph {
    /// The checkpoint, as records name it.
    pub path: PathBuf,
    /// The ONNX file: another one only where it was exported from the checkpoint.
    pub file: PathBuf,
    /// The file as it lies on disk, unpacked.
    pub bytes: Vec<u8>,
    pub proto: ModelProto,
    /// Whether `proto` is not what the bytes say any more.
    is_rewritten: bool,
    /// Size of the file and of the external data it names, in bytes.
    pub total_bytes: u64,
    /// Hash of the file, and of its external data where it has any.
    pub sha256: String,
    /// The files that hold it, as they were before they were read.
    pub external_data: BTreeMap<PathBuf, fs::Metadata>,
    pub input: String,
    /// What the input's numbers are.
    pub element: Element,
    /// How bytes of an image go with these, where the file's input is of bytes.
    pub pixels: Option<Pixels>,
    /// The input's type as the file declares it.
    declared: String,
    /// Declared sizes of the input with the batch first, `None` where symbolic; `None` altogether where not declared.
    dims: Option<Vec<Option<usize>>>,
    /// The tensor to measure: a graph output, or what stands before its end.
    pub output: String,
    /// The graph output that tells the class, where what is measured does not.
    pub answer: Option<String>,
    /// Whether each measured number is squashed by itself behind what is measured: several classes may be right at once.
    pub is_independent: bool,
    /// The ONNX code of the type of the graph output's numbers.
    output_type: i32,
    /// Tensors before it that are measured too.
    pub layers: Layers,
    /// Every output, as people read it.
    pub outputs: Vec<String>,
    pub metadata: Metadata,
    pub notices: Vec<Notice>,
}

impl Graph {
    /// Reads the file and chooses the output.
    pub fn read(path: &Path, output: Option<&str>) -> Result<Self> {
        Self::of(path, file::read(path)?, output)
    }

    /// As [`Graph::read`], of the file that was exported from a checkpoint: it goes by that one's name and hash.
    pub fn exported(file: &Path, native: &Native, output: Option<&str>) -> Result<Self> {
        let graph = file::read(file).and_then(|bytes| Self::within(file, &native.path, bytes, output));
        let graph = graph.map_err(|error| match error {
            // Nobody writes it any more.
            Error::Unfinished { expected, found, .. } | Error::Model { expected, found, .. } => {
                Error::model(&native.path, expected, format!("what its export wrote: {found}"))
            }
            error => error,
        })?;
        Ok(Self { sha256: native.sha256.clone(), ..graph })
    }

    /// The graph in `bytes`, which lie at `path`.
    pub fn of(path: &Path, bytes: Vec<u8>, output: Option<&str>) -> Result<Self> {
        let graph = Self::within(path, path, bytes, output)?;
        check_hash(path, &graph.sha256).map(|()| graph)
    }

    fn within(file: &Path, path: &Path, bytes: Vec<u8>, output: Option<&str>) -> Result<Self> {
        let mut proto = parse(path, &bytes)?;
        let mut graph = proto.graph.take().ok_or_else(|| not_onnx(path, "a file without a graph"))?;
        let properties = proto.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
        let (metadata, doubts) = Metadata::read(path, properties);
        let mut notices: Vec<_> = doubts.into_iter().map(|doubt| Notice::new(Code::Metadata, doubt)).collect();

        let (image, code) = input::single(path, &graph)?;
        let (input, dims) = (image.name.clone(), input::dims(image));
        let expected = "an input of floats, uint8 or int8, or of integers that are cast to floats";
        let refused = || Error::model(path, expected, input::describe(image));
        let are_whole = may_take_floats(&graph, &input, code);
        let element = Element::of(code).or_else(|| are_whole.then_some(Element::Float32)).ok_or_else(refused)?;
        let (chosen, several) = outputs::choose(path, &graph, output)?;
        notices.extend(several);
        let (chosen, chosen_type) = (chosen.clone(), input::tensor_type(chosen).map_or(0, |tensor| tensor.elem_type));
        let outputs = graph.output.iter().map(input::describe).collect();

        let is_inlined = inline::inline_reading(&mut graph.node, &input, &proto.functions);
        let pixels = are_whole.then(|| take_floats(&mut graph, &input, code));
        notices.extend(pixels.map(|(_, exact)| of_bytes(&type_name(code), exact)));
        notices.extend((pixels.is_none() && first::rounds(&graph, &input)).then(rounded));
        let (found, is_searched) = ending(&mut graph, &proto.functions, &chosen.name);
        notices.extend(found.as_ref().map(|ending| before_end(&chosen.name, ending)));
        let keeps_classes = found.as_ref().is_some_and(|ending| ending.keeps_classes);
        // Where another tensor tells the class, that one tells this too.
        let is_independent = keeps_classes && found.as_ref().is_some_and(|ending| ending.is_independent);
        let is_coded = is_byte(chosen_type) && !keeps_classes;
        let given = if is_coded { dequantised(&mut graph, &chosen) } else { chosen.name.clone() };
        let (measured, answer) = match found {
            Some(Ending { before, .. }) => (before, (!keeps_classes).then_some(given)),
            None => (given, None),
        };
        proto.graph = Some(graph);
        let dropped = refusals::take_out_dropout(&mut proto);
        notices.extend((!dropped.is_empty()).then(|| without_dropout(&dropped)));
        let is_rewritten = is_inlined || is_searched || pixels.is_some() || is_byte(chosen_type) || !dropped.is_empty();
        if is_rewritten {
            let functions = std::mem::take(&mut proto.functions);
            inline::import(&mut proto, &functions);
            proto.functions = functions;
        }

        let external_data = external::files(file, &proto)?;
        let (sha256, total_bytes) = external::hashed(path, &bytes, &external_data)?;
        let is_taken_in = external::take_in(file, &mut proto, &external_data)?;
        let graph = Self {
            path: path.to_owned(),
            file: file.to_owned(),
            total_bytes,
            sha256,
            external_data,
            input,
            element,
            pixels: pixels.map(|(pixels, _)| pixels),
            declared: type_name(code),
            dims,
            output: measured,
            answer,
            is_independent,
            output_type: if is_byte(chosen_type) { DataType::Float as i32 } else { chosen_type },
            layers: Layers::default(),
            outputs,
            metadata,
            notices,
            bytes,
            proto,
            is_rewritten: is_rewritten || is_taken_in,
        };
        refusals::of_training(path, &graph.reaching(), opset(&graph.proto))?;
        Ok(graph)
    }

    /// The nodes that what is measured is made of.
    pub fn reaching(&self) -> Vec<&pb::NodeProto> {
        let outputs: Vec<&str> = [&self.output].into_iter().chain(&self.answer).map(String::as_str).collect();
        refusals::reaching(&self.proto, &outputs)
    }

    /// Rows and columns of one image, where the input declares three axes of it and one is that of the channels.
    pub fn extent(&self) -> Option<(usize, usize)> {
        match self.dims.as_deref()? {
            [_, Some(1 | 3), Some(height), Some(width)] | [_, Some(height), Some(width), Some(1 | 3)] => {
                Some((*height, *width))
            }
            _ => None,
        }
    }

    /// Whether images of `shape` fit in some way.
    pub fn fits(&self, shape: Shape) -> Result<()> {
        if input::ways(self.dims.as_deref(), shape).is_empty() {
            let expected = describe_dims(self.dims.as_deref()).trim().to_owned();
            return Err(Error::mismatch(&self.path, expected, shape.to_string()));
        }
        Ok(())
    }

    /// How images of `shape` enter the network, in this order of axes if one is forced.
    pub fn input_of(&self, shape: Shape, forced: Option<Layout>) -> Result<Input> {
        let implied =
            self.proto.graph.as_ref().map_or_else(Default::default, |graph| first::implied(graph, &self.input, shape));
        input::chosen((&self.path, &self.input_text()), self.dims.as_deref(), shape, forced, implied)
    }

    /// How the network scales and shifts its images itself.
    pub fn scaling(&self) -> Option<Scaling> {
        first::scaling(self.proto.graph.as_ref()?, &self.input)
    }

    /// The input, as people read it: `images float32[?, 3, 32, 32]`.
    pub fn input_text(&self) -> String {
        format!("{} {}{}", self.input, self.declared, describe_dims(self.dims.as_deref()))
    }

    /// Chooses the layers that are measured too, of at most `numbers` coordinates together.
    pub fn select(&mut self, selection: &Selection, numbers: usize) -> Result<()> {
        self.layers = selection.of(&self.path, &self.proto, (&self.input, &self.output), numbers)?;
        let Layers { tensors, coordinates, .. } = &self.layers;
        if *coordinates < MOST_COORDINATES {
            let count = tensors.len();
            let text = format!("{count} layers on so many images and draws: at most {coordinates} numbers of each");
            self.notices.push(Notice::new(Code::Layers, text));
        }
        Ok(())
    }

    /// The kind of node that makes a tensor.
    pub fn op_of(&self, name: &str) -> &str {
        let nodes = self.proto.graph.iter().flat_map(|graph| &graph.node);
        nodes
            .filter(|node| node.output.iter().any(|made| made == name))
            .map(|node| node.op_type.as_str())
            .next()
            .unwrap_or_default()
    }

    /// The tensors to measure that are no outputs of the graph yet.
    fn undeclared(&self) -> impl Iterator<Item = ValueInfoProto> {
        let is_declared = |name: &str| self.declared_outputs().any(|output| output.name == name);
        self.measured().into_iter().filter(move |tensor| !is_declared(&tensor.name))
    }

    fn declared_outputs(&self) -> impl Iterator<Item = &ValueInfoProto> {
        self.proto.graph.iter().flat_map(|graph| &graph.output)
    }

    /// Whether the file gives all tensors to measure as it is.
    pub fn is_ready(&self) -> bool {
        !self.is_rewritten && self.undeclared().next().is_none()
    }

    /// The file's bytes with all tensors to measure among the outputs.
    ///
    /// Protobuf messages merge when concatenated, so a model holding only more outputs is appended.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let graph = GraphProto { output: self.undeclared().collect(), ..GraphProto::default() };
        let mut bytes = std::mem::take(&mut self.bytes);
        if self.is_rewritten {
            bytes = self.proto.encode_to_vec();
        }
        if !graph.output.is_empty() {
            bytes.extend(ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec());
        }
        bytes
    }

    /// The parsed model with the tensors to measure as its only outputs, and no nodes but those that make them.
    pub fn into_proto(mut self) -> ModelProto {
        let measured = self.measured();
        if let Some(graph) = &mut self.proto.graph {
            let kept = needed(&graph.node, measured.iter().map(|output| output.name.as_str()));
            let mut kept = kept.into_iter();
            graph.node.retain(|_| kept.next().unwrap_or(false));
            graph.output = measured;
        }
        self.proto
    }

    /// The tensors to measure: layers, the output, the one that tells the class.
    fn measured(&self) -> Vec<ValueInfoProto> {
        let tensor = pb::type_proto::Tensor { elem_type: self.output_type, shape: None };
        let kind = pb::TypeProto { value: Some(Value::TensorType(tensor)), ..pb::TypeProto::default() };
        let is_declared = self.declared_outputs().any(|output| output.name == self.output);
        // Engines find the types of the others by themselves.
        let layers = self.layers.tensors.iter().map(|layer| (&layer.name, None));
        let info = |(name, kind): (&String, _)| ValueInfoProto {
            name: name.clone(),
            r#type: kind,
            ..ValueInfoProto::default()
        };
        let answer = self.answer.iter().map(|name| (name, Some(kind.clone())));
        layers.chain([(&self.output, is_declared.then(|| kind.clone()))]).chain(answer).map(info).collect()
    }
}

/// Metadata of the checkpoint at `path` without loading it into an engine.
///
/// # Errors
/// `Io` if the file cannot be read, `Model` if it is not ONNX.
pub fn read_metadata(path: &Path) -> Result<Metadata> {
    let proto = parse(path, &file::read(path)?)?;
    Ok(Metadata::read(path, proto.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()))).0)
}

/// The files in which the network at `path` keeps weights beside it, whether they are there or not.
///
/// # Errors
/// As [`read_metadata`].
pub fn weights_beside(path: &Path) -> Result<BTreeSet<PathBuf>> {
    Ok(external::named(path, &parse(path, &file::read(path)?)?))
}

/// The hash that [`Graph::read`] gives of the file at `path`, whatever its graph is.
pub(super) fn content(path: &Path) -> Result<String> {
    let bytes = file::read(path)?;
    let external_data = external::files(path, &parse(path, &bytes)?)?;
    Ok(external::hashed(path, &bytes, &external_data)?.0)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<ModelProto> {
    ModelProto::decode(bytes).map_err(|error| {
        let reason = error.to_string();
        let found =
            format!("{} bytes that are truncated or something else ({reason}); write or fetch it again", bytes.len());
        not_onnx(path, &found)
    })
}

fn not_onnx(path: &Path, found: &str) -> Error {
    unfinished(path, "an ONNX network", found)
}

fn unfinished(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Unfinished { path: path.to_owned(), expected: expected.into(), found: found.into() }
}

/// Of each node, whether these outputs are made of what it makes.
fn needed<'a>(nodes: &'a [pb::NodeProto], outputs: impl Iterator<Item = &'a str>) -> Vec<bool> {
    let made =
        nodes.iter().enumerate().flat_map(|(place, node)| node.output.iter().map(move |name| (name.as_str(), place)));
    let making: HashMap<&str, usize> = made.collect();
    let (mut needed, mut waiting) = (vec![false; nodes.len()], outputs.collect::<Vec<_>>());
    while let Some(name) = waiting.pop() {
        if let Some(place) = making.get(name)
            && !std::mem::replace(&mut needed[*place], true)
        {
            waiting.extend(reads(&nodes[*place]));
        }
    }
    needed
}

/// The tensor that `output` of 8 bits stands for, made here.
fn dequantised(graph: &mut GraphProto, output: &ValueInfoProto) -> String {
    let name = format!("{} dequantized", output.name);
    let quantises = |node: &&pb::NodeProto| is_op(node, "QuantizeLinear");
    let steps = outputs::chain(graph, &output.name).find(quantises).map(|node| node.input[1..].to_vec());
    let made = match steps {
        Some(steps) => {
            let inputs: Vec<&str> = [&output.name].into_iter().chain(&steps).map(String::as_str).collect();
            node("DequantizeLinear", &inputs, &name, Vec::new())
        }
        // R_f is the same whatever a step is worth.
        None => node("Cast", &[&output.name], &name, vec![super::onnx::number("to", DataType::Float as i64)]),
    };
    graph.node.push(made);
    name
}

fn before_end(output: &str, Ending { before, op, squashes, keeps_classes, .. }: &Ending) -> Notice {
    let what = match op.as_str() {
        "Softmax" | "LogSoftmax" => "is a softmax".to_owned(),
        _ if *squashes => format!("is a {op}"),
        _ => format!("ends in {op}"),
    };
    let classes = if *keeps_classes { String::new() } else { format!("; classes are those of {output}") };
    Notice::new(Code::MeasuredBefore, format!("output {output} {what}: measured before it, at {before}{classes}"))
}

fn of_bytes(kind: &str, exact: bool) -> Notice {
    let text = if exact {
        format!("the network takes {kind}: images keep their fractions and their range, the conversion was taken out")
    } else {
        format!(
            "the network computes with {kind}: perturbed images are rounded and cut off to what it takes; where many pixels are \
             black or white, noise loses more by this than a deformation does, and R_f is higher than with floats"
        )
    };
    Notice::new(Code::IntegerInput, text)
}

fn rounded() -> Notice {
    let text = "the network rounds images to 8 bits and cuts them off at the values that it was calibrated on: noise loses other parts by \
                this than a deformation does, so compare its R_f with that of networks that round alike only";
    Notice::new(Code::IntegerInput, text)
}

fn without_dropout(names: &[String]) -> Notice {
    let first = names[0].escape_debug();
    let text = format!(
        "dropout in training mode was taken out ({} nodes, {first} first): the file was exported without model.eval()",
        names.len()
    );
    Notice::new(Code::DropoutTakenOut, text)
}
