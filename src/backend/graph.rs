//! What an ONNX file says of its network: the input, the output to measure, the weights it keeps elsewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{self, GraphProto, ModelProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto};

use super::flow::before_softmax;
use super::layers::{Layers, MOST_COORDINATES, Selection};
use crate::checkpoint::{Metadata, file};
use crate::error::{Error, Result};
use crate::probe::{Layout, Shape};

/// A parsed ONNX file with everything decided that does not depend on the engine.
#[derive(Debug)]
pub(super) struct Graph {
    pub path: PathBuf,
    /// The file as it lies on disk, unpacked.
    pub bytes: Vec<u8>,
    pub proto: ModelProto,
    /// Size of the file and of the external data it names, in bytes.
    pub total_bytes: u64,
    /// Hash of the file, and of its external data where it has any.
    pub sha256: String,
    pub external_data: BTreeSet<PathBuf>,
    pub input: String,
    /// What the input's numbers are.
    pub element: Element,
    /// Declared sizes of the input with the batch first, `None` where symbolic; `None` altogether where not declared.
    dims: Option<Vec<Option<usize>>>,
    /// The tensor to measure: a graph output, or what enters its softmax.
    pub output: String,
    /// The ONNX code of its numbers' type.
    output_type: i32,
    /// Tensors before it that are measured too.
    pub layers: Layers,
    /// Every output, as people read it.
    pub outputs: Vec<String>,
    pub metadata: Metadata,
    pub warnings: Vec<String>,
}

/// Types of numbers that networks take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Element {
    Float32,
    Float16,
    Bfloat16,
    Float64,
}

impl Element {
    fn of(code: i32) -> Option<Self> {
        match DataType::try_from(code).ok()? {
            DataType::Float => Some(Self::Float32),
            DataType::Float16 => Some(Self::Float16),
            DataType::Bfloat16 => Some(Self::Bfloat16),
            DataType::Double => Some(Self::Float64),
            _ => None,
        }
    }
}

/// How images enter a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    /// Sizes of one image's axes as the network takes them: 3 of them, or fewer where it wants them flat.
    pub axes: Vec<usize>,
    pub layout: Layout,
    /// The batch size the network insists on, if it does.
    pub fixed_batch: Option<usize>,
}

impl Graph {
    /// Reads the file and chooses the output.
    pub fn read(path: &Path, output: Option<&str>) -> Result<Self> {
        Self::of(path, file::read(path)?, output)
    }

