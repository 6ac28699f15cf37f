use super::*;
use crate::predict::terms::Quantities;

/// Points of a line with these deviations of log error, at `R_f` = 0.1, 0.2, 0.4, ...
fn points(deviations: &[f64]) -> Vec<Point> {
    let point = |(index, deviation): (usize, &f64)| {
        let r_f = 0.1 * 2f64.powi(index as i32);
        let error = 0.2 * r_f.sqrt() * deviation.exp();
        let quantities = Quantities::from([(Term::RF, r_f)]);
        Point { label: format!("point {index}"), run: None, quantities, spreads: Quantities::new(), error }
    };
    deviations.iter().enumerate().map(point).collect()
}

fn in_runs(mut points: Vec<Point>, size: usize) -> Vec<Point> {
    for (index, point) in points.iter_mut().enumerate() {
        point.run = Some((index / size).to_string());
    }
    points
}

const NOISE: [f64; 8] = [0.02, -0.05, 0.01, 0.04, -0.03, 0.05, -0.02, -0.01];

#[test]
fn a_law_is_found_again_and_called_predictive() {
    let found = calibrate(&points(&NOISE), None, None).expect("points enough");
    assert_eq!((found.verdict, found.rank_correlation), (Some(Verdict::Predictive), Some(1.0)));
    assert!(found.points.iter().all(|judged| !judged.outlier));
    let by_point = found.by_point.expect("points enough");
    assert_eq!(by_point.points, 8);
    assert!(by_point.error < 0.06 && by_point.error_of_mean > 0.5, "{by_point:?}");
    assert_eq!((found.by_run, found.runs()), (None, 8));
}

#[test]
fn trainings_of_which_one_leaves_no_line_give_no_verdict() {
    let mut uneven = in_runs(points(&NOISE), 7);
    assert_eq!(calibrate(&uneven, None, None).expect("points enough").verdict, None);
    // With three left by each, there is one.
    let last = uneven[7].run.clone();
    for point in &mut uneven[5..7] {
        point.run.clone_from(&last);
    }
    assert_eq!(calibrate(&uneven, None, None).expect("points enough").verdict, Some(Verdict::Predictive));
}

#[test]
fn one_far_point_is_flagged_and_still_counts() {
    let mut deviations = NOISE;
    deviations[2] = 1.0;
    let found = calibrate(&points(&deviations), None, None).expect("points enough");
    let flagged: Vec<_> = found.points.iter().filter(|judged| judged.outlier).collect();
    assert!(matches!(flagged[..], [one] if one.point.label == "point 2"), "{flagged:?}");
    assert!(found.line.fit().and_then(|fit| fit.noise()) > Some(0.2));
}

#[test]
fn the_studentised_residual_is_that_of_least_squares() {
    let found = calibrate(&points(&NOISE), None, Some(Form::RF)).expect("points enough");
    // Closed form: e / sqrt(1 - h) over the noise without the point.
    let samples = samples(&[Term::RF], &points(&NOISE)).expect("logarithms");
    let count = samples.len() as f64;
    let mean = samples.iter().map(|(x, _)| x[0]).sum::<f64>() / count;
    let spread = samples.iter().map(|(x, _)| (x[0] - mean).powi(2)).sum::<f64>();
    let fit = found.line.fit().expect("determined");
    let squares = fit.noise().expect("known").powi(2) * (count - 2.0);
    for ((x, y), judged) in samples.iter().zip(&found.points) {
        let leverage = 1.0 / count + (x[0] - mean).powi(2) / spread;
        let residual = y - fit.at(x);
        let without = (squares - residual.powi(2) / (1.0 - leverage)) / (count - 3.0);
        let expected = residual / (without * (1.0 - leverage)).sqrt();
        assert!((judged.studentised.expect("a number") - expected).abs() < 1e-6);
    }
}

#[test]
fn runs_judge_where_there_are_some() {
    // Within a run the error goes with R_f, across runs it does not.
    let mut points = points(&[0.0; 9]);
    for (index, point) in points.iter_mut().enumerate() {
        let r_f = [0.1, 0.4, 1.6][index % 3] * [1.0, 30.0, 900.0][index / 3];
        point.quantities.insert(Term::RF, r_f);
        point.error = 0.1 * [1.0, 1.5, 2.3][index % 3];
    }
    let found = calibrate(&in_runs(points.clone(), 3), None, None).expect("points enough");
    assert_eq!((found.runs(), found.decisive()), (3, found.by_run));
    assert_eq!(found.by_run.map(|by_run| by_run.points), Some(9));
    assert_eq!(found.verdict, Some(Verdict::Not), "{found:?}");
    let two = calibrate(&in_runs(points, 5), None, None).expect("points enough");
    assert!(two.by_run.is_some() && two.decisive() == two.by_run);
}

