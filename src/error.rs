//! What can go wrong, how far it reaches, what to do about it, and the exit code it ends with.

mod exit_code;
mod journal;

use std::path::{Path, PathBuf};

pub use exit_code::{ExitCode, Reach};
pub use journal::is_of_record;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every failure, with the file it concerns, what was expected and what was found.
///
/// `Display` is a lower-case fragment without the source; a printer walks [`std::error::Error::source`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting outside its domain, such as a cutoff below 2.
    #[error("{name}: expected {expected}, found {found}")]
    Setting {
        /// The setting's name as the user writes it.
        name: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A file that could not be read or written.
    #[error("{}: {action} failed", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was being done: `open`, `read`, `write`.
        action: &'static str,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// An object store that could not be asked, or that refused.
    #[error("{}: could not {action} it: {reason}", address.display())]
    Store {
        /// The address.
        address: PathBuf,
        /// What was being done, to complete "could not ... it".
        action: &'static str,
        /// The store's reason, on one line and without credentials.
        reason: String,
    },
    /// A probe set that is not a usable set of images.
    #[error("probe set {}: expected {expected}, found {found}", path.display())]
    Probe {
        /// The file.
        path: PathBuf,
        /// What would have been accepted.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A file that is not an ONNX network this program can measure.
    #[error("model {}: expected {expected}, found {found}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What would have been accepted.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A file that is no whole ONNX network, or lacks its external data: someone may still be writing it.
    #[error("model {}: expected {expected}, found {found}", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// What a whole one has.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A network that no engine here can run, or that has no answer of its own to an image.
    #[error("model {}: {what}: {next}{}", path.display(), words.as_ref().map(|words| format!(" (the engine says: {words})")).unwrap_or_default())]
    Unsupported {
        /// The network's file.
        path: PathBuf,
        /// What in it: an operator, a version.
        what: String,
        /// What to do next.
        next: String,
        /// The engine's own words, where it was asked.
        words: Option<String>,
    },
    /// A network and a probe set that do not fit each other.
    #[error("model {} does not fit the probe set: it takes {expected}, the images are {found} (channels x height x width)", model.display())]
    Mismatch {
        /// The network's file.
        model: PathBuf,
        /// The input that the network declares.
        expected: String,
        /// The shape of the probe images.
        found: String,
        /// What to do next.
        next: &'static str,
    },
    /// An engine that loaded a network and failed to run it.
    #[error("model {}: {engine} could not {action} it: {message}", path.display())]
    Engine {
        /// The network's file.
        path: PathBuf,
        /// The engine's name.
        engine: &'static str,
        /// `load` or `run`.
        action: &'static str,
        /// The engine's own words, on one line.
        message: String,
    },
    /// A backend, a library or a provider that was asked for and cannot be had.
    #[error("{what}: {reason}")]
    Unavailable {
        /// What was asked for, with the path where there is one.
        what: String,
        /// Why it cannot be had.
        reason: String,
        /// What to do next.
        help: &'static str,
    },
    /// A command that should have made an ONNX file of a checkpoint, and failed.
    #[error("model {}: its export ({command}) {how}{}", path.display(), if said.is_empty() { String::new() } else { format!(": {said}") })]
    Export {
        /// The checkpoint.
        path: PathBuf,
        /// The command.
        command: String,
        /// How it ended.
        how: String,
        /// The end of what it said on standard error, on one line.
        said: String,
    },
    /// Outputs that are NaN or infinite.
    #[error(
        "model {}: expected outputs that are finite and below 1e18, found NaN or larger ones for {images} of {of} images (first: {first}, {kind})",
        path.display()
    )]
    NonFinite {
        /// The network's file.
        path: PathBuf,
        /// How many images are concerned.
        images: usize,
        /// Out of how many.
        of: usize,
        /// What the first such image is called.
        first: String,
        /// `clean`, `deformed` or `noisy`.
        kind: &'static str,
    },
    /// A part of a measurement that cannot be merged, alone or with the others.
    #[error("part {}: expected {expected}, found {found}", path.display())]
    Part {
        /// The file.
        path: PathBuf,
        /// What would have been accepted.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A quantity that a measurement does not have, though it was to be held to a limit.
    #[error("model {}: no {quantity}: {reason}", path.display())]
    NoValue {
        /// The network's file.
        path: PathBuf,
        /// The quantity, as it is printed.
        quantity: String,
        /// Why there is none.
        reason: String,
    },
    /// A journal that cannot be opened, read or written.
    #[error("journal {}: could not {action} it", path.display())]
    Journal {
        /// The database.
        path: PathBuf,
        /// What was being done, to complete "could not ... it".
        action: &'static str,
        /// The database's reason.
        #[source]
        source: rusqlite::Error,
    },
    /// A file that is no journal of this version.
    #[error("journal {}: expected {expected}, found {found}", path.display())]
    NoJournal {
        /// The file.
        path: PathBuf,
        /// What would have been accepted.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A journal that another daemon writes.
    #[error("journal lock {}: held by another daemon ({holder})", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// What the holder says of itself.
        holder: String,
    },
    /// A directory that another daemon watches.
    #[error("directory {}: watched by another daemon ({holder})", folder.display())]
    Watched {
        /// The directory.
        folder: PathBuf,
        /// What the holder says of itself.
        holder: String,
    },
    /// A run that no journal knows.
    #[error("run {run}: not in {}", journal.display())]
    UnknownRun {
        /// The run's directory.
        run: String,
        /// Where it was looked for.
        journal: PathBuf,
    },
    /// Points that no law can be fitted to.
    #[error("{source_name}: expected {expected}, found {found}")]
    Points {
        /// Where they come from: file and line, or checkpoint.
        source_name: String,
        /// What would have been accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A saved law that cannot be read.
    #[error("saved law {}: expected {expected}, found {found}", path.display())]
    SavedLaw {
        /// Its file.
        path: PathBuf,
        /// What such a file holds.
        expected: &'static str,
        /// What this one holds.
        found: String,
    },
    /// A law that was asked for by name and is not there.
    #[error("law {name}: {there}")]
    NoSuchLaw {
        /// The name.
        name: String,
        /// Which laws there are.
        there: String,
    },
    /// A law that was asked for by name and cannot be applied.
    #[error("law {name}: {reason}")]
    Law {
        /// The law's name.
        name: String,
        /// Why it cannot be applied.
        reason: String,
    },
}

impl Error {
    /// Shorthand for [`Error::Setting`].
    #[expect(clippy::needless_pass_by_value, reason = "a literal is the usual argument")]
    pub fn setting(name: &'static str, expected: impl Into<String>, found: impl ToString) -> Self {
        Self::Setting { name, expected: expected.into(), found: found.to_string() }
    }

    /// Shorthand for [`Error::Io`], to use with `map_err`.
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }

    /// Shorthand for [`Error::Probe`].
    pub fn probe(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Probe { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }

    /// Images of shape `found` for the network at `model`, which takes `expected`.
    pub fn mismatch(model: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Mismatch {
            model: model.to_owned(),
            expected: expected.into(),
            found: found.into(),
            next: "give the images the network was trained on, resize or recolour them (--preprocess resize=32x32 or color=rgb), or \
                   force their order with --layout",
        }
    }

    /// Shorthand for [`Error::Part`].
    pub fn part(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Part { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }

    /// Shorthand for [`Error::Points`].
    pub fn points(source: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Points { source_name: source.into(), expected: expected.into(), found: found.into() }
    }

    /// Shorthand for [`Error::Model`].
    pub fn model(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Model { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }

    /// How much of the program this failure takes with it.
    pub fn reach(&self) -> Reach {
        use ExitCode::{Mismatch, Model, NonFinite, Undefined};
        let is_of_one = matches!(self.exit_code(), Model | Mismatch | NonFinite | Undefined);
        if is_of_one || matches!(self, Self::Io { .. }) { Reach::Checkpoint } else { Reach::Process }
    }

    /// The error, its sources and what to do next, on one line.
    pub fn one_line(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        match self.help() {
            Some(help) => format!("{text} ({help})"),
            None => text,
        }
        .replace('\n', " ")
    }

    /// What to do next, in one sentence.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Unavailable { help, .. } => Some(help),
            Self::Mismatch { next, .. } => Some(next),
            Self::NonFinite { .. } => {
                Some("the training may have diverged, or --mean and --std are not those of the training")
            }
            Self::Part { .. } => {
                Some("measure this shard again, as the others: same network, images, settings, engine and version")
            }
            Self::NoSuchLaw { .. } => Some("name one of these; relstab calibrate list tells about each"),
            Self::Law { .. } => Some("measure with the law's settings, choose another with --law, or add --force-law"),
            Self::SavedLaw { .. } => Some("relstab calibrate remove NAME, then calibrate it again"),
            Self::NoJournal { .. } => Some("name another file with --journal, or use the relstab that wrote this one"),
            Self::Locked { .. } => Some("stop that daemon, or name another journal with --journal"),
            Self::Watched { .. } => Some("stop that daemon, or leave the directory to it"),
            Self::UnknownRun { .. } => Some("watch it first, or name its journal with --journal"),
            Self::Store { .. } => Some("docs/stores.md says which variables and rights a store needs"),
            Self::Setting { .. }
            | Self::Points { .. }
            | Self::Io { .. }
            | Self::Journal { .. }
            | Self::Probe { .. }
            | Self::Model { .. }
            | Self::Unfinished { .. }
            | Self::Unsupported { .. }
            | Self::NoValue { .. }
            | Self::Engine { .. }
            | Self::Export { .. } => None,
        }
    }

    /// The exit code that the command ends with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Setting { .. } => ExitCode::Usage,
            Self::Io { .. } | Self::Store { .. } | Self::Part { .. } => ExitCode::Io,
            Self::Probe { .. } => ExitCode::Probe,
            Self::Model { .. }
            | Self::Unfinished { .. }
            | Self::Unsupported { .. }
            | Self::Engine { .. }
            | Self::Export { .. } => ExitCode::Model,
            Self::Mismatch { .. } => ExitCode::Mismatch,
            Self::Unavailable { .. } => ExitCode::Unavailable,
            Self::NonFinite { .. } => ExitCode::NonFinite,
            Self::NoValue { .. } => ExitCode::Undefined,
            Self::NoSuchLaw { .. } | Self::Law { .. } | Self::Points { .. } | Self::SavedLaw { .. } => ExitCode::Law,
            Self::Journal { .. }
            | Self::NoJournal { .. }
            | Self::Locked { .. }
            | Self::Watched { .. }
            | Self::UnknownRun { .. } => ExitCode::Journal,
        }
    }
}
