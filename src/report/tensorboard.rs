//! What TensorBoard reads: a run's measurements as scalars in an event file, and a picture of what its networks are shown.

pub mod record;

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::BufReader;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::event::Measurement;
use crate::small_file;
use record::{Image, Record, Summary, Value};

/// Longest part of a run's name in that of its folder, characters of at most four bytes.
const LONGEST: usize = 48;

/// A run's file of events, which only grows: one record for each event that it tells of.
#[derive(Debug)]
pub struct EventFile {
    file: File,
    path: PathBuf,
    /// Bytes up to the end of the last whole record.
    length: u64,
    /// Seq and wall time of the last event that it tells of.
    last: Option<(i64, f64)>,
    has_picture: bool,
    /// Tags of findings that it tells of.
    found: BTreeSet<String>,
}

impl EventFile {
    /// The file of the run at `run` below `board`, made if need be; a record that was cut short or damaged, and what follows it,
    /// will be written over.
    ///
    /// # Errors
    /// `Io` if it cannot be read or written, or another process writes it.
    pub fn open(board: &Path, run: &str) -> Result<Self> {
        let path = path_of(board, run);
        let folder = path.parent().unwrap_or(board);
        // They are their user's alone, and a link in the file's place is not followed.
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io(folder, "create"))?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(&path).map_err(Error::io(&path, "open"))?;
        let size = file.metadata().and_then(|found| small_file::regular(&found).map(|()| found.len()));
        let size = size.map_err(Error::io(&path, "read"))?;
        file.try_lock().map_err(|error| Error::io(&path, "lock")(error.into()))?;
        let written = file.try_clone().map_err(Error::io(&path, "read"))?;
        let mut opened = Self { file, path, length: 0, last: None, has_picture: false, found: BTreeSet::new() };
        for (record, end) in record::records(BufReader::new(written)) {
            opened.length = end;
            opened.note(&record);
        }
        if opened.length < size {
            opened.file.set_len(opened.length).map_err(Error::io(&opened.path, "cut"))?;
        }
        Ok(opened)
    }

    /// Seq and wall time, in seconds since 1970, of the last event that it tells of.
    pub fn last(&self) -> Option<(i64, f64)> {
        self.last
    }

    /// Whether a picture is in it.
    pub fn has_picture(&self) -> bool {
        self.has_picture
    }

    /// What is told of a measured checkpoint: its numbers, 1 for each finding, and 0 for what was found before and is no more.
    pub fn summary(&self, measurement: &Measurement) -> Summary {
        let mut told = scalars(measurement);
        let codes: BTreeSet<_> = measurement.findings.iter().map(|one| format!("{FINDING}{}", one.code)).collect();
        let all = self.found.union(&codes);
        told.values.extend(all.map(|tag| scalar(tag, f64::from(u8::from(codes.contains(tag))))));
        told
    }

    /// Appends a record.
    ///
    /// # Errors
    /// `Io` if it cannot be written; the next one takes its place.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let mut bytes = Vec::new();
        if self.length == 0 {
            bytes = Record::version(record.wall_time).framed();
        }
        bytes.extend(record.framed());
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            // Half a record is read as none.
            let _ = self.file.set_len(self.length);
            return Err(Error::io(&self.path, "write")(error));
        }
        self.length += bytes.len() as u64;
        self.note(record);
        Ok(())
    }

    fn note(&mut self, record: &Record) {
        self.last = record.seq.map(|seq| (seq, record.wall_time)).or(self.last);
        for value in record.summary.iter().flat_map(|told| &told.values) {
            self.has_picture |= value.image.is_some();
            let finding = value.tag.strip_prefix(OURS).filter(|name| name.starts_with(FINDING));
            self.found.extend(finding.map(str::to_owned));
        }
    }
}

/// Numbers of a measured checkpoint; tags as records name the values, errors are fractions.
fn scalars(measurement: &Measurement) -> Summary {
    let m = measurement;
    let (r_f, prediction) = (m.r_f.as_ref(), m.prediction.as_ref());
    let values = [
        ("r_f", r_f.map(|r_f| r_f.value)),
        ("r_f_low", r_f.map(|r_f| r_f.low)),
        ("r_f_high", r_f.map(|r_f| r_f.high)),
        ("d_f", m.d_f.as_ref().map(|d_f| d_f.value)),
        ("g_f", m.g_f.as_ref().map(|g_f| g_f.value)),
        ("invariance", super::invariance(m).map(|invariance| invariance.value)),
        ("predicted_error", prediction.map(|prediction| prediction.error)),
        ("predicted_error_low", prediction.and_then(|prediction| prediction.low)),
        ("predicted_error_high", prediction.and_then(|prediction| prediction.high)),
        (VAL_ERROR, m.metadata.val_error),
        ("probe_error", m.probe_error),
    ];
    Summary { values: values.into_iter().filter_map(|(name, value)| Some(scalar(name, value?))).collect() }
}

/// What tags begin with.
const OURS: &str = "relstab/";
/// What tags of findings begin with, before their code.
const FINDING: &str = "finding/";
/// The tag of a known error.
const VAL_ERROR: &str = "val_error";

/// What is told of a known error that came after the measurement.
pub fn known_error(val_error: f64) -> Summary {
    Summary { values: vec![scalar(VAL_ERROR, val_error)] }
}

