//! The journal under what the daemon does to it: runs forgotten with work in hand, settings changed and changed back, files that
//! go and come.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::common::FixedBackend;
use relstab::alert::{Alert, Standing};
use relstab::error::ExitCode;
use relstab::event::{CheckpointName, Measurement, Skip};
use relstab::journal::{Filter, Job, Journal, LawOf, Line, Outcome, Policy, Sighting};
use relstab::measure::{ChosenLaw, Settings, measure};
use relstab::predict::Law;
use relstab::probe::{ProbeSet, Shape};
use relstab::stop::Rule;

const FILE: &str = "/run/step_1.onnx";

struct Place {
    folder: tempfile::TempDir,
    journal: Journal,
    run: i64,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut journal = Journal::open(&folder.path().join("journal.sqlite")).expect("made");
        let run = journal.run_id("/run").expect("a run");
        Self { folder, journal, run }
    }

    fn see(&mut self, file: &str, fingerprint: &str, plan: &str) -> Vec<&'static str> {
        let (step, epoch) = (Some(1), None);
        let path = Path::new(file);
        let sighting = Sighting { run: self.run, path, fingerprint, plan, step, epoch, written: 0, due: Some(0) };
        kinds(&self.journal.see(&[sighting]).expect("queued"))
    }

    fn next(&mut self) -> Option<Job> {
        self.journal.next(1, 0, &[], Policy::All).expect("read").0
    }

    fn fail(&mut self, job: &Job, content: &str) -> Vec<&'static str> {
        let content = Some((content.to_owned(), job.plan.clone()));
        let outcome = Outcome::Failed { content, reason: "no network".to_owned(), is_finite: false };
        kinds(&self.journal.finish(job, &outcome, None).expect("written"))
    }

    /// A version of the file is found and fails.
    fn see_fail(&mut self, fingerprint: &str, plan: &str, content: &str) -> Vec<&'static str> {
        self.see(FILE, fingerprint, plan);
        let job = self.next().expect("due");
        self.fail(&job, content)
    }
}

fn kinds(lines: &[Line]) -> Vec<&'static str> {
    lines.iter().map(|line| line.kind).collect()
}

#[test]
fn what_was_in_hand_when_its_run_was_forgotten_is_nobodys() {
    let mut place = Place::new();
    place.see(FILE, "old", "plan");
    let job = place.next().expect("due");
    assert!(place.journal.forget("/run").expect("written"));
    assert_eq!(place.fail(&job, "content"), [""; 0]);

    // Ids are given again.
    place.run = place.journal.run_id("/run").expect("a run");
    place.see("/run/other.onnx", "new", "plan");
    place.journal.put_back(&job, None).expect("written");
    assert_eq!(place.journal.seen_since(&job).expect("read"), None);
    let other = place.next().expect("still due");
    let found = (other.id, other.path.as_path(), other.fingerprint.as_str());
    assert_eq!(found, (job.id, Path::new("/run/other.onnx"), "new"));
    assert_eq!(place.fail(&job, "content"), [""; 0]);
    assert_eq!(place.fail(&other, "content"), ["failed"]);
}

#[test]
fn a_content_that_was_known_before_is_unchanged_whatever_the_worker_knew() {
    let mut place = Place::new();
    for version in ["one", "two"] {
        assert_eq!(place.see_fail(version, "plan", version), ["failed"]);
    }
    assert_eq!(place.see_fail("one again", "plan", "one"), ["skipped"]);
}

#[test]
fn settings_that_change_while_a_checkpoint_is_in_hand_are_told() {
    let mut place = Place::new();
    place.see(FILE, "same", "old");
    let mut job = place.next().expect("due");
    assert_eq!(place.journal.seen_since(&job).expect("read"), None);
    place.see(FILE, "same", "new");
    let seen = place.journal.seen_since(&job).expect("read").expect("another plan");
    assert_eq!(seen, ("same".to_owned(), "new".to_owned()));
    (job.fingerprint, job.plan) = seen;
    place.journal.put_back(&job, Some(0)).expect("written");
    assert_eq!(place.next().expect("due").plan, "new");
}

