//! `relstab.toml` in a watched directory: probe set, preprocessing, perturbation, law and stop rules of its run.
//!
//! It may come with checkpoints from elsewhere, so it names no path outside its directory, loads no code, opens no port.

mod flags;

use std::path::{Component, Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use flags::{Flags, RunPlan};

use crate::alert::Alert;
use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::path::INSIDE;
use crate::perturb::Interpolation;
use crate::predict::Law;
use crate::preprocess::{self, Color, Extent, Resample, Resize, Rounding};
use crate::small_file;
use crate::stop::Rule;

/// The file's name.
pub const FILE_NAME: &str = "relstab.toml";
/// It may be this long, bytes.
const LONGEST: u64 = 64 << 10;
/// Rules in it, and alerts.
const MOST_RULES: usize = 32;

/// What a run's directory says about measuring it; flags win.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Probe images, a path inside the directory.
    pub probe: Option<PathBuf>,
    /// What the training did to its images.
    pub preprocess: Preprocess,
    /// Libraries of custom operators; only in a file that the user names, for they are code.
    pub custom_ops: Vec<PathBuf>,
    /// A command that makes an ONNX file of a framework's own checkpoint; only in a file that the user names.
    pub export: Option<String>,
    /// A shell command that starts workers, as `--worker-command`; only in a file that the user names.
    pub worker_command: Option<String>,
    /// How images are perturbed.
    pub perturbation: Perturbation,
    /// A preset's name, or a law of one's own.
    pub law: Option<LawChoice>,
    /// Whether the daemon takes the run's known errors into its law.
    pub refit: bool,
    /// Early-stopping rules; the first that says so stops the run.
    pub stop: Vec<Rule>,
    /// What people want to be told of the run. Commands and webhooks only in a file that the user names.
    pub alert: Vec<Alert>,
}

impl Default for Config {
    fn default() -> Self {
        let (preprocess, perturbation) = (Preprocess::default(), Perturbation::default());
        Self {
            probe: None,
            preprocess,
            custom_ops: Vec::new(),
            export: None,
            worker_command: None,
            perturbation,
            law: None,
            refit: true,
            stop: Vec::new(),
            alert: Vec::new(),
        }
    }
}

/// What the training did to its images: as something says that has a name, or in numbers, which win.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocess {
    /// A preset's name, or a .json file inside the directory.
    pub preset: Option<String>,
    /// Mean to subtract, one value or one for each channel.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation to divide by, one value or one for each channel.
    pub std: Option<Vec<f32>>,
    /// What pixels are multiplied by before, instead of 1/255.
    pub rescale: Option<f32>,
    /// Side of the shorter edge, or `HxW`.
    pub resize: Option<Resize>,
    /// Side of a square, or `HxW`.
    pub crop: Option<Extent>,
    /// Where the crop begins if that is half a pixel off.
    pub crop_rounding: Option<Rounding>,
    /// Filter of the resizing.
    pub resample: Option<Resample>,
    /// Colour and order of the channels.
    pub color: Option<Color>,
}

impl Preprocess {
    /// The file that the preset of a configuration in `folder` names, if it is none of the known ones.
    pub fn file(&self, folder: &Path) -> Option<PathBuf> {
        let is_file = |name: &&String| !preprocess::names().contains(&name.as_str());
        self.preset.as_ref().filter(is_file).map(|name| folder.join(name))
    }

    /// All of it, from a configuration that lies in `folder`.
    ///
    /// # Errors
    /// As [`preprocess::Preprocess::read`].
    pub fn resolved(&self, folder: &Path) -> Result<preprocess::Preprocess> {
        let preset = match (&self.preset, self.file(folder)) {
            (_, Some(file)) => preprocess::Preprocess::read(&file)?,
            (Some(name), None) => preprocess::Preprocess::named(name)?,
            (None, None) => preprocess::Preprocess::default(),
        };
        Ok(preprocess::Preprocess {
            mean: self.mean.clone().or(preset.mean),
            std: self.std.clone().or(preset.std),
            rescale: self.rescale.or(preset.rescale),
            resize: self.resize.or(preset.resize),
            crop: self.crop.or(preset.crop),
            crop_rounding: self.crop_rounding.or(preset.crop_rounding),
            resample: self.resample.or(preset.resample),
            color: self.color.or(preset.color),
        })
    }
}

