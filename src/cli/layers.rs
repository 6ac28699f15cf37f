//! `relstab layers`: one network, layer by layer.

use std::path::PathBuf;

use super::flags::Shared;
use super::terminal::{complain, tell, with_progress};
use crate::backend::Selection;
use crate::error::{Error, ExitCode, Result};
use crate::report::figure::{self, Format};
use crate::report::layers::document;
use crate::report::terminal::text;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The network, an ONNX file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Measure these tensors instead of the end of each block
    #[arg(long, value_name = "NAME,...")]
    tensors: Vec<String>,
    /// Measure every output of a kind of node, such as Relu
    #[arg(long, value_name = "KIND", conflicts_with = "tensors")]
    op: Option<String>,
    /// Write a figure of D, G and R against depth for a paper, .svg or .png
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let figure = Format::asked_for(args.figure.as_deref(), "--figure")?;
    let selection = match (&args.op, &args.tensors[..]) {
        (Some(kind), _) => Selection::Kind(kind.clone()),
        (None, []) => Selection::Blocks,
        (None, names) => Selection::Named(names.to_vec()),
    };
    let setup = args.shared.plan_for(&args.model)?.load()?;
    let model = setup.read(&args.model)?;
    let opened = with_progress(|progress| setup.open_layers(model, &selection, progress))?;
    let found = with_progress(|progress| opened.layers(progress))?;
    let document = document(&found);
    tell(&found, || text(&document), args.shared.format)?;
    let undefined =
        || found.measurement.undefined.as_ref().map(|undefined| undefined.reason.clone()).unwrap_or_default();
    if let Some((path, format)) = figure {
        let nothing =
            || Error::NoValue { path: args.model.clone(), quantity: "figure".to_owned(), reason: undefined() };
        figure::write(path, format, &document.figure().ok_or_else(nothing)?)?;
    }
    if found.measurement.r_f.is_none() {
        complain("error", &format!("model {}: R_f of the output is undefined: {}", args.model.display(), undefined()));
        return Ok(ExitCode::Undefined);
    }
    Ok(ExitCode::Success)
}
