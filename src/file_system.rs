//! Which file systems are this machine's alone: only there every write raises an event, and locks and shared memory hold.

use std::path::Path;

/// Magic numbers of those that are, from linux/magic.h and the systems' own sources.
#[cfg(target_os = "linux")]
const LOCAL: [u32; 24] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0xf2f5_2010, // F2FS
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x3153_464a, // JFS
    0x5265_4973, // ReiserFS
    0x3434,      // NILFS
    0x2405_1905, // UBIFS
    0x72b6,      // JFFS2
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
    0x7366_746e, // NTFS3
    0x5346_544e, // NTFS
    0x482b,      // HFS+
    0x4244,      // HFS
    0x1501_3346, // UDF
    0x9660,      // ISO 9660
    0x7371_7368, // SquashFS
    0xe0f5_e1e2, // EROFS
    0x9588_5458, // HugeTLB
];

/// The name of the file system at `path` if it is not known to be this machine's alone; of the nearest folder that is there.
#[cfg(target_os = "linux")]
pub fn shared(path: &Path) -> Option<String> {
    let (path, found) = path.ancestors().find_map(|path| Some((path, rustix::fs::statfs(path).ok()?)))?;
    // Sign-extended on some machines.
    let magic = found.f_type as u32;
    (!LOCAL.contains(&magic)).then(|| name(path).unwrap_or_else(|| format!("file system 0x{magic:x}")))
}

/// As `mount` calls it.
#[cfg(target_os = "linux")]
fn name(path: &Path) -> Option<String> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    named(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, &device)
}

/// The kind of file system that this device is mounted as, by the kernel's table: `36 35 98:0 / /mnt rw master:1 - ext4 /dev/sda1 rw`.
#[cfg(any(target_os = "linux", test))]
fn named(table: &str, device: &str) -> Option<String> {
    let is_it = |line: &&str| line.split(' ').nth(2) == Some(device);
    let (_, behind) = table.lines().rfind(is_it)?.split_once(" - ")?;
    behind.split(' ').next().map(str::to_owned)
}

/// Elsewhere nothing tells.
#[cfg(not(target_os = "linux"))]
pub fn shared(_: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_called_what_the_kernel_calls_them() {
        let table = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n\
                     40 22 0:52 / /mnt/data rw shared:1 master:2 - nfs4 server:/data rw,vers=4.2\n\
                     41 22 0:53 / /scratch rw - lustre 10.0.0.1@tcp:/scratch rw\n";
        assert_eq!(named(table, "0:52").as_deref(), Some("nfs4"));
        assert_eq!(named(table, "0:53").as_deref(), Some("lustre"));
        assert_eq!(named(table, "0:54"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_not_on_the_list_is_shared() {
        assert_eq!(shared(Path::new("/proc/self")).as_deref(), Some("proc"));
        assert_eq!(shared(Path::new("/dev/shm/no/such/folder")), None);
    }
}
