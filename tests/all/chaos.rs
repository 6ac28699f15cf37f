//! Everything at once: kills, stops, full disks, clocks that step, directories that go and come back, a journal that others
//! hold, clients that come, go and stall. Each content has one outcome, and no event is missing.
//!
//! `RELSTAB_CHAOS=1000 cargo test --test all chaos -- --nocapture`, as root and with Debian's faketime, tries all of it on 1,000
//! checkpoints; without them, disks do not fill and clocks do not step. `RELSTAB_CHAOS_SEED` draws another course.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::daemon::{Client, Daemon, Place, fill, send_signal};
use crate::common::{Dice, pause, variable};
use relstab::journal::{Journal, State};
use rustix::process::Signal;
use serde_json::json;

/// A small disk for the journal, where one may be mounted.
struct Disk(PathBuf);

impl Disk {
    fn mounted(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("created");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(at);
        mount.output().is_ok_and(|done| done.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

struct Chaos {
    dice: Dice,
    stalled: Vec<Client>,
    trouble: BTreeMap<&'static str, usize>,
    // They end in this order.
    daemon: Option<Daemon>,
    disk: Option<Disk>,
    place: Place,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut place = Place::new();
        place.log_level = "warn";
        let is_full = std::env::var_os("RELSTAB_CHAOS").is_some();
        let disk = is_full.then(|| Disk::mounted(place.journal().parent().expect("a folder"))).flatten();
        if is_full && Path::new(FAKETIME).exists() {
            let clock = place.path().join("clock");
            fs::write(&clock, "+0").expect("written");
            place.environment = vec![
                ("LD_PRELOAD", FAKETIME.to_owned()),
                ("FAKETIME_TIMESTAMP_FILE", clock.to_string_lossy().into_owned()),
                ("FAKETIME_NO_CACHE", "1".to_owned()),
                ("NO_FAKE_STAT", "1".to_owned()),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ];
        }
        Self { dice: Dice(seed), stalled: Vec::new(), trouble: BTreeMap::new(), daemon: None, disk, place }
    }

    fn daemon(&mut self) -> &Daemon {
        let place = &self.place;
        let ended = self.daemon.as_mut().and_then(|daemon| daemon.child.try_wait().expect("a child"));
        assert!(ended.is_none(), "the daemon ended by itself ({ended:?}): {}", place.log());
        self.daemon.get_or_insert_with(|| Daemon::start(place, &["--attempts", "1000", "--workers", "2"]))
    }

    /// Something happens.
    fn trouble(&mut self) {
        const KINDS: [&str; 9] = ["kill", "stop", "worker", "disk", "clock", "rename", "lock", "visit", "stall"];
        let kind = KINDS[self.dice.below(KINDS.len() as u64) as usize];
        let process = self.daemon().child.id();
        match kind {
            "kill" => self.daemon.take().expect("it runs").kill(),
            "stop" => {
                send_signal(process, Signal::STOP);
                pause(self.dice.below(200));
                send_signal(process, Signal::CONT);
            }
            "worker" => {
                let signal = [Signal::KILL, Signal::STOP, Signal::TERM, Signal::ABORT][self.dice.below(4) as usize];
                let workers = self.daemon().workers();
                for worker in &workers {
                    send_signal(*worker, signal);
                }
                pause(self.dice.below(100));
                for worker in &workers {
                    send_signal(*worker, Signal::CONT);
                }
            }
            "disk" => {
                let Some(Disk(folder)) = &self.disk else { return };
                let filler = folder.join("filler");
                fill(&filler);
                pause(self.dice.below(400));
                fs::remove_file(filler).expect("removed");
            }
            "clock" => {
                if self.place.environment.is_empty() {
                    return;
                }
                let offset = ["+1y", "-1y", "+10s", "-10s", "+0"][self.dice.below(5) as usize];
                fs::write(self.place.path().join("clock"), offset).expect("written");
            }
            "rename" => {
                let away = self.place.path().join("away");
                fs::rename(self.place.run(), &away).expect("renamed");
                pause(self.dice.below(200));
                fs::rename(away, self.place.run()).expect("renamed");
            }
            "lock" => {
                // Rarely longer than the daemon waits for it.
                let most = if self.dice.below(20) == 0 { 7000 } else { 300 };
                let Ok(db) = rusqlite::Connection::open(self.place.journal()) else { return };
                let _ = db.busy_timeout(Duration::from_secs(5));
                if db.execute_batch("BEGIN IMMEDIATE").is_ok() {
                    pause(self.dice.below(most));
                }
            }
            "visit" => drop(Client::subscribed(self.daemon(), 0)),
            _ => {
                let client = Client::subscribed(self.daemon(), 0);
                self.stalled.push(client);
                if self.stalled.len() > 20 {
                    self.stalled.clear();
                }
            }
        }
        *self.trouble.entry(kind).or_default() += 1;
    }

    fn measured(&self) -> u64 {
        let Ok(journal) = Journal::read(&self.place.journal()) else { return 0 };
        let run = journal.runs().unwrap_or_default().first().map(|(id, _)| *id);
        run.and_then(|run| journal.counts(run).ok()?.get(&State::Measured).copied()).unwrap_or(0)
    }
}

#[test]
fn whatever_happens_each_content_has_one_outcome_and_no_event_is_missing() {
    let (count, started) = (variable("RELSTAB_CHAOS", 24), Instant::now());
    let mut chaos = Chaos::new(variable("RELSTAB_CHAOS_SEED", 11));
    for step in 1..=count {
        chaos.daemon();
        chaos.place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        if chaos.dice.below(2) == 0 {
            chaos.trouble();
        }
        pause(chaos.dice.below(60));
    }
    chaos.stalled.clear();
    let patience = Instant::now() + Duration::from_mins(2 + count / 10);
    while chaos.measured() < count {
        chaos.daemon();
        assert!(Instant::now() < patience, "{} of {count}: {}", chaos.measured(), chaos.place.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let answer = chaos.daemon().client().ask(&json!({"type": "status"}));
    assert_eq!((&answer["journal_writable"], &answer["runs"][0]["failed"]), (&json!(true), &json!(0)), "{answer}");
    let events = chaos.place.events();
    assert!(events.iter().zip(1..).all(|(event, seq)| event["seq"] == seq), "a gap among {} events", events.len());
    let outcomes = chaos.place.outcomes("measured");
    assert!(outcomes.len() as u64 == count && outcomes.values().all(|times| *times == 1), "{outcomes:?}");
    eprintln!("{count} checkpoints in {:.0?}, {} events: {:?}", started.elapsed(), events.len(), chaos.trouble);
}
