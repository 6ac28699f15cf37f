//! `relstab evidence`: what each label-free quantity tells of the error of networks whose error is known.

use std::collections::BTreeMap;

use serde_json::json;

use super::calibrate::not_counted;
use super::flags::Shared;
use super::sources::Evidence;
use super::terminal::tell;
use crate::error::{Error, ExitCode, Result};
use crate::predict::calibrate::{Point, evidence};
use crate::report::evidence::document;
use crate::report::terminal;

/// The version of what `--format json` prints.
const SCHEMA: &str = "relstab.evidence/1";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    evidence: Evidence,
    #[command(flatten)]
    shared: Shared,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let (known, left_out) = args.evidence.known(&args.shared)?;
    if known.is_empty() {
        return Err(Error::points("evidence", "networks with a known error", "none"));
    }
    let mut sets = BTreeMap::<String, Vec<Point>>::new();
    for known in known {
        sets.entry(known.data_set.unwrap_or_default()).or_default().push(known.point);
    }
    let told: Vec<_> = sets.into_iter().map(|(data_set, points)| (data_set, evidence(&points))).collect();
    let set = |(data_set, quantities): &(String, Vec<_>)| json!({"data_set": data_set, "quantities": quantities});
    let sets: Vec<_> = told.iter().map(set).collect();
    let result = json!({"schema": SCHEMA, "sets": sets, "left_out": left_out});
    let text = || {
        let sets = told.iter().map(|(set, told)| terminal::text(&document(set, told)));
        sets.chain([not_counted(left_out)]).collect()
    };
    tell(&result, text, args.shared.format)?;
    Ok(ExitCode::Success)
}
