//! Changes as Linux tells them.

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Change, Duration, HashMap, Path, PathBuf, Rest, UnixStream, Woken};
use std::fs::File;
use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
use std::os::fd::AsFd as _;

struct Watched {
    folder: PathBuf,
    run: PathBuf,
    root: usize,
}

pub struct Watcher {
    inotify: Result<Inotify, String>,
    watched: HashMap<WatchDescriptor, Watched>,
    /// The watch of each directory in `watched`: under its name there may be another now.
    of_folder: HashMap<PathBuf, WatchDescriptor>,
    /// Directories above, of which only their end is told.
    above: HashMap<WatchDescriptor, PathBuf>,
    /// The kernel's table of mounts, which tells of changes.
    mounts: Option<File>,
    buffer: Vec<u8>,
}

impl Watcher {
    pub fn new() -> Self {
        let inotify = Inotify::init().map_err(|error| format!("inotify cannot be used ({error})"));
        Self {
            inotify,
            watched: HashMap::new(),
            of_folder: HashMap::new(),
            above: HashMap::new(),
            mounts: File::open("/proc/self/mountinfo").ok(),
            buffer: vec![0; 64 << 10],
        }
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
                self.above.remove(&watch);
                self.watched.insert(watch.clone(), watched);
                let before = self.of_folder.insert(folder.to_owned(), watch.clone());
                if let Some(other) = before.filter(|before| *before != watch) {
                    self.watched.remove(&other);
                    // It may be gone already.
                    let _ = inotify.watches().remove(other);
                }
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) => {
                Err("the limit of inotify watches is reached (raise fs.inotify.max_user_watches)".to_owned())
            }
            // Gone again, a file in its place, or not ours to read: the listing says so.
            Err(error) if matches!(error.kind(), NotFound | NotADirectory | PermissionDenied) => Ok(()),
            Err(error) => Err(format!("inotify cannot watch it ({error})")),
        }
    }

    /// Watches for the end of a directory above a watched one; what cannot be watched is looked at in time.
    pub fn add_above(&mut self, folder: &Path) {
        let Ok(inotify) = self.inotify.as_mut() else { return };
        // Another watched directory keeps what it tells.
        let mask = WatchMask::DELETE_SELF | WatchMask::MOVE_SELF | WatchMask::ONLYDIR | WatchMask::MASK_ADD;
        if let Ok(watch) = inotify.watches().add(folder, mask)
            && !self.watched.contains_key(&watch)
        {
            self.above.insert(watch, folder.to_owned());
        }
    }

    /// Waits for an event, the bell, a mount or the end of `timeout`; `None` if waiting failed.
    pub fn wait(&self, ear: &UnixStream, timeout: Option<Duration>) -> Option<Woken> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let bell = PollFd::from_borrowed_fd(ear.as_fd(), PollFlags::IN);
        let mut waited: Vec<PollFd> = vec![bell];
        if let Ok(inotify) = &self.inotify {
            waited.push(PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN));
        }
        if let Some(mounts) = &self.mounts {
            waited.push(PollFd::from_borrowed_fd(mounts.as_fd(), PollFlags::PRI));
        }
        match poll(&mut waited, timeout.as_ref()) {
            Ok(_) => Some(Woken {
                by_bell: !waited[0].revents().is_empty(),
                by_mounts: self.mounts.is_some() && waited.last().is_some_and(|mounts| !mounts.revents().is_empty()),
            }),
            Err(rustix::io::Errno::INTR) => Some(Woken { by_bell: false, by_mounts: false }),
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
                let is_end = event.mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::IGNORED);
                let folder = self.watched.get(&event.wd).map(|watched| &watched.folder);
                if is_end && let Some(folder) = folder.or_else(|| self.above.get(&event.wd)) {
                    changes.push(Change::Lost { folder: folder.clone() });
                    lost.push(event.wd);
                    continue;
                }
                let Some(watched) = self.watched.get(&event.wd) else { continue };
                let Some(name) = event.name else { continue };
                let path = watched.folder.join(name);
                let (root, run) = (watched.root, watched.run.clone());
                if event.mask.contains(EventMask::ISDIR) {
                    changes.push(Change::Folder { root, run, path });
                } else if event.mask.contains(EventMask::MOVED_TO) {
                    changes.push(Change::File { root, run, path, rest: Rest::Renamed });
                } else if event.mask.contains(EventMask::CLOSE_WRITE) || is_link(&path) {
                    changes.push(Change::File { root, run, path, rest: Rest::Closed });
                }
            }
        }
        for watch in lost {
            self.above.remove(&watch);
            if let Some(watched) = self.watched.remove(&watch) {
                self.of_folder.remove(&watched.folder);
            }
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
