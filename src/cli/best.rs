//! `relstab best`: the best checkpoint of a run, and a link to it.

use std::io::IsTerminal as _;
use std::iter::successors;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::runs::Run;
use super::terminal::{Format, complain, print, print_json};
use crate::backend;
use crate::error::{Error, ExitCode, Result};
use crate::journal::{Entry, Filter, Journal, State};
use crate::path;
use crate::state::{Known, watcher_socket};
use crate::stop::Mark;
use crate::store::address::is_address;
use crate::store::cache::stranger;
use crate::text::visible;
use crate::watch::kinds::Kinds;
use crate::watch::remote::Remote;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: Run,
    /// Make or move a symbolic link to the checkpoint; what lies in a store is fetched into PATH.files first
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// Print the path's bytes as they are, with a NUL behind them, for scripts: any name can be read so
    #[arg(long, conflicts_with = "format")]
    print0: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The best checkpoint, as the journal has it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (run, found) = args.run.read(|Known { journal, id, run }| {
        let Some((monitor, mark)) = journal.best(*id)? else { return Ok((run.clone(), None)) };
        Ok((run.clone(), Some((monitor, best_record(journal, *id, &mark)?, mark))))
    })?;
    let Some((monitor, entry, mark)) = found else {
        complain("error", &format!("run {run}: nothing was measured yet"));
        return Ok(ExitCode::Undefined);
    };
    let file = path::of_text(&mark.path);
    if let Some(link) = &args.link {
        refuse_watched(link, &run, &file)?;
    }
    let step = mark.step.map_or(String::new(), |step| format!(" at step {step}"));
    let value = mark.value.map_or(String::new(), |value| format!(": {value:.4}{step}"));
    complain("note", &format!("best by {monitor}, {}{value}", monitor.in_words()));
    let measured = entry.as_ref().and_then(hash_of);
    match &args.link {
        Some(link) if is_address(&file) => link_copy(&file, measured, link)?,
        Some(link) => {
            if let Some(found) = lost(&file, measured)? {
                let found = format!("{found}; {} is left as it is", link.display());
                return Err(Error::model(&file, format!("the network that was measured{step}"), found));
            }
            replace_link(&file, link)?;
        }
        // To look into a store takes a download.
        None if is_address(&file) => {}
        None => match lost(&file, measured) {
            Ok(None) => {}
            Ok(Some(found)) => {
                let expected = format!("expected the network that was measured{step}");
                complain("warning", &format!("{}: {expected}, found {found}", file.display()));
            }
            Err(error) => complain("warning", &error.one_line()),
        },
    }
    match args.format {
        _ if args.print0 => print(&[path::to_bytes(&file), b"\0".to_vec()].concat())?,
        Format::Text => print(&format!("{}\n", line_of(&file, args.link.is_some())?))?,
        Format::Json => {
            let mut found = json!(entry);
            found["best_by"] = json!(monitor);
            print_json(&found)?;
        }
    }
    Ok(ExitCode::Success)
}

/// The path on a line. One that a line does not hold as it is, or that a terminal would obey, is spelled out for people alone: a
/// script would take it for another.
fn line_of(file: &Path, is_for_people: bool) -> Result<String> {
    if let Some(name) = file.to_str().filter(|name| visible(name) == *name) {
        return Ok(name.to_owned());
    }
    let shown = visible(&path::text(file));
    if is_for_people || std::io::stdout().is_terminal() {
        return Ok(shown);
    }
    let expected = "--print0, --format json or --link for a name with line breaks, controls or bytes that are no UTF-8";
    Err(Error::setting("best", expected, shown))
}

/// What was measured of the checkpoint.
fn best_record(journal: &Journal, id: i64, best: &Mark) -> Result<Option<Entry>> {
    let filter = Filter { state: Some(State::Measured), step: best.step, ..Filter::default() };
    Ok(journal.history(id, filter)?.into_iter().find(|entry| entry.path == best.path))
}

