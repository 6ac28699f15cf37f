//! The line protocol, as docs/protocol.md has it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::common::command::assert_refused;
use crate::common::daemon::{Client, Daemon, Place, eventually, name_of};
use crate::common::{relstab, resident};
use serde_json::{Value, json};

#[test]
fn a_client_is_greeted_and_answered() {
    let place = Place::new();
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let daemon = Daemon::start(&place, &["--stop", "patience=2"]);
    assert_eq!(mode(&place.socket()), 0o600);
    place.rename_in("step_1.onnx", "one");
    let event = Client::subscribed(&daemon, 0).next_of("measured");
    assert!(event["time"].as_str().is_some_and(|time| time.ends_with('Z')));

    let mut client = daemon.client();
    assert_eq!(client.hello["protocol"], 1);
    assert_eq!(client.hello["runs"], json!([place.run_name()]));
    let status = client.ask(&json!({"type": "status"}));
    assert_eq!((&status["runs"][0]["measured"], &status["runs"][0]["pending"]), (&json!(1), &json!(0)), "{status}");
    let decision = client.ask(&json!({"type": "decision", "run": place.run_name()}));
    assert_eq!((&decision["stop"], &decision["best"]["step"]), (&json!(false), &json!(1)), "{decision}");
    for (request, reason) in [
        ("no JSON", "not a request"),
        ("{\"type\": \"dance\"}", "dance"),
        ("{\"type\": \"decision\", \"run\": \"/nowhere\"}", "/nowhere"),
        ("{\"type\": \"annotate\", \"run\": \"x\", \"step\": 1, \"val_error\": 50}", "[0, 1]"),
        ("[1, 2", "not a request"),
    ] {
        client.send(request);
        let reply = client.next();
        assert!(
            reply["type"] == "error" && reply["reason"].as_str().is_some_and(|text| text.contains(reason)),
            "{reply}"
        );
    }
}

#[test]
fn errors_told_before_and_after_reach_the_history() {
    let (place, daemon, _) = Place::measured();
    place.annotate(&daemon, 1, 0.25);
    place.annotate(&daemon, 2, 0.125);
    place.rename_in("step_2.onnx", "two");
    let second =
        Client::subscribed(&daemon, 0).until(|event| event["type"] == "measured" && name_of(event) == "step_2.onnx");
    assert_eq!(second.last().expect("an event")["measurement"]["metadata"]["val_error"], 0.125);
    let history = place.history();
    assert_eq!((&history[0]["val_error"], &history[1]["val_error"]), (&json!(0.25), &json!(0.125)));
}

const TOKEN: &str = "a token of some length";

/// A daemon that listens on TCP as well, and where.
fn over_tcp(place: &Place) -> (Daemon, String) {
    let token = place.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).expect("written");
    let daemon = Daemon::start(place, &["--tcp", "127.0.0.1:0", "--tcp-token", token.to_str().expect("UTF-8")]);
    eventually("the port is said", || place.log().contains("127.0.0.1:"));
    let log = place.log();
    let port = log.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    (daemon, format!("127.0.0.1:{}", port.expect("a port")))
}

/// What a web page can have a browser send to a port of this machine: its lines are requests only from the body on.
#[test]
fn over_tcp_the_token_comes_first_and_a_web_page_commands_nothing() {
    let place = Place::new();
    let (daemon, address) = over_tcp(&place);
    place.rename_in("step_1.onnx", "one");
    Client::subscribed(&daemon, 0).next_of("measured");
    let forget = json!({"type": "forget", "run": place.run_name()}).to_string();
    let answer = |text: &str| {
        let mut tcp = TcpStream::connect(&address).expect("connected");
        tcp.write_all(text.as_bytes()).expect("sent");
        let mut answer = String::new();
        // Cut off with lines unread, the connection may end by a reset.
        let _ = std::io::Read::read_to_string(&mut BufReader::new(tcp), &mut answer);
        answer
    };
    let page = format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\n\r\n{forget}\n");
    assert_eq!(answer(&page), "");
    for first in ["[]".to_owned(), "\"token\"".to_owned(), String::new()] {
        assert_eq!(answer(&format!("{first}\n{forget}\n")), "", "{first}");
    }
    for first in [forget.clone(), json!({"type": "token", "token": "another of some length"}).to_string()] {
        let told: Value = serde_json::from_str(&answer(&format!("{first}\n{forget}\n"))).expect("JSON");
        assert!(told["type"] == "error" && told["reason"].to_string().contains("--tcp-token"), "{told}");
    }
    let mut tcp = TcpStream::connect(&address).expect("connected");
    let at_once = format!("{}\n{}\n", json!({"type": "token", "token": TOKEN}), json!({"type": "status"}));
    tcp.write_all(at_once.as_bytes()).expect("sent");
    let lines: Vec<Value> = BufReader::new(tcp)
        .lines()
        .take(2)
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect();
    assert_eq!((&lines[0]["type"], &lines[1]["runs"][0]["measured"]), (&json!("hello"), &json!(1)), "{lines:?}");
}

