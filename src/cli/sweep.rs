//! `relstab sweep`: one network over cutoffs and sizes of the deformations.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::path::{Path, PathBuf};

use super::flags::{Deforming, Shared};
use super::terminal::{complain, tell, with_progress};
use crate::config::Perturbation;
use crate::error::{Error, ExitCode, Result};
use crate::measure::sweep::{Grid, Point, Sizes, Sweep};
use crate::perturb::Deformation;
use crate::report::figure::sweep::left_out;
use crate::report::figure::{self, Format};
use crate::report::sweep::document;
use crate::report::terminal::text;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network, an ONNX file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Write R_f, D_f and G_f against delta, a curve for each cutoff, .svg or .png
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared<Many>,
}

/// The flags of a grid of deformations.
#[derive(Debug, Clone, clap::Args)]
struct Many {
    /// Cutoffs of the deformations, in half-waves: larger is rougher
    #[arg(long, value_name = "C,...", value_delimiter = ',', default_value = "3,5,15", allow_negative_numbers = true)]
    cutoffs: Vec<u32>,
    /// Typical displacements, pixels
    #[arg(
        long,
        value_name = "PIXELS,...",
        value_delimiter = ',',
        default_value = "0.5,1,2",
        allow_negative_numbers = true
    )]
    deltas: Vec<f64>,
    /// So many temperatures over the natural range of each cutoff, instead of --deltas
    #[arg(long, value_name = "N", conflicts_with = "deltas", allow_negative_numbers = true)]
    temperatures: Option<u16>,
}

impl Many {
    fn grid(&self) -> Result<Grid> {
        let deltas = || Sizes::Deltas(self.deltas.clone());
        Grid::new(self.cutoffs.clone(), self.temperatures.map_or_else(deltas, Sizes::Temperatures))
    }
}

impl Deforming for Many {
    /// A grid has a cutoff and a size of its own at each point, whatever `relstab.toml` says.
    fn say(&self, perturbation: &mut Perturbation) {
        (perturbation.cutoff, perturbation.delta) = (Some(Deformation::default().cutoff), Some(1.0));
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let grid = args.shared.perturbing.deforming.grid()?;
    let figure = Format::asked_for(args.figure.as_deref(), "--figure")?;
    let setup = args.shared.plan_for(&args.model)?.load()?;
    let model = setup.read(&args.model)?;
    let opened = with_progress(|progress| setup.open(model, progress))?;
    let sweep = with_progress(|progress| opened.sweep(&grid, progress))?;
    let document = document(&sweep);
    tell(&sweep, || text(&document), args.shared.format)?;
    if let Some((path, format)) = figure {
        let reason = || sweep.points.iter().find_map(Point::untold).unwrap_or_default();
        let nothing = || Error::NoValue { path: args.model.clone(), quantity: "figure".to_owned(), reason: reason() };
        figure::write(path, format, &document.figure().ok_or_else(nothing)?)?;
        if let Some(left_out) = left_out(&sweep) {
            complain("note", &left_out);
        }
    }
    Ok(outcome(&sweep, &args.model))
}

/// As `measure` ends where no point has an `R_f`; a point without one among others costs only itself.
fn outcome(sweep: &Sweep, model: &Path) -> ExitCode {
    let untold: Vec<_> = sweep.points.iter().filter_map(Point::untold).collect();
    let Some(reason) = untold.first() else { return ExitCode::Success };
    let (count, all) = (untold.len(), sweep.points.len());
    complain("error", &format!("model {}: no R_f at {count} of {all} points, the first: {reason}", model.display()));
    if count == all { ExitCode::Undefined } else { ExitCode::SomeFailed }
}
