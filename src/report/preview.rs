//! What a network sees, before it is measured.

use std::fmt::Write as _;

use super::{percent, significant};
use crate::measure::{Answer, Preview, Range, axes_text};

/// Output, range of the input, predictions and cost, one line each.
pub fn text(preview: &Preview) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<16} {value}");
    };
    let [channels, height, width] = preview.shape;
    row("images", format!("{channels} x {height} x {width}, given as {}", preview.layout));
    for (channel, Range { min, mean, max }) in preview.channels.iter().enumerate() {
        row(&format!("channel {channel}"), format!("{min:.3} to {max:.3}, mean {mean:.3}"));
    }
    row("output", format!("{}, {}", preview.output, axes_text(&preview.output_axes)));
    for Answer { image, label, classes } in &preview.predictions {
        let label = label.map_or(String::new(), |label| format!(" (label {label})"));
        let classes: Vec<_> =
            classes.iter().map(|(class, share)| format!("{class} {}", percent(f64::from(*share)))).collect();
        row("prediction", format!("{image}{label}: class {}", classes.join(", ")));
    }
    if let Some(error) = preview.probe_error {
        row("probe error", format!("{} of {} images", percent(error), preview.looked_at));
    }
    let cost = &preview.cost;
    row("passes", format!("{} ({} images x {} draws)", cost.passes, cost.images, cost.draws));
    row("time", format!("about {} s", significant(cost.seconds)));
    if cost.bytes > 0 {
        row("memory", format!("about {} MB", cost.bytes / 1_000_000));
    }
    let backend = &preview.backend;
    row("backend", format!("{} {} on {}", backend.name, backend.version, backend.provider));
    text
}
