//! Journals of every earlier version, brought up to date, copied and taken over.

use std::path::Path;

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection, StatementStatus};

use super::{Attempt, Journal, Series, VERSIONS, holder};
use crate::alert::{Alert, Standing};
use crate::event::{CheckpointName, Format};
use crate::stop::{Monitor, Rule, Verdict};

/// A journal as that version left it: `count` checkpoints, and another content of the fifth's step.
fn of_version(path: &Path, version: usize, count: i64) {
    let db = Connection::open(path).expect("made");
    VERSIONS[..version].iter().for_each(|step| db.execute_batch(step).expect("its schema"));
    db.pragma_update(None, "user_version", version as i64).expect("written");
    db.pragma_update(None, "journal_mode", "wal").expect("written");
    fill(&db, count);
    // What that version wrote itself.
    if version > 2 {
        db.execute("UPDATE checkpoints SET notes = 1, doubts = 0, wrongs = 2, invariance = 0.75", []).expect("written");
    }
    if version > 1 {
        db.execute_batch(
            "UPDATE checkpoints SET r_f_low = 0.5, r_f_high = 9, predicted_low = 0.25, stride = outcome & -outcome;
             UPDATE checkpoints SET stride = NULL WHERE id = 5",
        )
        .expect("written");
    }
}

fn fill(db: &Connection, count: i64) {
    db.execute("INSERT INTO runs (id, path) VALUES (7, '/run')", []).expect("written");
    for number in 1..=count + 1 {
        let step = if number > count { 5 } else { number };
        let findings = r#"[{"severity": "note"}, {"severity": "wrong"}, {"severity": "wrong"}]"#;
        let scores = r#"{"invariance": {"deformed": {"value": 0.75, "low": 0.5, "high": 1}}}"#;
        let law = r#"{"name": "own", "terms": ["r_f"], "a": 1, "b": 1, "sd_log": null, "source": "a test"}"#;
        let prediction = format!(r#"{{"law": {law}}}"#);
        let body = format!(
            r#"{{"measurement": {{"prediction": {prediction}, "r_f": {{"value": {step}, "low": 0.5, "high": 9}}, "findings": {findings}, "scores": {scores}}}}}"#
        );
        db.execute("INSERT INTO events (seq, run, body) VALUES (?1, 7, ?2)", (number, body)).expect("written");
        let sql = "INSERT INTO checkpoints (id, run, path, raw_path, fingerprint, plan, state, outcome, current, step, written,
                   r_f, prediction, content, settings)
                   VALUES (?1, 7, 'p' || ?1, x'', 'f', 'k', 1, ?1, ?1, ?2, 0, ?2, '{\"low\": 0.25}', 'c' || ?1, 's')";
        db.execute(sql, (number, step)).expect("written");
    }
}

/// A training that began again: versions before the fifth kept its event alone, and no laws.
fn begin_again(path: &Path, version: usize) {
    let db = Connection::open(path).expect("opened");
    let body = r#"{"time": "2026-01-02T03:04:05Z", "type": "attempt", "attempt": 2, "step": 4, "declared": true}"#;
    db.execute("INSERT INTO events (seq, run, body) VALUES (100, 7, ?1)", [body]).expect("written");
    if version > 4 {
        let law = r#"{"name": "own", "terms": ["r_f"], "a": 1, "b": 1, "sd_log": null, "source": "a test"}"#;
        db.execute("INSERT INTO attempts VALUES (7, 2, 4, 100)", []).expect("written");
        db.execute("INSERT INTO laws VALUES (7, 'own', 1, ?1, 1, 10, 11, 1)", [law]).expect("written");
    }
}

fn series_of(path: &Path) -> Series {
    Journal::read(path).expect("brought up").series(7, 100).expect("read")
}

