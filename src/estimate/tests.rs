//! The whole against a bootstrap that expands every resample, and the cases in which a stability is undefined.

use super::interval::{log_ratio, percentiles};
use super::weights::Weights;
use super::*;
use crate::error::Result;

/// Owned [`Responses`], filled by functions of (image, draw, output).
struct Made {
    images: usize,
    draws: usize,
    outputs: usize,
    clean: Vec<f32>,
    deformed: Vec<f32>,
    noisy: Vec<f32>,
}

impl Made {
    fn new(
        [images, draws, outputs]: [usize; 3],
        clean: impl Fn(usize, usize) -> f32,
        deformed: impl Fn(usize, usize, usize) -> f32,
        noisy: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let cells = |draws: usize| {
            (0..images * draws * outputs).map(move |at| (at / outputs / draws, at / outputs % draws, at % outputs))
        };
        Self {
            images,
            draws,
            outputs,
            clean: cells(1).map(|(image, _, output)| clean(image, output)).collect(),
            deformed: cells(draws).map(|(image, draw, output)| deformed(image, draw, output)).collect(),
            noisy: cells(draws).map(|(image, draw, output)| noisy(image, draw, output)).collect(),
        }
    }

    fn responses(&self) -> Responses<'_> {
        let Self { images, draws, outputs, .. } = *self;
        Responses { images, draws, outputs, clean: &self.clean, deformed: &self.deformed, noisy: &self.noisy }
    }

    fn stabilities(&self) -> Result<Stabilities> {
        stabilities(&self.responses(), &RESAMPLING)
    }
}

const RESAMPLING: Resampling = Resampling { level: 0.95, resamples: 150, seed: 4 };

/// A number in [0, 1) that looks random.
fn hash(a: usize, b: usize, c: usize) -> f32 {
    let mixed = (a as u64 * 0x9e37_79b9 + b as u64 * 0x85eb_ca6b + c as u64 * 0xc2b2_ae35 + 1)
        .wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed >> 40) as f32 / (1 << 24) as f32
}

fn lower_median(mut values: Vec<f32>) -> f64 {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).map_or(0.0, |&median| f64::from(median))
}

/// One resample, `images` with repetitions, in the order of [`Estimator::ALL`].
fn naive_readings(changes: &[f32], [draws, outputs]: [usize; 2], images: &[usize]) -> [f64; 3] {
    let rows: Vec<&[f32]> =
        images.iter().flat_map(|&image| changes[image * draws * outputs..].chunks(outputs).take(draws)).collect();
    let coordinates = (0..outputs).map(|output| lower_median(rows.iter().map(|row| row[output]).collect())).sum();
    let norms: Vec<f64> = rows.iter().map(|row| row.iter().copied().map(f64::from).sum()).collect();
    let median = lower_median(norms.iter().map(|&norm| norm as f32).collect());
    [coordinates, median, norms.iter().sum::<f64>() / norms.len() as f64]
}

/// Median and mean of the squared distance over pairs of different images.
fn naive_pairs(clean: &[f32], outputs: usize, images: &[usize]) -> [f64; 2] {
    let mut distances = Vec::new();
    for (at, &x) in images.iter().enumerate() {
        for &z in images[..at].iter().filter(|&&z| z != x) {
            let row = |image: usize| &clean[image * outputs..][..outputs];
            distances.push(row(x).iter().zip(row(z)).map(|(a, b)| (a - b) * (a - b)).sum::<f32>());
        }
    }
    let sum: f64 = distances.iter().copied().map(f64::from).sum();
    [lower_median(distances.clone()), sum / distances.len().max(1) as f64]
}

