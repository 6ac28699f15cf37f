//! A run's report: how it went, its checkpoints, what they were measured with.

use serde_json::Value;

use super::conditions::{Groups, laws, warnings};
use super::document::{Block, Charts, Document, Line, Text, Tone, columns, table};
use super::{date, interval, percent, predicted, predicted_of, significant};
use crate::error::Result;
use crate::event::Measurement;
use crate::journal::{Entry, Filter, Journal, Series, State, within};
use crate::stop::{Mark, Monitor, Verdict};

/// A table of more rows than this is not read; it is thinned, and says so.
const MOST_ROWS: usize = 200;
/// More points than this are not told apart in a chart.
const MOST_POINTS: usize = 500;

/// What a journal knows of a run.
#[derive(Debug)]
pub struct Run {
    path: String,
    entries: Vec<Entry>,
    records: Vec<(usize, Measurement)>,
    verdicts: Vec<Verdict>,
    stop: Option<Value>,
    best: Option<String>,
    series: Series,
}

impl Run {
    /// Reads run number `id`, whose path is `path`.
    ///
    /// # Errors
    /// `Journal` if it cannot be read.
    pub fn read(journal: &Journal, id: i64, path: String) -> Result<Self> {
        let entries = journal.history(id, Filter::default())?;
        let (verdicts, stop) = journal.verdicts(id)?;
        let best = journal.best(id)?.map(|(_, best)| best.path);
        let series = journal.series(id, MOST_POINTS)?;
        let measured = entries.iter().enumerate();
        let records = measured.filter_map(|(index, entry)| Some((index, entry.record()?))).collect();
        Ok(Self { path, entries, records, verdicts, stop, best, series })
    }

    /// A file of the run as the report names it: from the run's directory on.
    fn name<'a>(&self, path: &'a str) -> &'a str {
        within(&self.path, path)
    }

    /// A checkpoint that a rule points at.
    fn mark(&self, mark: &Mark) -> Text {
        mark.step.map_or_else(|| Text::name(self.name(&mark.path)), |step| format!("step {step}").into())
    }
}

/// The report.
pub fn document(run: &Run) -> Document {
    let records: Vec<&Measurement> = run.records.iter().map(|(_, record)| record).collect();
    let groups = Groups::new(&records);
    let mut blocks = vec![Block::Verdict(verdict(run)), Block::Facts(summary(run))];
    if records.is_empty() {
        blocks.push(Block::Paragraph(vec!["Nothing was measured yet.".into()]));
    } else {
        blocks.push(Block::Charts(Box::new(Charts { series: run.series.clone(), marks: marks(run) })));
        blocks.push(Block::Heading("Checkpoints"));
        blocks.extend(groups.warning("checkpoints"));
        blocks.extend(checkpoints(run, &groups));
    }
    blocks.extend(unmeasured(run));
    blocks.extend([Block::Heading("Stop rules"), rules(run)]);
    if !records.is_empty() {
        blocks.extend([Block::Heading("Measured with"), groups.facts(), Block::Heading("Law")]);
        blocks.extend(laws(&records, "checkpoints"));
        blocks.extend(warnings(&records, "checkpoints"));
    }
    let title = vec!["Run ".into(), Text::name(run.path.rsplit('/').next().unwrap_or_default())];
    Document { title, heading: Vec::new(), blocks }
}

/// The best checkpoint and that at which a rule said stop, as charts mark them.
fn marks(run: &Run) -> Vec<(String, &'static str)> {
    let stops = run.verdicts.iter().filter_map(|verdict| Some(verdict.stop.as_ref()?.at.path.as_str()));
    let marked =
        run.best.as_deref().map(|path| (path, "best")).into_iter().chain(stops.take(1).map(|path| (path, "stop")));
    marked.map(|(path, sign)| (run.name(path).to_owned(), sign)).collect()
}

