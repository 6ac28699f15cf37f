//! What a training did to its images between the file and the network: geometry, colour, scale, normalisation.
//!
//! Named presets, Python's own configuration files and a checkpoint's metadata all come to one [`Preprocess`].

mod files;
mod geometry;
mod presets;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use geometry::{Bitmap, Color, Extent, Geometry, Resample, Resize, Rounding};
pub use presets::{USUAL, data_set, names};

use crate::error::{Error, Result};

/// From a decoded image to what the network sees: geometry, then `(rescale x - mean) / std` for each channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Preprocess {
    /// What is subtracted from the rescaled pixels, one value or one for each channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Vec<f32>>,
    /// What they are divided by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Vec<f32>>,
    /// What pixels are multiplied by; 1/255 for bytes, and 1 for floats, where not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescale: Option<f32>,
    /// As in [`Geometry`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<Resize>,
    /// As in [`Geometry`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<Extent>,
    /// As in [`Geometry`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_rounding: Option<Rounding>,
    /// As in [`Geometry`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resample: Option<Resample>,
    /// As in [`Geometry`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<Color>,
}

impl Preprocess {
    fn with_pairs(self, text: &str) -> Result<Self> {
        let mut preprocess = self;
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if preprocess.set(key.trim(), value.trim()) != Some(true) {
                let expected = "resize=SIDE or HxW, crop=SIDE or HxW, resample=nearest, bilinear, bicubic, lanczos or \
                                hamming, color=rgb, bgr or gray, rescale=NUMBER (mean and std have flags of their own)";
                return Err(Error::setting("--preprocess", expected, pair));
            }
        }
        Ok(preprocess)
    }

    /// Sets one value from text; whether it was understood, `None` for a key that is not one of these.
    pub fn set(&mut self, key: &str, value: &str) -> Option<bool> {
        fn into<T: std::str::FromStr>(slot: &mut Option<T>, value: &str) -> bool {
            *slot = value.parse().ok();
            slot.is_some()
        }
        Some(match key {
            "resize" => into(&mut self.resize, value),
            "crop" => into(&mut self.crop, value),
            "crop_rounding" => into(&mut self.crop_rounding, value),
            "resample" => into(&mut self.resample, value),
            "color" => into(&mut self.color, value),
            "rescale" => into(&mut self.rescale, value) && self.rescale.is_some_and(is_positive),
            _ => return None,
        })
    }

    /// The same, unless one of its numbers is larger than those of images are; gives which.
    fn finite(self) -> std::result::Result<Self, String> {
        let rescale = self.rescale.map(|factor| vec![factor]);
        for (name, values) in [("mean", &self.mean), ("std", &self.std), ("rescale", &rescale)] {
            if let Some(value) = values.iter().flatten().find(|value| !value.is_finite()) {
                return Err(format!("{name} = {value}: expected finite numbers of 32 bits"));
            }
        }
        Ok(self)
    }

    /// What `self` says, and where it says nothing of the geometry, or nothing of the values, what `other` does.
    #[must_use]
    pub fn or(self, other: &Self) -> Self {
        let geometry = if self.geometry().is_identity() { other.geometry() } else { self.geometry() };
        let values = if self.says_values() { self } else { other.clone() };
        values.with_geometry(geometry)
    }

    /// Whether it says anything of pixels' values.
    pub fn says_values(&self) -> bool {
        self.mean.is_some() || self.std.is_some() || self.rescale.is_some()
    }

    /// Whether it gives images another size.
    pub fn sizes(&self) -> bool {
        self.resize.is_some() || self.crop.is_some()
    }

    /// What is done to pixels' places and colours, before their values.
    pub fn geometry(&self) -> Geometry {
        let Self { resize, crop, crop_rounding, resample, color, .. } = *self;
        Geometry { resize, crop, crop_rounding, resample, color }
    }

    /// The same with another geometry.
    #[must_use]
    pub fn with_geometry(self, geometry: Geometry) -> Self {
        let Geometry { resize, crop, crop_rounding, resample, color } = geometry;
        Self { resize, crop, crop_rounding, resample, color, ..self }
    }
}

/// What a network's first operators do to each number of its input, in the first channel: `factor x + shift`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// By what it is multiplied.
    pub factor: f32,
    /// What is added then.
    pub shift: f32,
    /// Of a batch norm among them: mean and standard deviation of the input that it was trained on.
    pub learned: Option<(f32, f32)>,
}

impl Scaling {
    /// What a number of the input becomes.
    pub fn of(self, value: f32) -> f32 {
        value * self.factor + self.shift
    }
}

/// Whether pixels may be multiplied by this.
pub(crate) fn is_positive(value: f32) -> bool {
    value.is_finite() && value > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_say_what_a_preset_says() {
        let pairs = Preprocess::named("resize=256,crop=224,resample=bilinear,color=rgb").expect("pairs");
        assert_eq!(pairs.geometry(), Preprocess::named("imagenet").expect("a preset").geometry());
        let colored = Preprocess::named("cifar10,color=bgr,resize=40").expect("pairs behind a preset");
        let preset = Preprocess::named("cifar10").expect("a preset");
        assert_eq!((colored.mean, colored.std), (preset.mean, preset.std));
        assert_eq!((colored.color, colored.resize), (Some(Color::Bgr), "40".parse().ok()));
        for wrong in ["nowhere,color=bgr", "color=bgr,cifar10"] {
            assert!(Preprocess::named(wrong).is_err(), "{wrong}");
        }
        for wrong in ["resize=0", "crop=-1", "resample=cubical", "colour=rgb", "rescale=0", "resize=", "nothing"] {
            let error = Preprocess::named(wrong).expect_err(wrong).to_string();
            assert!(error.contains("--preprocess") && error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn what_is_not_said_is_taken_from_elsewhere() {
        let said = Preprocess { mean: Some(vec![0.5]), ..Preprocess::default() };
        let all = said.or(&Preprocess::named("imagenet").expect("a preset"));
        assert_eq!((all.mean, all.std), (Some(vec![0.5]), None));
        assert_eq!(all.crop, "224".parse().ok());
    }
}
