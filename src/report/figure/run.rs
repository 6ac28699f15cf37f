//! A run's figure: `R_f`, errors, `D_f` and `G_f` over training, each with its interval, in panels below each other.

use std::ops::Range;

use plotters::chart::{ChartBuilder, LabelAreaPosition};
use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{Circle, Cross, DynElement, IntoDynElement as _, PathElement, Polygon, Text};
use plotters::prelude::{DrawingBackend, RGBColor, TRANSPARENT};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, IntoTextStyle as _, ShapeStyle};

use super::axis::{LogAxis, Unit, label};
use super::{Area, Drawn, FONT, Figure, LINE, PALETTE, TEXT, WIDTH};
use crate::journal::Series;

const GRID: RGBColor = RGBColor(215, 215, 215);
const AXIS: RGBColor = RGBColor(70, 70, 70);
const INK: RGBColor = RGBColor(0, 0, 0);
const MARK: i32 = 8;
/// With more checkpoints than this, marks would hide each other: lines go without, others are small.
const MOST_MARKS: usize = 60;
/// Pixels: of a panel with its key, of the axis below the last, of the labels beside.
const PANEL: u32 = 430;
const KEY: u32 = 60;
const BELOW: u32 = 96;
const BESIDE: u32 = 130;
const RIGHT: u32 = 40;

/// A run to be drawn.
#[derive(Debug)]
pub struct Training {
    axis: &'static str,
    x: Vec<f64>,
    panels: Vec<Panel>,
}

#[derive(Debug)]
struct Panel {
    unit: Unit,
    curves: Vec<Curve>,
}

#[derive(Debug)]
struct Curve {
    name: &'static str,
    look: Look,
    colour: RGBColor,
    /// `None` where nothing is known.
    y: Vec<Option<f64>>,
    band: Vec<Option<(f64, f64)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Line,
    Cross,
    Ring,
}

impl Curve {
    fn new(name: &'static str, look: Look, colour: usize, y: &[Option<f64>]) -> Self {
        Self { name, look, colour: PALETTE[colour], y: y.iter().copied().map(positive).collect(), band: Vec::new() }
    }

    fn with_band(mut self, low: &[Option<f64>], high: &[Option<f64>]) -> Self {
        self.band = low.iter().zip(high).map(|(low, high)| positive(*low).zip(positive(*high))).collect();
        self
    }

    fn is_known(&self) -> bool {
        self.y.iter().any(Option::is_some)
    }
}

/// Zero has no place on a logarithmic axis.
fn positive(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value > 0.0)
}

impl Training {
    /// What is known of a run; `None` if that is nothing.
    #[must_use]
    pub fn new(series: &Series) -> Option<Self> {
        let (axis, x) = axis(series);
        let r_f = Curve::new("R_f", Look::Line, 0, &series.r_f).with_band(&series.r_f_low, &series.r_f_high);
        let predicted = Curve::new("predicted error", Look::Line, 0, &series.predicted_error)
            .with_band(&series.predicted_low, &series.predicted_high);
        let known = Curve::new("known", Look::Cross, 1, &series.val_error);
        let probe = Curve::new("probe set", Look::Ring, 2, &series.probe_error);
        let changes =
            vec![Curve::new("D_f", Look::Line, 0, &series.d_f), Curve::new("G_f", Look::Line, 1, &series.g_f)];
        let all = [(Unit::Plain, vec![r_f]), (Unit::Percent, vec![predicted, known, probe]), (Unit::Plain, changes)];
        let panels = all
            .into_iter()
            .map(|(unit, curves)| Panel { unit, curves: curves.into_iter().filter(Curve::is_known).collect() });
        let panels: Vec<_> = panels.filter(|panel| !panel.curves.is_empty()).collect();
        (!panels.is_empty()).then_some(Self { axis, x, panels })
    }
}

/// What every checkpoint of the run can be drawn against.
fn axis(series: &Series) -> (&'static str, Vec<f64>) {
    let steps: Option<Vec<_>> = series.step.iter().map(|step| step.map(|step| step as f64)).collect();
    let epochs = || series.epoch.iter().copied().collect::<Option<Vec<_>>>().map(|epochs| ("epoch", epochs));
    let numbers = || ("checkpoint", (1..=series.r_f.len()).map(|number| number as f64).collect());
    steps.map(|steps| ("step", steps)).or_else(epochs).unwrap_or_else(numbers)
}

impl Figure for Training {
    fn size(&self) -> (u32, u32) {
        (WIDTH, PANEL * self.panels.len() as u32 + BELOW)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let last = self.panels.len() - 1;
        let breaks: Vec<_> = (1..=last).map(|index| (PANEL * index as u32) as i32).collect();
        let areas = area.split_by_breakpoints([0; 0], &breaks);
        for (index, (panel, area)) in self.panels.iter().zip(&areas).enumerate() {
            let (key, below) = area.split_vertically(KEY);
            panel.draw_key(&key)?;
            panel.draw(&below, &self.x, (index == last).then_some(self.axis))?;
        }
        Ok(())
    }
}

