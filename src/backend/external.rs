//! Weights in files of their own: which, whether they are all there, and their share of a network's hash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use tract_onnx::pb::{ModelProto, TensorProto};

use super::proto::{each_tensor, tensors};
use crate::checkpoint::signature::{self, ENOUGH, Signature};
use crate::error::{Error, Result};
use crate::small_file::kind;

/// The files beside `path` that the network names, whether they are there or not.
pub(super) fn named(path: &Path, model: &ModelProto) -> BTreeSet<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let names = tensors(model).into_iter().filter_map(|tensor| entry(tensor, "location"));
    names.filter(|name| is_inside(name)).map(|name| folder.join(name)).collect()
}

fn is_inside(location: &str) -> bool {
    Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// The files beside `path` that hold tensors of its network, wherever in it these stand, each checked to be there and whole, as they are now.
///
/// # Errors
/// `Model` for a file elsewhere, `Unfinished` for one that is missing, too short or not filled yet.
pub(super) fn files(path: &Path, model: &ModelProto) -> Result<BTreeMap<PathBuf, Metadata>> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = BTreeMap::new();
    for tensor in tensors(model) {
        let Some(location) = entry(tensor, "location") else { continue };
        if !is_inside(location) {
            return Err(Error::model(path, "external data beside the file", format!("weights at {location}")));
        }
        let file = folder.join(location);
        let [offset, length] = ["offset", "length"].map(|key| number(tensor, key).unwrap_or(0));
        let needed = offset.saturating_add(length);
        let found = match fs::metadata(&file) {
            Ok(metadata) if !metadata.is_file() => {
                return Err(Error::model(path, format!("weights in a regular file {location}"), kind(&metadata)));
            }
            Ok(metadata) if metadata.len() < needed => {
                if let Some(signature) = stand_in(&file) {
                    return Err(Error::model(path, format!("its weights in {location}"), signature.to_string()));
                }
                format!("{} bytes", metadata.len())
            }
            Ok(_) if !files.contains_key(&file) && ends_in_a_hole(&file) => {
                "one that is allocated and not filled".to_owned()
            }
            Ok(metadata) => {
                files.entry(file).or_insert(metadata);
                continue;
            }
            Err(error) => {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                let missing = "no such file: copy it there too, or export without external data";
                let found = if is_missing { missing.to_owned() } else { error.to_string() };
                return Err(unfinished(path, format!("its weights in {location} beside it"), &found));
            }
        };
        return Err(unfinished(path, format!("at least {needed} bytes of weights in {location}"), &found));
    }
    Ok(files)
}

