//! `relstab watch`: every checkpoint of a directory, in order, as it lands.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::measure::progress_bar;
use super::setup::{Setup, Shared};
use super::{Format, complain, one_line, print, print_json};
use crate::config::Config;
use crate::error::{Error, ExitCode, Reach, Result};
use crate::event::{Event, Kind};
use crate::report;
use crate::watch::{Source, scan};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of checkpoints, one run
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Measure what is there, print and exit
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    shared: Shared,
}

/// How often the directory is looked at; a file is taken when it was the same for one such interval.
const INTERVAL: Duration = Duration::from_millis(500);

pub fn run(args: &Args) -> Result<ExitCode> {
    if !args.folder.is_dir() {
        let found = if args.folder.exists() { "a file" } else { "no such directory" };
        return Err(Error::setting(
            "DIR",
            "a directory of checkpoints",
            format!("{found} ({})", args.folder.display()),
        ));
    }
    let config = Config::read(&args.folder)?;
    let mut stream = Stream {
        run: args.folder.canonicalize().map_err(Error::io(&args.folder, "open"))?.to_string_lossy().into_owned(),
        setup: Setup::new(&args.shared, &config, &args.folder)?,
        format: args.shared.format,
        seq: 0,
        failed: false,
    };
    if args.once {
        let checkpoints = scan(&args.folder)?;
        if checkpoints.is_empty() {
            return Err(Error::setting(
                "DIR",
                "a directory with .onnx files",
                format!("none in {}", args.folder.display()),
            ));
        }
        for path in checkpoints {
            stream.measure(&path)?;
        }
    } else {
        let mut source = Source::new(&args.folder);
        loop {
            for path in source.ready()? {
                stream.measure(&path)?;
            }
            std::thread::sleep(INTERVAL);
        }
    }
    Ok(if stream.failed { ExitCode::SomeFailed } else { ExitCode::Success })
}

/// The checkpoints of one run, measured and printed one after another.
struct Stream {
    run: String,
    setup: Setup,
    format: Format,
    seq: u64,
    failed: bool,
}

impl Stream {
    /// A checkpoint that fails is reported and costs only itself; what concerns all of them ends the stream.
    fn measure(&mut self, path: &Path) -> Result<()> {
        let bar = progress_bar();
        let outcome = self.setup.measure(path, &|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let kind = match outcome {
            Ok(mut measurement) => {
                measurement.replicates_log_r_f = None;
                Kind::Measured { measurement: Box::new(measurement) }
            }
            Err(error) if error.reach() == Reach::Checkpoint => {
                self.failed = true;
                let reason = one_line(&error);
                complain("error", &reason);
                Kind::Failed { path: path.to_owned(), reason }
            }
            Err(error) => return Err(error),
        };
        self.seq += 1;
        let time = jiff::Timestamp::now().to_string();
        let event = Event { seq: self.seq, time, run: self.run.clone(), kind };
        match (self.format, &event.kind) {
            (Format::Json, _) => print_json(&event, false),
            (Format::Text, Kind::Measured { measurement }) => {
                if self.seq == 1 {
                    print(&report::line_header(measurement, self.setup.law_name()))?;
                }
                print(&report::line(measurement))
            }
            (Format::Text, Kind::Failed { .. }) => Ok(()),
        }
    }
}
