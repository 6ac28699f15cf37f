//! What a run is measured on and how: settled before anything is loaded, sent to workers, and hashed into a key.

mod opened;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use opened::{Opened, Resolved};

use crate::backend::{self, Model, Notice, Selection};
use crate::error::{Error, Result};
use crate::event::Measurement;
use crate::measure::layers::affordable;
use crate::measure::{ChosenLaw, Progress, Settings};
use crate::path::{RawPath, stay_inside};
use crate::perturb::{Generator, Perturber};
use crate::preprocess::{Color, Geometry, Preprocess};
use crate::probe::{self, Layout, ProbeSet, Shape, Source};

/// Everything that decides a measurement but the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The file or folder of probe images.
    pub probe: RawPath,
    /// The directory that they must lie in, also behind links: a run's own configuration names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<RawPath>,
    /// Order of its axes, where it cannot be told from the sizes.
    pub layout: Option<Layout>,
    /// The shape of an image, where the file holds each as one row: channels, height, width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_shape: Option<[usize; 3]>,
    /// How many images that cannot be decoded are passed over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_bad: usize,
    /// What the training did to its images.
    pub preprocess: Preprocess,
    /// Perturbations, statistics and law.
    pub settings: Settings,
    /// What runs the networks.
    pub backend: backend::Options,
}

impl Plan {
    /// Names the measuring settings: equal keys give equal measurements of one network on the probe images that `probe`
    /// identifies.
    ///
    /// The law, the engine and the number of threads are left out: they do not change what is measured.
    pub fn key(&self, probe: &str) -> String {
        let mut plan = self.clone();
        (plan.probe, plan.within) = (RawPath(probe.into()), None);
        plan.settings.law = None;
        let backend::Options { output, input_layout, export, .. } = plan.backend;
        plan.backend = backend::Options { output, input_layout, export, ..backend::Options::default() };
        let text = serde_json::to_string(&plan).unwrap_or_else(|_| format!("{plan:?}"));
        hex::encode(&Sha256::digest(format!("{text} {}", Generator::PRESENT))[..16])
    }

    /// Opens the source of the probe images.
    ///
    /// # Errors
    /// As [`Source::open`], and for images that are of another kind than the plan says.
    pub fn load(self) -> Result<Setup> {
        // The threads that compute statistics begin while there is memory for them: a network may take all that there is.
        let _ = rayon::current_num_threads();
        let options = probe::Options {
            // A precision may come to need every image there is.
            images: self.settings.precision.is_none().then_some(self.settings.images),
            seed: self.settings.seed,
            layout: self.layout,
            image_shape: self.image_shape.map(|[channels, height, width]| Shape { channels, height, width }),
            max_bad: self.max_bad,
            preprocess: self.preprocess.clone(),
        };
        self.check_place()?;
        let source = Source::open(&self.probe.0, &options)?;
        // What was read may be what a link led to meanwhile.
        self.check_place()?;
        let key = self.key(source.id());
        let setup = Setup { plan: self, source: Arc::new(source), sets: Arc::default(), owners: Arc::default(), key };
        if !setup.source.is_encoded() {
            // What is wrong with it is known now rather than with the first network.
            setup.probe(&|_, _| ())?;
        }
        Ok(setup)
    }

