//! Alerts: a webhook's real receiver, under kills of the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::daemon::{Client, Daemon, Place, bundled, eventually, network, property};
use crate::common::pause;
use rustix::process::Signal;
use serde_json::{Value, json};

/// What no record, log or page may show.
const SECRET: &str = "T0PSECRET";

/// An HTTP server that keeps what is posted to it.
struct Hook {
    address: String,
    /// What it answers.
    status: Arc<AtomicU16>,
    /// Bodies, each with the status that it was answered with.
    heard: Arc<Mutex<Vec<(u16, Value)>>>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/hooks/{SECRET}", listener.local_addr().expect("an address"));
        let (status, heard) = (Arc::new(AtomicU16::new(500)), Arc::<Mutex<Vec<_>>>::default());
        let (answers, keeps) = (Arc::clone(&status), Arc::clone(&heard));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let (mut length, mut line) = (0, String::new());
                while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                // A daemon that is killed sends half.
                if reader.read_exact(&mut body).is_err() {
                    continue;
                }
                let code = answers.load(Ordering::SeqCst);
                keeps.lock().expect("kept").push((code, serde_json::from_slice(&body).expect("JSON")));
                let _ = write!(reader.get_mut(), "HTTP/1.1 {code} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Self { address, status, heard }
    }

    /// The file that holds its address.
    fn secret(&self, place: &Place) -> String {
        let secret = place.path().join("webhook");
        fs::write(&secret, format!("{}\n", self.address)).expect("written");
        secret.to_str().expect("UTF-8").to_owned()
    }

    /// How often each alert was heard and answered with `status`, by its event's number.
    fn heard(&self, status: u16, alert: &str) -> BTreeMap<i64, usize> {
        let mut counts = BTreeMap::new();
        for (_, event) in
            self.heard.lock().expect("kept").iter().filter(|(code, said)| *code == status && said["alert"] == alert)
        {
            *counts.entry(event["seq"].as_i64().expect("a number")).or_default() += 1;
        }
        counts
    }
}

#[test]
fn each_alert_is_heard_over_kills_and_none_of_what_did_not_last() {
    let place = Place::new();
    let hook = Hook::start();
    let secret = &hook.secret(&place);
    let (failure, high) = ("on=failure,name=failure", "on=threshold,name=high,monitor=val_error,above=0.5,for=4s");
    let flags = ["--alert", failure, "--alert", high, "--alert-webhook", secret, "--give-up", "300ms"];
    let daemon = Daemon::start(&place, &flags);
    place.put("step_1.onnx", b"no network");
    eventually("it is tried in vain", || {
        !hook.heard(500, "failure").is_empty() && place.log().contains("answered with status 500")
    });
    daemon.kill();

    hook.status.store(200, Ordering::SeqCst);
    let daemon = Daemon::start(&place, &flags);
    eventually("the killed daemon's alert is heard", || !hook.heard(200, "failure").is_empty());
    place.rename_in("step_2.onnx", "two");
    Client::subscribed(&daemon, 0).next_of("measured");
    place.annotate(&daemon, 2, 0.9);
    place.annotate(&daemon, 2, 0.1);
    std::thread::sleep(Duration::from_secs(5));
    assert!(hook.heard(200, "high").is_empty(), "it did not last");

    // It begins under one daemon and lasts into the next.
    place.annotate(&daemon, 2, 0.9);
    daemon.kill();
    let daemon = Daemon::start(&place, &flags);
    eventually("it has lasted", || !hook.heard(200, "high").is_empty());
    place.put("step_3.onnx", b"neither");
    eventually("another failure is another alert", || hook.heard(200, "failure").len() == 2);
    daemon.kill();
    let raised = place.events();
    let raised: Vec<_> = raised.iter().filter(|event| event["type"] == "alert").collect();
    assert_eq!(raised.len(), 3, "{raised:?}");
    for event in raised {
        let heard = hook.heard(200, event["alert"].as_str().expect("a name"));
        assert!(heard.contains_key(&event["seq"].as_i64().expect("a number")), "{event}: {heard:?}");
    }

    for entry in fs::read_dir(place.path().join("state")).expect("a folder").flatten() {
        let bytes = fs::read(entry.path()).expect("read");
        assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{:?}", entry.path());
    }
    assert!(!place.log().contains(SECRET), "{}", place.log());
}

