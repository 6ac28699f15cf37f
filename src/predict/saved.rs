//! The laws that a user saved: one JSON file each, replaced whole.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::Law;
use super::calibrate::Calibration;
use super::presets::{presets, unknown};
use crate::error::{Error, Result};
use crate::{path, small_file};

/// A saved law may be this long, bytes: its points take some hundreds each.
const LONGEST: u64 = 16 << 20;

/// The version of [`Saved`].
pub const LAW_SCHEMA: &str = "relstab.law/1";

/// A law and how it came about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saved {
    /// Always `relstab.law/1`.
    pub schema: String,
    /// RFC 3339, UTC.
    pub time: String,
    /// The law.
    pub law: Law,
    /// The points it was fitted on and what they say about it.
    pub calibration: Calibration,
}

impl Law {
    /// The preset called `name`, else the law that the user saved under it.
    ///
    /// # Errors
    /// `Law` naming the laws if there is none of that name; as [`Folder::read`] for one that cannot be read.
    pub fn named(name: &str) -> Result<Self> {
        if let Ok(law) = Self::preset(name) {
            return Ok(law);
        }
        let folder = Folder::of_user()?;
        match folder.read(name)? {
            Some(saved) => Ok(saved.law),
            None => Err(unknown(name, folder.names()?)),
        }
    }
}

/// Where saved laws lie.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// `$XDG_DATA_HOME/relstab/laws`, else `~/.local/share/relstab/laws`.
    ///
    /// # Errors
    /// `Setting` where there is no home directory either.
    pub fn of_user() -> Result<Self> {
        Ok(Self(path::user_folder("XDG_DATA_HOME", ".local/share", "XDG_DATA_HOME")?.join("laws")))
    }

    /// The law's file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    /// The names of all saved laws.
    ///
    /// # Errors
    /// `Io` if the folder cannot be listed.
    pub fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io(&self.0, "list"))?,
        };
        let name = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned());
        let mut names: Vec<_> = entries.flatten().filter_map(name).filter(|name| is_name(name)).collect();
        names.sort();
        Ok(names)
    }

    /// The law called `name`, if it was saved.
    ///
    /// # Errors
    /// `Io` or `SavedLaw` if its file cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Saved>> {
        let path = self.file(name);
        if !is_name(name) {
            return Ok(None);
        }
        let text = match small_file::read(&path, LONGEST) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(Error::io(&path, "read"))?,
        };
        let damaged = |expected, found: String| Error::SavedLaw { path: path.clone(), expected, found };
        let mut saved: Saved =
            serde_json::from_str(&text).map_err(|error| damaged("a law", small_file::json_fault(&text, &error)))?;
        if saved.schema != LAW_SCHEMA {
            return Err(damaged("the schema relstab.law/1", saved.schema));
        }
        if saved.law.name != name {
            return Err(damaged("the law of the file's name", saved.law.name));
        }
        saved.law = saved.law.validated().map_err(|error| damaged("a law", error.to_string()))?;
        Ok(Some(saved))
    }

    /// Saves a law as the next version of its name, and gives that version. A reader sees the old file or the new one.
    ///
    /// # Errors
    /// `Law` for a name that cannot be used, `Io` if nothing can be written, and as [`Folder::read`] for the last version.
    pub fn save(&self, mut saved: Saved) -> Result<Saved> {
        let name = saved.law.name.clone();
        check_name(&name)?;
        fs::create_dir_all(&self.0).map_err(Error::io(&self.0, "create"))?;
        let folder = File::open(&self.0).map_err(Error::io(&self.0, "open"))?;
        // Two that save at once must not take the same version; the lock ends with `folder`.
        rustix::fs::flock(&folder, FlockOperation::LockExclusive)
            .map_err(|error| Error::io(&self.0, "lock")(error.into()))?;
        saved.law.version = self.read(&name)?.map_or(1, |last| last.law.version.saturating_add(1));
        let path = self.file(&name);
        let write = |temporary: &Path| {
            let mut file = File::create(temporary)?;
            file.write_all(&serde_json::to_vec_pretty(&saved)?)?;
            file.sync_all()?;
            fs::rename(temporary, &path)?;
            folder.sync_all()
        };
        let temporary = path.with_extension("new");
        let forget = |_: &std::io::Error| drop(fs::remove_file(&temporary));
        write(&temporary).inspect_err(forget).map_err(Error::io(&path, "write"))?;
        Ok(saved)
    }

    /// Removes a law; false if there was none.
    ///
    /// # Errors
    /// `Io` if its file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let path = self.file(name);
        if !is_name(name) {
            return Ok(false);
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true).map_err(Error::io(&path, "remove")),
        }
    }
}