#[expect(clippy::float_cmp, reason = "medians are picked, not computed: they must agree to the bit")]
fn equals_naive(made: &Made) -> Result<()> {
    let fast = made.stabilities()?;
    let weights = Weights::new(made.images, RESAMPLING.resamples, RESAMPLING.seed);
    let shape = [made.draws, made.outputs];
    let of = |images: &[usize]| {
        let (d, g) = (naive_readings(&made.deformed, shape, images), naive_readings(&made.noisy, shape, images));
        (d, g, naive_pairs(&made.clean, made.outputs, images))
    };
    let (d, g, pairs) = of(&(0..made.images).collect::<Vec<_>>());
    assert_eq!(fast.pair_median, pairs[0]);
    close(fast.pair_mean, pairs[1], "pair mean");

    let resamples: Vec<_> = (0..RESAMPLING.resamples)
        .map(|resample| {
            let repeat = |image| std::iter::repeat_n(image, usize::from(weights.get(resample, image)));
            of(&(0..made.images).flat_map(repeat).collect::<Vec<_>>())
        })
        .collect();
    for (reading, estimator) in Estimator::ALL.into_iter().enumerate() {
        let name = format!("{estimator:?} of {} images x {} draws", made.images, made.draws);
        let stability = fast.get(estimator);
        if estimator == Estimator::Mean {
            close(stability.deformation, d[2], &name);
        } else {
            assert_eq!((stability.deformation, stability.noise), (d[reading], g[reading]), "{name}");
        }
        for (resample, fast) in stability.replicates_log_r_f.iter().enumerate() {
            let (d, g, _) = resamples[resample];
            close(f64::from(*fast), log_ratio(d[reading], g[reading]), &name);
        }
        let normaliser = usize::from(estimator == Estimator::Mean);
        if let Some(d_f) = stability.d_f {
            let logs = resamples.iter().map(|(d, _, pairs)| log_ratio(d[reading], pairs[normaliser])).collect();
            let (low, high) = percentiles(logs, RESAMPLING.level);
            close(d_f.value, d[reading] / pairs[normaliser], &name);
            close(d_f.low, if low > -LOG_LIMIT { low.exp() } else { 0.0 }, &name);
            close(d_f.high, high.exp(), &name);
        }
    }
    Ok(())
}

fn close(fast: f64, naive: f64, name: &str) {
    assert!((fast - naive).abs() <= 1e-6 * naive.abs().max(1e-12), "{name}: {fast}, expected {naive}");
}

#[test]
fn equals_the_expanded_bootstrap() -> Result<()> {
    for images in [2, 3, 7, 50] {
        for draws in 1..=4 {
            let shape = [images, draws, 3];
            let clean = |image, output| hash(image, output, 99);
            let wild = |scale: f32| move |i, d, o| scale * hash(i, d, o) * (3.0 * hash(i, 7, 7)).exp();
            equals_naive(&Made::new(shape, clean, wild(1.0), wild(2.0)))?;
            // Ties everywhere, some of them at zero.
            let coarse = |offset: f32| move |i, d, o| (3.0 * hash(i, d, o) + offset).floor();
            equals_naive(&Made::new(shape, |i, o| (2.0 * hash(i, o, 5)).floor(), coarse(0.0), coarse(0.4)))?;
        }
    }
    // Several coordinates to a tile; whole numbers add up to the same sum in any order.
    let coarse = |i, d, o| (9.0 * hash(i, d, o)).floor();
    equals_naive(&Made::new([30, 2, 70], |i, o| (2.0 * hash(i, o, 5)).floor(), coarse, |i, d, o| coarse(o, i, d)))
}

#[test]
fn the_number_of_threads_changes_nothing() -> Result<()> {
    let made = Made::new([300, 2, 40], |i, o| hash(i, o, 1), hash, |i, d, o| hash(o, i, d) + 0.1);
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map(|pool| pool.install(|| made.stabilities()))
    };
    let (Ok(one), Ok(two)) = (with(1), with(2)) else { panic!("no thread pool") };
    assert_eq!(one?, two?);
    Ok(())
}

#[test]
fn a_network_without_reaction_to_noise_has_no_relative_stability() -> Result<()> {
    let found = Made::new([20, 2, 3], |i, o| hash(i, o, 0), hash, |_, _, _| 0.0).stabilities()?;
    for estimator in Estimator::ALL {
        let stability = found.get(estimator);
        assert_eq!(stability.r_f, Err(Undefined::ZeroNoise { still: 40, measurements: 40 }));
        assert!(stability.replicates_log_r_f.is_empty());
        assert_eq!(stability.g_f.map(|g_f| (g_f.value, g_f.low, g_f.high)), Some((0.0, 0.0, 0.0)));
        assert!(stability.d_f.is_some());
    }
    let reason = Undefined::ZeroNoise { still: 40, measurements: 40 }.to_string();
    assert!(reason.ends_with("40 of 40 noisy inputs (100.0%) changed no output"), "{reason}");
    Ok(())
}

