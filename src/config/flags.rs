//! What a command line says of measuring, and what it comes to over a `relstab.toml`; it can be sent to a worker.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Config, LawChoice, Perturbation};
use crate::alert::Alert;
use crate::backend::{self, PerturbOn};
use crate::error::{Error, Result};
use crate::measure::{ChosenLaw, Settings};
use crate::path::{RawPath, stay_inside};
use crate::perturb::{Deformation, Interpolation, Size};
use crate::plan::Plan;
use crate::predict::Law;
use crate::preprocess::Preprocess;
use crate::probe::Layout;
use crate::stop::Rule;
use crate::store::address::{is_address, normalised};

/// What flags say; each wins over `relstab.toml`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Flags {
    /// A configuration to read in place of each run's own.
    pub config: Option<RawPath>,
    /// Probe images.
    pub probe: Option<RawPath>,
    /// Order of the probe set's axes.
    pub layout: Option<Layout>,
    /// Channels, height and width of an image, where each is one row.
    pub image_shape: Option<[usize; 3]>,
    /// Images that cannot be decoded to pass over.
    pub max_bad: usize,
    /// What the training did to its images: a preset, a file or pairs.
    pub preprocess: Option<String>,
    /// Mean to subtract.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation to divide by.
    pub std: Option<Vec<f32>>,
    /// How images are perturbed.
    pub perturbation: Perturbation,
    /// The law's name.
    pub law: Option<String>,
    /// Apply the law whatever the settings.
    pub force_law: bool,
    /// What runs the networks.
    pub backend: backend::Options,
    /// Early-stopping rules.
    pub stop: Vec<Rule>,
    /// What people want to be told of.
    pub alert: Vec<Alert>,
}

/// In place of a law's name.
const NO_LAW: &str = "none";

/// What a run is measured on and judged by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunPlan {
    /// What it is measured on.
    pub plan: Plan,
    /// What it is judged by.
    pub rules: Vec<Rule>,
    /// Whether its known errors count in its law.
    pub refit: bool,
    /// What people want to be told of it.
    pub alerts: Vec<Alert>,
}

impl Flags {
    /// The configuration of a run below `root`, and the directory that its paths start from.
    ///
    /// # Errors
    /// As [`Config::read_file`] and [`Config::of_run`].
    pub fn config_of(&self, run: &Path, root: &Path) -> Result<(Config, std::path::PathBuf)> {
        match &self.config {
            Some(RawPath(path)) => Ok((Config::read_file(path)?, path.parent().unwrap_or(Path::new("")).to_owned())),
            None => Config::of_run(run, root),
        }
    }

    /// Whether frameworks' own checkpoints are exported: by these flags, or by the configuration that they name, which is read.
    ///
    /// # Errors
    /// As [`Config::read_file`].
    pub fn has_export(&self) -> Result<bool> {
        Ok(self.backend.export.is_some() || self.named()?.is_some_and(|config| config.export.is_some()))
    }

    /// The configuration that these flags name.
    ///
    /// # Errors
    /// As [`Config::read_file`].
    pub fn named(&self) -> Result<Option<Config>> {
        self.config.as_ref().map(|path| Config::read_file(&path.0)).transpose()
    }

    /// What a run below `root` is measured on and judged by.
    ///
    /// # Errors
    /// As [`Flags::config_of`] and [`Flags::plan`].
    pub fn run_plan(&self, run: &Path, root: &Path) -> Result<RunPlan> {
        let (config, folder) = self.config_of(run, root)?;
        self.run_plan_by(&config, &folder)
    }

    /// As [`Flags::run_plan`], by `config`, which lies in `folder`; its paths are absolute, for workers run elsewhere.
    ///
    /// # Errors
    /// As [`Flags::plan`].
    pub fn run_plan_by(&self, config: &Config, folder: &Path) -> Result<RunPlan> {
        let mut plan = self.plan(config, folder)?;
        let probe = &mut plan.probe.0;
        if !is_address(probe) {
            *probe = std::path::absolute(&*probe).map_err(Error::io(probe, "find"))?;
        }
        if let Some(RawPath(folder)) = &mut plan.within {
            *folder = std::path::absolute(&*folder).map_err(Error::io(folder, "find"))?;
        }
        let rules = if self.stop.is_empty() { &config.stop } else { &self.stop };
        let alerts = if self.alert.is_empty() { &config.alert } else { &self.alert };
        Ok(RunPlan { plan, rules: rules.clone(), refit: config.refit, alerts: alerts.clone() })
    }

    /// Says what is wrong with the settings of a run, and with its probe images; those may be named later.
    ///
    /// # Errors
    /// As [`Flags::run_plan`] and [`Plan::load`].
    pub fn rehearse(&self, run: &Path) -> Result<()> {
        let (config, folder) = self.config_of(run, run)?;
        let settings = self.settings(&config)?;
        settings.check()?;
        settings.deformation.check()?;
        self.preprocessing(&config, &folder)?;
        if self.probe.is_some() || config.probe.is_some() {
            self.plan(&config, &folder)?.load()?;
        }
        Ok(())
    }

