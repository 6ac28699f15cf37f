//! A checkpoint in a framework's own format: a file, or a folder that is one checkpoint as a whole. Nothing here understands what it
//! holds; it is listed and hashed, and looked at for being cut short.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use super::check_hash;
use super::file::{is_packed, unpacked_name};
use super::signature::ENOUGH;
use crate::error::{Error, Result};
use crate::path::to_bytes;

/// Endings of the files in which frameworks keep weights.
pub const ENDINGS: [&str; 6] = ["pt", "pth", "ckpt", "safetensors", "keras", "h5"];
/// A folder that is one checkpoint may hold so many files.
const MOST: usize = 1 << 16;
/// Where the list of a zip archive's entries ends: its mark, which at most a comment follows.
const ZIP_END: &[u8] = b"PK\x05\x06";
const LONGEST_ZIP_END: u64 = 22 + u16::MAX as u64;
/// A header of safetensors may be this long, bytes.
const LONGEST_HEADER: u64 = 100 << 20;

/// A checkpoint that a framework can read, and this program cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Native {
    /// The file or the folder.
    pub path: PathBuf,
    /// Hash of the file; of a folder, that of its files with their names.
    pub sha256: String,
}

/// Whether the name at `path` is none of an ONNX file.
pub fn is_native(path: &Path) -> bool {
    let name = if is_packed(path) { unpacked_name(path) } else { path.to_owned() };
    !name.extension().is_some_and(|end| end.eq_ignore_ascii_case("onnx"))
}

/// Whether Orbax has written the folder at `path`.
pub fn is_of_orbax(path: &Path) -> bool {
    path.join("_CHECKPOINT_METADATA").is_file()
}

/// The files below `folder`, in an order that depends on their names alone.
///
/// # Errors
/// The system's, where a folder cannot be listed; one that says so for too many files.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let path = entry?.into_path();
        // A link to a folder is not followed.
        if path.is_file() {
            files.push(path);
        }
        if files.len() > MOST {
            return Err(io::Error::other(format!("expected at most {MOST} files, found more")));
        }
    }
    Ok(files)
}

impl Native {
    /// The checkpoint at `path`.
    ///
    /// # Errors
    /// `Io` where it cannot be read, `Unfinished` for an empty one, one that is cut short and one whose hash is not what was told.
    pub fn read(path: &Path) -> Result<Self> {
        let hash = if path.is_dir() { of_folder(path)? } else { of_file(path)? };
        let sha256 = hex::encode(hash.finalize());
        check_hash(path, &sha256)?;
        Ok(Self { path: path.to_owned(), sha256 })
    }
}

fn of_file(path: &Path) -> Result<Sha256> {
    let mut hash = Sha256::new();
    add(path, path, &mut hash)?;
    Ok(hash)
}

fn of_folder(path: &Path) -> Result<Sha256> {
    let files = files(path).map_err(Error::io(path, "list"))?;
    let (mut all, mut bytes) = (Sha256::new(), 0);
    for file in &files {
        let name = to_bytes(file.strip_prefix(path).unwrap_or(file));
        let mut hash = Sha256::new();
        bytes += add(path, file, &mut hash)?;
        all.update((name.len() as u64).to_le_bytes());
        all.update(name);
        all.update(hash.finalize());
    }
    if bytes == 0 {
        return Err(unfinished(path, "a folder without content"));
    }
    Ok(all)
}

/// Adds a file of the checkpoint at `path` to a hash; gives its size.
fn add(path: &Path, file: &Path, hash: &mut Sha256) -> Result<u64> {
    let mut open = File::open(file).map_err(Error::io(file, "open"))?;
    let length = open.metadata().map_err(Error::io(file, "read"))?.len();
    let fault = fault(&mut open, length).map_err(Error::io(file, "read"))?;
    // Lock files and the like are empty.
    if let Some(fault) = fault.filter(|_| path == file || length > 0) {
        return Err(unfinished(path, &format!("{}: {fault}", file.file_name().unwrap_or_default().display())));
    }
    digest(&mut open, hash).map_err(Error::io(file, "read"))
}

