//! Deformation and noise against the golden vectors, closed forms and statistics of the paper's definitions.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::path::{Path, PathBuf};

use npyz::NpyFile;
use relstab::arrays::Archive;
use relstab::perturb::{
    Coefficients, Deformation, Interpolation, Perturber, Purpose, Size, fill_normal, modes, stream, temperature,
    temperature_range,
};
use relstab::probe::Shape;

const BOTH: [Interpolation; 2] = [Interpolation::Bilinear, Interpolation::Gaussian];

fn shape(channels: usize, height: usize, width: usize) -> Shape {
    Shape { channels, height, width }
}

fn settings(cutoff: u32, size: Size, interpolation: Interpolation) -> Deformation {
    Deformation { cutoff, size, interpolation }
}

fn perturber(shape: Shape, cutoff: u32, delta: f64, interpolation: Interpolation) -> Perturber {
    Perturber::new(shape, &settings(cutoff, Size::Delta(delta), interpolation), 7).unwrap()
}

fn normals(count: usize, seed: u64) -> Vec<f32> {
    let mut values = vec![0.0; count];
    fill_normal(&mut values, &mut stream(seed, 0, 0, Purpose::Noise));
    values
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    norm(a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)))
}

/// Every array of one file of golden vectors, with its shape.
struct Golden(HashMap<String, (Vec<u64>, Vec<f64>)>);

impl Golden {
    fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let mut archive = Archive::open(path)?;
        let mut arrays = HashMap::new();
        for name in archive.names() {
            let array = NpyFile::new(archive.entry(&name)?)?;
            let shape = array.shape().to_vec();
            let values = match array.dtype().descr().as_str() {
                "'<i8'" => array.into_vec::<i64>()?.into_iter().map(|value| value as f64).collect(),
                _ => array.into_vec::<f64>()?,
            };
            arrays.insert(name, (shape, values));
        }
        Ok(Self(arrays))
    }

    fn get(&self, name: &str) -> &[f64] {
        &self.0[name].1
    }

    fn images(&self, name: &str) -> Vec<f32> {
        self.get(name).iter().map(|&value| value as f32).collect()
    }

    fn largest_error(&self, name: &str, found: &[f32]) -> f64 {
        assert_eq!(self.get(name).len(), found.len());
        self.get(name).iter().zip(found).map(|(a, &b)| (a - f64::from(b)).abs()).fold(0.0, f64::max)
    }
}

fn golden_files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("warp_"));
    files.sort();
    files
}

#[test]
fn golden_vectors_are_met() {
    let files = golden_files();
    assert!(files.len() >= 20, "{files:?}");
    for path in files {
        let golden = Golden::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let interpolation = if name.contains("gaussian") { BOTH[1] } else { BOTH[0] };
        let [channels, height, width] = golden.0["image"].0[..] else { panic!("{name}: image [channel, y, x]") };
        let shape = shape(channels as usize, height as usize, width as usize);
        let (cutoff, delta, t) = (golden.get("cutoff")[0] as u32, golden.get("delta")[0], golden.get("temperature")[0]);
        let perturber = Perturber::new(shape, &settings(cutoff, Size::Temperature(t), interpolation), 0).unwrap();

        assert!((perturber.delta() / delta - 1.0).abs() < 1e-12, "{name}");
        assert!((temperature(cutoff, delta, shape.side()) / t - 1.0).abs() < 1e-12, "{name}");
        let (least, most) = temperature_range(cutoff, shape.side());
        assert!((least / golden.get("t_range")[0] - 1.0).abs() < 1e-12, "{name}");
        assert!((most / golden.get("t_range")[1] - 1.0).abs() < 1e-12, "{name}");

        // Files hold C as [i][j].
        let by_mode = |array: &str| {
            let coefficient = |i: u32, j: u32| golden.get(array)[((i - 1) * cutoff + j - 1) as usize] as f32;
            modes(cutoff).into_iter().map(|mode| coefficient(mode.i, mode.j)).collect()
        };
        let coefficients = Coefficients { x: by_mode("coeff_x"), y: by_mode("coeff_y") };
        let image = golden.images("image");
        let (mut base, mut deformed, mut scratch) = (image.clone(), image.clone(), perturber.scratch());
        perturber.base(&image, &mut base, &mut scratch);
        let measured = perturber.deform_by(&coefficients, &image, &mut deformed, &mut scratch);
        let mut noisy = golden.images("gaussian");
        perturber.noise_along(&base, &deformed, &mut noisy);

        for (array, found) in [
            ("dx", scratch.dx()),
            ("dy", scratch.dy()),
            ("base", &base[..]),
            ("deformed", &deformed[..]),
            ("noisy", &noisy[..]),
        ] {
            let error = golden.largest_error(array, found);
            assert!(error < 5e-6, "{name}: {array} is off by {error:e}");
        }
        let square: f64 = ["dx", "dy"].iter().flat_map(|name| golden.get(name)).map(|d| d * d).sum();
        let mean_square = square / shape.plane() as f64;
        assert!((measured.mean_square_px / mean_square - 1.0).abs() < 1e-5, "{name}");
    }
}

