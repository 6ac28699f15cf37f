//! The configuration files that Python's libraries keep beside a network: Hugging Face's and timm's.
//!
//! What is asked for and not known here is refused: a preprocessing that is half done gives wrong numbers quietly.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Color, Extent, Geometry, Preprocess, Resample, Resize, Rounding};
use crate::error::{Error, Result};
use crate::small_file;

/// Such a file may be this long, bytes.
const LONGEST: u64 = 1 << 20;

impl Preprocess {
    /// Reads a Hugging Face `preprocessor_config.json` or a timm `config.json`.
    ///
    /// # Errors
    /// `Io` for a file that cannot be read, `Setting` for one of another kind, or with steps that are not known here.
    pub fn read(path: &Path) -> Result<Self> {
        let text = small_file::read(path, LONGEST).map_err(Error::io(path, "read"))?;
        parse(&text).and_then(Self::finite).map_err(|reason| {
            let expected = "a Hugging Face preprocessor_config.json or a timm config.json";
            Error::setting("--preprocess", expected, format!("{}: {reason}", path.display()))
        })
    }
}

fn parse(text: &str) -> std::result::Result<Preprocess, String> {
    let values: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| small_file::json_fault(text, &error))?;
    match values.get("pretrained_cfg") {
        Some(Value::Object(timm)) => of_timm(timm),
        _ if values.contains_key("input_size") => of_timm(&values),
        _ if values.keys().any(|key| TYPES.contains(&key.as_str()) || key.starts_with("do_")) => {
            of_hugging_face(values)
        }
        _ => Err("neither image_processor_type nor pretrained_cfg in it".to_owned()),
    }
}

/// Where the type of the processor stands; the second, in older files, says `FeatureExtractor` for `ImageProcessor`.
const TYPES: [&str; 2] = ["image_processor_type", "feature_extractor_type"];

/// What a type of processor does where its file does not say.
struct Kind {
    name: &'static str,
    resample: Resample,
    /// What a bare number means as a size.
    number: Number,
    /// The side of the crop; none is done where there is none.
    crop: Option<u32>,
    /// The image is resized to the size over this.
    share: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Square,
    Shorter,
}

impl Kind {
    const fn of(name: &'static str, resample: Resample, number: Number, crop: Option<u32>) -> Self {
        Self { name, resample, number, crop, share: None }
    }

    const fn enlarging(self, share: f64) -> Self {
        Self { share: Some(share), ..self }
    }
}

/// The defaults of Transformers' classes. Those that are not here may resize, crop or pad in ways of their own.
const KINDS: [Kind; 20] = {
    use Number::{Shorter, Square};
    use Resample::{Bicubic, Bilinear};
    [
        Kind::of("Beit", Bicubic, Square, None),
        Kind::of("Bit", Bicubic, Shorter, Some(224)),
        Kind::of("Blip", Bicubic, Square, None),
        Kind::of("ChineseCLIP", Bicubic, Shorter, Some(224)),
        Kind::of("CLIP", Bicubic, Shorter, Some(224)),
        Kind::of("ConvNext", Bicubic, Shorter, None).enlarging(0.875),
        Kind::of("DeiT", Bicubic, Square, Some(224)),
        Kind::of("DINOv3ViT", Bilinear, Square, None),
        Kind::of("EfficientNet", Bicubic, Square, None),
        Kind::of("LayoutLMv3", Bilinear, Square, None),
        Kind::of("Levit", Bicubic, Shorter, Some(224)).enlarging(0.875),
        Kind::of("MobileNetV1", Bilinear, Shorter, Some(224)),
        Kind::of("MobileNetV2", Bilinear, Shorter, Some(224)),
        Kind::of("MobileViT", Bicubic, Shorter, Some(256)),
        Kind::of("OwlViT", Bicubic, Square, None),
        Kind::of("PoolFormer", Bicubic, Shorter, Some(224)).enlarging(0.9),
        Kind::of("Pvt", Bicubic, Square, None),
        Kind::of("Segformer", Bilinear, Square, None),
        Kind::of("Siglip", Bicubic, Shorter, None),
        Kind::of("ViT", Bilinear, Square, None),
    ]
};

/// Keys that make some processors resize in another way.
const RESIZING: [&str; 5] = ["crop_pct", "ensure_multiple_of", "max_size", "size_divisor", "use_square_size"];

