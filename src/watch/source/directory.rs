//! Checkpoints in directories, told by inotify where that works and looked at again and again where not.
//!
//! One thread per daemon. When the daemon is slow the thread waits, the kernel's queue overflows, and everything is looked at
//! once more.

#[cfg(target_os = "linux")]
#[path = "directory/inotify.rs"]
mod watcher;
#[cfg(not(target_os = "linux"))]
#[path = "directory/polling.rs"]
mod watcher;

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use watcher::{Watcher, silent_file_system};

use super::{News, Rest, Source};
use crate::error::{Error, Result};
use crate::watch::scan::{self, Met, Search, Version};

/// How often directories are looked at where nothing tells of changes, or where they are missing.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watched directories.
#[derive(Debug)]
pub struct Directories {
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Source for Directories {
    fn rescan(&self) {
        // A bell that is full rings already.
        let _ = (&self.bell).write(b"r");
    }

    fn version(&self, checkpoint: &Path) -> Option<Version> {
        scan::version(checkpoint)
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
    let fail = |source| Error::Io { path: "watching".into(), action: "set up", source };
    let (bell, ear) = UnixStream::pair().map_err(fail)?;
    bell.set_nonblocking(true).map_err(fail)?;
    ear.set_nonblocking(true).map_err(fail)?;
    let mut watching = Watching {
        roots: roots.into_iter().map(Root::new).collect(),
        search,
        watcher: Watcher::new(),
        known: HashMap::new(),
        noticed: HashSet::new(),
        // A daemon that is gone hears no news: the thread is about to end.
        tell: Box::new(move |news| drop(sender.send(tell(news)))),
    };
    let thread =
        std::thread::Builder::new().name("source".to_owned()).spawn(move || watching.run(&ear)).map_err(fail)?;
    Ok(Directories { bell, thread: Some(thread) })
}

struct Root {
    folder: PathBuf,
    is_polled: bool,
    is_missing: bool,
}

impl Root {
    fn new(folder: PathBuf) -> Self {
        Self { folder, is_polled: false, is_missing: false }
    }
}

struct Watching {
    roots: Vec<Root>,
    search: Search,
    watcher: Watcher,
    /// Hashes of paths with hashes of the versions that were told.
    known: HashMap<u64, u64>,
    noticed: HashSet<String>,
    tell: Box<dyn Fn(News) + Send>,
}

impl Watching {
    fn run(&mut self, ear: &UnixStream) {
        self.scan_all();
        (self.tell)(News::Caught);
        let mut next_look = Instant::now() + INTERVAL;
        loop {
            let is_looking = self.roots.iter().any(|root| root.is_polled || root.is_missing);
            let timeout = is_looking.then(|| next_look.saturating_duration_since(Instant::now()));
            let Some(rung) = self.watcher.wait(ear, timeout) else { return };
            if rung {
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
            if is_looking && Instant::now() >= next_look {
                for at in 0..self.roots.len() {
                    if self.roots[at].is_polled || self.roots[at].is_missing {
                        self.scan(at);
                    }
                }
                next_look = Instant::now() + INTERVAL;
            }
        }
    }

    fn scan_all(&mut self) {
        for at in 0..self.roots.len() {
            self.scan(at);
        }
    }

    fn scan(&mut self, at: usize) {
        let folder = self.roots[at].folder.clone();
        if !self.roots[at].is_polled
            && let Some(name) = silent_file_system(&folder)
        {
            self.roots[at].is_polled = true;
            self.notice(format!(
                "{}: {name} does not tell of changes made elsewhere; looking at it every {} s instead",
                folder.display(),
                INTERVAL.as_secs()
            ));
        }
        let was_missing = std::mem::take(&mut self.roots[at].is_missing);
        let search = self.search.clone();
        let mut met = Vec::new();
        // Each directory is watched before it is listed, so that nothing falls between.
        let walked = search.walk(&folder, &mut |one| match one {
            Met::Folder(folder, run) => self.watch(at, &folder, &run),
            one => met.push(one),
        });
        for one in met {
            self.meet(one, Rest::Closed);
        }
        if let Err(error) = walked {
            self.roots[at].is_missing = true;
            if !was_missing {
                self.noticed.remove(&format!("{}: is there again", folder.display()));
                self.notice(format!("{error}; waiting for it to come back"));
            }
        } else if was_missing {
            self.noticed.retain(|notice| !notice.contains("waiting for it to come back"));
            self.notice(format!("{}: is there again", folder.display()));
        }
    }

    fn watch(&mut self, at: usize, folder: &Path, run: &Path) {
        if self.roots[at].is_polled {
            return;
        }
        if let Err(reason) = self.watcher.add(folder, run, at) {
            self.roots[at].is_polled = true;
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
                let (path, version) = (hash(&found.path), hash(&found.version.fingerprint));
                let is_known = self.known.insert(path, version) == Some(version);
                if !is_known || rest == Rest::Renamed {
                    (self.tell)(News::Found(found, rest));
                }
            }
            Met::Foreign(path) => {
                let ending = path.extension().unwrap_or_default().to_string_lossy().into_owned();
                let folder = path.parent().unwrap_or(Path::new("")).display();
                self.notice(format!(
                    "{folder}: .{ending} files hold weights without the network; export it with \
                     torch.onnx.export(model, (example,), 'step_N.onnx', dynamo=True)"
                ));
            }
            Met::Folder(..) => {}
        }
    }

    fn take_events(&mut self) {
        for event in self.watcher.read() {
            match event {
                Change::Overflow => self.scan_all(),
                Change::File { run, path, rest } => {
                    let mut met = Vec::new();
                    self.search.meet_file(&run, path, &mut |one| met.push(one));
                    for one in met {
                        self.meet(one, rest);
                    }
                }
                Change::Folder { root, run, path } => {
                    let search = self.search.clone();
                    let mut met = Vec::new();
                    search.walk_new(&run, &path, &mut |one| match one {
                        Met::Folder(folder, run) => self.watch(root, &folder, &run),
                        one => met.push(one),
                    });
                    for one in met {
                        self.meet(one, Rest::Closed);
                    }
                }
                // A sub-directory that comes back is told by the one above it; a watched directory must be looked for.
                Change::Lost { root, folder } if self.roots[root].folder == folder => self.scan(root),
                Change::Lost { .. } => {}
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
        run: PathBuf,
        path: PathBuf,
        rest: Rest,
    },
    Folder {
        root: usize,
        run: PathBuf,
        path: PathBuf,
    },
    /// A directory was deleted or renamed.
    Lost {
        root: usize,
        folder: PathBuf,
    },
    Overflow,
}
