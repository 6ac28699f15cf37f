//! The configuration files that Python's libraries keep beside a network: Hugging Face's and timm's.
//!
//! What is asked for and not known here is refused: a preprocessing that is half done gives wrong numbers quietly.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Color, Extent, Geometry, Preprocess, Resample, Resize, Rounding};
use crate::error::{Error, Result};

pub fn read(path: &Path) -> Result<Preprocess> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    parse(&text).map_err(|reason| {
        let expected = "a Hugging Face preprocessor_config.json or a timm config.json";
        Error::setting("--preprocess", expected, format!("{}: {reason}", path.display()))
    })
}

fn parse(text: &str) -> std::result::Result<Preprocess, String> {
    let values: Map<String, Value> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match values.get("pretrained_cfg") {
        Some(Value::Object(timm)) => of_timm(timm),
        _ if values.contains_key("input_size") => of_timm(&values),
        _ if values.contains_key("image_processor_type") || values.keys().any(|key| key.starts_with("do_")) => {
            of_hugging_face(values)
        }
        _ => Err("neither image_processor_type nor pretrained_cfg in it".to_owned()),
    }
}

/// A size as Hugging Face writes it: a number, or named sides.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Side(u32),
    Exactly { height: u32, width: u32 },
    Shorter { shortest_edge: u32 },
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the file's own fields")]
struct HuggingFace {
    #[serde(default)]
    image_processor_type: String,
    #[serde(default)]
    do_resize: bool,
    size: Option<Size>,
    crop_pct: Option<f64>,
    resample: Option<u8>,
    #[serde(default)]
    do_center_crop: bool,
    crop_size: Option<Size>,
    #[serde(default = "yes")]
    do_rescale: bool,
    rescale_factor: Option<f32>,
    #[serde(default)]
    rescale_offset: bool,
    #[serde(default)]
    include_top: bool,
    #[serde(default)]
    do_normalize: bool,
    image_mean: Option<Vec<f32>>,
    image_std: Option<Vec<f32>>,
    #[serde(default)]
    do_flip_channel_order: bool,
}

fn yes() -> bool {
    true
}

/// Steps that are done here, or that change nothing for a classifier.
const KNOWN: [&str; 7] = [
    "do_resize",
    "do_center_crop",
    "do_rescale",
    "do_normalize",
    "do_convert_rgb",
    "do_flip_channel_order",
    "do_reduce_labels",
];

fn of_hugging_face(mut values: Map<String, Value>) -> std::result::Result<Preprocess, String> {
    // What is null is not said.
    values.retain(|_, value| !value.is_null());
    if let Some((step, _)) = values
        .iter()
        .find(|(key, value)| key.starts_with("do_") && value.as_bool() == Some(true) && !KNOWN.contains(&key.as_str()))
    {
        return Err(format!("{step} is not supported"));
    }
    let file: HuggingFace = serde_json::from_value(Value::Object(values)).map_err(|error| error.to_string())?;
    if file.rescale_offset || (file.include_top && file.image_processor_type.starts_with("EfficientNet")) {
        return Err("rescale_offset and include_top are not supported".to_owned());
    }
    let extent = |height, width| Extent { height, width };
    let mut geometry = Geometry { crop_rounding: Some(Rounding::Down), ..Geometry::default() };
    if file.do_resize {
        let size = file.size.ok_or("do_resize without a size")?;
        // A bare number is a shorter side where a crop follows, else a square (transformers' `default_to_square`).
        geometry.resize = Some(match (size, file.crop_pct) {
            (Size::Shorter { shortest_edge }, Some(share)) if file.image_processor_type.starts_with("ConvNext") => {
                if shortest_edge >= 384 {
                    Resize::Exactly(extent(shortest_edge, shortest_edge))
                } else {
                    geometry.crop = Some(extent(shortest_edge, shortest_edge));
                    Resize::Shorter((f64::from(shortest_edge) / share) as u32)
                }
            }
            (Size::Side(side), _) if file.do_center_crop => Resize::Shorter(side),
            (Size::Side(side), _) => Resize::Exactly(extent(side, side)),
            (Size::Exactly { height, width }, _) => Resize::Exactly(extent(height, width)),
            (Size::Shorter { shortest_edge }, _) => Resize::Shorter(shortest_edge),
        });
        let code = file.resample.unwrap_or(Resample::Bilinear as u8);
        geometry.resample = Some(Resample::from_repr(code).ok_or(format!("resample {code} is not supported"))?);
    }
    if file.do_center_crop {
        geometry.crop = Some(match file.crop_size.or(file.size).ok_or("do_center_crop without a crop_size")? {
            Size::Side(side) | Size::Shorter { shortest_edge: side } => extent(side, side),
            Size::Exactly { height, width } => extent(height, width),
        });
    }
    let channels = file.image_mean.as_ref().map_or(3, Vec::len);
    geometry.color = match (channels, file.do_flip_channel_order) {
        (1, _) => Some(Color::Gray),
        (_, true) => Some(Color::Bgr),
        (_, false) => Some(Color::Rgb),
    };
    let rescale = if file.do_rescale { file.rescale_factor } else { Some(1.0) };
    let (mean, std) = if file.do_normalize { (file.image_mean, file.image_std) } else { (None, None) };
    if file.do_normalize && (mean.is_none() || std.is_none()) {
        return Err("do_normalize without image_mean and image_std".to_owned());
    }
    checked(Preprocess { mean, std, rescale, ..Preprocess::default() }.with_geometry(geometry))
}

