//! Checkpoints in other formats, which a command of the user's exports. Here they are networks packed by gzip, under the names and in the
//! folders of frameworks; the frameworks' own files are in `hooks/tests/test_native.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::command::{assert_refused, gzipped, json, text};
use crate::common::daemon::{Client, Daemon, Place, eventually, name_of, property};
use crate::common::{project, relstab};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What a checkpoint of these tests holds: a network that says no step.
fn packed(note: &str) -> Vec<u8> {
    let network = fs::read(project("tests/fixtures/plain.onnx")).expect("a fixture");
    gzipped(&[network, property("note", note)].concat())
}

/// A shell script, and the command for `--export` that runs it.
fn script(place: &Place, name: &str, text: &str) -> String {
    let path = place.path().join(name);
    fs::write(&path, text).expect("written");
    format!("sh '{}' {{checkpoint}} {{onnx}}", path.display())
}

/// Unpacks a file, or the file `part` of a folder.
fn unpacking(place: &Place) -> String {
    script(place, "export.sh", "from=\"$1\"; [ ! -d \"$1\" ] || from=\"$1/part\"; exec gunzip < \"$from\" > \"$2\"")
}

fn steps(events: &[Value]) -> BTreeMap<String, Option<u64>> {
    let measured = events.iter().filter(|event| event["type"] == "measured");
    measured.map(|event| (name_of(event), event["measurement"]["metadata"]["step"].as_u64())).collect()
}

/// Files that are left where checkpoints are exported to.
fn left(place: &Place) -> Vec<PathBuf> {
    let folder = place.journal().with_added_extension("exports");
    walkdir::WalkDir::new(folder).min_depth(1).into_iter().flatten().map(walkdir::DirEntry::into_path).collect()
}

fn is_alive(file: &Path) -> bool {
    let id = fs::read_to_string(file).expect("a process id");
    Path::new("/proc").join(id.trim()).join("exe").read_link().is_ok()
}

#[test]
fn files_and_folders_of_frameworks_are_measured_once_under_their_own_names() {
    let place = Place::of_fixtures();
    let export = unpacking(&place);
    place.put("step=1.pt", &packed("1"));
    let daemon = Daemon::start(&place, &["--export", &export, "--settle", "2s"]);
    let mut client = Client::subscribed(&daemon, 0);
    let mut outcomes = client.outcomes(1);
    // Of steps: one that is written bit by bit, with folders in it and names that match besides; one that Orbax is not done with.
    place.put("checkpoint-3/d/0/part", b"more");
    place.put("checkpoint-3/optimizer.pt", b"more");
    place.put("checkpoint-3/part", &packed("3"));
    place.put("20.orbax-checkpoint-tmp-7/part", &packed("20"));
    place.put("20.orbax-checkpoint-tmp-7/_CHECKPOINT_METADATA", b"{}");
    outcomes.extend(client.outcomes(1));
    fs::rename(place.run().join("20.orbax-checkpoint-tmp-7"), place.run().join("20")).expect("renamed");
    place.put("best.ckpt/part", &packed("best"));
    place.bring("plain.onnx", "step=4.onnx");
    outcomes.extend(client.outcomes(2));
    let expected = [("20", Some(20)), ("best.ckpt", None), ("checkpoint-3", Some(3)), ("step=1.pt", Some(1))];
    assert_eq!(steps(&outcomes), expected.map(|(name, step)| (name.to_owned(), step)).into(), "{}", place.log());
    let model = &outcomes[0]["measurement"]["model"];
    assert_eq!(model["sha256"], hex::encode(Sha256::digest(packed("1"))));
    assert!(model["path"].as_str().is_some_and(|path| path == format!("{}/step=1.pt", place.run_name())));
    eventually("nothing is left", || left(&place).is_empty());

    // The same content under a new time, and another daemon, measure nothing anew.
    place.put("step=1.pt", &packed("1"));
    fs::write(place.run().join("20/part"), packed("20")).expect("written");
    daemon.kill();
    let daemon = Daemon::start(&place, &["--export", &export]);
    place.put("step=5.safetensors", &packed("5"));
    let seq = outcomes.last().and_then(|event| event["seq"].as_i64()).expect("a number");
    assert_eq!(name_of(&Client::subscribed(&daemon, seq).next_of("measured")), "step=5.safetensors");
    assert!(place.outcomes("measured").values().all(|count| *count == 1), "{:?}", place.outcomes("measured"));
    // Another content does, also deep in a folder.
    fs::write(place.run().join("checkpoint-3/d/0/part"), b"other").expect("written");
    fs::write(place.run().join("checkpoint-3/note"), b"another").expect("written");
    eventually("measured again", || place.outcomes("measured")["checkpoint-3"] == 2);
}

#[test]
fn an_export_that_fails_costs_its_checkpoint_and_says_why() {
    let place = Place::of_fixtures();
    let export = script(
        &place,
        "export.sh",
        "case $1 in *step_1*) echo 'KeyError: no layer' >&2; exit 3;; *step_2*) exit 0;; *step_3*) echo text > \"$2\"; exit 0;; esac
         exec gunzip < \"$1\" > \"$2\"",
    );
    for step in 1..=4 {
        place.put(format!("step_{step}.ckpt"), &packed(&step.to_string()));
    }
    let daemon = Daemon::start(&place, &["--export", &export]);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(4);
    let reasons: Vec<_> = outcomes.iter().map(|event| event["reason"].as_str().unwrap_or("measured")).collect();
    for (reason, words) in
        reasons.iter().zip(["exit code 3: KeyError: no layer", "wrote no file", "its export wrote", "measured"])
    {
        assert!(reason.contains(words), "{reason}");
    }
    assert!(left(&place).is_empty(), "{:?}", left(&place));
    assert!(place.outcomes("failed").values().all(|count| *count == 1));
}

