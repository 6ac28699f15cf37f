use super::linear::Linear;
use super::terms::{Measured, Quantities, known};
use super::*;
use crate::estimate::Estimate;

fn with(term: Term, value: f64) -> Measured {
    let quantities = Quantities::from([(term, value)]);
    Measured { quantities, level: 0.95, classes: 10, images: 500, side: 32.0, ..Measured::default() }
}

fn r_f(value: f64) -> Measured {
    with(Term::RF, value)
}

fn invariance(value: f64) -> Measured {
    with(Term::InvarianceDeformed, value)
}

#[test]
fn the_papers_law_gives_the_papers_numbers_and_no_interval() {
    let prediction = Law::preset("cifar10").expect("a preset").predict(&r_f(0.1)).expect("R_f");
    assert!((prediction.error - 0.2 * 0.1f64.sqrt()).abs() < 1e-12);
    assert_eq!((prediction.low, prediction.high), (None, None));
    assert!(prediction.warnings.iter().any(|warning| warning.contains("unknown")));
}

#[test]
fn intervals_come_from_the_residual_spread_and_stop_at_chance() {
    let law = Law::preset("cifar10-c5").expect("a preset");
    let prediction = law.predict(&r_f(0.5)).expect("R_f");
    let (low, high) = (prediction.low.expect("a spread"), prediction.high.expect("a spread"));
    let sd = ((high / low).ln() / 2.0) / 1.96;
    assert!((sd / 0.254 - 1.0).abs() < 0.02, "sd {sd}");
    let capped = law.predict(&r_f(13.0)).expect("R_f");
    assert!((capped.error - 0.9).abs() < 1e-12 && capped.high <= Some(0.9));
}

#[test]
fn a_law_that_says_nothing_is_called_useless() {
    let prediction = Law::preset("mnist-c3").expect("a preset").predict(&r_f(0.1)).expect("R_f");
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
    let prediction = law.predict(&r_f(0.1)).expect("R_f");
    let factor = (prediction.high.expect("a spread") / prediction.error).ln() / 0.3;
    assert!((1.9..2.1).contains(&factor), "{factor}");
}

#[test]
fn networks_that_have_something_in_common_count_for_fewer() {
    let factor = |degrees| {
        let law = Law { degrees, sd_log: Some(0.3), points: Some(30), ..Law::preset("cifar10").expect("a preset") };
        let prediction = law.predict(&r_f(0.1)).expect("R_f");
        (prediction.high.expect("a spread") / prediction.error).ln()
    };
    assert!((factor(None) - factor(Some(28.0))).abs() < 1e-12);
    assert!(factor(Some(5.0)) > 1.2 * factor(None), "{} {}", factor(Some(5.0)), factor(None));
}

#[test]
fn a_law_goes_by_the_quantity_that_it_names() {
    let law = Law::preset("cifar10-invariance").expect("a preset");
    let prediction = law.predict(&invariance(0.7)).expect("EI");
    assert!((prediction.error - law.a * 0.3f64.powf(law.b)).abs() < 1e-9);
    assert!(prediction.low < Some(prediction.error) && prediction.warnings.is_empty(), "{prediction:?}");
    let missing = law.predict(&r_f(0.5)).expect_err("no EI");
    assert!(missing.contains("(1 - EI)^"), "{missing}");
    let outside = law.predict(&invariance(0.999)).expect("EI").warnings.join(" ");
    assert!(outside.contains("(1 - EI) lies outside"), "{outside}");
}

#[test]
fn an_invariance_of_one_bounds_the_error() {
    let law = Law::preset("cifar10-invariance").expect("a preset");
    let bound = law.predict(&invariance(1.0)).expect("EI");
    // None in 500: less than 0.6% at 95%.
    let least = law.predict(&invariance(1.0 - 0.006)).expect("EI");
    assert_eq!(bound.low, Some(0.0));
    assert!((bound.error / least.high.expect("an interval") - 1.0).abs() < 0.01, "{bound:?} {least:?}");
    assert!(bound.warnings.iter().any(|warning| warning.contains("upper bound")), "{bound:?}");

    // The law over data sets says no more than it knows of its least 1 - EI.
    let law = Law::usual().expect("a preset");
    let [low, _] = law.range.expect("a range");
    let (bound, least) = (law.predict(&invariance(1.0)), law.predict(&invariance(1.0 - low)).expect("EI"));
    assert_eq!(law.silence(&invariance(1.0)), None);
    assert!((bound.expect("EI").error / least.high.expect("an interval") - 1.0).abs() < 1e-9, "{least:?}");
}

