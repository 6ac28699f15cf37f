//! `relstab evidence`: what each label-free quantity tells of the error of networks whose error is known.

use std::collections::BTreeMap;

use serde_json::json;

use super::calibrate::counted;
use super::flags::Shared;
use super::sources::Evidence;
use super::terminal::{Format, print, print_json};
use crate::error::{Error, ExitCode, Result};
use crate::predict::calibrate::{Point, evidence};
use crate::report;

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
    match args.shared.format {
        Format::Json => {
            let sets: Vec<_> = told
                .iter()
                .map(|(data_set, quantities)| json!({"data_set": data_set, "quantities": quantities}))
                .collect();
            print_json(&json!({"schema": SCHEMA, "sets": sets, "left_out": left_out}))?;
        }
        Format::Text => {
            let left = if left_out > 0 {
                format!("{} left out: no known error above 0, or not trained yet\n", counted(left_out, "network"))
            } else {
                String::new()
            };
            print(&(told.iter().map(|(set, told)| report::evidence::text(set, told)).collect::<String>() + &left))?;
        }
    }
    Ok(ExitCode::Success)
}