#[test]
fn a_number_beyond_the_last_event_is_answered_with_the_last() {
    let (place, daemon, _) = Place::measured();
    let mut client = daemon.client();
    assert_eq!(
        client.ask(&json!({"type": "subscribe", "since": 1_000_000})),
        json!({"type": "subscribed", "since": 2})
    );
    place.rename_in("step_2.onnx", "two");
    assert_eq!(client.next()["seq"], 3);
}

#[test]
fn only_its_own_socket_goes_with_a_daemon() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &[]);
    // Another daemon's, in its place.
    std::fs::remove_file(place.socket()).expect("removed");
    std::fs::write(place.socket(), "another's").expect("written");
    assert_eq!(daemon.end(), Some(0));
    assert!(place.socket().exists());
}

#[test]
fn what_a_locked_journal_keeps_is_done_once_it_is_free() {
    let (place, daemon, _) = Place::measured();
    let other = rusqlite::Connection::open(place.journal()).expect("a journal");
    other.execute_batch("BEGIN IMMEDIATE").expect("held");
    let mut client = daemon.client();
    client.send(&json!({"type": "annotate", "run": place.run_name(), "step": 1, "val_error": 0.25}).to_string());
    let status = daemon.client().ask(&json!({"type": "status"}));
    assert_eq!(status["runs"][0]["measured"], 1, "others are answered");
    drop(other);
    assert_eq!(client.next()["type"], "annotated");
}

#[test]
fn a_known_error_may_name_a_file_of_the_run() {
    let (place, daemon, _) = Place::measured();
    for (path, val_error) in [("step_1.onnx", 0.25), ("./step_1.onnx", 0.125)] {
        let request = json!({"type": "annotate", "run": place.run_name(), "path": path, "val_error": val_error});
        assert_eq!(daemon.client().ask(&request)["type"], "annotated");
        let history = place.ask("history", &["--format", "json"]).stdout;
        let history: Value = serde_json::from_slice(&history).expect("JSON");
        assert_eq!(history[0]["val_error"], val_error, "{history}");
    }
}

#[test]
fn a_socket_that_may_be_somebodys_stays() {
    let place = Place::new();
    let refused = || {
        let (socket, journal) = (place.socket(), place.journal());
        let paths = [socket.to_str().expect("UTF-8"), "--journal", journal.to_str().expect("UTF-8")];
        relstab(&[&["watch", place.run_name().as_str(), "--backend", "tract", "--socket"], &paths[..]].concat())
    };
    let programs = std::os::unix::net::UnixDatagram::bind(place.socket()).expect("bound");
    assert_refused(&refused(), 2, &["--socket", "in use"]);
    drop(programs);
    std::fs::remove_file(place.socket()).expect("there still");
    // Clients queue: nobody takes them.
    let listener = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    let listener = listener.expect("made");
    let address = rustix::net::SocketAddrUnix::new(place.socket()).expect("short enough");
    rustix::net::bind(&listener, &address).expect("bound");
    rustix::net::listen(&listener, 0).expect("listening");
    let _queue = UnixStream::connect(place.socket()).expect("queued");
    assert_refused(&refused(), 2, &["--socket", "in use"]);
    assert!(place.socket().exists());
}

