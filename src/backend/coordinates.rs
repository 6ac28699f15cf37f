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
    pub fn of(axes: Vec<usize>) -> Self {
        let most = if are_classes(&axes) { usize::MAX } else { MOST_OF_A_MAP };
        Self::sampled(axes, most)
    }

    /// At most `most` of a tensor with these axes.
    pub fn sampled(axes: Vec<usize>, most: usize) -> Self {
        let mut all = Self { axes, sample: None };
        let numbers = all.total();
        if numbers > most {
            let drawn = index::sample(&mut Xoshiro256PlusPlus::seed_from_u64(0), numbers, most);
            let mut drawn = drawn.into_vec();
            drawn.sort_unstable();
            all.sample = Some(drawn.into());
        }
        all
    }

    /// How many are measured.
    #[expect(clippy::len_without_is_empty, reason = "a network without outputs is refused")]
    pub fn len(&self) -> usize {
        self.sample.as_ref().map_or_else(|| self.total(), |sample| sample.len())
    }

    /// How many there are, measured or not.
    pub fn total(&self) -> usize {
        self.axes.iter().product()
    }

    /// Sizes of one image's output.
    pub fn axes(&self) -> &[usize] {
        &self.axes
    }

    /// Whether the output may be class logits: one number, or a vector, whatever axes of size 1 it has besides.
    pub fn are_classes(&self) -> bool {
        are_classes(&self.axes)
    }

    /// The measured ones of each image's `values`, in order, into a row each; whether there are as many values as rows want.
    pub(super) fn gather<'a, T: Copy>(
        &self,
        values: &[T],
        number: impl Fn(T) -> f32,
        rows: impl ExactSizeIterator<Item = &'a mut [f32]>,
    ) -> bool {
        let numbers = self.total().max(1);
        if values.len() != rows.len() * numbers {
            return false;
        }
        for (values, row) in values.chunks_exact(numbers).zip(rows) {
            match &self.sample {
                None => row.iter_mut().zip(values).for_each(|(into, value)| *into = number(*value)),
                Some(sample) => row.iter_mut().zip(&**sample).for_each(|(into, place)| *into = number(values[*place])),
            }
        }
        true
    }
}

fn are_classes(axes: &[usize]) -> bool {
    axes.iter().filter(|size| **size != 1).count() <= 1
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
        let mut gather = |values: &[f32]| map.gather(values, |value| value, out.chunks_exact_mut(1024));
        assert!(gather(&values) && !gather(&values[1..]));
        assert!(
            out.is_sorted()
                && out[1024..].iter().zip(&out).all(|(second, first)| (second - first) as usize == 84 * 8400)
        );
    }
}
