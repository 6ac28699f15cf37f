//! Layer by layer: stabilities of the representation after each block (Tomasini, Petrini, Cagnetta, Wyart, arXiv:2210.01506).

use serde::{Deserialize, Serialize};

use super::outputs::Outputs;
use super::record::{readings, statistics, undefined};
use super::settings::{MAX_DRAWS, Settings};
use super::{Kept, Measured, Progress, run};
use crate::backend::{Backend, Network, Output};
use crate::error::Result;
use crate::estimate::{Bootstrap, Estimate, Stability};
use crate::event::{Measurement, Readings, Undefined};
use crate::probe::ProbeSet;

/// The version of [`Layers`].
pub const SCHEMA: &str = "relstab.layers/1";

/// A network measured layer by layer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layers {
    /// Always `relstab.layers/1`.
    pub schema: String,
    /// Of the output, as `measure` gives it.
    pub measurement: Measurement,
    /// From the image on; the last is the output.
    pub layers: Vec<Layer>,
}

/// A layer, measured on the same images, draws and resamples as the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Layer {
    /// The tensor's name.
    pub name: String,
    /// The kind of node that makes it.
    pub op: String,
    /// Sizes of its axes for one image.
    pub axes: Vec<usize>,
    /// How many of its numbers are measured.
    pub coordinates: usize,
    /// How many there are.
    pub total: usize,
    /// Relative stability, `D_f / G_f`; null where it is undefined.
    pub r_f: Option<Estimate>,
    /// Why `R_f` is undefined, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undefined: Option<Undefined>,
    /// Relative change under deformation; null where the numbers do not differ between images.
    pub d_f: Option<Estimate>,
    /// Relative change under noise of the same norm; null where the numbers do not differ between images.
    pub g_f: Option<Estimate>,
    /// All three readings of "typical", from the same passes; null where the numbers are not finite.
    pub estimators: Option<Readings>,
}

impl Layers {
    fn new(network: &Network, inner: Vec<Layer>, mut measurement: Measurement) -> Self {
        let output = Layer {
            r_f: measurement.r_f,
            undefined: measurement.undefined.clone(),
            d_f: measurement.d_f,
            g_f: measurement.g_f,
            estimators: Some(measurement.estimators.clone()),
            ..Layer::of(&network.output)
        };
        let layers = inner.into_iter().chain([output]).collect();
        measurement.forget_replicates();
        Self { schema: SCHEMA.to_owned(), measurement, layers }
    }
}

impl Layer {
    /// Nothing is known of it yet.
    fn of(tensor: &Output) -> Self {
        let Output { name, op, coordinates } = tensor;
        Self {
            name: name.clone(),
            op: op.clone(),
            axes: coordinates.axes().to_vec(),
            coordinates: coordinates.len(),
            total: coordinates.total(),
            r_f: None,
            undefined: None,
            d_f: None,
            g_f: None,
            estimators: None,
        }
    }

    /// A layer before the output, which may be sound where this is NaN or infinite.
    fn inner(tensor: &Output, outputs: &Outputs, settings: &Settings, bootstrap: &Bootstrap) -> Result<Self> {
        let layer = Self::of(tensor);
        let faults = outputs.faults.iter().flatten().count();
        if faults > 0 {
            let reason = format!("NaN or infinity for {faults} of {} images", outputs.faults.len());
            return Ok(Self { undefined: Some(Undefined { reason }), ..layer });
        }
        let stabilities = statistics(outputs, settings.draws as usize, bootstrap)?;
        let Stability { d_f, g_f, r_f, .. } = stabilities.get(settings.estimator);
        Ok(Self {
            r_f: r_f.as_ref().ok().copied(),
            undefined: undefined(r_f),
            d_f: *d_f,
            g_f: *g_f,
            estimators: Some(readings(&stabilities)),
            ..layer
        })
    }
}

/// Measures the layers that the network gives besides its output too, all from the same passes.
///
/// # Errors
/// As [`measure`](super::measure). A layer that is not finite, or does not move under noise, is no error: the record says why.
pub fn layers(network: &dyn Backend, probe: &ProbeSet, settings: &Settings, progress: Progress) -> Result<Layers> {
    let opened = network.network();
    let measured = run(network, probe, settings, &mut Kept::default(), progress, |passes, settings, bootstrap| {
        let given = opened.layers.iter().zip(&passes.layers);
        given.map(|(tensor, outputs)| Layer::inner(tensor, outputs, settings, bootstrap)).collect()
    })?;
    let Measured { besides: inner, measurement, .. } = measured;
    Ok(Layers::new(opened, inner, measurement))
}

/// Memory that the changes of all layers may take.
const LIMIT_BYTES: usize = 1 << 30;

/// How many coordinates the layers before the output may have together: of each, 4 bytes are kept for every image that goes
/// through the network.
pub fn affordable(probe: &ProbeSet, settings: &Settings) -> usize {
    let (images, draws) = match settings.precision {
        None => {
            let images = settings.images.min(probe.len());
            (images, settings.draws_of(images))
        }
        Some(_) => (probe.len(), settings.draws.max(MAX_DRAWS)),
    };
    LIMIT_BYTES / (size_of::<f32>() * images.max(1) * (1 + 2 * draws as usize))
}
