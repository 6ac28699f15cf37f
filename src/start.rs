//! What a new run needs before it is measured: images and a network are looked at, plausible preprocessings tried, and what came of
//! it is written down as a `relstab.toml`.

mod candidates;
mod file;
mod look;

pub use file::{Place, text};
pub use look::{Choice, Look, Tried, look};
