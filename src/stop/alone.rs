//! Rules that look at one run: patience, as Keras and Lightning have it.

use super::monitor::{Mode, Monitor};
use super::point::{Mark, Point, Stop, Verdict};
use super::rule::Rule;
use crate::estimate::Comparison;

/// Compares two checkpoints by their ids at a level, where the replicates of both are kept: first less second, of what is monitored; of
/// a predicted error, of what its law goes by.
pub type Compare<'a> = &'a dyn Fn(i64, i64, f64) -> Option<Comparison>;

/// What `rule` says of `history`, in training order. What comes behind the checkpoint that decides a stop may be the best, and changes
/// nothing else.
pub fn judge(rule: &Rule, history: &[Point], compare: Compare) -> Verdict {
    let rule = &rule.on(history);
    let mut verdict = Verdict { monitor: rule.monitor, best: None, wait: 0, patience_left: rule.patience, stop: None };
    // What is to be beaten by `min_delta`: worse than the best by less than that.
    let mut mark: Option<(&Point, f64)> = None;
    let mut best: Option<f64> = None;
    let mut cooldown = 0;
    for point in history {
        // What has no step may be earlier.
        if rule.start_from > 0 && point.step.is_none_or(|step| step < rule.start_from) {
            continue;
        }
        let Some(value) = point.value(rule.monitor) else { continue };
        let is_open = verdict.stop.is_none();
        if let Some(reason) = rule.at_once(value).filter(|_| is_open && !point.is_overruled) {
            verdict.stop = Some(Stop { reason, at: Mark::new(point, value), compared: Vec::new() });
            continue;
        }
        if value.is_finite() && best.is_none_or(|than| rule.is_better(value, than)) {
            best = Some(value);
            verdict.best = Some(Mark::new(point, value));
        }
        if !value.is_finite() || !is_open {
            continue;
        }
        let is_improvement = mark.is_none_or(|(at, than)| {
            rule.is_improvement(value, than)
                && rule.confidence.and_then(|level| compare(point.id, at.id, level)).is_none_or(|paired| {
                    match (rule.monitor, rule.mode) {
                        // A law may rise or fall with what it goes by: what it says is surely another where that surely is.
                        (Monitor::PredictedError, _) => paired.is_different(),
                        (_, Mode::Min | Mode::Auto) => paired.high < 0.0,
                        (_, Mode::Max) => paired.low > 0.0,
                    }
                })
        });
        if is_improvement {
            mark = Some((point, value));
        }
        if is_improvement && rule.baseline.is_none_or(|baseline| rule.is_improvement(value, baseline)) {
            verdict.wait = 0;
            cooldown = rule.cooldown;
        } else if point.is_overruled {
            verdict.wait = 0;
        } else if cooldown > 0 {
            cooldown -= 1;
        } else {
            verdict.wait += 1;
        }
        verdict.patience_left = rule.patience.saturating_sub(verdict.wait);
        if verdict.patience_left == 0 {
            let (at, than) = mark.unwrap_or((point, value));
            let step = at.step.map_or_else(String::new, |step| format!(" (step {step})"));
            let by = if rule.min_delta.number() > 0.0 { format!(" by {}", rule.min_delta) } else { String::new() };
            let than = match rule.baseline.filter(|baseline| !rule.is_improvement(than, *baseline)) {
                Some(baseline) => format!("the baseline {baseline}"),
                None => format!("{than:.4}{step}"),
            };
            let monitor = rule.monitor;
            let reason = format!("{monitor} did not improve on {than}{by} in {} checkpoints", verdict.wait);
            verdict.stop = Some(Stop { reason, at: Mark::new(point, value), compared: Vec::new() });
        }
    }
    verdict
}

/// The best checkpoint of a run that no rule judges, and what it is best by.
pub fn best(history: &[Point]) -> Option<(Monitor, Mark)> {
    let rule = Rule { check_finite: false, patience: u32::MAX, ..Rule::default() };
    let verdict = judge(&rule, history, &|_, _, _| None);
    verdict.best.map(|best| (verdict.monitor, best))
}
