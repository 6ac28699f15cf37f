//! `relstab merge`: the parts of a measurement, put together.

use std::path::PathBuf;

use super::flags::{Law, Predicting as _};
use super::measure::print_record;
use super::terminal::Format;
use crate::config::{Config, Flags};
use crate::error::{ExitCode, Result};
use crate::measure::shards::{Part, Whole};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Parts that `measure --shard` wrote, one of each shard
    #[arg(value_name = "PART", required = true)]
    parts: Vec<PathBuf>,
    /// Keep the bootstrap replicates in the JSON record
    #[arg(long)]
    replicates: bool,
    #[command(flatten)]
    law: Law,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Results")]
    format: Format,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let parts = args.parts.iter().map(|path| Part::read(path)).collect::<Result<Vec<_>>>()?;
    let mut whole = Whole::of(parts)?;
    match args.law.law() {
        (None, force) => whole.law.iter_mut().for_each(|chosen| chosen.force |= force),
        (law, force_law) => whole.law = Flags { law, force_law, ..Flags::default() }.settings(&Config::default())?.law,
    }
    print_record(whole.measurement()?, args.replicates, args.format)
}
