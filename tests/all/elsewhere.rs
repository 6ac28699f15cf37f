//! Workers that a command starts, as on another machine.

use std::fs;

use crate::common::daemon::{Daemon, Place, eventually};
use rustix::process::{Pid, Signal, kill_process_group};

/// A shell that has the worker behind pipes, as ssh has.
fn piped(worker: &str) -> String {
    format!("cat | '{}' {worker} | cat", env!("CARGO_BIN_EXE_relstab"))
}

fn values(place: &Place) -> Vec<(String, String)> {
    let values = |event: &serde_json::Value| {
        let measurement = &event["measurement"];
        (measurement["model"]["path"].to_string(), measurement["r_f"]["value"].to_string())
    };
    place.events().iter().filter(|event| event["type"] == "measured").map(values).collect()
}

#[test]
fn a_command_starts_workers_that_measure_as_local_ones_do() {
    let local = {
        let place = Place::new();
        place.rename_in("step_1.onnx", "a");
        let daemon = Daemon::start(&place, &[]);
        eventually("the local worker measures", || values(&place).len() == 1);
        daemon.end();
        values(&place)
    };
    let place = Place::new();
    place.rename_in("step_1.onnx", "a");
    let daemon = Daemon::start(&place, &["--worker-command", &piped("worker --memory-limit 8GiB")]);
    eventually("the other worker measures", || values(&place).len() == 1);
    assert_eq!(values(&place)[0].1, local[0].1);
    // What relays dies; the next checkpoint has a new worker.
    for worker in daemon.workers() {
        let _ = kill_process_group(Pid::from_raw(worker as i32).expect("a process"), Signal::KILL);
    }
    place.rename_in("step_2.onnx", "b");
    eventually("another worker measures", || values(&place).len() == 2);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_worker_that_limits_itself_ends_when_it_grows() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--worker-command", &piped("worker --memory-limit 1MiB"), "--attempts", "1"]);
    place.rename_in("step_1.onnx", "a");
    eventually("the limit is told", || place.log().contains("it needs more than 1.0 MiB (--memory-limit)"));
    assert_eq!(daemon.end(), Some(0));
    assert!(place.outcomes("measured").is_empty());
}

#[test]
fn what_is_no_worker_of_this_version_is_refused_and_nothing_fails() {
    let hello = r#"{"reply":{"type":"hello","version":"0.0.1","host":"elsewhere"},"rest":{"secs":0,"nanos":0}}"#;
    let measured = r#"{"reply":{"type":"failed","content":null,"reason":"no","is_finite":true,"weights":[]},"rest":{"secs":0,"nanos":0}}"#;
    let taken = r#"{"reply":{"type":"taken"},"rest":{"secs":0,"nanos":0}}"#;
    for (command, told) in [
        (format!("echo '{hello}'; cat > /dev/null"), "the worker on elsewhere is relstab 0.0.1"),
        (
            format!("printf '%s\\n' '{hello}' '{taken}' '{measured}'; cat > /dev/null"),
            "the worker on elsewhere is relstab 0.0.1",
        ),
        (format!("printf '%s\\n' '{taken}' '{measured}'; cat > /dev/null"), "it did not say who it is"),
        ("echo Welcome to elsewhere".to_owned(), "it said what is no reply: Welcome to elsewhere"),
        ("no-such-program".to_owned(), "a worker ended before it began"),
    ] {
        let place = Place::new();
        let daemon = Daemon::start(&place, &["--worker-command", &command]);
        place.rename_in("step_1.onnx", "a");
        eventually(told, || place.log().contains(told));
        assert!(place.outcomes("failed").is_empty(), "{command}");
        assert_eq!(daemon.end(), Some(0));
    }
}

