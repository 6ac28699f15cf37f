//! `relstab wait` and `status` where the daemon has seen nothing yet, and where another takes the run over.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::common::command::{json, text};
use crate::common::daemon::{Client, Daemon, Place, eventually};

/// A command about the run, which finds journals and daemons by itself.
fn command(place: &Place, name: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relstab"));
    command.arg(name).arg(place.run()).args(more).env("XDG_STATE_HOME", place.home());
    command
}

/// A `relstab wait` that goes on; killed when dropped.
struct Waiting(Child);

impl Waiting {
    /// Gives its first words on standard error, too.
    fn start(place: &Place, more: &[&str]) -> (Self, String) {
        let mut child = command(place, "wait", more).stderr(Stdio::piped()).spawn().expect("the command starts");
        let mut words = String::new();
        let said = child.stderr.as_mut().expect("piped");
        BufReader::new(said).read_line(&mut words).expect("a line");
        (Self(child), words)
    }

    /// Its exit code, if it has ended.
    fn ended(&mut self) -> Option<i32> {
        self.0.try_wait().expect("a child")?.code()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_that_has_seen_no_checkpoint_is_known_and_waited_for() {
    let place = Place::new();
    let (mut early, words) = Waiting::start(&place, &[]);
    assert!(words.contains("no journal knows") && words.contains("waiting for relstab watch"), "{words}");
    let told = command(&place, "status", &[]).output().expect("it runs");
    assert!(told.status.code() == Some(12) && text(&told).contains("no daemon runs"), "{}", text(&told));

    let daemon = Daemon::start_after(&place, "true", &[place.run()], &[]);
    let told = command(&place, "status", &[]).output().expect("it runs");
    let words = [format!("daemon {}", daemon.child.id()), format!("{}: watched, no checkpoint", place.run_name())];
    assert!(told.status.success() && words.iter().all(|words| text(&told).contains(words)), "{}", text(&told));
    let told = json(&command(&place, "status", &["--format", "json"]).output().expect("it runs"));
    assert_eq!((&told[0]["runs"][0]["run"], &told[0]["runs"][0]["measured"]), (&place.run_name().into(), &0.into()));
    let other = place.add_run("other");
    let mut told = Command::new(env!("CARGO_BIN_EXE_relstab"));
    told.arg("status").arg(other).env("XDG_STATE_HOME", place.home());
    assert_eq!(told.output().expect("it runs").status.code(), Some(12), "it watches no other directory");

    let (mut late, words) = Waiting::start(&place, &[]);
    assert!(words.contains("a daemon watches") && words.contains("has seen no checkpoint yet"), "{words}");
    let timed = command(&place, "wait", &["--timeout", "300ms"]).output().expect("it runs");
    assert_eq!(timed.status.code(), Some(13), "{}", text(&timed));
    assert_eq!((early.ended(), late.ended()), (None, None), "both wait");
    place.rename_in("step_1.onnx", "one");
    eventually("both return", || early.ended() == Some(0) && late.ended() == Some(0));
    let run = place.run().canonicalize().expect("there");
    std::fs::rename(&run, place.path().join("away")).expect("moved");
    let told = Command::new(env!("CARGO_BIN_EXE_relstab"))
        .arg("status")
        .arg(&run)
        .env("XDG_STATE_HOME", place.home())
        .output();
    let told = told.expect("it runs");
    assert!(told.status.success() && text(&told).contains("1 measured"), "one that is away is known: {}", text(&told));
}

#[test]
fn a_run_that_another_daemon_takes_over_is_waited_for_in_its_journal() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let daemon = Daemon::start_after(&place, "true", &[place.run()], &[]);
    Client::subscribed(&daemon, 0).next_of("measured");
    let (mut waiting, words) = Waiting::start(&place, &["--step", "2"]);
    assert!(words.contains("waiting for step 2"), "{words}");
    assert_eq!(daemon.end(), Some(0));

    // Of two directories it keeps another journal, and the first one forgets the run.
    let both = [place.run(), place.add_run("second")];
    let _daemon = Daemon::start_after(&place, "true", &both, &[]);
    eventually("it is taken over", || place.log().contains("taken over: 1 runs"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(waiting.ended(), None, "it waits on");
    place.rename_in("step_2.onnx", "two");
    eventually("it returns", || waiting.ended() == Some(0));
}

#[test]
fn a_journal_that_its_daemon_is_about_to_fill_is_waited_for() {
    let place = Place::new();
    let journal = place.journal();
    std::fs::create_dir_all(journal.parent().expect("a folder")).expect("made");
    std::fs::write(&journal, "").expect("made");
    let named = ["--journal", journal.to_str().expect("a name")];
    let (mut waiting, words) = Waiting::start(&place, &named);
    assert!(words.contains("no journal knows"), "{words}");
    place.rename_in("step_1.onnx", "one");
    let _daemon = Daemon::start_after(&place, "true", &[place.run()], &named);
    eventually("it returns", || waiting.ended() == Some(0));
}