#[derive(Debug, Deserialize)]
struct Timm {
    input_size: [u32; 3],
    #[serde(default = "usual_share")]
    crop_pct: f64,
    #[serde(default)]
    crop_mode: Option<String>,
    #[serde(default)]
    interpolation: Option<String>,
    mean: Vec<f32>,
    std: Vec<f32>,
}

fn usual_share() -> f64 {
    0.875
}

fn of_timm(values: &Map<String, Value>) -> std::result::Result<Preprocess, String> {
    let file: Timm = serde_json::from_value(Value::Object(values.clone())).map_err(|error| error.to_string())?;
    let [channels, height, width] = file.input_size;
    if !(file.crop_pct > 0.0 && file.crop_pct <= 1.0) {
        return Err(format!("crop_pct {} is no share", file.crop_pct));
    }
    let enlarged = |side: u32| (f64::from(side) / file.crop_pct).floor() as u32;
    let resize = match file.crop_mode.as_deref().unwrap_or("center") {
        "center" if height == width => Resize::Shorter(enlarged(height)),
        "squash" => Resize::Exactly(Extent { height: enlarged(height), width: enlarged(width) }),
        mode => return Err(format!("crop_mode {mode} of {height} x {width} is not supported")),
    };
    let filter = file.interpolation.unwrap_or_else(|| "bilinear".to_owned());
    let geometry = Geometry {
        resize: Some(resize),
        crop: Some(Extent { height, width }),
        crop_rounding: None,
        resample: Some(filter.parse().map_err(|_| format!("interpolation {filter} is not supported"))?),
        color: Some(if channels == 1 { Color::Gray } else { Color::Rgb }),
    };
    let values = Preprocess { mean: Some(file.mean), std: Some(file.std), ..Preprocess::default() };
    checked(values.with_geometry(geometry))
}

/// Sizes go through the checks that those on the command line go through.
fn checked(preprocess: Preprocess) -> std::result::Result<Preprocess, String> {
    if let Some(factor) = preprocess.rescale.filter(|factor| !super::is_positive(*factor)) {
        return Err(format!("rescale_factor {factor}"));
    }
    let Geometry { resize, crop, .. } = preprocess.geometry();
    resize.map(|resize| resize.to_string().parse::<Resize>()).transpose()?;
    crop.map(|crop| crop.to_string().parse::<Extent>()).transpose()?;
    Ok(preprocess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugging_faces_sizes_are_read_as_it_does() {
        let vit = r#"{"image_processor_type": "ViTImageProcessor", "do_resize": true, "size": {"height": 224, "width": 224},
            "resample": 2, "do_rescale": true, "rescale_factor": 0.00392156862745098, "do_normalize": true,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_convert_rgb": null}"#;
        let found = parse(vit).expect("valid");
        assert_eq!(found.resize, "224x224".parse().ok());
        assert_eq!((found.crop, found.mean), (None, Some(vec![0.5; 3])));
        let resnet = r#"{"image_processor_type": "ConvNextImageProcessor", "do_resize": true, "size": {"shortest_edge": 224},
            "crop_pct": 0.875, "resample": 3, "do_normalize": true, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}"#;
        let found = parse(resnet).expect("valid");
        assert_eq!((found.resize, found.crop), ("256".parse().ok(), "224".parse().ok()));
        assert_eq!(found.resample, Some(Resample::Bicubic));
    }

    #[test]
    fn timm_enlarges_by_its_share() {
        let file = r#"{"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.95,
            "crop_mode": "center", "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}"#;
        let found = parse(file).expect("valid");
        assert_eq!((found.resize, found.crop), ("235".parse().ok(), "224".parse().ok()));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, reason) in [
            (r#"{"do_pad": true}"#, "do_pad"),
            (r#"{"do_resize": true}"#, "size"),
            (r#"{"do_resize": true, "size": {"longest_edge": 800}}"#, "Size"),
            (r#"{"do_resize": true, "size": 4000000000}"#, "4000000000"),
            (r#"{"do_normalize": true}"#, "image_mean"),
            (r#"{"hidden_size": 768}"#, "image_processor_type"),
            (r#"{"input_size": [3, 8, 8], "crop_mode": "border", "mean": [0], "std": [1]}"#, "border"),
            ("[]", "map"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
