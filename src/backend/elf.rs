//! What a shared library says of itself, read before the linker maps it: one that is cut short kills the process then.

use std::fs::File;
use std::path::Path;

use object::Endianness;
use object::elf::{DT_NEEDED, ELFMAG, FileHeader64};
use object::read::elf::{ElfFile, ProgramHeader as _};
use object::read::{ReadCache, ReadRef as _};

type Elf<'a> = ElfFile<'a, FileHeader64<Endianness>, &'a ReadCache<File>>;

/// Whether all that would be mapped is there; the linker judges files of other formats, and those it finds itself.
///
/// # Errors
/// What is wrong with it.
pub fn whole(path: &Path) -> Result<(), String> {
    let bytes = &open(path)?;
    if bytes.read_bytes_at(0, ELFMAG.len() as u64) != Ok(&ELFMAG) {
        return Ok(());
    }
    let file = Elf::parse(bytes).map_err(damaged)?;
    let mapped = file.elf_program_headers().iter().map(|part| part.file_range(file.endian()));
    let needed = mapped.map(|(start, size)| start.saturating_add(size)).max().unwrap_or(0);
    let there = bytes.len().map_err(|()| damaged("unreadable"))?;
    if there < needed { Err(damaged(format!("{there} bytes of {needed} or more"))) } else { Ok(()) }
}

/// The libraries that it is linked with.
///
/// # Errors
/// What is wrong with it.
pub fn needed(path: &Path) -> Result<Vec<String>, String> {
    whole(path)?;
    // Of hundreds of megabytes this reads some thousand bytes.
    let bytes = &open(path)?;
    let names = || -> object::read::Result<Vec<String>> {
        let table = Elf::parse(bytes)?.elf_dynamic_table()?;
        let linked = table.iter().filter(|entry| entry.tag == DT_NEEDED);
        linked.map(|entry| Ok(String::from_utf8_lossy(table.string(entry)?).into_owned())).collect()
    };
    names().map_err(damaged)
}

fn open(path: &Path) -> Result<ReadCache<File>, String> {
    File::open(path).map(ReadCache::new).map_err(|error| error.to_string())
}

fn damaged(why: impl std::fmt::Display) -> String {
    format!("no whole library ({why})")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_cut_anywhere_is_told_apart() {
        let own = std::fs::read(std::env::current_exe().expect("this test")).expect("read");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("library.so");
        let judged = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            whole(&path)
        };
        for cut in [4, 63, 64, 1000, own.len() / 2, own.len() - 1] {
            let told = judged(&own[..cut]).expect_err("cut short");
            assert!(told.starts_with("no whole library"), "{cut}: {told}");
        }
        // Left to the linker.
        assert!(judged(b"").is_ok() && judged(b"# a script").is_ok());
        assert!(judged(&own).is_ok());
        assert!(needed(&path).expect("whole").iter().any(|name| name.starts_with("libc.so")));
        assert!(needed(folder.path()).is_err() && whole(&folder.path().join("missing")).is_err());
    }
}
