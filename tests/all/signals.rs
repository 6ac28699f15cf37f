//! What trainers act on: the best checkpoint, stops and who overrules them, attempts, rules across runs, and the daemon's own end.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::common::daemon::{Client, Daemon, Place, eventually, name_of};
use serde_json::{Value, json};

/// A checkpoint of this step, with an error that the training tells.
fn learn(place: &Place, daemon: &Daemon, step: u64, val_error: f64) {
    let name = format!("step_{step}.onnx");
    let measured = |event: &Value| event["type"] == "measured" && name_of(event) == name;
    // Until its first checkpoint is there the daemon does not know the run.
    if step > 1 {
        place.annotate(daemon, step, val_error);
    }
    let seq = daemon.client().ask(&json!({"type": "status"}))["seq"].as_i64().expect("a number");
    place.rename_in(&name, &format!("{step} {val_error}"));
    Client::subscribed(daemon, seq).until(measured);
    place.annotate(daemon, step, val_error);
}

fn decision(place: &Place, daemon: &Daemon) -> Value {
    daemon.client().ask(&json!({"type": "decision", "run": place.run_name()}))
}

#[test]
fn without_a_rule_the_best_is_that_of_the_least_known_error_and_it_is_said() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--stop", "patience=9,min_delta=1%"]);
    for (step, val_error) in [(1, 0.3), (2, 0.1), (3, 0.2)] {
        learn(&place, &daemon, step, val_error);
    }
    let said = decision(&place, &daemon);
    assert_eq!((&said["monitor"], &said["best"]["step"]), (&json!("val_error"), &json!(2)), "{said}");
    drop(daemon);
    let _ = Daemon::start(&place, &[]);
    let best = place.ask("best", &[]);
    assert!(String::from_utf8_lossy(&best.stdout).trim().ends_with("step_2.onnx"), "{best:?}");
    let told = String::from_utf8_lossy(&best.stderr).into_owned();
    assert!(told.contains("best by val_error") && told.contains("0.1000 at step 2"), "{told}");
    let best: Value = serde_json::from_slice(&place.ask("best", &["--format", "json"]).stdout).expect("JSON");
    assert_eq!((&best["best_by"], &best["step"]), (&json!("val_error"), &json!(2)));
}

#[test]
fn a_stop_that_a_person_overrules_begins_the_patience_anew() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--stop", "monitor=val_error,patience=2"]);
    for (step, val_error) in [(1, 0.3), (2, 0.4), (3, 0.4)] {
        learn(&place, &daemon, step, val_error);
    }
    assert_eq!(decision(&place, &daemon)["stop"], true);
    let resumed = place.ask("resume", &[]);
    assert!(String::from_utf8_lossy(&resumed.stdout).contains("did not improve on 0.3000"), "{resumed:?}");
    learn(&place, &daemon, 4, 0.4);
    assert_eq!(decision(&place, &daemon)["stop"], false);
    learn(&place, &daemon, 5, 0.4);
    assert_eq!(decision(&place, &daemon)["stop"], true, "two more did not improve");
    assert_eq!(daemon.end(), Some(0));

    // The same without a daemon; a run that no rule stopped is left as it is.
    assert!(place.ask("resume", &[]).status.success());
    assert_eq!(place.ask("wait", &[]).status.code(), Some(0));
    let again = place.ask("resume", &[]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("no rule had stopped it"), "{again:?}");
    assert_eq!(place.events().iter().filter(|event| event["type"] == "resumed").count(), 2);
}

#[test]
fn a_training_that_writes_an_earlier_step_again_is_another_attempt() {
    let place = Place::new();
    let board = place.path().join("board");
    let board = board.to_str().expect("UTF-8");
    let daemon = Daemon::start(&place, &["--stop", "monitor=val_error,patience=2", "--tensorboard", board]);
    for (step, val_error) in [(1, 0.3), (2, 0.4), (3, 0.4)] {
        learn(&place, &daemon, step, val_error);
    }
    assert_eq!(decision(&place, &daemon)["stop"], true);
    place.rename_in("step_2.onnx", "of another training");
    let attempt = Client::subscribed(&daemon, 0).next_of("attempt");
    assert_eq!((&attempt["attempt"], &attempt["step"], &attempt["declared"]), (&json!(2), &json!(2), &json!(false)));
    let said = decision(&place, &daemon);
    assert_eq!((&said["stop"], &said["rules"][0]["wait"]), (&json!(false), &json!(1)), "{said}");
    let history = String::from_utf8_lossy(&place.ask("history", &[]).stdout).into_owned();
    let (first, second) = history.split_once("attempt 2, from step 2:\n").expect("a mark");
    let steps = |lines: &str| lines.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    let (first, second): (Vec<u32>, Vec<u32>) = (steps(first), steps(second));
    assert!(first.ends_with(&[1, 3]) && second == [2], "{history}");
    let status = daemon.client().ask(&json!({"type": "status"}));
    assert_eq!((&status["runs"][0]["attempt"], &status["runs"][0]["attempt_from"]), (&json!(2), &json!(2)));
    // A curve of attempts, for TensorBoard.
    let file =
        || fs::read_dir(fs::read_dir(board).ok()?.next()?.ok()?.path()).ok()?.next()?.ok().map(|file| file.path());
    let tag: &[u8] = b"relstab/attempt";
    eventually("it is marked", || {
        file()
            .and_then(|file| fs::read(file).ok())
            .is_some_and(|bytes| bytes.windows(tag.len()).any(|part| part == tag))
    });
}

