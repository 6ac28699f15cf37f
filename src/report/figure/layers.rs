//! A network's figure layer by layer: `R_f`, `D_f` and `G_f` over depth.

use super::axis::{Scale, Unit};
use super::curve::{Curve, Look, Point};
use super::panels::{Panel, Panels};
use crate::estimate::Estimate;
use crate::measure::layers::{Layer, Layers};

/// What it shows, in words.
pub const ALT: &str = "R_f, D_f and G_f over depth; the table has the layers' names";

/// One of the values of a layer.
type Value = fn(&Layer) -> &Option<Estimate>;

/// Layers are numbered from 1; `None` if nothing is known.
pub fn panels(found: &Layers) -> Option<Panels> {
    let values: [(&str, Value); 3] =
        [("R_f", |layer| &layer.r_f), ("D_f", |layer| &layer.d_f), ("G_f", |layer| &layer.g_f)];
    let panel = |(colour, (name, value)): (usize, (&str, Value))| {
        let points = found.layers.iter().enumerate().map(|(index, layer)| {
            let estimate = value(layer).as_ref();
            Point::new((index + 1) as f64, estimate.map(|e| e.value), estimate.map(|e| (e.low, e.high)))
        });
        Panel::new("", Unit::Plain, vec![Curve::new(name, Look::Line, colour, points)])
    };
    Panels::new("layer", Scale::Linear, values.into_iter().enumerate().map(panel).collect())
}
