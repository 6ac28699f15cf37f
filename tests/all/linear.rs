//! The whole measurement on linear networks, where the answer is known.
//!
//! Images are ramps, `x(row, column) = slope . (column, row)`: bilinear interpolation is exact on them, so
//! `tau x - x = -(slope_x dx + slope_y dy)` and every quantity is a quadratic form of Gaussian coefficients.

use std::f64::consts::PI;

use crate::common::FixedBackend;
use rand::SeedableRng as _;
use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use relstab::estimate::{Estimate, Estimator};
use relstab::measure::layers::layers;
use relstab::measure::{Settings, measure};
use relstab::perturb::{Deformation, Size};
use relstab::probe::{ProbeSet, Shape};

const SIDE: usize = 16;
const SHAPE: Shape = Shape { channels: 1, height: SIDE, width: SIDE };
const OUTPUTS: usize = 5;
const CUTOFF: u32 = 3;
/// Small enough that no pixel near the border is read from outside, where a ramp would be clamped.
const DELTA: f64 = 0.3;

fn normals(seed: u64, count: usize) -> Vec<f64> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..count).map(|_| StandardNormal.sample(&mut rng)).collect()
}

fn weights() -> Vec<f32> {
    normals(1, OUTPUTS * SHAPE.len()).into_iter().map(|w| w as f32).collect()
}

/// Slopes of length one: every image moves equally far on average.
fn slope(image: usize) -> (f64, f64) {
    let angle = image as f64 * 2.399_963;
    (angle.cos(), angle.sin())
}

fn ramps(count: usize) -> ProbeSet {
    let images = (0..count).flat_map(|image| {
        let (x, y) = slope(image);
        (0..SIDE * SIDE).map(move |pixel| (x * (pixel % SIDE) as f64 + y * (pixel / SIDE) as f64) as f32)
    });
    ProbeSet::from_nchw(images.collect(), [count, 1, SIDE, SIDE], None).expect("a probe set")
}

/// The modes `sin(i pi u) sin(j pi v) / sqrt(i^2 + j^2)` on the grid, times `sqrt(T) n`.
fn modes() -> Vec<Vec<f64>> {
    let temperature = 4.0 * DELTA.powi(2) / (PI * (SIDE * SIDE) as f64 * f64::from(CUTOFF).ln());
    let scale = temperature.sqrt() * SIDE as f64;
    let orders = (1..=CUTOFF).flat_map(|i| (1..=CUTOFF).map(move |j| (f64::from(i), f64::from(j))));
    let kept = orders.filter(|(i, j)| i.hypot(*j) < f64::from(CUTOFF) + 0.5);
    kept.map(|(i, j)| {
        let at = |pixel: usize| pixel as f64 / (SIDE - 1) as f64;
        let value = |pixel: usize| (i * PI * at(pixel % SIDE)).sin() * (j * PI * at(pixel / SIDE)).sin();
        (0..SIDE * SIDE).map(|pixel| scale * value(pixel) / i.hypot(j)).collect()
    })
    .collect()
}

fn dot(a: &[f32], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * b).sum()
}

fn settings(images: usize, draws: u32, estimator: Estimator) -> Settings {
    let deformation = Deformation { cutoff: CUTOFF, size: Size::Delta(DELTA), ..Deformation::default() };
    Settings { images, deformation, estimator, ..Settings::default() }.with_draws(draws)
}

fn pair_mean(probe: &ProbeSet, weights: &[f32]) -> f64 {
    let mut image = vec![0.0; SHAPE.len()];
    let outputs: Vec<Vec<f64>> = (0..probe.len())
        .map(|index| {
            probe.image(index, &mut image);
            let image: Vec<f64> = image.iter().map(|x| f64::from(*x)).collect();
            weights.chunks_exact(SHAPE.len()).map(|row| dot(row, &image)).collect()
        })
        .collect();
    let (mut sum, mut count) = (0.0, 0.0);
    for (first, a) in outputs.iter().enumerate() {
        for b in &outputs[..first] {
            sum += a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            count += 1.0;
        }
    }
    sum / count
}

/// What 500 images and 32 draws meet: all pairs enter the normaliser, so that it is exact, and 16,000 quadratic forms with a
/// relative spread of about 1.4 each have a standard error of 1.1%. Four of them are allowed.
const MANY: (usize, u32, f64) = (500, 32, 0.045);

