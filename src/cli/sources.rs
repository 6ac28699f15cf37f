//! Where commands that learn from many networks get their measurements: a run's journal, else a directory, measured here.

use std::path::Path;

use super::terminal::{complain, measure_file};
use crate::config::Flags;
use crate::error::{Error, Reach, Result};
use crate::event::Measurement;
use crate::journal::{Entry, Filter};
use crate::path;
use crate::state::find;
use crate::watch::scan::{Found, Search, checkpoints};

/// Each network of the directory `source` with its run; where no journal knows it, those are measured that `choose` takes
/// from the checkpoints of a run, in training order.
pub fn measured(
    flags: &Flags,
    source: &Path,
    journal: Option<&Path>,
    filter: Filter,
    choose: impl Fn(&[Found]) -> Vec<&Found>,
) -> Result<Vec<(String, Measurement)>> {
    match find(source, journal) {
        Ok(known) => {
            let entries = known.journal.history(known.id, filter)?;
            Ok(entries.iter().filter_map(Entry::record).map(|record| (known.run.clone(), record)).collect())
        }
        Err(Error::UnknownRun { .. }) if journal.is_none() => measure_all(flags, source, choose),
        Err(error) => Err(error),
    }
}

/// A network that cannot be measured costs only itself.
fn measure_all(
    flags: &Flags,
    folder: &Path,
    choose: impl Fn(&[Found]) -> Vec<&Found>,
) -> Result<Vec<(String, Measurement)>> {
    let mut measured = Vec::new();
    let found = checkpoints(&Search::new(true, "*.{onnx,onnx.gz}")?, folder, &mut |text| complain("note", text))?;
    for run in found.chunk_by(|a, b| a.run == b.run) {
        let setup = flags.run_plan(&run[0].run, folder)?.plan.load()?;
        let mut resolved = None;
        for found in choose(run) {
            match measure_file(&setup, &found.path, &mut resolved) {
                Ok(measurement) => measured.push((path::text(&found.run), measurement)),
                Err(error) if error.reach() == Reach::Checkpoint => complain("error", &error.one_line()),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(measured)
}