#[test]
fn earlier_settings_count_again_when_they_come_back() {
    let mut place = Place::new();
    assert_eq!(place.see_fail("file", "first", "content"), ["failed"]);
    assert_eq!(place.see_fail("file", "tried", "content"), ["failed"]);
    assert_eq!(place.see(FILE, "file", "first"), ["skipped"]);
    assert_eq!(place.see(FILE, "file", "first"), [""; 0]);
    assert_eq!(place.next(), None);
    assert_eq!(place.see(FILE, "file", "tried"), ["skipped"]);
}

#[test]
fn settings_that_come_back_count_at_once_and_what_was_in_hand_under_others_is_nobodys() {
    let mut place = Place::new();
    assert_eq!(place.see_fail("file", "first", "content"), ["failed"]);
    assert_eq!(place.see_fail("file", "tried", "content"), ["failed"]);
    place.journal.set_plan(place.run, "first").expect("written");
    assert_eq!(place.see(FILE, "file", "first"), [""; 0]);
    place.journal.set_plan(place.run, "third").expect("written");
    place.see(FILE, "file", "third");
    let job = place.next().expect("due");
    place.journal.set_plan(place.run, "first").expect("written");
    assert_eq!(place.see(FILE, "file", "first"), [""; 0]);
    assert_eq!(place.fail(&job, "content"), [""; 0]);
    assert_eq!(place.next(), None);
    // Without a plan nothing is measured anew.
    assert_eq!(place.see(FILE, "file", ""), [""; 0]);
    assert_eq!(place.see(FILE, "another", ""), ["checkpoint_seen"]);
}

#[test]
fn a_run_that_is_held_is_passed_over() {
    let mut place = Place::new();
    place.see(FILE, "file", "plan");
    assert_eq!(place.journal.next(1, 0, &[place.run], Policy::All).expect("read").0, None);
    assert_eq!(place.journal.next_due(&[place.run]).expect("read"), None);
    assert_eq!(place.journal.next_due(&[]).expect("read"), Some(0));
    assert!(place.next().is_some());
}

#[test]
fn a_checkpoint_that_was_gone_is_queued_when_it_is_back() {
    let mut place = Place::new();
    place.see(FILE, "file", "plan");
    let job = place.next().expect("due");
    place.journal.finish(&job, &Outcome::Skipped(Skip::Gone), None).expect("written");
    assert_eq!(place.see(FILE, "file", "plan"), ["checkpoint_seen"]);
    let again = place.next().expect("due");
    assert_eq!(again.id, job.id);
    place.journal.finish(&again, &Outcome::Skipped(Skip::Superseded), None).expect("written");
    assert_eq!(place.see(FILE, "file", "plan"), [""; 0]);
    assert_eq!(place.next(), None);
}

#[test]
fn rules_that_are_taken_away_no_longer_hold_a_run() {
    let mut place = Place::new();
    place.see_fail("file", "plan", "content");
    let rule: Rule = "monitor=r_f,patience=5".parse().expect("a rule");
    let lines = place.journal.judge(place.run, Some(&[rule])).expect("judged");
    assert_eq!(kinds(&lines), ["stop"], "its outputs are not finite");
    place.journal.judge(place.run, None).expect("judged");
    let (verdicts, stop) = place.journal.verdicts(place.run).expect("read");
    assert!(verdicts.len() == 1 && stop.is_some());
    place.journal.judge(place.run, Some(&[])).expect("judged");
    let (verdicts, stop) = place.journal.verdicts(place.run).expect("read");
    assert!(verdicts.is_empty() && stop.is_none());
}

#[test]
fn a_database_of_others_is_left_alone() {
    let place = Place::new();
    let path: PathBuf = place.folder.path().join("app.db");
    let db = rusqlite::Connection::open(&path).expect("made");
    db.execute_batch("CREATE TABLE users (name TEXT)").expect("written");
    drop(db);
    std::fs::set_permissions(&path, Permissions::from_mode(0o664)).expect("opened to a group");
    let before = std::fs::read(&path).expect("read");
    for error in [Journal::open(&path).expect_err("refused"), Journal::read(&path).expect_err("refused")] {
        assert!(error.to_string().contains("another database") && error.exit_code() == ExitCode::Journal, "{error}");
    }
    assert_eq!(std::fs::read(&path).expect("read"), before);
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o664);
}

