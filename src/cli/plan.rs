//! What flags and a run's `relstab.toml` come to: flags win.

use std::path::{Path, PathBuf};

use super::flags::{Deforming, Shared};
use crate::backend::{self, PerturbOn};
use crate::checkpoint::folders::run_of;
use crate::config::{Config, LawChoice};
use crate::error::{Error, Result};
use crate::measure::{ChosenLaw, Settings};
use crate::path::RawPath;
use crate::perturb::Interpolation;
use crate::plan::Plan;
use crate::predict::Law;
use crate::preprocess::Preprocess;
use crate::watch::daemon::RunPlan;

impl<D: Deforming> Shared<D> {
    /// What a run below `root` is measured on and judged by, configured by `config` or by its own `relstab.toml`.
    pub fn run_plan(&self, run: &Path, root: &Path, config: Option<&Path>) -> Result<RunPlan> {
        let (config, folder) = configured(run, root, config)?;
        Ok(RunPlan { plan: self.plan(&config, &folder)?, rules: config.stop, refit: config.refit })
    }

    /// Says what is wrong with the settings of a run, and with its probe images; those may be named later.
    pub fn rehearse(&self, run: &Path, config: Option<&Path>) -> Result<()> {
        let (config, folder) = configured(run, run, config)?;
        self.settings(&config)?;
        self.preprocessing(&config, &folder)?;
        if self.probe.is_some() || config.probe.is_some() {
            self.plan(&config, &folder)?.load()?;
        }
        Ok(())
    }

    /// What the network at `path` is measured on: these flags over the `relstab.toml` of the run that it belongs to.
    pub fn plan_for(&self, path: &Path) -> Result<Plan> {
        let (config, folder) = Config::of_run(path.parent().unwrap_or(Path::new("")), run_of(path))?;
        self.plan(&config, &folder)
    }

    /// These flags over `config`, which lies in `folder`.
    pub fn plan(&self, config: &Config, folder: &Path) -> Result<Plan> {
        let probe = match (&self.probe, &config.probe) {
            (Some(path), _) => path.clone(),
            (None, Some(path)) => folder.join(path),
            (None, None) => {
                let found = "none, and no relstab.toml that names one";
                return Err(Error::setting("--probe", "a file or folder of probe images", found));
            }
        };
        let plan = Plan {
            probe: RawPath(probe),
            layout: self.layout,
            image_shape: self.image_shape.map(|shape| [shape.channels, shape.height, shape.width]),
            max_bad: self.max_bad,
            preprocess: self.preprocessing(config, folder)?,
            settings: self.settings(config)?,
            backend: self.backend_options(&config.custom_ops)?,
        };
        let interpolation = plan.settings.deformation.interpolation;
        if plan.backend.perturb_on == PerturbOn::Provider && interpolation != Interpolation::Bilinear {
            return Err(Error::setting("--perturb-on provider", "--interpolation bilinear", interpolation));
        }
        Ok(plan)
    }

    /// What runs the networks, with these libraries of operators where the flags name none.
    pub fn backend_options(&self, custom_ops: &[PathBuf]) -> Result<backend::Options> {
        let custom_ops = if self.custom_ops.is_empty() { custom_ops } else { &self.custom_ops };
        let absolute = |library: &PathBuf| std::path::absolute(library).unwrap_or_else(|_| library.clone());
        backend::Options {
            engine: self.backend,
            provider: self.provider,
            library: self.onnxruntime.clone().map(RawPath),
            custom_ops: custom_ops.iter().map(absolute).map(RawPath).collect(),
            output: self.output.clone(),
            input_layout: self.input_layout,
            threads: self.threads,
            device: self.device,
            gpu_memory: self.gpu_memory_limit.map(|size| size.as_u64()),
            perturb_on: self.perturb_on,
        }
        .validated()
    }

    fn preprocessing(&self, config: &Config, folder: &Path) -> Result<Preprocess> {
        let mut preprocess = match &self.preprocess {
            Some(name) => Preprocess::named(name)?,
            None => config.preprocess.resolved(folder)?,
        };
        preprocess.mean = self.mean.clone().or(preprocess.mean);
        preprocess.std = self.std.clone().or(preprocess.std);
        Ok(preprocess)
    }

    /// Perturbations, statistics and law.
    pub fn settings(&self, config: &Config) -> Result<Settings> {
        let mut settings = Settings { law: chosen_law(self, config)?, ..Settings::default() };
        let file = &config.perturbation;
        settings.deformation = self.deforming.over(file, settings.deformation)?;
        if let Some(interpolation) = self.interpolation.or(file.interpolation) {
            settings.deformation.interpolation = interpolation;
        }
        settings.images = self.images.or(file.images).unwrap_or(settings.images);
        settings.draws = self.draws.or(file.draws).unwrap_or(settings.draws);
        settings.seed = self.seed.or(file.seed).unwrap_or(settings.seed);
        settings.estimator = self.estimator.or(file.estimator).unwrap_or(settings.estimator);
        settings.precision = self.precision.or(file.precision);
        Ok(settings)
    }
}

/// The configuration of a run below `root`, or the one named, and where it lies.
fn configured(run: &Path, root: &Path, config: Option<&Path>) -> Result<(Config, PathBuf)> {
    match config {
        Some(path) => Ok((Config::read_file(path)?, path.parent().unwrap_or(Path::new("")).to_owned())),
        None => Config::of_run(run, root),
    }
}

fn chosen_law<D: Deforming>(flags: &Shared<D>, config: &Config) -> Result<Option<ChosenLaw>> {
    let (law, explicit) = match (&flags.law, &config.law) {
        (Some(name), Some(LawChoice::Own(law))) if law.name == *name => ((**law).clone(), true),
        (Some(name), _) => (Law::named(name)?, true),
        (None, Some(LawChoice::Named(name))) => (Law::named(name)?, false),
        (None, Some(LawChoice::Own(law))) => ((**law).clone(), false),
        (None, None) => return Ok(None),
    };
    Ok(Some(ChosenLaw { law: law.validated()?, explicit, force: flags.force_law }))
}