/// How images are perturbed; the same names as the flags.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Perturbation {
    /// Images to draw from the probe set.
    pub images: Option<usize>,
    /// Deformations, and noises, of each image.
    pub draws: Option<u32>,
    /// Cutoff of the deformations, in half-waves: larger is rougher.
    pub cutoff: Option<u32>,
    /// Typical displacement, pixels.
    pub delta: Option<f64>,
    /// Temperature of the deformations, instead of delta.
    pub temperature: Option<f64>,
    /// How deformed images are read.
    pub interpolation: Option<Interpolation>,
    /// Reading of "typical" in the headline.
    pub estimator: Option<Estimator>,
    /// Take the images and draws that give the 95% interval of `R_f` this relative half-width in the fewest passes.
    pub precision: Option<f64>,
    /// Seed of everything random.
    pub seed: Option<u64>,
}

/// A law in a configuration.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LawChoice {
    /// A preset.
    Named(String),
    /// A table with the law's numbers.
    Own(Box<Law>),
}

/// The JSON Schema of `relstab.toml`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

impl Config {
    /// Reads `relstab.toml` in `folder`; an empty configuration where there is none.
    ///
    /// # Errors
    /// `Io` for a file that cannot be read, `Setting` for one that does not parse or that names a path outside.
    pub fn read(folder: &Path) -> Result<Self> {
        Ok(Self::find(folder)?.unwrap_or_default())
    }

    /// The configuration of a run below `root`: its own, or that of the nearest directory above it; and where it lies.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn of_run(run: &Path, root: &Path) -> Result<(Self, PathBuf)> {
        for folder in run.ancestors().take_while(|folder| folder.starts_with(root)) {
            if let Some(config) = Self::find(folder)? {
                return Ok((config, folder.to_owned()));
            }
        }
        Ok((Self::default(), run.to_owned()))
    }

    /// Reads a configuration that the user names: it may name any path.
    ///
    /// # Errors
    /// `Io` for a file that cannot be read, `Setting` for one that does not parse.
    pub fn read_file(path: &Path) -> Result<Self> {
        let mut config = Self::parse(path, &small_file::read(path, LONGEST).map_err(Error::io(path, "read"))?)?;
        let addresses = config.alert.iter_mut().filter_map(|alert| alert.webhook.as_mut()?.file.as_mut());
        for file in config.custom_ops.iter_mut().chain(addresses) {
            let beside = path.parent().unwrap_or(Path::new("")).join(&*file);
            *file = std::path::absolute(&beside).unwrap_or(beside);
        }
        Ok(config)
    }

    fn find(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE_NAME);
        let text = match small_file::read(&path, LONGEST) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::io(&path, "read"))?,
        };
        let config = Self::parse(&path, &text)?;
        let library = config.custom_ops.first().map(|library| library.display().to_string());
        for (name, code) in [
            ("relstab.toml: custom_ops", &library),
            ("relstab.toml: export", &config.export),
            ("relstab.toml: worker_command", &config.worker_command),
        ] {
            if let Some(code) = code {
                let found = format!("{code} in {}", path.display());
                return Err(Error::setting(name, "a flag, or a file named with --config: it is code", found));
            }
        }
        if config.alert.iter().any(|alert| !alert.command.is_empty() || alert.webhook.is_some()) {
            let expected = "a flag, or a file named with --config: a run's own file runs nothing and tells nobody";
            let found = format!("one in {}", path.display());
            return Err(Error::setting("relstab.toml: [[alert]] command, webhook", expected, found));
        }
        let is_inside =
            |probe: &PathBuf| probe.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let preset = config.preprocess.preset.as_ref().map(PathBuf::from);
        for (name, named) in [("relstab.toml: probe", &config.probe), ("relstab.toml: preset", &preset)] {
            if let Some(outside) = named.as_ref().filter(|named| !is_inside(named)) {
                let found = format!("{} in {}", outside.display(), path.display());
                return Err(Error::setting(name, INSIDE, found));
            }
        }
        Ok(Some(config))
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let place = || format!("in {}", path.display());
        if let Ok(values) = table(text)
            && let Some(found) = values.iter().find_map(|(key, value)| not_finite(key, value))
        {
            return Err(Error::setting("relstab.toml", "finite numbers", format!("{found} {}", place())));
        }
        let mut config: Self = toml::from_str(text).map_err(|error| {
            if let Some(slip) = slip(path, text) {
                return slip;
            }
            let place = error.span().map_or(String::new(), |span| {
                format!(", line {}", 1 + text[..span.start.min(text.len())].matches('\n').count())
            });
            let found = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            // An alert's address in place of a file's name is a secret.
            let found = if found.contains("://") { "an address, which is not shown".to_owned() } else { found };
            Error::setting("relstab.toml", "a valid configuration", format!("{}{place}: {found}", path.display()))
        })?;
        for (name, count) in
            [("relstab.toml: [[stop]]", config.stop.len()), ("relstab.toml: [[alert]]", config.alert.len())]
        {
            if count > MOST_RULES {
                return Err(Error::setting(
                    name,
                    format!("at most {MOST_RULES} rules"),
                    format!("{count} {}", place()),
                ));
            }
        }
        config.stop = config.stop.into_iter().map(Rule::validated).collect::<Result<_>>()?;
        config.alert = config.alert.into_iter().map(Alert::validated).collect::<Result<_>>()?;
        Ok(config)
    }
}

