//! `relstab report`: a run or a saved result as a page, as Markdown, as a figure.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::terminal::print;
use crate::error::{Error, ExitCode, Result};
use crate::event::MEASUREMENT_SCHEMA;
use crate::measure::{layers as layered, sweep as sweeps};
use crate::report::document::Document;
use crate::report::figure::{self, Format};
use crate::report::run::Run;
use crate::report::{check, compare, file, layers, markdown, measurement, page, run, scaling, sweep};
use crate::scaling as scalings;
use crate::small_file::json_fault;
use crate::state::{self, Known};
use crate::{check as checks, path, rank};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A run's directory or address, or a file of what measure, check, compare, sweep, scaling or layers printed with --format json
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Write a page that needs no other file and no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write Markdown [default: print it, if no file is asked for]
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write a figure of a run, a sweep, power laws or layers for a paper, .svg or .png
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
    /// The journal [default: the one under $XDG_STATE_HOME/relstab that knows the run]
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let document = if args.source.is_file() { saved(args)? } else { of_run(args)? };
    if let Some((path, format)) = Format::asked_for(args.figure.as_deref(), "--figure")? {
        let expected =
            "a run's directory, a saved sweep, saved power laws or saved layers as SOURCE, with something measured";
        let nothing = || Error::setting("--figure", expected, args.source.display());
        figure::write(path, format, &document.figure().ok_or_else(nothing)?)?;
    }
    if let Some(path) = &args.html {
        file::write(path, page::html(&document).as_bytes())?;
    }
    let markdown = || markdown::text(&document, 1, beside(args).as_deref());
    if let Some(path) = &args.markdown {
        file::write(path, markdown().as_bytes())?;
    }
    if args.html.is_none() && args.markdown.is_none() && args.figure.is_none() {
        print(&markdown())?;
    }
    Ok(ExitCode::Success)
}

fn of_run(args: &Args) -> Result<Document> {
    let read = |Known { journal, id, run }: &Known| Run::read(journal, *id, run.clone());
    Ok(run::document(&state::read(&args.source, args.journal.as_deref(), read)?))
}

/// The path of the figure as Markdown names it: short where both lie in one directory.
fn beside(args: &Args) -> Option<String> {
    let (figure, markdown) = (args.figure.as_deref()?, args.markdown.as_deref());
    Some(match figure.file_name() {
        Some(name) if markdown.and_then(Path::parent) == figure.parent() => path::text(name.as_ref()),
        _ => path::text(&std::path::absolute(figure).unwrap_or_else(|_| figure.to_owned())),
    })
}

/// What another command printed, by the schema that it names.
fn saved(args: &Args) -> Result<Document> {
    let path = &args.source;
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    let fault = |error| no_result(path, &json_fault(&String::from_utf8_lossy(&bytes), &error));
    let value: Value = serde_json::from_slice(&bytes).map_err(fault)?;
    match value["schema"].as_str() {
        Some(MEASUREMENT_SCHEMA) => Ok(measurement::document(&read(path, value)?)),
        Some(checks::SCHEMA) => Ok(check::document(&read(path, value)?)),
        Some(rank::SCHEMA) => Ok(compare::document(&read(path, value)?)),
        Some(sweeps::SCHEMA) => Ok(sweep::document(&read(path, value)?)),
        Some(scalings::SCHEMA) => Ok(scaling::document(&read(path, value)?)),
        Some(layered::SCHEMA) => Ok(layers::document(&read(path, value)?)),
        Some(other) => Err(no_result(path, &format!("schema {other}"))),
        None => Err(no_result(path, "JSON without a schema")),
    }
}

fn read<T: DeserializeOwned>(path: &Path, value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(|error| no_result(path, &error.to_string()))
}

fn no_result(path: &Path, found: &str) -> Error {
    let expected =
        "a run's directory, or what measure, check, compare, sweep, scaling or layers print with --format json";
    Error::setting("SOURCE", expected, format!("{found} in {}", path.display()))
}
