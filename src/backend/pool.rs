//! Things that threads share, each held by one thread at a time.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Debug)]
pub struct Pool<T> {
    idle: Mutex<Vec<T>>,
    freed: Condvar,
}

impl<T> Pool<T> {
    pub fn new(things: Vec<T>) -> Self {
        Self { idle: Mutex::new(things), freed: Condvar::new() }
    }

    /// Waits until one is idle; it is so again when what this gives is dropped.
    pub fn hold(&self) -> Held<'_, T> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(thing) = idle.pop() {
                return Held { thing: Some(thing), pool: self };
            }
            idle = self.freed.wait(idle).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One that is held.
pub struct Held<'a, T> {
    /// `None` only while this is dropped.
    thing: Option<T>,
    pool: &'a Pool<T>,
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("held until it is dropped")
    }
}

impl<T> DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("held until it is dropped")
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        if let Some(thing) = self.thing.take() {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(thing);
            self.pool.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn as_many_threads_hold_as_there_are_things() {
        let pool = Pool::new(vec![0, 0]);
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let mut thing = pool.hold();
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::sleep(Duration::from_micros(200));
                        *thing += 1;
                        held.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
        assert_eq!(*pool.hold() + *pool.hold(), 80);
    }

    #[test]
    fn what_a_thread_held_that_panics_is_held_by_others() {
        let pool = Pool::new(vec![7]);
        let panics = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _held = pool.hold();
                panic!("on purpose");
            });
            thread.join()
        });
        assert!(panics.is_err());
        assert_eq!(*pool.hold(), 7);
    }
}
