//! Intervals of a share, and of the difference of two shares that were counted on the same images.

use statrs::distribution::{Beta, ContinuousCDF as _};

use crate::estimate::quantile;

/// Jeffreys' interval of a share of `n`; where none or all are in it, the far end is the exact one, as Brown, Cai and `DasGupta`
/// propose (Statistical Science 16, 101, 2001): else it misses too often.
pub fn share_interval(share: f64, n: usize, level: f64) -> (f64, f64) {
    let (in_it, out_of_it) = (share * n as f64, (1.0 - share) * n as f64);
    let Ok(beta) = Beta::new(in_it + 0.5, out_of_it + 0.5) else { return (0.0, 1.0) };
    let tail = (1.0 - level) / 2.0;
    let exact = tail.powf(1.0 / n.max(1) as f64);
    match (in_it < 0.5, out_of_it < 0.5) {
        (true, _) => (0.0, 1.0 - exact),
        (_, true) => (exact, 1.0),
        _ => (beta.inverse_cdf(tail), beta.inverse_cdf(1.0 - tail)),
    }
}

/// Images that one of two networks answers rightly and the other wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discordant {
    /// Wrong by the second network alone.
    pub worsened: usize,
    /// Wrong by the first network alone.
    pub improved: usize,
    /// All images, those that both answer alike among them.
    pub images: usize,
}

/// Halvings that leave no doubt in the last digit.
const HALVINGS: usize = 60;

impl Discordant {
    /// Of images that the first and the second network answer wrongly, or not.
    pub fn of(wrong: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut found = Self { worsened: 0, improved: 0, images: 0 };
        for (first, second) in wrong {
            found.worsened += usize::from(!first && second);
            found.improved += usize::from(first && !second);
            found.images += 1;
        }
        found
    }

    /// The second network's error less the first's.
    pub fn rise(&self) -> f64 {
        (self.worsened as f64 - self.improved as f64) / self.images as f64
    }

    /// Tango's score interval of the rise: every difference that the score test does not refuse (Statistics in Medicine 17,
    /// 891, 1998).
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let (z, rise) = (quantile(level), self.rise());
        let end = |beyond: f64, score: f64| {
            let (mut outside, mut inside) = (beyond, rise);
            for _ in 0..HALVINGS {
                let middle = f64::midpoint(outside, inside);
                if self.score(middle) * score.signum() > score.abs() { outside = middle } else { inside = middle }
            }
            inside
        };
        (end(-1.0, z), end(1.0, -z))
    }

    /// The smallest rise whose whole interval would lie above `max`, with as many images improved as here.
    pub fn detectable(&self, max: f64, level: f64) -> Option<f64> {
        let z = quantile(level);
        let with = |worsened: usize| Self { worsened, ..*self };
        let shows = |worsened: usize| with(worsened).rise() > max && with(worsened).score(max) > z;
        let most = self.images - self.improved;
        if !shows(most) {
            return None;
        }
        let (mut hidden, mut shown) = (0, most);
        while shown - hidden > 1 {
            let middle = usize::midpoint(hidden, shown);
            if shows(middle) { shown = middle } else { hidden = middle }
        }
        Some(with(shown).rise())
    }

    /// How many standard deviations the rise found lies above a true rise of `delta`, at the most likely shares under it.
    fn score(&self, delta: f64) -> f64 {
        let (n, worsened, improved) = (self.images as f64, self.worsened as f64, self.improved as f64);
        let b = (2.0 * n - worsened + improved) * delta - worsened - improved;
        let c = -improved * delta * (1.0 - delta);
        let share = ((b * b - 8.0 * n * c).max(0.0).sqrt() - b) / (4.0 * n);
        let excess = worsened - improved - n * delta;
        let variance = n * (2.0 * share + delta * (1.0 - delta));
        if excess == 0.0 { 0.0 } else { excess / variance.max(0.0).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_jeffreys_interval() {
        // Reference: scipy.stats.beta.ppf([0.025, 0.975], 10.5, 90.5).
        let (low, high) = share_interval(0.1, 100, 0.95);
        assert!((low - 0.052_585).abs() < 1e-5 && (high - 0.170_124).abs() < 1e-5, "{low} {high}");
        // 1 - 0.025^(1/50).
        let (none, all) = (share_interval(0.0, 50, 0.95), share_interval(1.0, 50, 0.95));
        assert!(none.0 <= 0.0 && (none.1 - 0.071_122).abs() < 1e-5, "{none:?}");
        assert!(all.1 >= 1.0 && (all.0 - 0.928_878).abs() < 1e-5, "{all:?}");
    }

    #[test]
    fn a_rise_has_tangos_interval() {
        let of = |worsened, improved, images| Discordant { worsened, improved, images };
        // Reference: the score statistic with the likelihood maximised by search; z^2 / (n + z^2) where none differ.
        for (found, low, high) in [(of(12, 2, 50), 0.061_112, 0.344_709), (of(0, 0, 30), -0.113_513, 0.113_513)] {
            let interval = found.interval(0.95);
            assert!((interval.0 - low).abs() < 1e-5 && (interval.1 - high).abs() < 1e-5, "{found:?}: {interval:?}");
        }
        let (low, high) = of(2, 12, 50).interval(0.95);
        let mirrored = of(12, 2, 50).interval(0.95);
        assert!((low + mirrored.1).abs() < 1e-9 && (high + mirrored.0).abs() < 1e-9);
        assert!(of(50, 0, 50).interval(0.95).1 >= 1.0 - 1e-9);
    }

    #[test]
    fn what_is_detectable_is_the_first_rise_whose_interval_clears_the_limit() {
        for improved in [0, 3, 8] {
            let found = Discordant { worsened: improved, improved, images: 500 };
            let rise = found.detectable(0.01, 0.9).expect("500 images show some rise");
            let worsened = (rise * 500.0).round() as usize + improved;
            assert!(Discordant { worsened, ..found }.interval(0.9).0 > 0.01);
            assert!(Discordant { worsened: worsened - 1, ..found }.interval(0.9).0 <= 0.01);
            assert!((0.017..0.035).contains(&rise), "{rise}");
        }
        assert_eq!(Discordant { worsened: 0, improved: 0, images: 2 }.detectable(0.9, 0.95), None);
    }
}
