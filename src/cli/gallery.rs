//! `relstab gallery`: what deformations and noise do to the images, to choose cutoff and delta by.

use std::path::PathBuf;

use super::flags::{NoLaw, One, Shared};
use super::terminal::with_progress;
use crate::error::{Error, ExitCode, Result};
use crate::gallery::Gallery;
use crate::perturb::{Deformation, Perturber, Size, temperature_range, typical_displacement};
use crate::report::figure::{self, Format};
use crate::report::file;
use crate::report::gallery::{SHOWN, Sheet, html};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("file").required(true).multiple(true).args(["html", "png"])))]
pub struct Args {
    /// A network: its images are shown as it says that it was trained on them, or as its run's relstab.toml says
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Write a page that needs no other file and no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write everything as one picture
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Images to show: the first that a measurement uses
    #[arg(long, value_name = "N", default_value_t = SHOWN)]
    show: usize,
    /// Cutoffs to show beside the chosen --cutoff
    #[arg(long, value_name = "C,...", value_delimiter = ',', default_values_t = [3, 5, 15])]
    cutoffs: Vec<u32>,
    /// Typical displacements to show beside the chosen --delta, pixels [default: half a pixel and the largest of the natural
    /// range at the chosen cutoff]
    #[arg(long, value_name = "PIXELS,...", value_delimiter = ',', allow_negative_numbers = true)]
    deltas: Option<Vec<f64>>,
    #[command(flatten)]
    shared: Shared<One, NoLaw>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let gallery = gallery(args)?;
    if let Some(path) = &args.html {
        file::write(path, html(&gallery).map_err(Error::io(path, "draw"))?.as_bytes())?;
    }
    if let Some(path) = &args.png {
        figure::write(path, Format::Png, &Sheet::new(&gallery))?;
    }
    Ok(ExitCode::Success)
}

fn gallery(args: &Args) -> Result<Gallery> {
    let plan = match &args.model {
        Some(model) => args.shared.plan_for(model)?,
        None => args.shared.plan()?,
    };
    let deformation = plan.settings.deformation;
    let setup = plan.load()?;
    let model = args.model.as_deref().map(|path| setup.read(path)).transpose()?;
    let probe = with_progress(|progress| match &model {
        Some(model) => setup.probe_for(model, progress),
        None => setup.probe(progress),
    })?;
    let chosen = setup.perturber(probe.shape())?;
    let others = others(args, &chosen, &deformation)?;
    Gallery::new(&probe, chosen, others, args.show, setup.draws(probe.len()))
}

/// Every other pair of a cutoff and a delta, in their order.
fn others(args: &Args, chosen: &Perturber, deformation: &Deformation) -> Result<Vec<Perturber>> {
    let (cutoff, delta) = (deformation.cutoff, chosen.delta());
    let mut cutoffs = [args.cutoffs.as_slice(), &[cutoff]].concat();
    cutoffs.sort_unstable();
    cutoffs.dedup();
    let mut deltas = args.deltas.clone().unwrap_or_else(|| ends(cutoff, chosen.shape().side()));
    deltas.push(delta);
    deltas.sort_by(f64::total_cmp);
    deltas.dedup();
    let pairs = cutoffs.iter().flat_map(|cutoff| deltas.iter().map(move |delta| (*cutoff, *delta)));
    let perturber = |(cutoff, delta)| {
        let deformation = Deformation { cutoff, size: Size::Delta(delta), ..*deformation };
        Perturber::new(chosen.shape(), &deformation, chosen.seed())
    };
    pairs.filter(|pair| *pair != (cutoff, delta)).map(perturber).collect()
}

/// The ends of the natural range in pixels, in two digits; half a pixel where it is empty.
fn ends(cutoff: u32, side: f64) -> Vec<f64> {
    let most = typical_displacement(cutoff, temperature_range(cutoff, side).1, side);
    let digit = 10f64.powf(most.log10().floor() - 1.0);
    let most = (most / digit).floor() * digit;
    [0.5, most].into_iter().filter(|delta| *delta >= 0.5).collect()
}
