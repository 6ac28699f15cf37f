//! A run as charts draw it: columns over its checkpoints, thinned when they are written, so that reading costs what is drawn.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use schemars::JsonSchema;
use serde::Serialize;

use super::history::{LAST_STEP, PRESENT};
use super::past::{Attempt, attempts};
use super::{Journal, Writer};
use crate::error::Result;
use crate::event::{Finding, Severity};
use crate::path;

/// The latest checkpoints, which are always drawn.
const LATEST: usize = 16;

/// Measured checkpoints in training order, one entry a column each; null where a value is unknown, errors are fractions.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "each is the record's field of its name")]
pub struct Series {
    /// The run's number.
    pub id: i64,
    /// The run's path.
    pub run: String,
    /// Numbers within the journal.
    pub checkpoint: Vec<i64>,
    /// Files, from the run's directory on.
    pub file: Vec<String>,
    /// When they were written, seconds since 1970.
    pub time: Vec<f64>,
    pub step: Vec<Option<i64>>,
    /// Which of the run's trainings wrote them.
    pub attempt: Vec<i64>,
    pub epoch: Vec<Option<f64>>,
    pub r_f: Vec<Option<f64>>,
    pub r_f_low: Vec<Option<f64>>,
    pub r_f_high: Vec<Option<f64>>,
    pub d_f: Vec<Option<f64>>,
    pub g_f: Vec<Option<f64>>,
    pub predicted_error: Vec<Option<f64>>,
    pub predicted_low: Vec<Option<f64>>,
    pub predicted_high: Vec<Option<f64>>,
    pub val_error: Vec<Option<f64>>,
    pub probe_error: Vec<Option<f64>>,
    pub invariance: Vec<Option<f64>>,
    pub invariance_low: Vec<Option<f64>>,
    pub invariance_high: Vec<Option<f64>>,
    /// What is wrong or doubtful about the latest checkpoint.
    pub findings: Vec<Finding>,
    /// Trainings that began again.
    pub attempts: Vec<Attempt>,
}

/// Training order.
type Place = (Option<i64>, Option<u64>, i64, i64);

/// What a checkpoint may be best by, the best evidence first, as rules have it: a column, and how its best come first. Each has an index.
/// What is known without labels says nothing of a network before training.
pub(super) const BEST_FIRST: [(&str, &str); 5] = [
    ("val_error", "state = 1 AND val_error IS NOT NULL ORDER BY val_error"),
    ("probe_error", "state = 1 AND probe_error IS NOT NULL ORDER BY probe_error"),
    ("predicted_error", "state = 1 AND predicted_error IS NOT NULL AND step IS NOT 0 ORDER BY predicted_error"),
    ("invariance", "state = 1 AND invariance IS NOT NULL AND step IS NOT 0 ORDER BY invariance DESC"),
    ("r_f", "state = 1 AND r_f IS NOT NULL AND step IS NOT 0 ORDER BY r_f"),
];

impl Journal {
    /// A run's measured checkpoints: all, or at most `most` of them at even distances, then the latest and the best by each evidence as
    /// well.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn series(&self, run: i64, most: usize) -> Result<Series> {
        const COLUMNS: &str =
            "SELECT step, epoch, written, id, stride, path, r_f, r_f_low, r_f_high, d_f, g_f, predicted_error,
             predicted_low, predicted_high, val_error, probe_error, invariance, invariance_low, invariance_high, attempt
             FROM checkpoints WHERE run = ?1 AND stride IS NOT NULL";
        self.reading(|db| {
            let mut points = BTreeMap::<Place, Point>::new();
            let take = |which: &str, most: usize| -> rusqlite::Result<Vec<Point>> {
                let mut query = db.prepare_cached(&format!("{COLUMNS} {which} LIMIT ?2"))?;
                query.query_map(params![run, most as i64], point)?.collect()
            };
            let mut even = take("ORDER BY stride DESC", most.saturating_add(1))?;
            if even.len() > most {
                // What there is of the last stride is only the beginning of the run.
                let last = even.last().map_or(0, |point| point.stride);
                even.retain(|point| point.stride > last);
            }
            let latest = take("ORDER BY step DESC", LATEST)?;
            let best = BEST_FIRST.iter().map(|(_, best_first)| take(&format!("AND {best_first}"), 1));
            let best = best.collect::<rusqlite::Result<Vec<_>>>()?;
            let all = even.into_iter().chain(latest).chain(best.into_iter().flatten());
            points.extend(all.map(|point| (point.place, point)));

            let path = db.prepare_cached("SELECT path FROM runs WHERE id = ?1")?.query_row([run], |row| row.get(0))?;
            let mut findings = latest_findings(db, run)?;
            findings.retain(|finding| finding.severity > Severity::Note);
            let attempts = attempts(db, run)?;
            let mut series = Series { id: run, run: path, findings, attempts, ..Series::default() };
            for point in points.into_values() {
                series.push(&point);
            }
            Ok(series)
        })
    }
}

