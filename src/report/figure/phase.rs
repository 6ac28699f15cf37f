//! The phase space of deformations: temperature against cutoff, with the natural range and what was chosen in it.

use std::f64::consts::PI;

use super::axis::{Scale, Unit, label};
use super::curve::{Curve, Look, Point};
use super::panels::{Panel, Panels};
use crate::perturb::{temperature, temperature_range};

/// Numbers of colours: of the natural range, what is shown, what was chosen, and lines of constant delta.
const NATURAL: usize = 2;
const SHOWN: usize = 0;
const CHOSEN: usize = 1;
const DELTAS: [usize; 3] = [3, 4, 5];

/// Settings (cutoff, typical displacement in pixels), the chosen one first, for images of side n = `side`; `None` without any.
pub fn panels(side: f64, settings: &[(u32, f64)]) -> Option<Panels> {
    let last = last_cutoff(side, settings);
    let mut deltas: Vec<f64> = settings.iter().map(|(_, delta)| *delta).collect();
    deltas.sort_by(f64::total_cmp);
    deltas.dedup_by(|a, b| name(*a) == name(*b));
    let line = |(number, delta): (usize, f64)| {
        let at = |cutoff| Point::new(f64::from(cutoff), Some(temperature(cutoff, delta, side)), None);
        Curve::new(name(delta), Look::Plain, DELTAS[number % DELTAS.len()], (2..=last).map(at))
    };
    let (chosen, shown) = settings.split_first()?;
    let place =
        |(cutoff, delta): &(u32, f64)| Point::new((*cutoff).into(), Some(temperature(*cutoff, *delta, side)), None);
    let mut curves = vec![Curve::new("natural range", Look::Plain, NATURAL, natural_range(side, last))];
    curves.extend(deltas.into_iter().enumerate().map(line));
    curves.push(Curve::new("shown", Look::Dot, SHOWN, shown.iter().map(place)));
    curves.push(Curve::new("chosen", Look::Ring, CHOSEN, [place(chosen)]));
    Panels::new("cutoff c", Scale::Log, vec![Panel::new("temperature T", Unit::Plain, curves)])
}

fn name(delta: f64) -> String {
    format!("delta {} px", label(delta, Unit::Plain))
}

/// The largest temperature that keeps folds rare by cutoff, down to half a pixel, as long as that is not above it.
fn natural_range(side: f64, last: u32) -> impl Iterator<Item = Point> {
    let ends = (2..=last).map(move |cutoff| (f64::from(cutoff), temperature_range(cutoff, side)));
    ends.take_while(|(_, (least, most))| least <= most).map(|(c, ends)| Point::new(c, Some(ends.1), Some(ends)))
}

/// A little beyond 2n/pi, where the natural range ends, and beyond every setting.
fn last_cutoff(side: f64, settings: &[(u32, f64)]) -> u32 {
    let end = (2.0 * side / PI).ceil() as u32 + 1;
    settings.iter().map(|(cutoff, _)| cutoff + 1).fold(end.max(4), u32::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::perturb::typical_displacement;
    use crate::report::figure::svg;

    #[test]
    fn the_natural_range_is_where_the_formulas_say() {
        let n = 32.0;
        let range: Vec<_> = natural_range(n, 40).collect();
        // As long as c <= 2n/pi = 20.4.
        assert_eq!((range.len(), range[0].x, range[18].x), (19, 2.0, 20.0));
        for Point { x, y, band } in range {
            let (least, most) = band.expect("both ends");
            let delta = |t| typical_displacement(x as u32, t, n);
            assert!((delta(least) - 0.5).abs() < 1e-12 && (delta(most) - n / (PI * x)).abs() < 1e-9);
            assert_eq!(y, Some(most));
        }
        assert_eq!(natural_range(3.0, 40).count(), 0);
    }

    #[test]
    fn what_is_shown_is_named_whatever_the_settings() {
        for (side, settings) in [(28.0, vec![(3, 1.0), (5, 0.5)]), (224.0, vec![(100, 1e-3)]), (2.0, vec![(1000, 1e9)])]
        {
            let drawn = svg(&panels(side, &settings).expect("settings")).expect("drawn");
            assert_eq!(drawn.contains("natural range"), side > 4.0);
            assert_eq!(drawn.contains("\nshown\n"), settings.len() > 1);
            assert!(["chosen", "cutoff c", "temperature T"].iter().all(|text| drawn.contains(text)), "{drawn}");
            assert!(drawn.contains(&name(settings[0].1)));
        }
        assert!(panels(28.0, &[]).is_none());
    }
}
