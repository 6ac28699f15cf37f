//! What the daemon holds in memory does not grow with what it has seen.
//! `RELSTAB_CHECKPOINTS=10000 cargo test --test all many:: -- --nocapture` measures 10,000 checkpoints instead of 300.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::daemon::{Daemon, Place, property};
use crate::common::{resident, variable};
use serde_json::{Value, json};

fn checkpoints() -> usize {
    variable("RELSTAB_CHECKPOINTS", 300) as usize
}

fn counted(status: &Value, run: &str, of: &[&str]) -> u64 {
    let runs = status["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    let runs = runs.iter().filter(|found| found["run"].as_str().is_some_and(|path| path.ends_with(run)));
    runs.flat_map(|run| of.iter().map(|kind| run[*kind].as_u64().unwrap_or(0))).sum()
}

#[test]
fn a_long_run_takes_no_more_memory_than_a_short_one() {
    let mut place = Place::new();
    place.log_level = "warn";
    let daemon = Daemon::start(&place, &["--images", "4"]);
    let mut after_hundred = 0;
    for number in (0..checkpoints()).step_by(100) {
        for step in number..number + 100 {
            place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        }
        let all = number as u64 + 100;
        let patience = Instant::now() + Duration::from_mins(5);
        loop {
            let status = daemon.client().ask(&json!({"type": "status"}));
            if counted(&status, "/run", &["measured"]) == all {
                break;
            }
            assert!(Instant::now() < patience, "{status}");
            std::thread::sleep(Duration::from_millis(50));
        }
        for step in number..number + 100 {
            fs::remove_file(place.run().join(format!("step_{step}.onnx"))).expect("removed");
        }
        if number == 0 {
            after_hundred = resident(&daemon);
        }
    }
    let now = resident(&daemon);
    eprintln!("{} KiB after 100 checkpoints, {} KiB after {}", after_hundred >> 10, now >> 10, checkpoints());
    assert!(now < after_hundred + (2 << 20), "{after_hundred} bytes after 100 checkpoints, {now} now");
}

/// Files of at most 1 MB of every kind that a run may hold: the corpus of the parsers, and large ones by hand.
fn files() -> Vec<Vec<u8>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let folders = fs::read_dir(corpus).expect("a corpus").flatten();
    let files = folders.flat_map(|folder| fs::read_dir(folder.path()).expect("a folder").flatten());
    let mut all: Vec<_> = files.map(|file| fs::read(file.path()).expect("read")).collect();
    let million = |text: &str| text.repeat(1_000_000 / text.len()).into_bytes();
    all.extend(["[", "{\"a\":", "a.", "[[stop]]\n", "\0", "\u{a}\0", "x = [", "\"\\u0000"].map(million));
    // Empty nodes in a graph; metadata without end.
    let nodes = million("\u{a}\0");
    all.push([b"\x08\x08\x3a\xa0\xf7\x36".as_slice(), &nodes[..900_000]].concat());
    all.push((0..40_000).flat_map(|number| property(&format!("relstab.k{number}"), "v")).collect());
    all.retain(|file| file.len() <= 1 << 20);
    all
}

#[test]
fn no_small_file_makes_the_daemon_deaf_or_large() {
    let mut place = Place::new();
    place.log_level = "error";
    let files = files();
    let options = ["--recursive", "--give-up", "1s", "--attempts", "1", "--timeout", "20s", "--memory-limit", "2GiB"];
    let daemon = Daemon::start(&place, &options);
    let mut longest = Duration::ZERO;
    let mut ask = || {
        let started = Instant::now();
        let status = daemon.client().ask(&json!({"type": "status"}));
        longest = longest.max(started.elapsed());
        status
    };
    ask();
    let before = resident(&daemon);
    let is_full = std::env::var_os("RELSTAB_CHECKPOINTS").is_some();
    let chosen: Vec<_> = files.iter().enumerate().filter(|(number, _)| is_full || number % 8 == 0).collect();
    for (number, bytes) in &chosen {
        place.put(format!("step_{number}.onnx"), bytes);
        place.put(format!("noted/step_{number}.onnx.json"), bytes);
        place.rename_in(format!("noted/step_{number}.onnx"), "noted");
        let config = place.run().join(format!("config{number}"));
        fs::create_dir(&config).expect("created");
        fs::write(config.join("relstab.toml"), bytes).expect("written");
        place.rename_in(format!("config{number}/step_1.onnx"), "configured");
    }
    let all = chosen.len() as u64;
    let patience = Instant::now() + Duration::from_mins(if is_full { 20 } else { 2 });
    loop {
        let status = ask();
        let of = ["measured", "failed", "skipped"];
        if counted(&status, "/run", &of) == all && counted(&status, "/noted", &of) == all {
            break;
        }
        assert!(Instant::now() < patience, "{status}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let grown = resident(&daemon).saturating_sub(before);
    eprintln!("{all} files: longest answer {longest:?}, grown by {} KiB", grown >> 10);
    assert!(grown < 20 << 20, "grown by {grown} bytes");
}