#[test]
fn a_journal_of_any_earlier_version_is_brought_up_to_date() {
    for version in 1..VERSIONS.len() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("journal.sqlite");
        of_version(&path, version, 10);
        begin_again(&path, version);
        let series = series_of(&path);
        assert_eq!(series.step, (1..=10).map(Some).collect::<Vec<_>>(), "version {version}");
        assert_eq!(
            (series.r_f_low[4], series.r_f_high[4], series.predicted_low[4]),
            (Some(0.5), Some(9.0), Some(0.25))
        );
        let journal = Journal::read(&path).expect("up to date");
        assert_eq!(journal.counts(7).expect("read").into_values().collect::<Vec<_>>(), [11]);
        let figures = journal.figures(7).expect("read");
        assert_eq!((figures.step, figures.findings, figures.invariance), (Some(10.0), [1, 0, 2], Some(0.75)));
        assert_eq!(journal.strip(7, 5).expect("read"), None);
        let past = journal.past(7, 10).expect("read");
        let time = "2026-01-02T03:04:05Z".to_owned();
        assert_eq!(past.attempts, [Attempt { attempt: 2, step: 4, time, declared: true }]);
        let laws: Vec<_> =
            past.laws.iter().map(|law| (law.law.name.as_str(), law.first_step, law.last_step, law.records)).collect();
        assert_eq!(laws, [("own", Some(1), Some(10), 11)]);
        assert_eq!(holder(&path), None);
    }
}

/// What bringing a journal of so many checkpoints up takes, in the database's own steps.
fn effort(count: i64) -> i32 {
    let db = Connection::open_in_memory().expect("made");
    db.execute_batch(VERSIONS[0]).expect("the first schema");
    fill(&db, count);
    let mut steps = 0;
    for version in &VERSIONS[1..] {
        let mut batch = Batch::new(&db, version);
        while let Some(mut statement) = batch.next().expect("SQL") {
            statement.raw_execute().expect("executed");
            steps += statement.get_status(StatementStatus::VmStep);
        }
    }
    steps
}

#[test]
fn bringing_a_journal_up_takes_steps_in_proportion_to_its_rows() {
    let (small, large) = (effort(500), effort(4000));
    assert!(large < 9 * small, "{small} steps for 500 rows, {large} for 4,000");
}

#[test]
fn a_journal_is_read_from_a_copy_with_what_lies_in_its_log() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    of_version(&path, 2, 10);
    // Left by a daemon that was killed: its last words are in the log alone.
    let writer = Connection::open(&path).expect("opened");
    writer.execute("INSERT INTO runs (id, path) VALUES (8, '/late')", []).expect("written");
    let before = std::fs::read(&path).expect("read");
    let copied = super::Copied::of(&path).expect("copied");
    let journal = Journal::read_in_place(&copied.path()).expect("brought up there");
    let runs: Vec<_> = journal.runs().expect("read").into_iter().map(|(_, run)| run).collect();
    assert_eq!(runs, ["/late", "/run"]);
    assert_eq!(std::fs::read(&path).expect("read"), before);
    let folder = copied.path();
    drop((journal, copied));
    assert!(!folder.exists());
}

fn bodies(journal: &Journal) -> Vec<String> {
    let lines = journal.events_since(0, &[], 1000).expect("read");
    assert!(lines.iter().zip(1..).all(|(line, seq)| line.seq == seq), "no gap");
    lines.iter().map(|line| line.text.split_once(',').expect("a seq").1.to_owned()).collect()
}

#[test]
fn runs_of_another_journal_are_taken_over_whole_and_forgotten_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (own, other) = (folder.path().join("own.sqlite"), folder.path().join("other.sqlite"));
    of_version(&other, 1, 10);
    let mut theirs = Journal::open(&other).expect("brought up");
    theirs.annotate(7, &CheckpointName::Step(3), 0.25, None).expect("told");
    theirs.declare(7, 8, 1).expect("another attempt");
    theirs.run_id("/not wanted").expect("a run");
    theirs.db.execute("INSERT INTO strips VALUES (11, 7, '', 'jpeg', x'ffd8ff')", []).expect("written");
    let told = bodies(&theirs);
    drop(theirs);

    let mut journal = Journal::open(&own).expect("made");
    let first = journal.run_id("/mine").expect("a run");
    journal.annotate(first, &CheckpointName::Step(1), 0.5, None).expect("told");
    assert_eq!(journal.adopt(&other, |run| run == "/run").expect("taken over"), 1);
    assert_eq!(bodies(&journal)[1..], told);
    let id = journal.find_run("/run").expect("read").expect("known");
    let series = journal.series(id, 100).expect("read");
    assert_eq!(series.step, (1..=10).map(Some).collect::<Vec<_>>());
    assert_eq!(series.val_error[2], Some(0.25));
    assert_eq!(journal.counts(id).expect("read").into_values().collect::<Vec<_>>(), [11]);
    // The newer content of the step counts still.
    let history = journal.history(id, super::Filter { step: Some(5), ..super::Filter::default() }).expect("read");
    assert_eq!(history.iter().map(|entry| (entry.path.as_str(), entry.seq)).collect::<Vec<_>>(), [("p11", Some(12))]);
    let past = journal.past(id, 10).expect("read");
    assert_eq!((past.attempts.len(), past.attempts[0].step, past.laws[0].records), (1, 8, 11));
    let picture = journal.strip_picture(id, history[0].id).expect("read");
    assert_eq!(picture, Some((Format::Jpeg, vec![0xff, 0xd8, 0xff])));
    let left = Journal::read(&other).expect("there").runs().expect("read");
    assert_eq!(left.into_iter().map(|(_, run)| run).collect::<Vec<_>>(), ["/not wanted"]);
    assert_eq!(journal.adopt(&other, |run| run == "/run").expect("read"), 0);
}

