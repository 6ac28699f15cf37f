//! Files that a run may hold and that nobody checked: they cost their own run or checkpoint, never the daemon.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::daemon::{Client, Daemon, Place, bundled, eventually, name_of, network, property};
use crate::common::resident;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

/// The daemon answers within this, whatever its runs hold.
const SOON: Duration = Duration::from_secs(3);
const GOOD: &str = "probe = 'probe.npz'\npreprocess = { mean = [0.2860], std = [0.3530] }\n";

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("made");
}

/// `status`, in time.
fn status(daemon: &Daemon) -> Value {
    let started = Instant::now();
    let status = daemon.client().ask(&json!({"type": "status"}));
    assert!(started.elapsed() < SOON, "deaf for {:?}", started.elapsed());
    status
}

/// Why a run cannot be measured.
fn reason(status: &Value, run: &str) -> Option<String> {
    let runs = status["runs"].as_array()?;
    let run = runs.iter().find(|found| found["run"].as_str().is_some_and(|path| path.ends_with(&format!("/{run}"))))?;
    run["unusable"].as_str().map(str::to_owned)
}

type Spoil = fn(&Path);

/// What spoils a run, and what is said of it.
const FAULTS: [(&str, Spoil, &str); 9] = [
    ("fifo", |run| fifo(&run.join("relstab.toml")), "a FIFO"),
    ("zero", |run| symlink("/dev/zero", run.join("relstab.toml")).expect("linked"), "a device"),
    ("rules", |run| fs::write(run.join("relstab.toml"), "[[stop]]\n".repeat(900_000)).expect("written"), "65536 bytes"),
    ("many", |run| write(run, &format!("{GOOD}{}", "[[stop]]\n".repeat(100))), "at most 32 rules"),
    ("nan", |run| write(run, &format!("{GOOD}[perturbation]\ndelta = nan\n")), "perturbation.delta = NaN"),
    ("infinite", |run| write(run, "probe = 'probe.npz'\npreprocess = { mean = [inf] }\n"), "preprocess.mean = inf"),
    (
        "preset",
        |run| {
            write(run, "probe = 'probe.npz'\npreprocess = { preset = 'config.json' }\n");
            fifo(&run.join("config.json"));
        },
        "a FIFO",
    ),
    (
        "probe",
        |run| {
            fs::remove_file(run.join("probe.npz")).expect("removed");
            fifo(&run.join("probe.npz"));
        },
        "a FIFO",
    ),
    (
        "outside",
        |run| {
            fs::remove_file(run.join("probe.npz")).expect("removed");
            symlink(bundled("probe.npz"), run.join("probe.npz")).expect("linked");
        },
        "a path inside the directory",
    ),
];

fn write(run: &Path, config: &str) {
    fs::write(run.join("relstab.toml"), config).expect("written");
}

#[test]
fn a_run_that_is_spoiled_waits_with_its_reason_and_goes_on_once_it_is_mended() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--recursive"]);
    status(&daemon);
    let before = resident(&daemon);
    for (name, spoil, _) in FAULTS {
        let run = place.run().join(name);
        fs::create_dir(&run).expect("created");
        fs::copy(bundled("probe.npz"), run.join("probe.npz")).expect("copied");
        write(&run, GOOD);
        if !matches!(name, "probe" | "outside" | "preset") {
            fs::remove_file(run.join("relstab.toml")).expect("removed");
        }
        spoil(&run);
        fs::write(run.join("step_1.onnx"), network(name)).expect("written");
    }
    for (name, _, found) in FAULTS {
        eventually(&format!("{name} waits, for {found}"), || {
            reason(&status(&daemon), name).is_some_and(|reason| reason.contains(found))
        });
    }
    assert!(resident(&daemon) < before + (20 << 20), "{} bytes before, {} now", before, resident(&daemon));
    assert!(fs::metadata(place.journal()).expect("there").len() < 1 << 20);
    assert!(place.outcomes("failed").is_empty() && place.outcomes("measured").is_empty());

    for (name, ..) in FAULTS {
        let run = place.run().join(name);
        for file in ["relstab.toml", "probe.npz"] {
            fs::remove_file(run.join(file)).expect("removed");
        }
        fs::copy(bundled("probe.npz"), run.join("probe.npz")).expect("copied");
        write(&run, GOOD);
    }
    eventually("all are measured", || place.events().iter().filter(|event| event["type"] == "measured").count() == 9);
    assert!(place.outcomes("failed").is_empty(), "{:?}", place.outcomes("failed"));
}

#[test]
fn a_configuration_that_is_spoiled_from_the_beginning_is_said_at_once() {
    let place = Place::new();
    fs::remove_file(place.run().join("relstab.toml")).expect("removed");
    fifo(&place.run().join("relstab.toml"));
    let refused = place.ask("watch", &["--socket", place.socket().to_str().expect("UTF-8")]);
    assert_eq!(refused.status.code(), Some(10));
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(complaint.contains("relstab.toml") && complaint.contains("a FIFO"), "{complaint}");
}

/// 320 MB of zeros in 320 kB.
const BOMB: &str = "
import sys, zipfile
header = b\"{'descr': '|u1', 'fortran_order': False, 'shape': (320000, 1000), }\".ljust(117) + b'\\n'
with zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as bomb:
    with bomb.open('images.npy', 'w') as images:
        images.write(b'\\x93NUMPY\\x01\\x00' + len(header).to_bytes(2, 'little') + header)
        for _ in range(320):
            images.write(bytes(1000000))
