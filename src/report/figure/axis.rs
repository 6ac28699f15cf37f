//! An axis with round ticks: linear, or logarithmic however short it is.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;

/// As many ticks as an axis should have.
const ENOUGH: usize = 4;
/// The least distance of two ticks, as a share of the axis: labels closer than this would touch.
const APART: f64 = 0.1;

/// What numbers are labelled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// As they are.
    Plain,
    /// Shares.
    Percent,
}

/// What distances on an axis are proportional to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Differences.
    Linear,
    /// Ratios of positive values.
    Log,
}

/// An axis between two ends.
#[derive(Debug, Clone)]
pub struct Axis {
    scale: Scale,
    /// What its ticks are labelled in.
    unit: Unit,
    /// Its ends, scaled.
    ends: Range<f64>,
}

impl Axis {
    /// From the least value to the greatest, and a share more on either side; values without a place on it are passed over.
    pub fn around(values: impl Iterator<Item = f64>, scale: Scale, unit: Unit, share: f64) -> Self {
        let scaled = values.map(|value| scale.of(value)).filter(|value| value.is_finite());
        let (low, high) =
            scaled.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.0, 0.0) } else { (low, high) };
        let least = match scale {
            Scale::Linear => 1.0,
            Scale::Log => 0.1,
        };
        let more = (share * (high - low)).max((least - (high - low)) / 2.0);
        Self { scale, unit, ends: low - more..high + more }
    }

    /// Of the roundest kind of numbers of which there are enough, else of that of which there are most.
    fn logarithmic_ticks(&self) -> Vec<f64> {
        let steps = |step: f64| (0..(9.0 / step) as u32).map(|index| 1.0 + step * f64::from(index)).collect();
        let round = [
            &[1.0][..],
            &[1.0, 3.0],
            &[1.0, 2.0, 5.0],
            &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
        ];
        let kinds = round.map(<[f64]>::to_vec).into_iter().chain([1.0, 0.5, 0.2, 0.1, 0.05].map(steps));
        let least = APART * (self.ends.end - self.ends.start);
        let are_apart = |ticks: &Vec<f64>| ticks.windows(2).all(|pair| (pair[1] / pair[0]).log10() >= least);
        let ticks: Vec<_> = kinds.map(|digits| self.within(&digits)).filter(are_apart).collect();
        let enough = ticks.iter().find(|ticks| ticks.len() >= ENOUGH);
        enough.or_else(|| ticks.iter().max_by_key(|ticks| ticks.len())).cloned().unwrap_or_default()
    }

    /// Numbers of these first digits on the axis.
    fn within(&self, digits: &[f64]) -> Vec<f64> {
        let decades = self.ends.start.floor() as i32..=self.ends.end.floor() as i32;
        let all = decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)));
        all.filter(|tick| self.range().contains(tick)).collect()
    }
}

impl Scale {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.log10(),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (self.scale.of(*value) - self.ends.start) / (self.ends.end - self.ends.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, hint: H) -> Vec<f64> {
        match self.scale {
            Scale::Linear => RangedCoordf64::from(self.ends.clone()).key_points(hint),
            Scale::Log => self.logarithmic_ticks(),
        }
    }

    fn range(&self) -> Range<f64> {
        match self.scale {
            Scale::Linear => self.ends.clone(),
            Scale::Log => 10f64.powf(self.ends.start)..10f64.powf(self.ends.end),
        }
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        label(*value, self.unit)
    }
}

/// A round number.
pub fn label(value: f64, unit: Unit) -> String {
    let value = if unit == Unit::Percent { 100.0 * value } else { value };
    let round: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let text = match round.abs() {
        size if size >= 1e4 => format!("{}k", round / 1e3),
        size if size < 1e-3 && size > 0.0 => format!("{round:e}"),
        _ => round.to_string(),
    };
    if unit == Unit::Percent { text + "%" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_has_round_ticks() {
        let labels = |low: f64, high: f64, unit| {
            let axis = Axis::around([low, high].into_iter(), Scale::Log, unit, 0.0);
            axis.key_points(10).iter().map(|tick| axis.format_ext(tick)).collect::<Vec<_>>()
        };
        assert_eq!(labels(0.19, 3.1, Unit::Plain), ["0.2", "0.5", "1", "2"]);
        assert_eq!(labels(0.06, 0.95, Unit::Percent), ["7%", "10%", "15%", "20%", "30%", "50%", "70%"]);
        assert_eq!(labels(0.031, 0.184, Unit::Percent), ["5%", "7%", "10%", "15%"]);
        assert_eq!(labels(9e-6, 0.2, Unit::Plain), ["1e-5", "1e-4", "0.001", "0.01", "0.1"]);
        for (tenth, width) in (0..100).flat_map(|tenth| [(tenth, 1.26), (tenth, 2.0), (tenth, 5.0), (tenth, 1e3)]) {
            let low = 10f64.powf(f64::from(tenth) / 100.0);
            let count = labels(low, width * low, Unit::Plain).len();
            assert!((2..=10).contains(&count), "{count} from {low} to {}", width * low);
        }
        assert_eq!(label(120_000.0, Unit::Plain), "120k");
    }
}