    /// That its probe images lie where they must.
    ///
    /// # Errors
    /// As [`stay_inside()`].
    pub fn check_place(&self) -> Result<()> {
        let Some(RawPath(folder)) = &self.within else { return Ok(()) };
        stay_inside("relstab.toml: probe", folder, &self.probe.0)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A plan with its probe images: measures one network after another on the same images.
pub struct Setup {
    plan: Plan,
    source: Arc<Source>,
    /// The images in memory, as they were resized and cropped.
    sets: Arc<Mutex<HashMap<Geometry, ProbeSet>>>,
    /// Files of weights, with the network that named each first.
    owners: Arc<Mutex<HashMap<PathBuf, PathBuf>>>,
    key: String,
}

impl Setup {
    /// The same with another preprocessing.
    #[must_use]
    pub fn with_preprocess(&self, preprocess: Preprocess) -> Self {
        self.with(Plan { preprocess, ..self.plan.clone() })
    }

    fn with(&self, plan: Plan) -> Self {
        let (source, sets) = (Arc::clone(&self.source), Arc::clone(&self.sets));
        Self { key: plan.key(source.id()), source, sets, owners: Arc::clone(&self.owners), plan }
    }

    /// Names the measuring settings and the probe images.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What runs the networks.
    pub fn backend(&self) -> &backend::Options {
        &self.plan.backend
    }

    /// Reads the network at `path`; one that is a framework's own checkpoint is exported first.
    ///
    /// # Errors
    /// As [`backend::read`] and [`backend::export`].
    pub fn read(&self, path: &Path) -> Result<Model> {
        if let Some(native) = backend::native(path, &self.plan.backend)? {
            return backend::export(native, &self.plan.backend, None);
        }
        let mut model = backend::read(path, self.plan.backend.output.as_deref())?;
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        for file in model.external_data().clone().into_keys() {
            let owner = owners.entry(file.clone()).or_insert_with(|| path.to_owned());
            if owner != path && owner.exists() {
                model = model.with_notice(Notice::shared_weights(&file, owner));
            } else {
                path.clone_into(owner);
            }
        }
        Ok(model)
    }

    /// Loads a network and its probe images.
    ///
    /// # Errors
    /// As [`Self::probe_for`] and [`backend::load`].
    pub fn open(&self, model: Model, progress: Progress) -> Result<Opened> {
        let probe = self.probe_for(&model, progress)?;
        let backend = backend::load(model, probe.shape(), &self.plan.backend)?;
        let source = self.source.id().to_owned();
        Ok(Opened { backend, probe, source, settings: self.plan.settings.clone() })
    }

    /// As [`Setup::open`], to measure layers besides the output.
    ///
    /// # Errors
    /// As [`Setup::open`] and [`Model::with_layers`].
    pub fn open_layers(&self, model: Model, selection: &Selection, progress: Progress) -> Result<Opened> {
        let numbers = affordable(&self.probe_for(&model, progress)?, &self.plan.settings);
        self.open(model.with_layers(selection, numbers)?, progress)
    }

    /// [`Setup::open`], then [`Opened::measure`].
    ///
    /// # Errors
    /// As both.
    pub fn measure(&self, model: Model, resolved: &mut Option<Resolved>, progress: Progress) -> Result<Measurement> {
        self.open(model, progress)?.measure(resolved, progress)
    }

    /// The probe images as this network sees them: preprocessed by what it says of itself where the plan does not.
    ///
    /// # Errors
    /// As [`Source::set`], and `Model` where it says of itself what does not fit the images.
    pub fn probe_for(&self, model: &Model, progress: Progress) -> Result<ProbeSet> {
        let planned = &self.plan.preprocess;
        let mut preprocess = planned.clone().or(&model.metadata().preprocess);
        let array = if self.source.is_encoded() { None } else { Some(self.set(&Geometry::default(), progress)?) };
        if let Some(array) = array.as_ref().filter(|_| planned.geometry().is_identity()) {
            // An array of the network's size was prepared by the user: what training did is done. Floats stay as they are.
            if model.takes(array.shape()) || !array.is_bytes() {
                preprocess = preprocess.with_geometry(Geometry::default());
            }
        }
        let mut set = self.set(&preprocess.geometry(), progress)?;
        if array.is_some_and(|array| model.takes(array.shape()) && preprocess.sizes() && array.sha256() != set.sha256())
        {
            let note = "the images had the network's size already, and are resized and cropped all the same: --mean and --std alone \
                        leave them as they are";
            set = set.with_note(note.to_owned());
        }
        if let Some(color) = self.other_color(model, &set, &preprocess) {
            let found = if color == Color::Gray { Color::Rgb } else { Color::Gray };
            let note = format!("the images are {found}, the network takes {color}: converted");
            preprocess.color = Some(color);
            set = self.set(&preprocess.geometry(), progress)?.with_note(note);
        }
        model.fits(set.shape()).map_err(|error| match error {
            Error::Mismatch { model, expected, found, .. } if preprocess.sizes() => Error::Mismatch {
                model,
                expected,
                found: format!("{found} once they are resized and cropped"),
                next: "name the values alone with --mean and --std, or add the network's size, as in --preprocess \
                       imagenet,resize=32x32,crop=32",
            },
            error => error,
        })?;
        if let Some(pixels) = model.pixels().filter(|_| !preprocess.says_values()) {
            return Ok(set.in_steps(pixels.scale, pixels.least - pixels.zero));
        }
        set.prepared(&preprocess).map_err(|error| {
            if planned.says_values() {
                return error;
            }
            // What one checkpoint says of itself is no fault of the others.
            Error::model(model.path(), "relstab.mean and relstab.std that fit the probe images", error.to_string())
        })
    }

    /// The colour that image files need for this network, where they are of another and nobody says which: the files were
    /// stored as it came.
    fn other_color(&self, model: &Model, set: &ProbeSet, preprocess: &Preprocess) -> Option<Color> {
        let shape = set.shape();
        let (color, channels) = if shape.channels == 1 { (Color::Rgb, 3) } else { (Color::Gray, 1) };
        let is_open = self.source.is_encoded() && preprocess.color.is_none() && !model.takes(shape);
        (is_open && model.takes(Shape { channels, ..shape })).then_some(color)
    }

    /// The probe images, preprocessed as the plan says.
    ///
    /// # Errors
    /// As [`Source::set`] and [`ProbeSet::prepared`].
    pub fn probe(&self, progress: Progress) -> Result<ProbeSet> {
        self.set(&self.plan.preprocess.geometry(), progress)?.prepared(&self.plan.preprocess)
    }

    fn set(&self, geometry: &Geometry, progress: Progress) -> Result<ProbeSet> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.get(geometry) {
            return Ok(set.clone());
        }
        let set = self.source.set(geometry, progress)?;
        sets.insert(*geometry, set.clone());
        Ok(set)
    }

    /// What deforms images of `shape` and adds noise.
    ///
    /// # Errors
    /// As [`Perturber::new`].
    pub fn perturber(&self, shape: Shape) -> Result<Perturber> {
        Perturber::new(shape, &self.plan.settings.deformation, self.plan.settings.seed)
    }

    /// Whether the probe images are encoded files rather than an array.
    pub fn is_encoded(&self) -> bool {
        self.source.is_encoded()
    }

    /// Whether the probe images have labels.
    pub fn has_labels(&self) -> bool {
        self.source.has_labels()
    }

    /// Whether images and draws follow from a precision.
    pub fn has_precision(&self) -> bool {
        self.plan.settings.precision.is_some()
    }

    /// The law that predicts.
    pub fn law(&self) -> Option<&ChosenLaw> {
        self.plan.settings.law.as_ref()
    }

    /// Deformations of each image, where the probe set holds so many.
    pub fn draws(&self, images: usize) -> u32 {
        self.plan.settings.draws_of(images.min(self.plan.settings.images))
    }
}
