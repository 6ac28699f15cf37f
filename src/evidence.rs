//! Networks with a known error, from measurements or from a table, and whether they may be judged together.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::estimate::{Estimate, Estimator, Resampling};
use crate::event::Measurement;
use crate::measure::{conditions, is_trained, measured};
use crate::path;
use crate::perturb::Interpolation;
use crate::predict::Conditions;
use crate::predict::calibrate::{Known, Point};
use crate::predict::table::rows;
use crate::predict::terms::{Measured, Quantities, Term, known};

/// Which error of a measured network counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[clap(rename_all = "snake_case")]
pub enum ErrorOf {
    /// The one that the training loop told.
    ValError,
    /// The one on the labelled probe images.
    ProbeError,
}

/// What a table leaves unsaid.
#[derive(Debug, Clone, Copy)]
pub struct Unsaid {
    /// What its networks were measured at; the side may be unknown.
    pub conditions: Conditions,
    /// Classes of their data set, if known.
    pub classes: Option<usize>,
}

/// Measured networks with their runs, and how many are left out: without a known error, or not trained yet.
///
/// Without `of`, `val_error` counts where any of them has one, else the error on labelled probe images.
pub fn of_measurements(measured: &[(String, Measurement)], of: Option<ErrorOf>) -> (Vec<Known>, usize) {
    let has_val_error = || measured.iter().any(|(_, record)| record.metadata.val_error.is_some());
    let of = of.unwrap_or_else(|| if has_val_error() { ErrorOf::ValError } else { ErrorOf::ProbeError });
    let known: Vec<_> = measured.iter().filter_map(|(run, record)| of_measurement(run, record, of)).collect();
    let left_out = measured.len() - known.len();
    (known, left_out)
}

/// A measured network of `run`; `None` if its error is not known or 0, which has no logarithm, or it is not trained yet.
pub fn of_measurement(run: &str, record: &Measurement, of: ErrorOf) -> Option<Known> {
    let error = match of {
        ErrorOf::ValError => record.metadata.val_error,
        ErrorOf::ProbeError => record.probe_error,
    };
    let error = error.filter(|error| *error > 0.0 && is_trained(record))?;
    let Measured { quantities, spreads, .. } = measured(record);
    let point = Point { label: path::text(&record.model.path), run: Some(run.to_owned()), quantities, spreads, error };
    Some(Known { point, conditions: conditions(record), classes: record.model.outputs, data_set: None })
}

/// Pixels as the data set has them.
const ORIGINAL: &str = "original";

/// A row of a table, CSV or JSON.
#[derive(Debug, Deserialize)]
struct Row {
    error: f64,
    r_f: Option<f64>,
    r_f_low: Option<f64>,
    r_f_high: Option<f64>,
    d_f: Option<f64>,
    g_f: Option<f64>,
    confidence_clean: Option<f64>,
    confidence_deformed: Option<f64>,
    confidence_noisy: Option<f64>,
    agreement_deformed: Option<f64>,
    agreement_noisy: Option<f64>,
    invariance_deformed: Option<f64>,
    invariance_deformed_low: Option<f64>,
    invariance_deformed_high: Option<f64>,
    invariance_noisy: Option<f64>,
    #[serde(alias = "path")]
    label: Option<String>,
    /// The training it comes from; where there is none, whose network it is.
    run: Option<String>,
    repository: Option<String>,
    data_set: Option<String>,
    /// Of the images: original, or copies such as jpeg.
    pixels: Option<String>,
    step: Option<u64>,
    cutoff: Option<u32>,
    delta: Option<f64>,
    interpolation: Option<Interpolation>,
    estimator: Option<Estimator>,
    side: Option<f64>,
    classes: Option<usize>,
}

/// The networks of a table: CSV with a header, or a JSON array of objects; `error` there must be, and a measured quantity. Rows of step 0 are
/// left out, and counted.
///
/// # Errors
/// `Io` if the file cannot be read, `Points` naming the row that cannot be used.
pub fn of_table(path: &Path, unsaid: &Unsaid) -> Result<(Vec<Known>, usize)> {
    let mut known = Vec::new();
    let mut left_out = 0;
    for (name, row) in rows::<Row>(path)? {
        let row = row.map_err(|found| Error::points(&name, "a number error, and known columns", found))?;
        // An error of 0 has no logarithm.
        if row.step == Some(0) || row.error == 0.0 {
            left_out += 1;
        } else {
            known.push(row.known(&name, unsaid)?);
        }
    }
    Ok((known, left_out))
}

impl Row {
    fn known(self, name: &str, unsaid: &Unsaid) -> Result<Known> {
        let needed = |what: &str, flag: &str| Error::points(name, format!("a column {what}, or {flag}"), "neither");
        let side = self.side.unwrap_or(unsaid.conditions.side);
        let classes = self.classes.or(unsaid.classes).ok_or_else(|| needed("classes", "--classes"))?;
        if !(side.is_finite() && side > 0.0) {
            return Err(needed("side", "--side"));
        }
        let conditions = Conditions {
            cutoff: self.cutoff.unwrap_or(unsaid.conditions.cutoff),
            delta: self.delta.unwrap_or(unsaid.conditions.delta),
            interpolation: self.interpolation.unwrap_or(unsaid.conditions.interpolation),
            estimator: self.estimator.unwrap_or(unsaid.conditions.estimator),
            side,
        };
        if !(conditions.delta.is_finite() && conditions.delta > 0.0) {
            return Err(Error::points(name, "a delta above 0", conditions.delta.to_string()));
        }
        let quantities = self.quantities();
        if quantities.is_empty() {
            return Err(Error::points(name, "r_f, invariance_deformed or another measured quantity", "none"));
        }
        let is_beyond = |(term, value): &(&Term, &f64)| term.is_score() && !(0.0..=1.0).contains(*value);
        if let Some((term, value)) = quantities.iter().find(is_beyond) {
            return Err(Error::points(name, format!("a value of {term} from 0 to 1"), value.to_string()));
        }
        let spreads = self.spreads();
        let label = self.label.map_or_else(|| name.to_owned(), |label| format!("{name} ({label})"));
        let run = [self.run, self.repository].into_iter().flatten().find(|run| !run.is_empty());
        let point = Point { label, run, quantities, spreads, error: self.error };
        let data_set = match (self.data_set, self.pixels) {
            (Some(name), Some(pixels)) if pixels != ORIGINAL => Some(format!("{name}, {pixels}")),
            // Copies are never judged with originals, whatever images they are of.
            (name, pixels) => name.or(pixels),
        };
        Ok(Known { point, conditions, classes, data_set })
    }
}

