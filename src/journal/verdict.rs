//! What the rules see of a run, and what they say of it: written with the outcome that it follows from.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::Value;

use super::history::{COUNTED, PRESENT, State, floats};
use super::law::{catch_up, goes_by, is_behind, refit_since};
use super::peers::Beside;
use super::waiting::TAKEN;
use super::{Journal, Line, Writer};
use crate::error::Result;
use crate::estimate::{Comparison, compare};
use crate::event::Kind;
use crate::predict::terms::Term;
use crate::stop::{Mark, Monitor, Point, Rule, RuleKind, Scores, Stop, Verdict, best, judge, judge_among};

impl Journal {
    /// What rules see of a run, in training order: the measurements of its present settings, and networks whose outputs
    /// were not finite.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn points(&self, run: i64) -> Result<Vec<Point>> {
        self.reading(|db| points(db, run, &[]))
    }

    /// What the rules said last of a run, and the event of its stop, if it is stopped.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn verdicts(&self, run: i64) -> Result<(Vec<Verdict>, Option<Value>)> {
        let sql = "SELECT verdicts, body FROM runs LEFT JOIN events ON events.seq = stopped WHERE runs.id = ?1";
        let row = |row: &Row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?));
        let (verdicts, stop) =
            self.reading(|db| db.prepare_cached(sql)?.query_row([run], row).optional())?.unwrap_or_default();
        let verdicts = verdicts.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok((verdicts, stop.and_then(|text| serde_json::from_str(&text).ok())))
    }

    /// The best checkpoint, and what it is best by: as the run's first rule has it; without a rule, by the best evidence that there
    /// is, a known error before all.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn best(&self, run: i64) -> Result<Option<(Monitor, Mark)>> {
        let (verdicts, _) = self.verdicts(run)?;
        let judged = verdicts.into_iter().next().and_then(|verdict| Some((verdict.monitor, verdict.best?)));
        if judged.is_some() { Ok(judged) } else { Ok(best(&self.points(run)?)) }
    }

    /// Overrules the stop of a run: what was measured until now stops it no more, and its patience begins anew. Gives whether it was
    /// stopped.
    ///
    /// # Errors
    /// `Journal` if it cannot be read or written.
    pub fn resume(&mut self, run: i64) -> Result<(bool, Vec<Line>)> {
        self.write("resume a run in", |tx| {
            let sql = "SELECT 1 FROM runs WHERE id = ?1 AND stopped IS NOT NULL";
            if !tx.prepare_cached(sql)?.exists([run])? {
                return Ok(false);
            }
            let seq = tx.append(run, &Kind::Resumed)?;
            let sql = "UPDATE runs SET stopped = NULL, told = 0, resumed = ?2 WHERE id = ?1";
            tx.prepare_cached(sql)?.execute(params![run, seq])?;
            judge_by_stored(tx, run)?;
            Ok(true)
        })
    }

    /// Judges a run whose rules or law may be new.
    ///
    /// # Errors
    /// `Journal` if it cannot be read or written.
    pub fn judge(&mut self, run: i64, rules: Option<&[Rule]>) -> Result<Vec<Line>> {
        self.write("judge a run in", |tx| judge_run(tx, run, rules)).map(|((), lines)| lines)
    }

    /// Predicts some more of a run that is behind its law, and judges it by `rules` once all is predicted by one version.
    ///
    /// # Errors
    /// `Journal` if it cannot be read or written.
    pub fn catch_up(&mut self, run: i64, rules: Option<&[Rule]>) -> Result<Vec<Line>> {
        let ((), lines) = self.write("predict anew in", |tx| {
            if catch_up(tx, run)? {
                judge_run(tx, run, rules)?;
                refit_since(tx, run)?;
            }
            Ok(())
        })?;
        Ok(lines)
    }

    /// Runs whose stop was not told to `--on-stop` yet.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn untold_stops(&self) -> Result<Vec<(i64, String, String)>> {
        let sql =
            "SELECT runs.id, runs.path, events.body FROM runs JOIN events ON events.seq = runs.stopped WHERE told = 0";
        self.reading(|db| {
            let mut query = db.prepare_cached(sql)?;
            query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        })
    }

    /// The stop of a run was told.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn set_told(&mut self, run: i64) -> Result<()> {
        self.write("note a stop in", |tx| tx.execute("UPDATE runs SET told = 1 WHERE id = ?1", [run])).map(|_| ())
    }
}

