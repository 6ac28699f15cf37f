//! Time of the estimates from given outputs, against a bootstrap that expands and sorts every resample, of EI's interval alone, and
//! of merging parts.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use relstab::backend::{self, Engine, Options};
use relstab::error::Result;
use relstab::estimate::{Bootstrap, Resampling, Responses, stabilities};
use relstab::measure::Settings;
use relstab::measure::shards::{Part, Shard, Whole, part};
use relstab::probe::{self, ProbeSet};

/// Outputs with an image-wide scale shared by both kinds of change, as networks have it.
struct Made {
    images: usize,
    draws: usize,
    outputs: usize,
    clean: Vec<f32>,
    deformed: Vec<f32>,
    noisy: Vec<f32>,
}

impl Made {
    fn new(images: usize, draws: usize, outputs: usize) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let clean = (0..images * outputs).map(|_| StandardNormal.sample(&mut rng)).collect();
        let (mut deformed, mut noisy) = (Vec::new(), Vec::new());
        for _ in 0..images {
            let scale: f32 = StandardNormal.sample(&mut rng);
            for changes in [&mut deformed, &mut noisy] {
                let squared = |_| StandardNormal.sample(&mut rng);
                changes.extend((0..draws * outputs).map(squared).map(|change: f32| change * change * scale.exp()));
            }
        }
        Self { images, draws, outputs, clean, deformed, noisy }
    }

    fn responses(&self) -> Responses<'_> {
        let Self { images, draws, outputs, .. } = *self;
        Responses { images, draws, outputs, clean: &self.clean, deformed: &self.deformed, noisy: &self.noisy }
    }
}

fn fast(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stabilities, 1000 resamples");
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    for (images, draws, outputs) in [(500, 1, 10), (500, 4, 10), (2000, 4, 10), (10_000, 4, 10), (500, 16, 1000)] {
        let made = Made::new(images, draws, outputs);
        let resampling = Resampling { level: 0.95, resamples: 1000, seed: 1 };
        let name = BenchmarkId::from_parameter(format!("{images} images x {draws} draws x {outputs} outputs"));
        group.bench_function(name, |bencher| {
            bencher.iter(|| stabilities(black_box(&made.responses()), &resampling));
        });
    }
}

/// `coordinate_median` of both kinds of change only: no norms, no pairs.
fn naive(criterion: &mut Criterion) {
    let (images, draws, outputs, resamples) = (500, 4, 10, 10);
    let made = Made::new(images, draws, outputs);
    let mut group = criterion.benchmark_group(format!("naive coordinate medians, {resamples} resamples"));
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    let name = BenchmarkId::from_parameter(format!("{images} images x {draws} draws x {outputs} outputs"));
    group.bench_function(name, |bencher| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        bencher.iter(|| {
            for _ in 0..resamples {
                let chosen: Vec<usize> = (0..images).map(|_| rng.random_range(0..images)).collect();
                for changes in [&made.deformed, &made.noisy] {
                    for output in 0..outputs {
                        let of_image =
                            |&image: &usize| (0..draws).map(move |draw| (image * draws + draw) * outputs + output);
                        let mut values: Vec<f32> = chosen.iter().flat_map(of_image).map(|at| changes[at]).collect();
                        values.sort_unstable_by(f32::total_cmp);
                        black_box(values[(values.len() - 1) / 2]);
                    }
                }
            }
        });
    });
}

/// The interval of the effective invariance from each image's: a measurement has two, deformed and noisy.
fn invariance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("effective invariance, 1000 resamples");
    for images in [500, 10_000] {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let values: Vec<f64> = (0..images).map(|_| rng.random()).collect();
        let bootstrap = Bootstrap::new(images, &Resampling { level: 0.95, resamples: 1000, seed: 1 }).expect("images");
        let name = BenchmarkId::from_parameter(format!("{images} images"));
        group.bench_function(name, |bencher| bencher.iter(|| bootstrap.mean(black_box(&values))));
    }
}

/// Eight parts of one measurement, read and merged to its record.
fn merging(criterion: &mut Criterion) {
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fashion-mnist-cnn");
    let probe = ProbeSet::open(&bundled.join("probe.npz"), &probe::Options::default()).expect("images");
    let options = Options { engine: Engine::Tract, ..Options::default() };
    let network = backend::open(&bundled.join("step=006000.onnx"), probe.shape(), &options).expect("a network");
    let settings = Settings { images: 500, draws: 4, ..Settings::default() };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<_> = (1..=8).map(|number| folder.path().join(format!("part{number}"))).collect();
    for (number, path) in (1..).zip(&paths) {
        let part = part(&*network, &probe, &settings, Shard { number, of: 8 }, &|_, _| ()).expect("measured");
        fs::write(path, part.to_npz().expect("a file")).expect("written");
    }
    let mut group = criterion.benchmark_group("merge, 1000 resamples");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.bench_function("8 parts, 500 images x 4 draws x 10 outputs", |bencher| {
        bencher.iter(|| {
            let parts = paths.iter().map(|path| Part::read(path)).collect::<Result<Vec<_>>>().expect("parts");
            Whole::of(parts).and_then(Whole::measurement).expect("merged")
        });
    });
}

criterion_group!(benches, fast, naive, invariance, merging);
criterion_main!(benches);
