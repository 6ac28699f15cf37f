//! How often the 95% intervals hold the true value, over seeded populations with known stabilities.
//!
//! The population imitates trained classifiers: squared changes are heavy-tailed, their coordinates are correlated, and
//! how much an image's outputs move depends mostly on the image, in the same way under deformation and under noise.

use crate::common::normal;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use relstab::estimate::{Estimate, Estimator, Resampling, Responses, Stability, stabilities};

const OUTPUTS: usize = 10;
const DRAWS: usize = 2;
const IMAGES: usize = 200;
const POPULATIONS: u64 = 300;

/// `images` images and their responses: clean outputs, squared changes under deformation and under noise.
fn draw(rng: &mut Xoshiro256PlusPlus, images: usize, draws: usize) -> [Vec<f32>; 3] {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..images {
        let sensitivity = normal(rng);
        // A confident image moves less.
        let confidence = 3.0 * (0.4 * normal(rng) - 0.2 * sensitivity).exp();
        all[0].extend((0..OUTPUTS).map(|_| confidence * normal(rng)));
        for (kind, typical) in [(1, 0.3_f32), (2, 1.0)] {
            let image_scale = typical * (0.6 * sensitivity + 0.25 * normal(rng)).exp();
            for _ in 0..draws {
                let scale = image_scale * (0.2 * normal(rng)).exp();
                let shared = normal(rng);
                all[kind].extend((0..OUTPUTS).map(|output| {
                    let own = scale * (1.0 + 0.1 * output as f32);
                    let change = own * (0.6 * shared + 0.8 * normal(rng));
                    change * change
                }));
            }
        }
    }
    all
}

/// `[D_f, G_f, R_f]` in the order of [`Estimator::ALL`], from 400,000 images and as many disjoint pairs, with its own code.
fn truth() -> [[f64; 3]; 3] {
    let images = 400_000;
    let parts: Vec<[Vec<f32>; 3]> = (0..8_u64)
        .into_par_iter()
        .map(|part| draw(&mut Xoshiro256PlusPlus::seed_from_u64(0xabcd + part), images / 8, 1))
        .collect();
    let [clean, deformed, noisy]: [Vec<f32>; 3] =
        [0, 1, 2].map(|kind| parts.iter().flat_map(|part| part[kind].clone()).collect());
    let squared = |pair: &[f32]| -> f32 { (0..OUTPUTS).map(|k| (pair[k] - pair[OUTPUTS + k]).powi(2)).sum() };
    let distances: Vec<f32> = clean.chunks(2 * OUTPUTS).map(squared).collect();
    let normaliser = [median(distances.clone()), median(distances.clone()), mean(&distances)];
    let (d, g) = (typical(&deformed), typical(&noisy));
    [0, 1, 2]
        .map(|reading| [d[reading] / normaliser[reading], g[reading] / normaliser[reading], d[reading] / g[reading]])
}

fn typical(changes: &[f32]) -> [f64; 3] {
    let column = |k: usize| median(changes.iter().skip(k).step_by(OUTPUTS).copied().collect());
    let norms: Vec<f32> = changes.chunks(OUTPUTS).map(|change| change.iter().sum()).collect();
    [(0..OUTPUTS).map(column).sum(), median(norms.clone()), mean(&norms)]
}

fn median(mut values: Vec<f32>) -> f64 {
    let middle = values.len() / 2;
    f64::from(*values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64
}

#[test]
fn intervals_hold_the_true_value_as_often_as_they_say() {
    let truth = truth();
    let held: Vec<[[bool; 3]; 3]> = (0..POPULATIONS)
        .into_par_iter()
        .map(|population| {
            let made = draw(&mut Xoshiro256PlusPlus::seed_from_u64(population), IMAGES, DRAWS);
            let [clean, deformed, noisy] = &made;
            let responses = Responses { images: IMAGES, draws: DRAWS, outputs: OUTPUTS, clean, deformed, noisy };
            let resampling = Resampling { level: 0.95, resamples: 400, seed: population };
            let found = stabilities(&responses, &resampling).expect("usable outputs");
            [0, 1, 2].map(|reading| holds(found.get(Estimator::ALL[reading]), truth[reading]))
        })
        .collect();
    for (reading, estimator) in Estimator::ALL.into_iter().enumerate() {
        for (ratio, name) in ["D_f", "G_f", "R_f"].into_iter().enumerate() {
            let count = held.iter().filter(|held| held[reading][ratio]).count();
            let coverage = count as f64 / POPULATIONS as f64;
            println!("{estimator:?} {name}: {:.1}% of 95% intervals hold it", 100.0 * coverage);
            let allowed = if estimator == Estimator::Mean { 0.85..=1.0 } else { 0.92..=0.98 };
            assert!(allowed.contains(&coverage), "{estimator:?} {name}: {coverage}");
        }
    }
}

fn holds(stability: &Stability, truth: [f64; 3]) -> [bool; 3] {
    let inside = |estimate: Option<Estimate>, truth: f64| estimate.is_some_and(|e| (e.low..=e.high).contains(&truth));
    [inside(stability.d_f, truth[0]), inside(stability.g_f, truth[1]), inside(stability.r_f.ok(), truth[2])]
}
