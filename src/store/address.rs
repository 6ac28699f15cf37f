//! Addresses in object stores, and what a store says of what lies there.
//!
//! An address is kept as a path: it is joined, shortened and compared as one, and `s3://bucket` stays as it is written.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

const SCHEMES: [&str; 4] = ["s3", "gs", "az", "file"];
const EXPECTED: &str = "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///FOLDER, without a user, a password or a \
                        query: credentials come from the environment (docs/stores.md)";

/// What stands before `://`, if `path` is an address rather than a path of this machine.
pub fn scheme(path: &Path) -> Option<&str> {
    let (scheme, _) = path.to_str()?.split_once("://")?;
    scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(scheme)
}

/// Whether `path` is an address in an object store.
pub fn is_address(path: &Path) -> bool {
    scheme(path).is_some_and(|scheme| SCHEMES.contains(&scheme))
}

/// The path of an address of this machine: `/folder` of `file:///folder`.
pub fn local_path(address: &Path) -> &Path {
    address.to_str().and_then(|text| text.strip_prefix("file://")).map_or(address, Path::new)
}

/// The address as runs are named by it: no slash at its end. `what` is what a user gave it as.
///
/// # Errors
/// `Setting` for what is no address of a store, and for one that holds credentials.
pub fn normalised(what: &'static str, path: &Path) -> Result<PathBuf> {
    let text = path.to_str().unwrap_or_default().trim_end_matches('/');
    let refused = || Error::setting(what, EXPECTED, without_secrets(&path.to_string_lossy()));
    let (_, rest) = text.split_once("://").filter(|_| is_address(path)).ok_or_else(refused)?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let is_local = text.starts_with("file:");
    let is_name = bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._$:".contains(&byte));
    let are_parts = key.is_empty() || key.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if rest.contains(['?', '#', '\\']) || !is_name || bucket.is_empty() != is_local || !are_parts {
        return Err(refused());
    }
    Ok(text.into())
}

/// An object as a list has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Its address.
    pub address: String,
    /// Bytes.
    pub size: u64,
    /// Its `ETag`, as the store writes it: a token, no hash of the content.
    pub tag: Option<String>,
    /// The last write, milliseconds since 1970.
    pub modified: u64,
}

/// Names these objects as they are, as `tells` tells what one is.
pub fn digest(objects: &[Object], tells: fn(&Object) -> String) -> String {
    let mut hash = Sha256::new();
    for object in objects {
        hash.update(format!("{}\n{}\n", object.address, tells(object)));
    }
    hex::encode(&hash.finalize()[..16])
}

impl Object {
    /// The address as a path.
    pub fn path(&self) -> &Path {
        Path::new(&self.address)
    }

    /// Tells this version from others in lists of the same store.
    pub fn version(&self) -> String {
        format!("{}-{}", self.stamp(), self.modified)
    }

    /// Tells this content from others, however it was asked for: lists tell milliseconds of a write where answers tell seconds.
    pub fn stamp(&self) -> String {
        let tag = self.tag.as_deref().unwrap_or_default();
        format!("{}-{}", self.size, tag.trim_matches('"'))
    }

    /// The last write.
    pub fn written(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.modified)
    }
}

/// A text in which no URL has a user, a password or a query: these may be credentials.
pub fn without_secrets(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '<' | '>');
        let (url, after) = behind.split_at(behind.find(is_end).unwrap_or(behind.len()));
        let url = &url[..url.find(['?', '#']).unwrap_or(url.len())];
        let host = &url[..url.find('/').unwrap_or(url.len())];
        clean += before;
        clean += &url[host.rfind('@').map_or(0, |at| at + 1)..];
        rest = after;
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths_and_never_hold_credentials() {
        for (given, expected) in [
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("gs://bucket", "gs://bucket"),
            ("file:///tmp/a b/", "file:///tmp/a b"),
        ] {
            assert_eq!(normalised("DIR", Path::new(given)).expect(given).to_str(), Some(expected));
        }
        for wrong in [
            "s3://",
            "s3://a b/c",
            "s3://a\nb/c",
            "s3://a//b",
            "s3://a/../b",
            "file://host/a",
            "https://a/b",
            "s3://user:sesame@a/b",
            "s3://a/b?key=sesame",
        ] {
            let error = normalised("DIR", Path::new(wrong)).expect_err(wrong).to_string();
            assert!(error.contains("credentials come from the environment") && !error.contains("sesame"), "{error}");
        }
        assert!(!is_address(Path::new("/tmp/s3://a")) && !is_address(Path::new("runs/a")));
        let path = Path::new("s3://bucket/a/step_1.onnx");
        assert_eq!(path.parent().and_then(Path::to_str), Some("s3://bucket/a"));
        assert_eq!(Path::new("s3://bucket/a").join("b").to_str(), Some("s3://bucket/a/b"));
    }

    #[test]
    fn texts_lose_what_may_be_credentials() {
        let text =
            "GET (https://me:word@host:9000/a/b?sig=word&x=word) failed: \"http://host/?word\" at s3://bucket/key";
        let clean = "GET (https://host:9000/a/b) failed: \"http://host/\" at s3://bucket/key";
        assert_eq!(without_secrets(text), clean);
    }
}