impl Row {
    fn quantities(&self) -> Quantities {
        known([
            (Term::RF, self.r_f),
            (Term::DF, self.d_f),
            (Term::GF, self.g_f),
            (Term::ConfidenceClean, self.confidence_clean),
            (Term::ConfidenceDeformed, self.confidence_deformed),
            (Term::ConfidenceNoisy, self.confidence_noisy),
            (Term::AgreementDeformed, self.agreement_deformed),
            (Term::AgreementNoisy, self.agreement_noisy),
            (Term::InvarianceDeformed, self.invariance_deformed),
            (Term::InvarianceNoisy, self.invariance_noisy),
        ])
    }

    /// Of the 95% intervals that it gives.
    fn spreads(&self) -> Quantities {
        let level = Resampling::default().level;
        let spread = |term: Term, value: Option<f64>, low: Option<f64>, high: Option<f64>| {
            let spread = |(value, (low, high))| term.spread(&Estimate { value, low, high, level });
            (term, value.zip(low.zip(high)).and_then(spread))
        };
        known([
            spread(Term::RF, self.r_f, self.r_f_low, self.r_f_high),
            spread(
                Term::InvarianceDeformed,
                self.invariance_deformed,
                self.invariance_deformed_low,
                self.invariance_deformed_high,
            ),
        ])
    }
}

/// How the networks differ in what they were measured at, or in their classes, each from the first; in words.
pub fn differences(known: &[Known]) -> Vec<(String, String)> {
    let Some(first) = known.first() else { return Vec::new() };
    let stated = known.iter().find_map(|known| known.data_set.as_ref());
    let differ = |other: &Known| {
        let classes =
            (first.classes != other.classes).then(|| format!("classes {} (here: {})", first.classes, other.classes));
        let data_set = || {
            let (here, other) = (stated?, other.data_set.as_ref()?);
            (here != other).then(|| format!("data set {here} (here: {other})"))
        };
        let text = first.conditions.difference(&other.conditions).or(classes).or_else(data_set)?;
        Some((other.point.label.clone(), text))
    };
    known.iter().filter_map(differ).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Vec<Known>, usize)> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        let conditions = Conditions {
            cutoff: 3,
            delta: 1.0,
            interpolation: Interpolation::Bilinear,
            estimator: Estimator::CoordinateMedian,
            side: f64::NAN,
        };
        of_table(file.path(), &Unsaid { conditions, classes: None })
    }

    #[test]
    fn tables_of_both_kinds_say_the_same() {
        let (csv, left_out) =
            read("run, step, r_f, error, d_f, side, classes\na, 0, 1.0, 0.9, , 32, 10\na, 5, 0.5, 0.2, 0.01, 32, 10\n")
                .expect("a table");
        let (json, _) =
            read(r#"[{"run": "a", "step": 5, "r_f": 0.5, "error": 0.2, "d_f": 0.01, "side": 32, "classes": 10}]"#)
                .expect("a table");
        assert_eq!((csv.len(), left_out, json.len()), (1, 1, 1));
        assert_eq!(csv[0].point.quantities, json[0].point.quantities);
        assert_eq!((csv[0].conditions, csv[0].classes), (json[0].conditions, json[0].classes));
        assert!(csv[0].point.label.ends_with("row 2") && json[0].point.label.ends_with("row 1"));
    }

    #[test]
    fn the_row_that_cannot_be_used_is_named() {
        for (text, part) in [
            ("r_f,error\n0.5,0.1\nmuch,0.1\n", "row 1"),
            ("r_f,error,side,classes\n0.5,0.1,28,10\nmuch,0.1,28,10\n", "row 2"),
            ("r_f,side,classes\n0.5,28,10\n", "error"),
            ("r_f,error,side\n0.5,0.1,28\n", "--classes"),
            ("r_f,error,classes\n0.5,0.1,10\n", "--side"),
            ("invariance_deformed,error,side,classes\n0.4,0.1,28,10\n1.2,0.1,28,10\n", "row 2"),
            ("[{\"r_f\": 0.5}]", "error"),
            ("[", "JSON"),
            ("{}", "JSON"),
        ] {
            let message = read(text).err().map_or_else(String::new, |error| error.to_string());
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn other_settings_are_told() {
        let (known, _) = read("r_f,error,side,classes,cutoff\n0.5,0.1,28,10,3\n0.6,0.2,28,10,5\n0.7,0.2,28,100,3\n")
            .expect("a table");
        let told = differences(&known);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].1.contains("cutoff") && told[1].1.contains("classes"), "{told:?}");
    }
}
