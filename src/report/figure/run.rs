//! A run's figure: `R_f`, errors, `D_f` and `G_f` over training, each with its interval.

use super::axis::{Scale, Unit};
use super::curve::{Curve, Look, Point};
use super::panels::{Panel, Panels};
use crate::journal::Series;

/// What is known of a run; `None` if that is nothing.
pub fn panels(series: &Series) -> Option<Panels> {
    let (axis, x) = axis(series);
    let curve = |name: &str, look, colour, y: &[Option<f64>]| {
        Curve::new(name, look, colour, x.iter().zip(y).map(|(x, y)| Point::new(*x, *y, None)))
    };
    let banded = |name: &str, y: &[Option<f64>], low: &[Option<f64>], high: &[Option<f64>]| {
        let bands = low.iter().zip(high).map(|(low, high)| low.zip(*high));
        let points = x.iter().zip(y).zip(bands).map(|((x, y), band)| Point::new(*x, *y, band));
        Curve::new(name, Look::Line, 0, points)
    };
    let r_f = banded("R_f", &series.r_f, &series.r_f_low, &series.r_f_high);
    let predicted = banded("predicted error", &series.predicted_error, &series.predicted_low, &series.predicted_high);
    let known = curve("known", Look::Cross, 1, &series.val_error);
    let probe = curve("probe set", Look::Ring, 2, &series.probe_error);
    let changes = vec![curve("D_f", Look::Line, 0, &series.d_f), curve("G_f", Look::Line, 1, &series.g_f)];
    let panels = vec![
        Panel::new("", Unit::Plain, vec![r_f]),
        Panel::new("", Unit::Percent, vec![predicted, known, probe]),
        Panel::new("", Unit::Plain, changes),
    ];
    Panels::new(axis, Scale::Linear, panels)
}

/// What every checkpoint of the run can be drawn against.
fn axis(series: &Series) -> (&'static str, Vec<f64>) {
    let steps: Option<Vec<_>> = series.step.iter().map(|step| step.map(|step| step as f64)).collect();
    let epochs = || series.epoch.iter().copied().collect::<Option<Vec<_>>>().map(|epochs| ("epoch", epochs));
    let numbers = || ("checkpoint", (1..=series.r_f.len()).map(|number| number as f64).collect());
    steps.map(|steps| ("step", steps)).or_else(epochs).unwrap_or_else(numbers)
}
