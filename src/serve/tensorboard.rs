//! Event files for TensorBoard beside the sockets: each run's is brought up to the journal whenever something is new.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Feed, Hub};
use crate::error::Result;
use crate::event::{CheckpointName, Event, Kind};
use crate::journal::{Journal, Line};
use crate::path;
use crate::report::tensorboard::{self, record::Record};
use crate::report::tensorboard::{EventFile, gallery, known_error};
use crate::watch::protocol::Picture;

/// Events read from the journal at once.
const CHUNK: usize = 100;
/// How long a folder that could not be written is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// A folder that TensorBoard shows, and the journal that it follows.
pub struct TensorBoard {
    folder: PathBuf,
    journal: Journal,
    draw_images: DrawImages,
    runs: HashMap<String, Told>,
    is_failing: bool,
}

/// Has drawn what the network at a path is shown, as a network of a run; in words, why it cannot be.
pub type DrawImages = Box<dyn Fn(&Path, &Path) -> std::result::Result<Picture, String> + Send>;

/// What was told of a run.
#[derive(Debug)]
struct Told {
    file: EventFile,
    /// The seq of the last event that was looked at.
    seen: i64,
    /// Whether its images were drawn, or could not be: they are tried once.
    is_drawn: bool,
}

impl TensorBoard {
    /// `journal` is opened for reading; nothing is written yet.
    pub fn new(folder: PathBuf, journal: Journal, draw_images: DrawImages) -> Self {
        Self { folder, journal, draw_images, runs: HashMap::new(), is_failing: false }
    }

    /// Follows the journal until the daemon ends; what cannot be written is said once, and tried again. Holds its thread while it writes.
    pub async fn follow(mut self, hub: Arc<Hub>, ends: CancellationToken) {
        let Ok(mut feed) = Feed::new(hub, Vec::new(), None).await else { return };
        let mut due = self.runs();
        loop {
            due = self.write(due);
            tokio::select! {
                biased;
                () = ends.cancelled() => {
                    self.write(self.runs());
                    return;
                }
                lines = feed.next() => match lines {
                    Ok(Some(lines)) => due.extend(lines.iter().map(|line| line.run.to_string())),
                    Ok(None) => return,
                    // The journal, which cannot be read now.
                    Err(_) => tokio::time::sleep(RETRY).await,
                },
                () = tokio::time::sleep(RETRY), if !due.is_empty() => {}
            }
        }
    }

    fn runs(&self) -> BTreeSet<String> {
        self.journal.runs().unwrap_or_default().into_iter().map(|(_, run)| run).collect()
    }

    /// Brings the files of these runs up to the journal; gives the runs whose file could not be written.
    fn write(&mut self, runs: BTreeSet<String>) -> BTreeSet<String> {
        let mut failed = BTreeSet::new();
        for run in runs {
            let Err(error) = self.catch_up(&run) else { continue };
            if !self.is_failing {
                error!("TensorBoard: {}; trying again every {} s", error.one_line(), RETRY.as_secs());
            }
            self.is_failing = true;
            failed.insert(run);
        }
        if failed.is_empty() && std::mem::take(&mut self.is_failing) {
            info!(folder = %self.folder.display(), "TensorBoard's files are up to date again");
        }
        failed
    }

    /// Writes what the journal holds of a run beyond its file.
    fn catch_up(&mut self, run: &str) -> Result<()> {
        let names = [run.to_owned()];
        let told = match self.runs.entry(run.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let file = EventFile::open(&self.folder, run)?;
                let seen = seen(&self.journal, &names, &file)?;
                let is_drawn = file.has_picture();
                entry.insert(Told { file, seen, is_drawn })
            }
        };
        loop {
            let lines = self.journal.events_since(told.seen, &names, CHUNK)?;
            if lines.is_empty() {
                return Ok(());
            }
            for line in lines {
                if let Ok(event) = serde_json::from_str(&line.text)
                    && let Some(record) = record(&self.journal, &told.file, &event)?
                {
                    told.draw(&self.draw_images, &event, &record);
                    told.file.append(&record)?;
                }
                told.seen = line.seq;
            }
        }
    }
}

impl Told {
    /// Tells what the run's networks are shown, beside the first `record` of a network that is still there.
    fn draw(&mut self, draw_images: &DrawImages, event: &Event, record: &Record) {
        let Kind::Measured { measurement } = &event.kind else { return };
        let model = &measurement.model.path;
        if self.is_drawn || !model.exists() {
            return;
        }
        self.is_drawn = true;
        let told = draw_images(&path::of_text(&event.run), model).and_then(|Picture { width, height, png }| {
            let png = BASE64_STANDARD.decode(png).map_err(|error| error.to_string())?;
            let (wall_time, step, summary) = (record.wall_time, record.step, Some(gallery((width, height), png)));
            let picture = Record { wall_time, step, summary, ..Record::default() };
            self.file.append(&picture).map_err(|error| error.one_line())
        });
        if let Err(reason) = told {
            // Whatever it is, numbers do without.
            warn!("TensorBoard: no gallery of {}: {reason}", event.run);
        }
    }
}

/// The seq of the last event that the file tells of, which is another than it was where the run was taken over from another journal;
/// 0 where the run was forgotten since, or never known: all that the journal holds is new then.
fn seen(journal: &Journal, names: &[String], file: &EventFile) -> Result<i64> {
    let Some((seq, wall_time)) = file.last() else { return Ok(0) };
    let lines = journal.events_since(seq - 1, names, 1)?;
    let event = lines.first().and_then(|line| serde_json::from_str::<Event>(&line.text).ok());
    let is_same = |event: &Event| event.seconds() == Some(wall_time);
    if event.is_some_and(|event| event.seq as i64 == seq && is_same(&event)) {
        return Ok(seq);
    }
    let mut after = 0;
    loop {
        let lines = journal.events_since(after, names, CHUNK)?;
        let Some(last) = lines.last() else { return Ok(0) };
        after = last.seq;
        let is_it = |line: &&Line| serde_json::from_str(&line.text).is_ok_and(|event| is_same(&event));
        if let Some(found) = lines.iter().find(is_it) {
            return Ok(found.seq);
        }
    }
}

/// What is told in a run's file of an event, if anything is: a measurement, or a known error of what was measured before.
fn record(journal: &Journal, file: &EventFile, event: &Event) -> Result<Option<Record>> {
    let (checkpoint, before, summary) = match &event.kind {
        Kind::Measured { measurement } => {
            let path = path::text(&measurement.model.path);
            (&CheckpointName::Path(path), event.seq + 1, file.summary(measurement))
        }
        Kind::Annotated { checkpoint, val_error } => (checkpoint, event.seq, known_error(*val_error)),
        Kind::Attempt { attempt, step, .. } => {
            let (step, summary, seq) = (*step as i64, Some(tensorboard::attempt(*attempt)), Some(event.seq as i64));
            return Ok(event.seconds().map(|wall_time| Record { wall_time, step, summary, seq, ..Record::default() }));
        }
        _ => return Ok(None),
    };
    let step = journal.place_before(&event.run, checkpoint, before as i64)?;
    Ok(step.zip(event.seconds()).map(|(step, wall_time)| {
        let seq = Some(event.seq as i64);
        Record { wall_time, step, summary: Some(summary), seq, ..Record::default() }
    }))
}
