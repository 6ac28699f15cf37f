//! Arrays for NumPy, too large to be held.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use npyz::{AutoSerialize, NpyWriter, WriterBuilder as _};

use crate::error::{Error, Result};

/// A `.npy` file that is written from front to back.
pub struct Array<T: AutoSerialize> {
    path: PathBuf,
    writer: NpyWriter<T, BufWriter<File>>,
}

impl<T: AutoSerialize + Copy> Array<T> {
    /// Begins an array of these sizes.
    ///
    /// # Errors
    /// `Io` names the file that cannot be written.
    pub fn create(path: PathBuf, dims: &[u64]) -> Result<Self> {
        let open = || {
            let file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
            npyz::WriteOptions::new().default_dtype().shape(dims).writer(file).begin_nd()
        };
        match open() {
            Ok(writer) => Ok(Self { path, writer }),
            Err(error) => Err(Error::io(&path, "write")(error)),
        }
    }

    /// Appends values, the last axis first.
    ///
    /// # Errors
    /// As [`Array::create`].
    pub fn extend(&mut self, values: &[T]) -> Result<()> {
        self.writer.extend(values.iter().copied()).map_err(Error::io(&self.path, "write"))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// As [`Array::create`], and where values are missing.
    pub fn finish(self) -> Result<()> {
        let Self { path, writer } = self;
        writer.finish().map_err(Error::io(&path, "write"))
    }
}