#[test]
fn an_export_that_hangs_or_grows_ends_with_all_that_it_started() {
    let place = Place::of_fixtures();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    let text = format!(
        "case $1 in *grows*) exec tail /dev/zero;; *hangs*) ;; *) exec gunzip < \"$1\" > \"$2\";; esac
         touch \"$2\"; echo $$ > '{}'; (sh -c 'echo $$ > \"{}\"; sleep 1000'; true) & sleep 1000",
        first.display(),
        second.display()
    );
    let export = script(&place, "export.sh", &text);
    for name in ["step_1_grows.pt", "step_2_hangs.pt", "step_3.pt"] {
        place.put(name, &packed(name));
    }
    let limits = ["--timeout", "15s", "--memory-limit", "300MiB", "--attempts", "1", "--export", &export];
    let daemon = Daemon::start(&place, &limits);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(3);
    let reasons: Vec<_> = outcomes.iter().map(|event| event["reason"].as_str().unwrap_or("measured")).collect();
    assert!(reasons[0].contains("its export needed more than") && reasons[0].contains("--memory-limit"), "{reasons:?}");
    assert!(reasons[1].contains("its export took longer than") && reasons[1].contains("--timeout"), "{reasons:?}");
    assert_eq!(reasons[2], "measured");
    eventually("all have ended", || ![&first, &second].into_iter().any(|file| is_alive(file)));
    assert!(left(&place).is_empty(), "{:?}", left(&place));

    // So do they when the daemon is killed.
    for file in [&first, &second] {
        fs::remove_file(file).expect("removed");
    }
    drop(daemon);
    let daemon = Daemon::start(&place, &["--export", &export]);
    place.put("step_4_hangs.pt", &packed("4"));
    eventually("it hangs", || fs::read_to_string(&second).is_ok_and(|id| !id.is_empty()));
    daemon.kill();
    eventually("all have ended", || ![&first, &second].into_iter().any(|file| is_alive(file)));
}

#[test]
fn only_who_starts_the_command_names_the_export() {
    let place = Place::of_fixtures();
    let export = unpacking(&place);
    let step = place.run().join("step=6000.pt");
    place.put("step=6000.pt", &packed("a"));
    let run = place.run();
    let (run, file) = (run.to_str().expect("UTF-8"), step.to_str().expect("UTF-8"));
    let measured = |more: &[&str]| {
        let fixed = ["measure", file, "--backend", "tract", "--images", "40", "--draws", "1", "--format", "json"];
        relstab(&[&fixed, more].concat())
    };
    let native = json(&measured(&["--export", &export]));
    let onnx = project("tests/fixtures/plain.onnx");
    let probe = format!("{run}/probe.npz");
    let flags = ["--backend", "tract", "--images", "40", "--draws", "1", "--format", "json"];
    let plain = json(&relstab(&[&["measure", onnx.to_str().expect("UTF-8"), "--probe", &probe], &flags[..]].concat()));
    assert_eq!(native["r_f"], plain["r_f"]);
    assert_eq!((&native["model"]["path"], &native["metadata"]["step"]), (&Value::from(file), &Value::from(6000)));

    let config = place.path().join("mine.toml");
    let settings = fs::read_to_string(place.run().join("relstab.toml")).expect("settings");
    let named = format!("export = '''{export}'''\n{settings}").replace("probe.npz", "run/probe.npz");
    fs::write(&config, &named).expect("written");
    let config = config.to_str().expect("UTF-8");
    let once = |more: &[&str]| relstab(&[&["watch", run, "--once"], &flags[..], more].concat());
    let printed = once(&["--config", config]);
    assert!(text(&printed).contains("step=6000.pt"), "{}", text(&printed));
    assert_refused(&once(&[]), 2, &["*.onnx"]);
    assert_refused(&once(&["--pattern", "*.pt"]), 2, &["--export"]);
    let daemon = Daemon::start(&place, &["--config", config]);
    assert_eq!(Client::subscribed(&daemon, 0).outcomes(1)[0]["type"], "measured");
    drop(daemon);

    let absent = measured(&["--export", "/no/such/program {checkpoint} {onnx}"]);
    assert_refused(&absent, 2, &["--export", "/no/such/program"]);
    assert!(text(&once(&["--export", "python export.py {checkpoint}"])).contains("{onnx}"));
    fs::write(place.run().join("relstab.toml"), named).expect("written");
    assert_refused(&once(&["--export", &export]), 2, &["relstab.toml: export", "--config"]);
}

#[test]
fn a_checkpoint_that_is_still_written_is_awaited() {
    let place = Place::of_fixtures();
    let export = unpacking(&place);
    let daemon = Daemon::start(&place, &["--export", &export]);
    let mut client = Client::subscribed(&daemon, 0);
    let header = br#"{"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#;
    let half = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    let path = place.run().join("step_1.safetensors");
    fs::write(&path, &half).expect("written");
    std::thread::sleep(Duration::from_millis(900));
    fs::write(&path, packed("whole")).expect("written");
    let outcomes = client.outcomes(1);
    assert_eq!(
        (name_of(&outcomes[0]), &outcomes[0]["type"]),
        ("step_1.safetensors".to_owned(), &Value::from("measured"))
    );
    assert!(place.outcomes("failed").is_empty());
}
