//! Files that are no ONNX networks, or not yet: named for what they are, set aside at once, or waited for.

use std::fs;
use std::path::Path;

use crate::common::command::gzipped;
use crate::common::daemon::{Client, Daemon, Place, eventually, name_of, network};
use crate::common::{project, relstab};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What each file of tests/fixtures/foreign is called, and what to do with it.
const FOREIGN: [(&str, &str, &str); 10] = [
    ("torch_zip", "a PyTorch file", "torch.onnx.export"),
    ("torch_pickle", "a PyTorch file", "torch.onnx.export"),
    ("safetensors", "safetensors", "torch.onnx.export"),
    ("keras_hdf5", "HDF5", "model.export"),
    ("tflite", "TFLite", "tf2onnx.convert --tflite"),
    ("ort_format", "ORT format", "the .onnx file that it was made from"),
    ("gzip", "gzip", "NAME.onnx.gz"),
    ("xz", "xz", "xz -d"),
    ("zip", "zip", "unpack it"),
    ("onnx_textproto", "ONNX network as text", "format='textproto'"),
];

fn foreign(name: &str) -> Vec<u8> {
    fs::read(project("tests/fixtures/foreign").join(name)).expect("a fixture")
}

#[test]
fn the_command_names_them_with_the_next_step() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let refused = |name: &str, bytes: &[u8], words: &[&str]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        let output =
            relstab(&["measure", path.to_str().expect("UTF-8"), "--probe", "images.npz", "--backend", "tract"]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{name}: {complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
        assert!(words.iter().all(|word| complaint.contains(word)), "{name}: {complaint}");
    };
    for (name, what, next) in FOREIGN {
        refused(&format!("{name}.onnx"), &foreign(name), &[what, next]);
    }
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 132735\n";
    refused("lfs.onnx", pointer, &["Git LFS pointer", "git lfs pull"]);
    refused("html.onnx", b"<!DOCTYPE html><html><body>404</body></html>", &["a web page"]);
    refused("json.onnx", b"{\"message\": \"Not Found\"}", &["JSON"]);
    refused("text.onnx", b"Entry not found", &["Entry not found"]);
    refused("other.onnx.gz", &gzipped(&foreign("torch_zip")), &["a PyTorch file", "torch.onnx.export"]);
}

#[test]
fn a_packed_network_is_measured_as_the_network_in_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    for (name, packed_name) in [("plain.onnx", "plain.onnx.gz"), ("resnet_external.onnx", "resnet_external.onnx.gz")] {
        let bytes = fs::read(project("tests/fixtures").join(name)).expect("a fixture");
        fs::write(path(packed_name), gzipped(&bytes)).expect("written");
    }
    let weights = "resnet_external.onnx.data";
    fs::copy(project("tests/fixtures").join(weights), path(weights)).expect("copied");
    fs::write(path("plain.onnx.json"), r#"{"step": 12}"#).expect("written");
    let record = |model: &Path, backend: &str| -> Value {
        let flags =
            ["--probe", "images.npz", "--images", "20", "--draws", "1", "--format", "json", "--backend", backend];
        let output = relstab(&[&["measure", model.to_str().expect("UTF-8")], &flags[..]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    for backend in ["tract", "onnxruntime"] {
        for name in ["plain.onnx", "resnet_external.onnx"] {
            let plain = record(&project("tests/fixtures").join(name), backend);
            let packed = record(&path(&format!("{name}.gz")), backend);
            assert_eq!(packed["r_f"], plain["r_f"], "{name} on {backend}");
            assert_eq!(packed["model"]["sha256"], plain["model"]["sha256"]);
        }
    }
    assert_eq!(record(&path("plain.onnx.gz"), "tract")["metadata"]["step"], 12);
}

#[test]
fn a_daemon_sets_them_aside_at_once_and_waits_for_what_may_become_a_network() {
    let place = Place::new();
    let daemon = Daemon::start(&place, &["--give-up", "10m", "--pattern", "*.{onnx,onnx.gz}"]);
    let mut client = Client::subscribed(&daemon, 0);
    let whole = network("whole");
    let archive = gzipped(&network("packed"));
    for (name, bytes) in [
        ("empty.onnx", &[][..]),
        ("zeros.onnx", &[0; 4096]),
        ("cut.onnx", &whole[..whole.len() / 2]),
        ("cut.onnx.gz", &archive[..archive.len() / 2]),
    ] {
        place.put(name, bytes);
    }
    for (name, ..) in FOREIGN {
        place.put(format!("{name}.onnx"), &foreign(name));
    }
    let failed = client.outcomes(FOREIGN.len());
    for (name, what, next) in FOREIGN {
        let event = failed.iter().find(|event| name_of(event) == format!("{name}.onnx")).expect(name);
        let reason = event["reason"].as_str().unwrap_or_default();
        assert!(event["type"] == "failed" && reason.contains(what) && reason.contains(next), "{event}");
    }
    place.put("step_7.onnx.gz", &gzipped(&network("seven")));
    assert_eq!(name_of(&client.next_of("measured")), "step_7.onnx.gz");
    // Those that wait are taken when they are whole; one that was set aside is, too.
    fs::write(place.run().join("cut.onnx"), &whole).expect("written");
    fs::write(place.run().join("cut.onnx.gz"), &archive).expect("written");
    fs::write(place.run().join("zip.onnx"), network("another")).expect("written");
    let mut measured: Vec<_> = (0..3).map(|_| name_of(&client.next_of("measured"))).collect();
    measured.sort();
    assert_eq!(measured, ["cut.onnx", "cut.onnx.gz", "zip.onnx"]);
    eventually("two are waited for", || daemon.client().ask(&json!({"type": "status"}))["runs"][0]["pending"] == 2);
}

#[test]
fn a_checkpoint_is_awaited_until_it_has_the_hash_beside_it() {
    let place = Place::new();
    let [old, new] = ["old", "new"].map(network);
    let told = |bytes: &[u8]| json!({"step": 7, "sha256": hex::encode(Sha256::digest(bytes))}).to_string();
    // A copy under way has brought the network of one save and the file beside it of another.
    for name in ["late_network.onnx", "late_hash.onnx"] {
        place.put(format!("{name}.json"), told(&new).as_bytes());
        place.put(name, &old);
    }
    let path = place.run().join("late_hash.onnx");
    let output = relstab(&["measure", path.to_str().expect("UTF-8"), "--probe", "images.npz"]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("expected the SHA-256 that late_hash.onnx.json tells"), "{complaint}");
    let daemon = Daemon::start(&place, &["--give-up", "10m"]);
    let mut client = Client::subscribed(&daemon, 0);
    let half = || String::from_utf8_lossy(&place.ask("history", &[]).stdout).matches("half written").count();
    eventually("both are awaited", || half() == 2);
    eventually("history says for what", || {
        String::from_utf8_lossy(&place.ask("history", &[]).stdout)
            .contains("expected the SHA-256 that late_hash.onnx.json tells")
    });
    place.put("late_network.onnx", &new);
    assert_eq!(name_of(&client.next_of("measured")), "late_network.onnx");
    place.put("late_hash.onnx.json", told(&old).as_bytes());
    assert_eq!(name_of(&client.next_of("measured")), "late_hash.onnx");
}
