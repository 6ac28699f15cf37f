//! Processes: what the operating system tells of one, and how a user's command is started.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::Mode;

use crate::error::{Error, Result};

/// How often a process looks at its own size.
const LOOK: Duration = Duration::from_millis(100);

/// A program whose files are made with `umask`, whatever this process's own is.
pub fn with_umask(umask: Mode, program: &str) -> Command {
    let mut command = Command::new("sh");
    // The shell would say each time that there is no such program: the exit code says it too.
    let script = format!("umask {:04o}; command -v \"$1\" >/dev/null || exit 127; exec \"$@\"", umask.as_raw_mode());
    command.args(["-c", &script, "sh", program]);
    command
}

/// Starts so many threads at once, and ends them: libraries panic where they cannot have theirs.
///
/// # Errors
/// `Unavailable` where the system lets this process start no more.
pub fn try_threads(count: usize) -> Result<()> {
    let gate = Mutex::new(());
    let pass = || drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
    thread::scope(|scope| {
        // Dropped on the way out, so that they end.
        let _shut = gate.lock().unwrap_or_else(PoisonError::into_inner);
        (0..count).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, pass).map(drop))
    })
    .map_err(|error| Error::Unavailable {
        what: format!("{count} threads"),
        reason: error.to_string(),
        help: "raise the limit of this user's processes (ulimit -u), or end some of them",
    })
}

/// How a process ended, in words: "ended with exit code 3", "was killed by signal 9 (kill)".
pub fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}{}", name_of(signal)),
        (None, code) => format!("ended with exit code {}", code.unwrap_or(-1)),
    }
}

fn name_of(signal: i32) -> &'static str {
    match signal {
        4 => " (illegal instruction)",
        6 => " (abort)",
        7 => " (bus error)",
        8 => " (floating-point exception)",
        9 => " (kill)",
        11 => " (segmentation fault)",
        _ => "",
    }
}

/// Memory that a process holds, bytes; `None` where the system does not tell.
pub fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// As [`resident`], of a process and all that it started, and these.
pub fn resident_with_children(process: u32) -> Option<u64> {
    let own = resident(process)?;
    Some(own + children(process).into_iter().filter_map(resident_with_children).sum::<u64>())
}

/// The processes that one has started, as far as the system tells.
fn children(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Ends this process, and its group, once it needs more than `limit` bytes, which the flag `--memory-limit` gives.
///
/// # Errors
/// The system's, where no thread can be started.
pub fn stay_below(limit: u64) -> std::io::Result<()> {
    let own = std::process::id();
    let look = move || {
        while resident_with_children(own).is_none_or(|size| size <= limit) {
            thread::sleep(LOOK);
        }
        // Where nobody hears it, it ends all the same.
        let _ = writeln!(std::io::stderr(), "it needs more than {} (--memory-limit)", bytesize::ByteSize(limit));
        die();
    };
    thread::Builder::new().name("memory".to_owned()).spawn(look).map(drop)
}

/// Ends this process at once, and its group if it leads one: a network that computes cannot be asked to stop, nor may exit handlers run
/// beside it.
pub fn die() {
    use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};
    let own = getpid();
    if getpgrp() == own {
        let _ = kill_process_group(own, Signal::KILL);
    }
    let _ = kill_process(own, Signal::KILL);
}

/// Whether the system ends this process when its parent ends. It would not end what this one started: while there is such, this process
/// hears of its parent's end, and ends both.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "other systems have no such thing"))]
pub fn die_with_parent(does: bool) {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(does.then_some(rustix::process::Signal::KILL));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_threads_may_be_started() {
        try_threads(0).expect("none");
        try_threads(16).expect("a few");
    }

    #[test]
    fn a_command_has_its_words_and_the_umask_that_it_is_given() {
        let output =
            with_umask(Mode::from_raw_mode(0o027), "sh").args(["-c", "umask; echo \"$1\"", "sh", "a '$b'"]).output();
        let output = output.expect("started");
        assert_eq!(
            (output.stdout.as_slice(), ended(output.status)),
            (&b"0027\na '$b'\n"[..], "ended with exit code 0".into())
        );
        let absent = with_umask(Mode::from_raw_mode(0o027), "/no/such/program").output().expect("started");
        assert_eq!((absent.status.code(), absent.stderr.as_slice()), (Some(127), &b""[..]));
        let killed = Command::new("sh").args(["-c", "kill -9 $$"]).status().expect("started");
        assert_eq!(ended(killed), "was killed by signal 9 (kill)");
    }

    #[test]
    fn what_a_process_started_counts_with_it() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        assert!(children(std::process::id()).contains(&child.id()));
        assert!(resident_with_children(std::process::id()) > resident(child.id()));
        child.kill().and_then(|()| child.wait()).expect("ended");
    }

    #[test]
    fn this_process_has_a_resident_size() {
        assert!(resident(std::process::id()).expect("a size") > 1 << 20);
    }
}