#[test]
fn malformed_and_endless_lines_hurt_nobody() {
    let place = Place::new();
    let (daemon, address) = over_tcp(&place);
    let mut tcp = TcpStream::connect(address).expect("connected");
    writeln!(tcp, "{}", json!({"type": "token", "token": TOKEN})).expect("sent");

    // 1 GiB without a line break: answered once, not kept.
    let block = vec![b'x'; 1 << 20];
    for _ in 0..1024 {
        tcp.write_all(&block).expect("taken");
    }
    tcp.write_all(b"\n{\"type\": \"status\"}\n").expect("taken");
    let mut lines = BufReader::new(tcp).lines().map(|line| line.expect("a line"));
    let kinds: Vec<_> =
        lines.by_ref().take(3).map(|line| serde_json::from_str::<Value>(&line).expect("JSON")).collect();
    assert_eq!(
        kinds.iter().map(|line| line["type"].as_str().unwrap_or_default()).collect::<Vec<_>>(),
        ["hello", "error", "status"]
    );

    let mut stream = UnixStream::connect(place.socket()).expect("connected");
    let reader = stream.try_clone().expect("cloned");
    let counting = std::thread::spawn(move || BufReader::new(reader).lines().take(10_001).flatten().count());
    for number in 0..10_000u32 {
        let bytes: Vec<u8> = number
            .wrapping_mul(2_654_435_761)
            .to_le_bytes()
            .iter()
            .map(|b| if *b == b'\n' { b'x' } else { *b })
            .collect();
        stream.write_all(&[&bytes[..], b"{\n"].concat()).expect("taken");
    }
    assert_eq!(counting.join().expect("counted"), 10_001);
    assert!(resident(&daemon) < 100 << 20, "{} bytes", resident(&daemon));
    assert_eq!(daemon.client().ask(&json!({"type": "status"}))["type"], "status");
}

