//! Which numbers of a network's output are measured: all class logits, or a sample of a larger map.

use std::sync::Arc;

use rand::SeedableRng as _;
use rand::seq::index;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The measured numbers of one image's output.
#[derive(Debug, Clone, Default)]
pub struct Coordinates {
    axes: Vec<usize>,
    /// Where the measured ones stand, ascending; `None` for all.
    sample: Option<Arc<[usize]>>,
}

/// Of a map, be it of features or of boxes, this many numbers tell its stability.
const MOST_OF_A_MAP: usize = 1024;

impl Coordinates {
    /// Of an output with these axes, the batch left out: all where it is a vector, else at most 1,024, drawn once and for all.
    #[must_use]
    pub fn of(axes: Vec<usize>) -> Self {
        let mut all = Self { axes, sample: None };
        let numbers = all.len();
        if !all.are_classes() && numbers > MOST_OF_A_MAP {
            let drawn = index::sample(&mut Xoshiro256PlusPlus::seed_from_u64(0), numbers, MOST_OF_A_MAP);
            let mut drawn = drawn.into_vec();
            drawn.sort_unstable();
            all.sample = Some(drawn.into());
        }
        all
    }

    /// How many are measured.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a network without outputs is refused")]
    pub fn len(&self) -> usize {
        self.sample.as_ref().map_or_else(|| self.axes.iter().product(), |sample| sample.len())
    }

    /// Sizes of one image's output.
    #[must_use]
    pub fn axes(&self) -> &[usize] {
        &self.axes
    }

    /// Whether the output may be class logits: one number, or a vector, whatever axes of size 1 it has besides.
    #[must_use]
    pub fn are_classes(&self) -> bool {
        self.axes.iter().filter(|size| **size != 1).count() <= 1
    }

    /// The measured numbers of each row; whether there are as many rows as `out` holds.
    pub(super) fn gather(&self, values: impl ExactSizeIterator<Item = f32> + Clone, out: &mut [f32]) -> bool {
        let numbers: usize = self.axes.iter().product();
        let rows = out.len() / self.len().max(1);
        if values.len() != rows * numbers {
            return false;
        }
        match &self.sample {
            None => out.iter_mut().zip(values).for_each(|(out, value)| *out = value),
            Some(sample) => {
                let mut wanted = (0..rows).flat_map(|row| sample.iter().map(move |place| row * numbers + place));
                let mut next = wanted.next();
                let mut out = out.iter_mut();
                for (place, value) in values.enumerate() {
                    if next == Some(place) {
                        if let Some(out) = out.next() {
                            *out = value;
                        }
                        next = wanted.next();
                    }
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_taken_whole_and_a_map_by_a_sample() {
        for axes in [vec![], vec![1], vec![20_000], vec![1000, 1, 1]] {
            let vector = Coordinates::of(axes.clone());
            assert!(vector.are_classes() && vector.len() == axes.iter().product::<usize>());
        }
        let map = Coordinates::of(vec![84, 8400]);
        assert!(!map.are_classes() && map.len() == 1024);
        let values: Vec<f32> = (0..2 * 84 * 8400).map(|value| value as f32).collect();
        let mut out = vec![0.0; 2048];
        assert!(map.gather(values.iter().copied(), &mut out));
        assert!(
            out.is_sorted()
                && out[1024..].iter().zip(&out).all(|(second, first)| (second - first) as usize == 84 * 8400)
        );
        assert!(!map.gather(values[1..].iter().copied(), &mut out));
    }
}