#[test]
fn what_measuring_leaves_open_counts_beyond_what_the_law_holds() {
    let law = Law { sd_measured: Some(0.05), ..Law::preset("cifar10-invariance").expect("a preset") };
    let width = |spread: f64| {
        let measured = Measured { spreads: Quantities::from([(Term::InvarianceDeformed, spread)]), ..invariance(0.6) };
        let prediction = law.predict(&measured).expect("EI");
        (prediction.high.expect("an interval") / prediction.error).ln()
    };
    assert!((width(0.05) - width(0.01)).abs() < 1e-12);
    let open = law.b * (0.3f64.powi(2) - 0.05f64.powi(2)).sqrt();
    let sd = law.sd_log.expect("a spread") * (1.0 + 1.0 / (law.degrees.expect("said") + 2.0)).sqrt();
    assert!((width(0.3) / width(0.05) - open.hypot(sd) / sd).abs() < 1e-9);
}

#[test]
fn an_interval_of_ei_that_reaches_one_widens_the_prediction() {
    // 12 images, one of which changes its class.
    let few = Estimate { value: 0.917, low: 0.75, high: 1.0, level: 0.95 };
    let spreads = known([(Term::InvarianceDeformed, Term::InvarianceDeformed.spread(&few))]);
    let law = Law::preset("cifar10-invariance").expect("a preset");
    let prediction = law.predict(&Measured { spreads, ..invariance(few.value) }).expect("EI");
    assert!(prediction.high.expect("an interval") > 2.5 * prediction.error, "{prediction:?}");
}

#[test]
fn the_law_over_data_sets_is_wide_and_speaks_within_what_it_saw() {
    let law = Law::usual().expect("a preset");
    let own = Law::preset("cifar10-invariance").expect("a preset");
    let factor = |law: &Law| {
        let prediction = law.predict(&invariance(0.6)).expect("EI");
        prediction.high.expect("an interval") / prediction.error
    };
    assert!(factor(&law) > 1.5 * factor(&own), "{} {}", factor(&law), factor(&own));
    assert_eq!(law.silence(&invariance(0.6)), None);
    for (measured, part) in [
        (invariance(0.9999), "(1 - EI) is"),
        (Measured { classes: 1000, ..invariance(0.6) }, "1000 classes"),
        (Measured { side: 224.0, ..invariance(0.6) }, "side 224"),
    ] {
        let silence = law.silence(&measured).expect("outside");
        assert!(silence.contains(part) && silence.contains(OUTSIDE), "{silence}");
    }
    assert_eq!(law.silence(&Measured { side: 28.0, ..invariance(0.6) }), None);
    assert_eq!(law.silence(&Measured { classes: 2, ..invariance(0.6) }), None);
    assert_eq!(law.difference(&Conditions { side: 224.0, ..law.conditions() }), None);
    assert!(law.difference(&Conditions { cutoff: 5, ..law.conditions() }).is_some_and(|text| text.contains("cutoff")));
    let other = Conditions { estimator: Estimator::Mean, ..law.conditions() };
    assert_eq!(law.difference(&other), None);
}

#[test]
fn known_errors_make_the_law_over_data_sets_a_runs_own() {
    let law = Law::usual().expect("a preset");
    let line = calibrate::prior(&law);
    let known: Vec<_> = [0.5f64, 0.4, 0.3, 0.2].iter().map(|x| (vec![x.ln()], (0.2 * x).ln())).collect();
    let after = |line: &Linear| {
        let predictive = line.fit().and_then(|fit| fit.predictive(&[0.25f64.ln()])).expect("determined");
        (predictive.mean.exp(), predictive.scale)
    };
    let ((_, before), (mean, scale)) = (after(&line), after(&line.updated(&known)));
    assert!((mean / 0.05 - 1.0).abs() < 0.06, "{mean}");
    assert!(scale < 0.5 * before, "{before} {scale}");
}