    /// These flags over `config`, which lies in `folder`.
    ///
    /// # Errors
    /// `Setting` for a setting that cannot be used or a probe set that is not named, `Io` for a file that cannot be read, `Law` for a law
    /// that is not there.
    pub fn plan(&self, config: &Config, folder: &Path) -> Result<Plan> {
        let probe = match (&self.probe, &config.probe) {
            (Some(RawPath(path)), _) => path.clone(),
            (None, Some(path)) => folder.join(path),
            (None, None) => {
                let found = "none, and no relstab.toml that names one";
                return Err(Error::setting("--probe", "a file or folder of probe images", found));
            }
        };
        // No message may show what is secret in an address.
        let probe = if is_address(&probe) { normalised("--probe", &probe)? } else { probe };
        // What the user names may lie anywhere.
        let is_of_run = self.probe.is_none() && self.config.is_none() && !is_address(&probe);
        let plan = Plan {
            within: is_of_run.then(|| RawPath(folder.to_owned())),
            probe: RawPath(probe),
            layout: self.layout,
            image_shape: self.image_shape,
            max_bad: self.max_bad,
            preprocess: self.preprocessing(config, folder)?,
            settings: self.settings(config)?,
            backend: self.backend_over(config)?,
        };
        plan.check_place()?;
        let interpolation = plan.settings.deformation.interpolation;
        if plan.backend.perturb_on == PerturbOn::Provider && interpolation != Interpolation::Bilinear {
            return Err(Error::setting("--perturb-on provider", "--interpolation bilinear", interpolation));
        }
        Ok(plan)
    }

    /// What runs the networks, with the configuration's libraries of operators and its export where the flags name none.
    fn backend_over(&self, config: &Config) -> Result<backend::Options> {
        let mut backend = self.backend.clone();
        if backend.custom_ops.is_empty() {
            backend.custom_ops = config.custom_ops.iter().cloned().map(RawPath).collect();
        }
        if let (None, Some(command)) = (&backend.export, &config.export) {
            backend.export = Some(command.parse()?);
        }
        backend.validated()
    }

    fn preprocessing(&self, config: &Config, folder: &Path) -> Result<Preprocess> {
        let mut preprocess = if let Some(name) = &self.preprocess {
            Preprocess::named(name)?
        } else {
            if let (None, Some(file)) = (&self.config, config.preprocess.file(folder)) {
                stay_inside("relstab.toml: preset", folder, &file)?;
            }
            config.preprocess.resolved(folder)?
        };
        preprocess.mean = self.mean.clone().or(preprocess.mean);
        preprocess.std = self.std.clone().or(preprocess.std);
        Ok(preprocess)
    }

    /// Perturbations, statistics and law.
    ///
    /// # Errors
    /// As [`Flags::plan`].
    pub fn settings(&self, config: &Config) -> Result<Settings> {
        let mut settings = Settings { law: self.chosen_law(config)?, ..Settings::default() };
        let (given, file) = (&self.perturbation, &config.perturbation);
        settings.deformation = deformation(given, file, settings.deformation)?;
        settings.images = given.images.or(file.images).unwrap_or(settings.images);
        if let Some(draws) = given.draws.or(file.draws) {
            settings = settings.with_draws(draws);
        }
        settings.seed = given.seed.or(file.seed).unwrap_or(settings.seed);
        settings.estimator = given.estimator.or(file.estimator).unwrap_or(settings.estimator);
        settings.precision = given.precision.or(file.precision);
        Ok(settings)
    }

    fn chosen_law(&self, config: &Config) -> Result<Option<ChosenLaw>> {
        let (law, explicit) = match (&self.law, &config.law) {
            (Some(name), _) if name == NO_LAW => return Ok(None),
            (None, Some(LawChoice::Named(name))) if name == NO_LAW => return Ok(None),
            (Some(name), Some(LawChoice::Own(law))) if law.name == *name => ((**law).clone(), true),
            (Some(name), _) => (law_named(name)?, true),
            (None, Some(LawChoice::Named(name))) => (law_named(name)?, false),
            (None, Some(LawChoice::Own(law))) => ((**law).clone(), false),
            (None, None) => (Law::usual()?, false),
        };
        Ok(Some(ChosenLaw { law: law.validated()?, explicit, force: self.force_law }))
    }
}

fn law_named(name: &str) -> Result<Law> {
    Law::named(name).map_err(|error| match error {
        Error::Law { name, reason } => Error::NoSuchLaw { name, there: reason },
        error => error,
    })
}

fn deformation(given: &Perturbation, file: &Perturbation, default: Deformation) -> Result<Deformation> {
    let size = match (given.delta, given.temperature) {
        (None, None) => (file.delta, file.temperature),
        given => given,
    };
    let size = match size {
        (Some(_), Some(_)) => {
            return Err(Error::setting("relstab.toml: [perturbation]", "delta or temperature", "both"));
        }
        (Some(delta), None) => Size::Delta(delta),
        (None, Some(temperature)) => Size::Temperature(temperature),
        (None, None) => default.size,
    };
    Ok(Deformation {
        cutoff: given.cutoff.or(file.cutoff).unwrap_or(default.cutoff),
        size,
        interpolation: given.interpolation.or(file.interpolation).unwrap_or(default.interpolation),
    })
}