#[test]
fn only_loopback_is_listened_on() {
    let place = Place::new();
    let token = place.path().join("token");
    std::fs::write(&token, TOKEN).expect("written");
    let open = ["--tcp", "0.0.0.0:0", "--tcp-token", token.to_str().expect("UTF-8")];
    let refused = place.ask("watch", &[&open[..2], &["--socket", "/tmp/never-made"]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--tcp-token"));
    let refused = place.ask("watch", &[&open[..], &["--socket", place.socket().to_str().expect("UTF-8")]].concat());
    assert_eq!(refused.status.code(), Some(2));
    let long = "/tmp/".to_owned() + &"x".repeat(120);
    assert_eq!(place.ask("watch", &["--socket", &long]).status.code(), Some(2));
}

/// A hundred subscribers; the full count is `cargo bench --bench daemon`.
#[test]
fn every_subscriber_hears_every_event_and_a_deaf_one_is_cut_off() {
    const SUBSCRIBERS: usize = 100;
    const EVENTS: i64 = 100;
    let (place, daemon, _) = Place::measured();
    let mut clients: Vec<_> = (0..SUBSCRIBERS).map(|_| Client::subscribed(&daemon, 2)).collect();
    // Never read from; what it is sent fills its buffers.
    let mut deaf = daemon.client();
    let before = Instant::now();
    let run = place.run_name();
    let mut annotator = daemon.client();
    for number in 0..EVENTS {
        let request = json!({"type": "annotate", "run": run, "step": 1, "val_error": number as f64 / 1e4});
        assert_eq!(annotator.ask(&request)["type"], "annotated");
    }
    for client in &mut clients {
        let seqs: Vec<_> = (0..EVENTS).map(|_| client.next_of("annotated")["seq"].as_i64().expect("a seq")).collect();
        assert!(seqs.iter().zip(3..).all(|(seq, expected)| *seq == expected), "{seqs:?}");
    }
    assert!(before.elapsed() < Duration::from_secs(30));
    // Asked for the whole journal again and again without reading.
    while deaf.try_send(&json!({"type": "subscribe", "since": 0}).to_string()) {}
    eventually("it is cut off", || place.log().contains("cut off"));
    assert_eq!(annotator.ask(&json!({"type": "status"}))["type"], "status");
}

#[test]
fn a_stop_is_latched_told_once_and_outlives_the_daemon() {
    let place = Place::new();
    let told = place.path().join("told");
    let command = format!("echo \"$RELSTAB_RUN $RELSTAB_BEST\" >> {}", told.display());
    let flags = ["--stop", "monitor=val_error,patience=3", "--on-stop", &command];
    let daemon = Daemon::start(&place, &flags);
    let mut client = daemon.client();
    let annotate = |client: &mut Client, step: u64, val_error: f64| {
        let request = json!({"type": "annotate", "run": place.run_name(), "step": step, "val_error": val_error});
        if step == 1 {
            place.rename_in("step_1.onnx", "one");
            Client::subscribed(&daemon, 0).next_of("measured");
        }
        client.ask(&request)
    };
    annotate(&mut client, 1, 0.5);
    for step in 2..=3 {
        annotate(&mut client, step, 0.6);
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        Client::subscribed(&daemon, 0)
            .until(|event| event["type"] == "measured" && name_of(event) == format!("step_{step}.onnx"));
    }
    let decision = client.ask(&json!({"type": "decision", "run": place.run_name()}));
    assert_eq!((&decision["stop"], &decision["rules"][0]["patience_left"]), (&json!(false), &json!(1)), "{decision}");
    assert_eq!(daemon.end(), Some(0));

    // The patience is not forgotten, and the fourth checkpoint ends it.
    let daemon = Daemon::start(&place, &flags);
    let mut client = Client::subscribed(&daemon, 0);
    place.annotate(&daemon, 4, 0.7);
    place.rename_in("step_4.onnx", "four");
    let stop = client.next_of("stop");
    assert_eq!((&stop["best"]["step"], &stop["at"]["step"]), (&json!(1), &json!(4)), "{stop}");
    assert_eq!(place.ask("wait", &[]).status.code(), Some(14));
    let best = String::from_utf8_lossy(&place.ask("best", &[]).stdout).into_owned();
    assert!(best.trim().ends_with("step_1.onnx"), "{best}");
    eventually("--on-stop ran", || told.exists());
    drop(daemon);
    let daemon = Daemon::start(&place, &flags);
    place.rename_in("step_5.onnx", "five");
    Client::subscribed(&daemon, 0).until(|event| event["type"] == "measured" && name_of(event) == "step_5.onnx");
    assert_eq!(place.outcomes("stop").values().sum::<usize>(), 1);
    assert_eq!(std::fs::read_to_string(told).expect("told").lines().count(), 1);
}

#[test]
fn commands_ask_the_journal_with_and_without_a_daemon() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let unknown = place.ask("history", &[]);
    assert_eq!(unknown.status.code(), Some(12), "{unknown:?}");
    assert_eq!(place.ask("wait", &["--timeout", "300ms"]).status.code(), Some(13));
    let daemon = Daemon::start(&place, &[]);
    assert_eq!(place.ask("wait", &["--timeout", "30s"]).status.code(), Some(0));
    assert_eq!(place.ask("wait", &["--step", "1"]).status.code(), Some(0));
    assert_eq!(place.ask("wait", &["--step", "9", "--timeout", "200ms"]).status.code(), Some(13));
    let history = String::from_utf8_lossy(&place.ask("history", &[]).stdout).into_owned();
    assert!(history.contains("R_f") && history.lines().count() == 3, "{history}");
    let link = place.path().join("best.onnx");
    assert!(place.ask("best", &["--link", link.to_str().expect("UTF-8")]).status.success());
    assert!(link.canonicalize().expect("a link").ends_with("step_1.onnx"));

    // Forgotten while it is watched: measured anew.
    assert!(place.ask("forget", &[]).status.success());
    eventually("measured again", || place.outcomes("measured").len() == 1);
    assert_eq!(daemon.end(), Some(0));
    assert!(place.ask("forget", &[]).status.success());
    assert_eq!(place.ask("history", &[]).status.code(), Some(12));
}
