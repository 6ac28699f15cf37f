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
const FAULTS: [(&str, Spoil, &str); 14] = [
    ("fifo", |run| fifo(&run.join("relstab.toml")), "a FIFO"),
    ("zero", |run| symlink("/dev/zero", run.join("relstab.toml")).expect("linked"), "a device"),
    ("rules", |run| fs::write(run.join("relstab.toml"), "[[stop]]\n".repeat(900_000)).expect("written"), "65536 bytes"),
    ("many", |run| write(run, &format!("{GOOD}{}", "[[stop]]\n".repeat(100))), "at most 32 rules"),
    ("nan", |run| write(run, &format!("{GOOD}[perturbation]\ndelta = nan\n")), "perturbation.delta = NaN"),
    ("infinite", |run| write(run, "probe = 'probe.npz'\npreprocess = { mean = [inf] }\n"), "preprocess.mean[0] = inf"),
    ("unsigned", |run| write(run, &format!("{GOOD}[perturbation]\ncutoff = -inf\n")), "perturbation.cutoff = -inf"),
    ("rule", |run| write(run, &format!("{GOOD}[[stop]]\n[[stop]]\nbaseline = nan\n")), "stop[1].baseline = NaN"),
    ("law", |run| write(run, &format!("law = {{ name = 'own', a = 1e999 }}\n{GOOD}")), "law.a = inf"),
    ("json", |run| preset(run, "[0.5, nan]"), "image_mean[1]: nan"),
    ("large", |run| preset(run, "[-1e999]"), "image_mean[0]: -1e999"),
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

fn preset(run: &Path, mean: &str) {
    write(run, "probe = 'probe.npz'\npreprocess = { preset = 'config.json' }\n");
    let text = format!("{{\"image_processor_type\": \"ViTImageProcessor\",\n \"image_mean\": {mean}}}");
    fs::write(run.join("config.json"), text).expect("written");
}

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
        // In one step: a plan by what lay there before would stand.
        let run = place.run().with_file_name(name);
        fs::create_dir(&run).expect("created");
        fs::copy(bundled("probe.npz"), run.join("probe.npz")).expect("copied");
        write(&run, GOOD);
        if !matches!(name, "probe" | "outside") {
            fs::remove_file(run.join("relstab.toml")).expect("removed");
        }
        spoil(&run);
        fs::write(run.join("step_1.onnx"), network(name)).expect("written");
        fs::rename(&run, place.run().join(name)).expect("renamed");
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
    eventually("all are measured", || {
        place.events().iter().filter(|event| event["type"] == "measured").count() == FAULTS.len()
    });
    assert!(place.outcomes("failed").is_empty(), "{:?}", place.outcomes("failed"));
}

