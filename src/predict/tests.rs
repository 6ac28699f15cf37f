use super::*;

fn r_f(value: f64) -> Estimate {
    Estimate { value, low: value * 0.9, high: value * 1.1, level: 0.95 }
}

#[test]
fn the_papers_law_gives_the_papers_numbers_and_no_interval() {
    let prediction = Law::preset("cifar10").expect("a preset").predict(&r_f(0.1), &Quantities::new()).expect("R_f");
    assert!((prediction.error - 0.2 * 0.1f64.sqrt()).abs() < 1e-12);
    assert_eq!((prediction.low, prediction.high), (None, None));
    assert!(prediction.warnings.iter().any(|warning| warning.contains("unknown")));
}

#[test]
fn intervals_come_from_the_residual_spread_and_stop_at_chance() {
    let law = Law::preset("cifar10-c5").expect("a preset");
    let prediction = law.predict(&r_f(0.5), &Quantities::new()).expect("R_f");
    let (low, high) = (prediction.low.expect("a spread"), prediction.high.expect("a spread"));
    let sd = ((high / low).ln() / 2.0) / 1.96;
    assert!((sd / 0.296 - 1.0).abs() < 0.02, "sd {sd}");
    let capped = law.predict(&r_f(13.0), &Quantities::new()).expect("R_f");
    assert!((capped.error - 0.9).abs() < 1e-12 && capped.high <= Some(0.9));
}

#[test]
fn a_law_that_says_nothing_is_called_useless() {
    let prediction = Law::preset("mnist-c3").expect("a preset").predict(&r_f(0.1), &Quantities::new()).expect("R_f");
    assert!(prediction.warnings.iter().any(|warning| warning.contains("too wide")));
}

#[test]
fn differences_are_named() {
    let law = Law::preset("cifar10").expect("a preset");
    let mut conditions = Conditions {
        cutoff: 3,
        delta: 1.0,
        interpolation: Interpolation::Bilinear,
        estimator: Estimator::CoordinateMedian,
        side: 32.0,
    };
    assert_eq!(law.conditions().difference(&conditions), None);
    (conditions.cutoff, conditions.side) = (5, 28.0);
    let text = law.conditions().difference(&conditions).expect("a difference");
    assert!(text.contains("cutoff 3") && text.contains("side 32"), "{text}");
}

#[test]
fn an_unknown_law_names_those_there_are() {
    let error = Law::preset("imagenet").expect_err("no such law").to_string();
    assert!(error.contains("fashionmnist-c3"), "{error}");
}

#[test]
fn a_law_that_does_not_say_its_points_has_the_normal_spread() {
    let law = Law { points: None, sd_log: Some(0.3), ..Law::preset("cifar10").expect("a preset") };
    let prediction = law.predict(&r_f(0.1), &Quantities::new()).expect("R_f");
    let factor = (prediction.high.expect("a spread") / prediction.error).ln() / 0.3;
    assert!((1.9..2.1).contains(&factor), "{factor}");
}
