//! Rules that compare a run with those beside it: the median rule of Vizier and Katib, and asynchronous successive halving that
//! only stops (Li et al., arXiv:1810.05934). Both look at what is known now, and at the run's latest checkpoint only.

use super::monitor::Mode;
use super::point::{Compared, Mark, Point, Stop, Verdict};
use super::rule::{Rule, RuleKind};

/// Runs that a stop names.
const MOST_NAMED: usize = 32;

/// Another run of the group.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Its canonical path.
    pub run: String,
    /// Steps in their order, each with the monitor's value.
    pub series: Vec<(u64, f64)>,
}

/// What a `rule` of kind `median` or `halving`, whose monitor is settled, says of `history` beside the `peers`. A run whose stop a
/// person overruled is not compared any more.
pub fn judge_among(rule: &Rule, history: &[Point], peers: &[Peer]) -> Verdict {
    let mut verdict = Verdict { monitor: rule.monitor, best: None, wait: 0, patience_left: rule.patience, stop: None };
    let own: Vec<_> = history.iter().filter_map(|point| Some((point, point.value(rule.monitor)?))).collect();
    let finite = own.iter().filter(|(_, value)| value.is_finite());
    let best = finite.copied().reduce(|best, next| if rule.is_better(next.1, best.1) { next } else { best });
    verdict.best = best.map(|(point, value)| Mark::new(point, value));
    let Some((latest, value)) = own.last().copied() else { return verdict };
    let before = own.len().checked_sub(2).and_then(|before| own[before].0.step);
    let is_compared = history.iter().all(|point| !point.is_overruled);
    let is_early = latest.step.is_some_and(|step| step < rule.start_from);
    let at_once = rule.at_once(value).filter(|_| !latest.is_overruled && !is_early);
    let found = match (at_once, best, latest.step) {
        (Some(reason), ..) => Some((reason, Vec::new())),
        (None, Some((_, best)), Some(step)) if is_compared && !is_early => match rule.kind {
            RuleKind::Patience => None,
            RuleKind::Median => beside_median(rule, best, step, peers),
            RuleKind::Halving => at_rung(rule, value, (before, step), peers),
        },
        _ => None,
    };
    verdict.stop = found.map(|(reason, mut compared)| {
        compared.truncate(MOST_NAMED);
        Stop { reason, at: Mark::new(latest, value), compared }
    });
    verdict
}

/// Stops a run whose best so far is worse than the median of the others' averages up to `step`; only runs that came so far count.
fn beside_median(rule: &Rule, best: f64, step: u64, peers: &[Peer]) -> Option<(String, Vec<Compared>)> {
    let average = |peer: &Peer| {
        peer.series.last().filter(|(last, _)| *last >= step)?;
        let values: Vec<_> = peer.series.iter().take_while(|(at, _)| *at <= step).map(|(_, value)| *value).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (!values.is_empty()).then(|| Compared { run: peer.run.clone(), value: mean })
    };
    let averages = ranked(rule, peers.iter().filter_map(average).collect());
    if averages.len() < rule.least_runs as usize {
        return None;
    }
    let middle = averages.len() / 2;
    let median = match averages.len() % 2 {
        0 => f64::midpoint(averages[middle - 1].value, averages[middle].value),
        _ => averages[middle].value,
    };
    let reason = format!(
        "{} is {best:.4} at best, worse than the median {median:.4} of the averages of {} other runs up to step {step}",
        rule.monitor,
        averages.len()
    );
    rule.is_improvement(median, best).then_some((reason, averages))
}

/// Stops a run that has just come to a rung and is not among the best there, of those that came so far: one of `reduction` goes on.
fn at_rung(
    rule: &Rule,
    value: f64,
    (before, step): (Option<u64>, u64),
    peers: &[Peer],
) -> Option<(String, Vec<Compared>)> {
    let factor = u64::from(rule.reduction);
    let rungs = std::iter::successors(Some(rule.start_from), |rung| rung.checked_mul(factor));
    let rung = rungs.take_while(|rung| *rung <= step).last()?;
    if before.is_some_and(|before| before >= rung) || !value.is_finite() {
        return None;
    }
    let there = |peer: &Peer| {
        let (_, value) = *peer.series.iter().find(|(at, _)| *at >= rung)?;
        Some(Compared { run: peer.run.clone(), value })
    };
    let others = ranked(rule, peers.iter().filter_map(there).collect());
    if others.len() < rule.least_runs as usize {
        return None;
    }
    let better = others.iter().filter(|other| rule.is_improvement(other.value, value)).count();
    let kept = ((others.len() + 1) / rule.reduction as usize).max(1);
    let reason = format!(
        "{} is {value:.4} at the rung of step {rung}: {better} of {} other runs were better there, and {kept} go on",
        rule.monitor,
        others.len()
    );
    (better >= kept).then_some((reason, others))
}

/// The best first.
fn ranked(rule: &Rule, mut all: Vec<Compared>) -> Vec<Compared> {
    all.sort_by(|a, b| match rule.mode {
        Mode::Max => b.value.total_cmp(&a.value),
        Mode::Min | Mode::Auto => a.value.total_cmp(&b.value),
    });
    all
}