#[test]
fn vector_and_portable_loops_agree_to_the_bit() {
    let shapes = [(1, 2, 2), (4, 2, 3), (3, 3, 2), (1, 7, 9), (3, 16, 8), (4, 9, 17), (1, 33, 31), (3, 12, 40)];
    for ((channels, height, width), interpolation) in
        shapes.into_iter().flat_map(|shape| BOTH.map(|interpolation| (shape, interpolation)))
    {
        let shape = shape(channels, height, width);
        let perturber = perturber(shape, 5, 1.5, interpolation);
        let portable = perturber.clone().portable();
        let image = normals(shape.len(), 1);
        for draw in 0..4 {
            let both = [&perturber, &portable].map(|perturber| {
                let (mut out, mut noisy, mut scratch) = (image.clone(), image.clone(), perturber.scratch());
                let measured = perturber.deform(3, draw, &image, &mut out, &mut scratch);
                perturber.noise(3, draw, &image, &out, &mut noisy);
                (out, noisy, measured, scratch.dx().to_vec(), scratch.dy().to_vec())
            });
            assert_eq!(both[0], both[1], "{shape:?} {interpolation:?}");
        }
        // From far inside a pixel to far beyond the image, with exact whole pixels among them.
        for (scale, seed) in [1e-3, 1.0, 10.0, 1e4, 1e30].into_iter().zip(2..) {
            let displacement = |seed| -> Vec<f32> {
                let normals = normals(shape.plane(), seed).into_iter().enumerate();
                normals.map(|(k, d)| if k % 5 == 0 { (d * scale).round() } else { d * scale }).collect()
            };
            let (dx, dy) = (displacement(seed), displacement(seed + 100));
            let both = [&perturber, &portable].map(|perturber| {
                let mut out = vec![f32::NAN; shape.len()];
                perturber.remap((&dx, &dy), &image, &mut out, &mut perturber.scratch());
                out
            });
            assert!(both[0].iter().all(|value| value.is_finite()));
            assert_eq!(both[0], both[1], "{shape:?} {interpolation:?} {scale:e}");
        }
    }
}

/// The definition, word for word, in f64 and over all pixels.
fn reference(shape: Shape, (dx, dy): (&[f32], &[f32]), image: &[f32], interpolation: Interpolation) -> Vec<f64> {
    let weights = |position: f64, side: usize| -> Vec<f64> {
        let position = position.clamp(0.0, side as f64 - 1.0);
        let distance = |k: usize| (position - k as f64).abs();
        let weight = |k| match interpolation {
            Interpolation::Bilinear => (1.0 - distance(k)).max(0.0),
            Interpolation::Gaussian => (-distance(k).powi(2) / (2.0 * 0.4715 * 0.4715)).exp(),
        };
        let sum: f64 = (0..side).map(weight).sum();
        (0..side).map(|k| weight(k) / sum).collect()
    };
    let mut out = Vec::new();
    for image in image.chunks_exact(shape.plane()) {
        for (p, (dx, dy)) in dx.iter().zip(dy).enumerate() {
            let across = weights((p % shape.width) as f64 - f64::from(*dx), shape.width);
            let along = weights((p / shape.width) as f64 - f64::from(*dy), shape.height);
            let value = |q| along[q / shape.width] * across[q % shape.width] * f64::from(image[q]);
            out.push((0..shape.plane()).map(value).sum());
        }
    }
    out
}

