//! Which runs and which checkpoints a directory holds, and which version of each.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use globset::{Glob, GlobMatcher};

use crate::backend::read_metadata;
use crate::checkpoint::{Metadata, from_name, step_and_epoch};
use crate::error::{Error, Result};

/// What counts as a run and as a checkpoint.
#[derive(Debug, Clone)]
pub struct Search {
    recursive: bool,
    pattern: GlobMatcher,
}

/// A checkpoint's file as it was when someone looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The directory of the run it belongs to.
    pub run: PathBuf,
    /// The file.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// Tells one version of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Size, time of the last write and inode, of the file and of its weights beside it.
    pub fingerprint: String,
    /// The last write.
    pub written: SystemTime,
}

/// What a walk meets; a directory comes before what it holds.
#[derive(Debug)]
pub enum Met {
    /// A directory of the run given second.
    Folder(PathBuf, PathBuf),
    /// A checkpoint.
    Checkpoint(Found),
    /// A framework's own checkpoint, which this program cannot read.
    Foreign(PathBuf),
}

/// Directories nested deeper than this are not searched.
const MAX_DEPTH: usize = 32;
/// Endings of files in which exporters keep weights beside `NAME.onnx`.
const WEIGHTS: [&str; 2] = [".data", "_data"];
const FOREIGN: [&str; 3] = ["pt", "ckpt", "safetensors"];

impl Search {
    /// `pattern` matches the names of checkpoints, for instance `*.onnx`; with `recursive`, every sub-directory that is
    /// not named after a step or an epoch is a run of its own.
    ///
    /// # Errors
    /// `Setting` for a pattern that is no glob.
    pub fn new(recursive: bool, pattern: &str) -> Result<Self> {
        let glob = Glob::new(pattern)
            .map_err(|error| Error::setting("--pattern", "a glob such as '*.onnx'", error.kind().to_string()))?;
        Ok(Self { recursive, pattern: glob.compile_matcher() })
    }

    /// Meets everything below `root`; symbolic links to directories are not followed, so a loop of them ends.
    ///
    /// # Errors
    /// `Io` if `root` cannot be listed; a sub-directory that cannot be is passed over.
    pub fn walk(&self, root: &Path, meet: &mut dyn FnMut(Met)) -> Result<()> {
        self.walk_run(root, MAX_DEPTH, meet)
    }

    fn walk_run(&self, run: &Path, depth: usize, meet: &mut dyn FnMut(Met)) -> Result<()> {
        for folder in self.list(run, run, meet)? {
            self.enter(run, &folder, depth, meet);
        }
        Ok(())
    }

    fn enter(&self, run: &Path, folder: &Path, depth: usize, meet: &mut dyn FnMut(Met)) {
        if is_step(folder) {
            let _ = self.list(run, folder, meet);
        } else if self.recursive && depth > 0 {
            let _ = self.walk_run(folder, depth - 1, meet);
        }
    }

    /// Meets a sub-directory that has just appeared in the run's own directory.
    pub fn walk_new(&self, run: &Path, folder: &Path, meet: &mut dyn FnMut(Met)) {
        let is_hidden = folder.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && fs::symlink_metadata(folder).is_ok_and(|file| file.is_dir()) {
            self.enter(run, folder, MAX_DEPTH, meet);
        }
    }

    /// Meets `folder` and the files in it; gives its sub-directories.
    fn list(&self, run: &Path, folder: &Path, meet: &mut dyn FnMut(Met)) -> Result<Vec<PathBuf>> {
        meet(Met::Folder(folder.to_owned(), run.to_owned()));
        let mut folders = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
            let Ok(entry) = entry else { continue };
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                    folders.push(path);
                }
            } else {
                self.meet_file(run, path, meet);
            }
        }
        Ok(folders)
    }

    /// Meets the file at `path`, or the checkpoint whose weights it holds, if it is one.
    pub fn meet_file(&self, run: &Path, path: PathBuf, meet: &mut dyn FnMut(Met)) {
        let Some(name) = path.file_name() else { return };
        if name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        if self.pattern.is_match(Path::new(name)) {
            if let Some(version) = version(&path) {
                meet(Met::Checkpoint(Found { run: run.to_owned(), path, version }));
            }
        } else if path.extension().and_then(|end| end.to_str()).is_some_and(|end| FOREIGN.contains(&end)) {
            meet(Met::Foreign(path));
        } else if let Some(owner) = owner_of_weights(&path) {
            self.meet_file(run, owner, meet);
        }
    }
}

/// Whether a directory is named after a step or an epoch, and so belongs to the run above it.
fn is_step(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| from_name(&name.to_string_lossy()) != (None, None))
}

