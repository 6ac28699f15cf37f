//! The `relstab.toml` of a new run, with comments that say why each line is as it is.

use std::path::Path;

use super::look::{Choice, Look, Tried};
use crate::measure::Settings;
use crate::perturb::{Size, range_warning, temperature};
use crate::preprocess::{Color, Geometry, Preprocess};
use crate::text::visible;

/// Preprocessings that are named, the best first.
const NAMED: usize = 5;
/// Pixels that images are moved by where the default folds them.
const SMALL_DELTA: f64 = 0.5;

/// Where the probe images lie.
pub struct Place<'a> {
    /// Their path inside the run's directory, as the file has it.
    pub probe: &'a str,
    /// Where they were taken from, if they were copied: resized, cropped and recoloured as the network takes them.
    pub copied_from: Option<&'a Path>,
}

/// The file's text, for images that lie at `place`, and what was tried on the network at `model`.
pub fn text(look: &Look, place: &Place, model: Option<&Path>) -> String {
    let mut text = "# How relstab measures this run. `relstab init` wrote this file. Every key is optional, and flags win over it.\n\n"
        .to_owned();
    text += &format!("# Probe images: {}.\n", images(look, place));
    text += &format!("probe = {}\n\n", quoted(place.probe));
    text += "# The law that predicts the test error: a preset, or one that `relstab calibrate` saved.\n# law = \"NAME\"\n\n";
    text += &preprocess(look, place, model);
    text += &perturbation(look);
    text += "# When to stop the training; without a rule relstab never says so.\n# [[stop]]\n# monitor = \"val_error\"\n\
             # patience = 5\n";
    text
}

fn images(look: &Look, place: &Place) -> String {
    let set = &look.set;
    let kind = if set.is_bytes() { "bytes" } else { "floats" };
    let labels = look.classes().map_or("no labels".to_owned(), |classes| format!("labels of {classes} classes"));
    let from =
        place.copied_from.map_or(String::new(), |path| format!(", copied from {}", visible(&path.to_string_lossy())));
    format!("{} of {}, {kind}, {labels}{from}", set.len(), set.shape())
}

fn preprocess(look: &Look, place: &Place, model: Option<&Path>) -> String {
    let (mut text, mut lines) = (String::new(), Vec::new());
    let model = model.and_then(Path::file_name).map_or("the network".into(), |name| visible(&name.to_string_lossy()));
    match &look.choice {
        Choice::Best(tried, alike) => {
            text += "# What the training did to its images. Use exactly that.\n";
            text += &format!(
                "# These were tried on {} images, and {model} answers them with this error:\n",
                tried[0].images()
            );
            text += &tried.iter().take(NAMED).map(|tried| format!("#   {}\n", row(tried))).collect::<String>();
            if *alike > 0 {
                text += &format!(
                    "# So few images cannot tell the first from the {alike} behind it: take your training's own.\n"
                );
            }
        }
        Choice::Said(_) => {
            text += &format!(
                "# What the training did to its images: {model} says it of itself, and nothing is needed here.\n"
            );
        }
        Choice::Open(why) => {
            text += &format!("# What the training did to its images. Write it here, for {why}.\n");
        }
    }
    let chosen = look.chosen().cloned().unwrap_or_default();
    // A copy has its size already.
    let geometry = if place.copied_from.is_some() { Geometry::default() } else { look.geometry };
    let color = chosen.color.or(geometry.color.filter(|color| *color != Color::Rgb || place.copied_from.is_none()));
    let Preprocess { mean, std, rescale, .. } = &chosen;
    lines.extend(mean.as_ref().map(|mean| format!("mean = {mean:?}")));
    lines.extend(std.as_ref().map(|std| format!("std = {std:?}")));
    lines.extend(rescale.map(|rescale| format!("rescale = {rescale:?}")));
    lines.extend(geometry.resize.map(|resize| format!("resize = \"{resize}\"")));
    lines.extend(geometry.crop.map(|crop| format!("crop = \"{crop}\"")));
    lines.extend(geometry.resample.map(|resample| format!("resample = \"{resample}\"")));
    lines.extend(color.map(|color| format!("color = \"{color}\"")));
    if mean.is_none() {
        let one = vec![0.5_f32; look.set.shape().channels];
        lines.push(format!("# mean = {one:?}   # for pixels from 0 to 1"));
        lines.push(format!("# std = {one:?}"));
    }
    text + "[preprocess]\n" + &lines.join("\n") + "\n\n"
}

/// A preprocessing and its error.
fn row(tried: &Tried) -> String {
    format!("{:5.1}%  {}", 100.0 * tried.error(), tried.name)
}

fn perturbation(look: &Look) -> String {
    let settings = Settings::default();
    let (cutoff, side) = (settings.deformation.cutoff, look.set.shape().side());
    let Size::Delta(delta) = settings.deformation.size else { return String::new() };
    let folds = range_warning(cutoff, temperature(cutoff, delta, side), side).is_some();
    let images = look.set.len();
    let hash = |is_default: bool| if is_default { "# " } else { "" };
    let mut text = "# How images are deformed. Lines that begin with # are the defaults.\n[perturbation]\n".to_owned();
    text += &format!("{}images = {images}\n", hash(images == settings.images));
    text += &format!("# draws = {}\n# cutoff = {cutoff}\n", settings.draws_of(images));
    if folds {
        text += &format!("# Moved by {delta} pixel, images as small as these would fold.\ndelta = {SMALL_DELTA:?}\n\n");
    } else {
        text += &format!("# delta = {delta:?}\n\n");
    }
    text
}

/// As TOML writes a text.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Look {
    /// What was tried, one line each, the best first; or why nothing was.
    pub fn told(&self) -> Vec<String> {
        match &self.choice {
            Choice::Best(tried, alike) => {
                let mark = |k: usize| match k {
                    0 => "   <- taken",
                    k if k <= *alike => "   (as good, for all that these images tell)",
                    _ => "",
                };
                tried.iter().take(NAMED).enumerate().map(|(k, tried)| row(tried) + mark(k)).collect()
            }
            Choice::Said(error) => {
                let error = error.map_or(String::new(), |error| format!("; error {:.1}%", 100.0 * error));
                vec![format!("as the network says of itself{error}")]
            }
            Choice::Open(why) => vec![format!("open: {why}. Write it into relstab.toml")],
        }
    }
}
