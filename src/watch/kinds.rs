//! What counts as a checkpoint by its name.

use std::path::Path;

use globset::{Glob, GlobMatcher};

use crate::checkpoint::names::{self, Folder};
use crate::checkpoint::native;
use crate::error::{Error, Result};

/// Which files and folders are checkpoints.
#[derive(Debug, Clone)]
pub struct Kinds {
    pattern: GlobMatcher,
    folders: Folders,
}

/// Which folders are checkpoints as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folders {
    /// None: ONNX networks are files.
    None,
    /// Those that match the pattern.
    Named,
    /// Those, and those that belong to a step or an epoch.
    NamedAndSteps,
}

impl Kinds {
    /// `pattern` matches the names of checkpoints, for instance `*.onnx`, which is the default. Where there is an export, checkpoints are
    /// frameworks' own: by default files and folders with their endings, and folders of steps; else files and folders that match.
    ///
    /// # Errors
    /// `Setting` for a pattern that is no glob.
    pub fn new(pattern: Option<&str>, has_export: bool) -> Result<Self> {
        let folders = match (has_export, pattern) {
            (false, _) => Folders::None,
            (true, Some(_)) => Folders::Named,
            (true, None) => Folders::NamedAndSteps,
        };
        let usual = if has_export { format!("*.{{{}}}", native::ENDINGS.join(",")) } else { "*.onnx".to_owned() };
        let pattern = pattern.unwrap_or(&usual);
        if !has_export && native::ENDINGS.iter().any(|ending| pattern.ends_with(&format!(".{ending}"))) {
            let expected =
                "names of ONNX files, such as '*.onnx' (export the network first: docs/frameworks.md), or --export CMD";
            return Err(Error::setting("--pattern", expected, pattern));
        }
        let glob = Glob::new(pattern)
            .map_err(|error| Error::setting("--pattern", "a glob such as '*.onnx'", error.kind().to_string()))?;
        Ok(Self { pattern: glob.compile_matcher(), folders })
    }

    /// The pattern, as it was given.
    pub fn pattern(&self) -> &str {
        self.pattern.glob().glob()
    }

    /// What counts as a checkpoint, in words.
    pub fn words(&self) -> String {
        let more = match self.folders {
            Folders::None => "",
            Folders::Named => ", and such folders",
            Folders::NamedAndSteps => ", such folders, and folders of a step or an epoch",
        };
        format!("files that match {}{more}", self.pattern())
    }

    /// Whether a folder below a run's directory is a checkpoint as it is.
    pub fn is_whole(&self, folder: &Path) -> bool {
        let kind = names::folder(folder);
        if self.are_files() || kind == Folder::Unfinished {
            return false;
        }
        let is_step = || match kind {
            Folder::Step(_) => true,
            Folder::Number(_) => native::is_of_orbax(folder),
            Folder::Unfinished | Folder::Other => false,
        };
        self.matches(folder) || self.folders == Folders::NamedAndSteps && is_step()
    }

    /// Whether the name at `path` matches the pattern.
    pub fn matches(&self, path: &Path) -> bool {
        path.file_name().is_some_and(|name| self.pattern.is_match(Path::new(name)))
    }

    /// Whether only files are checkpoints.
    pub fn are_files(&self) -> bool {
        self.folders == Folders::None
    }

    /// Whether the file at `path` is a framework's own checkpoint, which nothing exports.
    pub fn is_foreign(&self, path: &Path) -> bool {
        let ending = path.extension().and_then(|end| end.to_str());
        self.are_files() && ending.is_some_and(|end| native::ENDINGS.contains(&end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_frameworks_are_the_same_with_an_export_and_without() {
        let (with, without) = (Kinds::new(None, true).expect("a glob"), Kinds::new(None, false).expect("a glob"));
        for ending in native::ENDINGS {
            let path = format!("step_1.{ending}");
            assert!(with.matches(path.as_ref()) && without.is_foreign(path.as_ref()), "{path}");
            assert!(Kinds::new(Some(&format!("*.{ending}")), false).is_err(), "{ending}");
        }
        assert!(!with.matches("step_1.onnx".as_ref()) && !without.is_foreign("step_1.onnx".as_ref()));
    }
}
