//! Measures how `R_f` of a one-hidden-layer network falls with the number of points it learns to ignore directions from.
//!
//! ```sh
//! cargo run --release --example invariant_learning -- --csv stripes.csv           # a minute on two cores
//! cargo run --release --example invariant_learning -- --full --csv stripes.csv    # a quarter of an hour on a busy core
//! relstab scaling stripes.csv --group architecture --estimator mean
//! ```

mod model;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Parser;
use model::{Network, Points, Training};
use rayon::prelude::*;
use relstab::error::{Error, Result};
use relstab::estimate::{Estimator, Stabilities};
use relstab::perturb::{Purpose, stream};
use relstab::scaling::PowerLaw;

/// Trains a one-hidden-layer network on stripes: Gaussian points whose label depends on one of d coordinates.
#[derive(Debug, Parser)]
struct Args {
    /// More and larger trainings
    #[arg(long)]
    full: bool,
    /// Write every training as a row of this table, for relstab scaling
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

const DIMENSIONS: [usize; 4] = [5, 10, 20, 30];
/// Sizes of training sets, in dimensions: fewer points do not show which coordinate matters.
const SIZES: [usize; 4] = [8, 16, 32, 64];
const HIDDEN: usize = 300;
/// Most steps of a training; one that has not fitted every point by then counts as it is.
const MOST_STEPS: usize = 50_000;
const READINGS: [Estimator; 2] = [Estimator::Mean, Estimator::CoordinateMedian];

struct Trained {
    dimension: usize,
    train_size: usize,
    seed: u64,
    training: Training,
    error: f64,
    stabilities: Stabilities,
}

fn main() {
    if let Err(error) = run(&Args::parse()) {
        eprintln!("error: {}", error.one_line());
        std::process::exit(error.exit_code() as i32);
    }
}

fn run(args: &Args) -> Result<()> {
    let (sizes, seeds) = if args.full { (&SIZES[..], 8) } else { (&SIZES[..3], 4) };
    let all =
        |dimension| sizes.iter().flat_map(move |size| (0..seeds).map(move |seed| (dimension, size * dimension, seed)));
    // The longest first, so that no core waits for it in the end.
    let mut trainings: Vec<_> = DIMENSIONS.into_iter().flat_map(all).collect();
    trainings.sort_by_key(|(dimension, size, _)| std::cmp::Reverse((*size, *dimension)));
    let train = |(dimension, train_size, seed): &(usize, usize, u64)| train(*dimension, *train_size, *seed);
    let mut trained = trainings.par_iter().with_max_len(1).map(train).collect::<Result<Vec<_>>>()?;
    trained.sort_by_key(|one| (one.dimension, one.train_size, one.seed));
    if let Some(path) = &args.csv {
        std::fs::write(path, csv(&trained)).map_err(Error::io(path, "write"))?;
    }
    for of_size in trained.chunk_by(|a, b| (a.dimension, a.train_size) == (b.dimension, b.train_size)) {
        println!("{}", summary(of_size));
    }
    println!("\nR_f = A P^-beta, 95% interval");
    for of_dimension in trained.chunk_by(|a, b| a.dimension == b.dimension) {
        for reading in READINGS {
            println!("{}", law(of_dimension, reading)?);
        }
    }
    Ok(())
}

fn train(dimension: usize, train_size: usize, seed: u64) -> Result<Trained> {
    let mut random = stream(seed, dimension as u64, train_size as u64, Purpose::Noise);
    let points = Points::new(train_size, dimension, &mut random);
    let mut network = Network::new(dimension, HIDDEN, &mut random);
    let training = network.train(&points, MOST_STEPS);
    let error = network.error(&mut random);
    let stabilities = network.stabilities(&mut random)?;
    eprintln!("d {dimension}, P {train_size}, seed {seed}: {} steps, {} left", training.steps, training.left);
    Ok(Trained { dimension, train_size, seed, training, error, stabilities })
}

/// `D_f`, `G_f` and `R_f` in one reading; NaN where undefined.
fn values(stabilities: &Stabilities, reading: Estimator) -> [f64; 3] {
    let of = stabilities.get(reading);
    [of.r_f.as_ref().ok(), of.d_f.as_ref(), of.g_f.as_ref()].map(|value| value.map_or(f64::NAN, |value| value.value))
}

fn csv(trained: &[Trained]) -> String {
    let mut text = "architecture,hidden,train_size,seed,steps,left,error".to_owned();
    for reading in READINGS {
        let _ = write!(text, ",r_f_{reading},d_f_{reading},g_f_{reading}");
    }
    for Trained { dimension, train_size, seed, training: Training { steps, left }, error, stabilities } in trained {
        let _ = write!(text, "\nstripes-d{dimension},{HIDDEN},{train_size},{seed},{steps},{left},{error}");
        for value in READINGS.iter().flat_map(|reading| values(stabilities, *reading)) {
            let _ = write!(text, ",{value:.4e}");
        }
    }
    text + "\n"
}

/// Trainings of one dimension and size.
fn summary(trained: &[Trained]) -> String {
    let count = trained.len() as f64;
    let mean = |of: &dyn Fn(&Trained) -> f64| trained.iter().map(of).sum::<f64>() / count;
    format!(
        "d {:>2}  P {:>4}  R_f {:.2e} (geometric mean of {count})  error {:.3}  steps {:.0}  left {:.1}",
        trained[0].dimension,
        trained[0].train_size,
        mean(&|one| values(&one.stabilities, Estimator::Mean)[0].ln()).exp(),
        mean(&|one| one.error),
        mean(&|one| one.training.steps as f64),
        mean(&|one| one.training.left as f64),
    )
}

/// The power law of `R_f` in one dimension.
fn law(trained: &[Trained], reading: Estimator) -> Result<String> {
    let points: Vec<_> =
        trained.iter().map(|one| (one.train_size as f64, values(&one.stabilities, reading)[0])).collect();
    let PowerLaw { beta, n, range, spread, r, .. } = PowerLaw::fit(&points)?;
    Ok(format!(
        "d {:>2}  {reading:<17}  beta {:.2} [{:.2}, {:.2}]  n {n}  P {}-{}  spread {spread:.2}  r {:.2}",
        trained[0].dimension,
        beta.value,
        beta.low,
        beta.high,
        range.0,
        range.1,
        r.unwrap_or(f64::NAN),
    ))
}
