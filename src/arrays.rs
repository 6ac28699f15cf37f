//! NumPy's arrays in files, and archives of them: headers are read within bounds, and no more is held than there is.

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read, Seek, Write};
use std::path::Path;

use npyz::{AutoSerialize, Deserialize, NpyFile, Order, WriteOptions, WriterBuilder as _};
use zip::read::ZipFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// NumPy itself reads no longer header unless it is told to.
const LONGEST_HEADER: usize = 10_000;
/// Brackets within brackets; that of images has 2.
const DEEPEST_HEADER: usize = 8;

/// What is wrong with an array, or with an archive of them.
#[derive(Debug)]
pub struct Fault {
    /// What would have been accepted.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl Fault {
    /// What was expected, and found.
    pub fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }
}

/// An array behind its header.
pub type Begun<R> = NpyFile<Chain<Cursor<Vec<u8>>, R>>;

/// The array behind its header, which must be short and shallow: parsing any other takes memory and time without bound.
///
/// # Errors
/// Another header, or none.
pub fn begin<R: Read>(expected: &str, mut reader: R) -> Result<Begun<R>, Fault> {
    let damaged = |error: io::Error| Fault::new(expected, format!("a damaged one ({error})"));
    // Six bytes of magic, two of the version, then the header's length in two bytes or, from version 2, in four.
    let mut bytes = vec![0; 10];
    reader.read_exact(&mut bytes).map_err(damaged)?;
    if bytes[6] > 1 {
        bytes.resize(12, 0);
        reader.read_exact(&mut bytes[10..]).map_err(damaged)?;
    }
    let length = bytes[8..].iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    if length > LONGEST_HEADER {
        let expected = format!("a NumPy header of at most {LONGEST_HEADER} bytes");
        return Err(Fault::new(expected, format!("{length} bytes")));
    }
    let before = bytes.len();
    bytes.resize(before + length, 0);
    reader.read_exact(&mut bytes[before..]).map_err(damaged)?;
    let mut depth = 0_usize;
    for byte in &bytes[before..] {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST_HEADER {
            return Err(Fault::new("a NumPy header of plain values", "brackets nested without end"));
        }
    }
    NpyFile::new(Cursor::new(bytes).chain(reader)).map_err(damaged)
}

/// The sizes of an array's axes.
///
/// # Errors
/// Sizes that no memory holds.
pub fn dims(shape: &[u64]) -> Result<Vec<usize>, Fault> {
    let product = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    if product.is_none_or(|product| product > isize::MAX as u64) {
        return Err(Fault::new("an array that fits in memory", format!("shape {shape:?}")));
    }
    Ok(shape.iter().map(|size| *size as usize).collect())
}

/// What NumPy adds to the name of an array in an archive.
const ENDING: &str = ".npy";

/// Adds an array of these sizes to an archive, as it is or deflated.
///
/// # Errors
/// The operating system's.
pub fn add<T: AutoSerialize>(
    archive: &mut ZipWriter<impl Write + Seek>,
    (name, method): (&str, CompressionMethod),
    dims: &[usize],
    values: impl IntoIterator<Item = T>,
) -> io::Result<()> {
    let options = SimpleFileOptions::default().compression_method(method).large_file(true);
    archive.start_file(format!("{name}{ENDING}"), options)?;
    let dims: Vec<_> = dims.iter().map(|size| *size as u64).collect();
    let mut array = WriteOptions::new().default_dtype().shape(&dims).writer(archive).begin_nd()?;
    array.extend(values)?;
    array.finish()
}

/// NumPy's `.npz`: arrays by their names.
#[derive(Debug)]
pub struct Archive<R>(ZipArchive<R>);

impl Archive<BufReader<File>> {
    /// The archive in the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be opened, or is no archive.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(BufReader::new(File::open(path)?))
    }
}

impl<R: Read + Seek> Archive<R> {
    /// The archive that `reader` reads.
    ///
    /// # Errors
    /// What is no archive.
    pub fn new(reader: R) -> io::Result<Self> {
        Ok(Self(ZipArchive::new(reader)?))
    }

    /// The names of its arrays.
    pub fn names(&self) -> Vec<String> {
        let names = self.0.file_names().filter_map(Result::ok);
        names.filter_map(|name| name.strip_suffix(ENDING).map(str::to_owned)).collect()
    }

    /// The file of an array.
    ///
    /// # Errors
    /// What is not there, or damaged.
    pub fn entry(&mut self, name: &str) -> io::Result<ZipFile<'_, R>> {
        Ok(self.0.by_name(&format!("{name}{ENDING}"))?)
    }
}

/// An archive whose arrays are stored as they are: together they hold no more than the file does, some times over.
pub struct Stored {
    archive: Archive<BufReader<File>>,
}

impl Stored {
    /// The archive in a file.
    ///
    /// # Errors
    /// What is no whole archive.
    pub fn new(file: File) -> Result<Self, Fault> {
        let archive = Archive::new(BufReader::new(file));
        archive
            .map(|archive| Self { archive })
            .map_err(|error| Fault::new("a whole .npz archive", format!("a damaged one ({error})")))
    }

    /// Values and sizes of the array of this name.
    ///
    /// # Errors
    /// What is not there, damaged, of another type, compressed or in another order.
    pub fn array<T: Deserialize>(&mut self, name: &str) -> Result<(Vec<T>, Vec<usize>), Fault> {
        let expected = format!("a whole array {name}");
        let damaged = |error: &dyn std::fmt::Display| Fault::new(&expected, format!("a damaged one ({error})"));
        let mut entry = self.archive.entry(name).map_err(|error| damaged(&error))?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(Fault::new(format!("array {name} stored"), entry.compression().to_string().to_lowercase()));
        }
        // To the end, where its checksum is compared.
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| damaged(&error))?;
        let array = begin(&expected, bytes.as_slice())?;
        let dims = dims(array.shape())?;
        if array.order() == Order::Fortran && dims.len() > 1 {
            return Err(Fault::new(format!("array {name} in C order"), "Fortran order"));
        }
        let values = array.data().map_err(|error| damaged(&error))?.collect::<io::Result<Vec<T>>>();
        Ok((values.map_err(|error| damaged(&error))?, dims))
    }
}
