//! Scripts and styles as pages carry them.

/// uPlot, minified (MIT, Leon Sorokin), as the npm package brings it; see `page/vendor/README.md`.
pub const UPLOT: &str = include_str!("page/vendor/uPlot.iife.min.js");
/// Its styles.
pub const UPLOT_STYLE: &str = include_str!("page/vendor/uPlot.min.css");
/// What all pages look like.
pub const STYLE: &str = include_str!("page/style.css");
/// Names, numbers and nodes as pages write them.
pub const WORDS: &str = include_str!("page/words.js");
/// What charts look like.
pub const CHART_STYLE: &str = include_str!("page/chart.css");
/// What charts show.
pub const KINDS: &str = include_str!("page/kinds.js");
/// One chart.
pub const CHART: &str = include_str!("page/chart.js");
/// The charts of runs.
pub const CHARTS: &str = include_str!("page/charts.js");
