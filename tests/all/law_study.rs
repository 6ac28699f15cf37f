//! How often calibrated laws hold what they claim: on simulated networks, and on the zoo's.
//!
//! `RELSTAB_REPETITIONS=2000 cargo test --release --test all _study -- --nocapture` is the whole of it.

use std::collections::BTreeMap;

use crate::common::{project, repetitions};
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{ChiSquared, Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use relstab::predict::Law;
use relstab::predict::calibrate::{LEVEL, prior};
use relstab::predict::linear::{Linear, Sample};

/// A law and networks of it: `y = height + slope x`, standard deviation of the noise.
struct Truth {
    height: f64,
    slope: f64,
    noise: f64,
}

impl Truth {
    /// A draw from what a preset leads one to expect.
    fn of_prior(prior: &Linear, random: &mut Xoshiro256PlusPlus) -> Self {
        let fit = prior.fit().expect("a prior");
        let squares = prior.degrees * fit.noise().expect("a noise").powi(2);
        let variance = squares / ChiSquared::new(prior.degrees).expect("degrees").sample(random);
        let mut normal = || -> f64 { StandardNormal.sample(&mut *random) };
        Self {
            height: fit.coefficients[0] + normal() * (variance / prior.precision[0][0]).sqrt(),
            slope: fit.coefficients[1] + normal() * (variance / prior.precision[1][1]).sqrt(),
            noise: variance.sqrt(),
        }
    }

    fn network(&self, random: &mut Xoshiro256PlusPlus) -> Sample {
        let x: f64 = random.random_range(-3.0..1.0);
        let normal: f64 = StandardNormal.sample(random);
        (vec![x], self.height + self.slope * x + self.noise * normal)
    }
}

fn holds(known: &Linear, (x, y): &Sample) -> bool {
    let predictive = known.fit().and_then(|fit| fit.predictive(x)).expect("determined");
    (y - predictive.mean).abs() <= predictive.half_width(LEVEL).expect("a quantile")
}

#[test]
fn intervals_hold_as_often_as_they_claim() {
    let count = repetitions(1000);
    let preset = prior(&Law::preset("cifar10-c5").expect("a preset"));
    // Three standard errors of a share, and no less than is asked of 1,000.
    let tolerance = (3.0 * (LEVEL * (1.0 - LEVEL) / count as f64).sqrt()).max(0.03);
    println!("| known networks | from a preset | from nothing |\n|---|---|---|");
    for n in [0_u64, 1, 2, 3, 4, 5, 8, 12, 20, 30] {
        let mut held = [0, 0];
        for repetition in 0..count {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(n * 100_000 + repetition);
            let truth = Truth::of_prior(&preset, &mut random);
            let points: Vec<_> = (0..n).map(|_| truth.network(&mut random)).collect();
            let new = truth.network(&mut random);
            held[0] += usize::from(holds(&preset.updated(&points), &new));
            held[1] += usize::from(n >= 3 && holds(&Linear::vague(1).updated(&points), &new));
        }
        let shares = held.map(|held| held as f64 / count as f64);
        let vague = if n >= 3 { format!("{:.1}%", 100.0 * shares[1]) } else { String::new() };
        println!("| {n} | {:.1}% | {vague} |", 100.0 * shares[0]);
        assert!((shares[0] - LEVEL).abs() <= tolerance, "{n} networks and a preset: {shares:?}");
        assert!(n < 3 || (shares[1] - LEVEL).abs() <= tolerance, "{n} networks: {shares:?}");
    }
}

/// Trained networks of the zoo at c = 3, by architecture.
fn zoo(data_set: &str) -> BTreeMap<String, Vec<Sample>> {
    let mut reader = csv::Reader::from_path(project("models/zoo/results.csv")).expect("the table");
    let mut networks: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    for row in reader.deserialize() {
        let row: BTreeMap<String, String> = row.expect("a row");
        if row["data_set"] == data_set && row["cutoff"] == "3" && row["near_initial"] == "0" {
            let log = |key: &str| row[key].parse::<f64>().expect("a number").ln();
            networks.entry(row["architecture"].clone()).or_default().push((vec![log("r_f")], log("error")));
        }
    }
    networks
}

/// Mean absolute log error, and the share of intervals that hold.
#[derive(Default)]
struct Tally {
    count: usize,
    error: f64,
    held: usize,
}

impl Tally {
    fn add(&mut self, known: &Linear, network: &Sample) {
        self.count += 1;
        self.error += (known.fit().expect("determined").at(&network.0) - network.1).abs();
        self.held += usize::from(holds(known, network));
    }

    fn mean(&self) -> f64 {
        self.error / self.count as f64
    }
}

/// Laws from `k` known networks, of the other architectures or of the same one, predict those of one architecture.
fn calibrated(zoo: &BTreeMap<String, Vec<Sample>>, preset: &Law, k: usize, is_same: bool) -> Tally {
    let mut tally = Tally::default();
    let draws = (repetitions(200) / 10).max(5);
    for (index, (architecture, mine)) in zoo.iter().enumerate() {
        let others: Vec<_> = zoo.iter().filter(|(other, _)| *other != architecture).flat_map(|(_, all)| all).collect();
        for draw in 0..draws {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(1000 * index as u64 + draw);
            let pool: Vec<_> = if is_same { mine.iter().collect() } else { others.clone() };
            let known: Vec<_> = pool.sample(&mut random, k.min(pool.len() - 1)).copied().collect();
            let line = prior(preset).updated(known.iter().copied());
            for network in mine.iter().filter(|network| !known.contains(network)) {
                tally.add(&line, network);
            }
        }
    }
    tally
}

#[test]
fn on_the_zoo_a_few_known_networks_beat_every_law_from_elsewhere() {
    println!("| data set | law | mean absolute log error | 90% intervals that hold |\n|---|---|---|---|");
    for (data_set, own, best) in
        [("cifar10", "cifar10", "cifar10-c5-resnet18"), ("fashionmnist", "fashionmnist-c3", "fashionmnist-c3-resnet18")]
    {
        let zoo = zoo(data_set);
        assert_eq!(zoo.len(), 15);
        let row = |name: &str, tally: &Tally| {
            println!(
                "| {data_set} | {name} | {:.2} | {:.0}% |",
                tally.mean(),
                100.0 * tally.held as f64 / tally.count as f64
            );
        };
        let mut from_elsewhere = f64::INFINITY;
        for name in [own, best] {
            let mut tally = Tally::default();
            let law = prior(&Law::preset(name).expect("a preset"));
            zoo.values().flatten().for_each(|network| tally.add(&law, network));
            row(name, &tally);
            from_elsewhere = from_elsewhere.min(tally.mean());
        }
        let preset = Law::preset(own).expect("a preset");
        for k in [2, 4, 8] {
            for is_same in [false, true] {
                let tally = calibrated(&zoo, &preset, k, is_same);
                let whose = if is_same { "of the same architecture" } else { "of other architectures" };
                row(&format!("calibrated on {k} networks {whose}"), &tally);
                assert!(k < 8 || tally.mean() < from_elsewhere, "{data_set}, {k} {whose}");
            }
        }
    }
}
