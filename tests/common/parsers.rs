//! Every parser of files from outside, and how much memory each may take for a file of a size; tests and fuzzing share it.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use relstab::arrays::add;
use relstab::backend;
use relstab::config::{Config, Flags, RunPlan};
use relstab::measure::shards::{Part, Whole};
use relstab::preprocess::{Geometry, Preprocess};
use relstab::probe::{Options, Source};
use relstab::serve::Request;
use relstab::watch::protocol::Said;
use zip::CompressionMethod::Stored;
use zip::ZipWriter;

use super::allocations::{Allocated, counted};

/// A parser, by the name of its fuzz target and of its folder in the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parser {
    Npy,
    Npz,
    Idx,
    Cifar,
    Parquet,
    Webdataset,
    Config,
    Request,
    Onnx,
    Preprocess,
    Plan,
    Reply,
    Part,
}

/// All of them, with their names.
pub const ALL: [(&str, Parser); 13] = [
    ("npy", Parser::Npy),
    ("npz", Parser::Npz),
    ("idx", Parser::Idx),
    ("cifar", Parser::Cifar),
    ("parquet", Parser::Parquet),
    ("webdataset", Parser::Webdataset),
    ("config", Parser::Config),
    ("request", Parser::Request),
    ("onnx", Parser::Onnx),
    ("preprocess", Parser::Preprocess),
    ("plan", Parser::Plan),
    ("reply", Parser::Reply),
    ("part", Parser::Part),
];

/// What buffers and error texts take, whatever the file.
const FIXED: usize = 1 << 20;
/// Values in wider types, in another order, and in a vector that grows by doubling.
const COPIES: usize = 16;
/// Values of a byte or two each, parsed: a nested list in JSON, an empty message in protobuf.
const PARSED: usize = 128;
const MESSAGES: usize = 1024;
/// What deflate reaches.
const DEFLATE: usize = 1032;

impl Parser {
    /// The most that may be held at once for a file of this size.
    pub fn bound(self, bytes: usize) -> usize {
        let ratio = match self {
            Self::Npy | Self::Webdataset => COPIES,
            Self::Cifar | Self::Config | Self::Request | Self::Preprocess | Self::Plan | Self::Reply => PARSED,
            // Resamples and pairs of its images come with each image.
            Self::Onnx | Self::Part => MESSAGES,
            Self::Npz | Self::Idx | Self::Parquet => COPIES * DEFLATE,
        };
        FIXED + ratio * bytes
    }

    /// Parses the bytes in every way this parser is used; errors are fine, and panics go through.
    ///
    /// # Panics
    /// Where more memory is held than [`Parser::bound`] allows.
    pub fn check(self, folder: &Path, bytes: &[u8]) -> Allocated {
        let path = self.write(folder, bytes);
        let (source, allocated) = counted(|| self.parse(&path, bytes));
        let bound = self.bound(bytes.len());
        assert!(allocated.peak <= bound, "{self:?}: {allocated:?} for {} bytes, more than {bound}", bytes.len());
        // One image may come to 512 MiB (`src/probe/decode.rs`), whatever its file's size: only panics count here.
        if let Some(source) = source.filter(Source::is_encoded) {
            drop(source.set(&Geometry::default(), &|_, _| ()));
        }
        allocated
    }

    /// A file of these bytes under a name that leads to this parser.
    pub fn write(self, folder: &Path, bytes: &[u8]) -> PathBuf {
        let (bytes, name) = match (self, bytes.split_first()) {
            // Records have no mark but their name: the first byte chooses the kind.
            (Self::Cifar, Some((0, records))) => (records, "data.bin"),
            (Self::Cifar, Some((_, batch))) => (batch, "test_batch"),
            // The labels' file is the images' own, so that both are parsed.
            (Self::Idx, _) => {
                fs::write(folder.join("labels"), bytes).expect("written");
                (bytes, "images")
            }
            (Self::Plan, _) => return run(folder, bytes),
            (Self::Part, _) => return part(folder, bytes),
            _ => (bytes, "data"),
        };
        let path = folder.join(name);
        fs::write(&path, bytes).expect("written");
        path
    }

    fn parse(self, path: &Path, bytes: &[u8]) -> Option<Source> {
        match self {
            Self::Npy | Self::Npz | Self::Idx | Self::Cifar | Self::Parquet | Self::Webdataset => {
                let options = Options { max_bad: usize::MAX, ..Options::default() };
                return Source::open(path, &options).ok();
            }
            Self::Config => drop(Config::read_file(path)),
            Self::Request => drop(std::str::from_utf8(bytes).map(serde_json::from_str::<Request>)),
            Self::Onnx => {
                drop(backend::read_metadata(path));
                let model = backend::read(path, None);
                drop(model.and_then(|model| model.with_layers(&backend::Selection::Blocks, 1 << 16)));
            }
            Self::Preprocess => drop(Preprocess::read(path)),
            Self::Plan => {
                if let Ok(plan) = Flags::default().run_plan(path, path) {
                    let sent = serde_json::to_string(&plan).expect("a worker can send it");
                    serde_json::from_str::<RunPlan>(&sent).expect("the daemon can read it");
                }
            }
            Self::Reply => drop(serde_json::from_slice::<Said>(bytes)),
            Self::Part => {
                let whole = Part::read(path).and_then(|part| Whole::of(vec![part]));
                drop(whole.and_then(Whole::measurement));
            }
        }
        None
    }
}

/// A run whose `relstab.toml` is what comes before the first zero, and whose `preset.json` what comes after it.
fn run(folder: &Path, bytes: &[u8]) -> PathBuf {
    let run = folder.join("run");
    fs::create_dir_all(&run).expect("created");
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    for name in ["relstab.toml", "preset.json", "probe.npz"] {
        fs::write(run.join(name), parts.next().unwrap_or_default()).expect("written");
    }
    run
}

/// A part of four images whose text is what comes before the first zero, and whose arrays' values are what comes after it, over and
/// over: its checksums are right, which no chance makes.
fn part(folder: &Path, bytes: &[u8]) -> PathBuf {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (text, values) = (parts.next().unwrap_or_default(), parts.next().filter(|values| !values.is_empty()));
    let mut values = values.unwrap_or(&[0]).iter().copied().cycle();
    let mut file = ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut file, ("text", Stored), &[text.len()], text.iter().copied()).expect("written");
    for (name, dims) in
        [("clean", &[4, 10][..]), ("deformed", &[4, 1, 10]), ("noisy", &[4, 1, 10]), ("sums", &[4, 2, 5])]
    {
        let count: usize = dims.iter().product();
        let floats = values.by_ref().take(4 * count).collect::<Vec<_>>();
        let floats = floats.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        add(&mut file, (name, Stored), dims, floats).expect("written");
    }
    let doubles = values.by_ref().take(32).collect::<Vec<_>>();
    let doubles = doubles.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
    add(&mut file, ("displacements", Stored), &[4, 1], doubles).expect("written");
    for (name, dims) in [("folds", &[4, 1][..]), ("kinds", &[4, 2])] {
        let count: usize = dims.iter().product();
        add(&mut file, (name, Stored), dims, values.by_ref().take(count).map(|byte| byte & 1)).expect("written");
    }
    for (name, dims) in [("counts", &[4, 3][..]), ("labels", &[4])] {
        let count: usize = dims.iter().product();
        add(&mut file, (name, Stored), dims, values.by_ref().take(count).map(u32::from)).expect("written");
    }
    let path = folder.join("part");
    fs::write(&path, file.finish().expect("finished").into_inner()).expect("written");
    path
}
