//! The daemon: finds each checkpoint of each run, has it measured once in a worker process, judges the run, tells listeners.
//!
//! One direction: a [`source`] finds files and tells the [`daemon`], which queues them in the journal, hands them to the
//! [`pool`] of workers (each the process in [`worker`], slowed by a [`throttle`], from a [`starter`]), journals what comes back and
//! only then broadcasts it.

pub mod weights;
pub mod version;
pub mod tree;
pub mod kinds;
pub mod scan;
pub mod source;
pub mod throttle;
pub mod protocol;
pub mod remote;
pub mod worker;
pub mod starter;
pub mod caller;
pub mod planner;
pub mod messenger;
pub mod pool;
pub mod daemon;