/// Holds `D_f`, `G_f` and `R_f` of a linear map, `[output, pixel]`, to their closed forms.
fn assert_closed_forms(probe: &ProbeSet, weights: &[f32], [d_f, g_f, r_f]: [Option<Estimate>; 3]) {
    let rows = || weights.chunks_exact(SHAPE.len());
    // E|W (slope_x dx + slope_y dy)|^2 = |slope|^2 sum over outputs and modes of (w . mode)^2
    let deformation: f64 = modes().iter().map(|mode| rows().map(|row| dot(row, mode).powi(2)).sum::<f64>()).sum();
    // E|tau x - x|^2 = |slope|^2 sum over modes of |mode|^2; noise of that norm spreads evenly over all directions.
    let norm: f64 = modes().iter().flatten().map(|value| value * value).sum();
    let noise = norm * weights.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>() / SHAPE.len() as f64;
    let pairs = pair_mean(probe, weights);
    for (name, found, expected) in
        [("D_f", d_f, deformation / pairs), ("G_f", g_f, noise / pairs), ("R_f", r_f, deformation / noise)]
    {
        let found = found.expect("defined").value;
        assert!((found / expected - 1.0).abs() < MANY.2, "{name}: found {found}, expected {expected}");
    }
}

#[test]
fn mean_readings_meet_their_closed_forms() {
    let (probe, weights) = (ramps(MANY.0), weights());
    let backend = FixedBackend::linear(SHAPE, weights.clone());
    let measured = measure(&backend, &probe, &settings(MANY.0, MANY.1, Estimator::Mean), &|_, _| ()).expect("measured");
    assert_closed_forms(&probe, &weights, [measured.d_f, measured.g_f, measured.r_f]);
}

#[test]
fn every_layer_of_a_linear_network_meets_its_closed_forms() {
    let (probe, first) = (ramps(MANY.0), weights());
    // The second layer, [2, 5], of the first, [5, pixel].
    let mix: Vec<f32> = normals(2, 2 * OUTPUTS).into_iter().map(|w| w as f32).collect();
    let pixel = |row: &[f32], pixel: usize| {
        row.iter().zip(first.iter().skip(pixel).step_by(SHAPE.len())).map(|(a, b)| a * b).sum()
    };
    let second: Vec<f32> =
        mix.chunks_exact(OUTPUTS).flat_map(|row| (0..SHAPE.len()).map(move |at| pixel(row, at))).collect();
    let backend = FixedBackend::linear(SHAPE, [&first[..], &second].concat()).with_layer(OUTPUTS);
    let found = layers(&backend, &probe, &settings(MANY.0, MANY.1, Estimator::Mean), &|_, _| ()).expect("measured");
    assert_eq!(found.layers.len(), 2);
    for (layer, weights) in found.layers.iter().zip([&first, &second]) {
        assert_closed_forms(&probe, weights, [layer.d_f, layer.g_f, layer.r_f]);
    }
    let alone = FixedBackend::linear(SHAPE, second);
    let alone = measure(&alone, &probe, &settings(MANY.0, MANY.1, Estimator::Mean), &|_, _| ()).expect("measured");
    assert_eq!((alone.r_f, alone.d_f), (found.layers[1].r_f, found.layers[1].d_f));
}

