//! Where checkpoints come from: directories, told by inotify where that works and looked at again and again where not.
//!
//! One thread per daemon. It sends over a bounded channel; when the daemon is slow the thread waits, the kernel's queue
//! overflows, and everything is looked at once more.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::scan::{Found, Met, Search};
use crate::error::{Error, Result};

/// What a source tells.
#[derive(Debug)]
pub enum News {
    /// A file, and how sure it is that nobody writes it any more.
    Found(Found, Rest),
    /// All that was there at the beginning (or after a reload) has been told.
    Caught,
    /// Something the user should know, once.
    Notice(String),
}

/// How a file came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It was renamed into place: whole.
    Renamed,
    /// It was closed, or simply found: it may yet be written to.
    Closed,
}

/// How often directories are looked at where nothing tells of changes, or where they are missing.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks the source's thread to look at everything again, or to end.
#[derive(Debug)]
pub struct Handle {
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Looks at everything again.
    pub fn rescan(&self) {
        // A bell that is full rings already.
        let _ = (&self.bell).write(b"r");
    }
}

impl Drop for Handle {
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
) -> Result<Handle> {
    let fail = |source| Error::Io { path: "watching".into(), action: "set up", source };
    let (bell, ear) = UnixStream::pair().map_err(fail)?;
    bell.set_nonblocking(true).map_err(fail)?;
    ear.set_nonblocking(true).map_err(fail)?;
    let mut source = Source {
        roots: roots.into_iter().map(Root::new).collect(),
        search,
        watcher: Watcher::new(),
        known: HashMap::new(),
        noticed: HashSet::new(),
        // A daemon that is gone hears no news: the thread is about to end.
        tell: Box::new(move |news| drop(sender.send(tell(news)))),
    };
    let thread = std::thread::Builder::new().name("source".to_owned()).spawn(move || source.run(&ear)).map_err(fail)?;
    Ok(Handle { bell, thread: Some(thread) })
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

struct Source {
    roots: Vec<Root>,
    search: Search,
    watcher: Watcher,
    /// Hashes of paths with hashes of the versions that were told.
    known: HashMap<u64, u64>,
    noticed: HashSet<String>,
    tell: Box<dyn Fn(News) + Send>,
}

impl Source {
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
                // What replaced it, if anything did, is found by looking.
                Change::Lost { root } => self.scan(root),
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
    /// A watched directory was deleted or renamed.
    Lost {
        root: usize,
    },
    Overflow,
}

#[cfg(target_os = "linux")]
use linux::{Watcher, silent_file_system};

#[cfg(target_os = "linux")]
mod linux {
    use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::{Change, Duration, HashMap, Path, PathBuf, Rest, UnixStream};
    use std::os::fd::AsFd as _;

    /// Magic numbers of file systems on which inotify misses what other machines or layers change.
    const SILENT: [(i64, &str); 8] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9p"),
        (0x794c_7630, "overlayfs"),
        (0x00c3_6400, "Ceph"),
    ];

    pub fn silent_file_system(folder: &Path) -> Option<&'static str> {
        let kind = rustix::fs::statfs(folder).ok()?.f_type;
        SILENT.iter().find(|(magic, _)| *magic == kind as i64).map(|(_, name)| *name)
    }

    struct Watched {
        folder: PathBuf,
        run: PathBuf,
        root: usize,
    }

    pub struct Watcher {
        inotify: Result<Inotify, String>,
        watched: HashMap<WatchDescriptor, Watched>,
        buffer: Vec<u8>,
    }

    impl Watcher {
        pub fn new() -> Self {
            let inotify = Inotify::init().map_err(|error| format!("inotify cannot be used ({error})"));
            Self { inotify, watched: HashMap::new(), buffer: vec![0; 64 << 10] }
        }

        pub fn add(&mut self, folder: &Path, run: &Path, root: usize) -> Result<(), String> {
            let inotify = self.inotify.as_mut().map_err(|reason| reason.clone())?;
            let mask = WatchMask::CLOSE_WRITE
                | WatchMask::MOVED_TO
                | WatchMask::CREATE
                | WatchMask::DELETE_SELF
                | WatchMask::MOVE_SELF
                | WatchMask::ONLYDIR;
            match inotify.watches().add(folder, mask) {
                Ok(watch) => {
                    let watched = Watched { folder: folder.to_owned(), run: run.to_owned(), root };
                    self.watched.insert(watch, watched);
                    Ok(())
                }
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) => {
                    Err("the limit of inotify watches is reached (raise fs.inotify.max_user_watches)".to_owned())
                }
                // Gone again, or not ours to read: the listing says so.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
                Err(error) => Err(format!("inotify cannot watch it ({error})")),
            }
        }

        /// Waits for an event, the bell or the end of `timeout`; tells whether the bell rang, `None` if waiting failed.
        pub fn wait(&self, ear: &UnixStream, timeout: Option<Duration>) -> Option<bool> {
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            let bell = PollFd::from_borrowed_fd(ear.as_fd(), PollFlags::IN);
            let mut waited: Vec<PollFd> = vec![bell];
            if let Ok(inotify) = &self.inotify {
                waited.push(PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN));
            }
            match poll(&mut waited, timeout.as_ref()) {
                Ok(_) => Some(!waited[0].revents().is_empty()),
                Err(rustix::io::Errno::INTR) => Some(false),
                Err(_) => None,
            }
        }

        pub fn read(&mut self) -> Vec<Change> {
            let Ok(inotify) = &mut self.inotify else { return Vec::new() };
            let mut changes = Vec::new();
            let mut lost = Vec::new();
            // No events waiting is an error, too.
            while let Ok(events) = inotify.read_events(&mut self.buffer) {
                for event in events {
                    if event.mask.contains(EventMask::Q_OVERFLOW) {
                        changes.push(Change::Overflow);
                        continue;
                    }
                    let Some(watched) = self.watched.get(&event.wd) else { continue };
                    if event.mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED) {
                        changes.push(Change::Lost { root: watched.root });
                        lost.push(event.wd);
                        continue;
                    }
                    let Some(name) = event.name else { continue };
                    let path = watched.folder.join(name);
                    let run = watched.run.clone();
                    if event.mask.contains(EventMask::ISDIR) {
                        changes.push(Change::Folder { root: watched.root, run, path });
                    } else if event.mask.contains(EventMask::MOVED_TO) {
                        changes.push(Change::File { run, path, rest: Rest::Renamed });
                    } else if event.mask.contains(EventMask::CLOSE_WRITE) || is_link(&path) {
                        changes.push(Change::File { run, path, rest: Rest::Closed });
                    }
                }
            }
            for watch in lost {
                self.watched.remove(&watch);
                // Moved away: still watched under its old name. Deleted: gone already, which is as well.
                let _ = inotify.watches().remove(watch);
            }
            changes
        }
    }

    /// A link that is made appears whole; a file that is made is still to be written and closed.
    fn is_link(path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::symlink_metadata(path).is_ok_and(|file| file.is_symlink() || file.nlink() > 1)
    }
}

#[cfg(not(target_os = "linux"))]
use elsewhere::{Watcher, silent_file_system};

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::{Change, Duration, Path, UnixStream};
    use std::os::fd::AsFd as _;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    pub fn silent_file_system(_: &Path) -> Option<&'static str> {
        Some("this system")
    }

    pub struct Watcher;

    impl Watcher {
        pub fn new() -> Self {
            Self
        }

        pub fn add(&mut self, _: &Path, _: &Path, _: usize) -> Result<(), String> {
            Ok(())
        }

        pub fn wait(&self, ear: &UnixStream, timeout: Option<Duration>) -> Option<bool> {
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            let mut waited = [PollFd::from_borrowed_fd(ear.as_fd(), PollFlags::IN)];
            poll(&mut waited, timeout.as_ref()).ok().map(|_| !waited[0].revents().is_empty())
        }

        pub fn read(&mut self) -> Vec<Change> {
            Vec::new()
        }
    }
}