/// The kind that a file names, if it names one.
fn kind_of(values: &Map<String, Value>) -> std::result::Result<Option<&'static Kind>, String> {
    let Some((key, found)) = TYPES.iter().find_map(|key| values.get_key_value(*key)) else {
        return Ok(None);
    };
    let name = found.as_str().unwrap_or_default();
    // The ends say in what it computes.
    let name = name.strip_suffix("Fast").or_else(|| name.strip_suffix("Pil")).unwrap_or(name);
    let name = ["ImageProcessor", "FeatureExtractor"].iter().find_map(|end| name.strip_suffix(end));
    let kind = KINDS.iter().find(|kind| Some(kind.name) == name);
    kind.map(Some).ok_or_else(|| format!("{key} {found} is not supported, for it may resize in a way of its own"))
}

/// A size as Hugging Face writes it: a number, or named sides.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Size {
    Side(u32),
    Exactly { height: u32, width: u32 },
    Shorter { shortest_edge: u32 },
}

#[derive(Debug, Deserialize)]
struct HuggingFace {
    do_resize: Option<bool>,
    size: Option<Size>,
    crop_pct: Option<f64>,
    resample: Option<u8>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    #[serde(default = "yes")]
    do_rescale: bool,
    rescale_factor: Option<f32>,
    #[serde(default)]
    rescale_offset: bool,
    /// `EfficientNet`'s alone.
    #[serde(default = "yes")]
    include_top: bool,
    do_normalize: Option<bool>,
    image_mean: Option<Vec<f32>>,
    image_std: Option<Vec<f32>>,
    do_flip_channel_order: Option<bool>,
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
    let kind = kind_of(&values)?;
    let name = kind.map_or("a file that names no type", |kind| kind.name);
    let follows = |key: &str| key == "crop_pct" && ["ConvNext", "PoolFormer"].contains(&name);
    if let Some(key) = RESIZING.iter().find(|key| values.contains_key(**key) && !follows(key)) {
        return Err(format!("{key} of {name} is not supported"));
    }
    let file: HuggingFace = serde_json::from_value(Value::Object(values)).map_err(|error| error.to_string())?;
    if file.rescale_offset || (file.include_top && name == "EfficientNet") {
        return Err("rescale_offset and include_top are not supported".to_owned());
    }
    let mut geometry = Geometry { crop_rounding: Some(Rounding::Down), ..Geometry::default() };
    let crops = file.do_center_crop.unwrap_or(kind.is_some_and(|kind| kind.crop.is_some()));
    if file.do_resize.unwrap_or(kind.is_some()) {
        let size = file.size.ok_or("do_resize without a size")?;
        // Without a type, a bare number is a shorter side where a crop follows, else a square.
        let square = kind.map_or(!crops, |kind| kind.number == Number::Square);
        (geometry.resize, geometry.crop) = resized(kind, size.resize(square), file.crop_pct)?;
        let code = file.resample.unwrap_or(kind.map_or(Resample::Bilinear, |kind| kind.resample) as u8);
        geometry.resample = Some(Resample::from_repr(code).ok_or(format!("resample {code} is not supported"))?);
    }
    if crops {
        if geometry.crop.is_some() {
            return Err(format!("do_center_crop of {name} is not supported, for its resizing crops"));
        }
        let usual = kind.map_or(file.size, |kind| kind.crop.map(Size::Side));
        geometry.crop = Some(match file.crop_size.or(usual).ok_or("do_center_crop without a crop_size")? {
            Size::Side(side) | Size::Shorter { shortest_edge: side } => extent(side, side),
            Size::Exactly { height, width } => extent(height, width),
        });
    }
    let channels = file.image_mean.as_ref().map_or(3, Vec::len);
    // MobileViT alone never normalises, and flips where not told.
    let mobile_vit = name == "MobileViT";
    geometry.color = match (channels, file.do_flip_channel_order.unwrap_or(mobile_vit)) {
        (1, _) => Some(Color::Gray),
        (_, true) => Some(Color::Bgr),
        (_, false) => Some(Color::Rgb),
    };
    let rescale = if file.do_rescale { file.rescale_factor } else { Some(1.0) };
    let normalizes = file.do_normalize.unwrap_or(kind.is_some()) && !mobile_vit;
    let (mean, std) = if normalizes { (file.image_mean, file.image_std) } else { (None, None) };
    if normalizes && (mean.is_none() || std.is_none()) {
        return Err("do_normalize without image_mean and image_std".to_owned());
    }
    checked(Preprocess { mean, std, rescale, ..Preprocess::default() }.with_geometry(geometry))
}

fn extent(height: u32, width: u32) -> Extent {
    Extent { height, width }
}

impl Size {
    fn resize(self, square: bool) -> Resize {
        match self {
            Self::Side(side) if square => Resize::Exactly(extent(side, side)),
            Self::Side(side) | Self::Shorter { shortest_edge: side } => Resize::Shorter(side),
            Self::Exactly { height, width } => Resize::Exactly(extent(height, width)),
        }
    }
}

type Resized = (Option<Resize>, Option<Extent>);

