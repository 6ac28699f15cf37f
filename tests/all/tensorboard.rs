//! What the daemon writes for TensorBoard; `hooks/tests/test_tensorboard.py` reads it with TensorBoard's own loader.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::daemon::{Client, Daemon, Place, eventually, fill};
use relstab::journal::{Filter, Journal, State};
use relstab::report::tensorboard::record::{Record, records};
use serde_json::{Value, json};

/// Every record of the only run below the board but the file's first, and the file.
fn all(board: &Path) -> Option<(Vec<Record>, PathBuf)> {
    let folder = fs::read_dir(board).ok()?.next()?.ok()?.path();
    let path = fs::read_dir(folder).ok()?.next()?.ok()?.path();
    let bytes = fs::read(&path).ok()?;
    Some((records(&bytes[..]).map(|(record, _)| record).skip(1).collect(), path))
}

/// The same without the gallery.
fn told(board: &Path) -> Option<(Vec<Record>, PathBuf)> {
    let (mut records, path) = all(board)?;
    records.retain(|record| picture(record).is_none());
    Some((records, path))
}

/// Width and height of the gallery, if it is one.
fn picture(record: &Record) -> Option<(u32, u32)> {
    let image = record.summary.as_ref()?.values.first()?.image.as_ref()?;
    let decoded = image::load_from_memory(&image.png).expect("a PNG");
    assert_eq!((decoded.width(), decoded.height()), (image.width as u32, image.height as u32));
    Some((decoded.width(), decoded.height()))
}

fn count(board: &Path) -> usize {
    told(board).map_or(0, |(told, _)| told.len())
}

fn scalar(record: &Record, tag: &str) -> Option<f32> {
    let values = &record.summary.as_ref()?.values;
    values.iter().find(|value| value.tag == format!("relstab/{tag}"))?.scalar
}

/// Each measured event of the journal is told once, in order, with its numbers; and once what the networks are shown.
fn assert_told_once(place: &Place, board: &Path) {
    let pictures: Vec<_> = all(board).expect("a file").0.iter().filter_map(picture).collect();
    assert!(pictures.len() == 1 && pictures[0].0 > 100, "{pictures:?}");
    let (told, _) = told(board).expect("a file");
    let measured: Vec<Value> = place.events().into_iter().filter(|event| event["type"] == "measured").collect();
    let seqs = |told: &[Record]| told.iter().map(|record| record.seq).collect::<Vec<_>>();
    assert_eq!(seqs(&told), measured.iter().map(|event| event["seq"].as_i64()).collect::<Vec<_>>());
    let mut found = BTreeSet::<&str>::new();
    for (record, event) in told.iter().zip(&measured) {
        let record_of = &event["measurement"];
        let findings = record_of["findings"].as_array().expect("findings");
        let codes: BTreeSet<_> = findings.iter().filter_map(|finding| finding["code"].as_str()).collect();
        found.extend(&codes);
        for code in &found {
            let expected = if codes.contains(code) { 1.0 } else { 0.0 };
            assert_eq!(scalar(record, &format!("finding/{code}")), Some(expected), "{code} of {event}");
        }
        assert_eq!(Some(record.step), record_of["metadata"]["step"].as_i64());
        for (tag, pointer) in [
            ("r_f", "/r_f/value"),
            ("r_f_low", "/r_f/low"),
            ("r_f_high", "/r_f/high"),
            ("d_f", "/d_f/value"),
            ("g_f", "/g_f/value"),
            ("predicted_error", "/prediction/error"),
            ("predicted_error_low", "/prediction/low"),
            ("predicted_error_high", "/prediction/high"),
            ("val_error", "/metadata/val_error"),
            ("probe_error", "/probe_error"),
        ] {
            let expected = record_of.pointer(pointer).and_then(Value::as_f64).map(|value| value as f32);
            assert_eq!(scalar(record, tag), expected, "{tag} of {event}");
        }
    }
}

#[test]
fn killed_at_any_moment_it_tells_each_measurement_once() {
    let (place, mut step) = (Place::new(), 0);
    let board = place.path().join("board");
    let flags = ["--tensorboard", board.to_str().expect("UTF-8")];
    for round in 0..8 {
        let daemon = Daemon::start(&place, &flags);
        for _ in 0..4 {
            step += 1;
            place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        }
        eventually("some are told", || count(&board) > step - 4);
        std::thread::sleep(Duration::from_millis(7 * round));
        daemon.kill();
        // As a power cut or a full disk may leave it.
        let (_, path) = told(&board).expect("a file");
        let file = fs::File::options().write(true).open(path).expect("opened");
        file.set_len(file.metadata().expect("a length").len() - 37 * round).expect("cut");
    }
    let daemon = Daemon::start(&place, &flags);
    eventually("all told", || count(&board) == step);
    assert_eq!(daemon.end(), Some(0));
    assert_told_once(&place, &board);

    // Forgotten and measured again, it is another measurement; a board that is gone is made anew.
    assert!(place.ask("forget", &[]).status.success());
    let daemon = Daemon::start(&place, &flags);
    eventually("measured again", || count(&board) == 2 * step);
    daemon.kill();
    fs::remove_dir_all(&board).expect("removed");
    let _daemon = Daemon::start(&place, &flags);
    eventually("told anew", || count(&board) == step);
    assert_told_once(&place, &board);
}