#[test]
fn a_file_that_a_daemon_is_about_to_fill_is_a_journal_without_a_run() {
    let place = Place::new();
    let empty = place.folder.path().join("empty.db");
    std::fs::write(&empty, "").expect("written");
    assert!(Journal::read(&empty).expect("no error").runs().expect("read").is_empty());
    assert_eq!(std::fs::read(&empty).expect("there"), b"", "it is left to the daemon");
}

/// Of a network that answers with ten classes.
pub fn record() -> Measurement {
    let shape = Shape { channels: 1, height: 28, width: 28 };
    let number = |k: usize| ((k * k % 1009 * 37 + k * 11) as f32 * 0.7).sin();
    let images = (0..40 * shape.len()).map(number).collect();
    let probe = ProbeSet::from_nchw(images, [40, 1, 28, 28], None).expect("a probe set");
    let network = FixedBackend::linear(shape, (7..7 + 10 * shape.len()).map(number).collect());
    let settings = Settings { images: 40, draws: 1, ..Settings::default() };
    measure(&network, &probe, &settings, &|_, _| ()).expect("measured")
}

#[test]
fn records_of_earlier_versions_keep_their_prediction_and_history_says_so() {
    // Without the number of classes that were answered, and without any scores.
    for (age, kept, counts) in [(1, "cifar10", 1), (2, "cifar10", 1), (0, "cifar10-invariance", 0)] {
        let mut place = Place::new();
        let mut record = record();
        let scores = record.scores.as_mut().expect("a classifier's");
        if age > 0 {
            (scores.invariance, scores.classes) = (None, None);
        }
        if age > 1 {
            record.scores = None;
        }
        let give = |place: &mut Place, name| {
            let chosen = ChosenLaw { law: Law::preset(name).expect("a preset"), explicit: false, force: true };
            place.journal.set_law(place.run, Some(&chosen), true).expect("written");
            let history = place.journal.history(place.run, Filter::default()).expect("read");
            history.into_iter().next().and_then(|entry| entry.measurement).unwrap_or_default()
        };
        give(&mut place, "cifar10");
        place.see(FILE, "file", "plan");
        let job = place.next().expect("due");
        let outcome = Outcome::Measured { settings: "plan".to_owned(), measurement: Box::new(record), strip: None };
        place.journal.finish(&job, &outcome, None).expect("written");
        let told = give(&mut place, "cifar10-invariance");
        assert_eq!(told["prediction"]["law"]["name"], kept, "{told}");
        assert_eq!(told["warnings"].to_string().matches("without effective invariance").count(), counts, "{told}");
        let told: Measurement = serde_json::from_value(told).expect("a record");
        let columns = relstab::report::line(&told);
        // Behind step, epoch, R_f, the predicted and the known error.
        assert_eq!(columns[75..81].trim() == "-", age > 0, "{columns}");
        // A law that goes by what the record has counts it.
        assert_eq!(give(&mut place, "cifar10-c5")["prediction"]["law"]["name"], "cifar10-c5");
    }
}