/// What is told of a training that began again: the number of the attempt.
pub fn attempt(number: u64) -> Summary {
    Summary { values: vec![scalar("attempt", number as f64)] }
}

/// A picture of what a network is shown, a PNG of three channels.
pub fn gallery((width, height): (u32, u32), png: Vec<u8>) -> Summary {
    let image = Some(Image { height: height as i32, width: width as i32, colorspace: 3, png });
    Summary { values: vec![Value { tag: format!("{OURS}gallery"), scalar: None, image }] }
}

fn scalar(name: &str, value: f64) -> Value {
    Value { tag: format!("{OURS}{name}"), scalar: Some(value as f32), image: None }
}

/// A folder of the run's own name. Where another run, or the training itself, writes to one of this name, the run's path tells
/// them apart: TensorBoard follows one writer in a folder.
fn path_of(board: &Path, run: &str) -> PathBuf {
    let hash = hex::encode(&Sha256::digest(run)[..4]);
    let file = format!("events.out.tfevents.relstab.{hash}");
    let name = folder_name(run);
    let folder = board.join(&name);
    let is_other = |name: &std::ffi::OsStr| name.to_string_lossy().contains("tfevents");
    let is_taken = fs::read_dir(&folder).is_ok_and(|names| names.flatten().any(|entry| is_other(&entry.file_name())));
    if is_taken && !folder.join(&file).exists() {
        return board.join(format!("{name}-{hash}")).join(file);
    }
    folder.join(file)
}

/// The last name in a run's path, without what a file system, a shell or a pattern would take for something else.
fn folder_name(run: &str) -> String {
    let name = run.rsplit('/').find(|name| !name.is_empty()).unwrap_or("run");
    let is_plain = |char: char| char.is_alphanumeric() || "-_.,+=@ ".contains(char);
    let name: String = name.chars().map(|char| if is_plain(char) { char } else { '_' }).take(LONGEST).collect();
    // A leading dot hides a folder, a leading dash is an option's.
    if name.starts_with(['.', '-', ' ']) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seq: i64) -> Record {
        Record {
            wall_time: seq as f64,
            step: 10 * seq,
            summary: Some(known_error(0.5)),
            seq: Some(seq),
            ..Record::default()
        }
    }

    fn seqs(path: &Path) -> Vec<Option<i64>> {
        record::records(&fs::read(path).expect("read")[..]).map(|(record, _)| record.seq).collect()
    }

    #[test]
    fn a_file_goes_on_after_its_last_whole_record() {
        let board = tempfile::tempdir().expect("a temporary folder");
        let path = path_of(board.path(), "/runs/today");
        let mut file = EventFile::open(board.path(), "/runs/today").expect("made");
        (1..=3).for_each(|seq| file.append(&told(seq)).expect("written"));
        EventFile::open(board.path(), "/runs/today").expect_err("held by another");
        drop(file);
        let whole = fs::read(&path).expect("read");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            let mut file = EventFile::open(board.path(), "/runs/today").expect("opened");
            let next = file.last().map_or(1, |(seq, _)| seq + 1);
            (next..=3).for_each(|seq| file.append(&told(seq)).expect("written"));
            assert_eq!(fs::read(&path).expect("read"), whole, "cut at {cut}");
        }
        fs::write(&path, "neither a record nor empty").expect("written");
        EventFile::open(board.path(), "/runs/today").expect("opened").append(&told(1)).expect("written");
        assert_eq!(seqs(&path), [None, Some(1)]);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let board = tempfile::tempdir().expect("a temporary folder");
        let path = path_of(board.path(), "/runs/today");
        fs::create_dir(path.parent().expect("a folder")).expect("made");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("made");
        let error = EventFile::open(board.path(), "/runs/today").expect_err("a FIFO").one_line();
        assert!(error.contains("expected a regular file, found a FIFO"), "{error}");
    }

    #[test]
    fn runs_of_one_name_and_a_training_that_writes_there_have_folders_of_their_own() {
        let board = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(board.path().join("tonight")).expect("created");
        fs::write(board.path().join("tonight/events.out.tfevents.1700000000.host"), "of a training").expect("written");
        let open = |run| EventFile::open(board.path(), run).expect("opened").path;
        let runs = ["/a/today", "/b/today", "/b/tonight", "/"];
        let paths = runs.map(open);
        assert_eq!(runs.map(open), paths, "as before");
        let folder =
            |path: &Path| path.parent().and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()));
        let folders = paths.map(|path| folder(&path).expect("a folder"));
        assert_eq!((folders[0].as_str(), folders[3].as_str()), ("today", "run"));
        assert!(folders[1].starts_with("today-") && folders[2].starts_with("tonight-"), "{folders:?}");
    }

    #[test]
    fn odd_names_become_names_of_folders() {
        let long = "x".repeat(300);
        for (run, name) in [
            ("/runs/lr=0.1, größe", "lr=0.1, größe"),
            ("/runs/..hidden", "_..hidden"),
            ("/runs/<b>&*?[a]\\x1b", "_b_____a__x1b"),
            ("/runs/line\nbreak\u{202e}", "line_break_"),
            (&format!("/runs/{long}"), &long[..LONGEST]),
        ] {
            assert_eq!(folder_name(run), name);
        }
    }
}
