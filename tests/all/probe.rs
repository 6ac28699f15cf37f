//! Probe sets from files: what is recognised, what names a set, and what every damaged file comes to.

use std::fs;
use std::path::Path;

use crate::common::command::{Folder, gzipped};
use npyz::WriterBuilder as _;
use relstab::error::{Error, Result};
use relstab::probe::{Layout, Options, ProbeSet, Shape};

const SHAPE: Shape = Shape { channels: 3, height: 8, width: 6 };
const IMAGES: usize = 30;

fn pixel(image: usize, channel: usize, y: usize, x: usize) -> u8 {
    (image * 7 + channel * 50 + y * 11 + x * 3) as u8
}

fn channels_first() -> Vec<u8> {
    let places =
        (0..IMAGES).flat_map(|i| (0..3).flat_map(move |c| (0..8).flat_map(move |y| (0..6).map(move |x| (i, c, y, x)))));
    places.map(|(i, c, y, x)| pixel(i, c, y, x)).collect()
}

fn channels_last() -> Vec<u8> {
    let places =
        (0..IMAGES).flat_map(|i| (0..8).flat_map(move |y| (0..6).flat_map(move |x| (0..3).map(move |c| (i, c, y, x)))));
    places.map(|(i, c, y, x)| pixel(i, c, y, x)).collect()
}

fn npy<T: npyz::AutoSerialize + Copy>(values: &[T], shape: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        npyz::WriteOptions::new().default_dtype().shape(shape).writer(&mut bytes).begin_nd().expect("a header");
    writer.extend(values.iter().copied()).expect("written");
    writer.finish().expect("written");
    bytes
}

fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn open(path: &(impl AsRef<Path> + ?Sized)) -> Result<ProbeSet> {
    ProbeSet::open(path.as_ref(), &Options::default())
}

#[test]
fn layout_and_file_make_no_difference_to_images_and_name() {
    let folder = Folder::new();
    let first = open(&folder.file("first.npy", npy(&channels_first(), &[30, 3, 8, 6]))).expect("channels first");
    let last = open(&folder.file("last.npy", npy(&channels_last(), &[30, 8, 6, 3]))).expect("channels last");
    assert_eq!((first.shape(), last.shape()), (SHAPE, SHAPE));
    assert_eq!(first.sha256(), last.sha256());
    let (mut a, mut b) = (vec![0.0; SHAPE.len()], vec![0.0; SHAPE.len()]);
    for index in 0..IMAGES {
        first.image(index, &mut a);
        last.image(index, &mut b);
        assert_eq!(a, b);
        let source = first.source_index(index);
        assert!((a[48 + 6 + 2] - f32::from(pixel(source, 1, 1, 2)) / 255.0).abs() < 1e-6);
    }
    let fewer = ProbeSet::open(&folder.0.path().join("first.npy"), &Options { images: Some(10), ..Options::default() });
    assert_eq!(fewer.expect("ten images").sha256(), first.prefix(10).sha256());
    assert_ne!(first.prefix(10).sha256(), first.sha256());
    let other_seed = ProbeSet::open(&folder.0.path().join("first.npy"), &Options { seed: 1, ..Options::default() });
    assert_ne!(other_seed.expect("another order").sha256(), first.sha256());
}

#[test]
fn floats_stay_as_they_are_and_are_normalised_by_channel() {
    let folder = Folder::new();
    let values: Vec<f64> = channels_first().into_iter().map(f64::from).collect();
    let probe = open(&folder.file("floats.npy", npy(&values, &[30, 3, 8, 6]))).expect("floats");
    let probe = probe.normalised(Some(&[1.0, 2.0, 3.0]), Some(&[2.0])).expect("normalised");
    let mut image = vec![0.0; SHAPE.len()];
    probe.image(4, &mut image);
    let expected = (f32::from(pixel(probe.source_index(4), 2, 0, 0)) - 3.0) / 2.0;
    assert!((image[2 * 48] - expected).abs() < 1e-5, "{} and {expected}", image[2 * 48]);
}

#[test]
fn idx_files_bring_their_labels_zipped_or_not() {
    let folder = Folder::new();
    let (images, labels) = (idx(&[90, 4, 4], &channels_first()[..1440]), (0..90).map(|i| i % 3).collect::<Vec<u8>>());
    folder.file("t10k-labels-idx1-ubyte.gz", gzipped(&idx(&[90], &labels)));
    for (name, bytes) in [("t10k-images-idx3-ubyte", images.clone()), ("t10k-images-idx3-ubyte.gz", gzipped(&images))] {
        let probe =
            ProbeSet::open(folder.file(name, bytes).as_ref(), &Options { images: Some(30), ..Options::default() })
                .expect(name);
        assert_eq!(probe.shape(), Shape { channels: 1, height: 4, width: 4 });
        let found = probe.labels().expect("labels");
        assert_eq!([0, 1, 2].map(|class| found.iter().filter(|label| **label == class).count()), [10; 3]);
        assert!(found.iter().enumerate().all(|(i, label)| *label as usize == probe.source_index(i) % 3));
    }
    folder.file("t10k-labels-idx1-ubyte.gz", gzipped(&idx(&[89], &labels[..89])));
    let error = open(&folder.0.path().join("t10k-images-idx3-ubyte")).expect_err("a label short").to_string();
    assert!(error.contains("90 labels") && error.contains("89"), "{error}");
}

#[test]
fn layout_can_be_forced_where_sizes_do_not_tell() {
    let folder = Folder::new();
    let path = folder.file("unclear.npy", npy(&[5u8; 2 * 3 * 7 * 4], &[2, 3, 7, 4]));
    assert!(open(&path).expect_err("unclear").to_string().contains("--layout"));
    let options = Options { layout: Some(Layout::Nhwc), ..Options::default() };
    assert_eq!(
        ProbeSet::open(path.as_ref(), &options).expect("forced").shape(),
        Shape { channels: 4, height: 3, width: 7 }
    );
}

#[test]
fn every_truncation_is_an_error_of_the_probe_set() {
    let folder = Folder::new();
    let fixture = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images.npz")).expect("read");
    let floats: Vec<f32> = channels_first().into_iter().map(f32::from).collect();
    for (name, bytes) in [
        ("a.npy", npy(&channels_first(), &[30, 3, 8, 6])),
        ("b.npy", npy(&floats, &[30, 3, 8, 6])),
        ("c.npz", fixture),
        ("d.idx", idx(&[90, 4, 4], &channels_first()[..1440])),
        ("e.idx.gz", gzipped(&idx(&[90, 4, 4], &channels_first()[..1440]))),
    ] {
        assert!(open(&folder.file(name, &bytes)).is_ok(), "{name} whole");
        for length in (0..bytes.len()).step_by(53) {
            let outcome = open(&folder.file(name, &bytes[..length]));
            assert!(matches!(outcome, Err(Error::Probe { .. })), "{name} cut to {length} bytes");
        }
    }
}
