//! Checkpoints in directories, told by inotify where that works and looked at again and again where not.
//!
//! Events tell at once, of what they tell of: links whose targets change, mounts and parents that are renamed are found by looking,
//! once a minute. One thread per daemon. When the daemon is slow the thread waits, the kernel's queue overflows, and everything is looked at
//! once more.

#[cfg(target_os = "linux")]
#[path = "directory/inotify.rs"]
mod watcher;
#[cfg(not(target_os = "linux"))]
#[path = "directory/polling.rs"]
mod watcher;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use watcher::Watcher;

use super::{News, Rest, Source};
use crate::config::FILE_NAME;
use crate::error::{Error, Result};
use crate::file_system::shared;
use crate::watch::scan::{Met, Search};
use crate::watch::version::Version;
use crate::watch::weights::{Part, stamp_of};

/// How often directories are looked at where nothing tells of changes, or where they are missing.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often they are looked at where events tell of most changes.
const RESCAN: Duration = Duration::from_mins(1);
/// Looking takes at most one part in so many of the time.
const LOOKING: u32 = 10;

/// Watched directories.
#[derive(Debug)]
pub struct Directories {
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
    gone: Gone,
    search: Search,
}

/// Hashes of paths of checkpoints that the daemon has found gone: if they come back, they are told anew.
type Gone = Arc<Mutex<Vec<u64>>>;

impl Source for Directories {
    fn rescan(&self) {
        // A bell that is full rings already.
        let _ = (&self.bell).write(b"r");
    }

    fn version(&self, checkpoint: &Path) -> Option<Version> {
        let version = self.search.version(checkpoint);
        if version.is_none() {
            self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(hash(checkpoint));
        }
        version
    }

    fn stamp(&self, file: &Path) -> Option<String> {
        stamp_of(file)
    }

    fn learn(&self, checkpoint: &Path, weights: Vec<Part>) {
        self.search.weights().learn(checkpoint, weights);
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        let _ = self.bell.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Watches `roots`; `tell` turns news into the daemon's messages.
///
/// # Errors
/// `Io` if the thread cannot be set up.
pub fn spawn<M: Send + 'static>(
    roots: Vec<PathBuf>,
    search: Search,
    sender: SyncSender<M>,
    tell: fn(News) -> M,
) -> Result<Directories> {
    // A daemon that is gone hears no news: the thread is about to end.
    listen(roots, search, RESCAN, move |news| drop(sender.send(tell(news))))
}

fn listen(
    roots: Vec<PathBuf>,
    search: Search,
    rescan: Duration,
    tell: impl Fn(News) + Send + 'static,
) -> Result<Directories> {
    let fail = |source| Error::Io { path: "watching".into(), action: "set up", source };
    let (bell, ear) = UnixStream::pair().map_err(fail)?;
    bell.set_nonblocking(true).map_err(fail)?;
    ear.set_nonblocking(true).map_err(fail)?;
    let (gone, asked) = (Gone::default(), search.clone());
    let mut watching = Watching {
        roots: roots.into_iter().map(Root::new).collect(),
        search,
        rescan,
        watcher: Watcher::new(),
        known: HashMap::new(),
        gone: Arc::clone(&gone),
        noticed: HashSet::new(),
        tell: Box::new(tell),
    };
    let thread =
        std::thread::Builder::new().name("source".to_owned()).spawn(move || watching.run(&ear)).map_err(fail)?;
    Ok(Directories { bell, thread: Some(thread), gone, search: asked })
}

struct Root {
    folder: PathBuf,
    /// Its device and inode when it was last looked at; `None` while it is missing.
    identity: Option<(u64, u64)>,
    is_missing: bool,
    /// It, or a part of it, lies on a file system that does not tell of all changes.
    is_silent: bool,
    /// It cannot be watched.
    is_unwatched: bool,
    /// When it is looked at next.
    due: Instant,
}

impl Root {
    fn new(folder: PathBuf) -> Self {
        let due = Instant::now();
        Self { folder, identity: None, is_missing: false, is_silent: false, is_unwatched: false, due }
    }

    fn is_polled(&self) -> bool {
        self.is_silent || self.is_unwatched
    }
}

/// Device and inode.
fn identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder).ok().map(|folder| (folder.dev(), folder.ino()))
}

struct Watching {
    roots: Vec<Root>,
    search: Search,
    rescan: Duration,
    watcher: Watcher,
    /// Hashes of paths with hashes of the runs and versions that were told; 0 for a run.
    known: HashMap<u64, u64>,
    gone: Gone,
    noticed: HashSet<String>,
    tell: Box<dyn Fn(News) + Send>,
}

impl Watching {
    fn run(&mut self, ear: &UnixStream) {
        self.scan_all();
        (self.tell)(News::Caught);
        loop {
            let due = self.roots.iter().map(|root| root.due).min();
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            let Some(woken) = self.watcher.wait(ear, timeout) else { return };
            if woken.by_bell {
                let mut letters = [0; 64];
                match (&*ear).read(&mut letters) {
                    Ok(0) => return,
                    Ok(_) => {
                        self.known.clear();
                        self.scan_all();
                        (self.tell)(News::Caught);
                    }
                    Err(_) => {}
                }
            }
            self.take_events();
            for at in 0..self.roots.len() {
                let root = &self.roots[at];
                let is_mounted = woken.by_mounts && identity(&root.folder) != root.identity;
                if is_mounted || root.due <= Instant::now() {
                    self.scan(at);
                }
            }
        }
    }

    fn scan_all(&mut self) {
        for at in 0..self.roots.len() {
            self.scan(at);
        }
    }