/// Keeps what `rules` say of a run; the first stop is journalled as an event, and stays until the run has no rules. What was
/// said before holds while they are not known, and while some of the run is predicted by an earlier version of its law.
pub(super) fn judge_run(tx: &Writer, run: i64, rules: Option<&[Rule]>) -> rusqlite::Result<()> {
    let Some(rules) = rules else { return Ok(()) };
    if rules.is_empty() {
        let sql = "UPDATE runs SET rules = NULL, verdicts = NULL, stopped = NULL, told = 0 WHERE id = ?1";
        return tx.prepare_cached(sql)?.execute([run]).map(|_| ());
    }
    if is_behind(tx, run)? {
        return Ok(());
    }
    let monitors: Vec<_> = rules.iter().map(|rule| rule.monitor).collect();
    let points = points(tx, run, &monitors)?;
    let settled = rules.iter().filter(|rule| rule.kind != RuleKind::Patience).map(|rule| rule.on(&points).monitor);
    let beside = Beside::read(tx, run, settled)?;
    let judge = |rule: &Rule| {
        if rule.kind == RuleKind::Patience {
            let by = rule.confidence.and_then(|_| replicated(tx, run, rule.monitor).ok()?);
            return judge(rule, &points, &|first, second, level| paired(tx, by?, first, second, level).ok()?);
        }
        let rule = rule.on(&points);
        judge_among(&rule, &points, beside.peers(rule.monitor))
    };
    let in_hand = "SELECT min(step) FROM checkpoints WHERE run = ?1 AND state = 0 AND due = ?2";
    let in_hand: Option<i64> = tx.prepare_cached(in_hand)?.query_row(params![run, TAKEN], |row| row.get(0))?;
    // An earlier checkpoint that another worker has in hand may yet be an improvement.
    let is_early = |stop: &Stop| in_hand.zip(stop.at.step).is_some_and(|(first, at)| (first as u64) < at);
    let verdicts = rules.iter().map(judge);
    let verdicts: Vec<_> =
        verdicts.map(|said| Verdict { stop: said.stop.filter(|stop| !is_early(stop)), ..said }).collect();
    let (rules_text, verdicts_text) = (serde_json::to_string(rules), serde_json::to_string(&verdicts));
    let values = params![run, rules_text.unwrap_or_default(), verdicts_text.unwrap_or_default()];
    tx.prepare_cached("UPDATE runs SET rules = ?2, verdicts = ?3 WHERE id = ?1")?.execute(values)?;

    let stopped: Option<i64> =
        tx.prepare_cached("SELECT stopped FROM runs WHERE id = ?1")?.query_row([run], |row| row.get(0))?;
    let stop = rules.iter().zip(verdicts).find_map(|(rule, verdict)| Some((rule, verdict.best, verdict.stop?)));
    if let (None, Some((rule, best, Stop { reason, at, compared }))) = (stopped, stop) {
        let seq = tx.append(run, &Kind::Stop { reason, at, best, rule: rule.clone(), compared })?;
        tx.prepare_cached("UPDATE runs SET stopped = ?2 WHERE id = ?1")?.execute(params![run, seq])?;
    }
    Ok(())
}

/// Judges a run by the rules that it was judged by last.
pub(super) fn judge_by_stored(tx: &Writer, run: i64) -> rusqlite::Result<()> {
    let sql = "SELECT rules FROM runs WHERE id = ?1";
    let text: Option<String> = tx.prepare_cached(sql)?.query_row([run], |row| row.get(0))?;
    let rules = text.and_then(|text| serde_json::from_str::<Vec<Rule>>(&text).ok());
    judge_run(tx, run, rules.as_deref())
}

