//! The law of a run: the one that it was given, refitted as known errors arrive.
//!
//! All predictions of a run that rules look at come from one version of it; events stay as they were sent. A long run is predicted anew in
//! parts, so that nobody waits for it: from its last checkpoint back, while its rules wait.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::history::{COUNTED, measurement};
use super::{Journal, Writer};
use crate::error::Result;
use crate::event::Measurement;
use crate::evidence::{ErrorOf, of_measurement};
use crate::measure::{ChosenLaw, predict, predict_anew};
use crate::predict::calibrate::Known;
use crate::predict::refit::refitted;
use crate::predict::terms::Term;
use crate::predict::{Law, Prediction};

/// Every known error counts at once up to this many, and from there on whenever a twentieth more are known.
const EACH: u32 = 100;
/// So many of them count at most, the latest: what the daemon needs in memory must not grow with a run.
const MOST_KNOWN: u32 = 500;

/// So many checkpoints are predicted anew at once.
const PART: usize = 250;

/// What predicts a run's errors.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct RunLaw {
    /// What the run was given.
    chosen: Option<ChosenLaw>,
    /// Whether its known errors count.
    refit: bool,
    /// What it has become.
    own: Option<Law>,
    /// Versions of the run's own law there were.
    versions: u32,
    /// Errors that were known when it was last fitted.
    known: u32,
    /// Checkpoints of lesser numbers are predicted by an earlier version still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<i64>,
    /// More errors came since; they are taken in once all is predicted by this version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_stale: bool,
}

impl RunLaw {
    fn read(db: &Connection, run: i64) -> rusqlite::Result<Self> {
        let text: Option<String> =
            db.prepare_cached("SELECT law FROM runs WHERE id = ?1")?.query_row([run], |row| row.get(0))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    fn present(&self) -> Option<ChosenLaw> {
        let own = |law: &Law| {
            let force = self.chosen.as_ref().is_some_and(|chosen| chosen.force);
            ChosenLaw { law: law.clone(), explicit: false, force }
        };
        self.own.as_ref().map(own).or_else(|| self.chosen.clone())
    }
}

impl Journal {
    /// Gives a run its law, which counts the run's known errors if it may `refit`; predicts anew what was measured if that
    /// changes anything.
    ///
    /// # Errors
    /// `Journal` if it cannot be read or written.
    pub fn set_law(&mut self, run: i64, chosen: Option<&ChosenLaw>, refit: bool) -> Result<()> {
        self.write("predict anew in", |tx| {
            let old = RunLaw::read(tx, run)?;
            if (old.chosen.as_ref(), old.refit) == (chosen, refit) {
                return Ok(());
            }
            let law = RunLaw { chosen: chosen.cloned(), refit, own: None, ..old };
            law.predict_all(tx, run)
        })
        .map(|_| ())
    }

    /// Whether some of a run's checkpoints are still predicted by an earlier version of its law.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn is_behind(&self, run: i64) -> Result<bool> {
        self.reading(|db| is_behind(db, run))
    }
}

/// As [`Journal::is_behind`].
pub(super) fn is_behind(db: &Connection, run: i64) -> rusqlite::Result<bool> {
    Ok(RunLaw::read(db, run)?.before.is_some())
}

/// Predicts some more of a run that is behind; gives whether all of it is predicted by one version now.
pub(super) fn catch_up(tx: &Writer, run: i64) -> rusqlite::Result<bool> {
    let mut law = RunLaw::read(tx, run)?;
    law.predict_part(tx, run)?;
    law.write(tx, run)?;
    Ok(law.before.is_none())
}

/// Takes in the errors that came while a run was behind.
pub(super) fn refit_since(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let law = RunLaw::read(tx, run)?;
    if law.is_stale { law.take_in(tx, run, count_known(tx, run)?) } else { Ok(()) }
}

/// The run's checkpoints have other numbers now, from another journal.
pub(super) fn renumbered(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let law = RunLaw::read(tx, run)?;
    if law.before.is_some() { RunLaw { before: Some(i64::MAX), ..law }.write(tx, run) } else { Ok(()) }
}

/// Takes the known errors of a run into its law, and predicts all of it by the new version.
pub(super) fn refit(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let (law, count) = (RunLaw::read(tx, run)?, count_known(tx, run)?);
    if law.refit && law.is_due(count) { law.take_in(tx, run, count) } else { Ok(()) }
}

/// As [`refit`], whether or not enough errors are new: what is known of them changed, or which checkpoints count.
pub(super) fn refit_all(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let law = RunLaw::read(tx, run)?;
    if law.refit { law.predict_all(tx, run) } else { Ok(()) }
}

/// What the run's present law goes by first.
pub(super) fn goes_by(tx: &Writer, run: i64) -> rusqlite::Result<Option<Term>> {
    Ok(RunLaw::read(tx, run)?.present().and_then(|chosen| chosen.law.terms.first().copied()))
}

/// Has the run's present law predict a checkpoint: since that was taken the run may have been given another, or made its own.
pub(super) fn predict_by_present(tx: &Writer, run: i64, record: &mut Measurement) -> rusqlite::Result<()> {
    predict_anew(record, RunLaw::read(tx, run)?.present().as_ref());
    Ok(())
}

