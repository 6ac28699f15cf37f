use super::*;

fn history(values: &[f64]) -> Vec<Point> {
    let point = |(id, value): (usize, &f64)| Point {
        id: id as i64,
        path: format!("step_{id}.onnx"),
        step: Some(id as u64 + 1),
        r_f: Some(*value),
        d_f: None,
        g_f: None,
        scores: Scores { invariance: Some(*value), ..Scores::default() },
        predicted_error: None,
        probe_error: None,
        val_error: None,
        is_finite: true,
    };
    values.iter().enumerate().map(point).collect()
}

fn unpaired(_: i64, _: i64, _: f64) -> Option<Comparison> {
    None
}

fn rule(text: &str) -> Rule {
    text.parse().expect(text)
}

/// The step at which `rule` stops a run with these values, and the best step.
fn stops(text: &str, values: &[f64]) -> (Option<u64>, Option<u64>) {
    let verdict = judge(&rule(text), &history(values), &unpaired);
    let index = |mark: Mark| mark.step.map(|step| step - 1);
    (verdict.stop.and_then(|stop| index(stop.at)), verdict.best.and_then(index))
}

#[test]
fn of_a_score_more_is_better_unless_the_rule_says_otherwise() {
    assert_eq!(stops("monitor=invariance,patience=2", &[0.4, 0.7, 0.6, 0.5]), (Some(3), Some(1)));
    assert_eq!(stops("monitor=invariance,patience=2,mode=min", &[0.4, 0.7, 0.6, 0.5]), (Some(2), Some(0)));
    assert_eq!((rule("monitor=agreement").mode, rule("monitor=r_f").mode), (Mode::Max, Mode::Min));
    assert_eq!(stops("monitor=confidence,patience=1", &[0.4, 0.3]), (None, None));
    assert!("monitor=invariance,confidence=0.9".parse::<Rule>().is_err());
}

#[test]
fn patience_counts_checkpoints_without_improvement() {
    assert_eq!(stops("patience=2", &[1.0, 0.5, 0.6, 0.4, 0.5, 0.5, 0.1]), (Some(5), Some(3)));
    assert_eq!(stops("patience=3", &[1.0, 0.5, 0.6, 0.4, 0.5, 0.5, 0.1]), (None, Some(6)));
    assert_eq!(stops("patience=2,mode=max", &[1.0, 2.0, 1.5, 1.5]), (Some(3), Some(1)));
}

#[test]
fn small_steps_are_no_improvement() {
    assert_eq!(stops("patience=2,min_delta=0.1", &[1.0, 0.95, 0.92, 0.5]), (Some(2), Some(0)));
}

#[test]
fn cooldown_start_and_baseline_move_the_count() {
    assert_eq!(stops("patience=2,cooldown=1", &[1.0, 1.0, 1.0, 1.0]), (Some(3), Some(0)));
    assert_eq!(stops("patience=2,start_from=3", &[0.1, 0.1, 1.0, 1.0, 1.0]), (Some(4), Some(2)));
    assert_eq!(stops("patience=2,baseline=0.5", &[1.0, 0.9, 0.8]), (Some(1), Some(1)));
    assert_eq!(stops("patience=2,baseline=0.5", &[1.0, 0.4, 0.8]), (None, Some(1)));
}

#[test]
fn divergence_and_nan_stop_at_once() {
    assert_eq!(stops("divergence_threshold=2", &[1.0, 3.0]), (Some(1), Some(0)));
    assert_eq!(stops("patience=9", &[1.0, f64::NAN]), (Some(1), Some(0)));
    assert_eq!(stops("patience=9,check_finite=false", &[1.0, f64::NAN]), (None, Some(0)));
    let mut broken = history(&[1.0, 0.5]);
    broken[1].is_finite = false;
    assert!(judge(&rule("monitor=val_error"), &broken, &unpaired).stop.is_some());
}

#[test]
fn with_confidence_only_what_the_pairs_confirm_is_an_improvement() {
    let confirmed =
        |high: f64| move |_: i64, _: i64, level: f64| Some(Comparison { log_ratio: -0.1, low: -1.0, high, level });
    let values = history(&[1.0, 0.9, 0.8]);
    assert!(judge(&rule("patience=2,confidence=0.95"), &values, &confirmed(0.1)).stop.is_some());
    assert!(judge(&rule("patience=2,confidence=0.95"), &values, &confirmed(-0.1)).stop.is_none());
}

#[test]
fn a_predicted_error_is_surely_lower_where_r_f_is_surely_another() {
    let mut values = history(&[1.0, 1.1, 1.2]);
    for (point, error) in values.iter_mut().zip([0.5, 0.4, 0.3]) {
        point.predicted_error = Some(error);
    }
    let rule = rule("monitor=predicted_error,patience=2,confidence=0.95");
    let paired =
        |low: f64| move |_: i64, _: i64, level: f64| Some(Comparison { log_ratio: 0.1, low, high: 0.2, level });
    assert!(judge(&rule, &values, &paired(0.05)).stop.is_none());
    assert!(judge(&rule, &values, &paired(-0.05)).stop.is_some());
}

#[test]
fn a_network_before_training_is_not_judged_without_labels() {
    let mut values = history(&[0.1, 0.5, 0.4]);
    values[0].step = Some(0);
    assert_eq!(judge(&rule(""), &values, &unpaired).best.and_then(|best| best.step), Some(3));
}

#[test]
fn absent_values_are_passed_over() {
    let verdict = judge(&rule("monitor=val_error,patience=1"), &history(&[1.0, 1.0]), &unpaired);
    assert_eq!((verdict.best, verdict.wait, verdict.stop), (None, 0, None));
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    for text in ["patience=0", "min_delta=-1", "confidence=2", "confidence=0.9,monitor=d_f", "patients=3", "patience"] {
        assert!(text.parse::<Rule>().is_err(), "{text}");
    }
    assert_eq!(rule("").patience, 5);
}
