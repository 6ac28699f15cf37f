//! Early-stopping rules: pure functions over a run's history, alone in the words of Keras and Lightning, or beside the histories of
//! other runs.

mod alone;
mod change;
mod monitor;
mod peers;
mod point;
mod rule;
#[cfg(test)]
mod tests;

pub use alone::{Compare, best, judge};
pub use change::Change;
pub use monitor::{Mode, Monitor};
pub use peers::{Peer, judge_among};
pub use point::{Compared, Mark, Point, Scores, Stop, Verdict};
pub use rule::{Rule, RuleKind};
