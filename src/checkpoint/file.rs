//! The bytes of a checkpoint's file: read within bounds, unpacked if it is `NAME.onnx.gz`, refused by name if it is something else.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::signature::{self, ENOUGH, GZIP};
use crate::error::{Error, Result};

/// Protobuf's own limit on one message.
const MAX_BYTES: u64 = 2 << 30;

/// The file's bytes, unpacked.
///
/// # Errors
/// `Io` if it cannot be read, `Model` if it is another kind of file or too large, `Unfinished` if it may yet become a network.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let metadata = file.metadata().map_err(Error::io(path, "read"))?;
    if metadata.is_dir() {
        return Err(Error::model(path, "an ONNX network", "a directory: name the .onnx file in it"));
    }
    let start = beginning(&mut file).map_err(Error::io(path, "read"))?;
    if is_packed(path) && start.starts_with(GZIP) {
        return unpack(path, start.as_slice().chain(file), MAX_BYTES);
    }
    if metadata.len() > MAX_BYTES {
        return Err(too_large(path, &format!("{} bytes", metadata.len())));
    }
    check(path, &start, &format!("{} bytes", metadata.len()))?;
    let mut bytes = start;
    file.read_to_end(&mut bytes).map_err(Error::io(path, "read"))?;
    Ok(bytes)
}

/// Whether the file is named as one that is packed by gzip.
pub fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gz"))
}

/// The name without `.gz`: what lies beside the file is named after it.
pub fn unpacked_name(path: &Path) -> PathBuf {
    if is_packed(path) { path.with_extension("") } else { path.to_owned() }
}

/// Where a checkpoint says of itself what its own file does not.
pub fn sidecar(path: &Path) -> PathBuf {
    unpacked_name(path).with_added_extension("json")
}

fn beginning(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(ENOUGH);
    file.take(ENOUGH as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Refuses what is no network by its beginning; a sparse or preallocated file need not be read to its end.
fn check(path: &Path, start: &[u8], size: &str) -> Result<()> {
    if let Some(signature) = signature::of(start) {
        return Err(Error::model(path, "an ONNX network", signature.to_string()));
    }
    match start.first() {
        None => Err(unfinished(path, "an empty file")),
        // No protobuf message begins with a zero byte.
        Some(0) => Err(unfinished(path, format!("{size} beginning with zeros"))),
        Some(_) => Ok(()),
    }
}

fn unpack(path: &Path, packed: impl Read, limit: u64) -> Result<Vec<u8>> {
    // Somebody may be writing it.
    let damaged = |error: io::Error| unfinished(path, format!("a gzip archive that is cut short or damaged ({error})"));
    let mut unpacked = MultiGzDecoder::new(packed).take(limit + 1);
    let start = beginning(&mut unpacked).map_err(damaged)?;
    check(path, &start, "an archive of bytes")?;
    let mut bytes = start;
    unpacked.read_to_end(&mut bytes).map_err(damaged)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, &format!("an archive of more than {limit} bytes")));
    }
    Ok(bytes)
}

fn too_large(path: &Path, found: &str) -> Error {
    let expected =
        "an ONNX network of at most 2 GiB, which is all that a protobuf message holds (keep weights beside it)";
    Error::model(path, expected, found)
}

fn unfinished(path: &Path, found: impl Into<String>) -> Error {
    Error::Unfinished { path: path.to_owned(), expected: "an ONNX network".to_owned(), found: found.into() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn unpacked(archive: &[u8], limit: u64) -> Result<Vec<u8>> {
        unpack(Path::new("a.onnx.gz"), archive, limit)
    }

    #[test]
    fn archives_are_unpacked_within_bounds() {
        let network = [&b"\x08\x08"[..], &vec![7; 100_000]].concat();
        let whole = packed(&network);
        assert_eq!(unpacked(&whole, 100_002).expect("unpacked"), network);
        // Members one after another are one file.
        let members = [packed(&network[..10]), packed(&network[10..])].concat();
        assert_eq!(unpacked(&members, 100_002).expect("unpacked"), network);
        assert!(matches!(unpacked(&whole, 100_001), Err(Error::Model { .. })));
        for length in [2, 9, whole.len() / 2, whole.len() - 1] {
            assert!(matches!(unpacked(&whole[..length], 1 << 20), Err(Error::Unfinished { .. })), "{length}");
        }
        let preallocated = [&whole[..whole.len() / 2], &[0; 1000]].concat();
        assert!(matches!(unpacked(&preallocated, 1 << 20), Err(Error::Unfinished { .. })));
        let other = unpacked(&packed(b"{\"error\": 404}"), 1 << 20).expect_err("no network");
        assert!(matches!(other, Error::Model { .. }) && other.to_string().contains("JSON"), "{other}");
    }

    #[test]
    fn only_names_that_say_so_are_unpacked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let archive = packed(b"\x08\x08network");
        for (name, is_read) in [("a.onnx.gz", true), ("b.ONNX.GZ", true), ("c.onnx", false)] {
            let path = folder.path().join(name);
            std::fs::write(&path, &archive).expect("written");
            match read(&path) {
                Ok(bytes) => assert!(is_read && bytes == b"\x08\x08network", "{name}"),
                Err(error) => assert!(!is_read && error.to_string().contains("NAME.onnx.gz"), "{error}"),
            }
        }
        // One that its server has unpacked already.
        let path = folder.path().join("d.onnx.gz");
        std::fs::write(&path, b"\x08\x08network").expect("written");
        assert_eq!(read(&path).expect("read"), b"\x08\x08network");
        assert_eq!(unpacked_name(Path::new("r/a.onnx.gz")), Path::new("r/a.onnx"));
    }
}