/// Puts the tensors into the network at `path` whose files lie in other folders, behind links as those of a hub's cache do: engines
/// take nothing from there. Says whether there were any.
///
/// # Errors
/// `Io` where they cannot be read.
pub(super) fn take_in(path: &Path, model: &mut ModelProto, files: &BTreeMap<PathBuf, Metadata>) -> Result<bool> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let real = |path: &Path| path.canonicalize().map_err(Error::io(path, "resolve"));
    let home = real(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?;
    let mut elsewhere = BTreeSet::new();
    for file in files.keys() {
        if !real(file)?.starts_with(&home) {
            elsewhere.insert(file);
        }
    }
    if elsewhere.is_empty() {
        return Ok(false);
    }
    each_tensor(model, &mut |tensor| {
        let Some(file) = entry(tensor, "location").map(|location| folder.join(location)) else { return Ok(()) };
        if !elsewhere.contains(&file) {
            return Ok(());
        }
        let (offset, length) = (number(tensor, "offset").unwrap_or(0), number(tensor, "length").unwrap_or(u64::MAX));
        let mut open = fs::File::open(&file).map_err(Error::io(&file, "open"))?;
        let mut bytes = Vec::new();
        open.seek(SeekFrom::Start(offset))
            .and_then(|_| open.take(length).read_to_end(&mut bytes))
            .map_err(Error::io(&file, "read"))?;
        tensor.raw_data = bytes;
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    })?;
    Ok(true)
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

fn number(tensor: &TensorProto, key: &str) -> Option<u64> {
    entry(tensor, key)?.parse().ok()
}

fn unfinished(path: &Path, expected: String, found: &dyn ToString) -> Error {
    Error::Unfinished { path: path.to_owned(), expected, found: found.to_string() }
}

/// What lies in the place of weights, where that is a text: a pointer to them, or a page that says why they did not come.
fn stand_in(path: &Path) -> Option<Signature> {
    let mut start = Vec::new();
    fs::File::open(path).ok()?.take(ENOUGH as u64).read_to_end(&mut start).ok()?;
    if start.is_ascii() { signature::of(&start) } else { None }
}

/// Whether nobody has written the end of a file: the system keeps no data for it. Some systems do not tell.
#[cfg(unix)]
fn ends_in_a_hole(path: &Path) -> bool {
    use rustix::fs::{SeekFrom, seek};
    let Ok(file) = fs::File::open(path) else { return false };
    let Ok(length) = file.metadata().map(|metadata| metadata.len()) else { return false };
    // Beyond the last byte that was written there is no data to seek.
    length > 0 && matches!(seek(&file, SeekFrom::Data(length - 1)), Err(rustix::io::Errno::NXIO))
}

#[cfg(not(unix))]
fn ends_in_a_hole(_path: &Path) -> bool {
    false
}

/// Hash and size of the network in `bytes`, which lie at `path`, with its files.
///
/// # Errors
/// As [`hash`].
pub(super) fn hashed(path: &Path, bytes: &[u8], files: &BTreeMap<PathBuf, Metadata>) -> Result<(String, u64)> {
    let mut all = Sha256::new_with_prefix(bytes);
    let size = bytes.len() as u64 + hash(path, files, &mut all)?;
    Ok((hex::encode(all.finalize()), size))
}

/// Adds the files to a hash; gives their bytes together.
///
/// # Errors
/// `Io`, and `Unfinished` where they hold nothing but zeros: they are allocated, and not filled yet.
fn hash(path: &Path, files: &BTreeMap<PathBuf, Metadata>, hash: &mut Sha256) -> Result<u64> {
    let (mut bytes, mut is_zero) = (0, true);
    let mut buffer = vec![0; 1 << 16];
    for file in files.keys() {
        let mut open = fs::File::open(file).map_err(Error::io(file, "open"))?;
        loop {
            let read = match open.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(Error::io(file, "read"))?,
            };
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            is_zero = is_zero && buffer[..read].iter().all(|byte| *byte == 0);
            bytes += read as u64;
        }
    }
    if is_zero && bytes > 0 {
        let names: Vec<_> =
            files.keys().filter_map(|file| file.file_name()).map(|name| name.to_string_lossy()).collect();
        return Err(unfinished(path, format!("weights in {}", names.join(", ")), &format!("{bytes} bytes of zeros")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, StringStringEntryProto};

    use super::*;

    fn outside(name: &str, length: u64) -> TensorProto {
        let pair = |key: &str, value: String| StringStringEntryProto { key: key.to_owned(), value };
        let external_data = vec![pair("location", name.to_owned()), pair("length", length.to_string())];
        TensorProto { external_data, ..TensorProto::default() }
    }

    fn holding(tensor: TensorProto) -> NodeProto {
        let attribute = vec![AttributeProto { t: Some(tensor), ..AttributeProto::default() }];
        NodeProto { attribute, ..NodeProto::default() }
    }

    /// A network whose weights lie in a node, in a branch's node and in a branch's own weights.
    fn model(names: [&str; 3], length: u64) -> ModelProto {
        let [own, inner, weights] = names.map(|name| outside(name, length));
        let branch = GraphProto { node: vec![holding(inner)], initializer: vec![weights], ..GraphProto::default() };
        let attribute = vec![AttributeProto { g: Some(branch), ..AttributeProto::default() }];
        let node = vec![holding(own), NodeProto { attribute, ..NodeProto::default() }];
        ModelProto { graph: Some(GraphProto { node, ..GraphProto::default() }), ..ModelProto::default() }
    }

    #[test]
    fn weights_are_found_wherever_they_stand() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("net.onnx");
        for name in ["a", "b", "c.bin"] {
            fs::write(folder.path().join(name), [1; 8]).expect("written");
        }
        let found = files(&path, &model(["a", "b", "c.bin"], 8)).expect("all there");
        assert!(found.keys().eq(&["a", "b", "c.bin"].map(|name| folder.path().join(name))));
        for (names, length, word) in
            [(["a", "b", "missing"], 8, "missing"), (["a", "../b", "a"], 8, "../b"), (["b", "b", "a"], 9, "8 bytes")]
        {
            let error = files(&path, &model(names, length)).expect_err(word).to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn weights_behind_links_to_other_folders_are_taken_in() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [blobs, here] = ["blobs", "snapshot"].map(|name| folder.path().join(name));
        fs::create_dir(&blobs).and_then(|()| fs::create_dir(&here)).expect("created");
        fs::write(blobs.join("abc"), [7; 8]).expect("written");
        fs::write(here.join("own"), [1; 8]).expect("written");
        std::os::unix::fs::symlink(blobs.join("abc"), here.join("linked")).expect("linked");
        let path = here.join("net.onnx");
        let mut network = model(["linked", "own", "linked"], 8);
        let found = files(&path, &network).expect("all there");
        assert!(take_in(&path, &mut network, &found).expect("read"));
        let held: Vec<_> = tensors(&network).iter().map(|tensor| tensor.raw_data.clone()).collect();
        // The branch's node, whose weights lie here, is the last.
        assert_eq!(held, [vec![7; 8], vec![7; 8], vec![]]);
        let mut own = model(["own"; 3], 8);
        let found = files(&path, &own).expect("all there");
        assert!(!take_in(&path, &mut own, &found).expect("read"));
    }

    #[test]
    fn weights_that_are_allocated_and_not_filled_are_awaited() {
        const LENGTH: u64 = 1 << 20;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, data) = (folder.path().join("net.onnx"), folder.path().join("w"));
        let network = model(["w"; 3], LENGTH);
        let all = || files(&path, &network).and_then(|files| hash(&path, &files, &mut Sha256::new()));
        fs::write(&data, vec![0; LENGTH as usize]).expect("written");
        assert!(matches!(all(), Err(Error::Unfinished { .. })));

        let mut file = fs::File::create(&data).expect("created");
        file.set_len(LENGTH).expect("allocated");
        assert!(matches!(all(), Err(Error::Unfinished { .. })));
        file.write_all(&vec![7; LENGTH as usize / 2]).expect("half of it");
        assert!(matches!(all(), Err(Error::Unfinished { .. })));
        file.write_all(&vec![7; LENGTH as usize / 2]).expect("the rest");
        assert_eq!(all().expect("filled"), LENGTH);

        // A tensor of zeros that was written is one.
        file.seek(SeekFrom::Start(LENGTH / 2)).expect("found");
        file.write_all(&vec![0; LENGTH as usize / 2]).expect("zeros");
        assert_eq!(all().expect("filled"), LENGTH);
    }
}
