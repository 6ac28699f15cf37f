//! Rests between batches, so that a worker computes its share of the time and leaves the rest to others.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keeps a measurement to a share of the time: its lanes rest together, for as long as one of them computed before.
#[derive(Debug)]
pub struct Throttle {
    started: Instant,
    rests: Mutex<Rests>,
}

thread_local! {
    /// When this lane began its batch, since the start of the measurement.
    static BEGAN: Cell<Option<Duration>> = const { Cell::new(None) };
}

impl Throttle {
    /// From now on, `duty` of the time is computed.
    pub fn new(duty: f64) -> Self {
        Self { started: Instant::now(), rests: Mutex::new(Rests::new(duty)) }
    }

    /// Called by a lane that is done with a batch; returns when it may begin the next.
    pub fn rest(&self) {
        let rests = || self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        let now = || self.started.elapsed();
        let mut until = rests().batch_done(BEGAN.get(), now());
        // Others that are done meanwhile make the rest longer.
        while let Some(left) = until.checked_sub(now()).filter(|left| !left.is_zero()) {
            std::thread::sleep(left);
            until = rests().until;
        }
        BEGAN.set(Some(now()));
    }

    /// The rest that is still to be taken.
    pub fn left(&self) -> Duration {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner).left(self.started.elapsed())
    }
}

/// A time of computing and the rest after it, as times since the start.
#[derive(Debug)]
struct Rests {
    duty: f64,
    /// When the first lane began.
    resumed: Duration,
    /// Until when all rest after the last that was done.
    until: Duration,
}

impl Rests {
    fn new(duty: f64) -> Self {
        Self { duty, resumed: Duration::ZERO, until: Duration::ZERO }
    }

    /// Until when to rest after a batch; a lane's first did not begin after a rest.
    fn batch_done(&mut self, began: Option<Duration>, now: Duration) -> Duration {
        self.resumed = match began {
            Some(began) if began < self.until => self.resumed.min(began),
            None if now < self.until => self.resumed,
            _ => self.until,
        };
        self.until = now + owed(now.saturating_sub(self.resumed), self.duty);
        self.until
    }

    fn left(&self, now: Duration) -> Duration {
        self.until.checked_sub(now).unwrap_or_else(|| owed(now.saturating_sub(self.until), self.duty))
    }
}

/// The rest that goes with a time of computing.
fn owed(computed: Duration, duty: f64) -> Duration {
    computed.mul_f64(1.0 / duty - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of a time in which some lane computes, by a clock of our own; each lane's batches take a time of its own.
    fn share(duty: f64, batches: &[Duration]) -> f64 {
        let mut rests = Rests::new(duty);
        // When each lane began its batch; before that it rested.
        let mut began: Vec<Option<Duration>> = vec![Some(Duration::ZERO); batches.len()];
        let mut rounds = vec![0; batches.len()];
        let (mut now, mut computing) = (Duration::ZERO, Duration::ZERO);
        while now < Duration::from_mins(10) {
            let ends = |lane: usize| began[lane].map_or(rests.until, |began| began + batches[lane]);
            let lane = (0..batches.len()).min_by_key(|lane| ends(*lane)).expect("a lane");
            let next = ends(lane);
            if began.iter().any(Option::is_some) {
                computing += next.saturating_sub(now);
            }
            now = next;
            if let Some(start) = began[lane].take() {
                rests.batch_done((rounds[lane] > 0).then_some(start), now);
                rounds[lane] += 1;
            } else {
                began[lane] = Some(now);
            }
        }
        assert!(rounds.iter().all(|rounds| *rounds > 2), "{rounds:?}");
        computing.as_secs_f64() / now.as_secs_f64()
    }

    #[test]
    fn some_lane_computes_for_the_share_of_the_time_whatever_the_batches_take() {
        let ms = Duration::from_millis;
        for duty in [0.1, 0.2, 0.5, 0.9] {
            for batches in [vec![ms(10)], vec![ms(10), ms(10)], vec![ms(7), ms(13)], vec![ms(500), ms(3), ms(20)]] {
                let share = share(duty, &batches);
                assert!((share / duty - 1.0).abs() < 0.1, "duty {duty}, batches {batches:?}: {share}");
            }
        }
    }

    #[test]
    fn what_was_computed_since_the_last_rest_is_still_to_be_rested_for() {
        let s = Duration::from_secs;
        let mut rests = Rests::new(0.2);
        assert_eq!(rests.left(s(1)), s(4));
        assert_eq!(rests.batch_done(None, s(1)), s(5));
        assert_eq!(rests.left(s(3)), s(2));
        assert_eq!(rests.left(s(6)), s(4));
        assert_eq!(owed(s(2), 1.0), Duration::ZERO);
    }
}
