//! What a run is measured on and how: settled before anything is loaded, sent to workers, and hashed into a key.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backend::{self, Backend, Model, Network};
use crate::error::{Error, Result};
use crate::event::Measurement;
use crate::measure::{Progress, Settings, logits, measure};
use crate::path::RawPath;
use crate::perturb::Perturber;
use crate::probe::{self, Layout, ProbeSet};

/// Everything that decides a measurement but the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The file of probe images.
    pub probe: RawPath,
    /// Order of its axes, where it cannot be told from the sizes.
    pub layout: Option<Layout>,
    /// Mean to subtract, for pixels in [0, 1].
    pub mean: Option<Vec<f32>>,
    /// Standard deviation to divide by.
    pub std: Option<Vec<f32>>,
    /// Perturbations, statistics and law.
    pub settings: Settings,
    /// What runs the networks.
    pub backend: backend::Options,
}

/// The number of images and draws that a precision came to; the run's first measurement settles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Images.
    pub images: usize,
    /// Draws of each image.
    pub draws: u32,
}

impl Plan {
    /// Names the measuring settings: equal keys give equal measurements of one network on the probe images that `probe`
    /// identifies.
    ///
    /// The law, the engine and the number of threads are left out: they do not change what is measured.
    #[must_use]
    pub fn key(&self, probe: &str) -> String {
        let mut plan = self.clone();
        plan.probe = RawPath(probe.into());
        plan.settings.law = None;
        plan.backend = backend::Options { output: plan.backend.output, ..backend::Options::default() };
        let text = serde_json::to_string(&plan).unwrap_or_else(|_| format!("{plan:?}"));
        hex::encode(&Sha256::digest(text)[..16])
    }

    /// Reads the probe images.
    ///
    /// # Errors
    /// As [`ProbeSet::open`] and [`ProbeSet::normalised`].
    pub fn load(self) -> Result<Setup> {
        let options = probe::Options {
            // A precision may come to need every image there is.
            images: self.settings.precision.is_none().then_some(self.settings.images),
            seed: self.settings.seed,
            layout: self.layout,
        };
        let probe = ProbeSet::open(&self.probe.0, &options)?;
        let key = self.key(probe.sha256());
        let probe = probe.normalised(self.mean.as_deref(), self.std.as_deref())?;
        Ok(Setup { plan: self, probe, key })
    }
}

/// A plan with its probe images in memory: measures one network after another on the same images.
#[derive(Debug)]
pub struct Setup {
    plan: Plan,
    probe: ProbeSet,
    key: String,
}

impl Setup {
    /// The same with another number of draws.
    #[must_use]
    pub fn with_draws(&self, draws: u32) -> Self {
        let mut plan = self.plan.clone();
        plan.settings.draws = draws;
        Self { key: plan.key(self.probe.sha256()), probe: self.probe.clone(), plan }
    }

    /// Names the measuring settings and the probe images.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Reads the network at `path`.
    ///
    /// # Errors
    /// As [`backend::read`].
    pub fn read(&self, path: &Path) -> Result<Model> {
        backend::read(path, self.probe.shape(), self.plan.backend.output.as_deref())
    }

    /// Measures a network, normalising by what it says of itself where the plan does not; `resolved` is what an earlier
    /// network of the run settled and is settled here if there was none.
    ///
    /// # Errors
    /// As [`backend::load`] and [`measure()`].
    pub fn measure(&self, model: Model, resolved: &mut Option<Resolved>, progress: Progress) -> Result<Measurement> {
        let backend = backend::load(model, &self.plan.backend)?;
        let mut settings = self.plan.settings.clone();
        if let (Some(resolved), Some(_)) = (*resolved, settings.precision) {
            (settings.images, settings.draws, settings.precision) = (resolved.images, resolved.draws, None);
        }
        let measurement = measure(&*backend, &*self.probe_for(backend.network())?, &settings, progress)?;
        if settings.precision.is_some() {
            *resolved = Some(Resolved { images: measurement.probe.images, draws: measurement.settings.draws });
        }
        Ok(measurement)
    }

    /// The probe images as `network` sees them: normalised by what it says of itself where the plan does not.
    fn probe_for(&self, network: &Network) -> Result<Cow<'_, ProbeSet>> {
        let (mean, std) = (network.metadata.mean.as_deref(), network.metadata.std.as_deref());
        let is_said = self.plan.mean.is_some() || self.plan.std.is_some();
        if is_said || (mean.is_none() && std.is_none()) {
            return Ok(Cow::Borrowed(&self.probe));
        }
        // What one checkpoint says of itself is no fault of the others.
        let expected = "relstab.mean and relstab.std that fit the probe images";
        let unfit = |error: Error| Error::model(&network.path, expected, error.to_string());
        self.probe.clone().normalised(mean, std).map(Cow::Owned).map_err(unfit)
    }

    /// A network's outputs on the probe images, `[image, output]`, and how many outputs there are.
    ///
    /// # Errors
    /// As [`backend::load`] and [`logits()`].
    pub fn logits(&self, model: Model, progress: Progress) -> Result<(Vec<f32>, usize)> {
        let backend: Box<dyn Backend> = backend::load(model, &self.plan.backend)?;
        let probe = self.probe_for(backend.network())?;
        Ok((logits(&*backend, &probe, progress)?, backend.network().outputs))
    }

    /// The probe images, normalised as the plan says.
    #[must_use]
    pub fn probe(&self) -> &ProbeSet {
        &self.probe
    }

    /// What deforms them and adds noise.
    ///
    /// # Errors
    /// As [`Perturber::new`].
    pub fn perturber(&self) -> Result<Perturber> {
        Perturber::new(self.probe.shape(), &self.plan.settings.deformation, self.plan.settings.seed)
    }

    /// Deformations of each image.
    #[must_use]
    pub fn draws(&self) -> u32 {
        self.plan.settings.draws
    }
}
