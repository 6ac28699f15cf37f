//! Where the operating system lets the daemon have little, and clients ask much.

use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::common::daemon::{Client, Daemon, Place, eventually, name_of};
use crate::common::http::{get, start};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::{Value, json};

fn status(daemon: &Daemon) -> Value {
    daemon.client().ask(&json!({"type": "status"}))
}

/// What monitors are told of the journal.
fn written(address: &str) -> char {
    let metrics = String::from_utf8_lossy(&get(address, "/metrics", "").1).into_owned();
    let told = metrics.lines().find_map(|line| line.strip_prefix("relstab_journal_writable "));
    told.and_then(|told| told.chars().next()).expect("told")
}

fn started_with(place: &Place, limit: &str, more: &[&str]) -> Daemon {
    let journal = place.journal();
    let journal = ["--journal", journal.to_str().expect("UTF-8")];
    Daemon::start_after(place, limit, &[place.run()], &[&journal, more].concat())
}

/// What the log says of a name when the daemon is ready.
fn ready(place: &Place, name: &str) -> String {
    let told = |log: &str| Some(log.split(&format!("{name}=")).nth(1)?.split_whitespace().next()?.to_owned());
    eventually("it is said", || told(&place.log()).is_some());
    told(&place.log()).expect("said").replace("Some(", "").replace(')', "")
}

/// Files may be as many as the system allows.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("raised");
}

const TOKEN: &str = "a token of some length";

/// Flags of a daemon that listens at each kind of address.
fn at_all_addresses(place: &Place) -> Vec<String> {
    let token = place.path().join("token");
    fs::write(&token, TOKEN).expect("written");
    let free = "127.0.0.1:0".to_owned();
    let token = token.to_str().expect("UTF-8").to_owned();
    ["--http".to_owned(), free.clone(), "--tcp".to_owned(), free, "--tcp-token".to_owned(), token].into()
}

#[test]
fn few_open_files_turn_clients_away_and_stop_nothing() {
    let place = Place::new();
    let flags = at_all_addresses(&place);
    let daemon = started_with(&place, "ulimit -n 32", &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let (tcp, http) = (ready(&place, "tcp"), ready(&place, "http"));
    let connect = |address: &str| TcpStream::connect(address).expect("connected");
    let begun = |mut stream: TcpStream, begin: &str| stream.write_all(begin.as_bytes()).map(|()| stream).expect("sent");
    // Held all the while: who asks nothing, who does not show the token, who never ends his request.
    let _clients: Vec<_> = (0..20)
        .map(|_| (UnixStream::connect(place.socket()), connect(&tcp), begun(connect(&http), "GET / HT")))
        .collect();
    for step in 1..=3 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
    }
    eventually("all are measured", || {
        let told = place.ask("status", &["--format", "json"]).stdout;
        serde_json::from_slice::<Value>(&told).is_ok_and(|told| told[0]["runs"][0]["measured"] == 3)
    });
    assert!(!place.log().contains("cannot accept"), "{}", place.log());
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn files_that_may_not_grow_are_as_a_full_disk() {
    let place = Place::new();
    let daemon = started_with(&place, "ulimit -S -f 600", &[]);
    let mut steps = 0;
    eventually("it cannot write", || {
        steps += 1;
        place.rename_in(format!("step_{steps}.onnx"), &steps.to_string());
        status(&daemon)["journal_writable"] == false
    });
    let process = i32::try_from(daemon.child.id()).ok().and_then(Pid::from_raw);
    let all = Rlimit { current: None, maximum: None };
    prlimit(process, Resource::Fsize, all).expect("a limit that may be raised");
    eventually("all are measured", || status(&daemon)["runs"][0]["measured"] == steps);
    assert_eq!(daemon.end(), Some(0));
}

/// A copy of the command in a place that is this user's: root is not bound by limits of processes. `None` where this is not root.
fn given_to(place: &Place, user: u32) -> Option<PathBuf> {
    if !rustix::process::getuid().is_root() {
        eprintln!("passed over: only root can be another user");
        return None;
    }
    let command = place.path().join("relstab");
    fs::copy(env!("CARGO_BIN_EXE_relstab"), &command).expect("copied");
    let owned = Command::new("chown").args(["-R", &format!("{user}:{user}")]).arg(place.path()).status();
    assert!(owned.expect("run").success());
    Some(command)
}

fn as_user(user: u32) -> String {
    format!("setpriv --reuid={user} --regid={user} --clear-groups")
}

#[test]
fn where_too_few_threads_may_start_the_daemon_says_so_and_ends() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    let Some(command) = given_to(&place, 65534) else { return };
    for limit in [3, 8] {
        let limited = format!("exec {} prlimit --nproc={limit} \"$@\"", as_user(65534));
        let mut daemon = Command::new("sh");
        daemon.args(["-c", &limited, "sh"]).arg(&command);
        daemon.arg("watch").arg(place.run()).args(["--backend", "tract"]).env("XDG_STATE_HOME", place.home());
        let done = daemon.output().expect("it ends");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code().is_some_and(|code| code > 0 && code < 100), "{limit}: {said}");
        assert!(said.contains("ulimit -u") && !said.contains("panicked"), "{limit}: {said}");
    }
}

#[test]
fn where_no_worker_could_start_for_want_of_files_the_daemon_says_so_and_ends() {
    let place = Place::new();
    let mut daemon = Command::new("sh");
    daemon.args(["-c", "ulimit -n 22 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_relstab"), "watch"]);
    daemon.arg(place.run()).args(["--backend", "tract", "--http", "127.0.0.1:0"]).env("XDG_STATE_HOME", place.home());
    let done = daemon.output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(6) && said.contains("ulimit -n"), "{said}");
}

