//! What a checkpoint says of itself: step, epoch, known error, normalisation.
//!
//! Read from the ONNX file's `metadata_props`, else from `NAME.onnx.json` beside it, else from the file's name.

pub mod file;
pub mod folders;
pub mod names;
pub mod native;
pub mod signature;
pub mod trained_on;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::preprocess::Preprocess;
use crate::small_file;
use folders::run_of;
use names::step_and_epoch;

/// The file beside a network may be this long, bytes.
const LONGEST: u64 = 1 << 20;

/// Metadata of one checkpoint; errors are fractions in [0, 1].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metadata {
    /// Optimiser steps taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Epochs trained, fractional where a checkpoint lies within one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<f64>,
    /// Error on held-out data, known to the training loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_error: Option<f64>,
    /// Training-set size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_size: Option<u64>,
    /// What the training did to its images.
    #[serde(flatten)]
    pub preprocess: Preprocess,
    /// Everything else under a `relstab.` key, as written.
    #[serde(flatten)]
    pub other: BTreeMap<String, String>,
}

impl Metadata {
    /// Metadata of the checkpoint at `path`, whose own `metadata_props` are `properties`; with warnings on values
    /// that are no numbers or out of range, which are left out.
    pub fn read<'a>(path: &Path, properties: impl Iterator<Item = (&'a str, &'a str)>) -> (Self, Vec<String>) {
        let mut metadata = Self::default();
        let mut warnings = Vec::new();
        for (key, value) in properties {
            if let Some(key) = key.strip_prefix("relstab.") {
                metadata.set(key, value, &mut warnings);
            }
        }
        if metadata == Self::default() {
            match beside(path) {
                Some(Ok(values)) => {
                    for (key, value) in values {
                        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        metadata.set(key.strip_prefix("relstab.").unwrap_or(&key), &text, &mut warnings);
                    }
                }
                Some(Err(error)) => warnings.push(format!("{}: {error}", file::sidecar(path).display())),
                None => {}
            }
        }
        if metadata.step.is_none() && metadata.epoch.is_none() {
            (metadata.step, metadata.epoch) = step_and_epoch(path, run_of(path));
        }
        (metadata, warnings)
    }

    fn set(&mut self, key: &str, value: &str, warnings: &mut Vec<String>) {
        let value = value.trim();
        let understood = match key {
            "step" => parse_into(value, &mut self.step, |_| true),
            "epoch" => parse_into(value, &mut self.epoch, |epoch: &f64| epoch.is_finite() && *epoch >= 0.0),
            "train_size" => parse_into(value, &mut self.train_size, |_| true),
            "val_error" => parse_into(value, &mut self.val_error, |error: &f64| (0.0..=1.0).contains(error)),
            "mean" => parse_list(value, &mut self.preprocess.mean),
            "std" => parse_list(value, &mut self.preprocess.std),
            _ => self.preprocess.set(key, value).unwrap_or_else(|| {
                self.other.insert(key.to_owned(), value.to_owned());
                true
            }),
        };
        if !understood {
            let expected = match key {
                "val_error" => "a fraction in [0, 1]",
                "mean" | "std" => "numbers separated by commas",
                "resize" | "crop" => "SIDE or HxW, pixels",
                "resample" => "nearest, bilinear, bicubic, lanczos or hamming",
                "color" => "rgb, bgr or gray",
                _ => "a number",
            };
            warnings.push(format!("metadata relstab.{key}: expected {expected}, found {value:?}; left out"));
        }
    }

    /// The order within a run: by step, then epoch; checkpoints without either come first.
    pub fn order(&self, other: &Self) -> Ordering {
        let epoch = |metadata: &Self| metadata.epoch.unwrap_or(-1.0);
        self.step.cmp(&other.step).then(epoch(self).total_cmp(&epoch(other)))
    }

    /// Whether the checkpoint says that it was written before any training.
    pub fn is_initial(&self) -> bool {
        self.step == Some(0) || (self.step.is_none() && self.epoch == Some(0.0))
    }
}

