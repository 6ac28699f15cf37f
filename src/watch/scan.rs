//! Which runs and which checkpoints a directory holds, and which version of each.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kinds::Kinds;
use super::tree::{Disk, Tree};
use super::version::{Version, folder_version, version};
use super::weights::{ENDINGS, Weights};
use crate::backend::read_metadata;
use crate::checkpoint::Metadata;
use crate::checkpoint::folders::{Listing, are_steps};
use crate::checkpoint::names::{self, Folder, step_and_epoch};
use crate::checkpoint::signature::{EXPORT, EXPORT_KERAS};
use crate::config::FILE_NAME;
use crate::error::{Error, Result};

/// What counts as a run and as a checkpoint.
#[derive(Debug, Clone)]
pub struct Search {
    tree: Arc<dyn Tree>,
    recursive: bool,
    kinds: Kinds,
    /// Directories with folders named by bare numbers, and whether those are steps; not known while they hold nothing.
    numbered: HashMap<PathBuf, Option<bool>>,
    weights: Weights,
}

/// A checkpoint's file, or folder, as it was when someone looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The directory of the run it belongs to.
    pub run: PathBuf,
    /// The file or folder.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// What a walk meets; a directory comes before what it holds.
#[derive(Debug)]
pub enum Met {
    /// A directory of the run given second.
    Folder(PathBuf, PathBuf),
    /// A directory below a watched one that is a run by its configuration, also while it holds no checkpoint.
    Run(PathBuf),
    /// A checkpoint.
    Checkpoint(Found),
    /// A framework's own checkpoint, which this program cannot read without an export.
    Foreign(PathBuf),
    /// What folders named by bare numbers were taken for, in words. What was met of them before may be of another run now.
    Numbers(String),
    /// Folders of a directory that are passed over though their names tell of steps, in words.
    PassedOver(String),
}

impl Met {
    /// What the user should know of it, once.
    pub fn notice(self) -> Option<String> {
        match self {
            Self::Folder(..) | Self::Run(_) | Self::Checkpoint(_) => None,
            Self::Foreign(path) => {
                let ending = path.extension().unwrap_or_default().to_string_lossy();
                let folder = path.parent().unwrap_or(Path::new("")).display();
                let how = if ending == "keras" || ending == "h5" { EXPORT_KERAS } else { EXPORT };
                Some(format!(
                    "{folder}: .{ending} files are a framework's own, which are not read: {how}, or --export CMD"
                ))
            }
            Self::Numbers(text) | Self::PassedOver(text) => Some(text),
        }
    }
}

/// Directories nested deeper than this are not searched.
const MAX_DEPTH: usize = 32;
/// How many sub-folders of a step are looked into for a network that is passed over.
const MOST_PARTS: usize = 16;

impl Search {
    /// `kinds` are checkpoints; with `recursive`, every sub-directory that is neither one nor named after a step or an epoch is a run of
    /// its own.
    pub fn new(recursive: bool, kinds: Kinds) -> Self {
        Self { tree: Arc::new(Disk), recursive, kinds, numbered: HashMap::new(), weights: Weights::default() }
    }

    /// The same, through something else than the file system.
    #[must_use]
    pub fn over(self, tree: Arc<dyn Tree>) -> Self {
        Self { tree, ..self }
    }

    /// What counts as a checkpoint.
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Meets everything below `root`; symbolic links to directories are not followed, so a loop of them ends. Checkpoints come last, in
    /// training order as far as names tell it.
    ///
    /// # Errors
    /// `Io` if `root` cannot be listed; a sub-directory that cannot be is passed over.
    pub fn walk(&mut self, root: &Path, meet: &mut dyn FnMut(Met)) -> Result<()> {
        in_order(meet, |meet| self.walk_run(root, MAX_DEPTH, meet))
    }

