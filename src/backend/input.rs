//! How images enter a network: which input, of what numbers, in what order of axes.

use std::collections::HashSet;
use std::path::Path;

use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{GraphProto, ValueInfoProto, tensor_proto::DataType, tensor_shape_proto};

use super::first::Implied;
use crate::error::{Error, Result};
use crate::probe::{Layout, Shape};

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
    pub fn of(code: i32) -> Option<Self> {
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
    /// Sizes of one image's axes as the network takes them.
    pub axes: Vec<usize>,
    pub layout: Layout,
    /// The batch size the network insists on, if it does.
    pub fixed_batch: Option<usize>,
    /// Whether the input has an axis for the batch.
    pub has_batch: bool,
}

/// The one input that has no default, and its type's code.
///
/// # Errors
/// `Model` for none, several, or one that is no tensor.
pub(super) fn single<'a>(path: &Path, graph: &'a GraphProto) -> Result<(&'a ValueInfoProto, i32)> {
    // Before IR version 4 the weights stood among the inputs; since then those that do are defaults.
    let weights: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|input| !weights.contains(input.name.as_str())).collect();
    let [input] = inputs[..] else {
        let all: Vec<_> = inputs.iter().map(|input| describe(input)).collect();
        let expected =
            "one image input (export the others as constants, or give them defaults: initializers of their names)";
        return Err(Error::model(path, expected, format!("{} inputs ({})", all.len(), all.join(", "))));
    };
    let tensor = tensor_type(input);
    Ok((input, tensor.ok_or_else(|| Error::model(path, "an input of floats or bytes", describe(input)))?.elem_type))
}

/// The ways in which images of `shape` fit an input of these sizes, the likeliest first.
pub(super) fn ways(dims: Option<&[Option<usize>]>, shape: Shape) -> Vec<Input> {
    let Shape { channels, height, width } = shape;
    let orders = [(Layout::Nchw, [channels, height, width]), (Layout::Nhwc, [height, width, channels])];
    let Some(dims) = dims else {
        let whole =
            orders.map(|(layout, axes)| Input { axes: axes.to_vec(), layout, fixed_batch: None, has_batch: true });
        let flat =
            orders.map(|(layout, _)| Input { axes: vec![shape.len()], layout, fixed_batch: None, has_batch: true });
        return whole.into_iter().chain(flat).collect();
    };
    let mut ways: Vec<Input> = Vec::new();
    for has_batch in [true, false] {
        let Some(sizes) = dims.get(usize::from(has_batch)..) else { continue };
        if !has_batch && sizes.iter().any(Option::is_none) {
            continue;
        }
        let fixed_batch = if has_batch { dims[0] } else { Some(1) };
        for (layout, axes) in orders {
            for axes in groupings(axes, sizes) {
                let Some(axes) = fitted(sizes, &axes) else { continue };
                if !ways.iter().any(|way| way.axes == axes && way.layout == layout && way.has_batch) {
                    ways.push(Input { axes, layout, fixed_batch, has_batch });
                }
            }
        }
        if !ways.is_empty() {
            break;
        }
    }
    // An axis for the channels, even for one, tells more than an axis that is left over.
    let is_whole = |way: &Input| orders.iter().any(|(layout, axes)| way.layout == *layout && way.axes == *axes);
    ways.sort_by_key(|way| !is_whole(way));
    ways
}

/// The axes `[a, b, c]` of an image, neighbours taken together: as they lie in memory, in an input of these sizes.
fn groupings([a, b, c]: [usize; 3], sizes: &[Option<usize>]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![a, b, c]];
    // One channel needs no axis of its own.
    if a == 1 {
        all.push(vec![b, c]);
    }
    if c == 1 {
        all.push(vec![a, b]);
    }
    all.push(vec![a * b * c]);
    if sizes.iter().all(Option::is_some) {
        all.extend([vec![a * b, c], vec![a, b * c]]);
    }
    all
}

