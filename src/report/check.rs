//! What `relstab check` found.

use std::cmp::Reverse;

use super::conditions::{all, time};
use super::document::{Block, Document, Line, Suite, Test, Text, Tone};
use super::{percent, significant};
use crate::check::{Bound, Check, Checked, Ended, Limit, Quantity, Report, Rise, Verdict};
use crate::estimate::Estimate;
use crate::event::{Code, Finding, Measurement, Severity};

const UNTOLD: &str = "could not tell";
/// Networks that the verdict names; the table has all.
const MOST_NAMED: usize = 5;

/// Each network with its tests, and what the networks were measured with.
pub fn document(report: &Report) -> Document {
    let against = report.baseline.iter().flat_map(|baseline| [" against ".into(), Text::name(baseline)]);
    let promise = false_alarms(report).map(|words| Block::Paragraph(vec![words.into()]));
    let records: Vec<&Measurement> = report.models.iter().filter_map(|model| model.measurement.as_ref()).collect();
    let suites = Block::Suites(report.models.iter().map(suite).collect());
    Document {
        title: [Text::from("relstab check")].into_iter().chain(against).collect(),
        heading: Vec::new(),
        blocks: [Block::Verdict(verdict(report)), Block::Details(vec![time(&records)]), suites]
            .into_iter()
            .chain(promise)
            .chain([Block::Details(all(&records))])
            .collect(),
    }
}

/// What each network comes to, the worst first.
fn verdict(report: &Report) -> Vec<Line> {
    let line = |model: &Checked| {
        let (tone, outcome) = outcome(model);
        let short = model.checks.iter().filter(|check| check.verdict == Verdict::FallsShort);
        let short: Vec<_> = short.map(|check| check.limit.quantity.to_string()).collect();
        let by = if short.is_empty() { String::new() } else { format!(", by {}", short.join(", ")) };
        (tone, vec![Text::name(&model.path), ": ".into(), Text::Verdict(tone, outcome), by.into()])
    };
    let mut lines: Vec<_> = report.models.iter().map(line).collect();
    lines.sort_by_key(|(tone, _)| Reverse(*tone));
    let more = lines.len().saturating_sub(MOST_NAMED);
    let rest = (more > 0).then(|| vec![format!("{more} more networks stand in the table.").into()]);
    lines.into_iter().take(MOST_NAMED).map(|(_, line)| line).chain(rest).collect()
}

fn outcome(model: &Checked) -> (Tone, String) {
    match (model.verdict, &model.error) {
        (Some(Verdict::FallsShort), _) => (Tone::Bad, Verdict::FallsShort.to_string()),
        (Some(Verdict::Holds), None) => (Tone::Good, Verdict::Holds.to_string()),
        (Some(verdict), None) => (Tone::Unsure, verdict.to_string()),
        (None, None) => (Tone::Good, "measured, held to no limit".to_owned()),
        _ => (Tone::Unsure, UNTOLD.to_owned()),
    }
}

fn suite(model: &Checked) -> Suite {
    let (_, outcome) = outcome(model);
    let early = ended(model).map_or_else(String::new, |early| format!(" ({early})"));
    let found = concerns(model).into_iter().map(|finding| concern(finding, &model.allowed));
    let (id, verdict) = ("measured".to_owned(), UNTOLD.to_owned());
    let error = model.error.clone().map(|found| Test { id, found, verdict, ..Test::default() });
    Suite {
        name: model.path.clone(),
        outcome: outcome + &early,
        tests: model.checks.iter().map(test).chain(found).chain(error).collect(),
        facts: beside(model),
    }
}

fn test(check: &Check) -> Test {
    let Limit { quantity, bound } = check.limit;
    let tone = match check.verdict {
        Verdict::Holds => Tone::Good,
        Verdict::Inconclusive => Tone::Unsure,
        Verdict::FallsShort => Tone::Bad,
    };
    let (id, limit) = match bound {
        Bound::Max(max) => (format!("{quantity} <= {max}"), format!("at most {}", number(quantity, max))),
        Bound::Min(min) => (format!("{quantity} >= {min}"), format!("at least {}", number(quantity, min))),
    };
    let found = match (check.low, check.high) {
        (Some(low), Some(high)) => ranged(quantity, check.value, low, high),
        _ => format!("{} (the law has no interval)", number(quantity, check.value)),
    };
    let (name, verdict) = (quantity.to_string(), check.verdict.to_string());
    Test { name, id, found, limit, verdict, tone, ..Test::default() }
}