/// What the run comes to: whether it should stop, what is best, how far predictions are off, what failed.
fn verdict(run: &Run) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    match &run.stop {
        Some(stop) => {
            let reason = stop["reason"].as_str().unwrap_or_default();
            let says = Text::Verdict(Tone::Unsure, "The run should stop".to_owned());
            lines.push(vec![says, ": ".into(), Text::words(reason), ".".into()]);
        }
        None if run.verdicts.is_empty() => lines.push(vec!["No rule says when to stop.".into()]),
        None => lines.push(vec![Text::Verdict(Tone::Good, "The run may go on".to_owned()), ".".into()]),
    }
    lines.extend(best(run).map(|best| [vec!["Best checkpoint: ".into()], best, vec![".".into()]].concat()));
    lines.extend(exactness(run));
    let failed = run.entries.iter().filter(|entry| entry.state == State::Failed).count();
    if failed > 0 {
        let told = format!("{failed} of {} checkpoints could not be measured", run.entries.len());
        lines.push(vec![Text::Verdict(Tone::Bad, told), "; the reasons stand below.".into()]);
    }
    lines
}

/// How far predictions are from the errors that are known; fits are none.
fn exactness(run: &Run) -> Option<Line> {
    let mut off = Vec::new();
    let mut inside = 0;
    for (_, record) in run.records.iter().filter(|(_, record)| !record.is_fit()) {
        let Some((known, prediction)) = record.known_error().zip(record.prediction.as_ref()) else { continue };
        off.push((prediction.error - known).abs());
        let ends = prediction.low.zip(prediction.high);
        inside += usize::from(ends.is_some_and(|(low, high)| (low..=high).contains(&known)));
    }
    off.sort_by(f64::total_cmp);
    let median = off.get(off.len() / 2)?;
    let text = format!(
        "Half of the predicted errors are within {:.1} points of the known ones; {inside} of {} known errors lie in the \
         predicted interval.",
        100.0 * median,
        off.len()
    );
    Some(vec![text.into()])
}

/// The best checkpoint, with what it came to.
fn best(run: &Run) -> Option<Line> {
    let best = run.best.as_ref()?;
    let (index, record) = run.records.iter().find(|(index, _)| run.entries[*index].path == *best)?;
    let entry = &run.entries[*index];
    let step = entry.step.map_or(String::new(), |step| format!("step {step}, "));
    let r_f = record.r_f.as_ref().map_or(String::new(), |r_f| format!(": R_f {}", interval(r_f)));
    let error = record.prediction.as_ref().map(|p| format!(", predicted error {}", predicted(p)));
    let values = format!("{r_f}{}", error.unwrap_or_default());
    Some(vec![step.into(), Text::name(run.name(&entry.path)), values.into()])
}

fn summary(run: &Run) -> Vec<(&'static str, Line)> {
    let counted = |state: State| {
        let count = run.entries.iter().filter(|entry| entry.state == state).count();
        (count > 0).then(|| format!("{count} {state}"))
    };
    let counts = [State::Measured, State::Pending, State::Skipped, State::Failed].into_iter().filter_map(counted);
    let mut facts = vec![
        ("directory", vec![Text::name(&run.path)]),
        ("checkpoints", vec![counts.collect::<Vec<_>>().join(", ").into()]),
    ];
    facts.extend(written(run).map(|text| ("written", vec![text.into()])));
    facts
}

/// When the checkpoints were written: the first, the last, and the time between.
fn written(run: &Run) -> Option<String> {
    let times = &run.series.time;
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    let last = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let date = |seconds: f64| jiff::Timestamp::from_second(seconds as i64).ok().map(date);
    let minutes = ((last - first) / 60.0).round();
    let length = if minutes < 120.0 { format!("{minutes} min") } else { format!("{:.1} h", minutes / 60.0) };
    Some(format!("from {} to {}, {length}", date(first)?, date(last)?))
}

