//! `relstab perturb`: the images that a measurement shows a network, to look at or to feed to something else.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::flags::{NoLaw, One, Shared};
use super::terminal::{tell, with_progress};
use crate::error::{Error, ExitCode, Result};
use crate::path;
use crate::plan::Setup;
use crate::probe::ProbeSet;
use crate::report::array::Array;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for images.npy [image, channel, y, x], deformed.npy and noisy.npy [image, draw, channel, y, x], all as the
    /// network sees them, and index.npy, where each image stands in the probe set's file
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    #[command(flatten)]
    shared: Shared<One, NoLaw>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let setup = args.shared.plan()?.load()?;
    std::fs::create_dir_all(&args.to).map_err(Error::io(&args.to, "create"))?;
    let probe = with_progress(|progress| setup.probe(progress))?;
    write(&setup, &probe, &args.to)?;
    let (images, shape, draws) = (probe.len(), probe.shape(), setup.draws(probe.len()));
    let to = args.to.display();
    let text = || format!("{images} images of {shape}, {draws} deformed and {draws} noisy ones of each, in {to}\n");
    let dims = [shape.channels, shape.height, shape.width];
    let result = json!({"images": images, "shape": dims, "draws": draws, "to": path::text(&args.to)});
    tell(&result, text, args.shared.format)?;
    Ok(ExitCode::Success)
}

fn write(setup: &Setup, probe: &ProbeSet, folder: &Path) -> Result<()> {
    let (perturber, draws) = (setup.perturber(probe.shape())?, setup.draws(probe.len()));
    let (shape, n) = (probe.shape(), probe.len() as u64);
    let image_dims = [n, shape.channels as u64, shape.height as u64, shape.width as u64];
    let dims = [n, u64::from(draws), image_dims[1], image_dims[2], image_dims[3]];
    let mut images = Array::create(folder.join("images.npy"), &image_dims)?;
    let mut deformed_images = Array::create(folder.join("deformed.npy"), &dims)?;
    let mut noisy_images = Array::create(folder.join("noisy.npy"), &dims)?;
    let mut index = Array::create(folder.join("index.npy"), &[n])?;

    let mut scratch = perturber.scratch();
    let [mut image, mut base, mut deformed, mut noisy] = [(); 4].map(|()| vec![0.0; shape.len()]);
    for number in 0..probe.len() {
        probe.image(number, &mut image);
        perturber.base(&image, &mut base, &mut scratch);
        images.extend(&base)?;
        index.extend(&[probe.source_index(number) as u64])?;
        for draw in 0..u64::from(draws) {
            perturber.deform(number as u64, draw, &image, &mut deformed, &mut scratch);
            perturber.noise(number as u64, draw, &base, &deformed, &mut noisy);
            deformed_images.extend(&deformed)?;
            noisy_images.extend(&noisy)?;
        }
    }
    images.finish()?;
    deformed_images.finish()?;
    noisy_images.finish()?;
    index.finish()
}