#[test]
fn remap_is_its_definition_on_any_shape() {
    for (channels, height, width) in [(1, 2, 2), (4, 2, 9), (3, 5, 3), (2, 17, 12)] {
        let shape = shape(channels, height, width);
        let image = normals(shape.len(), 3);
        for (interpolation, scale) in BOTH.into_iter().flat_map(|i| [0.0f32, 0.3, 2.0, 40.0].map(|scale| (i, scale))) {
            let displacement = |seed| -> Vec<f32> { normals(shape.plane(), seed).iter().map(|d| d * scale).collect() };
            let (dx, dy) = (displacement(4), displacement(5));
            let perturber = perturber(shape, 3, 1.0, interpolation);
            let mut out = image.clone();
            perturber.remap((&dx, &dy), &image, &mut out, &mut perturber.scratch());
            let expected = reference(shape, (&dx, &dy), &image, interpolation);
            for (found, expected) in out.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 2e-6, "{shape:?} {interpolation:?} {scale}");
            }
        }
    }
}

#[test]
fn whole_pixels_move_without_rounding() {
    let shape = shape(2, 6, 11);
    let perturber = perturber(shape, 3, 1.0, Interpolation::Bilinear);
    let image = normals(shape.len(), 1);
    let (dx, dy) = (vec![2.0; shape.plane()], vec![-1.0; shape.plane()]);
    let mut out = image.clone();
    perturber.remap((&dx, &dy), &image, &mut out, &mut perturber.scratch());
    for (p, found) in out.iter().enumerate() {
        let (channel, y, x) = (p / shape.plane(), p % shape.plane() / shape.width, p % shape.width);
        let from = channel * shape.plane() + (y + 1).min(5) * shape.width + x.saturating_sub(2);
        assert_eq!(found.to_bits(), image[from].to_bits());
    }
}

#[test]
fn border_stays_in_place() {
    for (height, width) in [(32, 32), (5, 40), (2, 2)] {
        let shape = shape(1, height, width);
        let perturber = perturber(shape, 7, 2.0, Interpolation::Bilinear);
        let image = normals(shape.len(), 1);
        let (mut out, mut scratch) = (image.clone(), perturber.scratch());
        perturber.deform(0, 0, &image, &mut out, &mut scratch);
        for p in 0..shape.plane() {
            let (y, x) = (p / width, p % width);
            if y == 0 || x == 0 || y + 1 == height || x + 1 == width {
                assert!(scratch.dx()[p].abs() == 0.0 && scratch.dy()[p].abs() == 0.0);
                assert_eq!(out[p].to_bits(), image[p].to_bits());
            }
        }
    }
}

#[test]
fn rms_of_many_draws_is_the_exact_finite_sum() {
    for (height, width, cutoff) in [(32, 32, 3), (32, 32, 15), (20, 45, 5)] {
        let shape = shape(1, height, width);
        let perturber = perturber(shape, cutoff, 1.0, Interpolation::Bilinear);
        let image = vec![0.0; shape.len()];
        let (mut out, mut scratch) = (image.clone(), perturber.scratch());
        let mut mean = |along: fn(&relstab::perturb::Scratch) -> &[f32]| {
            let (count, mut sum, mut squares) = (3000, 0.0, 0.0);
            for index in 0..count {
                perturber.deform(index, 0, &image, &mut out, &mut scratch);
                let square = norm(along(&scratch).iter().map(|&d| f64::from(d))).powi(2) / shape.plane() as f64;
                sum += square;
                squares += square * square;
            }
            let (n, mean) = (count as f64, sum / count as f64);
            (mean, ((squares / n - mean * mean) / n).sqrt())
        };
        let ((x, x_error), (y, y_error)) = (mean(|scratch| scratch.dx()), mean(|scratch| scratch.dy()));
        // Each axis has its share w^2 or h^2 of the expected square; 4.5 standard errors over the draws.
        let (w, h) = (width as f64, height as f64);
        let expected = perturber.expected_rms_px().powi(2) / (w * w + h * h);
        assert!((x - expected * w * w).abs() < 4.5 * x_error, "{shape:?}: {x}, not {}", expected * w * w);
        assert!((y - expected * h * h).abs() < 4.5 * y_error, "{shape:?}: {y}, not {}", expected * h * h);
    }
}