#[test]
fn a_training_says_that_it_begins_again() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--stop", "monitor=val_error,patience=2"]);
    for (step, val_error) in [(1, 0.3), (2, 0.4), (3, 0.4)] {
        learn(&place, &daemon, step, val_error);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let declare = |step: u64, began: f64| {
        let request = json!({"type": "declare", "run": place.run_name(), "step": step, "began": began});
        daemon.client().ask(&request)["attempt"].clone()
    };
    assert_eq!(declare(4, now), 1, "it goes on");
    assert_eq!((declare(0, now), declare(0, now)), (json!(2), json!(2)), "said twice");
    let said = decision(&place, &daemon);
    assert_eq!((&said["stop"], &said["best"]), (&json!(false), &Value::Null), "{said}");
    learn(&place, &daemon, 1, 0.9);
    assert_eq!(decision(&place, &daemon)["best"]["value"], 0.9, "of this attempt");
    assert_eq!(place.events().iter().filter(|event| event["type"] == "attempt").count(), 1);
}

#[test]
fn a_training_that_goes_the_same_way_again_is_judged_again() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--stop", "monitor=val_error,patience=1"]);
    let errors = [(1, 0.3), (2, 0.4)];
    for (step, val_error) in errors {
        learn(&place, &daemon, step, val_error);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let declare = json!({"type": "declare", "run": place.run_name(), "step": 0, "began": now});
    assert_eq!(daemon.client().ask(&declare)["attempt"], 2);
    assert_eq!(place.ask("best", &[]).status.code(), Some(8), "nothing of it is there yet");
    for (step, val_error) in errors {
        place.rename_in(format!("step_{step}.onnx"), &format!("{step} {val_error}"));
        let waited = place.ask("wait", &["--step", &step.to_string(), "--timeout", "1m"]).status.code();
        assert!(waited == Some(0) || waited == Some(14), "{waited:?}");
        place.annotate(&daemon, step, val_error);
    }
    let said = decision(&place, &daemon);
    assert_eq!((&said["stop"], &said["best"]["step"]), (&json!(true), &json!(1)), "{said}");
    assert_eq!(place.events().iter().filter(|event| event["type"] == "measured").count(), 2, "each content once");

    // Another one, and the first again, which nothing declares: a stop of the attempt before ends neither.
    for (step, note, code) in [(1, "other 1", 0), (2, "other 2", 0), (1, "1 0.3", 0), (2, "2 0.4", 14)] {
        place.rename_in(format!("step_{step}.onnx"), note);
        let waited = place.ask("wait", &["--step", &step.to_string(), "--timeout", "1m"]);
        assert_eq!(waited.status.code(), Some(code), "{note}: {waited:?}");
    }
    let attempts = place.events().iter().filter(|event| event["type"] == "attempt").count();
    assert_eq!(attempts, 3);
}

#[test]
fn a_training_that_begins_again_under_other_names_is_noticed_by_their_versions_or_says_so() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &[]);
    let measure = |name: &str| {
        let seq = daemon.client().ask(&json!({"type": "status"}))["seq"].as_i64().expect("a number");
        place.rename_in(name, name);
        let is_it = |event: &Value| event["type"] == "measured" && name_of(event) == name;
        let mut events = Client::subscribed(&daemon, seq).until(is_it);
        events.retain(|event| event["type"] == "attempt");
        events
    };
    let wait = |step: &str| place.ask("wait", &["--step", step, "--timeout", "500ms"]).status.code();
    for name in ["step_1.onnx", "step_2.onnx", "step_3.onnx", "ema-step_2.onnx", "best-step_1.onnx"] {
        assert_eq!(measure(name), [] as [Value; 0], "{name} may be another network of the same training");
    }
    assert_eq!(wait("2"), Some(0), "measured before");
    let again = measure("step_2-v1.onnx");
    assert_eq!((again.len(), &again[0]["step"], &again[0]["declared"]), (1, &json!(2), &json!(false)));
    assert_eq!((wait("1"), wait("2"), wait("3")), (Some(0), Some(0), Some(13)), "step 3 was of the attempt before");
    assert_eq!(measure("step_3-v1.onnx"), [] as [Value; 0], "it goes on");
    // Nothing in these names tells: the training does.
    let began = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let declare = json!({"type": "declare", "run": place.run_name(), "step": 1, "began": began});
    assert_eq!(daemon.client().ask(&declare)["attempt"], 3);
    assert_eq!((wait("1"), measure("other-step_1.onnx").len(), wait("1")), (Some(13), 0, Some(0)));
}

