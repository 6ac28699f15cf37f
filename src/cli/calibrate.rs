//! `relstab calibrate`: a law of one's own from networks with a known error.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

use std::collections::BTreeSet;

use serde_json::json;

use super::flags::Shared;
use super::sources::Evidence;
use super::terminal::{Format, complain, print, tell};
use crate::error::{Error, ExitCode, Result};
use crate::evidence::differences;
use crate::path;
use crate::predict::calibrate::{Form, Known, calibrate};
use crate::predict::saved::{Folder, LAW_SCHEMA, Saved, check_name};
use crate::predict::{Law, presets};
use crate::report::document::{Document, Text, columns, table};
use crate::report::law;
use crate::report::terminal::text;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    fit: Fit,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the laws there are: presets, and those that were saved.
    List,
    /// Print a law and the points behind it.
    Show {
        /// The law
        #[arg(value_name = "LAW")]
        name: String,
        /// How results are printed
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Remove a law that was saved.
    Remove {
        /// The law
        #[arg(value_name = "LAW")]
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Fit {
    #[command(flatten)]
    evidence: Evidence,
    /// Save the law under this name, for --law
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// Start from what this law leads one to expect, or from nothing: none [default: invariance, where it speaks of the networks]
    #[arg(long, value_name = "LAW")]
    prior: Option<String>,
    /// What the law goes by [default: invariance, r_f where it is not known, unless another one predicts points left out better]
    #[arg(long, value_enum, value_name = "FORM")]
    form: Option<Form>,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Some(Command::List) => list(),
        Some(Command::Show { name, format }) => show(name, *format),
        Some(Command::Remove { name }) => remove(name),
        None => fit(&args.fit),
    }
}

/// A law's source is one sentence.
const SOURCES_NAMED: usize = 3;

fn fit(args: &Fit) -> Result<ExitCode> {
    if let Some(name) = &args.save {
        check_name(name)?;
    }
    let named = args.prior.as_deref().filter(|name| *name != NOTHING).map(Law::named).transpose()?;
    if let (Some(law), Some(form)) = (&named, args.form)
        && Form::of(law) != form
    {
        let found = format!("{form}, and law {} goes by {}", law.name, Form::of(law));
        return Err(Error::setting("--form", "the form of the law that --prior names, or --prior none", found));
    }
    let (known, left_out) = args.evidence.known(&args.shared)?;
    let prior = if args.prior.is_some() { named } else { usual(&known, args.form)? };
    let forced = together(&known, prior.as_ref(), args.shared.predicting.force_law)?;
    let points: Vec<_> = known.iter().map(|known| known.point.clone()).collect();
    let calibration = calibrate(&points, prior.as_ref(), args.form)?;
    // There is one: no law is calibrated on none.
    let first = &known[0];
    let mut sources: Vec<_> =
        args.evidence.sources.iter().take(SOURCES_NAMED).map(|source| path::text(source)).collect();
    if let Some(more) = args.evidence.sources.len().checked_sub(SOURCES_NAMED).filter(|more| *more > 0) {
        sources.push(format!("and {more} more"));
    }
    let sets: BTreeSet<_> = known.iter().filter_map(|known| known.data_set.as_deref()).collect();
    let on = if sets.is_empty() { String::new() } else { format!(" on {}", Vec::from_iter(sets).join(" and ")) };
    let source = format!(
        "{} of {}{on}, {}; starting from {}",
        counted(points.len(), "network"),
        counted(calibration.runs(), "training"),
        sources.join(", "),
        prior.as_ref().filter(|law| Form::of(law) == calibration.form).map_or("nothing", |law| &law.name)
    );
    let other = prior.filter(|law| on.contains(JPEG) && law.source.contains(ORIGINAL));
    let other = other.map_or_else(String::new, |law| {
        format!("note: these networks were measured on JPEG copies, law {} on original images\n", law.name)
    });
    let mut law = calibration.law(args.save.as_deref().unwrap_or("unsaved"), &first.conditions, first.classes, source);
    law.forced = forced;
    let time = jiff::Timestamp::now().to_string();
    let mut saved = Saved { schema: LAW_SCHEMA.to_owned(), time, law, calibration };
    if args.save.is_some() {
        saved = Folder::of_user()?.save(saved)?;
    }
    tell(&saved, || text(&law::saved(&saved)) + &not_counted(left_out) + &other, args.shared.format)?;
    Ok(ExitCode::Success)
}

/// What tables and laws say of their images.
const JPEG: &str = "jpeg";
const ORIGINAL: &str = "original images";
/// What starts from no law.
const NOTHING: &str = "none";

/// The law that networks start from which were given none: the one of those who name none, where it speaks of all of them.
fn usual(known: &[Known], form: Option<Form>) -> Result<Option<Law>> {
    let law = Law::usual()?;
    let is_of_form = form.unwrap_or_else(|| Form::usual(known.iter().map(|known| &known.point))) == Form::of(&law);
    let speaks = |known: &Known| law.unlike(&known.conditions, known.classes).is_none();
    let speaks_of_all = known.iter().all(speaks);
    Ok((is_of_form && speaks_of_all).then_some(law))
}

/// Why networks were left out, if any were.
pub fn not_counted(left_out: usize) -> String {
    let told = || format!("{} left out: no known error above 0, or not trained yet\n", counted(left_out, "network"));
    if left_out > 0 { told() } else { String::new() }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Refuses networks, or a law to start from, of other settings than the first's, unless forced; then says what was forced.
fn together(known: &[Known], prior: Option<&Law>, force: bool) -> Result<Option<String>> {
    let mut told = differences(known);
    if let (Some(law), Some(first)) = (prior, known.first())
        && let Some(difference) = law.unlike(&first.conditions, first.classes)
    {
        told.insert(0, (format!("law {}", law.name), difference));
    }
    match told.first() {
        None => Ok(None),
        Some((label, difference)) if force => {
            let others = if told.len() > 1 { format!(", and {} more", told.len() - 1) } else { String::new() };
            Ok(Some(format!("{label}: {difference}{others}")))
        }
        Some((label, difference)) => {
            Err(Error::points(label, "the settings of the other networks (or --force-law)", difference))
        }
    }
}

fn list() -> Result<ExitCode> {
    let folder = Folder::of_user()?;
    let row = |law: &Law, verdict: String| {
        let points = law.points.map_or_else(String::new, |points| points.to_string());
        let [version, equation] = [law.version.to_string(), law.equation()].map(Text::from);
        vec![Text::words(&law.name), version, equation, points.into(), verdict.into()]
    };
    let mut rows: Vec<_> = presets().iter().map(|law| row(law, "preset".to_owned())).collect();
    for name in folder.names()? {
        match folder.read(&name) {
            Ok(saved) => rows.extend(saved.map(|saved| row(&saved.law, law::verdict(&saved.calibration)))),
            Err(error) => complain("error", &error.one_line()),
        }
    }
    let columns = columns(&["law", "version", "equation", "networks", "verdict"], &["version", "networks"]);
    let (title, blocks) = (vec!["Laws".into()], vec![table("Laws", columns, rows)]);
    print(&text(&Document { title, heading: Vec::new(), blocks }))?;
    Ok(ExitCode::Success)
}

fn show(name: &str, format: Format) -> Result<ExitCode> {
    let saved = if presets().iter().any(|law| law.name == name) { None } else { Folder::of_user()?.read(name)? };
    if let Some(saved) = saved {
        tell(&saved, || text(&law::saved(&saved)), format)?;
    } else {
        let preset = Law::named(name)?;
        tell(&json!({"schema": LAW_SCHEMA, "law": preset}), || text(&law::document(&preset)), format)?;
    }
    Ok(ExitCode::Success)
}

fn remove(name: &str) -> Result<ExitCode> {
    if Folder::of_user()?.remove(name)? {
        return Ok(ExitCode::Success);
    }
    Err(Error::setting("LAW", "a law that was saved", name))
}
