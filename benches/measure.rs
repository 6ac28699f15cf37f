//! `measure` over bare inference of the same passes, loading (with all checks of the network) and findings over `measure`, and tract
//! over ONNX Runtime: ratios within one run.
//!
//! `python models/bench_networks.py`, then `cargo bench --bench measure -- [IMAGES] [DRAWS]` (500 and 4 by default).
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::time::Instant;

use relstab::backend::{self, Backend, Engine, Options};
use relstab::measure::{Settings, measure};
use relstab::probe::{ProbeSet, Shape};

/// Rounds of both sides in turn; the best of each counts, so that what else the machine does drops out.
const ROUNDS: usize = 3;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (images, draws) = (numbers.first().copied().unwrap_or(500), numbers.get(1).copied().unwrap_or(4));
    println!("{images} images x {draws} draws, best of {ROUNDS}");
    for (name, side) in [("resnet20_32", 32), ("resnet18_224", 224)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("models/build/{name}.onnx"));
        let shape = Shape { channels: 3, height: side, width: side };
        let probe = probe(images, shape);
        let open = |engine| backend::open(&path, shape, &Options { engine, ..Options::default() }).unwrap();
        // The library is loaded once a process.
        drop(open(Engine::Onnxruntime));
        let started = Instant::now();
        let onnxruntime = open(Engine::Onnxruntime);
        let loading = started.elapsed().as_secs_f64();
        let settings = Settings { images, ..Settings::default() }.with_draws(draws as u32);
        let (mut bare, mut whole, mut findings) = (f64::INFINITY, f64::INFINITY, 0.0);
        for _ in 0..ROUNDS {
            bare = bare.min(inference(&*onnxruntime, &probe, images * (1 + 2 * draws)));
            let started = Instant::now();
            let measured = measure(&*onnxruntime, &probe, &settings, &|_, _| ()).unwrap();
            whole = whole.min(started.elapsed().as_secs_f64());
            findings = measured.timing.findings_s / measured.timing.total_s;
        }
        println!(
            "{name:<14} bare {bare:7.2} s   measure {whole:7.2} s   ratio {:.3}   loading {:.2}%   findings {:.2}%",
            whole / bare,
            100.0 * loading / whole,
            100.0 * findings
        );
        let started = Instant::now();
        let tract = open(Engine::Tract);
        let loading = started.elapsed().as_secs_f64();
        let passes = images.min(100);
        let times = [&onnxruntime, &tract].map(|backend| {
            (0..ROUNDS).map(|_| inference(&**backend, &probe, passes)).fold(f64::INFINITY, f64::min) / passes as f64
        });
        let [a, b] = times.map(|time| time * 1e6);
        // A measurement is mostly inference.
        let share = loading / (times[1] * (images * (1 + 2 * draws)) as f64);
        println!(
            "{name:<14} onnxruntime {a:9.0} us an image   tract {b:9.0} us   ratio {:.2}   loading {:.2}%",
            b / a,
            100.0 * share
        );
    }
}

fn probe(images: usize, shape: Shape) -> ProbeSet {
    let smooth = |i: usize| {
        ((i % shape.width) as f32 * 0.1).sin() + ((i / shape.width) as f32 * 0.07).cos() + (i % 97) as f32 * 0.01
    };
    let pixels = (0..images * shape.len()).map(smooth).collect();
    ProbeSet::from_nchw(pixels, [images, shape.channels, shape.height, shape.width], None).unwrap()
}

/// Seconds for `passes` images through the backend's lanes in the batches that `measure` uses, nothing else done.
fn inference(backend: &dyn Backend, probe: &ProbeSet, passes: usize) -> f64 {
    let (lanes, network) = (backend.lanes(), backend.network());
    let rows = passes.div_ceil(lanes.count).min(lanes.batch);
    let size = network.shape.len();
    let mut batch = vec![0.0; rows * size];
    for (row, image) in batch.chunks_exact_mut(size).enumerate() {
        probe.image(row % probe.len(), image);
    }
    let started = Instant::now();
    std::thread::scope(|scope| {
        for lane in 0..lanes.count {
            let (batch, share) = (&batch, (lane + 1) * passes / lanes.count - lane * passes / lanes.count);
            scope.spawn(move || {
                let mut session = backend.session(rows).unwrap();
                let mut outputs = vec![0.0; rows * network.row()];
                let mut left = share;
                while left > 0 {
                    let rows = rows.min(left);
                    session.run(&batch[..rows * size], &mut outputs[..rows * network.row()]).unwrap();
                    left -= rows;
                }
            });
        }
    });
    started.elapsed().as_secs_f64()
}