/// These axes among the sizes of an input, which may have axes of size 1 besides.
fn fitted(sizes: &[Option<usize>], axes: &[usize]) -> Option<Vec<usize>> {
    match (sizes, axes) {
        ([], []) => Some(Vec::new()),
        ([size, rest @ ..], [axis, others @ ..])
            if rest.len() >= others.len()
                && size.is_none_or(|size| size == *axis)
                && fitted(rest, others).is_some() =>
        {
            Some([*axis].into_iter().chain(fitted(rest, others)?).collect())
        }
        ([Some(1), rest @ ..], axes) if rest.len() >= axes.len() => {
            Some([1].into_iter().chain(fitted(rest, axes)?).collect())
        }
        _ => None,
    }
}

/// The way that is asked for, or that the first operators imply, or the only one; else the likeliest of those whose order of axes
/// makes no difference to the sizes, and the user is told.
///
/// # Errors
/// `Mismatch` where images do not fit, `Model` where nothing tells the order of the axes.
pub(super) fn chosen(
    (path, text): (&Path, &str),
    dims: Option<&[Option<usize>]>,
    shape: Shape,
    forced: Option<Layout>,
    implied: Implied,
) -> Result<Input> {
    let ways = ways(dims, shape);
    let fits = |way: &&Input| forced.is_none_or(|layout| way.layout == layout);
    let Some(likeliest) = ways.iter().find(fits) else {
        let expected = describe_dims(dims).trim().to_owned();
        return Err(Error::mismatch(path, expected, shape.to_string()));
    };
    let rank = |way: &&Input| implied.rank.is_none_or(|rank| dims.is_some() || way.axes.len() + 1 == rank);
    let layout = forced.or(implied.layout);
    let told = |way: &&Input| rank(way) && layout.is_none_or(|layout| way.layout == layout);
    let found = ways.iter().filter(fits).find(told).unwrap_or(likeliest);
    let is_open =
        dims.is_none_or(|dims| dims.iter().skip(1).any(Option::is_none)) && (implied.rank.is_none() || dims.is_some());
    let others = || ways.iter().any(|way| way.axes != found.axes && way.axes.len() == found.axes.len());
    if layout.is_none() && is_open && (dims.is_none() || others()) {
        return Err(Error::model(
            path,
            "an input whose axes are told by their sizes or by the first operator: name their order, --input-layout nchw or nhwc",
            text,
        ));
    }
    Ok(found.clone())
}

pub(super) fn tensor_type(value: &ValueInfoProto) -> Option<&Tensor> {
    let Value::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    Some(tensor)
}

