//! The zoo's results are complete, and the presets made from them follow from them.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::project;
use relstab::predict::Law;

fn results() -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(project("models/zoo/results.csv")).expect("the table");
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().expect("a header").split(',').collect();
    let row = |line: &str| header.iter().map(ToString::to_string).zip(line.split(',').map(str::to_owned)).collect();
    lines.map(row).collect()
}

#[test]
fn every_architecture_is_there_on_both_data_sets_and_in_two_sizes() {
    let mut sizes: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for row in results() {
        let key = (row["architecture"].clone(), row["data_set"].clone());
        sizes.entry(key).or_default().insert(row["train_size"].clone());
    }
    let architectures: BTreeSet<_> = sizes.keys().map(|(architecture, _)| architecture).collect();
    assert_eq!((architectures.len(), sizes.len()), (15, 30));
    assert!(sizes.values().all(|sizes| sizes.len() >= 2));
}

#[test]
fn presets_are_the_lines_through_the_predicted_checkpoints() {
    let rows = results();
    for (data_set, cutoff) in ["cifar10", "fashionmnist"].into_iter().flat_map(|set| [3, 5, 15].map(|c| (set, c))) {
        let law = Law::preset(&format!("{data_set}-c{cutoff}-zoo")).expect("a preset");
        let is_meant = |row: &&BTreeMap<String, String>| {
            row["data_set"] == data_set && row["cutoff"] == cutoff.to_string() && row["near_initial"] == "0"
        };
        let log = |row: &BTreeMap<String, String>, key: &str| row[key].parse::<f64>().expect("a number").ln();
        let points: Vec<_> = rows.iter().filter(is_meant).map(|row| (log(row, "r_f"), log(row, "error"))).collect();
        let n = points.len() as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
        let slope = mean(&|p| (p.0 - x) * (p.1 - y)) / mean(&|p| (p.0 - x).powi(2));
        let residual = |p: &(f64, f64)| (p.1 - y - slope * (p.0 - x)).powi(2);
        let sd = (mean(&residual) * n / (n - 2.0)).sqrt();
        let close = |found: f64, expected: f64| (found - expected).abs() < 1e-3;
        assert_eq!(law.points, Some(points.len() as u32));
        assert!(close(law.b, slope) && close(law.a, (y - slope * x).exp()) && close(law.sd_log.expect("known"), sd));
    }
}
