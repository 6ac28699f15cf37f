//! What the daemon makes is its user's alone, whatever the umask and whatever an earlier version left; nobody else keeps it from starting.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::common::daemon::{Client, Daemon, Place, eventually};

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o777
}

/// All that lies below a folder, and the folder.
fn all(folder: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.expect("listed").into_path()).collect()
}

fn assert_private(folder: &Path) {
    for path in all(folder) {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

/// With the state directory of its user, not a journal that was named.
fn start(place: &Place, prepare: &str) -> Daemon {
    let board = place.path().join("board");
    let flags = ["--tensorboard", board.to_str().expect("UTF-8")];
    let daemon = Daemon::start_after(place, prepare, &[place.run()], &flags);
    Client::subscribed(&daemon, 0).next_of("measured");
    daemon
}

#[test]
fn what_the_daemon_makes_is_its_users_alone_whatever_the_umask() {
    for umask in ["umask 000", "umask 022"] {
        let place = Place::new();
        place.rename_in("step_1.onnx", "one");
        let daemon = start(&place, umask);
        let board = place.path().join("board");
        eventually("TensorBoard's file", || fs::read_dir(board.join("run")).is_ok_and(|files| files.count() == 1));
        assert_private(&place.home().join("relstab"));
        assert_private(&board);
        assert!(fs::symlink_metadata(place.socket()).expect("there").file_type().is_socket());
        assert_eq!(mode(&place.socket()) & 0o077, 0);
        let names: Vec<_> = all(&place.home()).iter().filter_map(|path| Some(path.extension()?.to_owned())).collect();
        assert!(["sqlite", "lock"].iter().all(|kind| names.iter().any(|name| name == kind)), "{names:?}");
        // From the first instant, for nothing is made by another mask.
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("its status");
        assert!(status.contains("Umask:\t0077"), "{status}");
        assert_eq!(daemon.end(), Some(0));
    }
}

#[test]
fn what_an_earlier_version_left_open_to_others_is_closed() {
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    start(&place, "true").kill();
    // A worker that was being forked has its socket for a moment longer.
    eventually("nobody listens", || UnixStream::connect(place.socket()).is_err());
    let state = place.home().join("relstab");
    for path in all(&state) {
        let wide = if path.is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(&path, fs::Permissions::from_mode(wide)).expect("set");
    }
    let daemon = start(&place, "true");
    assert_private(&state);
    assert_eq!(daemon.end(), Some(0));
}

/// Another user who holds the lock of a file as long as this lives; `None` where there is none, or who may not.
fn stranger(path: &Path) -> Option<Child> {
    let mut held = Command::new("setpriv");
    held.args(["--reuid=65534", "--regid=65534", "--clear-groups", "flock", "--exclusive", "--nonblock"]).arg(path);
    let mut held = held
        .args(["sh", "-c", "echo held; exec sleep 60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut said = [0; 4];
    let is_held = std::io::Read::read_exact(held.stdout.as_mut()?, &mut said).is_ok();
    if !is_held {
        held.wait().expect("a child");
    }
    is_held.then_some(held)
}

#[test]
fn another_user_who_locks_files_keeps_no_daemon_from_starting() {
    if !rustix::process::getuid().is_root() {
        eprintln!("passed over: only root can be another user");
        return;
    }
    let place = Place::new();
    place.rename_in("step_1.onnx", "one");
    start(&place, "true").kill();
    let state = place.home().join("relstab");
    let files: Vec<_> = all(&state).into_iter().filter(|path| path.is_file()).collect();
    assert!(files.iter().all(|file| stranger(file).is_none()), "closed to others");
    // As an earlier version left them.
    for path in all(place.path()) {
        let wide = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(wide)).expect("set");
    }
    let mut strangers: Vec<_> = files.iter().map(|file| stranger(file).expect("open to others")).collect();
    assert!(strangers.len() > 2, "{files:?}");
    let daemon = start(&place, "true");
    assert!(
        strangers.iter_mut().all(|stranger| stranger.try_wait().expect("a child").is_none()),
        "they still hold them"
    );
    // One of its own user does keep another away.
    let other = place.home().to_str().expect("UTF-8").to_owned();
    let mut refused = Command::new(env!("CARGO_BIN_EXE_relstab"));
    let refused = refused.arg("watch").arg(place.run()).env("XDG_STATE_HOME", other).output().expect("it ends");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another daemon"), "{refused:?}");
    assert_eq!(daemon.end(), Some(0));
    for stranger in &mut strangers {
        stranger.kill().and_then(|()| stranger.wait()).expect("ended");
    }
}