#[test]
fn what_two_journals_know_of_one_run_is_known_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (own, other) = (folder.path().join("own.sqlite"), folder.path().join("other.sqlite"));
    // As after a crash between taking over and forgetting, and as when both have measured.
    of_version(&own, 2, 10);
    of_version(&other, 2, 12);
    let mut theirs = Journal::open(&other).expect("brought up");
    theirs.annotate(7, &CheckpointName::Step(3), 0.25, None).expect("told");
    drop(theirs);
    let mut journal = Journal::open(&own).expect("brought up");
    assert_eq!(journal.adopt(&other, |_| true).expect("taken over"), 1);
    let series = journal.series(7, 100).expect("read");
    assert_eq!(series.step, (1..=10).chain([12]).map(Some).collect::<Vec<_>>());
    assert_eq!(series.val_error[2], Some(0.25));
    assert_eq!(bodies(&journal).len(), 13, "11 of its own, two that it did not know");
    assert!(Journal::read(&other).expect("there").runs().expect("read").is_empty());
}

#[test]
fn the_latest_and_the_best_are_those_of_the_latest_attempt() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    of_version(&path, VERSIONS.len(), 10);
    let mut journal = Journal::open(&path).expect("up to date");
    journal.db.execute("UPDATE events SET body = json_set(body, '$.type', 'measured')", []).expect("written");
    assert_eq!(journal.glance(7).expect("read").latest.and_then(|latest| latest.step), Some(10));
    // A training begins again at step 3; its first checkpoint was written after the others.
    assert_eq!(journal.declare(7, 3, 1).expect("declared").0, 2);
    let sql = "UPDATE checkpoints SET written = 2, attempt = 2, r_f = 8 WHERE id = 3";
    journal.db.execute(sql, []).expect("written");
    journal.db.execute("UPDATE checkpoints SET invariance = NULL", []).expect("written");
    journal.db.execute("UPDATE checkpoints SET r_f = 0.5 WHERE id = 9", []).expect("written");
    let glance = journal.glance(7).expect("read");
    assert_eq!(glance.latest.and_then(|latest| latest.step), Some(3));
    assert_eq!(glance.best.and_then(|best| best.step), Some(1), "not the earlier attempt's step 9");
    assert_eq!(journal.figures(7).expect("read").step, Some(3.0));
}

#[test]
fn without_a_rule_the_best_is_that_by_the_best_evidence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    of_version(&path, VERSIONS.len(), 10);
    let journal = Journal::open(&path).expect("up to date");
    journal.db.execute("UPDATE events SET body = json_set(body, '$.type', 'measured')", []).expect("written");
    journal.db.execute("UPDATE checkpoints SET step = 0 WHERE id = 1", []).expect("written");
    // R_f is least early on; of the rest each says another step, and the better evidence counts.
    for (column, value, best) in [
        ("invariance", "iif(id = 8, 0.9, 0.5)", 8),
        ("predicted_error", "iif(id = 1, 0.1, abs(step - 7))", 7),
        ("probe_error", "abs(step - 6)", 6),
        ("val_error", "abs(step - 9)", 9),
    ] {
        let sql = format!("UPDATE checkpoints SET {column} = {value}");
        journal.db.execute(&sql, []).expect("written");
        let found = journal.glance(7).expect("read").best.and_then(|best| best.step);
        assert_eq!(found, Some(best), "{column}");
    }
}

