//! Copies of objects on this machine: each set of objects lies in a folder of its own, which is there once it is whole.
//!
//! The folders are the machine's: its workers share them. One that is held is not removed; the others go, oldest use first, when room is needed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use super::address::{Object, digest, scheme};
use super::bucket::Stores;
use crate::error::{Error, Result};
use crate::path::user_folder;

/// What copies that nobody holds may take together with a new one, bytes.
const ROOM: u64 = 4 << 30;
/// How often a new folder is made anew that another worker removed before it was held.
const TRIES: usize = 100;

/// Brings objects from stores and keeps copies for a while.
pub struct Cache {
    folder: PathBuf,
    stores: Stores,
}

impl Cache {
    /// Copies below the user's state folder.
    ///
    /// # Errors
    /// `Setting` where there is no home directory, and as [`Cache::below`].
    pub fn open() -> Result<Self> {
        Self::below(&user_folder("XDG_STATE_HOME", ".local/state", "XDG_STATE_HOME")?.join("fetched"))
    }

    /// Copies below `folder`.
    ///
    /// # Errors
    /// `Io` if the folder cannot be made.
    pub fn below(folder: &Path) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io(folder, "create"))?;
        Ok(Self { folder: folder.canonicalize().map_err(Error::io(folder, "open"))?, stores: Stores::default() })
    }

    /// What lies at `address`; `None` if nothing does.
    ///
    /// # Errors
    /// As [`Stores::find`].
    pub fn find(&mut self, address: &Path) -> Result<Option<Object>> {
        self.stores.find(address)
    }

    /// The object at `address`, or all that lies below it.
    ///
    /// # Errors
    /// As [`Stores::find`] and [`Stores::list`].
    pub fn find_all(&mut self, address: &Path) -> Result<Vec<Object>> {
        match self.stores.find(address)? {
            Some(object) => Ok(vec![object]),
            // Consoles make an empty object for a folder.
            None => Ok(self.stores.list(address)?.into_iter().filter(|object| object.size > 0).collect()),
        }
    }

    /// These objects on this machine; `None` if one of them is not what it was any more. What `have` holds of them is not brought again.
    ///
    /// # Errors
    /// As [`Stores::get`], and `Io` if copies cannot be written.
    pub fn fetch(&mut self, objects: &[Object], have: Option<&Fetched>) -> Result<Option<Fetched>> {
        let size = objects.iter().map(|object| object.size).sum();
        let name = format!("{}{SIZE}{size}", digest(objects, Object::version));
        let folder = self.folder.join(&name);
        if let Some(fetched) = Fetched::hold(&folder) {
            return Ok(Some(fetched));
        }
        make_room(&self.folder, size);
        let part = self.folder.join(format!("{name}.{}", std::process::id()));
        let _ = fs::remove_dir_all(&part);
        let made = self.fill(&part, objects, have);
        if !matches!(made, Ok(Some(_))) {
            let _ = fs::remove_dir_all(&part);
        }
        let Some(held) = made? else { return Ok(None) };
        match fs::rename(&part, &folder) {
            Ok(()) => Ok(Some(Fetched { folder, held })),
            // Another worker was faster.
            Err(error) => {
                let _ = fs::remove_dir_all(&part);
                Fetched::hold(&folder).map(Some).ok_or_else(|| Error::io(&folder, "write")(error))
            }
        }
    }

    /// Writes copies below `part`, which is held from the beginning.
    fn fill(&mut self, part: &Path, objects: &[Object], have: Option<&Fetched>) -> Result<Option<File>> {
        let held = made(part)?;
        for object in objects {
            let path = part.join(local(object.path()));
            let above = path.parent().unwrap_or(part);
            fs::create_dir_all(above).map_err(Error::io(above, "create"))?;
            if have.is_some_and(|have| fs::hard_link(have.local(object.path()), &path).is_ok()) {
                continue;
            }
            let mut file = File::create(&path).map_err(Error::io(&path, "create"))?;
            if !self.stores.get(object, &mut file)? {
                return Ok(None);
            }
        }
        Ok(Some(held))
    }
}

