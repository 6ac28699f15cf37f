use super::*;
use crate::estimate::Comparison;

fn history(values: &[f64]) -> Vec<Point> {
    let point = |(id, value): (usize, &f64)| Point {
        id: id as i64,
        path: format!("step_{id}.onnx"),
        step: Some(id as u64 + 1),
        r_f: Some(*value),
        d_f: None,
        g_f: None,
        scores: Scores { invariance: Some(*value), ..Scores::default() },
        predicted_error: Some(*value),
        probe_error: None,
        val_error: None,
        is_finite: true,
        is_overruled: false,
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
    assert_eq!(rule("").mode, Mode::Auto);
    assert_eq!(stops("monitor=confidence,patience=1", &[0.4, 0.3]), (None, None));
    assert!("monitor=agreement,confidence=0.9".parse::<Rule>().is_err());
}

#[test]
fn patience_counts_checkpoints_without_improvement() {
    assert_eq!(stops("patience=2", &[1.0, 0.5, 0.6, 0.4, 0.5, 0.5]), (Some(5), Some(3)));
    // A training that goes on may reach its best after all, and stays stopped.
    assert_eq!(stops("patience=2", &[1.0, 0.5, 0.6, 0.4, 0.5, 0.5, 0.1, 0.2]), (Some(5), Some(6)));
    assert_eq!(stops("patience=3", &[1.0, 0.5, 0.6, 0.4, 0.5, 0.5, 0.1]), (None, Some(6)));
    assert_eq!(stops("monitor=r_f,patience=2,mode=max", &[1.0, 2.0, 1.5, 1.5]), (Some(3), Some(1)));
}

#[test]
fn small_steps_are_no_improvement() {
    assert_eq!(stops("patience=2,min_delta=0.1", &[1.0, 0.95, 0.92, 0.94]), (Some(2), Some(2)));
}

#[test]
fn a_baseline_that_is_not_reached_is_the_reason() {
    let verdict = judge(&rule("monitor=r_f,patience=2,baseline=0.1"), &history(&[0.5, 0.4, 0.3]), &unpaired);
    let said = "r_f did not improve on the baseline 0.1 in 2 checkpoints";
    assert_eq!(verdict.stop.map(|stop| stop.reason).as_deref(), Some(said));
}

#[test]
fn a_checkpoint_without_a_step_may_come_before_the_first_that_counts() {
    let mut history = history(&[0.5, 0.6, 0.7]);
    for point in &mut history {
        point.step = None;
    }
    assert!(judge(&rule("monitor=r_f,patience=1,start_from=100"), &history, &unpaired).stop.is_none());
    assert!(judge(&rule("monitor=r_f,patience=1"), &history, &unpaired).stop.is_some());
}

#[test]
fn the_best_checkpoint_is_best_by_however_little() {
    // As `ModelCheckpoint` keeps it beside an `EarlyStopping` with a `min_delta`.
    let values = [1.0, 0.8, 0.79, 0.78, 0.785];
    assert_eq!(stops("monitor=r_f,patience=9,min_delta=0.1", &values), (None, Some(3)));
    assert_eq!(stops("monitor=r_f,patience=3,min_delta=0.1", &values), (Some(4), Some(3)));
    let verdict = judge(&rule("monitor=r_f,patience=3,min_delta=0.1"), &history(&values), &unpaired);
    let said = "r_f did not improve on 0.8000 (step 2) by 0.1 in 3 checkpoints";
    assert_eq!(verdict.stop.map(|stop| stop.reason).as_deref(), Some(said));
    let none_confirmed = |_: i64, _: i64, level: f64| Some(Comparison { log_ratio: -0.1, low: -1.0, high: 1.0, level });
    let verdict = judge(&rule("monitor=r_f,patience=9,confidence=0.95"), &history(&values), &none_confirmed);
    assert_eq!(verdict.best.and_then(|best| best.step), Some(4));
    let verdict = judge_among(&rule("kind=median,monitor=r_f,min_delta=0.1"), &history(&values), &[]);
    assert_eq!(verdict.best.and_then(|best| best.step), Some(4));
}

#[test]
fn a_share_is_one_of_the_value_to_beat() {
    assert_eq!(stops("monitor=r_f,patience=2,min_delta=10%", &[1.0, 0.95, 0.91, 0.5]), (Some(2), Some(3)));
    assert_eq!(stops("monitor=r_f,patience=2,min_delta=10%", &[0.1, 0.08, 0.079, 0.07]), (None, Some(3)));
    assert_eq!(stops("monitor=r_f,patience=9,min_delta=10%", &[1.0, 0.95, 0.91]), (None, Some(2)));
    let written = toml::to_string(&rule("min_delta=0.7%")).expect("TOML");
    assert!(written.contains("min_delta = \"0.7%\""), "{written}");
    assert_eq!(toml::from_str::<Rule>(&written).expect("as written").min_delta, Change::Share(0.007));
}

/// A history in which more is known of each checkpoint than `R_f`.
fn known(values: &[f64], learn: fn(&mut Point, f64)) -> Vec<Point> {
    let mut points = history(values);
    for (point, value) in points.iter_mut().zip(values) {
        (point.predicted_error, point.scores.invariance) = (None, None);
        learn(point, *value);
    }
    points
}

#[test]
fn a_rule_that_names_no_monitor_goes_by_the_best_evidence_and_says_so() {
    let values = [0.5, 0.4, 0.6];
    for (monitor, best, learn) in [
        (
            Monitor::ValError,
            1,
            (|point, value| (point.val_error, point.probe_error) = (Some(value), Some(1.0 - value)))
                as fn(&mut Point, f64),
        ),
        (Monitor::ProbeError, 1, |point, value| {
            (point.probe_error, point.predicted_error) = (Some(value), Some(1.0 - value));
        }),
        (Monitor::PredictedError, 1, |point, value| {
            (point.predicted_error, point.r_f) = (Some(value), Some(1.0 - value));
        }),
        (Monitor::Invariance, 2, |point, value| point.scores.invariance = Some(value)),
        (Monitor::RF, 1, |_, _| {}),
    ] {
        let points = known(&values, learn);
        let verdict = judge(&rule("patience=2"), &points, &unpaired);
        assert_eq!((verdict.monitor, verdict.best.map(|best| best.path)), (monitor, Some(format!("step_{best}.onnx"))));
        assert_eq!(
            super::best(&points).map(|(monitor, mark)| (monitor, mark.path)),
            Some((monitor, format!("step_{best}.onnx")))
        );
    }
    assert_eq!(judge(&rule(""), &[], &unpaired).monitor, Monitor::Auto);
    assert_eq!(super::best(&[]), None);
}

#[test]
fn what_a_person_overruled_stops_nothing_and_patience_begins_anew() {
    let mut points = history(&[1.0, 2.0, 2.0, f64::NAN, 2.0, 2.0, 0.5, 1.0]);
    points[..4].iter_mut().for_each(|point| point.is_overruled = true);
    let stop =
        |points: &[Point]| judge(&rule("monitor=r_f,patience=2"), points, &unpaired).stop.and_then(|stop| stop.at.step);
    assert_eq!((stop(&points[..5]), stop(&points[..6]), stop(&history(&[1.0, 2.0, 2.0]))), (None, Some(6), Some(3)));
}

/// Other runs, each with these values at steps 1, 2, ...
fn peers(all: &[&[f64]]) -> Vec<Peer> {
    let series = |values: &&[f64]| (1..).zip(values.iter().copied()).collect();
    all.iter().enumerate().map(|(k, values)| Peer { run: format!("/group/{k}"), series: series(values) }).collect()
}

fn among(text: &str, own: &[f64], all: &[&[f64]]) -> Option<Stop> {
    judge_among(&rule(text), &history(own), &peers(all)).stop
}

#[test]
fn a_run_worse_at_best_than_the_median_of_the_others_averages_stops() {
    // Averages up to step 2: 0.5, 0.6 and 0.7.
    let all: &[&[f64]] = &[&[0.6, 0.4, 0.0], &[0.8, 0.4], &[0.8, 0.6, 0.1]];
    let rule = "kind=median,monitor=r_f";
    let stop = among(rule, &[0.9, 0.61], all).expect("worse than 0.6");
    assert!(stop.reason.contains("0.6100 at best") && stop.reason.contains("median 0.6000"), "{}", stop.reason);
    assert_eq!(
        stop.compared.iter().map(|one| one.run.as_str()).collect::<Vec<_>>(),
        ["/group/0", "/group/1", "/group/2"]
    );
    // Its best counts, not its latest; as good as the median is good enough.
    assert_eq!(among(rule, &[0.59, 0.9], all), None);
    assert_eq!(among("kind=median,monitor=r_f,min_delta=0.1", &[0.9, 0.65], all), None);
    // Only two others came to step 3.
    assert_eq!(among(rule, &[0.9, 0.9, 0.9], all), None);
    assert!(among("kind=median,monitor=r_f,least_runs=2", &[0.9, 0.9, 0.9], all).is_some());
    assert_eq!(among("kind=median,monitor=r_f,start_from=3", &[0.9, 0.9], all), None, "within its grace");
    // Where more is better.
    assert!(among("kind=median,monitor=invariance", &[0.1, 0.59], all).is_some());
    assert_eq!(among("kind=median,monitor=invariance", &[0.1, 0.61], all), None);
    assert!(among(rule, &[0.1, f64::NAN], all).is_some_and(|stop| stop.reason.contains("not finite")));
    assert_eq!(among("kind=median,monitor=r_f,start_from=3", &[0.9, f64::NAN], all), None, "within its grace");
}

#[test]
fn at_each_rung_one_of_so_many_goes_on() {
    let rule = "kind=halving,monitor=r_f,start_from=2,reduction=2,least_runs=2";
    let all: &[&[f64]] = &[&[0.0, 0.5, 0.0], &[0.0, 0.3, 0.0, 0.2], &[0.0, 0.7]];
    // At step 2 there are 0.3, 0.5 and 0.7: of four, the two best go on.
    assert_eq!(among(rule, &[1.0, 0.4], all), None);
    let stop = among(rule, &[1.0, 0.6], all).expect("third of four");
    assert!(stop.reason.contains("rung of step 2") && stop.compared[0].value < 0.31, "{stop:?}");
    // Between rungs nobody is asked, and at the next one only those that came there count.
    assert_eq!(among(rule, &[1.0, 0.4, 9.0], all), None);
    assert_eq!(among(rule, &[1.0, 0.4, 9.0, 9.0], all), None, "one other run came so far");
    assert!(
        among("kind=halving,monitor=r_f,start_from=2,reduction=2,least_runs=1", &[1.0, 0.4, 9.0, 9.0], all).is_some()
    );
    // A rung that is stepped over counts at the first step behind it.
    let mut late = history(&[1.0, 0.6]);
    late[1].step = Some(3);
    assert!(
        judge_among(&self::rule(rule), &late, &peers(&[&[0.0, 9.0, 0.1], &[0.0, 9.0, 0.1], &[0.0, 0.1]]))
            .stop
            .is_none()
    );
}

#[test]
fn a_run_whose_stop_was_overruled_is_not_compared_any_more() {
    let mut own = history(&[0.9, 0.9]);
    own[0].is_overruled = true;
    let all = peers(&[&[0.1, 0.1], &[0.1, 0.1], &[0.1, 0.1]]);
    assert!(judge_among(&rule("kind=median,monitor=r_f"), &own, &all).stop.is_none());
    // What is broken afterwards stops it all the same.
    own[1].r_f = Some(f64::NAN);
    assert!(judge_among(&rule("kind=median,monitor=r_f"), &own, &all).stop.is_some());
}

#[test]
fn cooldown_start_and_baseline_move_the_count() {
    assert_eq!(stops("patience=2,cooldown=1", &[1.0, 1.0, 1.0, 1.0]), (Some(3), Some(0)));
    assert_eq!(stops("patience=2,start_from=3", &[0.1, 0.1, 1.0, 1.0, 1.0]), (Some(4), Some(2)));
    assert_eq!(stops("monitor=r_f,patience=2,baseline=0.5", &[1.0, 0.9, 0.8]), (Some(1), Some(2)));
    assert_eq!(stops("monitor=r_f,patience=2,baseline=0.5", &[1.0, 0.4, 0.8]), (None, Some(1)));
}

#[test]
fn divergence_and_nan_stop_at_once() {
    assert_eq!(stops("monitor=r_f,divergence_threshold=2", &[1.0, 3.0]), (Some(1), Some(0)));
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
    assert!(judge(&rule("monitor=r_f,patience=2,confidence=0.95"), &values, &confirmed(0.1)).stop.is_some());
    assert!(judge(&rule("monitor=r_f,patience=2,confidence=0.95"), &values, &confirmed(-0.1)).stop.is_none());
}

#[test]
fn a_predicted_error_is_surely_lower_where_what_its_law_goes_by_is_surely_another() {
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
    for text in [
        "patience=0",
        "min_delta=-1",
        "min_delta=x%",
        "confidence=2",
        "confidence=0.9,monitor=d_f",
        "confidence=0.9",
        "baseline=0.3",
        "mode=max",
        "patients=3",
        "patience",
        "kind=best",
        "least_runs=2",
        "kind=median,patience=3",
        "kind=median,monitor=agreement",
        "kind=median,least_runs=0",
        "kind=halving",
        "kind=halving,start_from=5,reduction=1",
    ] {
        assert!(text.parse::<Rule>().is_err(), "{text}");
    }
    assert_eq!(rule("").patience, 5);
}