/// Checks that the checkpoint at `path` has the hash that the file beside it tells, if that tells one (`"sha256"`).
///
/// # Errors
/// `Unfinished` if it has another: the two were written or copied at different times, and one of them may yet come.
pub fn check_hash(path: &Path, sha256: &str) -> Result<(), Error> {
    let told = beside(path).and_then(Result::ok).and_then(|mut values| values.remove("sha256"));
    let Some(told) = told.as_ref().and_then(Value::as_str) else { return Ok(()) };
    if told.eq_ignore_ascii_case(sha256) {
        return Ok(());
    }
    let name = file::sidecar(path).file_name().unwrap_or_default().display().to_string();
    let expected = format!("the SHA-256 that {name} tells ({told:.64})");
    Err(Error::Unfinished { path: path.to_owned(), expected, found: sha256.to_owned() })
}

/// What the file beside the checkpoint at `path` says, if there is one.
fn beside(path: &Path) -> Option<Result<Map<String, Value>, String>> {
    let sidecar = file::sidecar(path);
    let told = |text: String| {
        serde_json::from_str(&text)
            .map_err(|error| format!("not a JSON object: {}", small_file::json_fault(&text, &error)))
    };
    sidecar.exists().then(|| small_file::read(&sidecar, LONGEST).map_err(|error| error.to_string()).and_then(told))
}

fn parse_into<T: std::str::FromStr>(text: &str, slot: &mut Option<T>, valid: impl Fn(&T) -> bool) -> bool {
    *slot = text.parse().ok().filter(valid);
    slot.is_some()
}

fn parse_list(text: &str, slot: &mut Option<Vec<f32>>) -> bool {
    let items = text.trim_matches(['[', ']', '(', ')']).split(',');
    *slot = items.map(|item| item.trim().parse().ok().filter(|value: &f32| value.is_finite())).collect();
    slot.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_win_over_the_name_and_bad_ones_are_named() {
        let properties =
            [("relstab.step", "7"), ("relstab.val_error", "12.5"), ("relstab.mean", "0.1, 0.2"), ("x", "y")];
        let (metadata, warnings) = Metadata::read(Path::new("step_9.onnx"), properties.into_iter());
        assert_eq!((metadata.step, metadata.val_error), (Some(7), None));
        assert_eq!(metadata.preprocess.mean, Some(vec![0.1, 0.2]));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("val_error") && warnings[0].contains("12.5"), "{warnings:?}");
    }

    #[test]
    fn the_hash_beside_a_checkpoint_is_that_of_its_bytes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, beside) = (folder.path().join("a.pt"), folder.path().join("a.pt.json"));
        std::fs::write(&path, "weights").expect("written");
        let own = native::Native::read(&path).expect("whole").sha256;
        for (told, is_taken) in
            [(own.as_str(), true), (&own.to_uppercase(), true), (&"0".repeat(64), false), ("", false)]
        {
            std::fs::write(&beside, format!(r#"{{"step": 1, "sha256": "{told}"}}"#)).expect("written");
            let read = native::Native::read(&path).map_err(|error| error.to_string());
            assert_eq!(read.is_ok(), is_taken, "{read:?}");
            assert!(read.err().is_none_or(|words| words.contains("a.pt.json") && words.contains(&own)));
        }
        std::fs::write(&beside, r#"{"sha256": "#).expect("written");
        assert!(native::Native::read(&path).is_ok(), "half a file tells nothing");
    }

    #[test]
    fn a_sidecar_file_serves_where_the_network_says_nothing() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = folder.path().join("a.onnx");
        std::fs::write(folder.path().join("a.onnx.json"), r#"{"step": 12, "val_error": 0.25, "architecture": "cnn"}"#)
            .expect("written");
        let (metadata, warnings) = Metadata::read(&model, std::iter::empty());
        assert_eq!((metadata.step, metadata.val_error), (Some(12), Some(0.25)));
        assert_eq!(metadata.other["architecture"], "cnn");
        assert!(warnings.is_empty());
    }
}