";

#[test]
fn a_probe_set_that_takes_too_much_memory_is_no_fault_of_the_checkpoints() {
    let place = Place::new();
    let probe = place.run().join("probe.npz");
    let made = Command::new("python3").args(["-c", BOMB]).arg(&probe).status().expect("python3 runs");
    assert!(made.success());
    place.rename_in("step_1.onnx", "one");
    place.rename_in("step_2.onnx", "two");
    let daemon = Daemon::start(&place, &["--memory-limit", "200MiB"]);
    eventually("the run waits", || reason(&status(&daemon), "run").is_some_and(|text| text.contains("--memory-limit")));
    assert!(place.outcomes("failed").is_empty(), "{:?}", place.outcomes("failed"));
    fs::copy(bundled("probe.npz"), &probe).expect("copied");
    let outcomes = Client::subscribed(&daemon, 0).outcomes(2);
    assert!(outcomes.iter().all(|event| event["type"] == "measured"), "{outcomes:?}");
}

/// Two pictures of 268 MB each in 520 kB, in a tar file.
const PICTURES: &str = "
import io, struct, sys, tarfile, zlib
def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
side = 16384
pack = zlib.compressobj(1)
data = b''.join(pack.compress(bytes(side + 1)) for _ in range(side)) + pack.flush()
head = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
png = b'\\x89PNG\\r\\n\\x1a\\n' + chunk(b'IHDR', head) + chunk(b'IDAT', data) + chunk(b'IEND', b'')
with tarfile.open(sys.argv[1], 'w', format=tarfile.USTAR_FORMAT) as archive:
    for name in ('0.png', '1.png'):
        info = tarfile.TarInfo(name)
        info.size = len(png)
        archive.addfile(info, io.BytesIO(png))
";

#[test]
fn pictures_that_take_too_much_memory_are_no_fault_of_the_checkpoints() {
    let place = Place::new();
    let probe = place.run().join("probe.npz");
    let made = Command::new("python3").args(["-c", PICTURES]).arg(&probe).status().expect("python3 runs");
    assert!(made.success());
    place.rename_in("step_1.onnx", "one");
    let daemon = Daemon::start(&place, &["--memory-limit", "200MiB", "--attempts", "1"]);
    eventually("the run waits", || reason(&status(&daemon), "run").is_some_and(|text| text.contains("--memory-limit")));
    assert!(place.outcomes("failed").is_empty(), "{:?}", place.outcomes("failed"));
    fs::copy(bundled("probe.npz"), &probe).expect("copied");
    assert_eq!(name_of(&Client::subscribed(&daemon, 0).next_of("measured")), "step_1.onnx");
}

#[test]
fn what_a_file_says_of_itself_is_cut_in_its_record() {
    let place = Place::new();
    let mut bytes = network("long");
    bytes.extend(property("relstab.story", &"x".repeat(3 << 20)));
    for number in 0..5000 {
        bytes.extend(property(&format!("relstab.key{number}"), "value"));
    }
    place.put("step_1.onnx", &bytes);
    let daemon = Daemon::start(&place, &[]);
    let event = Client::subscribed(&daemon, 0).next_of("measured");
    let record = event.to_string();
    assert!(record.len() < 100 << 10, "{} bytes", record.len());
    assert!(record.contains("entries are left out of the record"), "{record}");
}

#[test]
fn a_record_that_the_journal_never_takes_costs_only_its_checkpoint() {
    let place = Place::new();
    Daemon::start(&place, &[]).end();
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON events WHEN new.body LIKE '%\"measured\"%step_1.onnx%'
                  BEGIN SELECT RAISE(ABORT, 'poison'); END";
    rusqlite::Connection::open(place.journal()).and_then(|db| db.execute_batch(poison)).expect("made");
    place.rename_in("step_1.onnx", "one");
    place.rename_in("step_2.onnx", "two");
    let daemon = Daemon::start(&place, &[]);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(2);
    let failed = outcomes.iter().find(|event| event["type"] == "failed").expect("one is set aside");
    assert!(name_of(failed) == "step_1.onnx" && failed["reason"].as_str().is_some_and(|text| text.contains("poison")));
    assert!(outcomes.iter().any(|event| event["type"] == "measured" && name_of(event) == "step_2.onnx"));
    assert_eq!(status(&daemon)["journal_writable"], true);
}

#[test]
fn names_never_reach_a_terminal_raw() {
    let place = Place::new();
    let name = "\u{1b}[31mred\nline step_1.onnx";
    place.rename_in(name, "one");
    place.put("\u{1b}]0;title\u{7}step_2.onnx", b"neither a network nor empty");
    let daemon = Daemon::start(&place, &["--give-up", "1s"]);
    let outcomes = Client::subscribed(&daemon, 0).outcomes(2);
    assert!(outcomes.iter().any(|event| event["type"] == "measured"), "{outcomes:?}");
    let printed = place.ask("history", &[]);
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("\\u{1b}") && !printed.contains('\u{1b}'), "{printed:?}");
    eventually("it is logged", || place.log().contains("red"));
    for text in [place.log(), place.printed()] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}') && !text.contains("red\nline"), "{text:?}");
    }
}
