//! Whose turn it is in a run's queue, and what its rules make of checkpoints that overtake each other.

use std::path::{Path, PathBuf};

use crate::journal::record;
use relstab::journal::{Job, Journal, Outcome, Policy, Sighting};
use relstab::stop::Rule;

struct Queue {
    _folder: tempfile::TempDir,
    journal: Journal,
    run: i64,
}

impl Queue {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut journal = Journal::open(&folder.path().join("journal.sqlite")).expect("made");
        let run = journal.run_id("/run").expect("a run");
        Self { _folder: folder, journal, run }
    }

    fn see(&mut self, path: &str, step: Option<u64>, written: i64, due: i64) {
        let (path, due) = (Path::new(path), Some(due));
        let sighting =
            Sighting { run: self.run, path, fingerprint: "f", plan: "plan", step, epoch: None, written, due };
        self.journal.see(&[sighting]).expect("queued");
    }

    fn next(&mut self, now: i64, policy: Policy) -> Option<Job> {
        self.journal.next(now, 0, &[], policy).expect("read").0
    }

    /// Writes down that a checkpoint was measured at this step; gives the kinds of the events.
    fn measured(&mut self, job: &Job, step: u64, r_f: f64, rules: Option<&[Rule]>) -> Vec<&'static str> {
        let mut record = record();
        (record.metadata.step, record.model.sha256) = (Some(step), step.to_string());
        record.r_f.as_mut().expect("defined").value = r_f;
        let outcome = Outcome::Measured { settings: "plan".to_owned(), measurement: Box::new(record), strip: None };
        let lines = self.journal.finish(job, &outcome, rules).expect("written");
        lines.iter().map(|line| line.kind).collect()
    }
}

#[test]
fn a_policy_counts_in_training_order_also_what_settles_a_moment_later() {
    let mut queue = Queue::new();
    for (path, step, due) in [("two", 2, 10), ("one", 1, 11), ("three", 3, 12)] {
        queue.see(path, Some(step), 0, due);
    }
    let mut next = |now| queue.next(now, Policy::Every(2)).map(|job| job.path);
    assert_eq!(next(10), None, "step 2 is the second");
    assert_eq!(next(11), Some(PathBuf::from("one")));
    assert_eq!(next(12), Some(PathBuf::from("three")));
}

#[test]
fn the_latest_of_checkpoints_without_a_step_in_their_names_is_the_last_written() {
    let mut queue = Queue::new();
    queue.see("early", None, 1, 0);
    let job = queue.next(1, Policy::Latest).expect("due");
    // Its metadata tell a step.
    queue.measured(&job, 3, 0.5, None);
    queue.see("last", None, 2, 0);
    assert_eq!(queue.next(1, Policy::Latest).map(|job| job.path), Some(PathBuf::from("last")));
    queue.see("step 2", Some(2), 3, 0);
    assert_eq!(queue.next(1, Policy::Latest), None, "it is before step 3");
}

#[test]
fn a_stop_waits_for_an_earlier_checkpoint_that_is_in_hand() {
    let rules = ["monitor=r_f,patience=2".parse::<Rule>().expect("a rule")];
    for (earlier, stops) in [(0.4, false), (0.8, true)] {
        let mut queue = Queue::new();
        let paths = ["1", "2", "3", "4"];
        for (path, step) in paths.iter().zip(1..) {
            queue.see(path, Some(step), 0, 0);
        }
        let jobs = paths.map(|_| queue.next(1, Policy::All).expect("due"));
        let mut finish = |k: usize, r_f| {
            let kinds = queue.measured(&jobs[k - 1], k as u64, r_f, Some(&rules));
            kinds.contains(&"stop")
        };
        assert!(!finish(1, 0.5) && !finish(2, 0.6) && !finish(4, 0.7), "step 3 may be better");
        assert_eq!(finish(3, earlier), stops, "{earlier}");
    }
}