/// What was found about a run's latest checkpoint.
pub(super) fn latest_findings(db: &Connection, run: i64) -> rusqlite::Result<Vec<Finding>> {
    // By the index of steps, which the plus sign sees to: by that of strides it would be the whole run.
    let sql = format!(
        "SELECT json_extract(body, '$.measurement.findings') FROM checkpoints AS c JOIN events ON events.seq = c.outcome
         WHERE c.run = ?1 AND +stride IS NOT NULL AND {PRESENT} ORDER BY step DESC, outcome DESC LIMIT 1"
    );
    let text: Option<Option<String>> = db.prepare_cached(&sql)?.query_row([run], |row| row.get(0)).optional()?;
    Ok(text.flatten().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

struct Point {
    place: Place,
    stride: i64,
    epoch: Option<f64>,
    path: String,
    attempt: i64,
    values: [Option<f64>; 13],
}

fn point(row: &Row) -> rusqlite::Result<Point> {
    let epoch: Option<f64> = row.get(1)?;
    let mut values = [None; 13];
    for (column, value) in values.iter_mut().enumerate() {
        *value = row.get(6 + column)?;
    }
    // Of positive numbers, the bits have their order.
    Ok(Point {
        place: (row.get(0)?, epoch.map(f64::to_bits), row.get(2)?, row.get(3)?),
        stride: row.get(4)?,
        epoch,
        path: row.get(5)?,
        attempt: row.get(19)?,
        values,
    })
}

impl Series {
    fn push(&mut self, point: &Point) {
        let (step, _, written, id) = point.place;
        self.checkpoint.push(id);
        self.file.push(within(&self.run, &point.path).to_owned());
        self.time.push((written as f64 / 1e9).round());
        self.step.push(step);
        self.epoch.push(point.epoch);
        self.attempt.push(point.attempt);
        let columns = [
            &mut self.r_f,
            &mut self.r_f_low,
            &mut self.r_f_high,
            &mut self.d_f,
            &mut self.g_f,
            &mut self.predicted_error,
            &mut self.predicted_low,
            &mut self.predicted_high,
            &mut self.val_error,
            &mut self.probe_error,
            &mut self.invariance,
            &mut self.invariance_low,
            &mut self.invariance_high,
        ];
        for (column, value) in columns.into_iter().zip(point.values) {
            column.push(value.map(rounded));
        }
    }
}

/// A file of the run as people name it: from the run's directory on.
pub fn within<'a>(run: &str, path: &'a str) -> &'a str {
    path.strip_prefix(run).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
}

/// To five digits: more cannot be drawn, and would be sent.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let places = 4 - value.abs().log10().floor() as i32;
    // Powers of ten up to 22 are exact: of the quotient and the product, the nearest number to the decimal one.
    let power = 10f64.powi(places.abs());
    if places < 0 { (value / power).round() * power } else { (value * power).round() / power }
}

/// Gives the checkpoint its place in the run's series: that of the content that counted for its step, or a new one.
pub(super) fn place(tx: &Writer, (run, file): (i64, &Path), id: i64, step: Option<i64>) -> rusqlite::Result<()> {
    // Each found by its own index: by stride it would be the whole run.
    let text = path::text(file);
    let (twins, of): (_, &dyn ToSql) = match &step {
        Some(LAST_STEP) => ("step = 0x7fffffffffffffff AND path = ?3", &text),
        Some(step) => ("step = ?3", step),
        None => ("step IS NULL AND path = ?3", &text),
    };
    let twins = format!(
        "UPDATE checkpoints SET stride = NULL WHERE run = ?1 AND +state = 1 AND id <> ?2 AND +stride IS NOT NULL AND {twins}"
    );
    tx.prepare_cached(&twins)?.execute(params![run, id, of])?;
    let number = "(SELECT count FROM counts WHERE run = ?1 AND state = 1)";
    let place = format!("UPDATE checkpoints SET stride = {number} & -{number} WHERE id = ?2 AND stride IS NULL");
    tx.prepare_cached(&place)?.execute(params![run, id]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn numbers_are_sent_with_five_digits() {
        for (value, text) in [
            (0.123_456_789, "0.12346"),
            (-2.0 / 3.0, "-0.66667"),
            (99_999.6, "100000.0"),
            (1_234_567.0, "1234600.0"),
            (0.3 + 0.000_004, "0.3"),
            (1.234_56e-12, "1.2346e-12"),
            (6.022_14e23, "6.0221e+23"),
            (0.0, "0.0"),
        ] {
            assert_eq!(serde_json::to_string(&rounded(value)).expect("a number"), text);
        }
    }
}
