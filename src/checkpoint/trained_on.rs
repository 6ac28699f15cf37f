//! Which images a checkpoint was trained on, where it names a file of their hashes.

use std::collections::HashSet;
use std::path::{Component, Path};

use crate::small_file;
use crate::text::cut;

/// The metadata that names the file.
pub const KEY: &str = "train_images";
/// SHA-256 of an image's pixels, as [`crate::probe::ProbeSet::pixel_hashes`] gives it.
pub type Hash = [u8; 32];
/// The file may be this long, bytes: a million images.
const LONGEST: u64 = 65 << 20;

/// The hashes in the file `name` beside the checkpoint at `path`, one a line in hexadecimal.
///
/// # Errors
/// What was expected and found, for a file that lies elsewhere, cannot be read or holds something else.
pub fn read(path: &Path, name: &str) -> Result<HashSet<Hash>, String> {
    let is_beside = matches!(Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    if !is_beside {
        return Err(format!("expected the name of a file beside the checkpoint, found {name:?}"));
    }
    let file = path.with_file_name(name);
    let text = small_file::read(&file, LONGEST).map_err(|error| format!("{}: {error}", file.display()))?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    let hash = |(number, line): (usize, &str)| {
        let mut hash = Hash::default();
        hex::decode_to_slice(line, &mut hash).map_err(|_| {
            let (file, mut found) = (file.display(), line.to_owned());
            cut(&mut found, 80);
            format!("{file}, line {}: expected a SHA-256 of 64 hexadecimal digits, found {found:?}", number + 1)
        })?;
        Ok(hash)
    };
    lines.map(hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_from_a_file_beside_the_checkpoint() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let network = folder.path().join("net.onnx");
        let write = |text: &str| std::fs::write(folder.path().join("seen"), text).expect("written");
        write(&format!("{}\n\n{}\n", "ab".repeat(32), "01".repeat(32)));
        assert_eq!(read(&network, "seen").expect("read"), HashSet::from([[0xab; 32], [1; 32]]));
        write("ab\n");
        for (name, word) in [("seen", "line 1"), ("none", "none"), ("../seen", "beside"), ("/etc/passwd", "beside")] {
            let error = read(&network, name).expect_err(name);
            assert!(error.contains(word), "{error}");
        }
    }
}