#[test]
fn known_errors_are_told_when_they_come_and_steps_are_counted_where_there_are_none() {
    let place = Place::of_fixtures();
    let board = place.path().join("board");
    let flags = ["--tensorboard", board.to_str().expect("UTF-8")];
    let daemon = Daemon::start(&place, &flags);
    let mut client = Client::subscribed(&daemon, 0);
    let mut known = |key: &str, name: Value, val_error: f64| {
        let mut request = json!({"type": "annotate", "run": place.run_name(), "val_error": val_error});
        request[key] = name;
        client.send(&request.to_string());
        client.next_of("annotated");
    };
    place.bring("plain.onnx", "first.onnx");
    eventually("told", || count(&board) == 1);
    // Of a checkpoint that comes later: told with its measurement.
    known("step", json!(20), 0.5);
    place.bring("plain.onnx", "step_20.onnx");
    eventually("told", || count(&board) == 2);
    place.bring("plain.onnx", "second.onnx");
    eventually("told", || count(&board) == 3);
    known("path", json!(format!("{}/second.onnx", place.run_name())), 0.25);
    known("step", json!(20), 0.125);
    known("step", json!(21), 0.75);
    eventually("told", || count(&board) == 5);
    assert_eq!(daemon.end(), Some(0));
    let (told, _) = told(&board).expect("a file");
    let found: Vec<_> = told.iter().map(|record| (record.step, scalar(record, "val_error"))).collect();
    assert_eq!(found, [(1, None), (20, Some(0.5)), (3, None), (3, Some(0.25)), (20, Some(0.125))]);
}

#[test]
fn a_board_that_cannot_be_written_is_said_once_and_costs_no_measurement() {
    let place = Place::new();
    let board = place.path().join("board");
    fs::write(&board, "a file").expect("written");
    let daemon = Daemon::start(&place, &["--tensorboard", board.to_str().expect("UTF-8")]);
    for step in 1..=3 {
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        eventually("measured", || place.outcomes("measured").len() == step);
    }
    eventually("said", || place.log().contains("TensorBoard"));
    assert_eq!(place.log().matches("TensorBoard").count(), 1, "{}", place.log());
    fs::remove_file(&board).expect("removed");
    eventually("told", || count(&board) == 3);
    assert_eq!(daemon.end(), Some(0));
    assert_told_once(&place, &board);
}

#[test]
fn a_full_disk_is_outlived_with_nothing_lost() {
    let place = Place::new();
    let board = place.path().join("board");
    fs::create_dir(&board).expect("created");
    let prepare = format!("mount -t tmpfs -o size=64k tmpfs {}", board.display());
    let flags = ["--tensorboard", board.to_str().expect("UTF-8")];
    let Some(daemon) = Daemon::start_in_namespace(&place, &prepare, &flags) else { return };
    let seen_from_here = format!("/proc/{}/root{}", daemon.child.id(), board.display());
    let seen_from_here = Path::new(&seen_from_here);
    place.rename_in("step_1.onnx", "1");
    eventually("told", || count(seen_from_here) == 1);
    let filler = seen_from_here.join("filler");
    fill(&filler);
    let mut step = 1;
    // The file's last page has room for a few.
    eventually("it says so", || {
        step += 1;
        place.rename_in(format!("step_{step}.onnx"), &step.to_string());
        std::thread::sleep(Duration::from_millis(100));
        place.log().contains("trying again every")
    });
    let measured = || {
        let mut client = Client::connect(&place.socket());
        client.ask(&json!({"type": "status"}))["runs"][0]["measured"].as_u64()
    };
    eventually("measuring goes on", || measured() == Some(step));
    fs::remove_file(&filler).expect("removed");
    let folder = seen_from_here.join("run");
    let all_told = || {
        let path = fs::read_dir(&folder).ok()?.next()?.ok()?.path();
        Some(records(&fs::read(path).ok()?[..]).filter(|(record, _)| record.seq.is_some()).count() as u64)
    };
    eventually("all told", || all_told() == Some(step));
    let journal = Journal::read(&place.journal()).expect("a journal");
    let filter = Filter { state: Some(State::Measured), ..Filter::default() };
    assert_eq!(journal.history(1, filter).expect("read").len() as u64, step);
}
