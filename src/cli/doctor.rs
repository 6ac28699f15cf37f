//! `relstab doctor`: which engines and providers are here, and what is missing.

use std::path::PathBuf;

use super::flags::{NoLaw, One, Shared};
use super::terminal::{tell, with_progress};
use crate::doctor::{Diagnosis, inspect};
use crate::error::{ExitCode, Result};
use crate::report::doctor::text;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A network to look at with its probe images, before it is measured
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared<One, NoLaw>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let mut found = Diagnosis::new(&args.shared.running.options()?);
    if let Some(model) = &args.model {
        let setup = args.shared.plan_for(model)?.load()?;
        found.network = Some(with_progress(|progress| inspect(&setup, model, progress))?);
    }
    tell(&found, || text(&found), args.shared.format)?;
    // A library that was named and cannot be used is an error; one that is merely absent is not.
    Ok(if args.shared.running.onnxruntime.is_some() && found.onnxruntime.is_none() {
        ExitCode::Unavailable
    } else {
        ExitCode::Success
    })
}
