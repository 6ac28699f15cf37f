//! `relstab logits`: what a network says of the probe images, to compare engines, exports and frameworks.

use std::path::PathBuf;

use super::flags::{NoLaw, One, Shared};
use super::terminal::{tell, with_progress};
use crate::error::{ExitCode, Result};
use crate::report::array::Array;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network, an ONNX file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// File for the outputs, .npy [image, output], in the order of the probe set's file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    shared: Shared<One, NoLaw>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let setup = args.shared.plan()?.load()?;
    let opened = with_progress(|progress| setup.open(setup.read(&args.model)?, progress))?;
    let (logits, outputs) = with_progress(|progress| opened.logits(progress))?;
    let probe = opened.probe();
    let mut order: Vec<_> = (0..probe.len()).collect();
    order.sort_by_key(|number| probe.source_index(*number));
    let mut array = Array::create(args.to.clone(), &[probe.len() as u64, outputs as u64])?;
    for number in order {
        array.extend(&logits[number * outputs..][..outputs])?;
    }
    array.finish()?;
    let text = || format!("{outputs} outputs of {} images in {}\n", probe.len(), args.to.display());
    tell(&serde_json::json!({"images": probe.len(), "outputs": outputs}), text, args.shared.format)?;
    Ok(ExitCode::Success)
}
