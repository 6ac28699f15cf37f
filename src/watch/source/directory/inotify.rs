//! Changes as Linux tells them.

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
                    changes.push(Change::Lost { root: watched.root, folder: watched.folder.clone() });
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
