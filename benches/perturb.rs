//! Time of one deformation and one noise on one thread, beside the portable loops and a fill with normals by the ziggurat.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use relstab::perturb::{Deformation, Interpolation, Perturber, Purpose, fill_normal, stream};
use relstab::probe::Shape;

const SIDES: [usize; 2] = [32, 224];

fn shape(side: usize) -> Shape {
    Shape { channels: 3, height: side, width: side }
}

fn image(shape: Shape) -> Vec<f32> {
    let mut image = vec![0.0; shape.len()];
    fill_normal(&mut image, &mut stream(0, 0, 0, Purpose::Noise));
    image
}

fn perturber(shape: Shape, interpolation: Interpolation) -> Perturber {
    Perturber::new(shape, &Deformation { interpolation, ..Deformation::default() }, 0).expect("usable settings")
}

fn deform(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deform");
    for shape in SIDES.map(shape) {
        let (image, size) = (image(shape), format!("{}x{}x{}", shape.channels, shape.height, shape.width));
        let mut out = image.clone();
        let bilinear = perturber(shape, Interpolation::Bilinear);
        let gaussian = perturber(shape, Interpolation::Gaussian);
        let cases = [
            ("bilinear", bilinear.clone()),
            ("bilinear-portable", bilinear.portable()),
            ("gaussian", gaussian.clone()),
            ("gaussian-portable", gaussian.portable()),
        ];
        for (name, perturber) in cases {
            let (mut scratch, mut draw) = (perturber.scratch(), 0);
            group.bench_function(BenchmarkId::new(name, &size), |bencher| {
                bencher.iter(|| {
                    draw += 1;
                    perturber.deform(0, draw, black_box(&image), black_box(&mut out), &mut scratch)
                });
            });
        }
    }
}

fn noise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("noise");
    for shape in SIDES.map(shape) {
        let (base, size) = (image(shape), format!("{}x{}x{}", shape.channels, shape.height, shape.width));
        let (mut deformed, mut out) = (base.clone(), base.clone());
        let perturber = perturber(shape, Interpolation::Bilinear);
        perturber.deform(0, 0, &base, &mut deformed, &mut perturber.scratch());
        let mut draw = 0;
        group.bench_function(BenchmarkId::new("fill", &size), |bencher| {
            bencher.iter(|| {
                draw += 1;
                fill_normal(black_box(&mut out), &mut stream(0, 0, draw, Purpose::Noise));
            });
        });
        group.bench_function(BenchmarkId::new("noise", &size), |bencher| {
            bencher.iter(|| {
                draw += 1;
                perturber.noise(0, draw, black_box(&base), black_box(&deformed), black_box(&mut out));
            });
        });
    }
}

criterion_group!(benches, deform, noise);
criterion_main!(benches);