/// What a kind makes of a size, and the crop that belongs to it.
fn resized(kind: Option<&Kind>, size: Resize, share: Option<f64>) -> std::result::Result<Resized, String> {
    let Some((kind, share)) = kind.and_then(|kind| Some((kind, share.or(kind.share)?))) else {
        return Ok((Some(size), None));
    };
    is_share(share)?;
    let enlarged = |side: u32| (f64::from(side) / share) as u32;
    let (resize, crop) = match (kind.name, size) {
        ("ConvNext", Resize::Shorter(side)) if side >= 384 => (Resize::Exactly(extent(side, side)), None),
        ("ConvNext", Resize::Shorter(side)) => (Resize::Shorter(enlarged(side)), Some(extent(side, side))),
        ("ConvNext", Resize::Exactly(_)) => return Err("a size of ConvNext needs shortest_edge".to_owned()),
        ("PoolFormer", Resize::Exactly(Extent { height, width })) if height != width => {
            (Resize::Exactly(extent(enlarged(height), enlarged(width))), None)
        }
        ("PoolFormer", Resize::Exactly(Extent { height: side, .. })) | (_, Resize::Shorter(side)) => {
            (Resize::Shorter(enlarged(side)), None)
        }
        (_, exactly) => (exactly, None),
    };
    Ok((Some(resize), crop))
}

fn is_share(value: f64) -> std::result::Result<(), String> {
    if value > 0.0 && value <= 1.0 { Ok(()) } else { Err(format!("crop_pct {value} is no share")) }
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
    is_share(file.crop_pct)?;
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
    let mut numbers = preprocess.mean.iter().chain(&preprocess.std).flatten();
    numbers.find(|value| !value.is_finite()).map_or(Ok(()), |value| Err(format!("mean or std {value}, not finite")))?;
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
    fn files_of_the_older_form_are_read_as_their_types_do() {
        for (kind, rest, resize, crop) in [
            // microsoft/resnet-50's.
            ("ConvNext", r#""size": 224, "crop_pct": 0.875"#, "256", Some("224")),
            ("ConvNext", r#""size": 224"#, "256", Some("224")),
            ("ConvNext", r#""size": 384"#, "384x384", None),
            ("PoolFormer", r#""size": 224"#, "248", Some("224")),
            ("PoolFormer", r#""size": {"height": 224, "width": 192}, "crop_pct": 0.5"#, "448x384", Some("224")),
            ("Levit", r#""size": 224, "do_center_crop": true"#, "256", Some("224")),
            ("DeiT", r#""size": 256, "do_center_crop": true, "crop_size": 224"#, "256x256", Some("224")),
            ("CLIP", r#""size": 224, "do_center_crop": true, "crop_size": 224"#, "224", Some("224")),
            ("ViT", r#""size": 224"#, "224x224", None),
        ] {
            let text = format!(
                r#"{{"feature_extractor_type": "{kind}FeatureExtractor", "do_resize": true, "do_normalize": true,
                    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], {rest}}}"#
            );
            let found = parse(&text).expect(&text);
            assert_eq!(found.resize, resize.parse().ok(), "{text}");
            assert_eq!(found.crop, crop.and_then(|crop| crop.parse().ok()), "{text}");
            let resample = if kind == "ViT" { Resample::Bilinear } else { Resample::Bicubic };
            assert_eq!(found.resample, Some(resample), "{text}");
        }
        let found = parse(r#"{"image_processor_type": "MobileViTImageProcessor", "size": 288}"#).expect("valid");
        assert_eq!((found.crop, found.color, found.mean), ("256".parse().ok(), Some(Color::Bgr), None));
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
            (r#"{"feature_extractor_type": "GLPNFeatureExtractor", "do_resize": true}"#, "GLPNFeatureExtractor"),
            (r#"{"image_processor_type": "ViTImageProcessorFast", "crop_pct": 0.9}"#, "crop_pct of ViT"),
            (r#"{"do_resize": true, "size": 224, "crop_pct": 0.9}"#, "crop_pct"),
            (r#"{"do_resize": true, "size": {"shortest_edge": 800, "longest_edge": 1333}}"#, "Size"),
            (
                r#"{"image_processor_type": "ConvNextImageProcessor", "size": {"height": 8, "width": 8}}"#,
                "shortest_edge",
            ),
            (r#"{"image_processor_type": "ConvNextImageProcessor", "size": 224, "crop_pct": 0}"#, "no share"),
            (
                r#"{"image_processor_type": "ConvNextImageProcessor", "size": 224, "do_center_crop": true}"#,
                "do_center_crop",
            ),
            (r#"{"image_processor_type": "ViTImageProcessor", "size": 224}"#, "image_mean"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