/// What is usually meant by a table that is none: `[stop]`, and `[law]` with a name alone.
fn slip(path: &Path, text: &str) -> Option<Error> {
    let values = toml::from_str::<toml::Table>(text).ok()?;
    let refused = |name, expected: &str, found: String| {
        Some(Error::setting(name, expected, format!("{found} in {}", path.display())))
    };
    for (name, key) in [("relstab.toml: stop", "stop"), ("relstab.toml: alert", "alert")] {
        if values.get(key).is_some_and(toml::Value::is_table) {
            let expected = format!("[[{key}]], in two pairs of brackets, above each");
            return refused(name, &expected, format!("[{key}]"));
        }
    }
    let law = values.get("law")?.as_table()?;
    let error = law.clone().try_into::<Law>().err()?;
    let expected = "law = \"NAME\" above the first table, or a [law] table with all numbers of a law of your own";
    let found = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
    refused("relstab.toml: law", expected, format!("a [law] table with a fault: {found},"))
}

/// The file's values, with `inf` for numbers that are too large to be read; some of many.
fn table(text: &str) -> std::result::Result<toml::Table, toml::de::Error> {
    const MOST: usize = 16;
    let mut text = text.to_owned();
    for _ in 0..MOST {
        let Err(error) = toml::from_str::<toml::Table>(&text) else { break };
        let number = error.span().filter(|span| text.get(span.clone()).is_some_and(is_too_large));
        let Some(number) = number else { return Err(error) };
        text.replace_range(number, "inf");
    }
    toml::from_str(&text)
}

fn is_too_large(number: &str) -> bool {
    number.parse::<f64>().is_ok_and(f64::is_infinite)
}

/// The first number in `value` that is NaN or infinite, with its key.
fn not_finite(key: &str, value: &toml::Value) -> Option<String> {
    match value {
        // Most settings are numbers of less precision.
        toml::Value::Float(number) if !(*number as f32).is_finite() => Some(format!("{key} = {number:?}")),
        toml::Value::Array(values) => {
            values.iter().enumerate().find_map(|(index, value)| not_finite(&format!("{key}[{index}]"), value))
        }
        toml::Value::Table(values) => {
            values.iter().find_map(|(name, value)| not_finite(&format!("{key}.{name}"), value))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(FILE_NAME), text).expect("written");
        Config::read(folder.path())
    }

    #[test]
    fn a_folder_without_one_has_an_empty_configuration() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(Config::read(folder.path()).expect("empty").probe.is_none());
    }

    #[test]
    fn paths_outside_unknown_keys_and_bad_syntax_are_refused_with_file_and_line() {
        for text in [
            "probe = '/etc/passwd'",
            "probe = '../x.npy'",
            "exec = 'rm'",
            "custom_ops = ['a.so']",
            "export = 'rm {checkpoint} {onnx}'",
            "worker_command = 'rm x'",
            "\n\nlaw = [",
            "[perturbation]\ndelta = -1e999\n[law]\na = 1e9999",
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(FILE_NAME), "{error}");
        }
        let error = read("[law]\nb = [0, 1e999]").expect_err("too large").to_string();
        assert!(error.contains("law.b[1] = inf"), "{error}");
        let error = read("\n\nlaw = [").expect_err("bad syntax").to_string();
        assert!(error.contains("line 3"), "{error}");
    }

    #[test]
    fn a_law_is_a_name_or_a_table() {
        assert!(matches!(read("law = 'cifar10'").expect("valid").law, Some(LawChoice::Named(_))));
        let table = "[law]\nname = 'own'\na = 0.2\nb = 0.5\nclasses = 10\ncutoff = 3\ndelta = 1.0\ninterpolation = 'bilinear'\n\
                     estimator = 'coordinate_median'\nside = 28\nsource = 'here'";
        assert!(matches!(read(table).expect("valid").law, Some(LawChoice::Own(_))));
    }
}