    fn walk_run(&mut self, run: &Path, depth: usize, meet: &mut dyn FnMut(Met)) -> Result<()> {
        meet(Met::Folder(run.to_owned(), run.to_owned()));
        let listing = self.tree.list(run).map_err(Error::io(run, "list"))?;
        let is_configuration = |file: &PathBuf| file.file_name().is_some_and(|name| name == FILE_NAME);
        if depth < MAX_DEPTH && listing.files.iter().any(is_configuration) {
            meet(Met::Run(run.to_owned()));
        }
        self.meet_files(run, &listing, meet);
        let numbers = self.open_numbers(&listing);
        if !numbers.is_empty() {
            self.enter_numbers(run, &numbers, depth, meet);
        }
        for folder in &listing.folders {
            self.enter(run, folder, depth, meet);
        }
        if !self.recursive
            && let Some(folder) = listing.folders.iter().filter(|folder| tells_a_step(folder)).min()
        {
            meet(Met::PassedOver(format!(
                "{}: names such as {} say more than a step or an epoch: passed over (--recursive takes such folders for runs)",
                run.display(),
                folder.file_name().unwrap_or_default().display()
            )));
        }
        Ok(())
    }

    /// The folders named by bare numbers that may hold checkpoints.
    fn open_numbers(&self, listing: &Listing) -> Vec<(PathBuf, u64)> {
        let numbers = listing.numbers().filter(|(path, _)| !self.kinds.is_whole(path));
        numbers.map(|(path, number)| (path.clone(), number)).collect()
    }

    fn enter(&mut self, run: &Path, folder: &Path, depth: usize, meet: &mut dyn FnMut(Met)) {
        if self.kinds.is_whole(folder) {
            meet(Met::Folder(folder.to_owned(), run.to_owned()));
            return meet_whole(run, folder, meet);
        }
        match names::folder(folder) {
            Folder::Step(_) => {
                let listing = self.list_step(run, folder, meet);
                self.meet_files(run, &listing, meet);
                if depth > 0 {
                    self.enter_steps(run, &listing, depth - 1, meet);
                }
            }
            Folder::Other if self.recursive && depth > 0 => drop(self.walk_run(folder, depth - 1, meet)),
            Folder::Number(_) | Folder::Unfinished | Folder::Other => {}
        }
    }

    /// Meets the steps of an epoch, and says where a network lies that is of no step and no run.
    fn enter_steps(&mut self, run: &Path, epoch: &Listing, depth: usize, meet: &mut dyn FnMut(Met)) {
        for inner in epoch.folders.iter().filter(|inner| matches!(names::folder(inner), Folder::Step(_))) {
            self.enter(run, inner, depth, meet);
        }
        if self.holds_checkpoint(epoch) {
            return;
        }
        let mut others = epoch.folders.iter().filter(|inner| names::folder(inner) == Folder::Other).take(MOST_PARTS);
        let holds = |other: &&PathBuf| self.tree.list(other).is_ok_and(|listing| self.holds_checkpoint(&listing));
        if let Some(other) = others.find(holds) {
            let found = other.display();
            meet(Met::PassedOver(format!(
                "{found}: passed over: a step's network lies in the step's own folder, or in one named onnx in it"
            )));
        }
    }

    fn holds_checkpoint(&self, listing: &Listing) -> bool {
        listing.files.iter().any(|file| self.kinds.matches(file))
    }

    /// Lists a step's folder, with what lies in the sub-folder that holds its network.
    fn list_step(&self, run: &Path, folder: &Path, meet: &mut dyn FnMut(Met)) -> Listing {
        meet(Met::Folder(folder.to_owned(), run.to_owned()));
        let mut listing = self.tree.list(folder).unwrap_or_default();
        if let Some(inner) = listing.inner().map(Path::to_owned) {
            meet(Met::Folder(inner.clone(), run.to_owned()));
            listing.files.extend(self.tree.list(&inner).unwrap_or_default().files);
        }
        listing
    }