/// Copies that stay as long as this is held.
#[derive(Debug)]
pub struct Fetched {
    folder: PathBuf,
    held: File,
}

impl Fetched {
    /// Takes hold of copies that are there and whole.
    fn hold(folder: &Path) -> Option<Self> {
        let held = File::open(folder).ok()?;
        held.lock_shared().ok()?;
        // They may have been removed before they were held.
        let is_there = is_at(&held, folder);
        let _ = held.set_modified(SystemTime::now());
        is_there.then(|| Self { folder: folder.to_owned(), held })
    }

    /// Where the copy of what lies at `address` lies, if it was brought.
    pub fn local(&self, address: &Path) -> PathBuf {
        self.folder.join(local(address))
    }

    /// The address whose copy lies at `path`.
    pub fn address(&self, path: &Path) -> Option<PathBuf> {
        let inside = path.strip_prefix(&self.folder).ok()?.to_str()?;
        Some(address_of(inside).into())
    }

    /// The text with addresses in place of copies.
    pub fn named(&self, text: &str) -> String {
        let folder = format!("{}/", crate::path::text(&self.folder));
        let mut parts = text.split(&folder);
        let mut named = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            named += &address_of(part);
        }
        named
    }

    /// Removes the other copies beside these that nobody holds.
    pub fn remove_others(&self) {
        let beside = self.folder.parent().map(fs::read_dir).into_iter().flatten().flatten().flatten();
        for other in beside.map(|entry| entry.path()).filter(|other| *other != self.folder && is_copy(other)) {
            remove(&other);
        }
    }

    /// Removes the copies, unless someone else holds them.
    pub fn remove(self) {
        let _ = self.held.unlock();
        remove(&self.folder);
    }
}

/// What lies in a folder for copies and is none.
pub fn stranger(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).find(|path| !is_copy(path))
}

/// Whether a folder has the name of copies: the digest of their objects.
fn is_copy(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().as_encoded_bytes();
    name.get(..DIGITS).is_some_and(|digest| digest.iter().all(u8::is_ascii_hexdigit))
}

/// Stands for the bucket of an address without one.
const NO_BUCKET: &str = "-";

/// An address as a path below a folder: `s3/bucket/key`, `file/-/key`.
fn local(address: &Path) -> PathBuf {
    let text = address.to_str().unwrap_or_default();
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let bucket = if rest.starts_with('/') { NO_BUCKET } else { "" };
    format!("{}/{bucket}{rest}", scheme(address).unwrap_or_default()).into()
}

/// The other way round.
fn address_of(inside: &str) -> String {
    let (scheme, rest) = inside.split_once('/').unwrap_or((inside, ""));
    format!("{scheme}://{}", rest.strip_prefix(NO_BUCKET).unwrap_or(rest))
}

/// Makes a folder and holds it: until it is held, another worker may take it for one that nobody wants.
fn made(part: &Path) -> Result<File> {
    for _ in 0..TRIES {
        fs::create_dir(part).map_err(Error::io(part, "create"))?;
        let held = match File::open(part) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened.map_err(Error::io(part, "open"))?,
        };
        held.lock_shared().map_err(Error::io(part, "lock"))?;
        if is_at(&held, part) {
            return Ok(held);
        }
    }
    Err(Error::io(part, "hold")(ErrorKind::NotFound.into()))
}

/// Whether what was opened lies at `path` still.
fn is_at(held: &File, path: &Path) -> bool {
    let own = held.metadata().map(|file| (file.dev(), file.ino()));
    own.is_ok_and(|own| fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == own))
}

/// Of the hash of a set of objects.
const DIGITS: usize = 32;
/// Stands between the hash of a set of objects and its size in bytes, in the name of the folder of their copies.
const SIZE: char = '-';

