//! A probe set of its own: the chosen images with their labels, to lie beside the checkpoints that they measure.

use std::fs::File;
use std::io;
use std::path::Path;

use zip::CompressionMethod::Deflated;
use zip::ZipWriter;

use super::ProbeSet;
use super::raw::Pixels;
use crate::arrays::add;
use crate::error::{Error, Result};

impl ProbeSet {
    /// Writes the images as they are stored, `[image, channel, y, x]`, and their labels to a new `.npz` file; gives its size in bytes.
    ///
    /// # Errors
    /// `Io` for a file that is there already or cannot be written; nothing is left of the latter.
    pub fn save(&self, path: &Path) -> Result<u64> {
        let file = File::create_new(path).map_err(Error::io(path, "create"))?;
        self.write_npz(&file).and_then(|()| Ok(file.metadata()?.len())).map_err(|error| {
            let _ = std::fs::remove_file(path);
            Error::io(path, "write")(error)
        })
    }

    fn write_npz(&self, file: &File) -> io::Result<()> {
        let shape = self.shape();
        let dims = [self.len(), shape.channels, shape.height, shape.width];
        let stored = |index: usize| {
            let mut bytes = Vec::new();
            self.images.pixels.channel_first_bytes(index, shape, self.images.layout, &mut bytes);
            bytes
        };
        let mut archive = ZipWriter::new(io::BufWriter::new(file));
        match &self.images.pixels {
            Pixels::U8(_) => add(&mut archive, ("images", Deflated), &dims, (0..self.len()).flat_map(stored))?,
            Pixels::F32(_) => {
                let values =
                    |index| stored(index).as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
                add(&mut archive, ("images", Deflated), &dims, (0..self.len()).flat_map::<Vec<f32>, _>(values))?;
            }
        }
        if let Some(labels) = self.labels() {
            add(&mut archive, ("labels", Deflated), &[labels.len()], labels.iter().copied())?;
        }
        archive.finish()?;
        Ok(())
    }
}