#[test]
fn rules_on_several_monitors_see_the_runs_beside_in_each() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    of_version(&path, VERSIONS.len(), 3);
    let mut journal = Journal::open(&path).expect("up to date");
    let sql = "UPDATE runs SET path = '/group/own' WHERE id = 7;
               UPDATE checkpoints SET val_error = 0.9, r_f = 9;
               INSERT INTO runs (id, path) VALUES (8, '/group/other'), (9, '/group/other/deeper');
               INSERT INTO checkpoints (run, path, raw_path, fingerprint, plan, state, step, written, r_f, val_error, stride)
               SELECT run.id, c.path, c.raw_path, 'f', 'k', 1, c.step, 0, 0.5, iif(c.step = 2, NULL, 0.25), 1
               FROM checkpoints AS c, (SELECT 8 AS id UNION SELECT 9) AS run WHERE c.run = 7";
    journal.db.execute_batch(sql).expect("written");
    let rules = ["r_f", "val_error", "r_f", "auto"].map(|monitor| {
        format!("kind=median,least_runs=1,start_from=3,monitor={monitor}").parse::<Rule>().expect("a rule")
    });
    journal.judge(7, Some(&rules)).expect("judged");
    let (verdicts, _) = journal.verdicts(7).expect("read");
    let compared = |verdict: &Verdict| verdict.stop.as_ref().map(|stop| stop.compared.clone()).unwrap_or_default();
    let values: Vec<_> = verdicts.iter().map(|verdict| (verdict.monitor, compared(verdict)[0].value)).collect();
    let expected = [(Monitor::RF, 0.5), (Monitor::ValError, 0.25), (Monitor::RF, 0.5), (Monitor::ValError, 0.25)];
    assert_eq!(values, expected);
    assert!(verdicts.iter().all(|verdict| compared(verdict).len() == 1), "runs below another are not beside");
}

#[test]
fn an_alert_is_raised_again_after_the_clock_was_set_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    of_version(&path, VERSIONS.len(), 3);
    let mut journal = Journal::open(&path).expect("up to date");
    let alerts: [Alert; 1] = ["on=threshold,monitor=val_error,above=0.5,for=10s".parse().expect("an alert")];
    let hour = 3_600_000;
    let now = jiff::Timestamp::now().as_millisecond() - 20_000;
    let mut look = |val_error: f64, now: i64| {
        journal.annotate(7, &CheckpointName::Step(5), val_error, None).expect("told");
        let standing = Standing { is_caught: true, ..Standing::default() };
        let (next, lines) = journal.alert(7, &alerts, standing, now).expect("looked at");
        for seq in lines.iter().map(|line| line.seq) {
            journal.set_alert_told(7, seq, super::ALL_TOLD).expect("told");
        }
        (next.map(|next| next - now), lines.len())
    };
    assert_eq!(look(0.9, now), (Some(10_000), 0));
    assert_eq!(look(0.9, now + 10_000), (None, 1));
    // It is raised: not again, whatever the clock says, while it holds.
    assert_eq!(look(0.9, now - hour), (None, 0));
    assert_eq!(look(0.1, now - hour), (None, 0));
    assert_eq!(look(0.9, now - hour), (Some(10_000), 0));
    assert_eq!(look(0.9, now - 2 * hour), (Some(10_000), 0), "it lasts anew");
    assert_eq!(look(0.9, now - 2 * hour + 10_000), (None, 1));
}

#[test]
fn a_file_from_a_time_to_come_keeps_no_stall_silent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    of_version(&path, VERSIONS.len(), 3);
    let mut journal = Journal::open(&path).expect("up to date");
    let now = jiff::Timestamp::now().as_millisecond();
    let sql = "UPDATE checkpoints SET written = 1000000 * (?1 + iif(id = 1, 1e9, 0))";
    journal.db.execute(sql, [now]).expect("written");
    let alerts: [Alert; 1] = ["on=stall,after=10s".parse().expect("an alert")];
    let standing = || Standing { is_caught: true, ..Standing::default() };
    let mut look = |now: i64| journal.alert(7, &alerts, standing(), now).expect("looked at");
    let (next, lines) = look(now);
    assert_eq!((next, lines.len()), (Some(now + 10_000), 0));
    assert_eq!(look(now + 10_000).1.len(), 1);
}

