//! Addresses in place of directories. `file:///folder` goes the way that buckets go, up to the store itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::common::command::text;
use crate::common::daemon::{Client, Daemon, Place, eventually, network, send_signal};
use crate::common::project;
use relstab::journal::Journal;
use rustix::process::Signal;
use serde_json::Value;

const OFTEN: [&str; 2] = ["--list-every", "50ms"];

/// The run's address.
fn address(place: &Place) -> PathBuf {
    format!("file://{}", place.run_name()).into()
}

fn watch(place: &Place, more: &[&str]) -> Daemon {
    Daemon::start_at(place, &[address(place)], &[&OFTEN, more].concat())
}

/// A command about the run, by its address.
fn ask(place: &Place, command: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relstab"))
        .arg(command)
        .arg(address(place))
        .arg("--journal")
        .arg(place.journal())
        .args(more)
        .current_dir(place.path())
        .output()
        .expect("the command runs")
}

/// What was measured in the journal's only run, by the files' names, without what differs between any two measurements.
fn measured(journal: &Path) -> BTreeMap<String, Value> {
    let journal = Journal::read(journal).expect("a journal");
    let entries = journal.history(1, relstab::journal::Filter::default()).expect("read");
    let mut records = BTreeMap::new();
    for mut record in entries.into_iter().filter_map(|entry| entry.measurement) {
        let path = record["model"]["path"].take();
        record["probe"]["source"].take();
        record["timing"].take();
        records.insert(path.as_str().and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned(), record);
    }
    records
}

