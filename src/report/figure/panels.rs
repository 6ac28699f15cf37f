//! Panels of curves below each other on a common axis: how a figure shows values over training, depth, size or any other setting.

use plotters::chart::{ChartBuilder, LabelAreaPosition};
use plotters::element::{PathElement, Polygon};
use plotters::prelude::{DrawingBackend, RGBColor, TRANSPARENT};
use plotters::style::{Color as _, IntoTextStyle as _, ShapeStyle};

use super::axis::{Axis, Scale, Unit};
use super::curve::{Curve, Look, MARK, Point};
use super::legend::Legend;
use super::{Area, BESIDE, Drawn, FONT, Figure, INK, LINE, RIGHT, TEXT, WIDTH};

const GRID: RGBColor = RGBColor(215, 215, 215);
const AXIS: RGBColor = RGBColor(70, 70, 70);
/// With more points than this, marks would hide each other: lines go without, others are small.
const MOST_MARKS: usize = 60;
/// Pixels: of a panel without its legend, of the axis below the last.
const PANEL: u32 = 370;
const BELOW: u32 = 96;

/// Panels on one horizontal axis; values are on logarithmic axes of their own.
#[derive(Debug, Clone)]
pub struct Panels {
    name: String,
    scale: Scale,
    stack: Vec<Panel>,
}

/// Curves of one quantity.
#[derive(Debug, Clone)]
pub struct Panel {
    title: String,
    unit: Unit,
    curves: Vec<Curve>,
}

impl Panel {
    /// A panel; the title stands before the legend and may be empty.
    pub fn new(title: impl Into<String>, unit: Unit, curves: Vec<Curve>) -> Self {
        Self { title: title.into(), unit, curves: curves.into_iter().filter(Curve::is_known).collect() }
    }
}

impl Panels {
    /// Panels on an axis of this name; `None` if no curve has a value.
    pub fn new(name: impl Into<String>, scale: Scale, panels: Vec<Panel>) -> Option<Self> {
        let stack: Vec<_> = panels.into_iter().filter(|panel| !panel.curves.is_empty()).collect();
        (!stack.is_empty()).then(|| Self { name: name.into(), scale, stack })
    }

    /// Each panel on an axis of its own, for places that are wide.
    pub fn each(&self) -> impl Iterator<Item = Self> {
        self.stack.iter().map(|panel| Self { stack: vec![panel.clone()], ..self.clone() })
    }

    fn axis(&self) -> Axis {
        let points = self.stack.iter().flat_map(|panel| panel.curves.iter().flat_map(|curve| &curve.points));
        Axis::around(points.map(|point| point.x), self.scale, Unit::Plain, 0.02)
    }
}

impl Figure for Panels {
    fn size(&self) -> (u32, u32) {
        (WIDTH, self.stack.iter().map(Panel::height).sum::<u32>() + BELOW)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let (x, last) = (self.axis(), self.stack.len() - 1);
        let mut rest = area.clone();
        for (index, panel) in self.stack.iter().enumerate() {
            let (own, below) = if index == last { (rest.clone(), rest) } else { rest.split_vertically(panel.height()) };
            panel.draw(&own, &x, (index == last).then_some(&self.name))?;
            rest = below;
        }
        Ok(())
    }
}

impl Panel {
    fn legend(&self) -> Legend<'_> {
        Legend::new(&self.title, &self.curves)
    }

    fn height(&self) -> u32 {
        PANEL + self.legend().height()
    }

    /// The curves below their legend, with a name of the common axis if they are the last.
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, x: &Axis, name: Option<&String>) -> Drawn<B> {
        let legend = self.legend();
        let (above, area) = area.split_vertically(legend.height());
        legend.draw(&above)?;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(RIGHT)
            .set_label_area_size(LabelAreaPosition::Left, BESIDE)
            .set_label_area_size(LabelAreaPosition::Bottom, if name.is_some() { BELOW } else { 0 })
            .build_cartesian_2d(x.clone(), self.axis())?;
        let text = (FONT, TEXT).into_text_style(&area).color(&INK);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(ShapeStyle::from(AXIS).stroke_width(LINE - 1))
            .label_style(text)
            .x_labels(6)
            .x_desc(name.map_or("", String::as_str))
            .draw()?;
        for curve in &self.curves {
            for part in known(&curve.points, |point| point.band) {
                if !curve.look.has_line() || part.len() == 1 {
                    let bar = |(x, (low, high))| PathElement::new([(x, low), (x, high)], curve.stroke());
                    chart.draw_series(part.into_iter().map(bar))?;
                    continue;
                }
                let upper = part.iter().map(|(x, (_, high))| (*x, *high));
                let lower = part.iter().rev().map(|(x, (low, _))| (*x, *low));
                let outline: Vec<_> = upper.chain(lower).collect();
                chart.draw_series([Polygon::new(outline, curve.colour.mix(0.2).filled())])?;
            }
        }
        for curve in &self.curves {
            let parts = known(&curve.points, |point| point.y);
            if curve.look.has_line() {
                let lines = parts.iter().flat_map(|part| part.windows(2));
                chart.draw_series(lines.map(|ends| PathElement::new(ends.to_vec(), curve.stroke())))?;
            }
            let is_crowded = curve.points.len() > MOST_MARKS;
            let is_marked = |part: &&Vec<_>| match curve.look {
                Look::Plain => false,
                // A point between two gaps is on no line.
                Look::Line => !is_crowded || part.len() == 1,
                Look::Dot | Look::Cross | Look::Ring => true,
            };
            let size = if is_crowded { MARK / 2 } else { MARK };
            let marked = || parts.iter().filter(is_marked).flatten();
            chart.draw_series(marked().map(|at| curve.mark(*at, size)))?;
            chart.draw_series(marked().filter_map(|at| curve.hole(*at, size)))?;
        }
        Ok(())
    }

    /// Of all values with their intervals.
    fn axis(&self) -> Axis {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let values = points.flat_map(|point| {
            let ends = point.band.into_iter().flat_map(|(low, high)| [low, high]);
            point.y.into_iter().chain(ends)
        });
        Axis::around(values, Scale::Log, self.unit, 0.06)
    }
}

/// Stretches of points of which something is known.
fn known<T: Copy>(points: &[Point], what: impl Fn(&Point) -> Option<T>) -> Vec<Vec<(f64, T)>> {
    let known: Vec<_> = points.iter().map(|point| what(point).map(|value| (point.x, value))).collect();
    known
        .split(Option::is_none)
        .map(|part| part.iter().flatten().copied().collect())
        .filter(|part: &Vec<_>| !part.is_empty())
        .collect()
}
