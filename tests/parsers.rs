//! Every parser of files from outside: no panic, no memory beyond a multiple of the file's size, and the pixels that were written.
//!
//! `fuzz/` runs the same checks on bytes that libFuzzer makes up; `tests/corpus` keeps what is worth trying each time.

#[path = "common/allocations.rs"]
mod allocations;
#[path = "common/parsers.rs"]
mod parsers;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use image::{ExtendedColorType, ImageEncoder as _, codecs::png::PngEncoder};
use npyz::WriterBuilder as _;
use parsers::ALL;
use proptest::prelude::*;
use proptest::test_runner::Config;
use relstab::probe::{Layout, Options, ProbeSet, Shape};

/// Memory is counted over the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A backtrace takes more memory than any parser.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut paths: Vec<_> =
        fs::read_dir(folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
}

#[test]
fn the_corpus_does_no_harm() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, parser) in ALL {
        for (path, bytes) in corpus(name) {
            eprintln!("{}", path.display());
            parser.check(folder.path(), &bytes);
            for length in (0..bytes.len()).step_by(1 + bytes.len() / 40) {
                parser.check(folder.path(), &bytes[..length]);
            }
        }
    }
}

/// What may happen to a file: where, and the bytes that come in place of how many.
type Edit = (prop::sample::Index, usize, Vec<u8>);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let bytes = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..5),
        // Sizes that lie.
        1 => prop_oneof![Just(vec![0xff; 4]), Just(vec![0; 8]), Just(vec![0xff, 0xff, 0xff, 0x7f])],
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0..9_usize, bytes), 1..6)
}

#[test]
fn damaged_files_do_no_harm() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, parser) in ALL {
        // Liars by hand are large and done above; small files have their structure near every byte.
        let whole: Vec<_> =
            corpus(name).into_iter().map(|(_, bytes)| bytes).filter(|bytes| bytes.len() < 12_000).collect();
        let damaged = (prop::sample::select(whole), edits());
        proptest!(Config { cases: 300, failure_persistence: None, ..Config::default() }, |((mut bytes, edits) in damaged)| {
            for (place, removed, inserted) in edits {
                let start = place.index(bytes.len() + 1);
                let end = (start + removed).min(bytes.len());
                bytes.splice(start..end, inserted);
            }
            parser.check(folder.path(), &bytes);
        });
    }
}

#[derive(Debug, Clone)]
struct Images {
    shape: Shape,
    count: usize,
    /// `[image, channel, y, x]`.
    pixels: Vec<u8>,
}

fn images(shapes: impl Strategy<Value = Shape>) -> impl Strategy<Value = Images> {
    (shapes, 1..5_usize).prop_flat_map(|(shape, count)| {
        let pixels = prop::collection::vec(any::<u8>(), shape.len() * count);
        pixels.prop_map(move |pixels| Images { shape, count, pixels })
    })
}

impl Images {
    fn dims(&self) -> [u64; 4] {
        let Shape { channels, height, width } = self.shape;
        [self.count as u64, channels as u64, height as u64, width as u64]
    }

    /// One image's pixels, channels last.
    fn last(&self, index: usize) -> Vec<u8> {
        let (size, plane) = (self.shape.len(), self.shape.plane());
        let image = &self.pixels[index * size..][..size];
        (0..size).map(|k| image[k % self.shape.channels * plane + k / self.shape.channels]).collect()
    }

    fn npy(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(&self.dims());
        let mut writer = options.writer(&mut bytes).begin_nd().expect("a header");
        writer.extend(self.pixels.iter().copied()).expect("written");
        writer.finish().expect("written");
        bytes
    }

    fn idx(&self) -> Vec<u8> {
        let sizes = self.dims().into_iter().flat_map(|size| (size as u32).to_be_bytes());
        [0, 0, 8, 4].into_iter().chain(sizes).chain(self.pixels.iter().copied()).collect()
    }

    fn cifar(&self) -> Vec<u8> {
        self.pixels.chunks(3072).flat_map(|image| [&[7], image].concat()).collect()
    }

    fn tar(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for index in 0..self.count {
            let mut png = Vec::new();
            let (width, height) = (self.shape.width as u32, self.shape.height as u32);
            let kind = if self.shape.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
            PngEncoder::new(&mut png).write_image(&self.last(index), width, height, kind).expect("encoded");
            let mut header = tar::Header::new_ustar();
            header.set_size(png.len() as u64);
            archive.append_data(&mut header, format!("{index}.png"), &*png).expect("written");
        }
        archive.into_inner().expect("written")
    }
}

/// The images come back as they were written, whatever their order.
fn round_trips(name: &str, images: &Images, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("written");
    let options = Options { layout: Some(Layout::Nchw), ..Options::default() };
    let probe = ProbeSet::open(&path, &options).unwrap_or_else(|error| panic!("{name} of {}: {error}", images.shape));
    assert_eq!((probe.len(), probe.shape()), (images.count, images.shape));
    let size = images.shape.len();
    let mut found = vec![0.0; size];
    for index in 0..probe.len() {
        probe.image(index, &mut found);
        let written = &images.pixels[probe.source_index(index) * size..][..size];
        assert!(found.iter().zip(written).all(|(found, written)| (found * 255.0).round() as u8 == *written));
    }
}

proptest! {
    #![proptest_config(Config { cases: 60, failure_persistence: None, ..Config::default() })]

    #[test]
    fn arrays_come_back_as_they_were_written(
        images in images((1..5_usize, 2..9_usize, 2..9_usize).prop_map(|(channels, height, width)| Shape { channels, height, width }))
    ) {
        round_trips("x.npy", &images, &images.npy());
        round_trips("x.idx", &images, &images.idx());
    }

    #[test]
    fn batches_of_cifar_come_back_as_they_were_written(
        images in images(Just(Shape { channels: 3, height: 32, width: 32 }))
    ) {
        round_trips("x.bin", &images, &images.cifar());
    }

    #[test]
    fn archives_come_back_as_they_were_written(
        images in images((prop_oneof![Just(1), Just(3)], 2..9_usize, 2..9_usize).prop_map(|(channels, height, width)| Shape { channels, height, width }))
    ) {
        round_trips("x.tar", &images, &images.tar());
    }
}