    /// Meets those of the folders named by bare numbers that lie in `run`: all of them, until it is known what they are.
    fn enter_numbers(&mut self, run: &Path, numbers: &[(PathBuf, u64)], depth: usize, meet: &mut dyn FnMut(Met)) {
        let (mut listings, mut held) = (Vec::new(), Vec::new());
        for (folder, number) in numbers {
            let listing = self.list_step(run, folder, meet);
            held.push(listing.holds(*number, |path| self.kinds.matches(path)));
            listings.push(listing);
        }
        let before = self.numbered.get(run).copied().flatten();
        // Runs stay runs, also with one checkpoint left of each.
        let now = if before == Some(false) { before } else { are_steps(held).or(before) };
        self.numbered.insert(run.to_owned(), now);
        if let Some(are_steps) = now.filter(|_| now != before) {
            let what = match (are_steps, self.recursive) {
                (true, _) => "steps: each holds one checkpoint",
                (false, true) => "runs: not each holds exactly one checkpoint",
                (false, false) => {
                    "runs and passed over: not each holds exactly one checkpoint (--recursive measures them)"
                }
            };
            meet(Met::Numbers(format!("{}: folders named by a number are taken for {what}", run.display())));
        }
        if now == Some(true) {
            for listing in &listings {
                self.meet_files(run, listing, meet);
            }
        } else if self.recursive && depth > 0 {
            for (folder, _) in numbers {
                drop(self.walk_run(folder, depth - 1, meet));
            }
        }
    }

    /// Meets a sub-directory that has just appeared in the run's own directory, in the order of [`Search::walk`].
    pub fn walk_new(&mut self, run: &Path, folder: &Path, meet: &mut dyn FnMut(Met)) {
        let is_hidden = folder.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden || !fs::symlink_metadata(folder).is_ok_and(|file| file.is_dir()) {
            return;
        }
        if let Some(whole) = self.whole_above(run, folder) {
            return meet_whole(run, whole, meet);
        }
        let (run, folder) = self.inner_of(run, folder).unwrap_or((run, folder));
        in_order(meet, |meet| match names::folder(folder) {
            Folder::Number(number) if !self.kinds.is_whole(folder) => self.enter_number(run, folder, number, meet),
            _ => self.enter(run, folder, MAX_DEPTH, meet),
        });
    }

    /// The run and the step's folder of which `folder` holds the network, if it does.
    fn inner_of<'a>(&self, run: &'a Path, folder: &'a Path) -> Option<(&'a Path, &'a Path)> {
        // Where it is not known yet what numbers are, their folders are watched as runs.
        let numbered = folder.parent().and_then(|step| Some((step.parent()?, step)));
        let is_open = |(above, _): &(&Path, _)| matches!(self.numbered.get(*above), Some(None | Some(true)));
        let numbered = numbered.filter(|(_, step)| matches!(names::folder(step), Folder::Number(_))).filter(is_open);
        let named = || names::step_of_inner(folder, run).map(|step| (run, step));
        numbered.filter(|_| names::is_inner(folder)).or_else(named)
    }

    /// The checkpoint that a file or folder lies in, if one does.
    fn whole_above<'a>(&self, run: &Path, path: &'a Path) -> Option<&'a Path> {
        path.parent().filter(|folder| *folder != run && self.kinds.is_whole(folder))
    }

    /// Meets a file that has just appeared or changed in a directory of `run`.
    pub fn meet_new(&mut self, run: &Path, path: &Path, meet: &mut dyn FnMut(Met)) {
        if let Some(whole) = self.whole_above(run, path) {
            return meet_whole(run, whole, meet);
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let (run, folder) = self.inner_of(run, folder).unwrap_or((run, folder));
        match (names::folder(folder), folder.parent().and_then(|above| Some((above, *self.numbered.get(above)?)))) {
            (Folder::Number(_), Some((_, Some(false)))) => {
                if self.recursive {
                    self.meet_file(folder, path.to_owned(), meet);
                }
            }
            (Folder::Number(number), Some((above, _))) => {
                self.enter_number(above, folder, number, meet);
            }
            _ => self.meet_file(run, path.to_owned(), meet),
        }
    }

    fn enter_number(&mut self, run: &Path, folder: &Path, number: u64, meet: &mut dyn FnMut(Met)) {
        let is_known = self.numbered.get(run).is_some_and(Option::is_some);
        let mut numbers = vec![(folder.to_owned(), number)];
        if !is_known {
            numbers = self.open_numbers(&self.tree.list(run).unwrap_or_default());
        }
        self.enter_numbers(run, &numbers, MAX_DEPTH, meet);
    }

    fn meet_files(&self, run: &Path, listing: &Listing, meet: &mut dyn FnMut(Met)) {
        listing.files.iter().for_each(|path| self.meet_file(run, path.clone(), meet));
    }

    /// What workers read of the weights of checkpoints; shared by clones.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// As [`version()`], with what has become of the weights that workers read.
    pub fn version(&self, checkpoint: &Path) -> Option<Version> {
        let found = if self.kinds.are_files() { self.tree.version(checkpoint) } else { version(checkpoint) };
        let mut version = found?;
        version.fingerprint += &self.weights.changes(checkpoint, |file| self.tree.stamp(file));
        Some(version)
    }

    /// Meets the file at `path`, or the checkpoint whose weights it holds, if it is one.
    fn meet_file(&self, run: &Path, path: PathBuf, meet: &mut dyn FnMut(Met)) {
        if path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b".")) {
            return;
        }
        if self.kinds.matches(&path) {
            // A link to a folder is not followed.
            if let Some(version) = self.version(&path).filter(|_| self.kinds.are_files() || path.is_file()) {
                meet(Met::Checkpoint(Found { run: run.to_owned(), path, version }));
            }
            return;
        }
        for owner in self.weights.owners(&path) {
            self.meet_file(run, owner, meet);
        }
        if self.kinds.is_foreign(&path) {
            meet(Met::Foreign(path));
        } else if let Some(owner) = owner_of_weights(&path) {
            let packed = owner.with_added_extension("gz");
            for owner in [owner, packed] {
                self.meet_file(run, owner, meet);
            }
        }
    }
}