/// The table of what was measured, thinned if it is long.
fn checkpoints(run: &Run, groups: &Groups) -> Vec<Block> {
    const NAMES: [&str; 10] =
        ["step", "epoch", "R_f", "predicted error", "known error", "probe error", "D_f", "G_f", "way", "checkpoint"];
    let with_ways = groups.differ();
    let best = run.records.iter().position(|(index, _)| run.best.as_ref() == Some(&run.entries[*index].path));
    let (stride, shown) = thinned(run.records.len(), best);
    let mut rows = Vec::new();
    for number in shown {
        let (index, record) = &run.records[number];
        let entry = &run.entries[*index];
        let mut cells = vec![
            Text::known(entry.step.map(|step| step.to_string())),
            Text::known(entry.epoch.map(significant)),
            record.r_f.as_ref().map_or_else(|| "undefined".into(), |r_f| interval(r_f).into()),
            Text::known(predicted_of(record)),
            Text::known(entry.val_error.map(percent)),
            Text::known(record.probe_error.map(percent)),
            Text::known(record.d_f.as_ref().map(|d_f| significant(d_f.value))),
            Text::known(record.g_f.as_ref().map(|g_f| significant(g_f.value))),
        ];
        cells.extend(with_ways.then(|| groups.of[number].to_string().into()));
        cells.push(Text::name(run.name(&entry.path)));
        rows.push(cells);
    }
    let names: Vec<_> = NAMES.into_iter().filter(|name| with_ways || *name != "way").collect();
    let columns = columns(&names, &NAMES[..9]);
    let thinned = (stride > 1).then(|| {
        let text = format!(
            "One in {stride} of {} checkpoints, with the best and the last; relstab history prints them all.",
            run.records.len()
        );
        Block::Paragraph(vec![text.into()])
    });
    thinned.into_iter().chain([table("In training order, intervals in brackets", columns, rows)]).collect()
}

/// Which of so many rows are shown: one in how many, the best and the last.
fn thinned(count: usize, best: Option<usize>) -> (usize, Vec<usize>) {
    let stride = count.div_ceil(MOST_ROWS);
    let is_shown = |row: &usize| row.is_multiple_of(stride) || Some(*row) == best || *row + 1 == count;
    (stride, (0..count).filter(is_shown).collect())
}

/// The table of what was not measured, failures first.
fn unmeasured(run: &Run) -> Vec<Block> {
    let mut entries: Vec<_> = run.entries.iter().filter(|entry| entry.state != State::Measured).collect();
    if entries.is_empty() {
        return Vec::new();
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.state));
    let row = |entry: &&Entry| {
        vec![
            Text::name(run.name(&entry.path)),
            Text::known(entry.step.map(|step| step.to_string())),
            match entry.state {
                State::Failed => Text::Verdict(Tone::Bad, entry.state.to_string()),
                state => state.to_string().into(),
            },
            Text::words(entry.reason.as_deref().unwrap_or("waits for its turn")),
        ]
    };
    let rows = entries.iter().take(MOST_ROWS).map(row);
    let columns = columns(&["checkpoint", "step", "state", "reason"], &["step"]);
    let mut blocks = vec![Block::Heading("Not measured")];
    if entries.len() > MOST_ROWS {
        let text = format!("{MOST_ROWS} of {}; relstab history prints them all.", entries.len());
        blocks.push(Block::Paragraph(vec![text.into()]));
    }
    blocks.push(table("Checkpoints that have no measurement", columns, rows));
    blocks
}

/// What each rule says so far.
fn rules(run: &Run) -> Block {
    if run.verdicts.is_empty() {
        return Block::Paragraph(vec!["The run has none.".into()]);
    }
    let row = |verdict: &Verdict| {
        let number = match verdict.monitor {
            Monitor::PredictedError | Monitor::ProbeError | Monitor::ValError => percent,
            _ => significant,
        };
        let best = verdict.best.as_ref();
        let stop = verdict.stop.as_ref();
        vec![
            verdict.monitor.to_string().into(),
            best.map_or_else(|| "none yet".into(), |best| run.mark(best)),
            Text::known(best.and_then(|best| best.value).map(number)),
            verdict.patience_left.to_string().into(),
            stop.map_or_else(|| "go on".into(), |_| Text::Verdict(Tone::Unsure, "stop".to_owned())),
            stop.map_or_else(|| Text::known(None), |stop| run.mark(&stop.at)),
            stop.map_or_else(|| Text::known(None), |stop| Text::words(&stop.reason)),
        ]
    };
    let names = ["monitor", "best", "value", "patience left", "says", "at", "reason"];
    table("What each rule says so far", columns(&names, &["value", "patience left"]), run.verdicts.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_keeps_its_best_and_its_last() {
        assert_eq!(thinned(0, None), (0, vec![]));
        assert_eq!(thinned(MOST_ROWS, Some(7)), (1, (0..MOST_ROWS).collect()));
        let (stride, rows) = thinned(10_000, Some(777));
        assert_eq!((stride, rows.len(), rows.last()), (50, MOST_ROWS + 2, Some(&9_999)));
        assert!(rows.contains(&777) && rows.is_sorted());
    }
}