/// What the copies in a folder take; those of an earlier version are looked at.
fn size(folder: &Path) -> u64 {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let told = name.split_once(SIZE).map(|(_, size)| size.split('.').next().unwrap_or_default().parse());
    told.and_then(std::result::Result::ok).unwrap_or_else(|| {
        let files = WalkDir::new(folder).into_iter().flatten().filter_map(|file| file.metadata().ok());
        files.filter(fs::Metadata::is_file).map(|file| file.len()).sum()
    })
}

/// Removes copies that nobody holds; false if somebody does. They lose their name first: whoever is killed here leaves no half of them.
fn remove(folder: &Path) -> bool {
    let Ok(held) = File::open(folder) else { return false };
    if held.try_lock().is_err() || !is_at(&held, folder) {
        return false;
    }
    let gone = folder.with_added_extension("gone");
    let _ = fs::remove_dir_all(&gone);
    fs::rename(folder, &gone).is_ok() && fs::remove_dir_all(&gone).is_ok()
}

/// Removes copies until another `needed` bytes have room, the least recently used first.
fn make_room(cache: &Path, needed: u64) {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .map(|entry| (entry.metadata().and_then(|file| file.modified()).ok(), size(&entry.path()), entry.path()))
        .collect();
    all.sort();
    let mut taken: u64 = all.iter().map(|(_, size, _)| size).sum();
    for (_, size, folder) in all {
        if taken.saturating_add(needed) <= ROOM {
            return;
        }
        if remove(&folder) {
            taken -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn copies_lie_under_their_addresses_and_go_when_nobody_holds_them() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let folder = cache.path().join("set");
        fs::create_dir(&folder).expect("made");
        let fetched = Fetched::hold(&folder).expect("held");
        for address in ["s3://bucket/a/step_1.onnx", "file:///tmp/step_1.onnx"].map(Path::new) {
            let copy = fetched.local(address);
            assert!(copy.starts_with(&folder));
            assert_eq!(fetched.address(&copy).as_deref(), Some(address));
            let text = format!("model {}: unfinished, and {0} again", copy.display());
            assert_eq!(fetched.named(&text), format!("model {}: unfinished, and {0} again", address.display()));
        }
        assert_eq!(fetched.named("s3://bucket/a: gone"), "s3://bucket/a: gone");
        make_room(cache.path(), ROOM + 1);
        assert!(folder.exists());
        drop(fetched);
        make_room(cache.path(), ROOM + 1);
        assert!(!folder.exists());
    }

    #[test]
    fn the_names_of_copies_tell_what_they_take_and_nothing_is_walked() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let folder = |name: &str| cache.path().join(name);
        let (whole, part, older) = (format!("a-{ROOM}"), format!("b-{ROOM}.17"), "c");
        for name in [whole.as_str(), &part, older] {
            fs::create_dir(folder(name)).expect("made");
            fs::write(folder(name).join("file"), "copy").expect("written");
        }
        let sizes = [whole.as_str(), &part, older].map(|name| size(&folder(name)));
        assert_eq!(sizes, [ROOM, ROOM, 4]);
        let held = made(&folder("d-1.17")).expect("made and held");
        make_room(cache.path(), ROOM);
        assert!(!folder(&whole).exists() && !folder(&part).exists() && folder("d-1.17").exists());
        drop(held);
        make_room(cache.path(), ROOM);
        assert!(!folder("d-1.17").exists());
    }

    #[test]
    fn a_folder_that_others_remove_before_it_is_held_is_made_anew() {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let part = cache.path().join("a-1.17");
        let is_over = AtomicBool::new(false);
        let held = std::thread::scope(|threads| {
            threads.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    remove(&part);
                    // One that does not wait at all wins nearly always.
                    std::thread::sleep(Duration::from_micros(20));
                }
            });
            let make = |_| {
                let is_held = made(&part).is_ok_and(|held| is_at(&held, &part));
                while part.exists() {
                    remove(&part);
                }
                is_held
            };
            let held = (0..300).map(make).filter(|is_held| *is_held).count();
            is_over.store(true, Ordering::SeqCst);
            held
        });
        assert_eq!(held, 300);
    }
}