fn concern(Finding { code, severity, text, help }: Finding, allowed: &[Code]) -> Test {
    let (tone, verdict) = match severity {
        Severity::Wrong if allowed.contains(&code) => (Tone::Unsure, "wrong, allowed"),
        Severity::Wrong => (Tone::Bad, "wrong"),
        _ => (Tone::Unsure, "doubt"),
    };
    let (name, id) = (code.to_string(), format!("finding {code}"));
    Test { name, id, found: text, verdict: verdict.to_owned(), tone, help, ..Test::default() }
}

/// What is wrong or doubtful about a network.
fn concerns(model: &Checked) -> Vec<Finding> {
    let mut told = model.measurement.as_ref().map(Measurement::told).unwrap_or_default();
    told.retain(|finding| finding.severity > Severity::Note);
    told
}

/// That fewer images than there are were enough.
fn ended(model: &Checked) -> Option<String> {
    model.ended.map(|Ended { images, of }| format!("clear after {images} of {of} images"))
}

/// What a network and its baseline come to, a line each.
fn beside(model: &Checked) -> Vec<(&'static str, String)> {
    let Some(against) = &model.against else { return Vec::new() };
    let images = ended(model).unwrap_or_else(|| format!("on {} images", against.images));
    let mut lines = vec![("the baseline", images)];
    let rise = |rise: &Rise, quantity| match (rise.low, rise.high) {
        (Some(low), Some(high)) => ranged(quantity, rise.rise, low, high),
        _ => number(quantity, rise.rise),
    };
    if let Some(error) = &against.error {
        let shows = against.detectable_rise.map_or_else(
            || "; too few images to tell a rise that is too large".to_owned(),
            |least| format!("; these images tell a rise of {} or more", points(least)),
        );
        let was = (percent(error.value), percent(error.baseline));
        lines.push(("error", format!("{}, was {}: {}{shows}", was.0, was.1, rise(error, Quantity::ErrorRise))));
    }
    for (name, estimate, quantity) in
        [("same class", &against.agreement, Quantity::Agreement), ("change", &against.change, Quantity::Change)]
    {
        if let Some(Estimate { value, low, high, .. }) = estimate {
            lines.push((name, ranged(quantity, *value, *low, *high)));
        }
    }
    if let Some(r_f) = &against.r_f {
        let (new, base) = (significant(r_f.value), significant(r_f.baseline));
        lines.push(("R_f", format!("{new}, was {base}: {}", rise(r_f, Quantity::Regression))));
    }
    lines.extend(against.missing.iter().map(|why| ("not compared", why.clone())));
    lines
}

/// What the comparison of all networks promises.
fn false_alarms(report: &Report) -> Option<String> {
    let share = percent(report.false_alarms?);
    let networks = match report.models.len() {
        1 => "a network exactly at its limits fails".to_owned(),
        count => format!("any of {count} networks exactly at their limits fails"),
    };
    Some(format!("The probability that {networks} by its comparison with the baseline is about {share} at most."))
}

/// A value with the ends of its interval; the unit stands once.
fn ranged(quantity: Quantity, value: f64, low: f64, high: f64) -> String {
    let [value, low, high] = [value, low, high].map(|value| number(quantity, value));
    let bare = |text: &str| text.trim_end_matches(POINTS).to_owned();
    let unit = if value.ends_with(POINTS) { POINTS } else { "" };
    format!("{} [{}, {}]{unit}", bare(&value), bare(&low), bare(&high))
}

fn number(quantity: Quantity, value: f64) -> String {
    match quantity {
        Quantity::RF | Quantity::DF | Quantity::GF | Quantity::Change => significant(value),
        Quantity::PredictedError | Quantity::ProbeError | Quantity::Agreement => percent(value),
        Quantity::Regression => format!("{:+.1}%", 100.0 * value),
        Quantity::ErrorRise => points(value),
    }
}

const POINTS: &str = " points";

/// A difference of two shares, in points.
fn points(rise: f64) -> String {
    format!("{:+.1}{POINTS}", 100.0 * rise)
}