#[test]
fn a_program_is_run_for_a_stop_and_a_stall_and_a_message_is_slacks() {
    let place = Place::new();
    let hook = Hook::start();
    hook.status.store(200, Ordering::SeqCst);
    let (told, config) = (place.path().join("told"), place.path().join("alerts.toml"));
    let own = fs::read_to_string(place.run().join("relstab.toml")).expect("read");
    let own = own.replace("probe.npz", place.run().join("probe.npz").to_str().expect("UTF-8"));
    let script = "cat >> \"$1\"; echo \"$2\" >> \"$1\"";
    let alerts = format!(
        "[[stop]]\nmonitor = 'val_error'\npatience = 1\n[[alert]]\non = 'stall'\nafter = '1s'\nwebhook = {{ env = 'HOOK', form = 'slack' }}\n\
         [[alert]]\non = 'stop'\ncommand = ['sh', '-c', '{script}', 'sh', '{}', '{{text}} in {{run}}']\n",
        told.display()
    );
    fs::write(&config, format!("{own}\n{alerts}")).expect("written");
    let mut place = place;
    place.environment.push(("HOOK", hook.address.clone()));
    let daemon = Daemon::start(&place, &["--config", config.to_str().expect("UTF-8")]);
    place.rename_in("step_1.onnx", "one");
    eventually("a stall is told", || !hook.heard.lock().expect("kept").is_empty());
    let message = hook.heard.lock().expect("kept")[0].1["text"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("stall: no checkpoint came for 1 s"), "{message}");

    place.annotate(&daemon, 2, 0.99);
    place.rename_in("step_2.onnx", "two");
    eventually("the program ran", || fs::read_to_string(&told).is_ok_and(|text| text.lines().count() == 2));
    let text = fs::read_to_string(&told).expect("told");
    let event: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&event["type"], &event["alert"]), (&json!("alert"), &json!("stop")));
    assert!(
        text.lines().nth(1).is_some_and(|line| line.contains("did not improve") && line.contains(&place.run_name())),
        "{text}"
    );
}

#[test]
fn the_log_tells_each_alert_once_and_a_program_has_the_umask_of_who_started_the_daemon() {
    let said = |place: &Place| place.log().matches("alert failure: ").count();
    // Nobody is told but the log.
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--alert", "on=failure", "--give-up", "300ms"]);
    place.put("step_1.onnx", b"no network");
    eventually("the log tells it", || said(&place) == 1);
    daemon.end();

    // Its alerts are looked at again while the program runs.
    let place = Place::new();
    let (begun, told) = (place.path().join("begun"), place.path().join("told"));
    let go = place.path().join("go");
    let waits = format!("while [ ! -e {} ]; do sleep 0.1; done", go.display());
    let script = format!("touch {}; {waits}; touch {}", begun.display(), told.display());
    let journal = place.journal();
    let flags = ["--journal", journal.to_str().expect("UTF-8"), "--alert", "on=failure", "--give-up", "300ms"];
    let program = ["--alert-command", "sh", "-c", &script, ";"];
    let daemon = Daemon::start_after(&place, "umask 027", &[place.run()], &[&flags[..], &program].concat());
    place.put("step_1.onnx", b"no network");
    eventually("the program runs", || begun.exists());
    place.annotate(&daemon, 1, 0.5);
    fs::write(go, "").expect("written");
    eventually("the program ran", || told.exists());
    assert_eq!(said(&place), 1, "{}", place.log());
    assert_eq!(fs::metadata(&told).expect("there").permissions().mode() & 0o777, 0o640);
}

#[test]
fn what_was_raised_and_not_heard_outlives_a_configuration_that_is_spoiled() {
    let place = Place::new();
    let hook = Hook::start();
    let secret = &hook.secret(&place);
    let alerts = ["--alert", "on=failure", "--alert", "on=stall,after=1h", "--alert-webhook", secret];
    let daemon = Daemon::start(&place, &[&alerts[..], &["--give-up", "300ms"]].concat());
    place.put("step_1.onnx", b"no network");
    eventually("it is told in vain", || !hook.heard(500, "failure").is_empty());
    let config = place.run().join("relstab.toml");
    let own = fs::read_to_string(&config).expect("read");
    fs::write(&config, "none = 1").expect("written");
    daemon.signal(Signal::HUP);
    let status = || daemon.client().ask(&json!({"type": "status"}));
    eventually("it cannot be measured", || status()["runs"][0]["unusable"].is_string());
    place.rename_in("step_2.onnx", "two");
    eventually("another is seen", || status()["runs"][0]["pending"] == 1);
    place.annotate(&daemon, 1, 0.5);
    hook.status.store(200, Ordering::SeqCst);
    fs::write(&config, own).expect("mended");
    eventually("it is heard", || !hook.heard(200, "failure").is_empty());
    let raised = place.events().into_iter().filter(|event| event["type"] == "alert").count();
    assert_eq!(raised, 1, "{}", place.log());
}