/// Keeps what a law makes of a checkpoint.
pub(super) fn keep_prediction(tx: &Writer, id: i64, prediction: Option<&Prediction>) -> rusqlite::Result<()> {
    let json = prediction.and_then(|prediction| serde_json::to_string(prediction).ok());
    tx.prepare_cached(
        "UPDATE checkpoints SET predicted_error = ?2, predicted_low = ?3, predicted_high = ?4, prediction = ?5 WHERE id = ?1",
    )?
    .execute(params![
        id,
        prediction.map(|prediction| prediction.error),
        prediction.and_then(|prediction| prediction.low),
        prediction.and_then(|prediction| prediction.high),
        json,
    ])
    .map(|_| ())
}

/// The run's last checkpoints with a known error, as last told, in training order.
fn known(tx: &Writer, run: i64) -> rusqlite::Result<Vec<Known>> {
    const ORDER: &str = "ORDER BY step DESC, epoch DESC, written DESC, id DESC";
    let sql = format!(
        "SELECT body, val_error FROM (SELECT id, step, epoch, written, outcome, val_error FROM checkpoints AS c
                                      WHERE c.run = ?1 AND state = 1 AND val_error IS NOT NULL
                                      AND {COUNTED} {ORDER} LIMIT {MOST_KNOWN}) JOIN events ON seq = outcome {ORDER}"
    );
    let mut query = tx.prepare_cached(&sql)?;
    let mut rows = query.query([run])?;
    let mut known = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(mut record) = measurement(&row.get::<_, String>(0)?) else { continue };
        record.metadata.val_error = row.get(1)?;
        known.extend(of_measurement("", &record, ErrorOf::ValError));
    }
    known.reverse();
    Ok(known)
}

fn count_known(tx: &Writer, run: i64) -> rusqlite::Result<u32> {
    let sql = "SELECT count(*) FROM checkpoints WHERE run = ?1 AND state = 1 AND val_error IS NOT NULL";
    tx.prepare_cached(sql)?.query_row([run], |row| row.get(0))
}

/// Whether an earlier version measured it, without the effective invariance that the law goes by: it keeps its prediction.
fn lacks(record: &Measurement, law: &Law) -> bool {
    // The first versions told no scores of a classifier at all.
    let is_classifier = record.model.outputs > 1 && record.model.output_axes.is_empty();
    let is_older = record.scores.as_ref().map_or(is_classifier, |scores| scores.classes.is_none());
    is_older && law.terms.contains(&Term::InvarianceDeformed)
}

impl RunLaw {
    fn is_due(&self, known: u32) -> bool {
        known <= EACH || known - known / 20 >= self.known
    }

    /// Counts the run's known errors, so many, and predicts all of it anew if that changes anything; later, while that goes on.
    fn take_in(mut self, tx: &Writer, run: i64, count: u32) -> rusqlite::Result<()> {
        self.is_stale = self.before.is_some();
        if !self.is_stale {
            self.known = count;
            if self.refit(&known(tx, run)?) {
                self.before = Some(i64::MAX);
                self.predict_part(tx, run)?;
            }
        }
        self.write(tx, run)
    }

    /// As it is fitted on what is known now, predicts all of the run anew.
    fn predict_all(mut self, tx: &Writer, run: i64) -> rusqlite::Result<()> {
        self.known = count_known(tx, run)?;
        self.refit(&known(tx, run)?);
        (self.before, self.is_stale) = (Some(i64::MAX), false);
        self.predict_part(tx, run)?;
        self.write(tx, run)
    }

    /// Gives whether anything changed.
    fn refit(&mut self, known: &[Known]) -> bool {
        let base = self.chosen.as_ref().map(|chosen| &chosen.law);
        let own = refitted(known, base).filter(|_| self.refit);
        let own = own.map(|law| Law { version: self.versions + 1, ..law });
        let is_same = match (&own, &self.own) {
            (Some(new), Some(old)) => new.posterior == old.posterior,
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            self.versions += u32::from(own.is_some());
            self.own = own;
        }
        !is_same
    }

    /// Predicts the next part of what was measured of the run.
    fn predict_part(&mut self, tx: &Writer, run: i64) -> rusqlite::Result<()> {
        let present = self.present();
        let sql = format!(
            "SELECT id, body FROM (SELECT id, outcome FROM checkpoints WHERE run = ?1 AND state = 1 AND id < ?2
                                   ORDER BY id DESC LIMIT {PART}) JOIN events ON seq = outcome ORDER BY id DESC"
        );
        let mut query = tx.prepare_cached(&sql)?;
        let mut rows = query.query(params![run, self.before])?;
        let (mut last, mut count) = (None, 0);
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            (last, count) = (Some(id), count + 1);
            let Some(record) = measurement(&row.get::<_, String>(1)?) else { continue };
            if present.as_ref().is_some_and(|chosen| lacks(&record, &chosen.law)) {
                continue;
            }
            keep_prediction(tx, id, predict(&record, present.as_ref()).as_ref())?;
        }
        self.before = last.filter(|_| count == PART);
        Ok(())
    }

    fn write(&self, tx: &Writer, run: i64) -> rusqlite::Result<()> {
        let text = serde_json::to_string(self).unwrap_or_default();
        tx.prepare_cached("UPDATE runs SET law = ?2 WHERE id = ?1")?.execute(params![run, text]).map(|_| ())
    }
}
