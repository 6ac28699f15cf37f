//! How often the intervals of shares hold the truth, counted exactly: every outcome with its probability.
//!
//! Jeffreys' interval is that of `check --max-probe-error` and `--min-agreement`, Tango's that of `--max-error-rise`.
//! `RELSTAB_REPETITIONS=1` runs the full grids (docs/check.md).

use rayon::prelude::*;
use relstab::check::shares::{Discordant, share_interval};
use statrs::function::gamma::ln_gamma;

const LEVEL: f64 = 0.95;

fn is_full() -> bool {
    std::env::var_os("RELSTAB_REPETITIONS").is_some()
}

fn log_factorial(n: usize) -> f64 {
    ln_gamma(n as f64 + 1.0)
}

/// Log probability of `counts` of the events of these `shares`.
fn log_multinomial(counts: &[usize], shares: &[f64]) -> f64 {
    let all = log_factorial(counts.iter().sum());
    let each = counts.iter().zip(shares).map(|(count, share)| *count as f64 * share.ln() - log_factorial(*count));
    all + each.sum::<f64>()
}

/// Counts that a share of `n` comes to but for one in a million times and more.
fn likely(share: f64, n: usize) -> std::ops::RangeInclusive<usize> {
    let (mean, spread) = (share * n as f64, 6.0 * (share * n as f64).sqrt() + 8.0);
    (mean - spread).max(0.0) as usize..=((mean + spread) as usize).min(n)
}

fn held(share: f64, n: usize) -> f64 {
    let probability = |count: usize| log_multinomial(&[count, n - count], &[share, 1.0 - share]).exp();
    let holds = |count: usize| {
        let (low, high) = share_interval(count as f64 / n as f64, n, LEVEL);
        (low..=high).contains(&share)
    };
    likely(share, n).filter(|count| holds(*count)).map(probability).sum()
}

/// Coverage where a share `worsened` of images is wrong by the second network alone and a share `improved` by the first.
fn held_in_pairs((worsened, improved): (f64, f64), n: usize) -> f64 {
    let rise = worsened - improved;
    let shares = [worsened, improved, 1.0 - worsened - improved];
    let mut sum = 0.0;
    for b in likely(worsened, n) {
        for c in likely(improved, n).take_while(|c| b + c <= n) {
            let (low, high) = Discordant { worsened: b, improved: c, images: n }.interval(LEVEL);
            if (low..=high).contains(&rise) {
                sum += log_multinomial(&[b, c, n - b - c], &shares).exp();
            }
        }
    }
    sum
}

fn sums_up(name: &str, covered: &[f64], least: f64) {
    let mean = covered.iter().sum::<f64>() / covered.len() as f64;
    let worst = covered.iter().copied().fold(1.0, f64::min);
    println!("{name}: {:.1}% on average over {} points, {:.1}% at least", 100.0 * mean, covered.len(), 100.0 * worst);
    assert!((0.93..=0.97).contains(&mean) && worst >= least, "{name}: {mean} {worst}");
}

#[test]
fn jeffreys_interval_holds_the_share() {
    let sizes: &[usize] = if is_full() { &[100, 200, 500, 1000, 2000, 5000, 10_000] } else { &[200, 500, 2000] };
    let step = if is_full() { 1 } else { 4 };
    let grid = sizes.iter().flat_map(|n| (4..=200).step_by(step).map(move |k| (f64::from(k) / 400.0, *n)));
    let covered: Vec<f64> = grid.collect::<Vec<_>>().into_par_iter().map(|(share, n)| held(share, n)).collect();
    sums_up("Jeffreys", &covered, 0.92);
}

#[test]
fn tangos_interval_holds_the_rise() {
    let sizes: &[usize] = if is_full() { &[100, 200, 500, 1000, 2000] } else { &[200, 500] };
    let shares: &[f64] = if is_full() {
        &[0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2]
    } else {
        &[0.005, 0.01, 0.03, 0.08]
    };
    let pairs = shares.iter().flat_map(|worsened| shares.iter().map(move |improved| (*worsened, *improved)));
    let grid: Vec<_> = sizes.iter().flat_map(|n| pairs.clone().map(move |pair| (pair, *n))).collect();
    let covered: Vec<f64> = grid.par_iter().map(|(pair, n)| held_in_pairs(*pair, *n)).collect();
    sums_up("Tango", &covered, 0.92);
}
