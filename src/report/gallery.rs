//! Images under deformations, to choose cutoff and delta by: as a page, and as one picture.

mod page;
mod sheet;

pub use page::html;
pub use sheet::{SHOWN, Sheet, of_network, picture};

use std::f64::consts::PI;

use image::{Rgb, RgbImage};

use super::figure::axis::{Unit, label};
use super::figure::panels::Panels;
use super::figure::{PALETTE, phase};
use super::{percent, significant};
use crate::gallery::{Gallery, Mesh, PICTURES, Setting, View};
use crate::perturb::{Perturber, temperature_range, typical_displacement};
use crate::probe::Shape;

/// What the pictures of a row are.
const HEADINGS: [&str; PICTURES] = ["original", "deformed", "noise", "difference", "mesh"];

/// The mesh of a view, enlarged: blue lines, and orange where it folds.
fn mesh(shape: Shape, view: &View, enlarged: usize) -> RgbImage {
    let mesh = Mesh::new(shape, &view.dx, &view.dy, enlarged);
    let [line, fold] = [PALETTE[0], PALETTE[1]].map(|colour| [colour.0, colour.1, colour.2].map(f32::from));
    RgbImage::from_fn(mesh.width as u32, mesh.height as u32, |x, y| {
        let at = y as usize * mesh.width + x as usize;
        let paper = if mesh.folded[at] { fold } else { [255.0; 3] };
        let mixed = |channel: usize| paper[channel] + mesh.lines[at] * (line[channel] - paper[channel]);
        Rgb([mixed(0), mixed(1), mixed(2)].map(|value| value.round() as u8))
    })
}

/// The phase space, with the gallery's settings in it.
fn phase_space(gallery: &Gallery) -> Option<Panels> {
    let setting = |Setting { perturber, .. }: &Setting| (perturber.deformation().cutoff, perturber.delta());
    let settings: Vec<_> = gallery.settings().iter().map(setting).collect();
    phase::panels(gallery.probe().shape().side(), &settings)
}

/// At most three digits.
fn short(value: f64) -> String {
    label(value, Unit::Plain)
}

/// Cutoff and delta.
fn name(setting: &Setting) -> String {
    let Setting { perturber, .. } = setting;
    format!("cutoff {}, delta {} px", perturber.deformation().cutoff, short(perturber.delta()))
}

/// What one draw does.
fn told(view: &View) -> String {
    let folds = if view.displacement.folds { "folds" } else { "does not fold" };
    format!("moves {} px rms, {folds}", significant(view.displacement.mean_square_px.sqrt()))
}

/// Where a setting lies by the natural range of its cutoff, delta in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    Inside {
        least: f64,
        most: f64,
    },
    Outside {
        least: f64,
        most: f64,
    },
    /// At this cutoff the range is empty.
    Nowhere,
}

impl Place {
    fn of(perturber: &Perturber) -> Self {
        let (cutoff, side) = (perturber.deformation().cutoff, perturber.shape().side());
        let (least, most) = temperature_range(cutoff, side);
        if least > most {
            return Self::Nowhere;
        }
        let [least, most] = [least, most].map(|t| typical_displacement(cutoff, t, side));
        if perturber.warnings().is_empty() { Self::Inside { least, most } } else { Self::Outside { least, most } }
    }
}

/// Typical displacements from one to another.
fn deltas(least: f64, most: f64) -> String {
    format!("{} to {} px", short(least), short(most))
}

/// What the chosen setting does, and what to do about it.
fn advice(gallery: &Gallery) -> String {
    let setting = &gallery.settings()[0];
    let chosen = format!("Chosen: {}; {} of its maps fold.", name(setting), percent(setting.folded_share));
    match Place::of(&setting.perturber) {
        Place::Inside { least, most } => {
            format!("{chosen} It lies inside the natural range of this cutoff, delta {}.", deltas(least, most))
        }
        Place::Outside { least, most } => {
            format!(
                "{chosen} It lies outside the natural range of this cutoff: choose a delta of {}.",
                deltas(least, most)
            )
        }
        Place::Nowhere => format!(
            "{chosen} At this cutoff there is no natural range, what moves pixels by half a pixel folds: choose a cutoff of at \
             most {}.",
            (2.0 * gallery.probe().shape().side() / PI).floor()
        ),
    }
}

/// How values became pictures, one sentence each.
fn how_shown(gallery: &Gallery) -> Vec<String> {
    let (display, channels) = (gallery.display(), gallery.probe().shape().channels);
    let [low, high, full] = [display.low, display.high, display.full_change()].map(|value| short(value.into()));
    let mut told = vec![
        format!(
            "Images are shown before normalisation, from {low} (black) to {high} (white); what noise takes beyond is clipped."
        ),
        format!(
            "Differences are deformed less original: grey is none, black and white are {full} less and more, and beyond."
        ),
        "Meshes are graph paper deformed like the image, orange where the map folds.".to_owned(),
    ];
    if ![1, 3].contains(&channels) {
        told.push(format!("Of the {channels} channels, the first is shown, as grey."));
    }
    told
}
