//! Power laws with the networks they were fitted to: `R_f`, `D_f` and `G_f` against the size of the training set.

use super::PALETTE;
use super::axis::{Scale, Unit};
use super::curve::{Curve, Look, Point};
use super::panels::{Panel, Panels};
use crate::predict::terms::Term;
use crate::scaling::{LEVEL, Law, Network, QUANTITIES, Scaling};

/// What the figure shows, for those who do not see it.
pub const ALT: &str = "R_f, D_f and G_f against the size of the training set, with power laws";
/// With more groups than there are colours, the laws' bands would hide everything.
const MOST_BANDS: usize = PALETTE.len();
/// Groups of one colour differ in their marks.
const MARKS: [Look; 3] = [Look::Dot, Look::Cross, Look::Ring];
/// Points of a band's edge, which is curved.
const STEPS: usize = 24;

/// Every law, its networks with their intervals; `None` if there is nothing to draw.
pub fn panels(scaling: &Scaling) -> Option<Panels> {
    let groups = scaling.groups();
    // One legend is enough.
    let named = scaling.laws.first().map(|law| law.quantity);
    let panel = |quantity: Term| {
        let curves = groups.iter().enumerate().flat_map(|(index, group)| {
            let law = scaling.law(group[0], quantity);
            let line = law.map(|law| line(law, index, groups.len() <= MOST_BANDS));
            [Some(dots(group, quantity, index, named == Some(quantity))), line].into_iter().flatten()
        });
        Panel::new(quantity.factor(), Unit::Plain, curves.collect())
    };
    Panels::new("training images", Scale::Log, QUANTITIES.map(panel).into())
}

fn dots(group: &[&Network], quantity: Term, index: usize, is_named: bool) -> Curve {
    let point = |network: &&Network| {
        let known = network.values.get(&quantity)?;
        Some(Point::new(network.train_size, Some(known.value), known.interval))
    };
    let look = MARKS[index / PALETTE.len() % MARKS.len()];
    let name = if is_named { group[0].group.as_str() } else { "" };
    Curve::new(name, look, index, group.iter().filter_map(point))
}

/// A law over its range, with the interval of the line itself.
fn line(Law { law, .. }: &Law, index: usize, with_band: bool) -> Curve {
    let fit = law.line.fit();
    let ratio = (law.range.1 / law.range.0).ln();
    let point = |step: usize| {
        let log_p = law.range.0.ln() + ratio * step as f64 / STEPS as f64;
        let mean = fit.as_ref()?.mean(&[log_p])?;
        let half_width = mean.half_width(LEVEL).filter(|_| with_band);
        let band = half_width.map(|half_width| ((mean.mean - half_width).exp(), (mean.mean + half_width).exp()));
        Some(Point::new(log_p.exp(), Some(mean.mean.exp()), band))
    };
    Curve::new("", Look::Plain, index, (0..=STEPS).filter_map(point))
}
