//! The command line: clap structs here, one file for each command.
#![expect(clippy::doc_markdown, reason = "help texts are printed as they stand")]

mod asking;
mod best;
mod calibrate;
mod check;
mod compare;
mod doctor;
mod evidence;
mod flags;
mod gallery;
mod help;
mod init;
mod layers;
mod logits;
mod measure;
mod merge;
mod once;
mod outlet;
mod perturb;
mod plan;
mod reference;
mod report;
mod runs;
mod scaling;
mod sources;
mod status;
mod sweep;
mod terminal;
mod wait;
mod watch;

use std::process::ExitCode as ProcessExit;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::error::ExitCode;
use terminal::{complain, print, print_json};

/// Tells from an exported network alone, without labels, how well it will do.
///
/// Measures the relative stability R_f: how much the output moves under smooth random deformations of an image, over how
/// much it moves under noise of the same size.
#[derive(Debug, Parser)]
#[command(name = "relstab", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at images and a network, and write the settings of a new run.
    Init(init::Args),
    /// Measure one network.
    Measure(measure::Args),
    /// Put the parts of a measurement together that was made in shards.
    Merge(merge::Args),
    /// Hold networks to limits and to a baseline: exit code 0 if they hold, 1 if one falls short.
    Check(Box<check::Args>),
    /// Rank networks by R_f on the same images and draws.
    Compare(compare::Args),
    /// Measure one network over cutoffs and sizes of the deformations.
    Sweep(sweep::Args),
    /// Measure one network layer by layer.
    Layers(layers::Args),
    /// Fit a law of one's own to networks with a known error; list and inspect laws.
    Calibrate(Box<calibrate::Args>),
    /// Tell what each label-free quantity says of the error of networks whose error is known.
    Evidence(Box<evidence::Args>),
    /// Fit how R_f, D_f and G_f go with the size of the training set: power laws.
    Scaling(Box<scaling::Args>),
    /// Measure each checkpoint of a directory as it lands.
    Watch(Box<watch::Args>),
    /// Tell of the daemons that run, and of how their runs stand.
    Status(status::Args),
    /// Print what became of each checkpoint of a run.
    History(runs::History),
    /// Tell of a run, or of a saved result, as a page, as Markdown or as a figure.
    Report(report::Args),
    /// Show images deformed and noisy, to choose cutoff and delta by.
    Gallery(Box<gallery::Args>),
    /// Print the best checkpoint of a run.
    Best(best::Args),
    /// Wait until a run's checkpoints are measured, or the run should stop.
    Wait(wait::Args),
    /// Overrule the stop of a run: it goes on, and its patience begins anew.
    Resume(runs::Run),
    /// Forget a run: its checkpoints are measured again if it is still watched.
    Forget(runs::Forget),
    /// Measure the failed checkpoints of a run again.
    Retry(runs::Run),
    /// Write the deformed and the noisy images that a measurement shows a network.
    Perturb(perturb::Args),
    /// Write a network's outputs on the probe images.
    Logits(logits::Args),
    /// Print the socket of the daemon that watches a directory, or the one that it would have.
    Socket(runs::Run),
    /// Tell which engines and providers are here and what is missing.
    Doctor(doctor::Args),
    /// Print the completion script of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print a JSON Schema: of relstab.toml, for editors, or of a measurement.
    Schema {
        /// What it describes.
        #[arg(value_enum, default_value_t = Described::Measurement)]
        of: Described,
    },
    /// Print docs/reference.md.
    #[command(hide = true)]
    Reference,
    /// Measure for a daemon, which talks to it over standard input and output.
    #[command(hide = true)]
    Worker {
        /// Niceness to add.
        #[arg(long, default_value_t = 0)]
        nice: i32,
        /// Share of the time to compute.
        #[arg(long, default_value_t = 1.0)]
        duty: f64,
        /// Size at which it ends, such as 4GiB.
        #[arg(long, value_name = "SIZE")]
        memory_limit: Option<bytesize::ByteSize>,
    },
}

/// What a JSON Schema describes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Described {
    /// What `measure --format json` prints.
    Measurement,
    /// `relstab.toml`.
    Config,
}

/// The command line, as it is parsed and as its help shows it.
pub fn command() -> clap::Command {
    help::abridged(Cli::command())
}

const EXIT_CODES: &str = "Exit codes:
  0  measured; check: holds           8  R_f is undefined; check: no such value
  1  check: falls short               9  no law fits, or none applies
  2  bad command line or setting     10  a file could not be read or written
  3  unusable probe set              11  some failed (watch --once, --until,
  4  unusable model                      --until-idle; sweep)
  5  model and probe set do not fit  12  unusable journal, unknown run;
  6  no such backend, library or         status: no daemon
     provider                        13  wait: nothing came in time
  7  outputs are NaN or infinite     14  wait: the run should stop";

/// Runs the command that the process's arguments name.
pub fn main() -> ProcessExit {
    crate::panics::hush();
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Measure(args) => measure::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Evidence(args) => evidence::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Scaling(args) => scaling::run(&args),
        Command::Layers(args) => layers::run(&args),
        Command::Perturb(args) => perturb::run(&args),
        Command::Logits(args) => logits::run(&args),
        Command::Socket(args) => runs::socket(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Status(args) => status::run(&args),
        Command::History(args) => runs::history(&args),
        Command::Report(args) => report::run(&args),
        Command::Gallery(args) => gallery::run(&args),
        Command::Best(args) => best::run(&args),
        Command::Wait(args) => wait::run(&args),
        Command::Resume(args) => runs::resume(&args),
        Command::Forget(args) => runs::forget(&args),
        Command::Retry(args) => runs::retry(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "relstab", &mut script);
            print(&script).map(|()| ExitCode::Success)
        }
        Command::Worker { nice, duty, memory_limit } => {
            // Work that cannot be made nicer is still to be done.
            let _ = rustix::process::nice(nice);
            crate::watch::worker::run(duty, memory_limit.map(|size| size.as_u64()), watch::drawn)
                .map(|()| ExitCode::Success)
        }
        Command::Schema { of } => {
            let schema = match of {
                Described::Measurement => crate::event::schema(),
                Described::Config => crate::config::schema(),
            };
            print_json(&schema).map(|()| ExitCode::Success)
        }
        Command::Reference => print(&reference::page(command())).map(|()| ExitCode::Success),
    };
    let code = outcome.unwrap_or_else(|error| {
        complain("error", &error.one_line());
        error.exit_code()
    });
    ProcessExit::from(code as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_short_help_shows_is_there() {
        let whole = command();
        for (name, _, flags) in help::SHORT {
            let one = whole.find_subcommand(name).expect("a command");
            let has = |id: &str| one.get_arguments().any(|arg| arg.get_id() == id);
            let missing: Vec<_> = flags.iter().filter(|flag| !has(flag)).collect();
            assert!(missing.is_empty(), "{name} has no {missing:?}");
        }
        let listed = whole.get_subcommands().filter(|one| !one.is_hide_set()).count();
        assert_eq!(listed, help::SHORT.len(), "each has an example");
    }
}