#[test]
fn a_configuration_that_changes_while_it_is_read_is_read_again() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--recursive"]);
    let names: Vec<_> = (0..40).map(|number| format!("run{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let run = place.run().join(name);
        fs::create_dir(&run).expect("created");
        write(&run, "probe = 'none.npz'\n[perturbation]\ndelta = nan\n");
        std::thread::sleep(Duration::from_micros(400 * (number as u64 % 20)));
        write(&run, "probe = 'none.npz'\n[perturbation]\ncutoff = nan\n");
    }
    let started = Instant::now();
    for name in &names {
        eventually(&format!("{name} waits, for its cutoff"), || {
            reason(&status(&daemon), name).is_some_and(|reason| reason.contains("cutoff"))
        });
    }
    // Whatever its files are, a run is planned again after a minute.
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
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
fn numbers_that_are_none_are_refused_by_name_wherever_they_come_from() {
    let place = Place::of_fixtures();
    let plain = fs::read(crate::common::project("tests/fixtures/plain.onnx")).expect("a network");
    for (step, text) in [(1, "{\"relstab.val_error\": nan}"), (2, "{\"a\": {\"b\": [0, -1e999]}}")] {
        fs::write(place.run().join(format!("step_{step}.onnx.json")), text).expect("written");
        place.put(format!("step_{step}.onnx"), &[plain.as_slice(), &property("note", text)].concat());
    }
    let daemon = Daemon::start(&place, &[]);
    let measured = Client::subscribed(&daemon, 0).outcomes(2);
    for (name, number) in [("step_1.onnx", "relstab.val_error: nan"), ("step_2.onnx", "a.b[1]: -1e999")] {
        let event = measured.iter().find(|event| name_of(event) == name).expect(name);
        assert!(event["measurement"]["warnings"].to_string().contains(number), "{event}");
    }
    for number in ["NaN", "nan", "Infinity", "-Infinity", "1e999", "-1e999"] {
        let mut client = daemon.client();
        client.send(&format!(r#"{{"type":"annotate","run":"{}","step":1,"val_error":{number}}}"#, place.run_name()));
        let answer = client.next();
        let is_named = answer["reason"].as_str().is_some_and(|why| why.contains(&format!("val_error: {number}")));
        assert!(answer["type"] == "error" && is_named, "{answer}");
    }
    drop(daemon);
    for flag in ["--mean", "--std", "--delta", "--temperature", "--precision"] {
        for number in ["nan", "inf", "1e999"] {
            let refused = place.ask("watch", &["--socket", "no socket", flag, number]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(refused.status.code() == Some(2) && said.contains(&flag[2..]), "{flag} {number}: {said}");
        }
    }
}

#[test]
fn a_probe_set_that_becomes_a_link_out_of_its_directory_is_refused() {
    let (place, daemon, _) = Place::measured();
    let probe = place.run().join("probe.npz");
    let secret = place.path().join("secret.npz");
    fs::copy(&probe, &secret).expect("copied");
    // The plan was made, and its images are loaded.
    fs::remove_file(&probe).and_then(|()| symlink(&secret, &probe)).expect("linked");
    place.rename_in("step_2.onnx", "two");
    eventually("the run waits", || {
        reason(&status(&daemon), "run").is_some_and(|why| why.contains("a path inside the directory"))
    });
    assert!(!place.outcomes("measured").contains_key("step_2.onnx"));
    // So it is for a folder of which a part leads out.
    fs::remove_file(&probe).and_then(|()| fs::create_dir(&probe)).expect("made");
    symlink("/etc/passwd", probe.join("image.png")).expect("linked");
    eventually("the run waits", || reason(&status(&daemon), "run").is_some_and(|why| why.contains("/etc/passwd")));
    fs::remove_dir_all(&probe).and_then(|()| fs::rename(&secret, &probe)).expect("mended");
    eventually("it is measured", || place.outcomes("measured").contains_key("step_2.onnx"));
    assert!(place.outcomes("failed").is_empty());
}

#[test]
fn a_network_whose_images_are_to_be_drawn_is_read_by_a_worker_alone() {
    let (place, daemon, _) = Place::measured();
    assert_eq!(daemon.end(), Some(0));
    // Four million empty nodes, 8 MB: hundreds of megabytes once they are parsed. What TensorBoard is told of first lies at this path.
    let nodes = b"\x0a\x00".repeat(4_000_000);
    place.put("step_1.onnx", &[b"\x08\x08\x3a\x80\xa4\xe8\x03".as_slice(), &nodes].concat());
    let board = place.path().join("board");
    let flags = ["--tensorboard", board.to_str().expect("UTF-8"), "--memory-limit", "200MiB", "--attempts", "1"];
    let daemon = Daemon::start(&place, &flags);
    eventually("it gives up drawing", || place.log().contains("no gallery"));
    eventually("it gives up measuring", || place.outcomes("failed").contains_key("step_1.onnx"));
    let peak = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("its status");
    let peak =
        peak.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(peak.is_some_and(|peak| peak < 100 << 10), "{peak:?} kB");
    place.rename_in("step_2.onnx", "two");
    eventually("it goes on", || place.outcomes("measured").contains_key("step_2.onnx"));
}