#[test]
fn deformations_do_not_depend_on_the_order_of_the_work() {
    for interpolation in BOTH {
        let shape = shape(3, 19, 23);
        let perturber = perturber(shape, 4, 1.0, interpolation);
        let image = normals(shape.len(), 1);
        let work = |order: &mut dyn Iterator<Item = (u64, u64)>| -> HashMap<(u64, u64), (Vec<f32>, Vec<f32>)> {
            let mut scratch = perturber.scratch();
            order
                .map(|(index, draw)| {
                    let (mut base, mut deformed, mut noisy) = (image.clone(), image.clone(), image.clone());
                    perturber.deform(index, draw, &image, &mut deformed, &mut scratch);
                    perturber.base(&image, &mut base, &mut scratch);
                    perturber.noise(index, draw, &base, &deformed, &mut noisy);
                    ((index, draw), (deformed, noisy))
                })
                .collect()
        };
        let all: Vec<_> = (0..4).flat_map(|index| (0..3).map(move |draw| (index, draw))).collect();
        let forward = work(&mut all.iter().copied());
        assert_eq!(forward, work(&mut all.iter().rev().copied()));
        let threads = std::thread::scope(|scope| {
            let parts: Vec<_> = all.chunks(5).map(|part| scope.spawn(|| work(&mut part.iter().copied()))).collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
        });
        assert_eq!(forward, threads);
        let bits = |image: &[f32]| image.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let distinct: HashSet<_> =
            forward.values().flat_map(|(deformed, noisy)| [bits(deformed), bits(noisy)]).collect();
        assert_eq!(distinct.len(), 2 * all.len());
    }
}

#[test]
fn one_draw_is_the_same_map_at_every_size() {
    // The grid of side 33 is every second point of the grid of side 65; displacements scale with the side.
    let [coarse, fine] = [33, 65].map(|side| {
        let shape = shape(1, side, side);
        let t = Size::Temperature(1e-4);
        let perturber = Perturber::new(shape, &settings(6, t, Interpolation::Bilinear), 9).unwrap();
        let image = vec![0.0; shape.len()];
        let mut scratch = perturber.scratch();
        perturber.deform(1, 2, &image, &mut image.clone(), &mut scratch);
        scratch.dx().iter().map(|d| d / side as f32).collect::<Vec<_>>()
    });
    for (p, found) in coarse.iter().enumerate() {
        assert!((found - fine[p / 33 * 2 * 65 + p % 33 * 2]).abs() < 1e-6);
    }
}

#[test]
fn noise_has_the_norm_of_the_deformation() {
    for (interpolation, (channels, height, width)) in
        BOTH.into_iter().flat_map(|i| [(3, 32, 32), (1, 2, 2), (4, 21, 37), (3, 224, 224)].map(|shape| (i, shape)))
    {
        let shape = shape(channels, height, width);
        let perturber = perturber(shape, 3, 1.0, interpolation);
        let image = normals(shape.len(), 2);
        let (mut base, mut deformed, mut noisy) = (image.clone(), image.clone(), image.clone());
        let mut scratch = perturber.scratch();
        perturber.base(&image, &mut base, &mut scratch);
        perturber.deform(0, 1, &image, &mut deformed, &mut scratch);
        perturber.noise(0, 1, &base, &deformed, &mut noisy);
        let (moved, added) = (distance(&base, &deformed), distance(&base, &noisy));
        assert!((moved - added).abs() <= 1e-5 * moved, "{shape:?} {interpolation:?}: {moved} and {added}");
    }
}

#[test]
fn noise_of_an_unmoved_image_is_none() {
    let shape = shape(1, 8, 8);
    let perturber = perturber(shape, 3, 1.0, Interpolation::Bilinear);
    let image = normals(shape.len(), 2);
    let mut noisy = image.clone();
    perturber.noise(0, 0, &image, &image, &mut noisy);
    assert_eq!(noisy, image);
    let mut noisy = vec![0.0; image.len()];
    perturber.noise_along(&image, &vec![0.0; image.len()], &mut noisy);
    assert_eq!(noisy, image);
}

#[test]
fn maps_fold_as_often_as_published() {
    // Shares of 1000 draws have a standard error of at most 0.016.
    let share = |cutoff, size| {
        let shape = shape(1, 32, 32);
        let perturber = Perturber::new(shape, &settings(cutoff, size, Interpolation::Bilinear), 1).unwrap();
        let image = vec![0.0; shape.len()];
        let (mut out, mut scratch) = (image.clone(), perturber.scratch());
        (0..1000).filter(|&index| perturber.deform(index, 0, &image, &mut out, &mut scratch).folds).count() as f64 / 1e3
    };
    let rough = share(15, Size::Delta(1.0));
    assert!((rough - 0.9).abs() < 0.05, "{rough}");
    for cutoff in [3, 5] {
        let at_most = share(cutoff, Size::Temperature(temperature_range(cutoff, 32.0).1));
        assert!((at_most - 0.33).abs() < 0.08, "cutoff {cutoff}: {at_most}");
    }
    assert!(share(3, Size::Delta(0.5)) < 0.01);
}
