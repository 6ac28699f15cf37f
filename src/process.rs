//! What the operating system tells of a process.

/// Memory that a process holds, bytes; `None` where the system does not tell.
#[must_use]
pub fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// As [`resident`], of a process and all that it started, and these.
#[must_use]
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

#[cfg(test)]
mod tests {
    use super::*;

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
