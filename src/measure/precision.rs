//! The fewest passes for an interval: how its width depends on images and draws, from a few images.

use super::settings::MAX_DRAWS;

/// Images that are measured first, with two draws of each, where draws are free.
const PILOT: (usize, u32) = (200, 2);
/// More draws than this of each image cost more passes than more images do.
const MOST_DRAWS: u32 = 4;
/// Images beyond those that the width foretells: a width of few images is not exact.
const MARGIN: f64 = 1.1;
/// Doubling the draws must narrow the interval at least this much to be worth going on.
const WORTHWHILE: f64 = 0.95;

/// What is measured next, until the relative half-width of the interval of `R_f` is at most `target`.
#[derive(Debug)]
pub(super) struct Precision {
    target: f64,
    /// Whether the pilot is yet to tell how many draws are best.
    is_open: bool,
    last_width: f64,
}

/// How the squared half-width falls: `(between + within / draws) / images`.
#[derive(Debug, Clone, Copy)]
struct Spread {
    between: f64,
    within: f64,
}

impl Precision {
    pub fn new(target: f64, chooses_draws: bool) -> Self {
        Self { target, is_open: chooses_draws, last_width: f64::INFINITY }
    }

    /// What is measured first, where at least `images` and `draws` were asked for.
    pub fn first(&self, (images, draws): (usize, u32)) -> (usize, u32) {
        if self.is_open { (images.min(PILOT.0), PILOT.1) } else { (images, draws) }
    }

    /// Images and draws of the next try after a width; `None` where it is reached, or nothing would reach it. `one_draw` is the
    /// width that the first draw alone gives.
    pub fn next(
        &mut self,
        (images, draws): (usize, u32),
        most: usize,
        width: f64,
        one_draw: impl FnOnce() -> Option<f64>,
    ) -> Option<(usize, u32)> {
        if self.is_reached(width) {
            return None;
        }
        if std::mem::take(&mut self.is_open)
            && let Some(one) = one_draw()
        {
            return Some(Spread::of(images, one, width).fewest_passes(self.target, (images, draws), most));
        }
        if images < most {
            let needed = (images as f64 * (width / self.target).powi(2) * MARGIN).ceil() as usize;
            return Some((needed.clamp(images + 1, most), draws));
        }
        let is_worthwhile = draws < MAX_DRAWS && width < self.last_width * WORTHWHILE;
        self.last_width = width;
        is_worthwhile.then(|| (images, (draws * 2).min(MAX_DRAWS)))
    }

    /// Whether `R_f` is undefined on no more than the pilot: then what was asked for is measured, which may define it.
    pub fn gives_up(&mut self) -> bool {
        std::mem::take(&mut self.is_open)
    }

    pub fn is_reached(&self, width: f64) -> bool {
        width <= self.target
    }
}

impl Spread {
    /// From the half-widths that the same images give with one draw of each and with two.
    fn of(images: usize, one: f64, two: f64) -> Self {
        let (one, two) = (one.powi(2) * images as f64, two.powi(2) * images as f64);
        let within = (2.0 * (one - two)).clamp(0.0, one);
        Self { between: one - within, within }
    }

    fn images(self, draws: u32, target: f64) -> usize {
        let images = (self.between + self.within / f64::from(draws)) * MARGIN / target.powi(2);
        // More than there are anywhere, and few enough to count the passes of.
        images.ceil().min(f64::from(u32::MAX)) as usize
    }

    /// Images and draws that reach `target` in the fewest passes beyond those that were `taken`, with `most` images there.
    fn fewest_passes(self, target: f64, taken: (usize, u32), most: usize) -> (usize, u32) {
        let passes = |images: usize, draws: u32| images * (1 + 2 * draws as usize);
        let plan = |draws: u32| {
            let images = self.images(draws, target).max(taken.0);
            let spared = if draws == taken.1 { passes(taken.0, draws) } else { 0 };
            (passes(images, draws) - spared, images, draws)
        };
        let best = (1..=MOST_DRAWS).map(plan).filter(|(_, images, _)| *images <= most).min();
        let (_, images, draws) = best.unwrap_or_else(|| {
            let enough = (1..=MAX_DRAWS).find(|draws| self.images(*draws, target) <= most);
            (0, most, enough.unwrap_or(MOST_DRAWS))
        });
        (images, draws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The half-width of a network whose images and draws spread so.
    fn width(between: f64, within: f64, (images, draws): (usize, u32)) -> f64 {
        ((between + within / f64::from(draws)) / images as f64).sqrt()
    }

    /// What a precision comes to, and all passes on the way.
    fn taken(between: f64, within: f64, target: f64, most: usize) -> ((usize, u32), usize) {
        let mut precision = Precision::new(target, true);
        let mut now = precision.first((most, 4));
        let (mut passes, mut before) = (0, (0, 0));
        loop {
            let kept = if before.1 == now.1 { before.0 } else { 0 };
            passes += (now.0 - kept) * (1 + 2 * now.1 as usize);
            let one = || Some(width(between, within, (now.0, 1)));
            before = now;
            match precision.next(now, most, width(between, within, now), one) {
                Some(next) => now = next,
                None => return (now, passes),
            }
        }
    }

    #[test]
    fn images_come_first_and_draws_where_they_spread_much() {
        // Draws as wide as images: one of each is best, once the pilot is paid for.
        assert_eq!(taken(4.0, 4.0, 0.05, 10_000), ((3_521, 1), 1_000 + 3 * 3_521));
        let ((images, draws), _) = taken(1.0, 64.0, 0.05, 10_000);
        assert_eq!(draws, 4);
        assert!(width(1.0, 64.0, (images, draws)) <= 0.05);
        // What no images reach takes all of them.
        assert_eq!(taken(1.0, 1.0, 1e-300, 1_000).0.0, 1_000);
        // What the pilot reaches costs no more.
        assert_eq!(taken(1.0, 1.0, 0.1, 10_000), ((200, 2), 1_000));
    }

    #[test]
    fn draws_stand_in_for_images_that_are_not_there() {
        let ((images, draws), _) = taken(1.0, 4.0, 0.06, 500);
        // Five draws are enough, and the margin takes two more.
        assert_eq!((images, draws), (500, 7));
        assert!(width(1.0, 4.0, (500, 5)) <= 0.06 && width(1.0, 4.0, (500, 4)) > 0.06);
        // Nothing reaches this: it ends.
        let ((images, draws), _) = taken(4.0, 4.0, 0.01, 500);
        assert!(images == 500 && draws <= MAX_DRAWS);
    }
}
