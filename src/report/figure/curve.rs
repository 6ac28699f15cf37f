//! A curve of a panel: its points, how it is drawn, and its mark.

use plotters::element::{Circle, Cross, DynElement, IntoDynElement as _};
use plotters::prelude::{DrawingBackend, RGBColor, WHITE};
use plotters::style::{Color as _, ShapeStyle};

use super::{LINE, PALETTE};

/// Pixels of a mark.
pub(super) const MARK: i32 = 8;

/// Points that belong together.
#[derive(Debug, Clone)]
pub struct Curve {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) colour: RGBColor,
    pub(super) points: Vec<Point>,
}

/// A place on a curve; `None` where nothing is known, which parts a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Along the common axis.
    pub x: f64,
    /// The value.
    pub y: Option<f64>,
    /// The ends of its interval.
    pub band: Option<(f64, f64)>,
}

/// How a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A line through dots, intervals as a band.
    Line,
    /// A line alone, such as a fit, intervals as a band.
    Plain,
    /// Dots, intervals as bars.
    Dot,
    /// Crosses, intervals as bars.
    Cross,
    /// Rings, intervals as bars.
    Ring,
}

impl Point {
    /// A value with its interval.
    pub fn new(x: f64, y: Option<f64>, band: Option<(f64, f64)>) -> Self {
        Self { x, y, band }
    }

    /// Without what has no place on a logarithmic axis.
    fn positive(self) -> Self {
        let is_positive = |value: &f64| value.is_finite() && *value > 0.0;
        let band = self.band.filter(|(low, high)| is_positive(low) && is_positive(high));
        Self { y: self.y.filter(is_positive), band, ..self }
    }
}

impl Look {
    pub(super) fn has_line(self) -> bool {
        matches!(self, Self::Line | Self::Plain)
    }
}

impl Curve {
    /// A curve in colour number `colour` of the palette; without a name it is not in the legend.
    pub fn new(name: impl Into<String>, look: Look, colour: usize, points: impl IntoIterator<Item = Point>) -> Self {
        let points = points.into_iter().map(Point::positive).collect();
        Self { name: name.into(), look, colour: PALETTE[colour % PALETTE.len()], points }
    }

    pub(super) fn is_known(&self) -> bool {
        self.points.iter().any(|point| point.y.is_some())
    }

    pub(super) fn stroke(&self) -> ShapeStyle {
        self.colour.stroke_width(LINE)
    }

    /// What makes a ring of a dot: a stroked circle would have steps in pixels.
    pub(super) fn hole<C>(&self, at: C, size: i32) -> Option<Circle<C, i32>> {
        (self.look == Look::Ring).then(|| Circle::new(at, size - 2, WHITE.filled()))
    }

    pub(super) fn mark<B: DrawingBackend, C: Clone + 'static>(&self, at: C, size: i32) -> DynElement<'static, B, C>
    where
        Circle<C, i32>: plotters::element::Drawable<B>,
        Cross<C, i32>: plotters::element::Drawable<B>,
    {
        match self.look {
            Look::Line | Look::Plain | Look::Dot => Circle::new(at, size - 3, self.colour.filled()).into_dyn(),
            Look::Cross => Cross::new(at, size, self.stroke()).into_dyn(),
            Look::Ring => Circle::new(at, size + 1, self.colour.filled()).into_dyn(),
        }
    }
}
