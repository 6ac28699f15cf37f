//! The seeded order of a probe set: every beginning of it is a fair sample, by class where there are labels.

use std::collections::BTreeMap;

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

/// A permutation of `0..images`. Each class is shuffled and spread evenly over the whole, so that the first N images hold
/// nearly N times its share of every class, and a larger N keeps the images of a smaller one.
pub fn stratified(images: usize, labels: Option<&[u32]>, seed: u64) -> Vec<usize> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for image in 0..images {
        classes.entry(labels.map_or(0, |labels| labels[image])).or_default().push(image);
    }
    let mut places = Vec::with_capacity(images);
    for members in classes.values_mut() {
        members.shuffle(&mut rng);
        let offset: f64 = rng.random();
        let share = members.len() as f64;
        places.extend(members.iter().enumerate().map(|(rank, image)| ((rank as f64 + offset) / share, *image)));
    }
    places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    places.into_iter().map(|(_, image)| image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_is_stratified() {
        // 10% of class 0, 30% of class 1, 60% of class 2.
        let labels: Vec<u32> = (0..1000).map(|image| [0, 1, 1, 1, 2, 2, 2, 2, 2, 2][image % 10]).collect();
        let order = stratified(1000, Some(&labels), 7);
        for n in [10, 50, 137, 500, 1000] {
            for (class, share) in [(0, 0.1), (1, 0.3), (2, 0.6)] {
                let count = order[..n].iter().filter(|image| labels[**image] == class).count() as f64;
                assert!((count - share * n as f64).abs() <= 1.0, "{count} of class {class} among {n}");
            }
        }
    }

    #[test]
    fn an_order_is_a_permutation_fixed_by_its_seed() {
        let order = stratified(100, None, 1);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(order, stratified(100, None, 1));
        assert_ne!(order, stratified(100, None, 2));
    }
}
