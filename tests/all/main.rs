//! The tests of what the library and the command promise, in one crate: thirty would link the engines thirty times.

#[path = "../common/mod.rs"]
mod common;

mod adoption;
mod backends;
mod calibrate;
mod chaos;
mod check;
mod check_baseline;
mod check_study;
mod cli;
mod daemon;
mod directories;
mod estimate;
mod estimate_coverage;
mod files;
mod findings;
mod gallery;
mod http;
mod interval_study;
mod journal;
mod law_study;
mod layers;
mod limits;
mod linear;
mod many;
mod networks;
mod once;
mod perturb;
mod probe;
mod report;
mod scaling;
mod scaling_study;
mod settings;
mod sockets;
mod streams;
mod survival;
mod sweep;
mod tensorboard;
mod untrusted;
mod zoo;
