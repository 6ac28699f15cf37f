//! The parts of a Parquet file, given to its library only where they claim no more than such a file can hold.
//!
//! The library reserves what a header says, up to gigabytes, before it finds out; where that fails the process ends.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read};
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};

use super::thrift::Value;

/// A page may be this large whatever its bytes on disk, and beyond that in proportion to them, as deflate reaches it.
const PAGE: i64 = 1 << 20;
const RATIO: i64 = 1032;
/// Longer headers than this are none: statistics of two long values are in it.
const LONGEST_HEADER: usize = 64 << 10;
/// Groups within groups of a schema, which the library walks recursively.
const DEEPEST: usize = 64;
/// Where a footer's length stands before the end, and the mark behind it.
const TAIL: u64 = 8;

/// A file of which pages are read.
pub struct Pages {
    file: File,
    length: u64,
}

impl Pages {
    pub fn new(file: File) -> std::io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }

    /// What the footer says of the columns.
    pub fn metadata(&self) -> Result<ParquetMetaData> {
        let mut tail = [0; TAIL as usize];
        let end = self.length.checked_sub(TAIL).ok_or_else(|| liar("a file without a footer"))?;
        self.file.read_exact_at(&mut tail, end)?;
        let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
        let start = end.checked_sub(length).ok_or_else(|| liar("a footer longer than the file"))?;
        let footer = self.get_bytes(start, length as usize)?;
        if !Value::parse(&footer).is_some_and(|footer| is_tree(&footer)) {
            return Err(liar("a footer that is damaged, or whose columns are no tree"));
        }
        ParquetMetaDataReader::decode_metadata(&footer)
    }
}

fn liar(what: &str) -> ParquetError {
    ParquetError::General(what.to_owned())
}

/// Whether the schema's elements have no more children, all together, than there are elements.
fn is_tree(footer: &Value) -> bool {
    footer.fields(2).all(|schema| {
        let Value::List(elements) = schema else { return false };
        let mut left = elements.len() as i64;
        // How many children of each open group are still to come.
        let mut open: Vec<i64> = Vec::new();
        elements.iter().all(|element| {
            let mut counts = element.numbers(5);
            let children = counts.next().unwrap_or(0);
            left -= children.max(0);
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(siblings) = open.last_mut() {
                *siblings -= 1;
            }
            open.push(children);
            counts.next().is_none() && children >= 0 && left >= 0 && open.len() <= DEEPEST
        })
    })
}

/// Whether a page's values are encoded so that their number is told only under the compression.
fn is_hidden(page: &Value) -> bool {
    const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
    const DELTA_BYTE_ARRAY: i64 = 7;
    let mut encodings = page.fields(5).flat_map(|v1| v1.numbers(2)).chain(page.fields(8).flat_map(|v2| v2.numbers(4)));
    encodings.any(|encoding| [DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY].contains(&encoding))
}

/// Whether a page says it holds no more than its bytes can.
fn is_honest(page: &Value) -> bool {
    let stored = page.numbers(3).min().unwrap_or(0);
    let size = page.numbers(2).max().unwrap_or(0);
    let within = |number: i64, most: i64| (0..=most).contains(&number);
    // Of an index, each value takes 4 bytes at least.
    let mut indexed = page.fields(7).flat_map(|dictionary| dictionary.numbers(1));
    page.numbers(2).all(|size| within(size, PAGE + stored.saturating_mul(RATIO)))
        && stored >= 0
        && indexed.all(|count| within(count, size / 4))
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Pages {
    type T = Header;

    fn get_read(&self, start: u64) -> Result<Header> {
        Ok(Header { file: BufReader::with_capacity(LONGEST_HEADER, self.file.get_read(start)?), is_checked: false })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF("a page beyond the end of the file".to_owned()));
        }
        self.file.get_bytes(start, length)
    }
}

/// A page from its header on, which is looked at before the first byte is given.
pub struct Header {
    file: BufReader<BufReader<File>>,
    is_checked: bool,
}

impl Read for Header {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.is_checked {
            let lie = match Value::parse(self.file.fill_buf()?) {
                Some(page) if is_hidden(&page) => {
                    Some("pages of an encoding that is not read: write the table as PLAIN")
                }
                Some(page) if is_honest(&page) => None,
                _ => Some("a page larger than its bytes can hold, or damaged"),
            };
            if let Some(lie) = lie {
                return Err(Error::new(ErrorKind::InvalidData, lie));
            }
            self.is_checked = true;
        }
        self.file.read(buffer)
    }
}
