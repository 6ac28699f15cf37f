//! The legend of a panel: its title and what its curves are, in rows above it.

use plotters::element::{PathElement, Rectangle, Text};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, IntoTextStyle as _};

use super::curve::{Curve, Look, MARK};
use super::{Area, BESIDE, Drawn, FONT, INK, RIGHT, TEXT, WIDTH};

/// Pixels: of a row, between entries, between a mark and its name, of a line's sample.
const ROW: u32 = 60;
const APART: i32 = 44;
const GAP: i32 = 12;
const SAMPLE: i32 = 46;
/// Width of a letter over its height, on average; the same for every format, so that rows break alike.
const LETTER: f64 = 0.52;

/// Entries in their places.
pub(super) struct Legend<'a> {
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    text: &'a str,
    /// What is sampled before the name.
    curve: Option<&'a Curve>,
    left: i32,
    row: u32,
}

impl<'a> Legend<'a> {
    /// The title, then the named curves; the only curve of a panel needs no sample, and beside a title no name.
    pub fn new(title: &'a str, curves: &'a [Curve]) -> Self {
        let named: Vec<_> = curves.iter().filter(|curve| !curve.name.is_empty()).collect();
        let sampled = named.len() > 1;
        let mut texts = Vec::new();
        if !title.is_empty() {
            texts.push((title, None));
        }
        if sampled || title.is_empty() {
            texts.extend(named.iter().map(|curve| (curve.name.as_str(), sampled.then_some(*curve))));
        }
        let (mut left, mut row) = (BESIDE as i32, 0);
        let mut entries = Vec::new();
        for (text, curve) in texts {
            let width =
                curve.map_or(0, |curve| sample(curve) + GAP) + (text.chars().count() as f64 * LETTER * TEXT) as i32;
            if left > BESIDE as i32 && left + width > (WIDTH - RIGHT) as i32 {
                (left, row) = (BESIDE as i32, row + 1);
            }
            entries.push(Entry { text, curve, left, row });
            left += width + APART;
        }
        Self { entries }
    }

    /// In pixels.
    pub fn height(&self) -> u32 {
        ROW * self.entries.last().map_or(1, |entry| entry.row + 1)
    }

    pub fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let style = (FONT, TEXT).into_text_style(area).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        for Entry { text, curve, left, row } in &self.entries {
            let (mut left, middle) = (*left, (row * ROW + ROW / 2) as i32 + 4);
            if let Some(curve) = curve {
                let width = sample(curve);
                if curve.look.has_line() {
                    if curve.points.iter().any(|point| point.band.is_some()) {
                        // As the band itself: a line alone would say that this is a curve.
                        let corners = [(left, middle - MARK), (left + width, middle + MARK)];
                        area.draw(&Rectangle::new(corners, curve.colour.mix(0.2).filled()))?;
                    }
                    area.draw(&PathElement::new([(left, middle), (left + width, middle)], curve.stroke()))?;
                }
                if curve.look != Look::Plain {
                    area.draw(&curve.mark((left + width / 2, middle), MARK))?;
                    curve.hole((left + width / 2, middle), MARK).iter().try_for_each(|hole| area.draw(hole))?;
                }
                left += width + GAP;
            }
            area.draw(&Text::new(*text, (left, middle), style.clone()))?;
        }
        Ok(())
    }
}

/// Width of a curve's sample, in pixels.
fn sample(curve: &Curve) -> i32 {
    if curve.look.has_line() { SAMPLE } else { 2 * MARK }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::curve::Point;

    #[test]
    fn names_that_do_not_fit_begin_a_row() {
        let point = Point::new(1.0, Some(1.0), None);
        let curves =
            |names: &[&str]| -> Vec<_> { names.iter().map(|name| Curve::new(*name, Look::Line, 0, [point])).collect() };
        let texts = |title: &str, names: &[&str]| {
            let curves = curves(names);
            let legend = Legend::new(title, &curves);
            (legend.entries.iter().map(|entry| (entry.text.to_owned(), entry.row)).collect::<Vec<_>>(), legend.height())
        };
        let place = |text: &str, row| (text.to_owned(), row);
        assert_eq!(texts("", &["R_f"]), (vec![place("R_f", 0)], ROW));
        assert_eq!(texts("R_f", &["c = 3", ""]), (vec![place("R_f", 0)], ROW));
        let long = "thirty-two letters, give or take";
        let all = vec![place("R_f", 0), place("c = 3", 0), place(long, 1), place("c = 5", 1)];
        assert_eq!(texts("R_f", &["c = 3", long, "c = 5"]), (all, 2 * ROW));
    }
}
