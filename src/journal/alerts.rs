//! Alerts of a run: since when each holds, what was raised, and what was told.

use rusqlite::{OptionalExtension as _, Row, params};

use super::history::State;
use super::series::latest_findings;
use super::verdict::points;
use super::{Journal, Line, Writer};
use crate::alert::{Alert, Cause, On, Seen, Standing};
use crate::error::Result;
use crate::event::Kind;

/// What `told` is once everybody was told; below that, a bit for each way that was told.
pub const ALL_TOLD: u8 = 128;

/// How often an alert that holds is looked at until it is due, milliseconds: the clock may be set back.
const LOOK: i64 = 60_000;
/// How many earlier times of an alert wait to be told; of those between them and the latest only the number is told.
const MOST_WAITING: i64 = 16;
/// The alert's key in a row: behind it, in rows of earlier times that are to be told, are a line break and the event's number.
const KEY: &str = "substr(rule, 1, instr(rule || char(10), char(10)) - 1)";
/// How often one that is due is looked at, while what may end it waits to be measured, milliseconds.
const WAIT: i64 = 1000;

/// An alert that was raised, and that somebody is to be told of.
#[derive(Debug, Clone)]
pub struct Untold {
    /// The alert's key.
    pub rule: String,
    /// The event that it raised.
    pub seq: i64,
    /// The event, as it was sent.
    pub event: String,
    /// The ways that were told.
    pub told: u8,
}

/// What the journal holds of an alert; times are in milliseconds since 1970.
#[derive(Debug, Default)]
struct Known {
    since: Option<i64>,
    /// When it was raised last.
    raised: Option<i64>,
    is_told: bool,
}

impl Journal {
    /// Looks at what is known of a run at `now`, milliseconds since 1970: `alerts` that have held for long enough are raised, each
    /// once for each time that it holds. Gives when to look again.
    ///
    /// # Errors
    /// `Journal` if it cannot be read or written.
    pub fn alert(
        &mut self,
        run: i64,
        alerts: &[Alert],
        standing: Standing,
        now: i64,
    ) -> Result<(Option<i64>, Vec<Line>)> {
        self.write("look at alerts in", |tx| {
            let keys: Vec<_> = alerts.iter().map(Alert::key).collect();
            let list = serde_json::to_string(&keys).unwrap_or_default();
            let others =
                format!("DELETE FROM alerts WHERE run = ?1 AND {KEY} NOT IN (SELECT value FROM json_each(?2))");
            tx.prepare_cached(&others)?.execute(params![run, list])?;
            let seen = seen(tx, run, alerts, standing, now)?;
            let mut next: Option<i64> = None;
            for (alert, key) in alerts.iter().zip(&keys) {
                let due = look(tx, (run, key), alert, &seen, now)?;
                next = [next, due].into_iter().flatten().min();
            }
            Ok(next)
        })
    }

    /// Alerts of a run that somebody is to be told of, in the order in which they were raised.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn untold_alerts(&self, run: i64) -> Result<Vec<Untold>> {
        // `failures` counts the times before it of which nothing else is told.
        let sql = format!(
            "SELECT {KEY}, raised, iif(failures = 0, body, json_set(body, '$.text',
                 (body ->> '$.text') || ' (after ' || failures || ' more times, too many to tell)')), told
             FROM alerts JOIN events ON events.seq = raised WHERE alerts.run = ?1 AND told < ?2 ORDER BY raised"
        );
        self.reading(|db| {
            let row = |row: &Row| {
                let seq = row.get(1)?;
                let event = super::line_text(seq, &row.get::<_, String>(2)?);
                Ok(Untold { rule: row.get(0)?, seq, event, told: row.get(3)? })
            };
            db.prepare_cached(&sql)?.query_map(params![run, ALL_TOLD], row)?.collect()
        })
    }

    /// Somebody was told of the alert that event `seq` raised, in these ways.
    ///
    /// # Errors
    /// `Journal` if it cannot be written.
    pub fn set_alert_told(&mut self, run: i64, seq: i64, ways: u8) -> Result<()> {
        self.write("note an alert in", |tx| {
            let sql = "UPDATE alerts SET told = told | ?3 WHERE run = ?1 AND raised = ?2";
            tx.prepare_cached(sql)?.execute(params![run, seq, ways])?;
            let earlier = "DELETE FROM alerts WHERE run = ?1 AND raised = ?2 AND told >= ?3 AND instr(rule, char(10))";
            tx.prepare_cached(earlier)?.execute(params![run, seq, ALL_TOLD]).map(|_| ())
        })
        .map(|_| ())
    }
}