#[test]
fn noise_that_half_of_the_images_ignore_is_undefined_for_medians_only() -> Result<()> {
    let half = |i: usize, d, o| if i.is_multiple_of(2) { 0.0 } else { 0.1 + hash(i, d, o) };
    let found = Made::new([40, 1, 3], |i, o| hash(i, o, 0), hash, half).stabilities()?;
    // The lower median of 20 zeros and 20 others is zero.
    assert_eq!(found.median.r_f, Err(Undefined::ZeroNoise { still: 20, measurements: 40 }));
    assert!(found.mean.r_f.is_ok());
    // With one image more on the moving side the value is defined and many resamples are not.
    let most = |i, d, o| if i < 20 { 0.0 } else { 0.1 + hash(i, d, o) };
    let found = Made::new([41, 1, 3], |i, o| hash(i, o, 0), hash, most).stabilities()?;
    assert!(found.coordinate_median.noise > 0.0);
    let Err(undefined) = found.coordinate_median.r_f else { panic!("expected an undefined R_f") };
    let Undefined::UnstableNoise { zeros, resamples: 150, .. } = undefined else { panic!("{undefined}") };
    assert!((30..120).contains(&zeros), "{zeros}");
    assert!(undefined.to_string().contains("an interval at level 0.95 allows 2.5%"), "{undefined}");
    Ok(())
}

#[test]
fn equal_outputs_leave_relative_stability_defined() -> Result<()> {
    let found = Made::new([30, 1, 3], |_, o| o as f32, hash, |i, d, o| hash(o, d, i) + 0.1).stabilities()?;
    for estimator in Estimator::ALL {
        let stability = found.get(estimator);
        assert_eq!((stability.d_f, stability.g_f), (None, None));
        assert!(stability.r_f.is_ok_and(|r_f| r_f.low > 0.0 && r_f.high.is_finite()));
    }
    Ok(())
}

#[test]
fn no_change_under_deformation_is_zero() -> Result<()> {
    let found = Made::new([30, 1, 3], |i, o| hash(i, o, 0), |_, _, _| 0.0, |i, d, o| hash(o, d, i) + 0.1);
    for estimator in Estimator::ALL {
        let found = found.stabilities()?;
        let stability = found.get(estimator);
        assert_eq!(stability.r_f.map(|r_f| (r_f.value, r_f.low, r_f.high)), Ok((0.0, 0.0, 0.0)));
        assert!(stability.replicates_log_r_f.iter().all(|log| log.is_finite()));
    }
    Ok(())
}

#[test]
fn unusable_arguments_are_refused() {
    let made = Made::new([5, 2, 3], |i, o| hash(i, o, 0), hash, hash);
    let with = |change: &dyn Fn(&mut Responses<'_>)| {
        let mut responses = made.responses();
        change(&mut responses);
        stabilities(&responses, &RESAMPLING).map_err(|error| error.to_string())
    };
    assert!(with(&|responses| responses.images = 1).is_err_and(|e| e.starts_with("images: expected 2 or more")));
    assert!(with(&|responses| responses.draws = 0).is_err());
    assert!(with(&|responses| responses.clean = &[]).is_err_and(|e| e == "clean outputs: expected 15 values, found 0"));
    let mut bad = made.noisy.clone();
    bad[7] = -1.0;
    assert!(
        stabilities(&Responses { noisy: &bad, ..made.responses() }, &RESAMPLING)
            .is_err_and(|e| e.to_string().ends_with("found -1 at index 7"))
    );
    for wrong in [Resampling { level: 1.0, ..RESAMPLING }, Resampling { resamples: 0, ..RESAMPLING }] {
        assert!(stabilities(&made.responses(), &wrong).is_err());
    }
}
