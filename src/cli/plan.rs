//! What flags say, and what they come to over the `relstab.toml` of a network's run.

use std::path::{Path, PathBuf};

use super::flags::{Deforming, Devices, Perturbing, Predicting, Preprocessing, Running, Shared, Shown};
use crate::backend::{self, visible_gpus};
use crate::checkpoint::folders::run_of;
use crate::config::{Config, Flags, Perturbation};
use crate::error::{Error, Result};
use crate::measure::Settings;
use crate::path::RawPath;
use crate::plan::Plan;

/// Flags of numbers that may be written `nan` or `inf`.
const FINITE: [&str; 5] = ["--mean", "--std", "--delta", "--temperature", "--precision"];

impl<D: Deforming, L: Predicting> Shared<D, L> {
    /// What the flags say.
    ///
    /// # Errors
    /// `Setting` for numbers that are not finite, and for what no engine can do.
    pub fn flags(&self) -> Result<Flags> {
        let Perturbing { draws, ref deforming, interpolation, estimator, precision, seed } = self.perturbing;
        let images = self.images.images;
        let mut perturbation =
            Perturbation { images, draws, interpolation, estimator, precision, seed, ..Perturbation::default() };
        deforming.say(&mut perturbation);
        let Preprocessing { preprocess, mean, std } = &self.preprocessing;
        let lists = [mean, std].map(|list| list.iter().flatten().map(|value| f64::from(*value)).collect::<Vec<_>>());
        let sizes = [perturbation.delta, perturbation.temperature, perturbation.precision]
            .map(|size| size.into_iter().collect::<Vec<_>>());
        for (flag, values) in FINITE.into_iter().zip(lists.into_iter().chain(sizes)) {
            if let Some(found) = values.iter().find(|value| !value.is_finite()) {
                return Err(Error::setting(flag, "finite numbers", found));
            }
        }
        let Shown { probe, layout, image_shape, max_bad, .. } = &self.images;
        let (law, force_law) = self.predicting.law();
        Ok(Flags {
            config: None,
            probe: probe.clone().map(RawPath),
            layout: *layout,
            image_shape: image_shape.map(|shape| [shape.channels, shape.height, shape.width]),
            max_bad: *max_bad,
            preprocess: preprocess.clone(),
            mean: mean.clone(),
            std: std.clone(),
            perturbation,
            law,
            force_law,
            backend: self.running.options()?,
            stop: Vec::new(),
            alert: Vec::new(),
        })
    }

    /// What the network at `path` is measured on: these flags over the `relstab.toml` of the run that it belongs to.
    pub fn plan_for(&self, path: &Path) -> Result<Plan> {
        let (config, folder) = Config::of_run(path.parent().unwrap_or(Path::new("")), run_of(path))?;
        self.flags()?.plan(&config, &folder)
    }

    /// What the flags alone say.
    pub fn plan(&self) -> Result<Plan> {
        self.flags()?.plan(&Config::default(), Path::new(""))
    }

    /// Perturbations, statistics and law of the flags alone.
    pub fn settings(&self) -> Result<Settings> {
        self.flags()?.settings(&Config::default())
    }
}

impl Running {
    /// What runs the networks, on one GPU at most.
    pub fn options(&self) -> Result<backend::Options> {
        let device = match &self.device {
            None => None,
            Some(Devices::Listed(numbers)) if numbers.len() == 1 => numbers.first().copied(),
            Some(several) => {
                return Err(Error::setting("--device", "one GPU; the daemon of relstab watch takes several", several));
            }
        };
        let absolute = |library: &PathBuf| std::path::absolute(library).unwrap_or_else(|_| library.clone());
        backend::Options {
            engine: self.backend,
            provider: self.provider,
            library: self.onnxruntime.clone().map(RawPath),
            custom_ops: self.custom_ops.iter().map(absolute).map(RawPath).collect(),
            output: self.output.clone(),
            input_layout: self.input_layout,
            threads: self.threads,
            device,
            gpu_memory: self.gpu_memory_limit.map(|size| size.as_u64()),
            perturb_on: self.perturb_on,
            export: self.export.clone(),
        }
        .validated()
    }

    /// The GPUs that workers compute on; none where none are named.
    ///
    /// # Errors
    /// `Unavailable` for all where there are none.
    pub fn devices(&self) -> Result<Vec<u16>> {
        match &self.device {
            None => Ok(Vec::new()),
            Some(Devices::Listed(numbers)) => Ok(numbers.clone()),
            Some(Devices::All) => match visible_gpus() {
                0 => Err(Error::Unavailable {
                    what: "--device all".to_owned(),
                    reason: "CUDA shows no GPU here".to_owned(),
                    help: "relstab doctor says what is missing; name the GPUs of other machines, such as --device 0,1",
                }),
                count => Ok((0..=u16::MAX).take(count).collect()),
            },
        }
    }
}
