//! Paths in records (file names on Unix are bytes, JSON strings are not), and the user's folders.

use std::env;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The path as people and records see it: bytes that are not UTF-8 are written `\xNN`, a backslash is written twice. No two paths
/// are written alike.
pub fn text(path: &Path) -> String {
    let escaped = |invalid: &[u8]| invalid.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let chunks = path.as_os_str().as_encoded_bytes().utf8_chunks();
    chunks.map(|chunk| format!("{}{}", chunk.valid().replace('\\', r"\\"), escaped(chunk.invalid()))).collect()
}

/// The path that [`text`] has written.
pub fn of_text(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let byte = behind.strip_prefix('x').and_then(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok());
        rest = if let Some(byte) = byte {
            bytes.push(byte);
            &behind[3..]
        } else {
            // One that is written twice; of earlier versions, also one alone.
            bytes.push(b'\\');
            behind.strip_prefix('\\').unwrap_or(behind)
        };
    }
    bytes.extend(rest.as_bytes());
    from_bytes(bytes)
}

/// This program's folder below the one that the XDG variable names, else below `fallback` in the home directory.
///
/// # Errors
/// `Setting` where there is neither; `instead` is what to give then.
pub fn user_folder(variable: &str, fallback: &str, instead: &'static str) -> Result<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || env::home_dir().map(|home| home.join(fallback));
    let missing = || Error::setting(instead, "a path, or a home directory to keep it in", "neither");
    Ok(named.or_else(home).ok_or_else(missing)?.join("relstab"))
}

/// What a path in a run's own configuration may be.
pub const INSIDE: &str = "a path inside the directory (or a flag)";

/// That symbolic links lead neither `named`, which the setting `name` of a configuration in `folder` says, nor what lies in it, out of
/// the folder.
///
/// # Errors
/// `Setting` with where they lead.
pub fn stay_inside(name: &'static str, folder: &Path, named: &Path) -> Result<()> {
    let named = folder.join(named);
    let (Ok(folder), Ok(target)) = (folder.canonicalize(), named.canonicalize()) else { return Ok(()) };
    let is_outside = |target: &PathBuf| !target.starts_with(&folder);
    let links = walkdir::WalkDir::new(&target).into_iter().flatten().filter(walkdir::DirEntry::path_is_symlink);
    let mut targets = std::iter::once(target).chain(links.filter_map(|link| link.path().canonicalize().ok()));
    targets.find(is_outside).map_or(Ok(()), |outside| {
        Err(Error::setting(name, INSIDE, format!("{}, which leads to {}", named.display(), outside.display())))
    })
}

/// For `#[serde(serialize_with)]`: as [`text`].
///
/// # Errors
/// Whatever the serializer fails with.
pub fn serialize_text<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(path))
}

/// For `#[serde(deserialize_with)]`: as [`of_text`].
///
/// # Errors
/// Whatever the deserializer fails with.
pub fn deserialize_text<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<PathBuf, D::Error> {
    String::deserialize(deserializer).map(|text| of_text(&text))
}

/// A path that survives a round trip between two processes of this program, whatever its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawPath(pub PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Wire {
    Text(String),
    Bytes(Vec<u8>),
}

impl Serialize for RawPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let wire = self.0.to_str().map_or_else(|| Wire::Bytes(to_bytes(&self.0)), |text| Wire::Text(text.to_owned()));
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RawPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(Self(match Wire::deserialize(deserializer)? {
            Wire::Text(text) => text.into(),
            Wire::Bytes(bytes) => from_bytes(bytes),
        }))
    }
}

/// The path's bytes, as the operating system has them.
pub fn to_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().to_vec()
}

/// The path of these bytes.
pub fn from_bytes(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_can_be_shown_and_sent() {
        let path = from_bytes(b"a\xff\nb.onnx".to_vec());
        assert_eq!(text(&path), "a\\xff\nb.onnx");
        assert_eq!(text(Path::new(r"a\xff")), r"a\\xff");
        assert_ne!(text(Path::new(r"a\\xff")), text(Path::new(r"a\xff")));
        for bytes in [&b"a\xff\nb.onnx"[..], b"a\\xff", b"\\\\x41\\", b"\\\xff\\x", "é\\é".as_bytes()] {
            let path = from_bytes(bytes.to_vec());
            assert_eq!(of_text(&text(&path)), path, "{}", text(&path));
        }
        // As earlier versions wrote it.
        assert_eq!(of_text(r"a\b\xé"), Path::new(r"a\b\xé"));
        let sent = serde_json::to_string(&RawPath(path.clone())).expect("serialised");
        assert_eq!(serde_json::from_str::<RawPath>(&sent).expect("parsed").0, path);
        assert_eq!(serde_json::to_string(&RawPath("a/b".into())).expect("serialised"), "\"a/b\"");
    }
}