#[test]
fn median_readings_meet_an_independent_simulation() {
    // Medians of 8,000 values against medians of 20,000: about 2% each; the allowance is four standard errors of R_f.
    const TOLERANCE: f64 = 0.10;
    let (probe, weights) = (ramps(1000), weights());
    let backend = FixedBackend::linear(SHAPE, weights.clone());
    let measured = measure(&backend, &probe, &settings(1000, 8, Estimator::Median), &|_, _| ()).expect("measured");

    let (modes, samples) = (modes(), 20_000);
    let rows: Vec<&[f32]> = weights.chunks_exact(SHAPE.len()).collect();
    let (mut deformed, mut noisy) = (Vec::new(), Vec::new());
    for sample in 0..samples {
        let (x, y) = slope(sample);
        let coefficients = normals(1000 + sample as u64, 2 * modes.len());
        let mut moved = vec![0.0; SHAPE.len()];
        for (mode, c) in modes.iter().zip(coefficients.chunks_exact(2)) {
            for (moved, value) in moved.iter_mut().zip(mode) {
                *moved -= (x * c[0] + y * c[1]) * value;
            }
        }
        let noise = normals(1_000_000 + sample as u64, SHAPE.len());
        let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let scale = norm(&moved) / norm(&noise);
        deformed.push(rows.iter().map(|row| dot(row, &moved).powi(2)).collect::<Vec<_>>());
        noisy.push(rows.iter().map(|row| (dot(row, &noise) * scale).powi(2)).collect::<Vec<_>>());
    }
    let by_norm = |changes: &[Vec<f64>]| median(changes.iter().map(|change| change.iter().sum()).collect());
    let by_coordinate = |changes: &[Vec<f64>]| {
        (0..OUTPUTS).map(|k| median(changes.iter().map(|change| change[k]).collect())).sum::<f64>()
    };

    let readings = measured.estimators;
    let expected = by_norm(&deformed) / by_norm(&noisy);
    let found = readings.median.r_f.expect("defined").value;
    assert!((found / expected - 1.0).abs() < TOLERANCE, "median: found {found}, expected {expected}");
    let expected = by_coordinate(&deformed) / by_coordinate(&noisy);
    let found = readings.coordinate_median.r_f.expect("defined").value;
    assert!((found / expected - 1.0).abs() < TOLERANCE, "coordinate_median: found {found}, expected {expected}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

#[test]
fn threads_and_batches_change_nothing() {
    let probe = ramps(50);
    let mut backend = FixedBackend::linear(SHAPE, weights());
    let mut records = Vec::new();
    for (count, batch, whole) in [(1, 1, false), (1, 64, false), (3, 7, false), (3, 7, true), (4, 16, true)] {
        backend.lanes = relstab::backend::Lanes { count, batch, whole };
        let mut record =
            measure(&backend, &probe, &settings(50, 3, Estimator::default()), &|_, _| ()).expect("measured");
        (record.timing.total_s, record.timing.perturb_s, record.timing.inference_s) = (0.0, 0.0, 0.0);
        (record.timing.findings_s, record.timing.batch) = (0.0, 0);
        records.push(serde_json::to_string(&record).expect("a record"));
    }
    assert!(records.iter().all(|record| *record == records[0]));
}

#[test]
fn precision_takes_more_images_and_says_when_it_cannot() {
    let probe = ramps(600);
    let backend = FixedBackend::linear(SHAPE, weights());
    let mut wanted = settings(50, 2, Estimator::default());
    let width = |record: &relstab::event::Measurement| record.r_f.as_ref().expect("defined").relative_half_width();
    let rough = measure(&backend, &probe, &wanted, &|_, _| ()).expect("measured");
    wanted.precision = Some(width(&rough) * 0.6);
    let fine = measure(&backend, &probe, &wanted, &|_, _| ()).expect("measured");
    assert!(fine.probe.images > 50 && width(&fine) <= width(&rough) * 0.6, "{} images", fine.probe.images);
    wanted.precision = Some(1e-4);
    let best = measure(&backend, &probe, &wanted, &|_, _| ()).expect("measured");
    assert_eq!(best.probe.images, 600);
    assert!(best.warnings.iter().any(|warning| warning.contains("not reached")), "{:?}", best.warnings);
}

#[test]
fn an_undefined_r_f_takes_what_was_asked_for_whatever_the_precision() {
    let backend = FixedBackend::new(SHAPE, 3, Vec::new(), |_, outputs, _| outputs.fill(1.0));
    for draws in [None, Some(1)] {
        let free = Settings { deformation: settings(250, 1, Estimator::default()).deformation, ..Settings::default() };
        let wanted = Settings { images: 250, precision: Some(0.1), ..free };
        let wanted = match draws {
            Some(draws) => wanted.with_draws(draws),
            None => wanted,
        };
        let record = measure(&backend, &ramps(300), &wanted, &|_, _| ()).expect("measured");
        let plain = Settings { precision: None, ..wanted };
        let plain = measure(&backend, &ramps(300), &plain, &|_, _| ()).expect("measured");
        let taken = |record: &relstab::event::Measurement| (record.probe.images, record.settings.draws);
        assert_eq!((taken(&record), taken(&plain).0), (taken(&plain), 250));
        let notes = record.warnings.iter().filter(|warning| warning.contains("R_f is undefined, so 250 images"));
        assert_eq!(notes.count(), 1, "{:?}", record.warnings);
    }
}

#[test]
fn dead_and_constant_networks_are_undefined_with_a_reason() {
    let backend = FixedBackend::new(SHAPE, 3, Vec::new(), |_, outputs, _| outputs.fill(1.0));
    let record = measure(&backend, &ramps(20), &settings(20, 2, Estimator::default()), &|_, _| ()).expect("measured");
    assert!(record.r_f.is_none() && record.d_f.is_none());
    assert!(!record.undefined.expect("a reason").reason.is_empty());

    let flat = ProbeSet::from_nchw(vec![0.5; 20 * SHAPE.len()], [20, 1, SIDE, SIDE], None).expect("a probe set");
    let backend = FixedBackend::linear(SHAPE, weights());
    let record = measure(&backend, &flat, &settings(20, 2, Estimator::default()), &|_, _| ()).expect("measured");
    assert!(record.r_f.is_none() && record.undefined.is_some());
}

#[test]
fn outputs_that_are_not_finite_name_the_image() {
    let backend = FixedBackend::new(SHAPE, 1, Vec::new(), |image, outputs, _| {
        outputs[0] = if image[SIDE - 1] < 0.0 { f32::NAN } else { image[0] };
    });
    let error =
        measure(&backend, &ramps(20), &settings(20, 1, Estimator::default()), &|_, _| ()).expect_err("NaN outputs");
    let text = error.to_string();
    assert!(text.contains("of 20 images") && text.contains("clean"), "{text}");
}
