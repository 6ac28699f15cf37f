//! How often intervals of exponents hold a planted one.
//!
//! `RELSTAB_REPETITIONS=20000 cargo test --release --test all scaling_study -- --nocapture` is the whole of it.

use crate::common::repetitions;
use rand::SeedableRng as _;
use rand_distr::{Distribution as _, StandardNormal, StudentT};
use rand_xoshiro::Xoshiro256PlusPlus;
use relstab::scaling::evidence::{Choice, of_table};
use relstab::scaling::{LEVEL, PowerLaw, Scaling};

const BETA: f64 = 0.45;
/// Standard deviation of log `R_f` between networks of one size, as trainings from other seeds show it.
const NOISE: f64 = 0.25;

/// Deviations of log `R_f` of `seeds` networks of a size from the law.
type Deviations = fn(log_size: f64, seeds: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f64>;

fn normal(random: &mut Xoshiro256PlusPlus) -> f64 {
    StandardNormal.sample(random)
}

fn even(_: f64, seeds: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    (0..seeds).map(|_| NOISE * normal(random)).collect()
}

/// Heavy tails, as trainings that fail have them.
fn heavy(_: f64, seeds: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    let student = StudentT::new(3.0).expect("degrees");
    (0..seeds).map(|_| NOISE * student.sample(random)).collect()
}

/// Three times as much at the largest of 256 times the size.
fn growing(log_size: f64, seeds: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    even(log_size, seeds, random)
        .into_iter()
        .map(|deviation| deviation * (log_size / 256f64.ln() * 3f64.ln()).exp())
        .collect()
}

/// A third of the variance is common to all networks of a size.
fn common_to_a_size(_: f64, seeds: usize, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    let common = (1.0f64 / 3.0).sqrt() * NOISE * normal(random);
    (0..seeds).map(|_| common + (2.0f64 / 3.0).sqrt() * NOISE * normal(random)).collect()
}

/// Networks `(P, R_f)` of `sizes` sizes from 500 to 128,000, all measured on the same images, which shift all of them alike.
fn networks(beta: f64, sizes: usize, seeds: usize, of: Deviations, random: &mut Xoshiro256PlusPlus) -> Vec<(f64, f64)> {
    let shift = 0.1 * normal(random);
    let mut points = Vec::new();
    for size in 0..sizes {
        let log_size = 256f64.ln() * size as f64 / (sizes - 1) as f64;
        let network = |deviation: f64| (500.0 * log_size.exp(), (3.0 + shift - beta * log_size + deviation).exp());
        points.extend(of(log_size, seeds, random).into_iter().map(network));
    }
    points
}

/// Three standard errors of a share, and no less than what 1,000 repetitions are asked for.
fn tolerance(count: u64) -> f64 {
    (3.0 * (LEVEL * (1.0 - LEVEL) / count as f64).sqrt()).max(0.02)
}

#[test]
fn intervals_hold_a_planted_exponent() {
    let count = repetitions(1000);
    println!(
        "| networks | even noise | heavy tails | noise growing with size | common to a size |\n|---|---|---|---|---|"
    );
    for (sizes, seeds) in [(3, 1), (5, 1), (8, 1), (5, 3), (8, 3)] {
        let share = |of: Deviations, seed: u64| {
            let held = (0..count).filter(|repetition| {
                let mut random =
                    Xoshiro256PlusPlus::seed_from_u64(seed << 40 | (sizes * 10 + seeds) as u64 | repetition << 8);
                let law = PowerLaw::fit(&networks(BETA, sizes, seeds, of, &mut random)).expect("sizes enough");
                (law.beta.low..=law.beta.high).contains(&BETA)
            });
            held.count() as f64 / count as f64
        };
        let shares = [share(even, 1), share(heavy, 2), share(growing, 3), share(common_to_a_size, 4)];
        println!(
            "| {sizes} sizes, {seeds} of each | {} |",
            shares.map(|share| format!("{:.1}%", 100.0 * share)).join(" | ")
        );
        assert!((shares[0] - LEVEL).abs() <= tolerance(count), "{sizes} sizes, {seeds} of each: {}", shares[0]);
        // What the fit does not assume is told, and bounded: four in five must hold.
        assert!(shares[1..].iter().all(|share| *share > 0.8), "{shares:?}");
    }
}

/// Groups have exponents of their own, of which the mean is planted; through tables, as users have them.
#[test]
fn the_mean_over_groups_holds_the_mean_exponent() {
    let count = repetitions(200);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let table = folder.path().join("networks.csv");
    let held = (0..count).filter(|repetition| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(9 << 40 | repetition);
        let mut text = "architecture,train_size,r_f\n".to_owned();
        for group in 0..6 {
            let beta = BETA + 0.2 * normal(&mut random);
            for (size, r_f) in networks(beta, 4, 1, even, &mut random) {
                text += &format!("network {group},{size},{r_f}\n");
            }
        }
        std::fs::write(&table, text).expect("written");
        let choice = Choice { group: Some("architecture".to_owned()), ..Choice::default() };
        let scaling = Scaling::new(of_table(&table, &choice).expect("a table")).expect("sizes enough");
        let [mean] = &scaling.means[..] else { panic!("one mean: {:?}", scaling.means) };
        assert_eq!((mean.groups, scaling.laws.len(), scaling.networks.len()), (6, 6, 24));
        (mean.beta.low..=mean.beta.high).contains(&BETA)
    });
    let share = held.count() as f64 / count as f64;
    println!("mean over 6 groups, 4 sizes of each: {:.1}%", 100.0 * share);
    assert!((share - LEVEL).abs() <= tolerance(count), "{share}");
}
