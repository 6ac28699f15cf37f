//! HTTP, as docs/http.md has it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::daemon::{Client, Place};
use crate::common::http::{exchange, get, start};
use serde_json::{Value, json};

fn json_of(address: &str, path: &str) -> Value {
    let (status, body) = get(address, path, "");
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("JSON")
}

fn post(address: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let head = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    exchange(address, &(head + body))
}

#[test]
fn runs_measurements_and_metrics_are_told_and_errors_are_kept() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let (daemon, address) = start(&place, &["--stop", "patience=2"]);
    Client::subscribed(&daemon, 0).next_of("measured");
    let runs = json_of(&address, "/api/runs");
    let run = &runs["runs"][0];
    assert_eq!((&run["run"], &run["watched"], &run["measured"]), (&json!(place.run_name()), &json!(true), &json!(1)));
    let id = run["id"].as_i64().expect("a number");

    let annotations = format!("/api/runs/{id}/annotations");
    assert_eq!(post(&address, &annotations, r#"{"step": 1, "val_error": 0.25}"#).0, 200);
    let entries = json_of(&address, &format!("/api/runs/{id}/measurements"));
    assert_eq!((&entries[0]["val_error"], &entries[0]["step"]), (&json!(0.25), &json!(1)));
    assert!(entries[0]["measurement"]["r_f"]["value"].as_f64().is_some_and(|r_f| r_f > 0.0), "{entries}");
    assert_eq!(json_of(&address, &format!("/api/runs/{id}/measurements?offset=1")), json!([]));

    let overview = json_of(&address, "/api/overview");
    let (line, latest) = (&overview["runs"][0], &overview["runs"][0]["latest"]);
    assert_eq!((&overview["folders"], &overview["may_retry"]), (&json!([place.run_name()]), &json!(false)));
    assert_eq!((&line["measured"], &line["failure"], &latest["val_error"]), (&json!(1), &json!(null), &json!(0.25)));
    assert_eq!((&latest["file"], &latest["r_f"]), (&json!("step_1.onnx"), &entries[0]["measurement"]["r_f"]));
    let checkpoint = json_of(&address, &format!("/api/runs/{id}/checkpoints/{}", latest["checkpoint"]));
    assert_eq!(checkpoint, entries[0]);
    let events = json_of(&address, &format!("/api/runs/{id}/events?limit=2"));
    assert_eq!((&events[0]["type"], &events[1]["type"]), (&json!("annotated"), &json!("measured")));
    assert!(events[1]["path"].as_str().is_some_and(|path| path.ends_with("/step_1.onnx")), "{events}");
    assert_eq!(post(&address, &format!("/api/runs/{id}/retry"), "").0, 403);

    let metrics = String::from_utf8(get(&address, "/metrics", "").1).expect("UTF-8");
    for line in [
        format!("relstab_run_info{{run=\"run-{id}\",path=\"{}\"}} 1", place.run_name()),
        format!("relstab_val_error{{run=\"run-{id}\"}} 0.25"),
        format!("relstab_checkpoints{{run=\"run-{id}\",state=\"measured\"}} 1"),
        "relstab_measurement_duration_seconds_count 1".to_owned(),
        "relstab_journal_writable 1".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert!(get(&address, "/healthz", "").0 == 200 && get(&address, "/readyz", "").0 == 200);

    for (status, (found, body)) in [
        (404, post(&address, "/api/runs/99/annotations", r#"{"step": 1, "val_error": 0.5}"#)),
        (400, post(&address, &annotations, r#"{"step": 1, "val_error": 50}"#)),
        (400, post(&address, &annotations, r#"{"val_error": 0.5}"#)),
        (422, post(&address, &annotations, r#"{"step": 1}"#)),
        (400, post(&address, &annotations, "{")),
        (400, get(&address, "/api/runs/x/measurements", "")),
        (404, get(&address, &format!("/api/runs/{id}/checkpoints/99"), "")),
        (404, get(&address, "/api/runs/99/measurements", "")),
        (404, get(&address, "/api/nothing", "")),
        (405, post(&address, "/api/runs", "")),
        (400, get(&address, &format!("/api/runs/{id}/measurements?limit=0"), "")),
    ] {
        let body = String::from_utf8_lossy(&body);
        assert!(found == status && body.contains("\"error\""), "{status}: {found} {body}");
    }
}

#[test]
fn metrics_tell_nothing_of_runs_that_ended_long_ago() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let (daemon, address) = start(&place, &[]);
    Client::subscribed(&daemon, 0).next_of("measured");
    let told = || String::from_utf8(get(&address, "/metrics", "").1).expect("UTF-8");
    assert!(told().contains("relstab_rf{"));
    let journal = rusqlite::Connection::open(place.journal()).expect("a journal");
    let age = "UPDATE events SET body = json_set(body, '$.time', '2020-01-01T00:00:00Z')";
    journal.execute(age, []).expect("written");
    let metrics = told();
    assert!(!metrics.contains("relstab_rf{") && metrics.contains("relstab_uptime_seconds"), "{metrics}");
}

#[test]
fn events_stream_from_where_the_listener_left_and_the_stream_ends_with_the_daemon() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let (mut daemon, address) = start(&place, &[]);
    Client::subscribed(&daemon, 0).next_of("measured");
    let listen = |more: &str| {
        let mut stream = TcpStream::connect(&address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_mins(1))).expect("set");
        write!(stream, "GET /events?{more}\r\n\r\n").expect("sent");
        BufReader::new(stream).lines().map_while(std::result::Result::ok)
    };
    let head = format!("HTTP/1.1\r\nHost: {address}\r\n");
    let ids = |lines: &mut dyn Iterator<Item = String>, count: usize| -> Vec<i64> {
        let ids = lines.filter_map(|line| line.strip_prefix("id: ").map(|id| id.parse().expect("a number")));
        ids.take(count).collect()
    };
    let mut all = listen(&format!("since=0 {head}"));
    assert_eq!(ids(&mut all, 2), [1, 2]);
    let mut rest = listen(&format!("since=0 {head}Last-Event-ID: 1\r\n"));
    assert_eq!(ids(&mut rest, 1), [2]);
    place.rename_in("step_2.onnx", "two");
    assert_eq!(ids(&mut all, 2), [3, 4]);
    rustix::process::kill_process(rustix::process::Pid::from_child(&daemon.child), rustix::process::Signal::TERM)
        .expect("told to end");
    assert_eq!(ids(&mut all, 1), Vec::<i64>::new());
    assert!(daemon.child.wait().expect("ended").success());
}

#[test]
fn strangers_are_refused() {
    let place = Place::new();
    let (_daemon, address) = start(&place, &[]);
    let with_host = |host: &str, more: &str| {
        exchange(&address, &format!("GET /api/runs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")).0
    };
    assert_eq!(with_host("localhost", ""), 200);
    assert_eq!(with_host("evil.example", ""), 403);
    assert_eq!(with_host(&address, "Origin: http://evil.example\r\n"), 403);

    let refused = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_relstab"));
        let output = command.arg("watch").arg(place.run()).args(args).output().expect("the command runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let elsewhere = |name: &str| place.path().join(name).to_str().expect("UTF-8").to_owned();
    let (journal, socket) = (elsewhere("elsewhere"), elsewhere("other-socket"));
    let (code, told) = refused(&["--http", "0.0.0.0:0", "--journal", &journal, "--socket", &socket]);
    assert!(code == Some(2) && told.contains("--http-token"), "{told}");
    let short = place.path().join("short");
    std::fs::write(&short, "secret\n").expect("written");
    let short = short.to_str().expect("UTF-8");
    let (code, told) =
        refused(&["--http", "0.0.0.0:0", "--http-token", short, "--journal", &journal, "--socket", &socket]);
    assert!(code == Some(2) && told.contains("16 bytes"), "{told}");
}

#[test]
fn a_token_opens_and_nothing_else_does() {
    let place = Place::new();
    let token = place.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").expect("written");
    let (_daemon, address) = start(&place, &["--http-token", token.to_str().expect("UTF-8")]);
    assert_eq!(get(&address, "/api/runs", "").0, 401);
    assert_eq!(get(&address, "/metrics", "Authorization: Bearer 0123456789abcdef0123456789abcdeX\r\n").0, 401);
    assert_eq!(get(&address, "/metrics", "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n").0, 200);
    assert_eq!(get(&address, "/healthz", "").0, 200);
    let retry = |run: &str| {
        let head = format!("POST /api/runs/{run}/retry HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        let shown = "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\nContent-Length: 0\r\n\r\n";
        exchange(&address, &(head + shown)).0
    };
    assert_eq!(retry("99"), 404);
}

#[test]
fn slow_and_endless_clients_cost_nothing() {
    let place = Place::new();
    let (daemon, address) = start(&place, &[]);
    let mut slow: Vec<_> = (0..200).map(|_| TcpStream::connect(&address).expect("connected")).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HT").expect("sent");
    }
    // One who asks for tens of megabytes and takes none of them.
    let mut deaf = TcpStream::connect(&address).expect("connected");
    let file = format!("GET /uplot.js HTTP/1.1\r\nHost: {address}\r\n\r\n");
    deaf.write_all(file.repeat(1200).as_bytes()).expect("sent");
    // A body without an end is refused by its announced length, and by what comes of it.
    let head =
        format!("POST /api/runs/1/annotations HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    let connect = || {
        let stream = TcpStream::connect(&address).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        stream.set_write_timeout(Some(Duration::from_secs(30))).expect("set");
        stream
    };
    let mut endless = connect();
    write!(endless, "{head}Content-Length: 1000000000\r\n\r\n").expect("sent");
    let mut answer = [0; 12];
    endless.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
    let mut chunked = connect();
    write!(chunked, "{head}Transfer-Encoding: chunked\r\n\r\n").expect("sent");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    while chunked.write_all(chunk.as_bytes()).is_ok() {}
    let mut stalled = connect();
    write!(stalled, "{head}Content-Length: 100\r\n\r\n{{").expect("sent");
    stalled.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 408");

    assert_eq!(get(&address, "/api/runs", "").0, 200);
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("read");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes < 200_000, "{kilobytes} kB");
    let started = Instant::now();
    slow[0].set_read_timeout(Some(Duration::from_mins(1))).expect("set");
    let mut rest = Vec::new();
    slow[0].read_to_end(&mut rest).expect("cut off");
    assert!(started.elapsed() < Duration::from_secs(30));
    // Reading sooner would save it.
    std::thread::sleep(Duration::from_secs(5));
    deaf.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    let mut taken = Vec::new();
    match deaf.read_to_end(&mut taken) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert!(taken.len() < 40_000_000, "{} bytes: served to the end", taken.len());
}
