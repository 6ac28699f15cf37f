//! A share of the passes: a block of images perturbed and run, of whose outputs only squared changes are kept.

use super::forward::Forward;
use super::outputs::{Block, Changed};
use super::scores::Tally;
use crate::backend::Network;
use crate::error::Result;
use crate::perturb::Displacement;

/// A block of consecutive images and its share of every result.
pub(super) struct Job<'a> {
    pub first: usize,
    pub rows: usize,
    /// Of each layer, then of the output.
    pub tensors: Vec<Block<'a>>,
    pub displacements: &'a mut [Displacement],
    pub tallies: &'a mut [Tally],
}

impl Job<'_> {
    pub fn run(&mut self, forward: &mut impl Forward, network: &Network) -> Result<()> {
        let (rows, draws) = (self.rows, self.displacements.len() / self.rows);
        let (row, answers) = (network.row(), network.answers());
        let given = forward.clean(self.first..self.first + rows)?;
        for (tensor, columns) in self.tensors.iter_mut().zip(network.columns()) {
            tensor.keep_clean(given.chunks_exact(row).take(rows).map(|row| &row[columns.clone()]));
        }
        for (tally, row) in self.tallies.iter_mut().zip(given.chunks_exact(row)) {
            *tally = Tally::clean(&row[answers.clone()]);
        }
        for draw in 0..draws {
            let displacements = self.displacements.iter_mut().skip(draw).step_by(draws);
            let perturbed = forward.draw(draw as u64, displacements)?;
            for (given, kind) in perturbed.into_iter().zip([Changed::Deformed, Changed::Noisy]) {
                for (tensor, columns) in self.tensors.iter_mut().zip(network.columns()) {
                    let rows = given.chunks_exact(row).take(rows).map(|row| &row[columns.clone()]);
                    tensor.keep_changes(kind, rows, (draw, draws));
                }
                for (tally, row) in self.tallies.iter_mut().zip(given.chunks_exact(row)) {
                    tally.add(kind, &row[answers.clone()]);
                }
            }
        }
        Ok(())
    }
}
