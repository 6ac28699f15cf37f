#![allow(missing_docs, clippy::all)]
use crate::error::Result;
pub use crate::perturb::Shape;
use std::path::Path;
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Layout {
    Nchw,
    Nhwc,
}
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub images: Option<usize>,
    pub seed: u64,
    pub layout: Option<Layout>,
    pub mean: Option<Vec<f32>>,
    pub std: Option<Vec<f32>>,
}
#[derive(Debug, Clone)]
pub struct Normalisation {
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}
#[derive(Debug, Clone)]
pub struct ProbeSet;
impl ProbeSet {
    pub fn open(_: &Path, _: &Options) -> Result<Self> {
        todo!()
    }
    pub fn normalised(self, _: Option<&[f32]>, _: Option<&[f32]>) -> Result<Self> {
        todo!()
    }
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn shape(&self) -> Shape {
        todo!()
    }
    pub fn image(&self, _: usize, _: &mut [f32]) {
        todo!()
    }
    pub fn labels(&self) -> Option<&[u32]> {
        todo!()
    }
    pub fn source_index(&self, _: usize) -> usize {
        todo!()
    }
    pub fn sha256(&self) -> &str {
        todo!()
    }
    pub fn source(&self) -> &str {
        todo!()
    }
    pub fn normalisation(&self) -> Option<&Normalisation> {
        todo!()
    }
    pub fn prefix(&self, _: usize) -> ProbeSet {
        todo!()
    }
    pub fn warnings(&self) -> Vec<String> {
        todo!()
    }
}