#[test]
fn earlier_times_of_an_alert_wait_to_be_told_and_of_too_many_only_how_many() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    of_version(&path, VERSIONS.len(), 3);
    let alerts: [Alert; 1] = ["on=threshold,monitor=val_error,above=0.5".parse().expect("an alert")];
    let raise = |times: usize| -> Vec<i64> {
        let mut journal = Journal::open(&path).expect("opened");
        let mut look = |val_error: f64| {
            // Another time begins in another millisecond.
            std::thread::sleep(std::time::Duration::from_millis(2));
            journal.annotate(7, &CheckpointName::Step(5), val_error, None).expect("told");
            let now = jiff::Timestamp::now().as_millisecond();
            journal.alert(7, &alerts, Standing::default(), now).expect("looked at").1
        };
        (0..times)
            .map(|_| {
                let lines = look(0.9);
                assert!(lines.len() == 1 && look(0.9).is_empty() && look(0.1).is_empty(), "each time is raised once");
                lines[0].seq
            })
            .collect()
    };
    let untold = || {
        let all = Journal::open(&path).expect("opened").untold_alerts(7).expect("read");
        assert!(all.iter().all(|one| one.rule == alerts[0].key()));
        all
    };
    let seqs = || untold().iter().map(|one| one.seq).collect::<Vec<_>>();
    let raised = raise(20);
    assert_eq!(seqs(), [&raised[..16], &raised[19..]].concat());
    let counted = |text: &str| text.contains("after 3 more times");
    assert_eq!(untold().iter().map(|one| counted(&one.event)).collect::<Vec<_>>()[15..], [false, true]);
    Journal::open(&path).expect("opened").set_alert_told(7, raised[0], super::ALL_TOLD).expect("told");
    let more = raise(1);
    assert_eq!(seqs(), [&raised[1..16], &raised[19..], &more].concat());
    assert_eq!(untold().iter().map(|one| counted(&one.event)).collect::<Vec<_>>()[14..], [false, true, false]);
    let told: Vec<_> = untold().iter().map(|one| (one.rule.clone(), counted(&one.event))).collect();

    let mut journal = Journal::open(&folder.path().join("other.sqlite")).expect("made");
    journal.adopt(&path, |_| true).expect("taken over");
    let run = journal.runs().expect("read")[0].0;
    let all = journal.untold_alerts(run).expect("read");
    assert_eq!(all.iter().map(|one| (one.rule.clone(), counted(&one.event))).collect::<Vec<_>>(), told);
    assert_eq!(journal.past(run, 0).expect("read").alerts.len(), 1, "the latest time is shown");
    for one in &all {
        journal.set_alert_told(run, one.seq, super::ALL_TOLD).expect("told");
    }
    assert!(journal.untold_alerts(run).expect("read").is_empty());
}

#[test]
fn a_later_version_and_something_else_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    Journal::open(&path).expect("made").db.pragma_update(None, "user_version", 99).expect("updated");
    let error = Journal::open(&path).expect_err("from the future").to_string();
    assert!(error.contains("99"), "{error}");
    std::fs::write(&path, "no database, but long enough to look like a file of one").expect("written");
    Journal::open(&path).expect_err("damaged");
}

#[test]
fn a_long_run_is_thinned_evenly_and_keeps_its_end_and_its_best() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal.sqlite");
    of_version(&path, 1, 1000);
    let series = Journal::open(&path).expect("brought up").series(7, 100).expect("read");
    let steps: Vec<i64> = series.step.into_iter().flatten().collect();
    assert!(steps.is_sorted() && steps[..2] == [1, 5], "the best by R_f, and of equal EI the latest: {steps:?}");
    assert_eq!(steps[steps.len() - 16..], (985..=1000).collect::<Vec<_>>());
    let even: Vec<_> = steps[2..].iter().take_while(|step| **step < 985).collect();
    assert!((40..=100).contains(&even.len()), "{}", even.len());
    assert!(even.windows(2).all(|pair| (14..=18).contains(&(pair[1] - pair[0]))), "{even:?}");
}
