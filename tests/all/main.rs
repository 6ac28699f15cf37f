//! The tests of what the library and the command promise, in one crate: thirty would link the engines thirty times.

#[path = "../common/mod.rs"]
mod common;

mod backends;
mod calibrate;
mod check;
mod check_baseline;
mod check_study;
mod cli;
mod daemon;
mod directories;
mod elsewhere;
mod estimate;
mod estimate_coverage;
mod files;
mod findings;
mod gallery;
mod help;
mod http;
mod init;
mod interval_study;
mod journal;
mod law_study;
mod layers;
mod linear;
mod messages;
mod networks;
mod once;
mod perturb;
mod probe;
mod reference;
mod report;
mod scaling;
mod scaling_study;
mod settings;
mod sockets;
mod status;
mod streams;
mod survival;
mod sweep;
mod tensorboard;
mod untrusted;
mod zoo;
