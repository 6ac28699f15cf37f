//! The runs beside a run, as rules across runs see them.

use rusqlite::{Connection, params};

use super::history::PRESENT;
use crate::stop::{Monitor, Peer};

/// The other runs in the folder of run number `run`, each with its latest attempt's values of `monitor` over steps.
pub(super) fn peers(db: &Connection, run: i64, monitor: Monitor) -> rusqlite::Result<Vec<Peer>> {
    let Some(column) = column(monitor) else { return Ok(Vec::new()) };
    let path: String = db.prepare_cached("SELECT path FROM runs WHERE id = ?1")?.query_row([run], |row| row.get(0))?;
    let Some((folder, _)) = path.rsplit_once('/') else { return Ok(Vec::new()) };
    // Between "/group/" and "/group0", which follows all that begins so.
    let siblings = "SELECT id, path FROM runs WHERE path > ?1 || '/' AND path < ?1 || '0' AND id <> ?2";
    let mut query = db.prepare_cached(siblings)?;
    let found = query.query_map(params![folder, run], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let first = i64::from(monitor.is_label_free());
    let sql = format!(
        "SELECT step, {column} FROM checkpoints AS c WHERE run = ?1 AND stride IS NOT NULL AND step >= ?2
         AND {column} IS NOT NULL AND {PRESENT} ORDER BY step"
    );
    let mut peers = Vec::new();
    for sibling in found {
        let (id, run) = sibling?;
        if run[folder.len() + 1..].contains('/') {
            continue;
        }
        let mut query = db.prepare_cached(&sql)?;
        let series = query.query_map(params![id, first], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?)))?;
        peers.push(Peer { run, series: series.collect::<rusqlite::Result<_>>()? });
    }
    Ok(peers)
}

/// The column that holds it.
fn column(monitor: Monitor) -> Option<&'static str> {
    // Columns have the monitors' names.
    (monitor != Monitor::Auto && !monitor.is_in_record_only()).then(|| monitor.into())
}