/// Declared sizes, `None` where symbolic; `None` altogether where no shape is declared.
pub(super) fn dims(value: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
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
pub(super) fn describe(value: &ValueInfoProto) -> String {
    let Some(tensor) = tensor_type(value) else { return format!("{} (a sequence or map, no tensor)", value.name) };
    format!("{} {}{}", value.name, type_name(tensor.elem_type), describe_dims(dims(value).as_deref()))
}

pub(super) fn type_name(code: i32) -> String {
    let other = || DataType::try_from(code).map_or("unknown", |kind| kind.as_str_name());
    Element::of(code).map_or_else(|| other().to_ascii_lowercase(), |kind| kind.to_string())
}

pub(super) fn describe_dims(dims: Option<&[Option<usize>]>) -> String {
    let Some(dims) = dims else { return " of undeclared shape".to_owned() };
    let sizes: Vec<_> = dims.iter().map(|dim| dim.map_or("?".to_owned(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Shape = Shape { channels: 1, height: 28, width: 28 };
    const COLOUR: Shape = Shape { channels: 3, height: 32, width: 32 };

    fn chosen(dims: Option<&[usize]>, shape: Shape, forced: Option<Layout>, implied: Implied) -> Result<Input> {
        let dims: Option<Vec<_>> = dims.map(|dims| dims.iter().map(|size| (*size > 0).then_some(*size)).collect());
        super::chosen(("x.onnx".as_ref(), "x float32[...]"), dims.as_deref(), shape, forced, implied)
    }

    #[test]
    fn images_fit_inputs_of_odd_shapes() {
        use Layout::{Nchw, Nhwc};
        // 0 is a size that the file does not tell.
        for (dims, shape, axes, layout, fixed_batch, has_batch) in [
            (&[0, 1, 28, 28][..], GREY, &[1, 28, 28][..], Nchw, None, true),
            (&[0, 28, 28, 1], GREY, &[28, 28, 1], Nhwc, None, true),
            (&[0, 28, 28], GREY, &[28, 28], Nchw, None, true),
            (&[1, 784, 1], GREY, &[784, 1], Nchw, Some(1), true),
            (&[0, 1, 784], GREY, &[1, 784], Nchw, None, true),
            (&[0, 1, 1, 28, 28], GREY, &[1, 1, 28, 28], Nchw, None, true),
            (&[0, 784, 1, 1], GREY, &[784, 1, 1], Nchw, None, true),
            (&[784], GREY, &[784], Nchw, Some(1), false),
            (&[784, 1], GREY, &[784, 1], Nchw, Some(1), false),
            (&[28, 28], GREY, &[28, 28], Nchw, Some(1), false),
            (&[3, 32, 32], COLOUR, &[3, 32, 32], Nchw, Some(1), false),
            (&[32, 32, 3], COLOUR, &[32, 32, 3], Nhwc, Some(1), false),
            (&[8, 3, 32, 32], COLOUR, &[3, 32, 32], Nchw, Some(8), true),
            (&[0, 0, 0, 3], COLOUR, &[32, 32, 3], Nhwc, None, true),
            (&[0, 3, 1024], COLOUR, &[3, 1024], Nchw, None, true),
            (&[0, 1024, 3], COLOUR, &[1024, 3], Nhwc, None, true),
            (&[0, 32, 96], COLOUR, &[32, 96], Nhwc, None, true),
            (&[0, 3072], COLOUR, &[3072], Nchw, None, true),
        ] {
            let found = chosen(Some(dims), shape, None, Implied::default()).expect("fits");
            assert_eq!(found, Input { axes: axes.to_vec(), layout, fixed_batch, has_batch }, "{dims:?}");
        }
        for (dims, shape) in [(&[0, 783][..], GREY), (&[0, 3, 28, 28], GREY), (&[0, 32, 32], COLOUR), (&[], GREY)] {
            let refused = chosen(Some(dims), shape, None, Implied::default());
            assert!(matches!(refused, Err(Error::Mismatch { .. })), "{dims:?}: {refused:?}");
        }
    }

    #[test]
    fn what_sizes_do_not_tell_the_first_operator_or_the_user_tells() {
        let last = Implied { layout: Some(Layout::Nhwc), rank: Some(4) };
        let flat = Implied { layout: None, rank: Some(2) };
        for dims in [None, Some(&[0; 4][..])] {
            let refused = chosen(dims, COLOUR, None, Implied::default()).expect_err("nothing tells").to_string();
            assert!(refused.contains("--input-layout"), "{refused}");
            for found in
                [chosen(dims, COLOUR, None, last), chosen(dims, COLOUR, Some(Layout::Nhwc), Implied::default())]
            {
                assert_eq!(found.expect("told").axes, [32, 32, 3], "{dims:?}");
            }
        }
        assert_eq!(chosen(None, COLOUR, None, flat).expect("a row").axes, [3072]);
        assert_eq!(chosen(Some(&[0, 3072]), COLOUR, None, last).expect("a row").layout, Layout::Nhwc);
        assert_eq!(chosen(Some(&[0, 0]), GREY, None, Implied::default()).expect("a row").axes, [784]);
    }
}
