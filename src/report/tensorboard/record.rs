//! Records of an event file: TensorBoard's messages, each between its length and a checksum.
//!
//! Messages are as TensorFlow's `event.proto` and `summary.proto` have them, frames as its `record_writer.cc`.

use std::io::Read;

use prost::Message;

/// What a file of this format says first.
const VERSION: &str = "brain.Event:2";
/// Bytes around a message: its length, the length's checksum, its own checksum.
const FRAME: u64 = 8 + 4 + 4;
/// Bytes of the longest message that is read: more than a picture of ours takes, and little for a daemon to hold.
const LONGEST: u64 = 4 << 20;

/// `tensorflow.Event`.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Where charts place it.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// In a file's first record only.
    #[prost(string, optional, tag = "3")]
    pub file_version: Option<String>,
    /// What it tells.
    #[prost(message, optional, tag = "5")]
    pub summary: Option<Summary>,
    /// Ours: the seq of the event that it tells of. Readers pass over fields that they do not know.
    #[prost(int64, optional, tag = "7000")]
    pub seq: Option<i64>,
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// One for each tag.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Value>,
}

/// `tensorflow.Summary.Value`: a scalar or an image.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its name.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// A scalar.
    #[prost(float, optional, tag = "2")]
    pub scalar: Option<f32>,
    /// An image.
    #[prost(message, optional, tag = "4")]
    pub image: Option<Image>,
}

/// `tensorflow.Summary.Image`.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// Pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// Channels: 3 for RGB.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// A PNG file.
    #[prost(bytes = "vec", tag = "4")]
    pub png: Vec<u8>,
}

impl Record {
    /// A file's first record.
    pub fn version(wall_time: f64) -> Self {
        Self { wall_time, file_version: Some(VERSION.to_owned()), ..Self::default() }
    }

    /// The bytes in a file.
    pub fn framed(&self) -> Vec<u8> {
        let message = self.encode_to_vec();
        let length = (message.len() as u64).to_le_bytes();
        [&length[..], &checksum(&length), &message, &checksum(&message)].concat()
    }
}

/// The records at the beginning of a file, each with its end in bytes, up to the first that is cut short, damaged or longer than ours.
pub fn records(mut file: impl Read) -> impl Iterator<Item = (Record, u64)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (record, size) = record(&mut file)?;
        at += size;
        Some((record, at))
    })
}

fn record(file: &mut impl Read) -> Option<(Record, u64)> {
    let (mut length, mut sum) = ([0; 8], [0; 4]);
    file.read_exact(&mut length).ok()?;
    file.read_exact(&mut sum).ok()?;
    let size = u64::from_le_bytes(length);
    if sum != checksum(&length) || size > LONGEST {
        return None;
    }
    let mut message = vec![0; size as usize];
    file.read_exact(&mut message).ok()?;
    file.read_exact(&mut sum).ok()?;
    let record = Record::decode(&message[..]).ok().filter(|_| sum == checksum(&message))?;
    Some((record, FRAME + size))
}

/// CRC-32C, masked, since a checksum of data with checksums in it means little.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(step: i64) -> Record {
        let value = Value { tag: "relstab/r_f".to_owned(), scalar: Some(0.25), image: None };
        Record {
            wall_time: 1.5,
            step,
            summary: Some(Summary { values: vec![value] }),
            seq: Some(9),
            ..Record::default()
        }
    }

    /// What TensorFlow's own writer makes of `Event(wall_time=1.5, file_version="brain.Event:2")`.
    const GOLDEN: &str = "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c";

    #[test]
    fn the_first_record_is_that_of_tensorflow() {
        assert_eq!(hex::encode(Record::version(1.5).framed()), GOLDEN);
    }

    #[test]
    fn what_was_written_is_read_up_to_where_it_was_cut_or_damaged() {
        let written = [Record::version(1.0), scalar(1), scalar(2)];
        let frames: Vec<_> = written.iter().map(Record::framed).collect();
        let bytes = frames.concat();
        let read = |bytes: &[u8]| records(bytes).collect::<Vec<_>>();
        assert!(read(&bytes).iter().map(|(record, _)| record).eq(&written));
        let second_ends = frames[0].len() + frames[1].len();
        for length in second_ends..bytes.len() {
            let read = read(&bytes[..length]);
            assert_eq!((read.len(), read[1].1), (2, second_ends as u64), "cut at {length}");
        }
        for place in second_ends..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x10;
            assert_eq!(read(&damaged).len(), 2, "damaged at {place}");
        }
    }

    #[test]
    fn a_record_that_claims_gigabytes_is_none_of_ours() {
        let length = (8_u64 << 30).to_le_bytes();
        let head = [&length[..], &checksum(&length)].concat();
        assert_eq!(records(head.chain(std::io::repeat(0))).count(), 0);
    }
}