#[test]
fn killed_at_any_moment_it_measures_each_object_once_and_as_in_a_directory() {
    let place = Place::new();
    let mut step = 0;
    for round in 0..5 {
        let daemon = watch(&place, &["--attempts", "100"]);
        for _ in 0..3 {
            step += 1;
            place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        }
        std::thread::sleep(Duration::from_millis(37 * round));
        for worker in daemon.workers() {
            send_signal(worker, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(61 * round));
        daemon.kill();
    }
    let daemon = watch(&place, &["--attempts", "100"]);
    eventually("all measured", || place.outcomes("measured").len() == step);
    assert_eq!(daemon.end(), Some(0));
    for kind in ["measured", "checkpoint_seen"] {
        assert!(place.outcomes(kind).values().all(|count| *count == 1), "{:?}", place.outcomes(kind));
    }
    assert!(place.outcomes("failed").is_empty() && place.outcomes("skipped").is_empty());

    let run = address(&place).to_string_lossy().into_owned();
    let events = place.events();
    assert!(events.iter().all(|event| event["run"] == run), "{run}: {:?}", events.first());
    let is_address = |value: &Value| value.as_str().is_some_and(|path| path.starts_with(&run));
    let records: Vec<_> = events.iter().filter(|event| event["type"] == "measured").collect();
    for record in records.iter().map(|event| &event["measurement"]) {
        assert!(is_address(&record["model"]["path"]) && is_address(&record["probe"]["source"]), "{record}");
    }
    // Copies of what was measured go; the probe set's stays.
    let copies = place.home().join("relstab/fetched");
    assert!(fs::read_dir(&copies).expect("there").count() < step, "{}", copies.display());

    let other = place.path().join("state/other.sqlite");
    let journal = ["--journal", other.to_str().expect("UTF-8")];
    let _directory = Daemon::start_after(&place, "true", &[place.run()], &journal);
    eventually("all measured again", || measured(&other).len() == step);
    assert_eq!(measured(&place.journal()), measured(&other));
}

#[test]
fn objects_that_are_overwritten_deleted_or_read_with_others_have_the_outcomes_of_files() {
    let place = Place::of_fixtures();
    let (name, own_name) = ("resnet_external.onnx.data", "weights_of_any_name.bin.x");
    let mut external = fs::read(project("tests/fixtures/resnet_external.onnx")).expect("a network");
    let at = |bytes: &[u8]| bytes.windows(name.len()).position(|window| window == name.as_bytes());
    while let Some(at) = at(&external) {
        external[at..at + name.len()].copy_from_slice(own_name.as_bytes());
    }
    let weights = fs::read(project("tests/fixtures/resnet_external.onnx.data")).expect("weights");
    fs::create_dir(place.run().join("checkpoint-7")).expect("created");
    place.put("checkpoint-7/model.onnx", &external);
    place.bring("plain.onnx", "step_1.onnx");
    let daemon = watch(&place, &["--give-up", "1m"]);
    let mut client = Client::subscribed(&daemon, 0);
    let first = client.next_of("measured");
    assert!(
        first["measurement"]["model"]["path"].as_str().is_some_and(|path| path.ends_with("/step_1.onnx")),
        "{first}"
    );
    place.put(format!("checkpoint-7/{own_name}"), &weights);
    let second = client.next_of("measured");
    assert_eq!(second["measurement"]["metadata"]["step"], 7, "{second}");

    // Weights of any name that change are another version; so is the network itself.
    let other: Vec<u8> = weights
        .chunks(4)
        .flat_map(|four| (f32::from_le_bytes(four.try_into().expect("four")) * 1.5).to_le_bytes())
        .collect();
    place.put(format!("checkpoint-7/{own_name}"), &other);
    let third = client.next_of("measured");
    assert_eq!(third["measurement"]["metadata"]["step"], 7, "{third}");
    assert_ne!(third["measurement"]["model"]["sha256"], second["measurement"]["model"]["sha256"]);
    place.bring("one_channel.onnx", "step_1.onnx");
    let fourth = client.next_of("failed");
    assert!(fourth["reason"].as_str().is_some_and(|reason| reason.contains("model file:///")), "{fourth}");
    drop(daemon);

    // Deleted while it waits.
    place.put("step_2.onnx", &network("other"));
    let daemon = watch(&place, &["--settle", "1h"]);
    eventually("seen", || place.outcomes("checkpoint_seen").contains_key("step_2.onnx"));
    drop(daemon);
    fs::remove_file(place.run().join("step_2.onnx")).expect("removed");
    let _daemon = watch(&place, &[]);
    eventually("said to be gone", || {
        place.outcomes("skipped").contains_key("step_2.onnx") || place.outcomes("failed").contains_key("step_2.onnx")
    });
}

#[test]
fn commands_take_addresses_and_link_to_copies() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let daemon = watch(&place, &[]);
    let waited = ask(&place, "wait", &["--timeout", "1m"]);
    assert!(waited.status.success(), "{}", text(&waited));
    for (command, told) in [("history", "D_f"), ("report", "R_f"), ("best", "step_1.onnx"), ("status", "file:///")] {
        let answer = ask(&place, command, &[]);
        assert!(answer.status.success() && text(&answer).contains(told), "{command}: {}", text(&answer));
    }
    let linked = || {
        let answer = ask(&place, "best", &["--link", "best.onnx"]);
        assert!(answer.status.success(), "{}", text(&answer));
        fs::read(place.path().join("best.onnx")).expect("a copy")
    };
    let first = fs::read(place.run().join("step_1.onnx")).expect("a network");
    assert!(linked() == first && linked() == first);
    assert_eq!(fs::read_dir(place.path().join("best.onnx.files")).expect("there").count(), 1);
    drop(daemon);
    // What was measured is not there any more.
    place.rename_in("step_1.onnx", "another");
    let refused = ask(&place, "best", &["--link", "best.onnx"]);
    assert!(text(&refused).contains("written since"), "{}", text(&refused));
    fs::remove_file(place.run().join("step_1.onnx")).expect("removed");
    let refused = ask(&place, "best", &["--link", "best.onnx"]);
    assert!(text(&refused).contains("nothing there any more"), "{}", text(&refused));
}

#[test]
fn addresses_that_cannot_be_watched_say_why_and_never_repeat_a_password() {
    let place = Place::new();
    let refused = |folders: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_relstab")).arg("watch").args(folders).output().expect("it runs");
        assert!(!output.status.success());
        text(&output)
    };
    let run = place.run();
    for folders in [
        &["s3://me:secret@bucket/run"][..],
        &["https://host/run?key=secret"],
        &["file:///tmp", run.to_str().expect("UTF-8")],
    ] {
        let said = refused(folders);
        assert!(said.contains("s3://BUCKET/PREFIX") && !said.contains("secret"), "{said}");
    }
    assert!(refused(&["file:///tmp", "--once"]).contains("--once"));
    if cfg!(not(feature = "stores")) {
        assert!(refused(&["s3://bucket/run"]).contains("--features stores"));
    }
}