/// The directory of the run that a checkpoint belongs to.
#[must_use]
pub fn run_of(checkpoint: &Path) -> &Path {
    let mut folder = checkpoint.parent().unwrap_or(Path::new(""));
    while is_step(folder)
        && let Some(above) = folder.parent()
    {
        folder = above;
    }
    folder
}

fn owner_of_weights(path: &Path) -> Option<PathBuf> {
    let bytes = crate::path::to_bytes(path);
    let owner = WEIGHTS.iter().find_map(|ending| bytes.strip_suffix(ending.as_bytes()))?;
    owner.ends_with(b".onnx").then(|| crate::path::from_bytes(owner.to_vec()))
}

/// The file's present version; `None` if it is gone or no regular file.
#[must_use]
pub fn version(path: &Path) -> Option<Version> {
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let mut fingerprint = stamp(&file);
    for ending in WEIGHTS {
        let mut weights = path.as_os_str().to_owned();
        weights.push(ending);
        if let Ok(file) = fs::metadata(&weights) {
            fingerprint = format!("{fingerprint}+{}", stamp(&file));
        }
    }
    Some(Version { fingerprint, written: file.modified().ok()? })
}

/// Size, time of the last write and inode.
#[must_use]
pub fn stamp(file: &fs::Metadata) -> String {
    format!("{}-{}.{:09}-{}", file.size(), file.mtime(), file.mtime_nsec(), file.ino())
}

/// The checkpoints below `root` in training order, each with its run.
///
/// # Errors
/// `Io` if the directory cannot be listed.
pub fn checkpoints(search: &Search, root: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    search.walk(root, &mut |met| {
        if let Met::Checkpoint(checkpoint) = met {
            found.push(checkpoint);
        }
    })?;
    let metadata = |path: &Path| {
        read_metadata(path).unwrap_or_else(|_| {
            let (step, epoch) = step_and_epoch(path);
            Metadata { step, epoch, ..Metadata::default() }
        })
    };
    let mut keyed: Vec<_> = found.into_iter().map(|found| (metadata(&found.path), found)).collect();
    keyed.sort_by(|(a, first), (b, second)| {
        let later = first.version.written.cmp(&second.version.written);
        first.run.cmp(&second.run).then(a.order(b)).then(later).then(first.path.cmp(&second.path))
    });
    Ok(keyed.into_iter().map(|(_, found)| found).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, text).expect("written");
    }

    fn names(root: &Path, recursive: bool) -> Vec<(String, String)> {
        let search = Search::new(recursive, "*.onnx").expect("a glob");
        let relative = |path: &Path| path.strip_prefix(root).expect("inside").to_string_lossy().into_owned();
        let found = checkpoints(&search, root).expect("listed");
        found.iter().map(|found| (relative(&found.run), relative(&found.path))).collect()
    }

    #[test]
    fn checkpoints_are_found_two_levels_deep_and_put_in_training_order() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in
            ["step_10.onnx", "step_9.onnx", "checkpoint-11/model.onnx", "other/model.onnx", ".step_1.onnx", "notes.txt"]
        {
            write(&folder.path().join(name), "x");
        }
        let found: Vec<_> = names(folder.path(), false).into_iter().map(|(_, path)| path).collect();
        assert_eq!(found, ["step_9.onnx", "step_10.onnx", "checkpoint-11/model.onnx"]);
    }

    #[test]
    fn recursively_every_other_directory_is_a_run_and_loops_of_links_end() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["a/step_2.onnx", "a/epoch_1/model.onnx", "b/c/x.onnx"] {
            write(&folder.path().join(name), "x");
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("b/loop")).expect("linked");
        let found = names(folder.path(), true);
        let expected = [("a", "a/epoch_1/model.onnx"), ("a", "a/step_2.onnx"), ("b/c", "b/c/x.onnx")];
        assert_eq!(found, expected.map(|(run, path)| (run.to_owned(), path.to_owned())));
    }

    #[test]
    fn weights_beside_a_file_belong_to_its_version() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (model, weights) = (folder.path().join("a.onnx"), folder.path().join("a.onnx.data"));
        write(&model, "x");
        let alone = version(&model).expect("there");
        write(&weights, "y");
        assert_ne!(version(&model).expect("there").fingerprint, alone.fingerprint);
        let search = Search::new(false, "*.onnx").expect("a glob");
        let mut met = Vec::new();
        search.meet_file(folder.path(), weights, &mut |one| met.push(one));
        assert!(matches!(&met[..], [Met::Checkpoint(found)] if found.path == model), "{met:?}");
        assert!(Search::new(false, "[").is_err());
    }
}
