//! Tells from an exported image classifier alone, without labels, how well it will do.
//!
//! The measure is the relative stability `R_f` (Petrini, Favero, Geiger, Wyart, arXiv:2105.02468): how much the
//! network's output moves under smooth random deformations of an image, over how much it moves under noise of the same size.
//!
//! ```text
//! D_f = typical |f(tau x) - f(x)|^2 / typical |f(x) - f(z)|^2      tau: maximum-entropy diffeomorphism
//! G_f = typical |f(x + eta) - f(x)|^2 / typical |f(x) - f(z)|^2    |eta| = |tau x - x|
//! R_f = D_f / G_f                                                  on CIFAR-10: test error = 0.2 sqrt(R_f)
//! ```
//!
//! ```no_run
//! use relstab::{backend, measure, probe};
//!
//! # fn main() -> relstab::error::Result<()> {
//! let probe = probe::ProbeSet::open("probe.npz".as_ref(), &probe::Options::default())?;
//! let network = backend::open("model.onnx".as_ref(), probe.shape(), &backend::Options::default())?;
//! let measurement = measure::measure(&*network, &probe, &measure::Settings::default(), &|_done, _all| ())?;
//! println!("R_f = {:?}", measurement.r_f);
//! # Ok(())
//! # }
//! ```
//!
//! Data flows one way, and each module uses only those above it: images from [`probe`], deformed and noisy by [`perturb`],
//! through a network in [`backend`], to stabilities in [`estimate`] and an error in [`predict`], recorded as an [`event`].
//! [`measure`] is the whole line; [`cli`], [`watch`] and [`report`] bring it to people.

pub mod error;
pub mod text;
pub mod path;
pub mod file_system;
pub mod small_file;
pub mod process;
pub mod panics;
pub mod arrays;
pub mod store;
pub mod preprocess;
pub mod probe;
pub mod perturb;
pub mod gallery;
pub mod checkpoint;
pub mod export;
pub mod backend;
pub mod estimate;
pub mod predict;
pub mod stop;
pub mod event;
pub mod check;
pub mod rank;
pub mod findings;
pub mod alert;
pub mod measure;
pub mod evidence;
pub mod scaling;
pub mod plan;
pub mod doctor;
pub mod config;
pub mod start;
pub mod journal;
pub mod state;
pub mod watch;

pub mod report;
pub mod serve;
pub mod cli;