#[test]
fn a_long_run_is_predicted_anew_in_parts_and_judged_once_all_is_of_one_version() {
    let mut place = Place::new();
    let chosen = ChosenLaw { law: Law::preset("fashionmnist-c3").expect("a preset"), explicit: false, force: true };
    place.journal.set_law(place.run, Some(&chosen), true).expect("written");
    let rules = ["monitor=predicted_error,patience=9999".parse::<Rule>().expect("a rule")];
    let record = record();
    for step in 1..=600 {
        let path = format!("/run/{step}.onnx");
        let sighting = Sighting {
            run: place.run,
            path: Path::new(&path),
            fingerprint: "",
            plan: "plan",
            step: Some(step),
            epoch: None,
            written: 0,
            due: Some(0),
        };
        place.journal.see(&[sighting]).expect("queued");
        let job = place.next().expect("due");
        let mut record = record.clone();
        (record.metadata.step, record.model.sha256) = (Some(step), step.to_string());
        let outcome = Outcome::Measured { settings: "plan".to_owned(), measurement: Box::new(record), strip: None };
        place.journal.finish(&job, &outcome, None).expect("written");
    }
    let told = |place: &mut Place, step, val_error| {
        let lines = place.journal.annotate(place.run, &CheckpointName::Step(step), val_error, Some(&rules));
        assert_eq!(kinds(&lines.expect("written")), ["annotated"]);
    };
    // Versions of the law, with how many checkpoints each has predicted, the first ones first.
    let versions = |place: &Place| {
        let mut versions: Vec<(String, usize)> = Vec::new();
        for entry in place.journal.history(place.run, Filter::default()).expect("read") {
            let law = entry.measurement.expect("measured")["prediction"]["law"].clone();
            let version = format!("{} {}", law["name"].as_str().expect("a name"), law["version"]);
            match versions.last_mut().filter(|(last, _)| *last == version) {
                Some((_, count)) => *count += 1,
                None => versions.push((version, 1)),
            }
        }
        versions
    };
    let judged = |place: &Place| place.journal.verdicts(place.run).expect("read").0.len();
    told(&mut place, 600, 0.3);
    let are = |all: &[(&str, usize)]| all.iter().map(|(law, count)| ((*law).to_owned(), *count)).collect::<Vec<_>>();
    assert_eq!(
        (versions(&place), judged(&place)),
        (are(&[("fashionmnist-c3 1", 350), ("fashionmnist-c3+run 1", 250)]), 0)
    );
    assert!(place.journal.is_behind(place.run).expect("read"));
    // What comes meanwhile waits for the end of that, and is taken in at once.
    told(&mut place, 599, 0.2);
    told(&mut place, 598, 0.1);
    let go_on = |place: &mut Place| place.journal.catch_up(place.run, Some(&rules)).expect("written");
    go_on(&mut place);
    assert_eq!(versions(&place).iter().map(|(_, count)| count).sum::<usize>(), 600);
    assert_eq!(judged(&place), 0);
    go_on(&mut place);
    assert_eq!(judged(&place), 1, "all is of one version before the next begins");
    assert_eq!(versions(&place), are(&[("fashionmnist-c3+run 1", 350), ("fashionmnist-c3+run 2", 250)]));
    place.journal.restart(&[]).expect("written");
    (0..2).for_each(|_| drop(go_on(&mut place)));
    assert_eq!(versions(&place), are(&[("fashionmnist-c3+run 2", 600)]));
    assert!(!place.journal.is_behind(place.run).expect("read"));
}

#[test]
fn a_confident_rule_goes_by_the_replicates_of_what_it_monitors() {
    // R_f surely falls at each checkpoint, while nothing is sure of EI; and the other way round.
    for (sure, law, monitor) in [
        ("r_f", "cifar10", "r_f"),
        ("invariance", "cifar10", "invariance"),
        ("r_f", "cifar10", "predicted_error"),
        ("invariance", "cifar10-invariance", "predicted_error"),
    ] {
        let stops = |spread_r_f: f32, spread_invariance: f32| {
            let mut place = Place::new();
            let chosen = ChosenLaw { law: Law::preset(law).expect("a preset"), explicit: false, force: true };
            place.journal.set_law(place.run, Some(&chosen), false).expect("written");
            let rule: Rule = format!("monitor={monitor},patience=2,confidence=0.9").parse().expect("a rule");
            for step in 1..=3_u8 {
                let gain = f32::from(step) * 0.1;
                let mut record = record();
                (record.metadata.step, record.model.sha256) = (Some(step.into()), step.to_string());
                record.r_f.as_mut().expect("defined").value = f64::from(1.0 - gain);
                let invariance = record.scores.as_mut().and_then(|scores| scores.invariance.as_mut());
                invariance.expect("a classifier's").deformed.value = f64::from(0.3 + gain);
                // Differences between any two steps have both signs.
                let wave = |at: u8, spread: f32| spread * (f32::from(at) * f32::from(step)).sin();
                record.replicates_log_r_f = Some((0..100).map(|at| (1.0 - gain).ln() + wave(at, spread_r_f)).collect());
                record.replicates_invariance =
                    Some((0..100).map(|at| 0.3 + gain + wave(at, spread_invariance)).collect());
                place.see(&format!("/run/{step}.onnx"), "file", "plan");
                let job = place.next().expect("due");
                let outcome =
                    Outcome::Measured { settings: "plan".to_owned(), measurement: Box::new(record), strip: None };
                place.journal.finish(&job, &outcome, Some(std::slice::from_ref(&rule))).expect("written");
            }
            place.journal.verdicts(place.run).expect("read").1.is_some()
        };
        let (of_r_f, of_invariance) = (stops(0.0, 1.0), stops(1.0, 0.0));
        assert_eq!((of_r_f, of_invariance), (sure != "r_f", sure != "invariance"), "{monitor} by {law}");
    }
}