#[test]
fn a_law_against_the_papers_direction_is_weak_at_best() {
    let mut points = points(&NOISE);
    let errors: Vec<_> = points.iter().rev().map(|point| point.error).collect();
    for (point, error) in points.iter_mut().zip(errors) {
        point.error = error;
    }
    let found = calibrate(&points, None, None).expect("points enough");
    assert_eq!((found.verdict, found.rank_correlation), (Some(Verdict::Weakly), Some(-1.0)));
}

#[test]
fn two_trainings_that_do_not_predict_each_other_cannot_tell() {
    let of_two = |height: f64| {
        let mut points = [points(&NOISE), points(&NOISE)].concat();
        let count = points.len() / 2;
        for (index, point) in points.iter_mut().enumerate() {
            point.run = Some((index / count).to_string());
            point.error *= if index < count { 1.0 } else { height };
        }
        calibrate(&points, None, None).expect("points enough")
    };
    let apart = of_two(0.05);
    assert_eq!(apart.verdict, None, "{:?}", apart.by_run);
    assert!(apart.decisive() == apart.by_run && apart.by_run.is_some());
    assert_eq!(of_two(1.0).verdict, Some(Verdict::Predictive));
}

#[test]
fn a_prior_makes_a_law_of_one_point_and_yields_to_many() {
    let preset = Law::preset("cifar10").expect("a preset");
    let at = |line: &Linear, x: f64| line.fit().expect("determined").at(&[x]);
    assert!(calibrate(&points(&NOISE[..1]), Some(&preset), None).is_ok_and(|found| found.verdict.is_none()));
    let prior = prior(&preset);
    assert!((at(&prior, -1.0) - (0.2f64.ln() - 0.5)).abs() < 1e-9);
    let mut far = points(&[1.5; 4]);
    let of_prior = calibrate(&far, Some(&preset), None).expect("a prior").line;
    let alone = calibrate(&far, None, None).expect("points enough").line;
    assert!((at(&of_prior, -1.0) - at(&alone, -1.0)).abs() < 0.4);
    far.truncate(1);
    let of_one = calibrate(&far, Some(&preset), None).expect("a prior");
    assert!(at(&of_one.line, 0.0) > at(&prior, 0.0) && of_one.points[0].outlier);
}

#[test]
fn too_few_points_equal_points_and_numbers_without_a_logarithm_are_refused() {
    let message = |points: &[Point]| calibrate(points, None, None).expect_err("refused").to_string();
    assert!(message(&[]).contains("none"));
    assert!(message(&points(&NOISE[..1])).contains("found 1"));
    assert!(message(&points(&NOISE[..2])).contains("--prior"));
    let mut equal = points(&NOISE);
    for point in &mut equal {
        point.quantities.insert(Term::RF, 0.3);
    }
    assert!(message(&equal).contains("different R_f"));
    assert!(calibrate(&equal, Some(&Law::preset("cifar10").expect("a preset")), None).is_ok());
    for (r_f, error) in [
        (0.0, 0.1),
        (-1.0, 0.1),
        (f64::NAN, 0.1),
        (f64::INFINITY, 0.1),
        (0.1, 0.0),
        (0.1, -0.2),
        (0.1, 1.1),
        (0.1, f64::NAN),
    ] {
        let mut bad = points(&NOISE);
        bad[3].quantities.insert(Term::RF, r_f);
        bad[3].error = error;
        assert!(message(&bad).contains("point 3"), "{r_f} {error}");
    }
}

#[test]
fn a_perfect_line_and_equal_errors_do_no_harm() {
    let perfect = calibrate(&points(&[0.0; 6]), None, None).expect("points enough");
    assert_eq!(perfect.verdict, Some(Verdict::Predictive));
    assert!(perfect.line.fit().is_some());
    let mut flat = points(&NOISE);
    for point in &mut flat {
        point.error = 0.3;
    }
    let flat = calibrate(&flat, None, None).expect("points enough");
    assert_eq!((flat.verdict, flat.rank_correlation), (Some(Verdict::Not), None));
}

#[test]
fn ranges_are_rounded_outward() {
    assert_eq!((four_digits(0.312_345, f64::floor), four_digits(0.312_345, f64::ceil)), (0.3123, 0.3124));
    assert_eq!((four_digits(12.0, f64::floor), four_digits(1.2e-7, f64::ceil)), (12.0, 1.2e-7));
}
