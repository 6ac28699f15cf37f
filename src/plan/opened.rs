//! A network that is ready to be measured as a plan says, and all that can be asked of it.

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::error::Result;
use crate::event::{Answers, Finding, Measurement, Strip};
use crate::measure::layers::{Layers, layers};
use crate::measure::shards::{Part, Shard, part};
use crate::measure::sweep::{Grid, Sweep, sweep};
use crate::measure::{Kept, Preview, Progress, Settings, diagnose, logits, measure_more, preview, strip, wrong};
use crate::probe::ProbeSet;

/// The number of images and draws that a precision came to; the run's first measurement settles it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Images.
    pub images: usize,
    /// Draws of each image.
    pub draws: u32,
}

/// A network in its engine, and the images it is measured on.
pub struct Opened {
    pub(super) backend: Box<dyn Backend>,
    pub(super) probe: ProbeSet,
    /// Names the images as they lie in their files.
    pub(super) source: String,
    /// What the plan says; a caller with less time may ask for less.
    pub settings: Settings,
}

impl Opened {
    /// Measures; `resolved` is what an earlier network of the run settled and is settled here if there was none.
    ///
    /// # Errors
    /// As [`crate::measure::measure`].
    pub fn measure(&self, resolved: &mut Option<Resolved>, progress: Progress) -> Result<Measurement> {
        Ok(self.measure_kept(&mut Kept::default(), resolved, progress)?.0)
    }

    /// As [`Opened::measure`], with what the network answered; images whose passes are kept do not go through again.
    ///
    /// # Errors
    /// As [`measure_more()`].
    pub fn measure_kept(
        &self,
        kept: &mut Kept,
        resolved: &mut Option<Resolved>,
        progress: Progress,
    ) -> Result<(Measurement, Answers)> {
        let mut settings = self.settings.clone();
        if let (Some(resolved), Some(_)) = (*resolved, settings.precision) {
            settings = Settings { images: resolved.images, precision: None, ..settings }.with_draws(resolved.draws);
        }
        let (measurement, answers) = self.measure_as(&settings, kept, progress)?;
        // What an undefined R_f came to says nothing of the others.
        if settings.precision.is_some() && measurement.r_f.is_some() {
            *resolved = Some(Resolved { images: measurement.probe.images, draws: measurement.settings.draws });
        }
        Ok((measurement, answers))
    }

    /// The images whose answers moved most in what is `kept` of a measurement; `None` where nothing is, or no picture is small enough.
    ///
    /// # Errors
    /// As [`strip()`].
    pub fn strip(&self, kept: &Kept, progress: Progress) -> Result<Option<Strip>> {
        strip(&*self.backend, &self.probe, &self.settings, kept, progress)
    }

    /// Measures one shard of the images.
    ///
    /// # Errors
    /// As [`part()`].
    pub fn part(&self, shard: Shard, progress: Progress) -> Result<Part> {
        part(&*self.backend, &self.probe, &self.settings, shard, progress)
    }

    /// Measures the first `images` alone, with as many draws of each as if all were measured.
    ///
    /// # Errors
    /// As [`measure_more()`].
    pub fn measure_first(&self, images: usize, kept: &mut Kept, progress: Progress) -> Result<(Measurement, Answers)> {
        let draws = self.settings.draws_of(self.images());
        let settings = Settings { images, ..self.settings.clone() }.with_draws(draws);
        self.measure_as(&settings, kept, progress)
    }

    fn measure_as(&self, settings: &Settings, kept: &mut Kept, progress: Progress) -> Result<(Measurement, Answers)> {
        let (measurement, answers) = measure_more(&*self.backend, &self.probe, settings, kept, progress)?;
        Ok((measurement, Answers { source: self.source.clone(), ..answers }))
    }

    /// Images that are measured unless a precision takes more.
    pub fn images(&self) -> usize {
        self.settings.images.min(self.probe.len())
    }

    /// Measures at every point of a grid of deformations, in place of the plan's.
    ///
    /// # Errors
    /// As [`sweep()`].
    pub fn sweep(&self, grid: &Grid, progress: Progress) -> Result<Sweep> {
        sweep(&*self.backend, &self.probe, &self.settings, grid, progress)
    }

    /// Measures the layers that it was opened with too.
    ///
    /// # Errors
    /// As [`layers()`].
    pub fn layers(&self, progress: Progress) -> Result<Layers> {
        layers(&*self.backend, &self.probe, &self.settings, progress)
    }

    /// What the network makes of the first images, and what measuring it would take.
    ///
    /// # Errors
    /// As [`preview()`].
    pub fn preview(&self, progress: Progress) -> Result<Preview> {
        preview(&*self.backend, &self.probe, &self.settings, progress)
    }

    /// What findings say of the network before it is measured.
    ///
    /// # Errors
    /// As [`diagnose()`].
    pub fn diagnose(&self, progress: Progress) -> Result<Vec<Finding>> {
        diagnose(&*self.backend, &self.probe, &self.settings, progress)
    }

    /// The network's outputs on the probe images, `[image, output]`, and how many outputs there are.
    ///
    /// # Errors
    /// As [`logits()`].
    pub fn logits(&self, progress: Progress) -> Result<(Vec<f32>, usize)> {
        Ok((logits(&*self.backend, &self.probe, progress)?, self.backend.network().outputs()))
    }

    /// As [`wrong()`], of images that may be preprocessed in another way.
    ///
    /// # Errors
    /// As [`wrong()`].
    pub fn wrong(&self, probe: &ProbeSet, progress: Progress) -> Result<Option<Vec<bool>>> {
        wrong(&*self.backend, probe, progress)
    }

    /// How many outputs the network has.
    pub fn outputs(&self) -> usize {
        self.backend.network().outputs()
    }

    /// The images, as the network sees them.
    pub fn probe(&self) -> &ProbeSet {
        &self.probe
    }
}
