//! Directories as trainers lay them out: which folders are steps, which are runs, and how their names are read.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use crate::common::daemon::{Client, Daemon, Place, eventually, name_of};
use serde_json::Value;

/// `watch --once` of the place: for each measured checkpoint its run's name, its own below that, and its step, in order; and
/// what was said.
fn once(place: &Place, more: &[&str]) -> (Vec<(String, String, Option<u64>)>, String) {
    let root = place.run().to_str().expect("UTF-8").to_owned();
    let flags = ["--backend", "tract", "--images", "20", "--draws", "1", "--format", "json"];
    let output = crate::common::relstab(&[&["watch", &root, "--once"], &flags[..], more].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let measured = events.map(|event| {
        let run = event["run"].as_str().expect("a run").to_owned();
        let path = event["measurement"]["model"]["path"].as_str().unwrap_or_else(|| panic!("{event}"));
        let below = path.strip_prefix(&root).and_then(|path| path.strip_prefix('/')).unwrap_or(path).to_owned();
        let run = run.rsplit('/').next().unwrap_or_default().to_owned();
        (run, below, event["measurement"]["metadata"]["step"].as_u64())
    });
    (measured.collect(), said)
}

fn runs_of(measured: &[(String, String, Option<u64>)]) -> BTreeSet<&str> {
    measured.iter().map(|(run, ..)| run.as_str()).collect()
}

/// A network without a step in its metadata.
fn put(place: &Place, name: &str) {
    place.put(name, &fs::read(crate::common::project("tests/fixtures/plain.onnx")).expect("a fixture"));
}

#[test]
fn folders_of_steps_are_known_by_their_whole_names() {
    let place = Place::of_fixtures();
    let names = [
        ("global_step42", 42),
        ("iter_0001000", 1000),
        ("checkpoint-1200", 1200),
        ("epoch=3-step=1300", 1300),
        ("step_5000", 5000),
        ("step=6000.ckpt", 6000),
        ("step_10k", 10_000),
    ];
    for (name, _) in names {
        put(&place, &format!("{name}/model.onnx"));
    }
    put(&place, "ckpt-1e4.5/model.onnx");
    put(&place, "tmp-checkpoint-7/model.onnx");
    put(&place, "epoch50_lr0.1/model.onnx");
    let (measured, said) = once(&place, &[]);
    let found: Vec<_> = measured.iter().map(|(_, path, step)| (path.trim_end_matches("/model.onnx"), *step)).collect();
    assert_eq!(found, names.map(|(name, step)| (name, Some(step))));
    assert!(said.contains("epoch50_lr0.1") && said.contains("--recursive"), "{said}");
}

#[test]
fn settings_in_names_make_runs_that_keep_their_steps() {
    let place = Place::of_fixtures();
    for run in ["epoch50_lr0.1", "epoch50_lr0.01", "max_step_5000_seed0"] {
        for step in ["step_30.onnx", "step_6000.onnx"] {
            put(&place, &format!("{run}/{step}"));
        }
    }
    let (measured, _) = once(&place, &["--recursive"]);
    assert_eq!(runs_of(&measured), ["epoch50_lr0.01", "epoch50_lr0.1", "max_step_5000_seed0"].into());
    assert_eq!(measured.len(), 6);
    assert!(measured.chunks(2).all(|run| (run[0].2, run[1].2) == (Some(30), Some(6000))), "{measured:?}");

    // In words, each table has its run above it.
    let root = place.run().to_str().expect("UTF-8").to_owned();
    let flags = ["--once", "--recursive", "--backend", "tract", "--images", "20", "--draws", "1"];
    let tables = crate::common::relstab(&[&["watch", &root], &flags[..]].concat()).stdout;
    let tables = String::from_utf8_lossy(&tables).into_owned();
    let named: BTreeSet<_> = tables.lines().filter_map(|line| line.strip_prefix(&root)).collect();
    assert_eq!(named, ["/epoch50_lr0.01", "/epoch50_lr0.1", "/max_step_5000_seed0"].into(), "{tables}");
}

#[test]
fn folders_of_bare_numbers_are_steps_only_if_each_holds_one_checkpoint() {
    let place = Place::of_fixtures();
    for name in ["100/model.onnx", "20/model.onnx"] {
        put(&place, name);
    }
    let (measured, said) = once(&place, &[]);
    let found: Vec<_> = measured.iter().map(|(_, path, step)| (path.as_str(), *step)).collect();
    assert_eq!(found, [("20/model.onnx", Some(20)), ("100/model.onnx", Some(100))]);
    assert!(said.contains("are taken for steps"), "{said}");

    put(&place, "20/other.onnx");
    let (measured, said) = once(&place, &["--recursive"]);
    assert_eq!(runs_of(&measured), ["100", "20"].into());
    assert!(measured.iter().all(|(_, _, step)| step.is_none()) && measured.len() == 3, "{measured:?}");
    assert!(said.contains("are taken for runs"), "{said}");
}

#[test]
fn a_daemon_takes_numbered_folders_for_runs_once_one_holds_more() {
    let place = Place::of_fixtures();
    let daemon = Daemon::start(&place, &["--recursive"]);
    let mut client = Client::subscribed(&daemon, 0);
    // Seeds: the first checkpoint of each tells another step than its folder.
    for name in ["0/step_1.onnx", "1/step_1.onnx", "0/step_2.onnx", "1/step_2.onnx"] {
        put(&place, name);
    }
    let outcomes = client.outcomes(4);
    let runs: BTreeSet<_> = outcomes.iter().filter_map(|event| event["run"].as_str()?.rsplit('/').next()).collect();
    assert_eq!(runs, ["0", "1"].into(), "{outcomes:?}");
    assert!(place.log().contains("are taken for runs"), "{}", place.log());

    // Steps, one after another; then one folder holds a second checkpoint.
    put(&place, "steps/100/model.onnx");
    put(&place, "steps/200/model.onnx");
    let outcomes = client.outcomes(2);
    assert!(
        outcomes.iter().all(|event| event["run"].as_str().is_some_and(|run| run.ends_with("/steps"))),
        "{outcomes:?}"
    );
    eventually("it is said", || place.log().contains("steps: folders named by a number are taken for steps"));
    put(&place, "steps/200/other.onnx");
    let runs: BTreeSet<_> = client.outcomes(3).iter().map(|event| event["run"].to_string()).collect();
    assert!(
        runs.iter().any(|run| run.contains("/steps/100")) && runs.iter().any(|run| run.contains("/steps/200")),
        "{runs:?}"
    );
}

#[test]
fn a_folder_that_is_renamed_when_it_is_whole_is_measured_once() {
    let place = Place::of_fixtures();
    let daemon = Daemon::start(&place, &["--recursive"]);
    let mut client = Client::subscribed(&daemon, 0);
    put(&place, "tmp-checkpoint-10/model.onnx");
    // Longer than a closed file must rest.
    std::thread::sleep(std::time::Duration::from_millis(700));
    fs::rename(place.run().join("tmp-checkpoint-10"), place.run().join("checkpoint-10")).expect("renamed");
    let event = client.next_of("measured");
    assert_eq!((&event["run"], &event["measurement"]["metadata"]["step"]), (&place.run_name().into(), &10.into()));
    assert_eq!(place.outcomes("checkpoint_seen").values().sum::<usize>(), 1, "{:?}", place.events());
}

#[test]
fn a_step_beyond_all_numbers_comes_last_and_is_its_own() {
    let place = Place::of_fixtures();
    let steps = ["step_1.onnx", "step_9223372036854775808.onnx", "step_18446744073709551615.onnx", "step_3.onnx"];
    for name in steps {
        put(&place, name);
    }
    let daemon = Daemon::start(&place, &[]);
    let mut client = Client::subscribed(&daemon, 0);
    client.outcomes(4);
    let output = place.ask("history", &["--format", "json"]);
    let history: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let names: Vec<_> = history.iter().filter_map(|entry| entry["path"].as_str()?.rsplit('/').next()).collect();
    assert_eq!(names[..2], ["step_1.onnx", "step_3.onnx"], "{names:?}");
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(once(&place, &[]).0[3].2, Some(u64::MAX));
}

#[test]
fn names_that_print_alike_are_two_checkpoints() {
    let place = Place::of_fixtures();
    let names: [&[u8]; 2] = [b"a\xff.onnx", br"a\xff.onnx"];
    for name in names {
        let bytes = fs::read(crate::common::project("tests/fixtures/plain.onnx")).expect("a fixture");
        place.put(std::ffi::OsStr::from_bytes(name), &bytes);
    }
    let daemon = Daemon::start(&place, &[]);
    let mut found: Vec<_> = Client::subscribed(&daemon, 0).outcomes(2).iter().map(name_of).collect();
    found.sort();
    assert_eq!(found, [r"a\\xff.onnx", r"a\xff.onnx"]);
    // The path of the best one is one that the shell can open.
    let best = place.ask("best", &[]).stdout;
    let best = std::ffi::OsStr::from_bytes(best.trim_ascii_end());
    assert!(fs::metadata(best).is_ok(), "{best:?}");
}

#[test]
fn queued_checkpoints_outlive_a_directory_that_goes_away_and_comes_back() {
    let place = Place::new();
    for step in 1..=12 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    let daemon = Daemon::start(&place, &["--images", "100"]);
    Client::subscribed(&daemon, 0).next_of("measured");
    let kept = place.path().join("kept");
    fs::rename(place.run(), &kept).expect("moved away");
    eventually("the loss is said", || place.log().contains("waiting for it to come back"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    fs::rename(&kept, place.run()).expect("moved back");
    eventually("all are measured", || place.outcomes("measured").len() == 12);
    assert!(place.outcomes("measured").values().all(|count| *count == 1), "{:?}", place.outcomes("measured"));
    assert!(place.outcomes("failed").is_empty());
}

#[test]
fn a_mount_over_a_watched_directory_is_noticed_and_so_is_its_end() {
    let place = Place::of_fixtures();
    put(&place, "step_1.onnx");
    let Some(daemon) = Daemon::start_in_namespace(&place, "true", &["--probe", &probe()]) else { return };
    let mut client = Client::subscribed(&daemon, 0);
    assert_eq!(name_of(&client.next_of("measured")), "step_1.onnx");
    let inside = |command: &[&str]| {
        let id = daemon.child.id().to_string();
        let enter = ["--target", &id, "--user", "--mount", "--preserve-credentials"];
        let status = std::process::Command::new("nsenter").args(enter).args(command).status();
        status.is_ok_and(|status| status.success())
    };
    if !inside(&["mount", "-t", "tmpfs", "tmpfs", &place.run_name()]) {
        eprintln!("passed over: nsenter is forbidden here");
        return;
    }
    let mounted = format!("/proc/{}/root{}", daemon.child.id(), place.run_name());
    let network = fs::read(crate::common::project("tests/fixtures/softmax.onnx")).expect("a fixture");
    fs::write(std::path::Path::new(&mounted).join("step_2.onnx"), network).expect("written");
    assert_eq!(name_of(&client.next_of("measured")), "step_2.onnx");
    assert!(inside(&["umount", &place.run_name()]));
    place.bring("linear.onnx", "step_3.onnx");
    assert_eq!(name_of(&client.next_of("measured")), "step_3.onnx");
    assert!(place.outcomes("measured").values().all(|count| *count == 1), "{:?}", place.outcomes("measured"));
}

fn probe() -> String {
    crate::common::project("tests/fixtures/images.npz").to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_journal_that_other_machines_may_share_is_said() {
    let place = Place::of_fixtures();
    for name in ["state", "lower", "upper", "work"] {
        fs::create_dir(place.path().join(name)).expect("created");
    }
    let path = |name: &str| place.path().join(name).display().to_string();
    let layers = format!("lowerdir={},upperdir={},workdir={}", path("lower"), path("upper"), path("work"));
    let prepare = format!("mount -t overlay -o {layers} overlay {}", path("state"));
    let Some(_daemon) = Daemon::start_in_namespace(&place, &prepare, &[]) else { return };
    eventually("it is said", || place.log().contains("overlay") && place.log().contains("--journal PATH"));
}
