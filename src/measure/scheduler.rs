//! Who runs which blocks: lanes that perturb here, or lanes behind a graph that perturbs where the network computes.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use super::forward::{Forward, OnCpu, OnProvider, Shared, Times};
use super::job::Job;
use crate::backend::{PerturbGraph, Perturbing};
use crate::error::{Error, Result};
use crate::perturb::Displacement;

/// Gives blocks to lanes.
pub(super) struct Scheduler<'a> {
    pub shared: Shared<'a>,
    /// Images of the largest block.
    pub largest: usize,
    /// Lanes that perturb here.
    pub lanes: usize,
    pub images: usize,
    /// Draws of each.
    pub draws: usize,
    /// Whether timing has no say in where images are perturbed: shares of one measurement must not differ in that.
    pub is_share: bool,
}

/// Blocks for each lane of a graph that time it.
const TIMED_BLOCKS: usize = 2;
/// Blocks beyond those that time this process, at least, for a graph to be tried: one of two lanes is timed with half of them.
const ENOUGH_BLOCKS: usize = 8;

impl Scheduler<'_> {
    /// Runs all blocks; gives the times, and what the reader should know.
    pub fn run_all(&self, jobs: Vec<Job>) -> Result<(Vec<Times>, Option<String>)> {
        let Shared { backend, perturber, .. } = self.shared;
        match backend.perturbing(perturber.interpolation()) {
            Perturbing::Graph if self.draws > 0 => {
                let graph = self.perturb_graph()?;
                let forward = || OnProvider::new(self.shared, &*graph, self.largest);
                Ok((vec![self.run(jobs, graph.lanes(), forward, |_, error| Err(error))?], None))
            }
            Perturbing::Quicker(worth)
                if !self.is_share && self.draws > 0 && jobs.len() >= self.lanes + ENOUGH_BLOCKS =>
            {
                self.by_the_quicker(jobs, worth)
            }
            _ => Ok((vec![self.on_cpu(jobs)?], None)),
        }
    }

    /// Times a block for each lane perturbed here; where perturbing is what keeps the network waiting, and that long enough, times
    /// the next ones behind a graph, and gives the others to the quicker way. What a graph cannot do is done here, with a note.
    fn by_the_quicker(&self, mut first: Vec<Job>, worth: Duration) -> Result<(Vec<Times>, Option<String>)> {
        let mut second = first.split_off(self.lanes);
        let left = rows(&second) as f64 / rows(&first) as f64;
        let (here, pace_here) = timed(first, |jobs| self.on_cpu(jobs))?;
        if here.perturb < here.inference || here.perturb.mul_f64(left) < worth {
            return Ok((vec![here, self.on_cpu(second)?], None));
        }
        let note = |error: Error| format!("images were perturbed on the CPU: {}", error.one_line());
        let graph = match self.perturb_graph() {
            Ok(graph) => graph,
            Err(error) => return Ok((vec![here, self.on_cpu(second)?], Some(note(error)))),
        };
        let rest = second.split_off(second.len().min(TIMED_BLOCKS * graph.lanes()));
        let failure = Mutex::new(None);
        let (there, pace_there) = timed(second, |jobs| self.behind(&*graph, jobs, &failure))?;
        let has_failed = failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let last = if has_failed || pace_there > pace_here {
            // It would keep its memory.
            drop(graph);
            self.on_cpu(rest)?
        } else {
            self.behind(&*graph, rest, &failure)?
        };
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((vec![here, there, last], failure.map(note)))
    }

    /// The graph, if it gives of a few images what perturbing them here gives.
    fn perturb_graph(&self) -> Result<Box<dyn PerturbGraph>> {
        let graph = self.shared.backend.perturb_graph(self.shared.perturber)?;
        let rows = self.images.min(2);
        let shared = Shared { report: &|_| (), ..self.shared };
        let (mut here, mut there) =
            (OnCpu::new(shared, self.largest)?, OnProvider::new(shared, &*graph, self.largest)?);
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
            return Ok(graph);
        }
        let network = self.shared.backend.network();
        let message =
            format!("expected what they are here, found outputs {:.1e} of a change off", (difference / change).sqrt());
        Err(Error::Engine { path: network.path.clone(), engine: "onnxruntime", action: "perturb images for", message })
    }

    /// Runs blocks perturbed here.
    fn on_cpu(&self, jobs: Vec<Job>) -> Result<Times> {
        self.run(jobs, self.lanes, || OnCpu::new(self.shared, self.largest), |_, error| Err(error))
    }

    /// Runs blocks behind a graph, and those that it fails at perturbed here; keeps the last failure.
    fn behind(&self, graph: &dyn PerturbGraph, jobs: Vec<Job>, failure: &Mutex<Option<Error>>) -> Result<Times> {
        let recover = |job: &mut Job, error| {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            let mut forward = OnCpu::new(self.shared, self.largest)?;
            job.run(&mut forward, self.shared.backend.network())?;
            Ok(forward.times())
        };
        self.run(jobs, graph.lanes(), || OnProvider::new(self.shared, graph, self.largest), recover)
    }

    /// Runs blocks on so many lanes; the times are averages over these. `recover` is for a block that failed.
    fn run<F: Forward>(
        &self,
        jobs: Vec<Job>,
        lanes: usize,
        make: impl Fn() -> Result<F> + Sync,
        recover: impl Fn(&mut Job, Error) -> Result<Times> + Sync,
    ) -> Result<Times> {
        let network = self.shared.backend.network();
        let lanes = lanes.min(jobs.len());
        let (jobs, failed) = (Mutex::new(jobs.into_iter()), AtomicBool::new(false));
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || -> Result<Times> {
            let (mut forward, mut times) = (None, Times::default());
            while !failed.load(Ordering::Relaxed) {
                let Some(mut job) = next() else { break };
                let outcome = match &mut forward {
                    Some(forward) => job.run(forward, network),
                    none => make().and_then(|forward| job.run(none.insert(forward), network)),
                };
                if let Err(error) = outcome {
                    times.add(&recover(&mut job, error)?, 1);
                }
            }
            times.add(&forward.map_or_else(Times::default, |forward| forward.times()), 1);
            Ok(times)
        };
        let work = || work().inspect_err(|_| failed.store(true, Ordering::Relaxed));
        let times: Vec<_> = std::thread::scope(|scope| {
            let start = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
            let threads: Vec<_> = (0..lanes).map_while(start).collect();
            // Where no more threads may start, fewer do it, or this one.
            let own = threads.is_empty().then(work);
            let join = |thread: ScopedJoinHandle<_>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            threads.into_iter().map(join).chain(own).collect()
        });
        let (mut total, lanes) = (Times::default(), times.len() as u32);
        for time in times {
            total.add(&time?, lanes);
        }
        Ok(total)
    }
}

/// Runs blocks; gives besides how many seconds an image took.
fn timed(jobs: Vec<Job>, run: impl FnOnce(Vec<Job>) -> Result<Times>) -> Result<(Times, f64)> {
    let (images, started) = (rows(&jobs), Instant::now());
    let times = run(jobs)?;
    Ok((times, started.elapsed().as_secs_f64() / images as f64))
}

/// Images of blocks.
fn rows(jobs: &[Job]) -> usize {
    jobs.iter().map(|job| job.rows).sum()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}