/// A checkpoint of this known error, renamed into the run.
fn put(place: &Place, step: u32, error: &str) {
    let more = [property("relstab.step", &step.to_string()), property("relstab.val_error", error)].concat();
    place.put(format!("step_{step}.onnx"), &[network(&step.to_string()), more].concat());
}

fn raised(place: &Place) -> Vec<Value> {
    place.events().into_iter().filter(|event| event["type"] == "alert").collect()
}

#[test]
fn what_ended_before_it_had_lasted_is_not_told_whoever_watched_meanwhile() {
    let place = Place::new();
    let flags = ["--alert", "on=threshold,name=high,monitor=val_error,above=0.5,for=3s"];
    let daemon = Daemon::start(&place, &flags);
    put(&place, 1, "0.9");
    eventually("it is measured", || place.outcomes("measured").len() == 1);
    drop(daemon);
    put(&place, 2, "0.1");
    pause(3500);
    let _daemon = Daemon::start(&place, &flags);
    eventually("the other is measured", || place.outcomes("measured").len() == 2);
    pause(1500);
    assert_eq!(raised(&place), [] as [Value; 0]);
    put(&place, 3, "0.8");
    eventually("what lasts is told", || raised(&place).len() == 1);
}

#[test]
fn each_time_is_told_in_order_though_the_telling_of_one_before_fails() {
    let place = Place::new();
    let hook = Hook::start();
    let secret = &hook.secret(&place);
    let alert = "on=threshold,name=high,monitor=val_error,above=0.5";
    let flags = ["--alert", alert, "--alert-webhook", secret];
    let daemon = Daemon::start(&place, &flags);
    put(&place, 1, "0.1");
    eventually("it is measured", || place.outcomes("measured").len() == 1);
    for times in 1..=3 {
        place.annotate(&daemon, 1, 0.9);
        eventually("it is raised", || raised(&place).len() == times);
        place.annotate(&daemon, 1, 0.1);
    }
    eventually("the first is told in vain", || !hook.heard(500, "high").is_empty());
    daemon.kill();
    hook.status.store(200, Ordering::SeqCst);
    let _daemon = Daemon::start(&place, &flags);
    eventually("all are heard", || hook.heard(200, "high").len() == 3);
    let heard = hook.heard.lock().expect("kept");
    let told: Vec<_> = heard.iter().filter(|(code, _)| *code == 200).map(|(_, event)| &event["seq"]).collect();
    assert_eq!(told, raised(&place).iter().map(|event| &event["seq"]).collect::<Vec<_>>());
    let in_vain = heard.iter().filter(|(code, _)| *code == 500).all(|(_, event)| event["seq"] == *told[0]);
    assert!(in_vain, "no other is told before the first was: {heard:?}");
}

#[test]
fn an_alert_that_holds_again_is_not_raised_before_it_has_cooled() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--alert", "on=threshold,monitor=val_error,above=0.5,cooldown=3s"]);
    put(&place, 1, "0.9");
    eventually("it is raised", || raised(&place).len() == 1);
    place.annotate(&daemon, 1, 0.1);
    place.annotate(&daemon, 1, 0.9);
    eventually("it is raised again", || raised(&place).len() == 2);
    let times: Vec<jiff::Timestamp> =
        raised(&place).iter().map(|event| event["time"].as_str().expect("a time").parse().expect("one")).collect();
    assert!(times[1].as_millisecond() - times[0].as_millisecond() >= 3000, "{times:?}");
}

