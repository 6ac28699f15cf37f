//! The probe images whose answers move most, for people to see: a few passes after those of a measurement.

use image::{ImageFormat, RgbImage};

use super::passes::Passes;
use super::reading::Reading;
use super::scores::{Nature, Tally};
use super::{Kept, Progress, Settings, clean};
use crate::backend::{Backend, Network};
use crate::error::{Error, Result};
use crate::event::{Format, Row, STRIP_BYTES, STRIP_IMAGES, Shown, Strip, Told};
use crate::gallery::{Display, Sheet, encoded};
use crate::perturb::Perturber;
use crate::probe::{ProbeSet, Shape};

/// The images as they are, deformed and with noise may take this much memory, bytes.
const MOST_BYTES: usize = 64 << 20;
/// Images that black and white are found by.
const LOOKED_AT: usize = 64;

/// An image and the draw that moves its output most.
struct Chosen {
    image: usize,
    draw: usize,
}

/// The images whose answers move most under deformation, by the passes that are `kept` of a measurement under these settings: those
/// of the least effective invariance, or whose outputs change most where there is none. `None` where nothing is kept, or no picture
/// is small enough.
///
/// # Errors
/// As [`super::logits`], and `Io` where the picture cannot be encoded.
pub fn strip(
    network: &dyn Backend,
    probe: &ProbeSet,
    settings: &Settings,
    kept: &Kept,
    progress: Progress,
) -> Result<Option<Strip>> {
    let (Some(passes), shape) = (&kept.0, probe.shape()) else { return Ok(None) };
    let affordable = MOST_BYTES / (3 * shape.len() * size_of::<f32>());
    let chosen = chosen(network.network(), passes, affordable.min(STRIP_IMAGES));
    if chosen.is_empty() {
        return Ok(None);
    }
    let perturber = Perturber::new(shape, &settings.deformation, settings.seed)?;
    let images = triples(probe, &perturber, &chosen);
    let display = Display::new(&probe.prefix(LOOKED_AT));
    let pictures: Vec<[RgbImage; 3]> =
        images.as_chunks::<3>().0.iter().map(|triple| triple.each_ref().map(|image| display.picture(image))).collect();
    let fail = |error| Error::io(&network.network().path, "draw the images of")(std::io::Error::other(error));
    let Some(Sheet { width, height, format, bytes }) = encoded(&pictures, STRIP_BYTES).map_err(fail)? else {
        return Ok(None);
    };
    let answers = answers(network, &images, passes, shape, progress)?;
    let rows = chosen.iter().zip(answers).map(|(Chosen { image, draw }, answers)| Row {
        image: probe.name(*image),
        label: probe.labels().map(|labels| labels[*image]),
        draw: *draw as u32,
        answers,
    });
    let shown = Shown { width, height, rows: rows.collect() };
    let format = if format == ImageFormat::Png { Format::Png } else { Format::Jpeg };
    Ok(Some(Strip { shown, format, picture: bytes }))
}

/// Whether a network tells classes.
fn tells_classes(network: &Network) -> bool {
    let Reading { are_classes, outputs, .. } = Reading::of(network);
    are_classes && outputs > 1
}

/// So many images, the one whose answer moves most first.
fn chosen(network: &Network, passes: &Passes, count: usize) -> Vec<Chosen> {
    let (draws, coordinates) = (passes.draws, passes.output.coordinates);
    if draws == 0 {
        return Vec::new();
    }
    let nature = Nature::of(&passes.tallies, network.is_independent);
    let nature = Some(nature).filter(|nature| tells_classes(network) && nature.is_exclusive);
    let moved = |(image, (tally, changes)): (usize, (&Tally, &[f32]))| {
        let of_draws =
            changes.chunks_exact(coordinates).map(|change| change.iter().map(|value| f64::from(*value)).sum());
        let of_draws: Vec<f64> = of_draws.collect();
        let draw = (0..draws).max_by(|a, b| of_draws[*a].total_cmp(&of_draws[*b])).unwrap_or(0);
        let invariance = nature.map_or(0.0, |nature| tally.invariance(nature));
        (invariance, of_draws.iter().sum::<f64>(), Chosen { image, draw })
    };
    let changes = passes.output.deformed.chunks_exact(draws * coordinates);
    let mut images: Vec<_> = passes.tallies.iter().zip(changes).enumerate().map(moved).collect();
    images.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    images.into_iter().take(count).map(|(_, _, chosen)| chosen).collect()
}

/// Of each image: as deformations see it, deformed, and with noise.
fn triples(probe: &ProbeSet, perturber: &Perturber, chosen: &[Chosen]) -> Vec<Vec<f32>> {
    let mut scratch = perturber.scratch();
    let mut image = vec![0.0; probe.shape().len()];
    let mut triple = |Chosen { image: index, draw }: &Chosen| {
        let (index, draw) = (*index, *draw as u64);
        let [mut base, mut deformed, mut noisy] = [(); 3].map(|()| vec![0.0; image.len()]);
        probe.image(index, &mut image);
        perturber.base(&image, &mut base, &mut scratch);
        perturber.deform(index as u64, draw, &image, &mut deformed, &mut scratch);
        perturber.noise(index as u64, draw, &base, &deformed, &mut noisy);
        [base, deformed, noisy]
    };
    chosen.iter().flat_map(&mut triple).collect()
}

/// What the network says to each image's three.
fn answers(
    network: &dyn Backend,
    images: &[Vec<f32>],
    passes: &Passes,
    shape: Shape,
    progress: Progress,
) -> Result<Vec<Option<[Told; 3]>>> {
    if !tells_classes(network.network()) {
        return Ok(vec![None; images.len() / 3]);
    }
    let Shape { channels, height, width } = shape;
    let set = ProbeSet::from_nchw(images.concat(), [images.len(), channels, height, width], None)?;
    let nature = Nature::of(&passes.tallies, network.network().is_independent);
    let told = |tally: &Tally| Told { class: tally.class() as u32, confidence: tally.confidence(nature) };
    let given: Vec<_> = clean(network, &set, progress)?.tallies.iter().map(told).collect();
    Ok(given.as_chunks::<3>().0.iter().copied().map(Some).collect())
}