/// Scores that no column holds, in a checkpoint's record.
const SCORES: &str =
    "(SELECT json_extract(body, '$.measurement.scores.confidence.clean') FROM events WHERE seq = outcome),
    (SELECT json_extract(body, '$.measurement.scores.agreement.deformed') FROM events WHERE seq = outcome)";

/// Those of the latest attempt. What of `monitors` no column holds is read from the records.
pub(super) fn points(db: &Connection, run: i64, monitors: &[Monitor]) -> rusqlite::Result<Vec<Point>> {
    let scores = if monitors.iter().any(|monitor| monitor.is_in_record_only()) { SCORES } else { "NULL, NULL" };
    let sql = format!(
        "SELECT id, path, step, r_f, d_f, g_f, predicted_error, probe_error, val_error, is_finite, state, invariance,
         outcome <= (SELECT resumed FROM runs WHERE id = ?1), {scores}
         FROM checkpoints AS c WHERE run = ?1 AND (state = 1 OR (state = 3 AND is_finite = 0)) AND {COUNTED} AND {PRESENT}
         AND (settings IS NULL OR settings = (SELECT settings FROM checkpoints WHERE run = ?1 AND state = 1
                                              ORDER BY current DESC LIMIT 1) OR state = 3)
         ORDER BY step, epoch, written, id"
    );
    let point = |row: &Row| {
        let is_measured = row.get::<_, i64>(10)? == State::Measured as i64;
        let r_f: Option<f64> = row.get(3)?;
        Ok(Point {
            id: row.get(0)?,
            path: row.get(1)?,
            step: row.get::<_, Option<i64>>(2)?.map(|step| step as u64),
            // Measured without a value: undefined.
            r_f: r_f.or(is_measured.then_some(f64::NAN)),
            d_f: row.get(4)?,
            g_f: row.get(5)?,
            scores: Scores { invariance: row.get(11)?, confidence: row.get(13)?, agreement: row.get(14)? },
            predicted_error: row.get(6)?,
            probe_error: row.get(7)?,
            val_error: row.get(8)?,
            is_finite: row.get(9)?,
            is_overruled: row.get::<_, Option<bool>>(12)?.unwrap_or(false),
        })
    };
    db.prepare_cached(&sql)?.query_map([run], point)?.collect()
}

/// Of what the replicates tell whether `monitor` improved: of a predicted error, what the run's law goes by.
fn replicated(tx: &Writer, run: i64, monitor: Monitor) -> rusqlite::Result<Option<Term>> {
    Ok(match monitor {
        Monitor::RF => Some(Term::RF),
        Monitor::Invariance => Some(Term::InvarianceDeformed),
        Monitor::PredictedError => goes_by(tx, run)?,
        _ => None,
    })
}

/// Paired comparison of two checkpoints whose replicates are kept: first less second, log `R_f` or effective invariance.
fn paired(db: &Connection, by: Term, first: i64, second: i64, level: f64) -> rusqlite::Result<Option<Comparison>> {
    let (value, replicates) = match by {
        Term::RF => ("r_f", "log_r_f"),
        Term::InvarianceDeformed => ("c.invariance", "r.invariance"),
        _ => return Ok(None),
    };
    let sql = format!(
        "SELECT {value}, {replicates} FROM checkpoints AS c JOIN replicates AS r ON r.run = c.run AND r.checkpoint = c.id
         WHERE c.id = ?1 AND {value} > 0 AND {replicates} IS NOT NULL"
    );
    let load = |id: i64| {
        let row = |row: &Row| Ok((row.get::<_, f64>(0)?, floats(row.get_ref(1)?.as_blob()?)));
        db.prepare_cached(&sql)?.query_row([id], row).optional()
    };
    let (Some(first), Some(second)) = (load(first)?, load(second)?) else { return Ok(None) };
    let scale = |value: f64| if by == Term::RF { value.ln() } else { value };
    Ok(compare((scale(first.0), &first.1), (scale(second.0), &second.1), level).ok())
}
