//! What `relstab evidence` found: how well quantities tell the error.

use super::document::{Document, Text, columns, table};
use crate::estimate::Estimate;
use crate::predict::calibrate::{LEVEL, Told};

/// A table of one data set's quantities, the best first.
pub fn document(data_set: &str, told: &[Told]) -> Document {
    let title = if data_set.is_empty() { Vec::new() } else { vec![Text::words(data_set), ": ".into()] };
    let about = told.first().map_or_else(
        || "no quantity can be tried: it takes 3 networks that have it, and a line without each training".to_owned(),
        |first| {
            let Told { points, trainings, .. } = first;
            let others = match trainings {
                1 => "one training, each predicted by a line through the others".to_owned(),
                _ => format!("{trainings} trainings, each predicted by a line through those of the others"),
            };
            format!("{points} networks of {others}")
        },
    );
    let shown = |e: &Estimate| format!("{:.2} [{:.2}, {:.2}]", e.value, e.low, e.high);
    let row = |told: &Told| {
        let [rank, coverage] = [&told.rank_correlation, &told.coverage].map(|e| Text::known(e.as_ref().map(shown)));
        vec![told.quantity.as_str().into(), shown(&told.error).into(), rank, coverage]
    };
    let inside = format!("in {:.0}% intervals", 100.0 * LEVEL);
    let names = ["quantity", "mean |log error|", "rank correlation", &inside];
    let table = table("Quantities, the best first", columns(&names, &names[1..]), told.iter().map(row));
    Document {
        title: vec!["relstab evidence".into()],
        heading: vec![title.into_iter().chain([about.into()]).collect()],
        blocks: told.first().map(|_| table).into_iter().collect(),
    }
}
