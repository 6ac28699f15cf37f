//! What became of a checkpoint: exactly one outcome for each content under the same measuring settings.

use rusqlite::{OptionalExtension as _, params};

use super::attempt::notice;
use super::history::{column, measurement};
use super::law::{keep_prediction, predict_by_present, refit};
use super::past::note_law;
use super::queue::{Job, Sighting, insert, skip, waits};
use super::series::place;
use super::strips;
use super::verdict::judge_run;
use super::{Journal, Line, Writer};
use crate::error::Result;
use crate::event::{CheckpointName, Kind, Measurement, Severity, Skip, Strip};
use crate::path;
use crate::plan::Resolved;
use crate::stop::Rule;

/// How many of a run's latest measurements keep their replicates; the best one always does.
const KEPT_REPLICATES: i64 = 1000;

/// What became of a checkpoint.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was measured under settings of this key.
    Measured {
        /// Key of settings and probe images.
        settings: String,
        /// With its replicates.
        measurement: Box<Measurement>,
        /// The images whose answers move most, where there are any to show.
        strip: Option<Box<Strip>>,
    },
    /// It could not be measured.
    Failed {
        /// Hash of the content and key of the settings, as far as a worker came.
        content: Option<(String, String)>,
        /// One line.
        reason: String,
        /// False if the network's outputs are NaN or infinite.
        is_finite: bool,
    },
    /// It will not be measured.
    Skipped(Skip),
    /// The same content was measured before under the same settings.
    Unchanged {
        /// Hash of the content.
        content: String,
        /// Key of settings and probe images.
        settings: String,
    },
}

impl Outcome {
    fn content(&self) -> Option<(&str, &str)> {
        match self {
            Self::Measured { settings, measurement, .. } => Some((&measurement.model.sha256, settings)),
            Self::Failed { content: Some((content, settings)), .. } | Self::Unchanged { content, settings } => {
                Some((content, settings))
            }
            Self::Failed { content: None, .. } | Self::Skipped(_) => None,
        }
    }
}

impl Journal {
    /// Writes down what became of `job`, and what `rules` say of its run now; its measured event carries the error that a
    /// client told, if one did. Nothing, if its run was forgotten meanwhile.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn finish(&mut self, job: &Job, outcome: &Outcome, rules: Option<&[Rule]>) -> Result<Vec<Line>> {
        let ((), lines) = self.write("write an outcome to", |tx| {
            if !waits(tx, job)? {
                return Ok(());
            }
            match (outcome, outcome.content()) {
                // Workers are told of the latest contents only.
                (_, Some((content, settings))) if is_known(tx, job, content, settings)? => {
                    unchanged(tx, job, content, settings)?;
                }
                (Outcome::Measured { settings, measurement, strip }, _) => {
                    strips::keep(tx, job, strip.as_deref())?;
                    if measured(tx, job, settings, measurement)?.is_some() {
                        refit(tx, job.run)?;
                    }
                }
                (Outcome::Failed { content, reason, is_finite }, _) => {
                    failed(tx, job, content.clone(), reason, *is_finite)?;
                }
                // What was known is forgotten, or tried again: it is measured.
                (Outcome::Unchanged { .. }, _) => {
                    tx.prepare_cached("UPDATE checkpoints SET due = 0 WHERE id = ?1")?.execute([job.id])?;
                }
                (Outcome::Skipped(reason), _) => skip(tx, job, *reason)?,
            }
            judge_run(tx, job.run, rules)?;
            strips::prune(tx, job.run)
        })?;
        Ok(lines)
    }

    /// Writes down that what was seen will not be measured, for this reason: the journal does not take it as it takes others.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn set_aside(&mut self, sighting: &Sighting, reason: &str) -> Result<Vec<Line>> {
        let ((), lines) =
            self.write("set a checkpoint aside in", |tx| failed(tx, &insert(tx, sighting)?, None, reason, true))?;
        Ok(lines)
    }

    /// Contents of `job`'s file that were measured or failed, each with its settings; the latest.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn known_contents(&self, job: &Job) -> Result<Vec<(String, String)>> {
        let sql = "SELECT content, settings FROM checkpoints WHERE run = ?1 AND path = ?2 AND state IN (1, 3)
                   AND content IS NOT NULL ORDER BY current DESC LIMIT 100";
        self.reading(|db| {
            let mut query = db.prepare_cached(sql)?;
            let rows =
                query.query_map(params![job.run, path::text(&job.path)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })
    }

    /// The images and draws that the precision of plan `key` came to in this run, be it before other settings were tried.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn resolved(&self, run: i64, key: &str) -> Result<Option<Resolved>> {
        let settled = "SELECT resolved FROM runs WHERE id = ?1 AND resolved_for = ?2";
        let measured = "SELECT body FROM checkpoints AS c JOIN events ON events.seq = c.outcome
                        WHERE c.run = ?1 AND plan = ?2 AND state = 1 AND r_f IS NOT NULL LIMIT 1";
        let read = |sql| -> Result<Option<String>> {
            self.reading(|db| db.prepare_cached(sql)?.query_row(params![run, key], |row| row.get(0)).optional())
        };
        if let Some(text) = read(settled)? {
            return Ok(serde_json::from_str(&text).ok());
        }
        let record = read(measured)?.and_then(|body| measurement(&body));
        Ok(record.map(|record| Resolved { images: record.probe.images, draws: record.settings.draws }))
    }

    /// Keeps what a precision came to.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn set_resolved(&mut self, run: i64, key: &str, resolved: Resolved) -> Result<()> {
        let text = serde_json::to_string(&resolved).unwrap_or_default();
        let sql = "UPDATE runs SET resolved_for = ?2, resolved = ?3 WHERE id = ?1";
        self.write("settle a precision in", |tx| tx.execute(sql, params![run, key, text])).map(|_| ())
    }

    /// Keeps an error that a client told, for a checkpoint that is there or one that comes later, and what `rules` say then.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn annotate(
        &mut self,
        run: i64,
        checkpoint: &CheckpointName,
        val_error: f64,
        rules: Option<&[Rule]>,
    ) -> Result<Vec<Line>> {
        let ((), lines) = self.write("annotate", |tx| {
            tx.prepare_cached("INSERT OR REPLACE INTO annotations (run, checkpoint, val_error) VALUES (?1, ?2, ?3)")?
                .execute(params![run, annotation_key(checkpoint), val_error])?;
            let update = match checkpoint {
                CheckpointName::Path(path) => tx
                    .prepare_cached("UPDATE checkpoints SET val_error = ?3 WHERE run = ?1 AND path = ?2")?
                    .execute(params![run, path, val_error]),
                CheckpointName::Step(step) => tx
                    .prepare_cached("UPDATE checkpoints SET val_error = ?3 WHERE run = ?1 AND step = ?2")?
                    .execute(params![run, column(*step), val_error]),
            };
            update?;
            tx.append(run, &Kind::Annotated { checkpoint: checkpoint.clone(), val_error })?;
            refit(tx, run)?;
            judge_run(tx, run, rules)
        })?;
        Ok(lines)
    }
}

