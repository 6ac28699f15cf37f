//! `relstab watch --once`: every checkpoint that is there, in training order, in this process.

use std::path::{Path, PathBuf};

use super::terminal::{Format, complain, is_read, line, measure_file, print};
use crate::config::Flags;
use crate::error::{Error, ExitCode, Reach, Result};
use crate::event::{Event, Kind};
use crate::path;
use crate::plan::{Resolved, Setup};
use crate::report::gallery::of_network;
use crate::report::tensorboard::record::Record;
use crate::report::tensorboard::{self, EventFile};
use crate::report::{self, figure};
use crate::text::visible;
use crate::watch::scan::{Search, checkpoints};

pub fn run(
    flags: &Flags,
    format: Format,
    folders: &[PathBuf],
    search: &Search,
    board: Option<&Path>,
) -> Result<ExitCode> {
    let mut seq = 0;
    let mut failed = false;
    for folder in folders {
        let found = checkpoints(search, folder, &mut |text| complain("note", text))?;
        if found.is_empty() {
            // What else is wrong comes first.
            flags.run_plan(folder, folder)?;
            let found = format!("none in {}", folder.display());
            let expected = format!("a directory with {}", search.kinds().words());
            return Err(Error::setting("DIR", expected, found));
        }
        for run in found.chunk_by(|a, b| a.run == b.run) {
            let mut stream = Stream::new(flags, format, &run[0].run, folder)?;
            stream.is_one_of_several = folders.len() > 1 || run.len() < found.len();
            stream.board = board.and_then(|board| forgiven(EventFile::open(board, &stream.run)));
            for checkpoint in run {
                seq += 1;
                let is_read = stream.measure(&checkpoint.path, seq)?;
                failed |= stream.failed;
                if !is_read {
                    return Ok(code(failed));
                }
            }
            print(&report::unpredicted(&stream.unpredicted))?;
        }
    }
    Ok(code(failed))
}

fn code(failed: bool) -> ExitCode {
    if failed { ExitCode::SomeFailed } else { ExitCode::Success }
}

/// The checkpoints of one run, measured and printed one after another.
struct Stream {
    run: String,
    setup: Setup,
    law: Option<String>,
    resolved: Option<Resolved>,
    format: Format,
    /// What TensorBoard reads, unless that could not be written.
    board: Option<EventFile>,
    measured: i64,
    /// Why some have no prediction, where a law was to give one.
    unpredicted: Vec<String>,
    printed_header: bool,
    is_one_of_several: bool,
    failed: bool,
}

/// What TensorBoard reads costs no measurement.
fn forgiven<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(|error| complain("warning", &format!("TensorBoard: {}", error.one_line()))).ok()
}

impl Stream {
    fn new(flags: &Flags, format: Format, run: &Path, root: &Path) -> Result<Self> {
        let plan = flags.run_plan(run, root)?.plan;
        Ok(Self {
            run: path::text(&run.canonicalize().map_err(Error::io(run, "open"))?),
            law: plan.settings.law.as_ref().map(|chosen| chosen.law.name.clone()),
            setup: plan.load()?,
            resolved: None,
            format,
            board: None,
            measured: 0,
            unpredicted: Vec::new(),
            printed_header: false,
            is_one_of_several: false,
            failed: false,
        })
    }

    /// A checkpoint that fails is reported and costs only itself; what concerns all of them ends the stream. Gives whether
    /// anybody still reads it.
    fn measure(&mut self, path: &Path, seq: u64) -> Result<bool> {
        let kind = match measure_file(&self.setup, path, &mut self.resolved) {
            Ok(mut measurement) => {
                measurement.forget_replicates();
                Kind::Measured { measurement: Box::new(measurement) }
            }
            Err(error) if error.reach() == Reach::Checkpoint => {
                self.failed = true;
                let reason = error.one_line();
                complain("error", &reason);
                Kind::Failed { path: path.to_owned(), reason }
            }
            Err(error) => return Err(error),
        };
        let event = Event { seq, time: jiff::Timestamp::now().to_string(), run: self.run.clone(), kind };
        self.tell(&event);
        match (self.format, &event.kind) {
            (Format::Json, _) => is_read(&line(serde_json::to_string(&event))?),
            (Format::Text, Kind::Measured { measurement }) => {
                if !self.printed_header {
                    self.printed_header = true;
                    if self.is_one_of_several {
                        print(&format!("{}\n", visible(&self.run)))?;
                    }
                    print(&report::line_header(measurement, self.law.as_deref()))?;
                }
                self.unpredicted.extend(measurement.no_prediction().filter(|_| self.law.is_some()).map(str::to_owned));
                is_read(&report::line(measurement))
            }
            (Format::Text, _) => Ok(true),
        }
    }

    /// Tells TensorBoard of a measurement, and with the first one what the networks are shown.
    fn tell(&mut self, event: &Event) {
        let (Some(board), Kind::Measured { measurement }) = (&mut self.board, &event.kind) else { return };
        self.measured += 1;
        let step = measurement.metadata.step.map_or(self.measured, |step| i64::try_from(step).unwrap_or(i64::MAX));
        let wall_time = event.seconds().unwrap_or_default();
        let summary = board.summary(measurement);
        let mut tell = |summary| board.append(&Record { wall_time, step, summary: Some(summary), ..Record::default() });
        if forgiven(tell(summary)).is_none() {
            self.board = None;
        } else if self.measured == 1 {
            let path = &measurement.model.path;
            let picture = of_network(&self.setup, path).and_then(|picture| {
                let png = figure::png(&picture).map_err(Error::io(path, "draw the images of"))?;
                tell(tensorboard::gallery(picture.dimensions(), png))
            });
            forgiven(picture);
        }
    }
}