    /// The graph in `bytes`, which lie at `path`.
    pub fn of(path: &Path, bytes: Vec<u8>, output: Option<&str>) -> Result<Self> {
        let proto = parse(path, &bytes)?;
        let graph = proto.graph.as_ref().ok_or_else(|| not_onnx(path, "a file without a graph"))?;

        let mut hash = Sha256::new_with_prefix(&bytes);
        let mut total_bytes = bytes.len() as u64;
        let external = external_data(path, graph)?;
        for file in &external {
            total_bytes += hash_file(file, &mut hash)?;
        }

        let (input, element) = single_input(path, graph)?;
        let chosen = choose_output(path, graph, output)?;
        let mut warnings = Vec::new();
        let measured = before_softmax(graph, &chosen.name);
        if measured != chosen.name {
            warnings.push(format!("output {} is a softmax: measured before it, at {measured}", chosen.name));
        }
        let properties = proto.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()));
        let (metadata, doubts) = Metadata::read(path, properties);
        warnings.extend(doubts);

        Ok(Self {
            path: path.to_owned(),
            total_bytes,
            sha256: hex::encode(hash.finalize()),
            external_data: external,
            input: input.name.clone(),
            element,
            dims: dims(input),
            output: measured,
            output_type: tensor_type(chosen).map_or(DataType::Float as i32, |tensor| tensor.elem_type),
            layers: Layers::default(),
            outputs: graph.output.iter().map(describe).collect(),
            metadata,
            warnings,
            bytes,
            proto,
        })
    }

    /// How images of `shape` enter the network, in this order of axes if one is forced.
    pub fn input_of(&self, shape: Shape, forced: Option<Layout>) -> Result<Input> {
        let Shape { channels, height, width } = shape;
        let first = (Layout::Nchw, [channels, height, width]);
        let last = (Layout::Nhwc, [height, width, channels]);
        let images = |(layout, axes): (Layout, [usize; 3])| (layout, axes.to_vec());
        let flat = |(layout, _): (Layout, [usize; 3])| (layout, vec![shape.len()]);
        let orders = [first, last].into_iter().filter(|(layout, _)| forced.is_none_or(|forced| forced == *layout));
        let ways: Vec<(Layout, Vec<usize>)> = match self.dims.as_deref() {
            None | Some([_, _, _, _]) => orders.map(images).collect(),
            Some([_, _]) => orders.map(flat).collect(),
            // One channel, without an axis of its own.
            Some([_, _, _]) if channels == 1 => vec![(Layout::Nchw, vec![height, width])],
            Some(_) => Vec::new(),
        };
        let sizes = self.dims.as_deref().map_or(&[][..], |dims| &dims[1.min(dims.len())..]);
        let fits = |axes: &[usize]| sizes.iter().zip(axes).all(|(size, axis)| size.is_none_or(|size| size == *axis));
        let found = ways.into_iter().find(|(_, axes)| fits(axes));
        let (layout, axes) = found.ok_or_else(|| Error::Mismatch {
            model: self.path.clone(),
            expected: describe_dims(self.dims.as_deref()).trim().to_owned(),
            found: shape.to_string(),
        })?;
        Ok(Input { axes, layout, fixed_batch: self.dims.as_deref().and_then(|dims| dims.first().copied()).flatten() })
    }

    /// The input, as people read it: `images float32[?, 3, 32, 32]`.
    pub fn input_text(&self) -> String {
        format!("{} {}{}", self.input, self.element, describe_dims(self.dims.as_deref()))
    }

    /// Chooses the layers that are measured too, of at most `numbers` coordinates together.
    pub fn select(&mut self, selection: &Selection, numbers: usize) -> Result<()> {
        self.layers = selection.of(&self.path, &self.proto, (&self.input, &self.output), numbers)?;
        let Layers { tensors, coordinates, .. } = &self.layers;
        if *coordinates < MOST_COORDINATES {
            let count = tensors.len();
            self.warnings
                .push(format!("{count} layers on so many images and draws: at most {coordinates} numbers of each"));
        }
        Ok(())
    }

    /// The kind of node that makes the tensor to measure.
    pub fn output_op(&self) -> &str {
        let nodes = self.proto.graph.iter().flat_map(|graph| &graph.node);
        nodes
            .filter(|node| node.output.contains(&self.output))
            .map(|node| node.op_type.as_str())
            .next()
            .unwrap_or_default()
    }

    /// The tensors to measure that are no outputs of the graph yet.
    fn undeclared(&self) -> impl Iterator<Item = ValueInfoProto> {
        let declared =
            |name: &str| self.proto.graph.iter().flat_map(|graph| &graph.output).any(|output| output.name == name);
        self.measured().into_iter().filter(move |tensor| !declared(&tensor.name))
    }

    /// Whether all tensors to measure are outputs of the graph already.
    pub fn is_ready(&self) -> bool {
        self.undeclared().next().is_none()
    }

    /// The file's bytes with all tensors to measure among the outputs.
    ///
    /// Protobuf messages merge when concatenated, so a model holding only more outputs is appended.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        let graph = GraphProto { output: self.undeclared().collect(), ..GraphProto::default() };
        if !graph.output.is_empty() {
            bytes.extend(ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec());
        }
        bytes
    }

    /// The parsed model with the tensors to measure as its only outputs.
    pub fn into_proto(mut self) -> ModelProto {
        let measured = self.measured();
        if let Some(graph) = &mut self.proto.graph {
            graph.output = measured;
        }
        self.proto
    }

    /// The tensors to measure, the output last.
    fn measured(&self) -> Vec<ValueInfoProto> {
        let tensor = pb::type_proto::Tensor { elem_type: self.output_type, shape: None };
        let kind = pb::TypeProto { value: Some(Value::TensorType(tensor)), ..pb::TypeProto::default() };
        // Engines find the types of the others by themselves.
        let layers = self.layers.tensors.iter().map(|layer| (&layer.name, None));
        let info = |(name, kind): (&String, _)| ValueInfoProto {
            name: name.clone(),
            r#type: kind,
            ..ValueInfoProto::default()
        };
        layers.chain([(&self.output, Some(kind))]).map(info).collect()
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

fn parse(path: &Path, bytes: &[u8]) -> Result<ModelProto> {
    ModelProto::decode(bytes).map_err(|error| {
        let reason = error.to_string();
        not_onnx(path, &format!("{} bytes that are truncated or something else ({reason})", bytes.len()))
    })
}

fn not_onnx(path: &Path, found: &str) -> Error {
    unfinished(path, "an ONNX network", found)
}

fn unfinished(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::Unfinished { path: path.to_owned(), expected: expected.into(), found: found.into() }
}

fn hash_file(path: &Path, hash: &mut Sha256) -> Result<u64> {
    let mut file = fs::File::open(path).map_err(Error::io(path, "open"))?;
    std::io::copy(&mut file, &mut HashWriter(hash)).map_err(Error::io(path, "read"))
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The files that hold the weights of `graph`, each checked to be there and long enough.
fn external_data(path: &Path, graph: &GraphProto) -> Result<BTreeSet<PathBuf>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = BTreeSet::new();
    for tensor in &graph.initializer {
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|e| e.value.as_str());
        let Some(location) = entry("location") else { continue };
        let inside =
            Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(Error::model(path, "external data beside the file", format!("weights at {location}")));
        }
        let file = folder.join(location);
        let number = |key: &str| entry(key).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        let needed = number("offset").saturating_add(number("length"));
        match fs::metadata(&file) {
            Ok(metadata) if metadata.len() >= needed => files.insert(file),
            Ok(metadata) => {
                let found = format!("{} bytes", metadata.len());
                return Err(unfinished(path, format!("at least {needed} bytes of weights in {location}"), found));
            }
            Err(error) => {
                return Err(unfinished(path, format!("its weights in {location} beside it"), error.to_string()));
            }
        };
    }
    Ok(files)
}