fn meet_whole(run: &Path, folder: &Path, meet: &mut dyn FnMut(Met)) {
    if let Some(version) = folder_version(folder) {
        meet(Met::Checkpoint(Found { run: run.to_owned(), path: folder.to_owned(), version }));
    }
}

/// Whether a folder that is no step has a name that tells of one.
fn tells_a_step(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    names::folder(folder) == Folder::Other && names::file(&name) != (None, None)
}

fn owner_of_weights(path: &Path) -> Option<PathBuf> {
    let bytes = crate::path::to_bytes(path);
    let owner = ENDINGS.iter().find_map(|ending| bytes.strip_suffix(ending.as_bytes()))?;
    owner.ends_with(b".onnx").then(|| crate::path::from_bytes(owner.to_vec()))
}

/// The checkpoints below `root` in training order, each with its run; `notice` is told what the user should know.
///
/// # Errors
/// `Io` if the directory cannot be listed.
pub fn checkpoints(search: &Search, root: &Path, notice: &mut dyn FnMut(&str)) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    search.clone().walk_run(root, MAX_DEPTH, &mut |met| match met {
        Met::Checkpoint(checkpoint) => found.push(checkpoint),
        Met::Numbers(text) | Met::PassedOver(text) => notice(&text),
        Met::Folder(..) | Met::Run(_) | Met::Foreign(_) => {}
    })?;
    Ok(ordered(found, |found| read_metadata(&found.path).unwrap_or_else(|_| named(found))))
}

/// Meets what `walk` meets, checkpoints last and in training order as far as names tell it: a file system lists them in any.
fn in_order<T>(meet: &mut dyn FnMut(Met), walk: impl FnOnce(&mut dyn FnMut(Met)) -> T) -> T {
    let mut found = Vec::new();
    let walked = walk(&mut |met| match met {
        Met::Checkpoint(checkpoint) => found.push(checkpoint),
        met => meet(met),
    });
    for checkpoint in ordered(found, named) {
        meet(Met::Checkpoint(checkpoint));
    }
    walked
}

fn named(found: &Found) -> Metadata {
    let (step, epoch) = step_and_epoch(&found.path, &found.run);
    Metadata { step, epoch, ..Metadata::default() }
}

fn ordered(found: Vec<Found>, metadata: impl Fn(&Found) -> Metadata) -> Vec<Found> {
    let mut keyed: Vec<_> = found.into_iter().map(|found| (metadata(&found), found)).collect();
    keyed.sort_by(|(a, first), (b, second)| {
        let later = first.version.written.cmp(&second.version.written);
        first.run.cmp(&second.run).then(a.order(b)).then(later).then(first.path.cmp(&second.path))
    });
    keyed.into_iter().map(|(_, found)| found).collect()
}

#[cfg(test)]
mod tests;