/// What would make a library panic that has no other answer.
#[test]
#[cfg(feature = "stores")]
fn variables_that_no_request_can_carry_are_refused_by_name() {
    let cases = [
        ("s3", "AWS_ACCESS_KEY_ID", "sesame\n", "a line break"),
        ("s3", "AWS_SECRET_ACCESS_KEY", "ses\name", "a line break"),
        ("s3", "AWS_SESSION_TOKEN", "sesame\u{7f}", "a control character"),
        ("s3", "AWS_REGION", "sesame 1", "another text"),
        ("s3", "AWS_ENDPOINT_URL", "sesame:9000", "another text"),
        ("s3", "AWS_ENDPOINT_URL", "http://sesame:90000", "another text"),
        ("gs", "GOOGLE_BEARER_TOKEN", "sesame\r\n", "a line break"),
        ("gs", "GOOGLE_BASE_URL", "", "nothing"),
        ("gs", "GOOGLE_APPLICATION_CREDENTIALS", "{\"private_key\": \"sesame\"}", "another text"),
        ("az", "AZURE_STORAGE_ACCOUNT_NAME", "sesame\n", "a line break"),
        ("az", "AZURE_STORAGE_TOKEN", "sesame\n", "a line break"),
        ("az", "AZURE_STORAGE_ACCESS_KEY", "c2VzYW1l\n", "a line break"),
        ("az", "AZURE_TENANT_ID", "ses ame", "another text"),
        ("az", "AZURITE_BLOB_STORAGE_URL", "sesame:10000", "another text"),
    ];
    let watch = |scheme: &str, name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relstab"));
        let run = format!("{scheme}://bucket/run");
        let output = command.args(["watch", &run]).env_clear().env("HOME", "/nowhere").env(name, value).output();
        let output = output.expect("it runs");
        (output.status.code(), text(&output))
    };
    for (scheme, name, value, found) in cases {
        let (code, said) = watch(scheme, name, value);
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(&format!("in {name}, found {found}")), "{said}");
        assert!(!said.contains("ses") && !said.contains("c2V"), "{said}");
    }
    // What a library cannot use is said before anything is started, too.
    let (code, said) = watch("az", "AZURE_STORAGE_ACCESS_KEY", "c2VzYW1l");
    assert!(code == Some(10) && said.contains("could not open it") && said.contains("Account"), "{code:?} {said}");
}

#[test]
fn an_address_that_cannot_be_listed_keeps_no_other_waiting_and_its_checkpoints_are_not_gone() {
    let place = Place::new();
    let probe = place.run().join("probe.npz");
    let above = place.path().canonicalize().expect("there").join("above");
    let other = above.join("other");
    let roots = [PathBuf::from(format!("file://{}", other.display())), address(&place)];
    let more = [&OFTEN[..], &["--probe", probe.to_str().expect("UTF-8"), "--until-idle", "3s"]].concat();
    // What lies below a file cannot be listed.
    fs::write(&above, "").expect("written");
    let failing = || place.log().matches("could not list it").count();

    let mut daemon = Daemon::start_at(&place, &roots, &more);
    eventually("said", || failing() == 1);
    place.rename_in("step_1.onnx", "one");
    // All was told, as far as it can be: it ends by itself, and says that not all was seen.
    assert_eq!(daemon.child.wait().expect("a child").code(), Some(11), "{}", place.log());
    assert_eq!(place.outcomes("measured").get("step_1.onnx"), Some(&1));

    // Seen and not measured: then its address cannot be listed, then it can.
    fs::remove_file(&above).expect("removed");
    fs::create_dir_all(&other).expect("created");
    let daemon = Daemon::start_at(&place, &roots, &[&more[..], &["--settle", "1h"]].concat());
    fs::write(other.join("step_2.onnx.json"), "{}").expect("written");
    fs::write(other.join("step_2.onnx"), network("two")).expect("written");
    eventually("seen", || place.outcomes("checkpoint_seen").contains_key("step_2.onnx"));
    daemon.kill();
    let aside = place.path().join("aside");
    fs::rename(&above, &aside).expect("moved");
    fs::write(&above, "").expect("written");
    let forever = [&OFTEN[..], &["--probe", probe.to_str().expect("UTF-8")]].concat();
    let _daemon = Daemon::start_at(&place, &roots, &forever);
    eventually("said again", || failing() == 2);
    place.rename_in("step_3.onnx", "three");
    eventually("measured", || place.outcomes("measured").contains_key("step_3.onnx"));
    assert!(place.outcomes("skipped").is_empty());
    fs::remove_file(&above).expect("removed");
    fs::rename(&aside, &above).expect("moved");
    eventually("measured as well", || place.outcomes("measured").contains_key("step_2.onnx"));
    assert!(place.outcomes("skipped").is_empty() && place.outcomes("failed").is_empty());
}
