//! What every target does: the bytes go to one parser, which must not panic nor hold more memory than it may.

#[path = "../../tests/common/allocations.rs"]
mod allocations;
#[path = "../../tests/common/parsers.rs"]
#[allow(dead_code, reason = "tests loop over all parsers")]
mod parsers;

use std::path::Path;
use std::sync::OnceLock;

pub use parsers::Parser;

static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();

fn folder() -> &'static Path {
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder")).path()
}

/// A panic that is caught on the way is none: only one that comes out of a parser ends the run.
pub fn start() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}

/// Parses the bytes.
///
/// # Panics
/// Where the parser does, or takes more memory than its bound.
pub fn check(parser: Parser, bytes: &[u8]) {
    parser.check(folder(), bytes);
}
