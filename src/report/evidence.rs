//! What quantities tell of the error, for people to read.

use std::fmt::Write as _;

use crate::estimate::Estimate;
use crate::predict::calibrate::{LEVEL, Told};

/// A table of one data set's quantities, the best first.
#[must_use]
pub fn text(data_set: &str, told: &[Told]) -> String {
    let Some(first) = told.first() else {
        return format!("{data_set}: fewer than 3 networks have a quantity\n");
    };
    let title = if data_set.is_empty() { String::new() } else { format!("{data_set}: ") };
    let mut text = format!(
        "{title}{} networks of {} trainings, each predicted by a line through those of the others\n",
        first.points, first.trainings
    );
    let share = format!("in {:.0}% intervals", 100.0 * LEVEL);
    let _ = writeln!(text, "  {:<30} {:<22} {:<22} {share}", "quantity", "mean |log error|", "rank correlation");
    for told in told {
        let shown = |estimate: Option<&Estimate>| {
            estimate.map_or_else(String::new, |e| format!("{:.2} [{:.2}, {:.2}]", e.value, e.low, e.high))
        };
        let columns = [shown(Some(&told.error)), shown(told.rank_correlation.as_ref()), shown(told.coverage.as_ref())];
        let [error, rank, coverage] = columns;
        let line = format!("  {:<30} {error:<22} {rank:<22} {coverage}", told.quantity);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