#[test]
fn a_run_that_lags_behind_those_beside_it_is_stopped_and_they_are_named() {
    let place = Place::new();
    let others = ["a", "b", "c"].map(|name| place.add_run(name));
    let all = [vec![place.run()], others.to_vec()].concat();
    let daemon = Daemon::start_at(&place, &all, &["--stop", "kind=median,monitor=val_error,min_delta=10%"]);
    for name in ["a", "b", "c"] {
        place.rename_in(format!("../{name}/step_1.onnx"), name);
    }
    Client::subscribed(&daemon, 0).outcomes(3);
    // All have the error of the bundled network, but this one.
    learn(&place, &daemon, 1, 0.9);
    let said = decision(&place, &daemon);
    assert!(said["stop"] == true && said["reason"].as_str().is_some_and(|why| why.contains("3 other runs")), "{said}");
    let compared: Vec<_> = said["compared"].as_array().expect("runs").iter().map(|one| &one["run"]).collect();
    assert_eq!(compared.len(), 3);
    let other = others[0].canonicalize().expect("there");
    assert!(compared.contains(&&json!(other)), "{said}");
    let own = daemon.client().ask(&json!({"type": "decision", "run": other}));
    assert_eq!(own["stop"], false, "{own}");
}

#[test]
fn at_each_rung_the_best_of_those_that_came_so_far_go_on() {
    let place = Place::new();
    let others = ["a", "b", "c"].map(|name| place.add_run(name));
    let all = [vec![place.run()], others.to_vec()].concat();
    let rule = "kind=halving,monitor=val_error,start_from=2,reduction=2";
    let daemon = Daemon::start_at(&place, &all, &["--stop", rule]);
    for step in [2, 4] {
        for name in ["a", "b", "c"] {
            place.rename_in(format!("../{name}/step_{step}.onnx"), &format!("{name} {step}"));
        }
    }
    Client::subscribed(&daemon, 0).outcomes(6);
    // The others have the error of the bundled network. Rungs are the steps 2 and 4; the run is the best at the first.
    for (step, val_error) in [(1, 0.9), (2, 0.01), (3, 0.9)] {
        learn(&place, &daemon, step, val_error);
        assert_eq!(decision(&place, &daemon)["stop"], false, "at step {step}");
    }
    learn(&place, &daemon, 4, 0.9);
    let said = decision(&place, &daemon);
    let reason = said["reason"].as_str().unwrap_or_default();
    assert!(said["stop"] == true && reason.contains("rung of step 4: 3 of 3 other runs were better"), "{said}");
    assert_eq!(said["compared"].as_array().map(Vec::len), Some(3), "{said}");
}

/// How a daemon ends that is given these flags, once the place has been prepared.
fn end(place: &Place, flags: &[&str], prepare: impl FnOnce()) -> Option<i32> {
    let mut daemon = Daemon::start(place, flags);
    prepare();
    let mut code = None;
    eventually("it ends by itself", || {
        code = daemon.child.try_wait().expect("a child").map(|status| status.code());
        code.is_some()
    });
    code.flatten()
}

#[test]
fn a_daemon_ends_when_the_trainings_are_done_and_all_is_measured() {
    let place = Place::new();
    let mark = || {
        place.rename_in("step_1.onnx", "one");
        fs::write(place.run().join("step_2.onnx"), crate::common::daemon::network("two")).expect("written");
        fs::write(place.run().join("DONE"), "").expect("written");
    };
    assert_eq!(end(&place, &["--until", "DONE"], mark), Some(0));
    assert_eq!(place.outcomes("measured").len(), 2, "what was written just before is measured");
    place.put("step_3.onnx", b"no network");
    assert_eq!(end(&place, &["--until-idle", "1s", "--give-up", "300ms"], || ()), Some(11), "{}", place.log());
    let outside = place.ask("watch", &["--until", "../DONE"]);
    assert_eq!(outside.status.code(), Some(2), "{outside:?}");
}

#[test]
fn a_daemon_waits_for_its_time_and_for_checkpoints() {
    let place = Place::new();
    let mut daemon = Daemon::start(&place, &["--until-idle", "4s"]);
    for step in 1..=3 {
        std::thread::sleep(Duration::from_millis(1500));
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    eventually("it ends by itself", || daemon.child.try_wait().expect("a child").is_some());
    assert_eq!(place.outcomes("measured").len(), 3);
}
