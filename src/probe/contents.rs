//! What a format gives of a file: an array, or a list of images that lie encoded in it.

use super::raw::Raw;

/// What a format gives.
pub enum Contents {
    Array(Raw),
    Encoded(Catalogue),
}

/// What a format with encoded images gives.
pub struct Catalogue {
    pub images: Box<dyn Encoded>,
    pub count: usize,
    pub labels: Option<Vec<u32>>,
    pub notes: Vec<String>,
}

/// Images that lie encoded in files.
pub trait Encoded: Send + Sync {
    /// What to call one to the user.
    fn name(&self, index: usize) -> String;

    /// The files of some of them, each with the reason if it cannot be read.
    fn read(&self, indices: &[usize]) -> Vec<std::result::Result<Vec<u8>, String>>;
}
