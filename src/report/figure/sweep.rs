//! A sweep's figure: `R_f`, `D_f` and `G_f` over the size of the deformations, a curve for each cutoff.

use super::axis::{Scale, Unit};
use super::curve::{Curve, Look, Point};
use super::panels::{Panel, Panels};
use crate::estimate::Estimate;
use crate::event::Measurement;
use crate::measure::sweep::{self, Sweep};

/// What a sweep's figure shows, in words.
pub const ALT: &str = "R_f, D_f and G_f over the size of the deformations, a curve for each cutoff";

/// One of the values of a measurement.
type Value = fn(&Measurement) -> &Option<Estimate>;

/// Curves of the cutoffs, least first, as many as there are colours; `None` if nothing is known.
pub fn panels(sweep: &Sweep) -> Option<Panels> {
    let drawn: Vec<_> = cutoffs(sweep).take(super::PALETTE.len()).collect();
    let values: [(&str, Value); 3] = [("R_f", |m| &m.r_f), ("D_f", |m| &m.d_f), ("G_f", |m| &m.g_f)];
    let panels = values.into_iter().enumerate().map(|(index, (title, value))| {
        let curves = drawn.iter().enumerate().flat_map(|(colour, points)| {
            // One legend is enough.
            let name = if index == 0 { format!("c = {}", points[0].cutoff) } else { String::new() };
            curves(name, points, value, colour)
        });
        Panel::new(title, Unit::Plain, curves.collect())
    });
    let has_rings = drawn.iter().copied().flatten().any(|point| !point.in_natural_range);
    let rings = if has_rings { "; rings: outside the natural range" } else { "" };
    Panels::new(format!("delta (pixels){rings}"), Scale::Log, panels.collect())
}

/// What the figure leaves out, if anything.
pub fn left_out(sweep: &Sweep) -> Option<String> {
    let (drawn, all) = (super::PALETTE.len(), cutoffs(sweep).count());
    (all > drawn).then(|| format!("the figure shows the first {drawn} of {all} cutoffs, one in each colour"))
}

fn cutoffs(sweep: &Sweep) -> impl Iterator<Item = &[sweep::Point]> {
    sweep.points.chunk_by(|a, b| a.cutoff == b.cutoff)
}

/// A cutoff's line with its intervals, then its points: dots inside the natural range, rings outside.
fn curves(name: String, points: &[sweep::Point], value: Value, colour: usize) -> [Curve; 3] {
    let estimate = |point: &sweep::Point| point.measurement.as_ref().and_then(|measurement| *value(measurement));
    let line = points.iter().map(|point| {
        let estimate = estimate(point);
        Point::new(point.delta, estimate.map(|e| e.value), estimate.map(|e| (e.low, e.high)))
    });
    let marks = |natural: bool| {
        let marked = points.iter().filter(move |point| point.in_natural_range == natural);
        marked.map(|point| Point::new(point.delta, estimate(point).map(|e| e.value), None))
    };
    [
        Curve::new(name, Look::Plain, colour, line),
        Curve::new("", Look::Dot, colour, marks(true)),
        Curve::new("", Look::Ring, colour, marks(false)),
    ]
}
