//! Who runs the blocks: lanes that perturb here, or lanes behind a graph that perturbs where the network computes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::vec::IntoIter;

use super::passes::Job;
use super::way::{OnCpu, OnProvider, Shared, Times, Way};
use crate::backend::{Front, Perturbing};
use crate::error::{Error, Result};
use crate::perturb::Displacement;

/// The blocks that are still to be run.
pub(super) struct Work<'a> {
    pub jobs: Mutex<IntoIter<Job<'a>>>,
    pub shared: Shared<'a>,
    /// Images of the largest block.
    pub largest: usize,
    /// Lanes that perturb here.
    pub lanes: usize,
    pub images: usize,
    /// Draws of each.
    pub draws: usize,
}

/// Blocks that make it worth while to time one perturbed here and one perturbed by a graph.
const ENOUGH_BLOCKS: usize = 4;

impl<'a> Work<'a> {
    /// Runs them all; gives the times, and what the reader should know.
    pub fn done(self) -> Result<(Vec<Times>, Option<String>)> {
        let Shared { backend, perturber, .. } = self.shared;
        match backend.perturbing(perturber.interpolation()) {
            Perturbing::Front if self.draws > 0 => {
                let front = self.front()?;
                Ok((vec![self.rest(front.lanes(), || self.behind(&*front), |_, error| Err(error))?], None))
            }
            // A single draw would be timed with all that a graph does once.
            Perturbing::Quicker(worth) if self.draws > 1 && self.left() >= ENOUGH_BLOCKS => self.by_the_quicker(worth),
            _ => Ok((vec![self.rest_on_cpu()?], None)),
        }
    }

    /// Times the first block perturbed here and the second perturbed by a graph, and gives the others to the quicker way; what a
    /// graph cannot do is done here, with a note.
    fn by_the_quicker(&self, worth: Duration) -> Result<(Vec<Times>, Option<String>)> {
        let first = self.one_on_cpu(self.next().as_mut())?;
        if first.of_perturbing(self.lanes) * ((self.images * self.draws) as f64) < worth.as_secs_f64() {
            return Ok((vec![first, self.rest_on_cpu()?], None));
        }
        let note = |error: Error| Some(format!("images were perturbed on the CPU: {}", error.one_line()));
        let front = match self.front() {
            Ok(front) => front,
            Err(error) => return Ok((vec![first, self.rest_on_cpu()?], note(error))),
        };
        let mut second = self.next();
        let tried = self.behind(&*front).and_then(|mut way| {
            self.one(&mut way, second.as_mut())?;
            Ok(way.times())
        });
        match tried {
            Ok(second) if second.of_a_draw(front.lanes()) < first.of_a_draw(self.lanes) => {
                let failed = Mutex::new(None);
                let recover = |job: &mut Job, error| {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = note(error);
                    self.one_on_cpu(Some(job))
                };
                let rest = self.rest(front.lanes(), || self.behind(&*front), recover)?;
                Ok((vec![first, second, rest], failed.into_inner().unwrap_or_else(PoisonError::into_inner)))
            }
            slower => {
                // It would keep its memory.
                drop(front);
                let (second, note) = match slower {
                    Ok(second) => (second, None),
                    Err(error) => (self.one_on_cpu(second.as_mut())?, note(error)),
                };
                Ok((vec![first, second, self.rest_on_cpu()?], note))
            }
        }
    }

    /// The graph, if it gives of a few images what perturbing them here gives.
    fn front(&self) -> Result<Box<dyn Front>> {
        let front = self.shared.backend.front(self.shared.perturber)?;
        let rows = self.images.min(2);
        let shared = Shared { report: &|_| (), ..self.shared };
        let (mut here, mut there) =
            (OnCpu::new(shared, self.largest)?, OnProvider::new(shared, &*front, self.largest)?);
        let mut displacements = vec![Displacement::default(); rows];
        let clean = here.clean(0..rows)?.to_vec();
        there.clean(0..rows)?;
        let pairs = here.draw(0, displacements.iter_mut())?.into_iter().zip(there.draw(0, displacements.iter_mut())?);
        let (change, difference) = pairs.fold((0.0, 0.0), |(change, difference), (here, there)| {
            (change + squared_distance(here, &clean), difference + squared_distance(here, there))
        });
        // A network of 16-bit floats rounds changes to a percent; a wrong graph is as far off as they are large. Images of one shade
        // change by rounding alone. Of a network that gives no numbers the passes tell.
        let rounding = 1e-10 * squared_distance(&clean, &vec![0.0; clean.len()]);
        if !change.is_finite() || difference <= 0.01 * change + rounding {
            return Ok(front);
        }
        let network = self.shared.backend.network();
        let message =
            format!("expected what they are here, found outputs {:.1e} of a change off", (difference / change).sqrt());
        Err(Error::Engine { path: network.path.clone(), engine: "onnxruntime", action: "perturb images for", message })
    }

    fn rest_on_cpu(&self) -> Result<Times> {
        self.rest(self.lanes, || self.on_cpu(), |_, error| Err(error))
    }

    /// Runs all that are left on so many lanes; the times are averages over these. `recover` is for a block that failed.
    fn rest<W: Way>(
        &self,
        lanes: usize,
        way: impl Fn() -> Result<W> + Sync,
        recover: impl Fn(&mut Job, Error) -> Result<Times> + Sync,
    ) -> Result<Times> {
        let failed = AtomicBool::new(false);
        let work = || -> Result<Times> {
            let mut way = way()?;
            let mut recovered = Times::default();
            while !failed.load(Ordering::Relaxed) {
                let Some(mut job) = self.next() else { break };
                if let Err(error) = self.one(&mut way, Some(&mut job)) {
                    recovered.add(&recover(&mut job, error)?, 1);
                }
            }
            recovered.add(&way.times(), 1);
            Ok(recovered)
        };
        let work = || work().inspect_err(|_| failed.store(true, Ordering::Relaxed));
        let lanes = lanes.min(self.left());
        let times: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..lanes).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut total = Times::default();
        for time in times {
            total.add(&time?, lanes as u32);
        }
        Ok(total)
    }

    fn one_on_cpu(&self, job: Option<&mut Job>) -> Result<Times> {
        let mut way = self.on_cpu()?;
        self.one(&mut way, job)?;
        Ok(way.times())
    }

    fn one(&self, way: &mut impl Way, job: Option<&mut Job>) -> Result<()> {
        job.map_or(Ok(()), |job| job.run(way, self.shared.backend.network()))
    }

    fn on_cpu(&self) -> Result<OnCpu<'a>> {
        OnCpu::new(self.shared, self.largest)
    }

    fn behind(&self, front: &dyn Front) -> Result<OnProvider<'a>> {
        OnProvider::new(self.shared, front, self.largest)
    }

    fn next(&self) -> Option<Job<'a>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn left(&self) -> usize {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}