fn single_input<'a>(path: &Path, graph: &'a GraphProto) -> Result<(&'a ValueInfoProto, Element)> {
    // Before IR version 4 the weights stood among the inputs.
    let weights: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|input| !weights.contains(input.name.as_str())).collect();
    let [input] = inputs[..] else {
        let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(Error::model(path, "one image input", format!("{} inputs ({})", names.len(), names.join(", "))));
    };
    let element = tensor_type(input).and_then(|tensor| Element::of(tensor.elem_type));
    Ok((input, element.ok_or_else(|| Error::model(path, "an input of floats", describe(input)))?))
}

fn tensor_type(value: &ValueInfoProto) -> Option<&pb::type_proto::Tensor> {
    let Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    Some(tensor)
}

/// Declared sizes, `None` where symbolic; `None` altogether where no shape is declared.
fn dims(value: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    use tensor_shape_proto::dimension::Value::DimValue;
    let shape = tensor_type(value)?.shape.as_ref()?;
    Some(
        shape
            .dim
            .iter()
            .map(|dim| match dim.value {
                Some(DimValue(size)) if size > 0 => usize::try_from(size).ok(),
                _ => None,
            })
            .collect(),
    )
}

/// A value as the user reads it: `logits float32[?, 10]`.
fn describe(value: &ValueInfoProto) -> String {
    let Some(tensor) = tensor_type(value) else { return format!("{} (a sequence or map, no tensor)", value.name) };
    let other = || DataType::try_from(tensor.elem_type).map_or("unknown", |kind| kind.as_str_name());
    let kind = Element::of(tensor.elem_type).map_or_else(|| other().to_ascii_lowercase(), |kind| kind.to_string());
    format!("{} {kind}{}", value.name, describe_dims(dims(value).as_deref()))
}

fn describe_dims(dims: Option<&[Option<usize>]>) -> String {
    let Some(dims) = dims else { return " of undeclared shape".to_owned() };
    let sizes: Vec<_> = dims.iter().map(|dim| dim.map_or("?".to_owned(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(", "))
}

/// The output named by the user, else the first of floats that may be class logits, else the first of floats.
fn choose_output<'a>(path: &Path, graph: &'a GraphProto, name: Option<&str>) -> Result<&'a ValueInfoProto> {
    let is_float = |output: &ValueInfoProto| tensor_type(output).is_some_and(|t| Element::of(t.elem_type).is_some());
    let all = || graph.output.iter().map(describe).collect::<Vec<_>>().join("; ");
    if let Some(name) = name {
        return match graph.output.iter().find(|output| output.name == name) {
            Some(output) if is_float(output) => Ok(output),
            _ => Err(Error::model(path, format!("a float output named {name}"), format!("outputs {}", all()))),
        };
    }
    let floats = || graph.output.iter().filter(|output| is_float(output));
    let has_rank = |output: &&ValueInfoProto, rank| dims(output).is_some_and(|dims| dims.len() == rank);
    let is_one_pixel = |output: &&ValueInfoProto| {
        dims(output)
            .is_some_and(|dims| dims.len() == 4 && dims[1..].iter().filter(|size| **size == Some(1)).count() >= 2)
    };
    floats()
        .find(|output| has_rank(output, 2))
        .or_else(|| floats().find(|output| dims(output).is_none()))
        .or_else(|| floats().find(is_one_pixel))
        .or_else(|| floats().next())
        .ok_or_else(|| {
            let expected = "an output of floats (scikit-learn: export with zipmap=False)";
            Error::model(path, expected, format!("outputs {}", all()))
        })
}
