//! How often `check --baseline` is right: seeded pairs of networks whose true ratio of `R_f` is known.
//!
//! As in `estimate_coverage.rs`, squared changes are heavy-tailed and mostly the image's own; most of what an image does
//! to one network it does to the other. `RELSTAB_REPETITIONS=2000` runs the full study (docs/check.md).

use crate::common::repetitions;
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use relstab::check::{Verdict, look_level, looks, regression_verdict};
use relstab::estimate::{Estimate, Resampling, Responses, compare, stabilities};

const OUTPUTS: usize = 10;
const DRAWS: usize = 4;
const CONFIDENCE: f64 = 0.95;
/// Share of the variance that two networks have in common, beyond the image's own.
const SHARED: f32 = 0.7;

fn normal(rng: &mut Xoshiro256PlusPlus) -> f32 {
    StandardNormal.sample(rng)
}

/// Correlated normals, one for each network.
fn both(rng: &mut Xoshiro256PlusPlus) -> [f32; 2] {
    let common = SHARED.sqrt() * normal(rng);
    [0, 1].map(|_| common + (1.0 - SHARED).sqrt() * normal(rng))
}

/// Squared changes under deformation and under noise, `[image, draw, output]`.
#[derive(Default)]
struct Network {
    deformed: Vec<f32>,
    noisy: Vec<f32>,
}

/// Two networks of one distribution, but for the second's changes under deformation, which are `ratio` times as large: so
/// is its `R_f`, in every reading.
fn pair(seed: u64, images: usize, ratio: f32) -> [Network; 2] {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut networks = [Network::default(), Network::default()];
    for _ in 0..images {
        let sensitivity = normal(&mut rng);
        for (is_noise, typical) in [(false, 0.3_f32), (true, 1.0)] {
            let image = both(&mut rng);
            for _ in 0..DRAWS {
                let (draw, shared) = (both(&mut rng), both(&mut rng));
                for output in 0..OUTPUTS {
                    let own = both(&mut rng);
                    for (number, network) in networks.iter_mut().enumerate() {
                        let scale = typical * (0.6 * sensitivity + 0.25 * image[number] + 0.2 * draw[number]).exp();
                        let change = scale * (1.0 + 0.1 * output as f32) * (0.6 * shared[number] + 0.8 * own[number]);
                        let into = if is_noise { &mut network.noisy } else { &mut network.deformed };
                        let factor = if number == 1 && !is_noise { ratio } else { 1.0 };
                        into.push(factor * change * change);
                    }
                }
            }
        }
    }
    networks
}

/// `log R_f` and its replicates from the first `draws` draws.
fn log_r_f(network: &Network, images: usize, draws: usize, seed: u64) -> (f64, Vec<f32>) {
    let first = |changes: &[f32]| -> Vec<f32> {
        changes.chunks(DRAWS * OUTPUTS).flat_map(|image| image[..draws * OUTPUTS].to_vec()).collect()
    };
    let (deformed, noisy) = (first(&network.deformed), first(&network.noisy));
    let clean: Vec<f32> = (0..images * OUTPUTS).map(|at| (at as f32 * 0.7).sin()).collect();
    let responses = Responses { images, draws, outputs: OUTPUTS, clean: &clean, deformed: &deformed, noisy: &noisy };
    let resampling = Resampling { seed, ..Resampling::default() };
    let found = stabilities(&responses, &resampling).expect("usable outputs").coordinate_median;
    let Estimate { value, .. } = found.r_f.expect("defined");
    (value.ln(), found.replicates_log_r_f)
}

/// The verdict, and the draws it took.
fn verdict(seed: u64, images: usize, ratio: f32, max: f64) -> (Verdict, u32) {
    let [baseline, candidate] = pair(seed, images, ratio);
    let looks = looks(DRAWS as u32);
    let level = look_level(CONFIDENCE, looks.len());
    let mut last = (Verdict::Inconclusive, 0);
    for &draws in &looks {
        let [first, second] = [&candidate, &baseline].map(|network| log_r_f(network, images, draws as usize, seed));
        let compared = compare((first.0, &first.1), (second.0, &second.1), level).expect("paired");
        last = (regression_verdict(compared.low, compared.high, max), draws);
        if last.0 != Verdict::Inconclusive {
            break;
        }
    }
    last
}

#[test]
fn a_network_at_the_limit_seldom_fails() {
    let count = repetitions(200);
    let failures =
        (0..count).into_par_iter().filter(|seed| verdict(*seed, 200, 1.05, 0.05).0 == Verdict::FallsShort).count();
    let (share, promised) = (failures as f64 / count as f64, 1.0 - CONFIDENCE);
    println!("{:.1}% of {count} networks at the limit fail", 100.0 * share);
    assert!(share <= promised + 3.0 * (promised * CONFIDENCE / count as f64).sqrt(), "{share}");
}

#[test]
fn a_network_that_is_30_percent_worse_is_caught() {
    let found: Vec<_> = (0..100_u64).into_par_iter().map(|seed| verdict(1000 + seed, 500, 1.3, 0.05)).collect();
    let caught = found.iter().filter(|(verdict, _)| *verdict == Verdict::FallsShort).count();
    let short = found.iter().filter(|(_, draws)| *draws == 1).count();
    println!("{caught} of 100 caught, {short} by the first look");
    assert!(caught >= 90, "{caught}");
}
