//! Looks at more and more images, of which the first clear one decides: what each may spend of the probability of a false alarm.

use crate::estimate::quantile;

/// One look at the first images of a probe set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// How many of them.
    pub images: usize,
    /// Which part of the probability of a false alarm it may spend; those of all looks add up to one (Bonferroni).
    pub share: f64,
}

/// Fewer images decide little.
const LEAST: usize = 100;
/// What the last look may spend: where nothing is clear before, the verdict is nearly what one look would say.
const LAST: f64 = 0.5;

/// A quarter of the images, half of them, all.
pub fn looks(images: usize) -> Vec<Look> {
    let early: Vec<_> = [images / 4, images / 2].into_iter().filter(|images| *images >= LEAST).collect();
    let shares = if early.is_empty() { (0.0, 1.0) } else { ((1.0 - LAST) / early.len() as f64, LAST) };
    let early = early.into_iter().map(|images| Look { images, share: shares.0 });
    early.chain([Look { images, share: shares.1 }]).collect()
}

/// Level of the two-sided interval at a look that may spend `share`, either side of which is a one-sided test.
pub fn look_level(confidence: f64, share: f64) -> f64 {
    1.0 - 2.0 * (1.0 - confidence) * share
}

/// How much wider an interval of `level` is at a look that may spend `share` of what it leaves out.
pub(super) fn stretch(level: f64, share: f64) -> f64 {
    quantile(early(level, share)) / quantile(level)
}

/// Level of an interval of `level` at a look that may spend `share` of what it leaves out.
pub(super) fn early(level: f64, share: f64) -> f64 {
    1.0 - (1.0 - level) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_spend_all_of_the_error_and_no_more() {
        let of = |images| looks(images).into_iter().map(|look| look.images).collect::<Vec<_>>();
        assert_eq!(of(900), [225, 450, 900]);
        assert_eq!(of(300), [150, 300]);
        assert_eq!(of(40), [40]);
        for images in [40, 300, 900] {
            assert!((looks(images).iter().map(|look| look.share).sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert!((look_level(0.95, 1.0) - 0.9).abs() < 1e-12 && (look_level(0.95, 0.5) - 0.95).abs() < 1e-12);
        // 2.498 and 1.960 standard deviations.
        assert!((stretch(0.95, 0.25) - 1.2744).abs() < 1e-3 && (stretch(0.95, 1.0) - 1.0).abs() < 1e-12);
    }
}
