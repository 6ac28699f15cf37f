//! `relstab scaling`: power laws of R_f, D_f and G_f in the size of the training set.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::flags::{NoLaw, One, Shared};
use super::sources::measured;
use super::terminal::tell;
use crate::backend::read_metadata;
use crate::error::{Error, ExitCode, Result};
use crate::event::Measurement;
use crate::journal::Filter;
use crate::path;
use crate::report::figure;
use crate::report::scaling::document;
use crate::report::terminal::text;
use crate::scaling::Scaling;
use crate::scaling::evidence::{Choice, Evidence, of_measurements, of_table};
use crate::small_file::json_fault;
use crate::watch::scan::Found;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Networks that tell the size of their training set, train_size: a run that a journal knows, a directory of networks (measured
    /// here), what measure printed with --format json, or a table with columns train_size and r_f, d_f or g_f, CSV or JSON. Of each
    /// training the last checkpoint counts
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<PathBuf>,
    /// Fit a law for each value of this column of tables, or key of checkpoints' metadata [default: for each table, and for all
    /// other networks]
    #[arg(long, value_name = "KEY")]
    group: Option<String>,
    /// Leave out networks of which KEY says something else; may be given again
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = key_and_value)]
    filters: Vec<(String, String)>,
    /// Draw the laws with their networks, .svg or .png
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
    /// The journal of the runs [default: the one under $XDG_STATE_HOME/relstab that knows them]
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared<One, NoLaw>,
}

fn key_and_value(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, for instance cutoff=3")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let figure = figure::Format::asked_for(args.figure.as_deref(), "--figure")?;
    let choice = Choice {
        group: args.group.clone(),
        filters: args.filters.clone(),
        estimator: args.shared.settings()?.estimator,
    };
    let scaling = Scaling::new(evidence(args, &choice)?)?;
    let document = document(&scaling);
    if let Some((path, format)) = figure {
        let nothing = || Error::setting("--figure", "networks to draw", "none");
        figure::write(path, format, &document.figure().ok_or_else(nothing)?)?;
    }
    tell(&scaling, || text(&document), args.shared.format)?;
    Ok(ExitCode::Success)
}

fn evidence(args: &Args, choice: &Choice) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    let mut networks = Vec::new();
    for source in &args.sources {
        if source.is_dir() {
            let filter = Filter { with_replicates: true, ..Filter::default() };
            networks.extend(measured(&args.shared.flags()?, source, args.journal.as_deref(), filter, last)?);
        } else if let Some(record) = saved(source)? {
            networks.push((path::text(source), record));
        } else {
            evidence.extend(of_table(source, choice)?);
        }
    }
    evidence.extend(of_measurements(&networks, choice)?);
    Ok(evidence)
}

/// Of the checkpoints of a directory those that will count: of each training set and seed the last, and all that tell no step.
fn last(run: &[Found]) -> Vec<&Found> {
    let training = |found: &Found| {
        let metadata = read_metadata(&found.path).unwrap_or_default();
        let alone = (metadata.step.is_none() && metadata.epoch.is_none()).then(|| found.path.clone());
        (metadata.train_size, metadata.other.get("seed").cloned(), alone)
    };
    let last: BTreeMap<_, _> = run.iter().map(|found| (training(found), found)).collect();
    last.into_values().collect()
}

/// What `measure` printed; `None` for a table.
fn saved(source: &Path) -> Result<Option<Measurement>> {
    let text = fs::read_to_string(source).map_err(Error::io(source, "read"))?;
    if !text.trim_start().starts_with('{') {
        return Ok(None);
    }
    let record = serde_json::from_str(&text);
    record.map(Some).map_err(|error| {
        Error::points(path::text(source), "what measure printed, or a table", json_fault(&text, &error))
    })
}
