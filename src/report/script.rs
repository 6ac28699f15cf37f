//! The charting library as pages carry it.

use std::sync::LazyLock;

/// plotly.js, minified (MIT, Plotly Inc.), as the crate `plotly` brings it.
pub static PLOTLY: LazyLock<String> = LazyLock::new(|| {
    let sources = plotly::Plot::offline_js_sources();
    let script = sources.split_once("</script>").map_or("", |(first, _)| first);
    script.split_once('>').map_or("", |(_, script)| script).to_owned()
});

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_plotly_alone() {
        let script = super::PLOTLY.as_str();
        assert!(script.trim_start().starts_with("/**\n* plotly.js v"), "{}", &script[..100]);
        assert!((3_000_000..6_000_000).contains(&script.len()), "{} bytes", script.len());
    }
}
