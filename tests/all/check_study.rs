//! How often `check --baseline` is right: seeded pairs of networks whose true ratio of `R_f` is known.
//!
//! As in `estimate_coverage.rs`, squared changes are heavy-tailed and mostly the image's own; most of what an image does
//! to one network it does to the other. `RELSTAB_REPETITIONS=2000` runs the full study (docs/check.md).

use crate::common::{normal, repetitions};
use rand::{RngExt as _, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use relstab::check::shares::share_interval;
use relstab::check::{Look, Verdict, look_level, looks, regression_verdict};
use relstab::estimate::{Estimate, Resampling, Responses, compare, stabilities};

const OUTPUTS: usize = 10;
const DRAWS: usize = 4;
const CONFIDENCE: f64 = 0.95;
/// Share of the variance that two networks have in common, beyond the image's own.
const SHARED: f32 = 0.7;

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

/// `log R_f` and its replicates from the first `images` images.
fn log_r_f(network: &Network, images: usize, seed: u64) -> (f64, Vec<f32>) {
    let changes = images * DRAWS * OUTPUTS;
    let (deformed, noisy) = (&network.deformed[..changes], &network.noisy[..changes]);
    let clean: Vec<f32> = (0..images * OUTPUTS).map(|at| (at as f32 * 0.7).sin()).collect();
    let responses = Responses { images, draws: DRAWS, outputs: OUTPUTS, clean: &clean, deformed, noisy };
    let resampling = Resampling { seed, ..Resampling::default() };
    let found = stabilities(&responses, &resampling).expect("usable outputs").coordinate_median;
    let Estimate { value, .. } = found.r_f.expect("defined");
    (value.ln(), found.replicates_log_r_f)
}

/// The verdict, and the images it took.
fn verdict(seed: u64, images: usize, ratio: f32, max: f64) -> (Verdict, usize) {
    let [baseline, candidate] = pair(seed, images, ratio);
    let mut last = (Verdict::Inconclusive, 0);
    for Look { images, share } in looks(images) {
        // As a measurement of so many images is resampled.
        let [first, second] = [&candidate, &baseline].map(|network| log_r_f(network, images, seed ^ images as u64));
        let level = look_level(CONFIDENCE, share);
        let compared = compare((first.0, &first.1), (second.0, &second.1), level).expect("paired");
        last = (regression_verdict(compared.low, compared.high, max), images);
        if last.0 != Verdict::Inconclusive {
            break;
        }
    }
    last
}

/// What the looks say of images that are alike with probability `rate`, held to `least`; and the images it took.
fn agreement(rng: &mut Xoshiro256PlusPlus, images: usize, rate: f64, least: f64) -> (Verdict, usize) {
    let alike: Vec<_> = (0..images).map(|_| rng.random_bool(rate)).collect();
    let mut last = (Verdict::Inconclusive, 0);
    for Look { images, share } in looks(images) {
        let value = alike[..images].iter().filter(|alike| **alike).count() as f64 / images as f64;
        let (low, high) = share_interval(value, images, look_level(CONFIDENCE, share));
        let (falls, holds) = (high < least, low >= least);
        last = (if falls { Verdict::FallsShort } else { Verdict::Inconclusive }, images);
        if falls || holds {
            break;
        }
    }
    last
}

#[test]
fn a_network_that_agrees_as_it_must_seldom_fails_and_a_copy_ends_at_half() {
    let count = repetitions(2_000);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    for images in [500, 1_000] {
        let failures = (0..count).filter(|_| agreement(&mut rng, images, 0.97, 0.97).0 == Verdict::FallsShort).count();
        let (share, promised) = (failures as f64 / count as f64, 1.0 - CONFIDENCE);
        println!("{:.1}% of {count} networks that just agree fail, {images} images", 100.0 * share);
        assert!(share <= promised + 3.0 * (promised * CONFIDENCE / count as f64).sqrt(), "{share}");
        assert!(agreement(&mut rng, images, 1.0, 0.97).1 <= images / 2);
        assert_eq!(agreement(&mut rng, images, 0.6, 0.97), (Verdict::FallsShort, images / 4));
    }
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
    let short = found.iter().filter(|(_, images)| *images <= 250).count();
    println!("{caught} of 100 caught, {short} of them by half of the images");
    assert!(caught >= 90, "{caught}");
}
