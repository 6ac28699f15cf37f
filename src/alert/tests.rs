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
fn a_stall_is_known_by_the_clock_and_none_of_a_run_that_should_stop_or_is_over() {
    let alert = alert("on=stall,after=2s");
    let seen = Seen { written: Some(5000), ..Seen::default() };
    assert_eq!((alert.stalls_at(&seen), alert.title().as_str()), (Some(7000), "stall"));
    let over = Standing { is_over: true, ..Standing::default() };
    assert_eq!(alert.stalls_at(&Seen { standing: over, written: seen.written, ..Seen::default() }), None);
    assert_eq!(alert.stalls_at(&Seen { stop: Some("why".to_owned()), ..seen }), None);
}

#[test]
fn a_code_that_no_finding_has_is_refused() {
    let refused = "on=finding,code=near_chanc".parse::<Alert>().expect_err("a slip").to_string();
    assert!(refused.contains("near_chance"), "{refused}");
}

#[test]
fn who_is_told_is_part_of_the_key_and_not_told_by_it() {
    let to = |file: &str| Alert {
        webhook: Some(Webhook { file: Some(file.into()), env: None, form: Form::Json }),
        ..alert("on=failure")
    };
    assert_ne!(to("first").key(), to("second").key());
    assert_ne!(to("first").key(), alert("on=failure").key());
    assert!(!to("first").key().contains("first"));
    for text in ["https://example.org/secret", "env:https://example.org/secret"] {
        let refused = text.parse::<Webhook>().expect_err("an address");
        assert!(!refused.to_string().contains("secret/") && !format!("{refused:?}").contains("example"), "{refused}");
    }
    let written = Webhook { file: None, env: Some("https://example.org".to_owned()), form: Form::Json };
    assert!(written.validated().is_err_and(|error| !error.to_string().contains("example")));
}

#[test]
fn what_waits_to_be_measured_may_end_what_must_last() {
    let lasting = alert("on=failure,for=2s");
    let seen = |waiting, is_caught| {
        let standing = Standing { is_caught, ..Standing::default() };
        Seen { standing, waiting, ..Seen::default() }
    };
    assert!(lasting.may_be_ended(&seen(Some(900), true), 1000));
    assert!(!lasting.may_be_ended(&seen(Some(1100), true), 1000), "written too late");
    assert!(!lasting.may_be_ended(&seen(None, true), 1000));
    assert!(lasting.may_be_ended(&seen(None, false), 1000), "written while nobody watched");
    assert!(alert("on=stall,after=2s").may_be_ended(&seen(None, false), 1000));
    assert!(!alert("on=failure").may_be_ended(&seen(Some(900), false), 1000), "it need not last");
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