/// Refuses names that are no file's or that mean something else.
///
/// # Errors
/// `Law`, saying why.
pub fn check_name(name: &str) -> Result<()> {
    let refuse = |reason: &str| Err(Error::Law { name: name.to_owned(), reason: reason.to_owned() });
    if presets().iter().any(|law| law.name == name) {
        return refuse("this is a preset's name: save it under another");
    }
    if !is_name(name) {
        return refuse(
            "a name is up to 100 letters, digits, '-', '_' and '.', the first a letter or digit, and not none or run",
        );
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    starts_well && is_plain && name.len() <= 100 && !["none", "run"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Estimator;
    use crate::perturb::Interpolation;
    use crate::predict::Conditions;
    use crate::predict::calibrate::{Point, calibrate};
    use crate::predict::terms::{Measured, Quantities, Term};

    fn fitted(name: &str) -> Saved {
        let points: Vec<_> = [(0.1, 0.06), (0.5, 0.15), (1.5, 0.24), (3.0, 0.31)]
            .map(|(r_f, error)| (Quantities::from([(Term::RF, r_f)]), error))
            .map(|(quantities, error)| Point {
                label: String::new(),
                run: None,
                quantities,
                spreads: Quantities::new(),
                error,
            })
            .into();
        let calibration = calibrate(&points, None, None).expect("points enough");
        let conditions = Conditions {
            cutoff: 3,
            delta: 1.0,
            interpolation: Interpolation::Bilinear,
            estimator: Estimator::CoordinateMedian,
            side: 32.0,
        };
        let law = calibration.law(name, &conditions, 10, "a test".to_owned());
        Saved { schema: LAW_SCHEMA.to_owned(), time: String::new(), law, calibration }
    }

    #[test]
    fn a_law_comes_back_as_it_was_and_its_version_counts_up() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder(temporary.path().join("a/b"));
        assert!(folder.names().expect("listed").is_empty() && folder.read("mine").expect("read").is_none());
        let first = folder.save(fitted("mine")).expect("saved");
        let second = folder.save(fitted("mine")).expect("saved");
        assert_eq!((first.law.version, second.law.version), (1, 2));
        let read = folder.read("mine").expect("read").expect("there");
        assert_eq!((&read.law, &read.calibration), (&second.law, &second.calibration));
        let measured = Measured { quantities: Quantities::from([(Term::RF, 0.7)]), ..Measured::default() };
        let predict = |law: &Law| law.predict(&measured).expect("R_f");
        assert_eq!(predict(&read.law), predict(&second.law));
        assert_eq!(folder.names().expect("listed"), ["mine"]);
        assert!(folder.remove("mine").expect("removed") && !folder.remove("mine").expect("gone"));
    }

    #[test]
    fn names_of_presets_and_of_other_folders_are_refused() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder(temporary.path().to_owned());
        for name in ["cifar10", "none", "", "../x", ".x", "a b", "ü"] {
            assert!(matches!(folder.save(fitted(name)), Err(Error::Law { .. })), "{name}");
        }
        assert!(folder.read("../x").expect("no such law").is_none());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder(temporary.path().to_owned());
        let saved = folder.save(fitted("mine")).expect("saved");
        let mut unsound = serde_json::to_value(&saved).expect("JSON");
        unsound["law"]["posterior"]["degrees"] = 0.0.into();
        let mut renamed = serde_json::to_value(&saved).expect("JSON");
        renamed["law"]["name"] = "other".into();
        for text in ["", "{", "[]", "{\"schema\": \"relstab.law/2\"}", &unsound.to_string(), &renamed.to_string()] {
            fs::write(folder.file("mine"), text).expect("written");
            let error = folder.read("mine").expect_err(text).to_string();
            assert!(error.contains("mine.json"), "{error}");
        }
    }
}