#[test]
fn a_run_tells_its_attempts_and_the_laws_that_predicted_it() {
    let mut place = Place::new();
    let chosen = ChosenLaw { law: Law::preset("cifar10").expect("a preset"), explicit: false, force: true };
    place.journal.set_law(place.run, Some(&chosen), true).expect("written");
    for step in [3, 7] {
        place.see(&format!("/run/{step}.onnx"), "file", "plan");
        let job = place.next().expect("due");
        let mut record = record();
        (record.metadata.step, record.model.sha256) = (Some(step), step.to_string());
        let outcome = Outcome::Measured { settings: "plan".to_owned(), measurement: Box::new(record), strip: None };
        place.journal.finish(&job, &outcome, None).expect("written");
    }
    let past = place.journal.past(place.run, 10).expect("read");
    let told = |law: &LawOf| (law.law.name.clone(), law.first_step, law.last_step, law.records);
    let laws: Vec<_> = past.laws.iter().map(told).collect();
    assert_eq!((past.attempts.len(), past.laws_in_all), (0, 1));
    assert_eq!(laws, [("cifar10".to_owned(), Some(3), Some(7), 2)]);

    let (attempt, _) = place.journal.declare(place.run, 5, 1).expect("written");
    let begun = place.journal.past(place.run, 0).expect("read");
    let told: Vec<_> = begun.attempts.iter().map(|each| (each.attempt, each.step, each.declared)).collect();
    assert_eq!((attempt, told, begun.laws.len(), begun.laws_in_all), (2, vec![(2, 5, true)], 0, 1));
    let series = place.journal.series(place.run, 10).expect("read");
    assert_eq!((series.attempts, series.attempt), (begun.attempts, vec![1, 1]));
}

#[test]
fn a_run_tells_which_alerts_were_raised_and_which_hold() {
    let mut place = Place::new();
    let alerts = ["on=failure,name=broken", "on=stop"].map(|text| text.parse::<Alert>().expect("an alert"));
    let now = |place: &mut Place, at| {
        place.journal.alert(place.run, &alerts, Standing::default(), at).expect("written");
        let past = place.journal.past(place.run, 0).expect("read");
        past.alerts.into_iter().map(|raised| (raised.alert, raised.text, raised.since)).collect::<Vec<_>>()
    };
    assert_eq!(now(&mut place, 1000), []);
    place.see_fail("file", "plan", "content");
    let since = Some("1970-01-01T00:00:02Z".to_owned());
    let broken = |since| [("broken".to_owned(), "no network".to_owned(), since)];
    assert_eq!(now(&mut place, 2000), broken(since.clone()));
    assert_eq!(now(&mut place, 3000), broken(since));
    place.see("/run/2.onnx", "file", "plan");
    let job = place.next().expect("due");
    let outcome = Outcome::Measured { settings: "plan".to_owned(), measurement: Box::new(record()), strip: None };
    place.journal.finish(&job, &outcome, None).expect("written");
    assert_eq!(now(&mut place, 4000), broken(None));
}