/// The hash of what was measured, also where the rest of a record is of an earlier version.
fn hash_of(entry: &Entry) -> Option<&str> {
    entry.measurement.as_ref()?["model"]["sha256"].as_str()
}

/// What is found at `file`, with what to do, where it is not what was measured any more.
fn lost(file: &Path, measured: Option<&str>) -> Result<Option<&'static str>> {
    if !file.exists() {
        return Ok(Some(
            "nothing there any more (let the trainer keep more checkpoints, or link after each measurement)",
        ));
    }
    let is_lost = measured.map_or(Ok(false), |measured| backend::holds(file, measured).map(|holds| !holds))?;
    Ok(is_lost.then_some("another one, written since (the daemon will measure it: see relstab wait)"))
}

/// The system follows so many links, one to the next.
const MOST_LINKS: usize = 40;

/// Refuses a link that would be taken for a checkpoint and be measured, and one that would end up leading to itself.
fn refuse_watched(link: &Path, run: &str, best: &Path) -> Result<()> {
    let place = place_of(link)?;
    let folder = place.parent().unwrap_or(Path::new("/"));
    let run = path::of_text(run);
    // A daemon may watch what lies above the run, too.
    let watched = if folder.starts_with(&run) { Some(&*run) } else { watcher_socket(folder).map(|_| folder) };
    let ending = place.extension();
    let is_usual = Kinds::new(None, false)?.matches(&place) || Kinds::new(None, true)?.matches(&place);
    // The run's pattern may be another.
    let is_as_best = ending.is_some() && ending == best.extension();
    if let Some(watched) = watched.filter(|_| is_usual || is_as_best) {
        let expected = format!(
            "a path outside {}, where a link that ends in .{} is measured as a checkpoint, or a name with another ending",
            watched.display(),
            ending.unwrap_or_default().display()
        );
        return Err(Error::setting("--link", expected, link.display()));
    }
    let next = |path: &PathBuf| Some(path.parent()?.join(path.read_link().ok()?));
    let mut way = successors(Some(best.to_owned()), next).take(MOST_LINKS);
    if way.any(|path| place_of(&path).is_ok_and(|at| at == place)) {
        let expected = format!("a path that the best checkpoint {} does not lie at or lead through", best.display());
        return Err(Error::setting("--link", expected, link.display()));
    }
    Ok(())
}

/// Where a path's last name stands, which may itself be a link.
fn place_of(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).map_err(Error::io(path, "find"))?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::setting("--link", "the path of a link, with a name", path.display()));
    };
    Ok(folder.canonicalize().map_err(Error::io(folder, "find"))?.join(name))
}

/// Brings the network at `address` into the folder `LINK.files`, and links to it there; copies of other networks go.
fn link_copy(address: &Path, measured: Option<&str>, link: &Path) -> Result<()> {
    let folder = std::path::absolute(link.with_added_extension("files")).map_err(Error::io(link, "find"))?;
    if let Some(other) = stranger(&folder) {
        let expected = format!("a link whose folder {} holds copies only", folder.display());
        return Err(Error::setting("--link", expected, other.display()));
    }
    let fetched = Remote::below(&folder)?.bring_network(address)?;
    let copy = fetched.local(address);
    if let Some(found) = lost(&copy, measured)? {
        fetched.remove();
        return Err(Error::model(address, "the network that was measured", found));
    }
    replace_link(&copy, link)?;
    fetched.remove_others();
    Ok(())
}

/// A link that is moved is never missing, and no other file is touched.
fn replace_link(target: &Path, link: &Path) -> Result<()> {
    if link.exists() && !link.is_symlink() {
        return Err(Error::setting("--link", "a path that is free or a link", link.display()));
    }
    let folder = link.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(".relstab-link-").make_in(folder, |path| symlink(target, path));
    let made = made.map_err(Error::io(link, "link"))?.into_temp_path();
    made.persist(link).map_err(|error| Error::io(link, "link")(error.error))
}
