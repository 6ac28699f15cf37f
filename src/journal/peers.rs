//! The runs beside a run, as rules across runs see them.

use rusqlite::{Connection, params};

use super::history::PRESENT;
use crate::stop::{Monitor, Peer};

/// The other runs in the folder of a run, by each monitor that rules across runs go by.
pub(super) struct Beside(Vec<(Monitor, Vec<Peer>)>);

impl Beside {
    /// Reads those beside run number `run`, each once: its latest attempt's values of `monitors` over steps.
    pub fn read(db: &Connection, run: i64, monitors: impl Iterator<Item = Monitor>) -> rusqlite::Result<Self> {
        let mut all: Vec<(Monitor, Vec<Peer>)> = Vec::new();
        for monitor in monitors {
            if column(monitor).is_some() && !all.iter().any(|(known, _)| *known == monitor) {
                all.push((monitor, Vec::new()));
            }
        }
        if all.is_empty() {
            return Ok(Self(all));
        }
        let path: String =
            db.prepare_cached("SELECT path FROM runs WHERE id = ?1")?.query_row([run], |row| row.get(0))?;
        let Some((folder, _)) = path.rsplit_once('/') else { return Ok(Self(all)) };
        // Between "/group/" and "/group0", which follows all that begins so.
        let siblings = "SELECT id, path FROM runs WHERE path > ?1 || '/' AND path < ?1 || '0' AND id <> ?2";
        let mut query = db.prepare_cached(siblings)?;
        let found =
            query.query_map(params![folder, run], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let columns: Vec<_> = all.iter().filter_map(|(monitor, _)| column(*monitor)).collect();
        let sql = format!(
            "SELECT step, {} FROM checkpoints AS c WHERE run = ?1 AND stride IS NOT NULL AND step IS NOT NULL
             AND {PRESENT} ORDER BY step",
            columns.join(", ")
        );
        for sibling in found {
            let (id, run) = sibling?;
            if run[folder.len() + 1..].contains('/') {
                continue;
            }
            for (_, peers) in &mut all {
                peers.push(Peer { run: run.clone(), series: Vec::new() });
            }
            let mut query = db.prepare_cached(&sql)?;
            let mut rows = query.query([id])?;
            while let Some(row) = rows.next()? {
                let step = row.get::<_, i64>(0)? as u64;
                for (at, (monitor, peers)) in all.iter_mut().enumerate() {
                    let value: Option<f64> = row.get(1 + at)?;
                    let is_judged = step > 0 || !monitor.is_label_free();
                    let series = peers.last_mut().map(|peer| &mut peer.series);
                    if let (Some(value), Some(series)) = (value.filter(|_| is_judged), series) {
                        series.push((step, value));
                    }
                }
            }
        }
        Ok(Self(all))
    }

    /// The other runs with their values of one of the monitors.
    pub fn peers(&self, monitor: Monitor) -> &[Peer] {
        self.0.iter().find(|(known, _)| *known == monitor).map_or(&[], |(_, peers)| peers)
    }
}

/// The column that holds it.
fn column(monitor: Monitor) -> Option<&'static str> {
    // Columns have the monitors' names.
    (monitor != Monitor::Auto && !monitor.is_in_record_only()).then(|| monitor.into())
}