impl Panel {
    /// What the curves are, above them.
    fn draw_key<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        let style = (FONT, TEXT).into_text_style(area).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
        let middle = (KEY / 2) as i32 + 4;
        let mut left = BESIDE as i32;
        for curve in &self.curves {
            if self.curves.len() > 1 {
                let width = if curve.look == Look::Line { 46 } else { 2 * MARK };
                if curve.look == Look::Line {
                    area.draw(&PathElement::new([(left, middle), (left + width, middle)], curve.stroke()))?;
                }
                area.draw(&curve.mark((left + width / 2, middle), MARK))?;
                left += width + 12;
            }
            area.draw(&Text::new(curve.name, (left, middle), style.clone()))?;
            left += area.estimate_text_size(curve.name, &style)?.0 as i32 + 44;
        }
        Ok(())
    }

    /// The curves, on an axis of the name `below` if they are the last.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>, x: &[f64], below: Option<&str>) -> Drawn<B> {
        let mut chart = ChartBuilder::on(area)
            .margin_right(RIGHT)
            .set_label_area_size(LabelAreaPosition::Left, BESIDE)
            .set_label_area_size(LabelAreaPosition::Bottom, if below.is_some() { BELOW } else { 0 })
            .build_cartesian_2d(padded(x.iter().copied(), 0.02, 1.0), self.axis())?;
        let text = (FONT, TEXT).into_text_style(area).color(&INK);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(ShapeStyle::from(AXIS).stroke_width(LINE - 1))
            .label_style(text)
            .x_labels(6)
            .x_desc(below.unwrap_or_default())
            .x_label_formatter(&|value| label(*value, Unit::Plain))
            .draw()?;
        for curve in &self.curves {
            for part in known(x, &curve.band) {
                if let [(x, (low, high))] = part[..] {
                    chart.draw_series([PathElement::new([(x, low), (x, high)], curve.stroke())])?;
                }
                let upper = part.iter().map(|(x, (_, high))| (*x, *high));
                let lower = part.iter().rev().map(|(x, (low, _))| (*x, *low));
                let outline: Vec<_> = upper.chain(lower).collect();
                chart.draw_series([Polygon::new(outline, curve.colour.mix(0.2).filled())])?;
            }
        }
        for curve in &self.curves {
            let parts = known(x, &curve.y);
            if curve.look == Look::Line {
                chart.draw_series(
                    parts
                        .iter()
                        .flat_map(|part| part.windows(2).map(|ends| PathElement::new(ends.to_vec(), curve.stroke()))),
                )?;
            }
            // A point between two gaps is on no line.
            let is_marked = |part: &&Vec<_>| curve.look != Look::Line || x.len() <= MOST_MARKS || part.len() == 1;
            let size = if x.len() <= MOST_MARKS { MARK } else { MARK / 2 };
            chart.draw_series(parts.iter().filter(is_marked).flatten().map(|at| curve.mark(*at, size)))?;
        }
        Ok(())
    }

    /// Of all values with their intervals.
    fn axis(&self) -> LogAxis {
        let values = self.curves.iter().flat_map(|curve| {
            let ends = curve.band.iter().flatten().flat_map(|(low, high)| [*low, *high]);
            curve.y.iter().flatten().copied().chain(ends)
        });
        LogAxis { logs: padded(values.map(f64::log10), 0.06, 0.1), unit: self.unit }
    }
}

impl Curve {
    fn stroke(&self) -> ShapeStyle {
        self.colour.stroke_width(LINE)
    }

    fn mark<B: DrawingBackend, C: Clone + 'static>(&self, at: C, size: i32) -> DynElement<'static, B, C>
    where
        Circle<C, i32>: plotters::element::Drawable<B>,
        Cross<C, i32>: plotters::element::Drawable<B>,
    {
        match self.look {
            Look::Line => Circle::new(at, size - 3, self.colour.filled()).into_dyn(),
            Look::Cross => Cross::new(at, size, self.stroke()).into_dyn(),
            Look::Ring => Circle::new(at, size, self.stroke()).into_dyn(),
        }
    }
}

/// From the least to the greatest, at least `least` wide, and a share more on either side.
fn padded(values: impl Iterator<Item = f64>, share: f64, least: f64) -> Range<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let more = (share * (high - low)).max((least - (high - low)) / 2.0);
    low - more..high + more
}

/// Stretches of checkpoints of which `values` knows something.
fn known<T: Copy>(x: &[f64], values: &[Option<T>]) -> Vec<Vec<(f64, T)>> {
    let points: Vec<_> = x.iter().zip(values).map(|(x, value)| value.map(|value| (*x, value))).collect();
    points
        .split(Option::is_none)
        .map(|part| part.iter().flatten().copied().collect())
        .filter(|part: &Vec<_>| !part.is_empty())
        .collect()
}
