//! Which run a folder belongs to: by its name, and where that is a bare number, by what lies in all such folders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::names::{Folder, Place, file, folder, is_inner};

/// What lies in a folder, hidden files and folders left out.
#[derive(Debug, Default)]
pub struct Listing {
    /// All but folders; symbolic links to folders are among them.
    pub files: Vec<PathBuf>,
    /// Sub-folders.
    pub folders: Vec<PathBuf>,
}

impl Listing {
    /// Lists `folder`.
    ///
    /// # Errors
    /// The system's, if it cannot be listed.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut listing = Self::default();
        for entry in fs::read_dir(folder)?.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let place = if is_folder { &mut listing.folders } else { &mut listing.files };
            place.push(entry.path());
        }
        // A file system lists them in any order.
        listing.files.sort_unstable();
        listing.folders.sort_unstable();
        Ok(listing)
    }

    /// The sub-folder that holds the network, in a step's folder that does not hold it itself.
    pub fn inner(&self) -> Option<&Path> {
        self.folders.iter().map(PathBuf::as_path).find(|folder| is_inner(folder))
    }

    /// As [`Listing::of`], of a step's folder: with what lies in the sub-folder that holds the network.
    fn of_step(folder: &Path) -> Self {
        let mut listing = Self::of(folder).unwrap_or_default();
        let inner = listing.inner().and_then(|inner| Self::of(inner).ok()).unwrap_or_default();
        listing.files.extend(inner.files);
        listing
    }

    /// The sub-folders that are named by a bare number, with it.
    pub fn numbers(&self) -> impl Iterator<Item = (&PathBuf, u64)> {
        self.folders.iter().filter_map(|path| match folder(path) {
            Folder::Number(number) => Some((path, number)),
            _ => None,
        })
    }

    /// What this listing of a folder named `number` makes of it.
    pub fn holds(&self, number: u64, is_checkpoint: impl Fn(&Path) -> bool) -> Holds {
        let has_steps = self.folders.iter().any(|path| matches!(folder(path), Folder::Step(_) | Folder::Number(_)));
        let mut checkpoints = self.files.iter().filter(|path| is_checkpoint(path));
        match (has_steps, checkpoints.next(), checkpoints.next()) {
            (false, None, _) => Holds::Nothing,
            (false, Some(path), None) if is_of(path, number) => Holds::Checkpoint,
            _ => Holds::Run,
        }
    }
}

/// Whether a checkpoint may be of this step: its own name says no other.
fn is_of(path: &Path, number: u64) -> bool {
    let own: Place = path.file_stem().map(|name| file(&name.to_string_lossy())).unwrap_or_default();
    own == (None, None) || own.0 == Some(number) || own == (None, Some(number as f64))
}

/// What a folder named by a bare number holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// No checkpoint yet.
    Nothing,
    /// Exactly one, as a step does.
    Checkpoint,
    /// Several, those of steps, or one of another step: a run.
    Run,
}

/// Whether folders that are named by bare numbers are steps: each holds exactly one checkpoint. `None` while they hold none.
pub fn are_steps(all: impl IntoIterator<Item = Holds>) -> Option<bool> {
    let mut are_steps = None;
    for holds in all {
        match holds {
            Holds::Nothing => {}
            Holds::Checkpoint => are_steps = Some(true),
            Holds::Run => return Some(false),
        }
    }
    are_steps
}

/// The directory of the run that the checkpoint at `path` belongs to; files with its ending are checkpoints too.
pub fn run_of(path: &Path) -> &Path {
    let mut run = path.parent().unwrap_or(Path::new(""));
    if let Some(above) = run.parent().filter(|above| is_inner(run) && is_step(above, path)) {
        run = above;
    }
    while let Some(above) = run.parent().filter(|_| is_step(run, path)) {
        run = above;
    }
    run
}

/// Whether a folder above the checkpoint at `path` is one of a step.
fn is_step(of: &Path, path: &Path) -> bool {
    match (folder(of), of.parent()) {
        (Folder::Step(_), Some(_)) => true,
        (Folder::Number(_), Some(above)) => is_numbered_step(above, path),
        _ => false,
    }
}

fn is_numbered_step(above: &Path, path: &Path) -> bool {
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let is_checkpoint = |file: &Path| file.extension() == path.extension();
    let listing = Listing::of(above).unwrap_or_default();
    let holds = listing.numbers().map(|(path, number)| Listing::of_step(path).holds(number, is_checkpoint));
    are_steps(holds) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(path, "x").expect("written");
    }

    #[test]
    fn bare_numbers_are_steps_only_if_each_holds_one_checkpoint() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["orbax/100/model.onnx", "orbax/200/model.onnx", "orbax/200/notes.txt", "seeds/0/a.onnx"] {
            write(&path(name));
        }
        fs::create_dir(path("orbax/300")).expect("created");
        assert_eq!(run_of(&path("orbax/100/model.onnx")), path("orbax"));
        assert_eq!(run_of(&path("seeds/0/a.onnx")), path("seeds"));
        write(&path("seeds/1/a.onnx"));
        write(&path("seeds/1/b.onnx"));
        assert_eq!(run_of(&path("seeds/0/a.onnx")), path("seeds/0"));
        // Runs of one checkpoint each, which says its own step; runs of steps in folders.
        write(&path("first/0/step_30.onnx"));
        assert_eq!(run_of(&path("first/0/step_30.onnx")), path("first/0"));
        write(&path("deep/0/checkpoint-10/model.onnx"));
        assert_eq!(run_of(&path("deep/0/checkpoint-10/model.onnx")), path("deep/0"));
        write(&path("equal/30/step_30.onnx"));
        assert_eq!(run_of(&path("equal/30/step_30.onnx")), path("equal"));
        assert_eq!(run_of(Path::new("model.onnx")), Path::new(""));
        // The layout of Optimum.
        write(&path("optimum/100/onnx/model.onnx"));
        assert_eq!(run_of(&path("optimum/100/onnx/model.onnx")), path("optimum"));
        assert_eq!(run_of(&path("a/checkpoint-5/onnx/model.onnx")), path("a"));
        assert_eq!(run_of(&path("a/onnx/model.onnx")), path("a/onnx"));
    }
}