    fn scan(&mut self, at: usize) {
        let began = Instant::now();
        let folder = self.roots[at].folder.clone();
        self.roots[at].identity = identity(&folder);
        self.roots[at].is_silent = false;
        self.hear(at, &folder);
        if !self.roots[at].is_polled() {
            folder.ancestors().skip(1).for_each(|above| self.watcher.add_above(above));
        }
        let was_missing = std::mem::take(&mut self.roots[at].is_missing);
        let (walked, _) = self.walk(at, Rest::Closed, |search, meet| search.walk(&folder, meet));
        if let Err(error) = walked {
            self.roots[at].is_missing = true;
            if !was_missing {
                self.noticed.remove(&format!("{}: is there again", folder.display()));
                self.notice(format!("{}; waiting for it to come back", error.one_line()));
            }
        } else if was_missing {
            self.noticed.retain(|notice| !notice.contains("waiting for it to come back"));
            self.notice(format!("{}: is there again", folder.display()));
        }
        let root = &mut self.roots[at];
        let pause = if root.is_polled() || root.is_missing { INTERVAL.min(self.rescan) } else { self.rescan };
        root.due = Instant::now() + pause.max(began.elapsed() * LOOKING);
    }

    /// Notes whether a file system tells of all changes in a directory.
    fn hear(&mut self, at: usize, folder: &Path) {
        if let Some(name) = shared(folder) {
            self.roots[at].is_silent = true;
            self.notice(format!(
                "{}: {name} does not tell of changes made elsewhere; looking at it every {} s instead",
                folder.display(),
                INTERVAL.as_secs()
            ));
        }
    }

    fn watch(&mut self, at: usize, folder: &Path, run: &Path) {
        if identity(folder).map(|(device, _)| device) != self.roots[at].identity.map(|(device, _)| device) {
            self.hear(at, folder);
        }
        if self.roots[at].is_polled() {
            return;
        }
        if let Err(reason) = self.watcher.add(folder, run, at) {
            self.roots[at].is_unwatched = true;
            let root = self.roots[at].folder.display();
            self.notice(format!("{root}: {reason}; looking at it every {} s instead", INTERVAL.as_secs()));
        }
    }

    fn notice(&mut self, text: String) {
        if self.noticed.insert(text.clone()) {
            (self.tell)(News::Notice(text));
        }
    }

    fn meet(&mut self, met: Met, rest: Rest) {
        match met {
            Met::Checkpoint(found) => {
                // A folder of which one file was renamed into place: others may be written yet.
                let rest = if found.version.seen.is_none() { Rest::Closed } else { rest };
                let version = hash(&(&found.run, &found.version.fingerprint));
                let is_known = self.known.insert(hash(&*found.path), version) == Some(version);
                if !is_known || rest == Rest::Renamed {
                    (self.tell)(News::Found(found, rest));
                }
            }
            Met::Run(folder) => {
                if self.known.insert(hash(&*folder), 0).is_none() {
                    (self.tell)(News::Run(folder));
                }
            }
            other => other.notice().into_iter().for_each(|text| self.notice(text)),
        }
    }

    /// Meets a part of a watched directory; all of it, if that makes other runs of it.
    fn look(&mut self, at: usize, rest: Rest, walk: impl FnOnce(&mut Search, &mut dyn FnMut(Met))) {
        if self.walk(at, rest, walk).1 {
            self.scan(at);
        }
    }

    /// Meets what `walk` meets in a watched directory; gives what `walk` does, and whether some is of other runs now.
    fn walk<T>(
        &mut self,
        at: usize,
        rest: Rest,
        walk: impl FnOnce(&mut Search, &mut dyn FnMut(Met)) -> T,
    ) -> (T, bool) {
        for path in self.gone.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.known.remove(&path);
        }
        let mut search = self.search.clone();
        let mut met = Vec::new();
        // Each directory is watched before it is listed, so that nothing falls between.
        let walked = walk(&mut search, &mut |one| match one {
            Met::Folder(folder, run) => self.watch(at, &folder, &run),
            one => met.push(one),
        });
        self.search = search;
        let are_others = met.iter().any(|one| matches!(one, Met::Numbers(_)));
        for one in met {
            self.meet(one, rest);
        }
        (walked, are_others)
    }

    fn take_events(&mut self) {
        for event in self.watcher.read() {
            match event {
                Change::Overflow => self.scan_all(),
                // Checkpoints may be links through it, as those of a Kubernetes volume are; a configuration makes a run.
                Change::File { root, path, .. } if path.is_dir() || path.ends_with(FILE_NAME) => self.scan(root),
                Change::File { root, run, path, rest } => {
                    self.look(root, rest, |search, meet| search.meet_new(&run, &path, meet));
                }
                Change::Folder { root, run, path } => {
                    self.look(root, Rest::Closed, |search, meet| search.walk_new(&run, &path, meet));
                }
                // A sub-directory that comes back is told by the one above it; a watched directory must be looked for.
                Change::Lost { folder } => {
                    for at in 0..self.roots.len() {
                        if self.roots[at].folder.starts_with(&folder) {
                            self.scan(at);
                        }
                    }
                }
            }
        }
    }
}

fn hash(value: &(impl std::hash::Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What a watched directory told.
enum Change {
    File {
        root: usize,
        run: PathBuf,
        path: PathBuf,
        rest: Rest,
    },
    Folder {
        root: usize,
        run: PathBuf,
        path: PathBuf,
    },
    /// A directory was deleted or renamed: one that is watched, or one above it.
    Lost {
        folder: PathBuf,
    },
    Overflow,
}

/// What ended a wait, besides events and time.
struct Woken {
    by_bell: bool,
    /// Something was mounted or unmounted.
    by_mounts: bool,
}

#[cfg(test)]
mod tests;