#[test]
fn a_change_and_a_finding_are_raised() {
    let place = Place::new();
    let flags = ["--alert", "on=change,monitor=val_error,by=20%", "--alert", "on=finding,code=untrained"];
    let _daemon = Daemon::start(&place, &flags);
    put(&place, 1, "0.1");
    eventually("it is measured", || place.outcomes("measured").len() == 1);
    assert_eq!(raised(&place), [] as [Value; 0]);
    let untrained = fs::read(bundled("step=000000.onnx")).expect("a network");
    let known = [property("relstab.step", "2"), property("relstab.val_error", "0.9")].concat();
    place.put("step_2.onnx", &[untrained, known].concat());
    eventually("both are raised", || raised(&place).len() == 2);
    let told = raised(&place);
    let text = |name: &str| told.iter().find(|event| event["alert"] == name).map(|event| event["text"].to_string());
    let change = text("change of val_error").unwrap_or_default();
    assert!(change.contains("went from 0.1000 to 0.9000 at step 2, worse by more than 20%"), "{told:?}");
    assert!(text("untrained").is_some_and(|text| text.contains("note, untrained: ")), "{told:?}");
}

#[test]
fn a_run_whose_training_is_done_does_not_stall() {
    let place = Place::new();
    let other = place.add_run("other");
    let flags = ["--alert", "on=stall,after=1s", "--until", "DONE"];
    let daemon = Daemon::start_at(&place, &[place.run(), other], &flags);
    fs::write(place.run().join("DONE"), "").expect("written");
    place.rename_in("step_1.onnx", "one");
    eventually("it is measured", || place.outcomes("measured").len() == 1);
    place.rename_in("../other/step_1.onnx", "other");
    let alert = Client::subscribed(&daemon, 0).next_of("alert");
    assert!(alert["run"].as_str().is_some_and(|run| run.ends_with("other")), "the other began to wait later: {alert}");
}

#[test]
fn two_that_wait_for_the_same_are_both_told_and_a_run_that_cannot_be_measured_is_a_failure() {
    let place = Place::new();
    let config = place.path().join("alerts.toml");
    let told = ["first", "second"].map(|name| place.path().join(name));
    let own = fs::read_to_string(place.run().join("relstab.toml")).expect("read");
    let own = own.replace("probe.npz", place.run().join("probe.npz").to_str().expect("UTF-8"));
    let alert =
        |path: &std::path::PathBuf| format!("[[alert]]\non = 'failure'\ncommand = ['touch', '{}']\n", path.display());
    fs::write(&config, format!("{own}\n{}{}", alert(&told[0]), alert(&told[1]))).expect("written");
    let _daemon = Daemon::start(&place, &["--config", config.to_str().expect("UTF-8")]);
    place.rename_in("step_1.onnx", "one");
    eventually("it is measured", || place.outcomes("measured").len() == 1);
    fs::rename(place.run().join("probe.npz"), place.path().join("probe.npz")).expect("moved");
    place.rename_in("step_2.onnx", "two");
    eventually("both are told", || told.iter().all(|path| path.exists()));
    let texts: Vec<_> = raised(&place).iter().map(|event| event["text"].to_string()).collect();
    assert!(texts.len() == 2 && texts.iter().all(|text| text.contains("probe.npz")), "{texts:?}");
}

#[test]
fn an_address_that_cannot_be_told_is_said_at_the_start_and_never_shown() {
    let place = Place::new();
    let nothing = place.path().join("empty");
    fs::write(&nothing, "").expect("written");
    let address = format!("https://example.org/{SECRET}");
    for hook in [&address, "env:RELSTAB_NO_SUCH", "/no/such/file", nothing.to_str().expect("UTF-8")] {
        let refused = place.ask("watch", &["--alert", "on=failure", "--alert-webhook", hook]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && told.contains("--alert-webhook"), "{hook}: {told}");
        assert!(!told.contains(SECRET), "{told}");
    }
    let own = fs::read_to_string(place.run().join("relstab.toml")).expect("read");
    for webhook in [format!("'{address}'"), format!("{{ env = '{address}' }}")] {
        let config = place.path().join("alerts.toml");
        fs::write(&config, format!("{own}\n[[alert]]\non = 'failure'\nwebhook = {webhook}\n")).expect("written");
        let refused = place.ask("watch", &["--config", config.to_str().expect("UTF-8")]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && !told.contains(SECRET), "{told}");
    }
}

#[test]
fn a_runs_own_file_runs_nothing_and_tells_nobody() {
    let place = Place::new();
    let own = fs::read_to_string(place.run().join("relstab.toml")).expect("read");
    for more in ["command = ['touch', 'x']", "webhook = { env = 'HOME' }"] {
        fs::write(place.run().join("relstab.toml"), format!("{own}\n[[alert]]\non = 'stop'\n{more}\n"))
            .expect("written");
        let refused = place.ask("watch", &[]);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && told.contains("--config"), "{told}");
    }
}
