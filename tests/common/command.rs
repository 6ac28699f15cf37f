//! What the command prints, and files to give it.

use std::fs;
use std::io::Write as _;
use std::process::Output;

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;

use super::relstab;

/// `relstab measure` on the fixtures with the embedded engine and few passes.
pub fn measure(model: &str, more: &[&str]) -> Output {
    let fixed = ["measure", model, "--backend", "tract", "--draws", "1", "--images", "40"];
    relstab(&[&fixed, more].concat())
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Fails with `code` and one line on standard error that holds all of `words`; nothing is printed as a result.
pub fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.starts_with("error: "), "{complaint}");
    for word in words {
        assert!(complaint.contains(word), "no {word:?} in: {complaint}");
    }
    assert!(output.stdout.is_empty(), "{}", text(output));
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// A `.npy` file of one array.
    pub fn npy(&self, name: &str, kind: &str, shape: &str, data: &[u8]) -> String {
        let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let length = u16::try_from(header.len()).expect("short").to_le_bytes();
        self.file(name, [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat())
    }
}
