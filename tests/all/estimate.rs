//! Estimates against golden vectors made elsewhere from the same definitions in double precision.

use std::fs::File;
use std::io::BufReader;

use npyz::NpyFile;
use relstab::arrays::Archive;
use relstab::estimate::{Estimator, Resampling, Responses, stabilities};

type Golden = Archive<BufReader<File>>;
type AnyResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

fn open(case: &str) -> AnyResult<Golden> {
    Ok(Archive::open(format!("{}/tests/golden/stability_{case}.npz", env!("CARGO_MANIFEST_DIR")).as_ref())?)
}

fn array(golden: &mut Golden, name: &str) -> AnyResult<(Vec<u64>, Vec<f64>)> {
    let array = NpyFile::new(golden.entry(name)?)?;
    Ok((array.shape().to_vec(), array.into_vec()?))
}

fn number(golden: &mut Golden, name: &str) -> AnyResult<f64> {
    Ok(array(golden, name)?.1[0])
}

#[test]
fn golden_stabilities() -> AnyResult {
    for case in ["even", "odd", "one_output"] {
        let mut golden = open(case)?;
        let (shape, clean) = array(&mut golden, "f0")?;
        let (images, outputs) = (usize::try_from(shape[0])?, usize::try_from(shape[1])?);
        // The differences are taken in double precision, so that only their rounding differs.
        let mut changes = |name| -> AnyResult<Vec<f32>> {
            let moved = array(&mut golden, name)?.1;
            Ok(moved.iter().zip(&clean).map(|(moved, clean)| (moved - clean).powi(2) as f32).collect())
        };
        let (deformed, noisy) = (changes("f_deformed")?, changes("f_noisy")?);
        let clean: Vec<f32> = clean.iter().map(|&output| output as f32).collect();
        let responses = Responses { images, draws: 1, outputs, clean: &clean, deformed: &deformed, noisy: &noisy };
        let found = stabilities(&responses, &Resampling { level: 0.95, resamples: 100, seed: 0 })?;

        for (estimator, name) in Estimator::ALL.into_iter().zip(["coordinate_median", "median", "mean"]) {
            assert_eq!(serde_json::to_value(estimator)?, name);
            let stability = found.get(estimator);
            let r_f = stability.r_f?;
            for (value, suffix) in [(stability.deformation, "d"), (stability.noise, "g"), (r_f.value, "r")] {
                close(value, number(&mut golden, &format!("{name}_{suffix}"))?, &format!("{case}, {name}_{suffix}"));
            }
            assert!(r_f.low < r_f.value && r_f.value < r_f.high, "{case}, {name}: {r_f:?}");
        }
        close(found.pair_median, number(&mut golden, "pair_median")?, case);
        close(found.pair_mean, number(&mut golden, "pair_mean")?, case);
    }
    Ok(())
}

fn close(value: f64, golden: f64, name: &str) {
    assert!((value / golden - 1.0).abs() < 1e-5, "{name}: {value}, golden {golden}");
}