fn seen(tx: &Writer, run: i64, alerts: &[Alert], standing: Standing, now: i64) -> rusqlite::Result<Seen> {
    let monitors: Vec<_> = alerts.iter().map(|alert| alert.monitor).collect();
    let last = "SELECT state, reason FROM checkpoints WHERE run = ?1 AND state IN (1, 3) ORDER BY current DESC LIMIT 1";
    let row = |row: &Row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?));
    let last = tx.prepare_cached(last)?.query_row([run], row).optional()?;
    let stop = "SELECT json_extract(body, '$.reason') FROM runs JOIN events ON events.seq = stopped WHERE runs.id = ?1";
    // A file from a time to come tells nothing of when it came.
    let written = "SELECT max(written) / 1000000 FROM checkpoints WHERE run = ?1 AND written / 1000000 <= ?2";
    let waiting = "SELECT min(written) / 1000000 FROM checkpoints WHERE run = ?1 AND state = 0";
    let failed = last.filter(|(state, _)| *state == State::Failed as i64).map(|(_, reason)| reason.unwrap_or_default());
    // What waits for a run that cannot be measured may wait for ever.
    let is_blocked = standing.blocked.is_some();
    let waiting = if is_blocked { None } else { tx.prepare_cached(waiting)?.query_row([run], |row| row.get(0))? };
    let is_asked = |kinds: &[On]| alerts.iter().any(|alert| kinds.contains(&alert.on));
    Ok(Seen {
        points: if is_asked(&[On::Threshold, On::Change]) { points(tx, run, &monitors)? } else { Vec::new() },
        findings: if is_asked(&[On::Finding]) { latest_findings(tx, run)? } else { Vec::new() },
        failure: failed,
        written: tx.prepare_cached(written)?.query_row([run, now], |row| row.get(0))?,
        stop: tx.prepare_cached(stop)?.query_row([run], |row| row.get(0)).optional()?.flatten(),
        waiting,
        standing,
    })
}

/// Keeps since when an alert holds, and raises it if that is long enough ago; gives when to look again.
fn look(tx: &Writer, of: (i64, &str), alert: &Alert, seen: &Seen, now: i64) -> rusqlite::Result<Option<i64>> {
    let known = known(tx, of)?;
    let (since, cause) = match (alert.stalls_at(seen), alert.cause(seen)) {
        // A run that was silent before it was first looked at has not stalled: it ended long ago.
        (Some(due), cause) => (if due > now { Some(due) } else { known.since.filter(|since| *since <= due) }, cause),
        // Not since a time to come: the clock was set back. Nor since the moment when it was raised last, which was another time.
        (None, Some(cause)) if alert.after.is_none() => {
            let anew = known.raised.filter(|raised| *raised <= now).map_or(now, |raised| now.max(raised + 1));
            (Some(known.since.map_or(anew, |since| since.min(now))), Some(cause))
        }
        (None, _) => (None, None),
    };
    let raised = known.raised.filter(|raised| known.since.is_some() || *raised <= now);
    if since != known.since || raised != known.raised {
        let sql = "INSERT INTO alerts (run, rule, since, told) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT DO UPDATE SET since = excluded.since, raised = iif(?5, NULL, raised)";
        tx.prepare_cached(sql)?.execute(params![
            of.0,
            of.1,
            since,
            ALL_TOLD,
            raised != known.raised && known.is_told
        ])?;
    }
    let (Some(since), Some(cause)) = (since, cause) else { return Ok(None) };
    if raised.is_some_and(|raised| raised >= since) {
        return Ok(None);
    }
    let cool = raised.map_or(i64::MIN, |raised| raised.saturating_add(alert.cooldown.milliseconds()));
    let due = since.saturating_add(alert.lasting.milliseconds()).max(cool);
    if due > now {
        return Ok(Some(due.min(now.saturating_add(LOOK))));
    }
    if alert.may_be_ended(seen, since.saturating_add(alert.lasting.milliseconds())) {
        return Ok(Some(now.saturating_add(WAIT)));
    }
    raise(tx, of, alert, cause).map(|()| None)
}

/// Who was not told of the last time yet is told of that first, in a row of its own, or only that there was one.
fn raise(tx: &Writer, (run, key): (i64, &str), alert: &Alert, Cause { text, at }: Cause) -> rusqlite::Result<()> {
    let seq = tx.append(run, &Kind::Alert { alert: alert.title(), text, at })?;
    let earlier = "SELECT count(*) FROM alerts WHERE run = ?1 AND rule > ?2 || char(10) AND rule < ?2 || char(11)";
    let waiting: i64 = tx.prepare_cached(earlier)?.query_row(params![run, key], |row| row.get(0))?;
    let is_room = waiting < MOST_WAITING;
    if is_room {
        let keep = "INSERT INTO alerts (run, rule, raised, told, failures)
                    SELECT run, rule || char(10) || raised, raised, told, failures FROM alerts
                    WHERE run = ?1 AND rule = ?2 AND told < ?3 AND raised IS NOT NULL";
        tx.prepare_cached(keep)?.execute(params![run, key, ALL_TOLD])?;
    }
    let latest = "UPDATE alerts SET raised = ?3, told = 0, failures = iif(told < ?4 AND NOT ?5, failures + 1, 0)
                  WHERE run = ?1 AND rule = ?2";
    tx.prepare_cached(latest)?.execute(params![run, key, seq, ALL_TOLD, is_room]).map(|_| ())
}

fn known(tx: &Writer, (run, rule): (i64, &str)) -> rusqlite::Result<Known> {
    let sql = "SELECT since, told, json_extract(body, '$.time') FROM alerts LEFT JOIN events ON events.seq = raised
               WHERE alerts.run = ?1 AND rule = ?2";
    let row = |row: &Row| {
        let time: Option<String> = row.get(2)?;
        let raised = time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_millisecond);
        Ok(Known { since: row.get(0)?, raised, is_told: row.get::<_, u8>(1)? >= ALL_TOLD })
    };
    Ok(tx.prepare_cached(sql)?.query_row(params![run, rule], row).optional()?.unwrap_or_default())
}
