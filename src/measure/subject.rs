//! What is measured, on what and how: all of a record that is known before outputs are, the same whatever share of the images runs.

use serde::{Deserialize, Serialize};

use super::facts::Present;
use super::reading::Reading;
use super::settings::Settings;
use crate::backend::{Identity, Network, Notice, NoticeCode};
use crate::checkpoint::Metadata;
use crate::event::{Code, Finding, Model, Probe, Settings as SettingsRecord};
use crate::findings::Images;
use crate::perturb::{Generator, Perturber};
use crate::probe::ProbeSet;

/// A network, the images and the settings, as a record tells of them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Subject {
    pub backend: Identity,
    pub model: Model,
    pub reading: Reading,
    pub metadata: Metadata,
    pub settings: SettingsRecord,
    pub probe: Probe,
    /// What the first images are like.
    pub images: Images,
    /// What network, images and perturbations say of how they are read and made.
    pub notices: Vec<Finding>,
}

impl Subject {
    /// `settings` has as many images as the probe set.
    pub fn of(present: Present, settings: &Settings) -> Self {
        let Present { network: backend, probe, perturber } = present;
        let network = backend.network();
        let reading = Reading::of(network);
        let (shape, normalisation) = (probe.shape(), probe.normalisation());
        Self {
            backend: backend.identity().clone(),
            model: Model {
                path: network.path.clone(),
                sha256: network.sha256.clone(),
                input: network.input.clone(),
                output: network.output.name.clone(),
                outputs: network.outputs(),
                output_axes: if reading.are_classes { Vec::new() } else { network.output.coordinates.axes().to_vec() },
                probabilities: false,
                bytes: network.bytes,
            },
            reading,
            metadata: network.metadata.clone(),
            settings: SettingsRecord {
                cutoff: settings.deformation.cutoff,
                delta: perturber.delta(),
                temperature: perturber.temperature(),
                interpolation: settings.deformation.interpolation,
                draws: settings.draws,
                seed: settings.seed,
                noise: Generator::PRESENT,
                estimator: settings.estimator,
            },
            probe: Probe {
                source: probe.source().to_owned(),
                images: probe.len(),
                shape: [shape.channels, shape.height, shape.width],
                sha256: probe.sha256().to_owned(),
                mean: normalisation.map(|n| n.mean.clone()),
                std: normalisation.map(|n| n.std.clone()),
                rescale: probe.rescale(),
                geometry: *probe.geometry(),
            },
            images: present.images(),
            notices: notices(network, probe, perturber),
        }
    }
}

/// What network, images and perturbations say of how they are read and made.
pub(super) fn notices(network: &Network, probe: &ProbeSet, perturber: &Perturber) -> Vec<Finding> {
    let of_network = |notice: &Notice| {
        let code = match notice.code {
            NoticeCode::Metadata => Code::MetadataRefused,
            NoticeCode::SeveralOutputs => Code::SeveralOutputs,
            _ => Code::Network,
        };
        Finding::new(code, notice.text.clone())
    };
    let network = network.notices.iter().map(of_network);
    let images = probe.notes().iter().map(|text| Finding::new(Code::Images, text.clone()));
    let perturbation = perturber.warnings().into_iter().map(|text| Finding::new(Code::Perturbation, text));
    network.chain(images).chain(perturbation).collect()
}