fn annotation_key(checkpoint: &CheckpointName) -> String {
    match checkpoint {
        CheckpointName::Path(path) => format!("path {path}"),
        CheckpointName::Step(step) => format!("step {step}"),
    }
}

/// Gives the error that is known of it.
fn measured(tx: &Writer, job: &Job, settings: &str, measurement: &Measurement) -> rusqlite::Result<Option<f64>> {
    let mut record = measurement.clone();
    let replicates = (record.replicates_log_r_f.take().unwrap_or_default(), record.replicates_invariance.take());
    let text = path::text(&job.path);
    let told = "SELECT val_error FROM annotations WHERE run = ?1 AND checkpoint IN (?2, ?3) LIMIT 1";
    let keys = (
        annotation_key(&CheckpointName::Path(text)),
        record.metadata.step.map(|step| annotation_key(&CheckpointName::Step(step))),
    );
    let told: Option<f64> =
        tx.prepare_cached(told)?.query_row(params![job.run, keys.0, keys.1], |row| row.get(0)).optional()?;
    record.metadata.val_error = told.or(record.metadata.val_error);
    record.backend.host.clone_from(&job.host);
    predict_by_present(tx, job.run, &mut record)?;

    let step = record.metadata.step.map(column);
    let r_f = record.r_f.as_ref();
    let invariance = record.scores.and_then(|scores| scores.invariance).map(|invariance| invariance.deformed);
    notice(tx, job, step, &record.model.sha256, settings)?;
    let count = |severity| record.findings.iter().filter(|finding| finding.severity == severity).count() as i64;
    let event = Kind::Measured { measurement: Box::new(record.clone()) };
    let seq = tx.append(job.run, &event)?;
    tx.prepare_cached(
        "UPDATE checkpoints SET state = 1, content = ?2, settings = ?3, outcome = ?4, current = ?4, step = ?5, epoch = ?6,
         r_f = ?7, d_f = ?8, g_f = ?9, probe_error = ?10, val_error = ?11, r_f_low = ?12, r_f_high = ?13,
         notes = ?14, doubts = ?15, wrongs = ?16, invariance = ?17, invariance_low = ?18, invariance_high = ?19,
         host = ?20, reason = NULL WHERE id = ?1",
    )?
    .execute(params![
        job.id,
        record.model.sha256,
        settings,
        seq,
        step,
        record.metadata.epoch,
        r_f.map(|r_f| r_f.value),
        record.d_f.as_ref().map(|d_f| d_f.value),
        record.g_f.as_ref().map(|g_f| g_f.value),
        record.probe_error,
        record.metadata.val_error,
        r_f.map(|r_f| r_f.low),
        r_f.map(|r_f| r_f.high),
        count(Severity::Note),
        count(Severity::Doubt),
        count(Severity::Wrong),
        invariance.map(|invariance| invariance.value),
        invariance.map(|invariance| invariance.low),
        invariance.map(|invariance| invariance.high),
        job.host,
    ])?;
    keep_prediction(tx, job.id, record.prediction.as_ref())?;
    note_law(tx, job.run, step, seq, record.prediction.as_ref())?;
    place(tx, (job.run, &job.path), job.id, step)?;
    keep_replicates(tx, job, &replicates.0, replicates.1.as_deref())?;
    Ok(record.metadata.val_error)
}

