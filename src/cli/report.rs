//! `relstab report`: a run or a saved result as a page, as Markdown, as a figure.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::terminal::print;
use crate::error::{Error, ExitCode, Result};
use crate::event::MEASUREMENT_SCHEMA;
use crate::measure::{layers as layered, sweep as sweeps};
use crate::report::document::{Block, Document};
use crate::report::figure::{self, Figure, Format};
use crate::report::run::Run;
use crate::report::{check, compare, file, layers, markdown, measurement, page, run, scaling, sweep};
use crate::scaling as scalings;
use crate::state::find;
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
    if let Some(path) = &args.html {
        file::write(path, page::html(&document).as_bytes())?;
    }
    if let Some(path) = &args.markdown {
        file::write(path, markdown::text(&document, 1).as_bytes())?;
    }
    if args.html.is_none() && args.markdown.is_none() && args.figure.is_none() {
        print(&markdown::text(&document, 1))?;
    }
    Ok(ExitCode::Success)
}

/// Draws the run's figure too, if one is asked for.
fn of_run(args: &Args) -> Result<Document> {
    let known = find(&args.source, args.journal.as_deref())?;
    let run = Run::read(&known.journal, known.id, known.run)?;
    draw(args, figure::run::panels(run.series()).as_ref())?;
    Ok(run::document(&run, beside(args)))
}

/// Draws what there is to draw into the file that was asked for.
fn draw(args: &Args, figure: Option<&impl Figure>) -> Result<()> {
    let Some((path, format)) = Format::asked_for(args.figure.as_deref(), "--figure")? else { return Ok(()) };
    let nothing = || Error::setting("--figure", "a source with something measured", args.source.display());
    figure::write(path, format, figure.ok_or_else(nothing)?)
}

/// A figure as a piece of the report; `alt` says what it shows.
fn illustration(args: &Args, alt: &'static str, figure: Option<&impl Figure>) -> Result<Option<Block>> {
    draw(args, figure)?;
    let block = |figure| Ok(Block::Figure { alt, svg: figure::svg(figure)?, path: beside(args) });
    figure.map(block).transpose().map_err(Error::io(&args.source, "draw"))
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
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| no_result(path, &error.to_string()))?;
    let is_drawn = [sweeps::SCHEMA, scalings::SCHEMA, layered::SCHEMA].iter().any(|schema| value["schema"] == *schema);
    if args.figure.is_some() && !is_drawn {
        let expected = "a run's directory, a saved sweep, saved power laws or saved layers as SOURCE";
        return Err(Error::setting("--figure", expected, path.display()));
    }
    match value["schema"].as_str() {
        Some(MEASUREMENT_SCHEMA) => Ok(measurement::document(&read(path, value)?)),
        Some(checks::SCHEMA) => Ok(check::document(&read(path, value)?)),
        Some(rank::SCHEMA) => Ok(compare::document(&read(path, value)?)),
        Some(sweeps::SCHEMA) => {
            let found = read(path, value)?;
            let figure = illustration(args, figure::sweep::ALT, figure::sweep::panels(&found).as_ref())?;
            Ok(sweep::document(&found, figure))
        }
        Some(scalings::SCHEMA) => {
            let found = read(path, value)?;
            let figure = illustration(args, figure::scaling::ALT, figure::scaling::panels(&found).as_ref())?;
            Ok(scaling::document(&found, figure))
        }
        Some(layered::SCHEMA) => {
            let found = read(path, value)?;
            let figure = illustration(args, figure::layers::ALT, figure::layers::panels(&found).as_ref())?;
            Ok(layers::document(&found, figure))
        }
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