fn digest(file: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
    file.rewind()?;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What shows that a file is not whole.
fn fault(file: &mut File, length: u64) -> io::Result<Option<&'static str>> {
    let mut start = Vec::with_capacity(ENOUGH);
    file.by_ref().take(ENOUGH as u64).read_to_end(&mut start)?;
    Ok(if start.is_empty() {
        Some("an empty file")
    } else if start.len() == ENOUGH && start.iter().all(|byte| *byte == 0) {
        Some("a file that begins with zeros")
    } else if start.starts_with(b"PK\x03\x04") {
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_ZIP_END)))?;
        file.by_ref().take(LONGEST_ZIP_END).read_to_end(&mut end)?;
        let is_whole = end.windows(ZIP_END.len()).any(|window| window == ZIP_END);
        (!is_whole).then_some("a zip archive that is cut short")
    } else if start.get(8..10).is_some_and(|text| text == b"{\"") {
        is_short_of_tensors(file, length)?.then_some("weights in safetensors that are cut short")
    } else {
        None
    })
}

/// Whether a file of safetensors ends before the tensors that its header lists; no other file does, as far as this tells.
fn is_short_of_tensors(file: &mut File, length: u64) -> io::Result<bool> {
    let mut size = [0; 8];
    file.rewind()?;
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    if size > LONGEST_HEADER {
        return Ok(false);
    }
    let mut header = Vec::new();
    file.by_ref().take(size).read_to_end(&mut header)?;
    if (header.len() as u64) < size {
        return Ok(true);
    }
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&header).unwrap_or_default();
    let ends = header.values().filter_map(|tensor| tensor["data_offsets"][1].as_u64());
    Ok(length < (8 + size).saturating_add(ends.max().unwrap_or(0)))
}

fn unfinished(path: &Path, found: &str) -> Error {
    Error::Unfinished { path: path.to_owned(), expected: "a whole checkpoint".to_owned(), found: found.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn hash_of(path: &Path) -> String {
        Native::read(path).expect("whole").sha256
    }

    #[test]
    fn a_folder_is_what_its_files_are_called_and_hold() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            fs::write(path, text).expect("written");
        };
        write("a/d/1", "weights");
        write("a/_METADATA", "{}");
        write("a/.lock", "");
        write("b/_METADATA", "{}");
        write("b/.lock", "");
        write("b/d/1", "weights");
        let (a, b) = (place.path().join("a"), place.path().join("b"));
        let before = hash_of(&a);
        assert_eq!(before, hash_of(&b));
        fs::rename(b.join("d/1"), b.join("d/2")).expect("renamed");
        assert_ne!(before, hash_of(&b));
        fs::write(a.join("d/1"), "Weights").expect("written");
        assert_ne!(before, hash_of(&a));
        // That of a file is what `sha256sum` says.
        assert_eq!(hash_of(&a.join("_METADATA")), hex::encode(Sha256::digest(b"{}")));
        fs::create_dir(place.path().join("c")).expect("created");
        assert!(matches!(Native::read(&place.path().join("c")), Err(Error::Unfinished { .. })));
    }

    #[test]
    fn files_that_are_cut_short_are_awaited() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("step_1.safetensors");
        let header = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{}}"#;
        let tensors = [&(header.len() as u64).to_le_bytes()[..], header, &[1; 8]].concat();
        let zip = [&b"PK\x03\x04"[..], &vec![7; 100_000], b"PK\x05\x06", &[0; 18]].concat();
        for whole in [tensors.as_slice(), &zip, b"\x80\x02anything"] {
            fs::write(&path, whole).expect("written");
            assert!(Native::read(&path).is_ok());
        }
        for part in [&tensors[..tensors.len() - 1], &tensors[..30], &zip[..90_000], &[], &[0; 5000]] {
            fs::write(&path, part).expect("written");
            let refused = Native::read(&path).map_err(|error| error.to_string());
            assert!(refused.as_ref().is_err_and(|words| words.contains("step_1")), "{} bytes: {refused:?}", part.len());
        }
    }

    #[test]
    fn names_of_onnx_files_are_known() {
        for (name, is_other) in
            [("a.onnx", false), ("a.ONNX.gz", false), ("a.pt", true), ("step_1", true), ("a.gz", true)]
        {
            assert_eq!(is_native(Path::new(name)), is_other, "{name}");
        }
    }
}