fn keep_replicates(tx: &Writer, job: &Job, log_r_f: &[f32], invariance: Option<&[f32]>) -> rusqlite::Result<()> {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let sql = "INSERT OR REPLACE INTO replicates (run, checkpoint, log_r_f, invariance) VALUES (?1, ?2, ?3, ?4)";
    tx.prepare_cached(sql)?.execute(params![job.run, job.id, bytes(log_r_f), invariance.map(bytes)])?;
    tx.prepare_cached(
        "DELETE FROM replicates WHERE run = ?1
         AND checkpoint <= (SELECT checkpoint FROM replicates WHERE run = ?1 ORDER BY checkpoint DESC LIMIT 1 OFFSET ?2)
         AND checkpoint <> (SELECT id FROM checkpoints WHERE run = ?1 AND state = 1 AND r_f IS NOT NULL AND step IS NOT 0
                           ORDER BY r_f LIMIT 1)",
    )?
    .execute(params![job.run, KEPT_REPLICATES])
    .map(|_| ())
}

fn failed(
    tx: &Writer,
    job: &Job,
    content: Option<(String, String)>,
    reason: &str,
    is_finite: bool,
) -> rusqlite::Result<()> {
    let seq = tx.append(job.run, &Kind::Failed { path: job.path.clone(), reason: reason.to_owned() })?;
    let (content, settings) = content.unzip();
    tx.prepare_cached(
        "UPDATE checkpoints SET state = 3, content = ?2, settings = ?3, outcome = ?4, current = ?4, reason = ?5,
         is_finite = ?6, host = ?7 WHERE id = ?1",
    )?
    .execute(params![job.id, content, settings, seq, reason, is_finite, job.host])
    .map(|_| ())
}

/// The earlier row of this content stands for it again; it is the newest, its file is known by its new version, and it belongs to the
/// attempt that wrote that.
fn unchanged(tx: &Writer, job: &Job, content: &str, settings: &str) -> rusqlite::Result<()> {
    let text = path::text(&job.path);
    let known =
        "SELECT step FROM checkpoints WHERE run = ?1 AND path = ?2 AND content = ?3 AND settings = ?4 AND state = 1";
    let step = tx.prepare_cached(known)?.query_row(params![job.run, text, content, settings], |row| row.get(0));
    notice(tx, job, step.optional()?.flatten(), content, settings)?;
    let own = "SELECT written, attempt FROM checkpoints WHERE id = ?1";
    let (written, attempt): (i64, i64) =
        tx.prepare_cached(own)?.query_row([job.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let seq = tx.append(job.run, &Kind::Skipped { path: job.path.clone(), reason: Skip::Unchanged })?;
    tx.prepare_cached("DELETE FROM checkpoints WHERE id = ?1")?.execute([job.id])?;
    let earlier = tx
        .prepare_cached(
            "UPDATE checkpoints SET fingerprint = ?3, plan = ?4, current = ?5, written = ?8, attempt = ?9
             WHERE run = ?1 AND path = ?2 AND content = ?6 AND settings = ?7 AND state IN (1, 3)
             RETURNING id, step, state",
        )?
        .query_row(params![job.run, text, job.fingerprint, job.plan, seq, content, settings, written, attempt], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    match earlier {
        Some((id, step, 1)) => place(tx, (job.run, &job.path), id, step),
        _ => Ok(()),
    }
}

fn is_known(tx: &Writer, job: &Job, content: &str, settings: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM checkpoints WHERE run = ?1 AND path = ?2 AND content = ?3 AND settings = ?4
               AND state IN (1, 3)";
    tx.prepare_cached(sql)?.exists(params![job.run, path::text(&job.path), content, settings])
}
