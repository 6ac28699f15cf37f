//! Where commands that learn from many networks get their measurements: a run's journal, else a directory, measured here.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::flags::Shared;
use super::terminal::{complain, measure_file};
use crate::config::Flags;
use crate::error::{Error, Reach, Result};
use crate::event::Measurement;
use crate::evidence::{ErrorOf, Unsaid, of_measurements, of_table};
use crate::journal::{Entry, Filter};
use crate::path;
use crate::perturb::Size;
use crate::predict::Conditions;
use crate::predict::calibrate::Known;
use crate::state::find;
use crate::watch::kinds::Kinds;
use crate::watch::scan::{Found, Search, checkpoints};

/// Networks with a known error, and where it stands.
#[derive(Debug, clap::Args)]
pub struct Evidence {
    /// Networks with a known error: a run that a journal knows, a directory of networks (measured here), or a table with
    /// columns error and invariance_deformed or r_f, CSV or JSON
    #[arg(value_name = "SOURCE", required = true)]
    pub sources: Vec<PathBuf>,
    /// The error that counts [default: val_error where there is one]
    #[arg(long, value_enum, value_name = "WHICH")]
    error: Option<ErrorOf>,
    /// The journal of the runs [default: the one under $XDG_STATE_HOME/relstab that knows them]
    #[arg(long, value_name = "PATH")]
    journal: Option<PathBuf>,
    /// Image side of a table's networks, pixels
    #[arg(long, value_name = "PIXELS")]
    side: Option<f64>,
    /// Classes of a table's data set
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
}

impl Evidence {
    /// All networks, and how many of them are left out.
    pub fn known(&self, shared: &Shared) -> Result<(Vec<Known>, usize)> {
        let mut known = Vec::new();
        let mut left_out = 0;
        // A network counts once, however often it is named.
        let (mut places, mut networks) = (HashSet::new(), HashSet::new());
        for source in &self.sources {
            if !places.insert(source.canonicalize().unwrap_or_else(|_| source.clone())) {
                continue;
            }
            let (points, without) = if source.is_dir() {
                let journal = self.journal.as_deref();
                let mut all =
                    measured(&shared.flags()?, source, journal, Filter::default(), |run| run.iter().collect())?;
                all.retain(|(_, record)| networks.insert(record.model.sha256.clone()));
                of_measurements(&all, self.error)
            } else {
                of_table(source, &self.unsaid(shared)?)?
            };
            known.extend(points);
            left_out += without;
        }
        Ok((known, left_out))
    }

    /// What the flags say of a table's networks.
    fn unsaid(&self, shared: &Shared) -> Result<Unsaid> {
        let settings = shared.settings()?;
        let Size::Delta(delta) = settings.deformation.size else {
            return Err(Error::setting("--temperature", "--delta, for a table", "a temperature"));
        };
        let conditions = Conditions {
            cutoff: settings.deformation.cutoff,
            delta,
            interpolation: settings.deformation.interpolation,
            estimator: settings.estimator,
            side: self.side.unwrap_or(f64::NAN),
        };
        Ok(Unsaid { conditions, classes: self.classes })
    }
}

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
    let has_export = flags.has_export()?;
    let kinds = Kinds::new((!has_export).then_some("*.{onnx,onnx.gz}"), has_export)?;
    let search = Search::new(true, kinds);
    let found = checkpoints(&search, folder, &mut |text| complain("note", text))?;
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