#[test]
fn a_configuration_that_the_user_names_may_say_what_starts_workers() {
    let place = Place::new();
    let (started, config) = (place.path().join("started"), place.path().join("named.toml"));
    let own = fs::read_to_string(place.run().join("relstab.toml")).expect("read");
    let own = own.replace("probe.npz", place.run().join("probe.npz").to_str().expect("UTF-8"));
    let command = format!("touch {}; exec '{}' worker", started.display(), env!("CARGO_BIN_EXE_relstab"));
    fs::write(&config, format!("worker_command = \"{command}\"\n{own}")).expect("written");
    let daemon = Daemon::start(&place, &["--config", config.to_str().expect("UTF-8")]);
    place.rename_in("step_1.onnx", "one");
    eventually("it is measured", || place.outcomes("measured").len() == 1);
    assert!(started.exists());
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_worker_says_what_it_computes_with_before_it_is_asked() {
    let place = Place::new();
    let said = place.path().join("said");
    let command = format!("'{}' worker | tee '{}'", env!("CARGO_BIN_EXE_relstab"), said.display());
    let daemon = Daemon::start(&place, &["--worker-command", &command]);
    place.rename_in("step_1.onnx", "a");
    eventually("it is measured", || place.outcomes("measured").len() == 1);
    assert_eq!(daemon.end(), Some(0));
    let said = std::fs::read_to_string(said).expect("what it said");
    let hello: serde_json::Value = serde_json::from_str(said.lines().next().expect("a hello")).expect("JSON");
    let word = |key: &str| hello["reply"][key].as_str().unwrap_or_default().to_owned();
    assert_eq!((word("type"), word("version")), ("hello".into(), env!("CARGO_PKG_VERSION").into()));
    assert!(["onnxruntime", "tract "].iter().any(|engine| word("engine").starts_with(engine)), "{hello}");
    assert!(["cpu", "cuda"].contains(&word("provider").as_str()) && !word("host").is_empty(), "{hello}");
    assert_eq!(word("provider") == "cuda", !word("device").is_empty(), "{hello}");
}

#[test]
fn what_a_worker_elsewhere_computes_with_is_in_the_log() {
    let place = Place::new();
    let long = "x".repeat(10_000);
    let hello = serde_json::json!({
        "reply": {"type": "hello", "version": env!("CARGO_PKG_VERSION"), "host": "gpu-7", "engine": "onnxruntime 1.22.1",
                  "provider": "cuda", "device": format!("NVIDIA H200{long}")},
        "rest": {"secs": 0, "nanos": 0},
    });
    let file = place.path().join("hello");
    std::fs::write(&file, format!("{hello}\n")).expect("written");
    let daemon = Daemon::start(&place, &["--worker-command", &format!("cat '{}'", file.display())]);
    place.rename_in("step_1.onnx", "a");
    let told =
        concat!("a worker on gpu-7: relstab ", env!("CARGO_PKG_VERSION"), ", onnxruntime 1.22.1, cuda, NVIDIA H200x");
    eventually("the log names it", || place.log().contains(told));
    assert!(!place.log().contains(&long), "a word of any length");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_worker_that_sees_another_file_at_the_same_path_measures_nothing() {
    // The first worker sees a file of another size, the second none.
    for (other, found) in
        [("s/\"seen\":\\[[0-9]*,/\"seen\":[7,/", "(7 bytes, "), ("s/step_1[.]onnx/step_9.onnx/", "no such file")]
    {
        let place = Place::new();
        let sent = place.path().join("sent");
        let command =
            format!("tee -a '{}' | sed -u '{other}' | '{}' worker", sent.display(), env!("CARGO_BIN_EXE_relstab"));
        let daemon = Daemon::start(&place, &["--worker-command", &command, "--give-up", "1s"]);
        place.rename_in("step_1.onnx", "a");
        eventually("it is given up", || place.outcomes("failed").len() == 1);
        let failed = place.events().into_iter().find(|event| event["type"] == "failed").expect("an event").to_string();
        let told = ["expected the file that the daemon sees", found, "not the same after 1s (--give-up)"];
        assert!(told.iter().all(|told| failed.contains(told)), "{failed}");
        assert!(place.log().contains("; trying again"), "{}", place.log());
        assert!(place.outcomes("measured").is_empty(), "{found}");
        let requests = std::fs::read_to_string(sent).expect("requests").matches("\"type\":\"measure\"").count();
        assert!((2..=6).contains(&requests), "{requests} looks");
        assert_eq!(daemon.end(), Some(0));
    }
}

#[test]
fn the_machine_of_a_worker_elsewhere_is_in_its_records() {
    let place = Place::of_fixtures();
    let renamed = "'s/\"host\":\"[^\"]*\"/\"host\":\"gpu-7\"/'";
    let command = format!("'{}' worker | sed -u {renamed}", env!("CARGO_BIN_EXE_relstab"));
    let daemon = Daemon::start(&place, &["--worker-command", &command]);
    place.bring("plain.onnx", "step_1.onnx");
    place.bring("nan.onnx", "step_2.onnx");
    eventually("both have an outcome", || place.outcomes("measured").len() + place.outcomes("failed").len() == 2);
    assert_eq!(daemon.end(), Some(0));
    // The next worker is this machine's.
    let daemon = Daemon::start(&place, &["--worker-command", &piped("worker")]);
    place.bring("linear.onnx", "step_3.onnx");
    eventually("the third is measured", || place.outcomes("measured").len() == 2);
    assert_eq!(daemon.end(), Some(0));
    let entries = place.history();
    let hosts = |pointer: &str| {
        entries.as_array().expect("entries").iter().map(|e| e.pointer(pointer).cloned()).collect::<Vec<_>>()
    };
    let named = || Some("gpu-7".into());
    assert_eq!(hosts("/host"), [named(), named(), None]);
    assert_eq!(hosts("/measurement/backend/host"), [named(), None, None]);
    let text = String::from_utf8(place.ask("history", &[]).stdout).expect("UTF-8");
    assert_eq!((text.matches("  on gpu-7").count(), text.matches("(on gpu-7)").count()), (1, 1), "{text}");
}

#[test]
fn workers_have_gpus_of_their_own() {
    let place = Place::new();
    for step in 1..=4 {
        place.rename_in(format!("step_{step}.onnx"), &format!("{step}"));
    }
    let sent = place.path().join("sent");
    std::fs::create_dir(&sent).expect("created");
    let command = format!("tee \"{}/$$\" | '{}' worker", sent.display(), env!("CARGO_BIN_EXE_relstab"));
    let daemon = Daemon::start(&place, &["--device", "1,3", "--backend", "auto", "--worker-command", &command]);
    eventually("all are measured", || place.outcomes("measured").len() == 4);
    assert_eq!(daemon.end(), Some(0));
    let mut devices = Vec::new();
    for worker in std::fs::read_dir(&sent).expect("a folder") {
        let text = std::fs::read_to_string(worker.expect("a file").path()).expect("read");
        let requests = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a request"));
        let mut own: Vec<_> = requests.map(|request| request["plan"]["backend"]["device"].as_u64()).collect();
        own.dedup();
        devices.push(own);
    }
    devices.sort();
    assert_eq!(devices, [[Some(1)], [Some(3)]], "a worker on each");
    for (more, told) in [
        (&["--device", "1,1"][..], "each once"),
        (&["--device", "0,1", "--workers", "1"], "--workers: expected 2 or more, one on each GPU of --device"),
        (&["--device", "0,1", "--backend", "tract"], "--device: expected ONNX Runtime"),
        (&["--device", "0,1", "--once"], "--device: expected one GPU"),
    ] {
        let mut watch = std::process::Command::new(env!("CARGO_BIN_EXE_relstab"));
        let output = watch.arg("watch").arg(place.run()).args(more).output().expect("the command runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(told), "{more:?}: {said}");
    }
}
