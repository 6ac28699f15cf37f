use super::*;
use crate::stop::Scores;

fn alert(text: &str) -> Alert {
    text.parse().expect(text)
}

fn seen(values: &[f64]) -> Seen {
    let point = |(id, value): (i64, &f64)| Point {
        id,
        path: format!("{id}.onnx"),
        step: Some(id as u64),
        r_f: None,
        d_f: None,
        g_f: None,
        scores: Scores { invariance: Some(*value), ..Scores::default() },
        predicted_error: None,
        probe_error: None,
        val_error: Some(*value),
        is_finite: true,
        is_overruled: false,
    };
    Seen { points: (1..).zip(values).map(point).collect(), ..Seen::default() }
}

fn holds(text: &str, seen: &Seen) -> bool {
    alert(text).cause(seen).is_some()
}

#[test]
fn thresholds_and_changes_look_at_the_latest_checkpoint() {
    assert!(holds("on=threshold,monitor=val_error,above=0.5", &seen(&[0.1, 0.6])));
    assert!(!holds("on=threshold,monitor=val_error,above=0.5", &seen(&[0.6, 0.5])));
    assert!(holds("on=threshold,monitor=invariance,below=0.5", &seen(&[0.6, 0.4])));
    assert!(holds("on=threshold,monitor=val_error,above=0.5", &seen(&[0.6, f64::NAN])));
    assert!(holds("on=change,by=20%", &seen(&[0.9, 0.5, 0.61])));
    assert!(!holds("on=change,by=20%", &seen(&[0.9, 0.5, 0.59])));
    assert!(!holds("on=change,by=20%", &seen(&[0.5])));
    assert!(holds("on=change,monitor=invariance,by=0.2", &seen(&[0.5, 0.2])));
    let cause = alert("on=threshold,monitor=val_error,above=0.5").cause(&seen(&[0.1, 0.6])).expect("holds");
    assert_eq!(cause.text, "val_error is 0.6000 at step 2, above 0.5");
    assert_eq!(cause.at.and_then(|at| at.step), Some(2));
}

#[test]
fn a_network_before_training_is_not_judged_without_labels() {
    let mut begun = seen(&[0.9, 0.5]);
    begun.points[0].step = Some(0);
    assert!(!holds("on=change,monitor=invariance,by=20%", &begun));
    begun.points.truncate(1);
    assert!(!holds("on=threshold,monitor=invariance,above=0.5", &begun));
    assert!(holds("on=threshold,monitor=val_error,above=0.5", &begun));
    begun.points.extend(seen(&[0.9, 0.5]).points);
    assert!(holds("on=change,monitor=invariance,by=20%", &begun));
}

#[test]
fn findings_count_by_how_much_they_matter_or_by_their_code() {
    let findings = vec![Finding::new(Code::NoNormalisation, "nothing"), Finding::new(Code::OneClass, "nearly all")];
    let seen = Seen { findings, ..Seen::default() };
    assert!(holds("on=finding", &seen) && holds("on=finding,code=no_normalisation", &seen));
    assert!(!holds("on=finding,severity=wrong", &seen) && !holds("on=finding,code=near_chance", &seen));
}

#[test]
fn a_stall_is_known_by_the_clock_and_none_of_a_run_that_should_stop() {
    let alert = alert("on=stall,after=2s");
    let seen = Seen { written: Some(5000), ..Seen::default() };
    assert_eq!((alert.stalls_at(&seen), alert.title().as_str()), (Some(7000), "stall"));
    assert_eq!(alert.stalls_at(&Seen { stop: Some("why".to_owned()), ..seen }), None);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for text in [
        "monitor=r_f",
        "on=threshold,above=0.5",
        "on=threshold,monitor=r_f",
        "on=change",
        "on=stall",
        "on=stall,after=0s",
        "on=stop,above=1",
        "on=failure,monitor=r_f",
        "on=stop,for=5",
        "on=stop,command=ls",
    ] {
        assert!(text.parse::<Alert>().is_err(), "{text}");
    }
    let refusal = "https://hooks.example/T0P".parse::<Webhook>().expect_err("an address").to_string();
    assert!(!refusal.contains("T0P"), "{refusal}");
}
