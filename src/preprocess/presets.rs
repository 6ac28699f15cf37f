//! Preprocessing by name, as published with the weights or usual for the data set.

use std::path::Path;

use super::{Extent, Geometry, Preprocess, Resample, Resize};
use crate::error::{Error, Result};

struct Preset {
    name: &'static str,
    /// Shorter side, side of the crop, filter.
    geometry: Option<(u32, u32, Resample)>,
    mean: &'static [f32],
    std: &'static [f32],
}

const IMAGENET: (&[f32], &[f32]) = (&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]);
const HALF: (&[f32], &[f32]) = (&[0.5, 0.5, 0.5], &[0.5, 0.5, 0.5]);
const CLIP: (&[f32], &[f32]) = (&[0.481_454_7, 0.457_827_5, 0.408_210_7], &[0.268_629_5, 0.261_302_6, 0.275_777_1]);

/// torchvision's weights V1 and V2; timm's usual crop of 0.875, and its Inception-style one of 0.9; `OpenAI`'s CLIP; and the
/// statistics of the training sets of the small ones.
const PRESETS: [Preset; 9] = [
    Preset::of_photographs("imagenet", 256, Resample::Bilinear, IMAGENET),
    Preset::of_photographs("imagenet-v2", 232, Resample::Bilinear, IMAGENET),
    Preset::of_photographs("imagenet-bicubic", 256, Resample::Bicubic, IMAGENET),
    Preset::of_photographs("imagenet-inception", 248, Resample::Bicubic, HALF),
    Preset::of_photographs("clip", 224, Resample::Bicubic, CLIP),
    Preset::of_data("cifar10", &[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]),
    Preset::of_data("cifar100", &[0.5071, 0.4865, 0.4409], &[0.2673, 0.2564, 0.2762]),
    Preset::of_data("mnist", &[0.1307], &[0.3081]),
    Preset::of_data("fashionmnist", &[0.2860], &[0.3530]),
];

impl Preset {
    const fn of_photographs(
        name: &'static str,
        shorter: u32,
        resample: Resample,
        (mean, std): (&'static [f32], &'static [f32]),
    ) -> Self {
        Self { name, geometry: Some((shorter, 224, resample)), mean, std }
    }

    const fn of_data(name: &'static str, mean: &'static [f32], std: &'static [f32]) -> Self {
        Self { name, geometry: None, mean, std }
    }
}

/// Normalisations that trainings use, for pixels in [0, 1]: whose, mean, deviation.
pub const USUAL: [(&str, &[f32], &[f32]); 5] = [
    ("of ImageNet", IMAGENET.0, IMAGENET.1),
    ("of CIFAR-10", &[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]),
    ("of MNIST", &[0.1307], &[0.3081]),
    ("of Fashion-MNIST", &[0.2860], &[0.3530]),
    ("to [-1, 1]", &[0.5], &[0.5]),
];

/// The presets there are.
pub fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.name).collect()
}

/// The data set whose preset normalises so, by all of its numbers.
pub fn data_set(mean: &[f32], std: &[f32]) -> Option<&'static str> {
    let of_data = PRESETS.iter().filter(|preset| preset.geometry.is_none());
    of_data
        .map(|preset| (preset.name, (preset.mean, preset.std)))
        .find(|(_, own)| *own == (mean, std))
        .map(|(name, _)| name)
}

impl Preprocess {
    /// A preset's name, a Hugging Face `preprocessor_config.json`, a timm `config.json`, or `key=value` pairs such as
    /// `resize=256,crop=224,resample=bicubic,color=rgb,rescale=1`, which may follow one of the others: `cifar10,color=bgr`.
    ///
    /// # Errors
    /// `Setting` for a name that is not known, `Io` for a file that cannot be read.
    pub fn named(text: &str) -> Result<Self> {
        if let Some(preset) = preset(text) {
            return Ok(preset);
        }
        if text.contains('=') && !Path::new(text).exists() {
            // Pairs may follow a name.
            return match text.split_once(',') {
                Some((name, pairs)) if !name.contains('=') => Self::named(name)?.with_pairs(pairs),
                _ => Self::default().with_pairs(text),
            };
        }
        let path = Path::new(text);
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) || path.exists() {
            return Self::read(path);
        }
        let expected = format!("a preset ({}), a .json file or key=value pairs", names().join(", "));
        Err(Error::setting("--preprocess", expected, text))
    }
}

fn preset(name: &str) -> Option<Preprocess> {
    let Preset { geometry, mean, std, .. } = PRESETS.iter().find(|preset| preset.name == name)?;
    let geometry = geometry.map_or_else(Geometry::default, |(shorter, side, resample)| Geometry {
        resize: Some(Resize::Shorter(shorter)),
        crop: Some(Extent { height: side, width: side }),
        crop_rounding: None,
        resample: Some(resample),
        color: Some(super::Color::Rgb),
    });
    let values = Preprocess { mean: Some(mean.to_vec()), std: Some(std.to_vec()), ..Preprocess::default() };
    Some(values.with_geometry(geometry))
}