#[test]
fn where_no_thread_may_start_any_more_the_daemon_goes_on() {
    const USER: u32 = 65533;
    let place = Place::new();
    let Some(command) = given_to(&place, USER) else { return };
    let start = format!("shift; set -- {} {} \"$@\"", as_user(USER), command.display());
    // By a name that is to be looked up.
    let (told, webhook) = (TcpListener::bind("127.0.0.1:0").expect("listens"), place.path().join("webhook"));
    let port = told.local_addr().expect("bound").port();
    fs::write(&webhook, format!("http://localhost:{port}/\n")).expect("written");
    let alerts = ["--alert", "on=failure", "--alert-webhook", webhook.to_str().expect("UTF-8")];
    let flags = ["--http", "127.0.0.1:0", "--attempts", "1"];
    let daemon = started_with(&place, &start, &[&flags, &alerts[..]].concat());
    let http = ready(&place, "http");
    // The one who may lower and raise it anywhere.
    let limit = |process: u32, count: &str| {
        let limited = format!("{} prlimit --pid={process} --nproc={count}:", as_user(USER));
        assert!(Command::new("sh").args(["-c", &limited]).status().expect("run").success());
    };
    // Threads that a runtime starts for a while have ended by then.
    std::thread::sleep(Duration::from_secs(11));
    limit(daemon.child.id(), "1");
    assert_eq!(status(&daemon)["type"], "status");
    assert!(get(&http, "/readyz", "").0 == 200 && get(&http, "/api/runs", "").0 == 200);
    place.rename_in("step_1.onnx", "one");
    eventually("it waits for a worker", || place.log().contains("no worker can be started"));
    limit(daemon.child.id(), "1000");
    eventually("it is measured", || status(&daemon)["runs"][0]["measured"] == 1);

    // Nor need the worker that there is start any.
    daemon.workers().iter().chain([&daemon.child.id()]).for_each(|process| limit(*process, "1"));
    place.rename_in("step_2.onnx", "two");
    eventually("it is measured", || status(&daemon)["runs"][0]["measured"] == 2);
    place.put("step_3.onnx", b"<html>no network</html>");
    told.set_nonblocking(true).expect("set");
    eventually("the webhook is told", || told.accept().is_ok());
    assert_eq!(daemon.end(), Some(0));
    assert!(!place.log().contains("panicked"), "{}", place.log());
}

#[test]
fn clients_that_say_nothing_give_way_to_health_checks() {
    let place = Place::new();
    let _daemon = started_with(&place, "ulimit -n 200", &["--http", "127.0.0.1:0"]);
    let (http, places) = (ready(&place, "http"), ready(&place, "clients").parse::<usize>().expect("a number"));
    assert!((20..200).contains(&places), "{places}");
    for begin in ["", "GET / HT"] {
        let mut silent: Vec<_> = (0..200).map(|_| TcpStream::connect(&http).expect("connected")).collect();
        for stream in &mut silent {
            stream.write_all(begin.as_bytes()).expect("sent");
        }
        assert!(get(&http, "/healthz", "").0 == 200 && get(&http, "/readyz", "").0 == 200);
        // They were not waited for, until their time was over.
        let is_open = |mut stream: &TcpStream| {
            stream.set_nonblocking(true).expect("set");
            stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        let open = silent.iter().filter(|stream| is_open(stream)).count();
        assert!((places / 2..=places).contains(&open), "{open} of {places}");
    }
}

#[test]
fn a_journal_that_is_removed_is_said() {
    let place = Place::new();
    let (daemon, address) = start(&place, &[]);
    assert_eq!((status(&daemon)["journal_writable"].clone(), written(&address)), (json!(true), '1'));
    std::fs::remove_file(place.journal()).expect("removed");
    assert_eq!((status(&daemon)["journal_writable"].clone(), written(&address)), (json!(false), '0'));
    eventually("it is said", || place.log().contains("removed or replaced"));
    place.rename_in("step_1.onnx", "one");
    assert_eq!(name_of(&Client::subscribed(&daemon, 0).next_of("measured")), "step_1.onnx");
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn a_journal_that_cannot_be_written_is_told_to_monitors() {
    let place = Place::new();
    let (daemon, address) = start(&place, &[]);
    assert_eq!(written(&address), '1');
    let process = i32::try_from(daemon.child.id()).ok().and_then(Pid::from_raw);
    let limit = |most| {
        let limit = Rlimit { current: most, maximum: None };
        prlimit(process, Resource::Fsize, limit).expect("a limit that may be raised");
    };
    limit(Some(4096));
    place.rename_in("step_1.onnx", "one");
    eventually("it cannot be written", || written(&address) == '0');
    limit(None);
    eventually("it can be written again", || written(&address) == '1');
    assert_eq!(name_of(&Client::subscribed(&daemon, 0).next_of("measured")), "step_1.onnx");
}

#[test]
fn those_who_follow_events_leave_places_for_health_checks() {
    raise_open_files();
    let place = Place::new();
    let (_daemon, address) = start(&place, &[]);
    let follow = || {
        let mut stream = TcpStream::connect(&address).expect("connected");
        write!(stream, "GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("sent");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("an answer");
        assert!(line.contains("503") || line.contains("200"), "{line}");
        (stream, line.contains("200"))
    };
    let followers: Vec<_> = (0..1100).map(|_| follow()).collect();
    assert_eq!(followers.iter().filter(|(_, is_followed)| *is_followed).count(), 1024);
    assert!(get(&address, "/healthz", "").0 == 200 && get(&address, "/readyz", "").0 == 200);
    drop(followers);
    eventually("there are places again", || follow().1);
}
