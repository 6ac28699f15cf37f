//! What `relstab check` found: for a terminal, for a pull request, for a CI server.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::conditions::all;
use super::document::{Block, Document, Line, Table, Text, Tone, columns};
use super::{markdown, percent, significant};
use crate::check::{Bound, Check, Checked, Ended, Limit, Quantity, Report, Rise, Verdict};
use crate::estimate::Estimate;
use crate::event::{Finding, Measurement, Severity};
use crate::text::visible;

/// For people on a terminal.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for model in &report.models {
        let early = ended(model).map_or_else(String::new, |early| format!(" ({early})"));
        text += &format!("{}: {}{early}\n", visible(&model.path), outcome(model));
        for check in &model.checks {
            let Check { limit, verdict, .. } = check;
            let name = limit.quantity.to_string();
            text += &format!("  {name:<16} {:<28} {:<18} {verdict}\n", measured(check), bound(limit));
        }
        for (name, found) in beside(model) {
            text += &format!("  {name:<16} {found}\n");
        }
        text += &super::findings(&concerns(model));
        if let Some(error) = &model.error {
            text += &format!("  {error}\n");
        }
    }
    if let Some(words) = false_alarms(report) {
        text += &format!("{words}\n");
    }
    text
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
    Some(format!("The probability that {networks} by its comparison with the baseline is at most {share}."))
}

/// A table for a pull request or a job's summary.
#[must_use]
pub fn markdown(report: &Report) -> String {
    let blocks = [verdicts(report)].into_iter().chain(comparison(report)).collect();
    markdown::text(&Document { title: title(report), blocks }, 3)
}

/// The verdicts, and what the networks were measured with.
#[must_use]
pub fn document(report: &Report) -> Document {
    let records: Vec<&Measurement> = report.models.iter().filter_map(|model| model.measurement.as_ref()).collect();
    let blocks = [verdicts(report)].into_iter().chain(comparison(report)).chain(all(&records)).collect();
    Document { title: title(report), blocks }
}

fn title(report: &Report) -> Line {
    let against = report.baseline.iter().flat_map(|baseline| [" against ".into(), Text::name(baseline)]);
    [Text::from("relstab check")].into_iter().chain(against).collect()
}

fn comparison(report: &Report) -> Vec<Block> {
    let rows: Vec<_> = report
        .models
        .iter()
        .flat_map(|model| {
            beside(model)
                .into_iter()
                .map(|(name, found)| vec![Text::name(&model.path), name.into(), Text::words(&found)])
        })
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let columns = columns(&["network", "quantity", "beside the baseline"], &[]);
    let table = Block::Table(Table { caption: "Each network beside the baseline", columns, rows });
    [table].into_iter().chain(false_alarms(report).map(|words| Block::Paragraph(vec![words.into()]))).collect()
}

fn verdicts(report: &Report) -> Block {
    let mut rows = Vec::new();
    for model in &report.models {
        for check in &model.checks {
            let quantity = check.limit.quantity;
            rows.push(vec![
                Text::name(&model.path),
                quantity.to_string().into(),
                measured(check).into(),
                bound(&check.limit).into(),
                Text::Verdict(tone(check.verdict), check.verdict.to_string()),
            ]);
        }
        for finding in concerns(model) {
            let is_allowed = model.allowed.contains(&finding.code);
            let (tone, verdict) = match finding.severity {
                Severity::Wrong if is_allowed => (Tone::Unsure, "wrong, allowed"),
                Severity::Wrong => (Tone::Bad, "wrong"),
                _ => (Tone::Unsure, "doubt"),
            };
            let verdict = Text::Verdict(tone, verdict.to_owned());
            let (code, text) = (finding.code.to_string(), Text::words(&finding.text));
            rows.push(vec![Text::name(&model.path), code.into(), text, "".into(), verdict]);
        }
        if let Some(error) = &model.error {
            let untold = Text::Verdict(Tone::Unsure, "could not tell".to_owned());
            rows.push(vec![Text::name(&model.path), "".into(), Text::words(error), "".into(), untold]);
        }
    }
    let columns = columns(&["network", "quantity", "measured", "limit", "verdict"], &[]);
    Block::Table(Table { caption: "Each network and limit", columns, rows })
}

/// A report that CI servers read: a test suite for each network, a test case for each limit.
///
/// # Errors
/// The message of the XML writer.
pub fn junit(report: &Report) -> Result<String, String> {
    let mut all = quick_junit::Report::new("relstab check");
    for model in &report.models {
        let mut suite = TestSuite::new(&model.path);
        for check in &model.checks {
            let status = match check.verdict {
                Verdict::Holds => TestCaseStatus::success(),
                Verdict::Inconclusive => TestCaseStatus::skipped(),
                Verdict::FallsShort => TestCaseStatus::non_success(NonSuccessKind::Failure),
            };
            suite.add_test_case(case(&test_name(&check.limit), status, &sentence(check)));
        }
        for Finding { code, severity, text, help } in concerns(model) {
            let fails = severity == Severity::Wrong && !model.allowed.contains(&code);
            let failed = TestCaseStatus::non_success(NonSuccessKind::Failure);
            let status = if fails { failed } else { TestCaseStatus::skipped() };
            suite.add_test_case(case(&format!("finding {code}"), status, &format!("{text} ({help})")));
        }
        let lines = beside(model);
        if !lines.is_empty() {
            let lines: Vec<_> = lines.into_iter().map(|(name, found)| format!("{name}: {found}")).collect();
            suite.set_system_out(lines.join("\n"));
        }
        if let Some(error) = &model.error {
            suite.add_test_case(case("measured", TestCaseStatus::non_success(NonSuccessKind::Error), error));
        }
        all.add_test_suite(suite);
    }
    all.to_string().map_err(|error| error.to_string())
}

fn test_name(limit: &Limit) -> String {
    match limit.bound {
        Bound::Max(max) => format!("{} <= {max}", limit.quantity),
        Bound::Min(min) => format!("{} >= {min}", limit.quantity),
    }
}

fn case(name: &str, mut status: TestCaseStatus, message: &str) -> TestCase {
    status.set_message(message);
    let mut case = TestCase::new(name, status);
    case.set_classname("relstab.check");
    case
}

/// GitHub's annotations, one line for each thing that does not hold.
#[must_use]
pub fn annotations(report: &Report) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let mut text = String::new();
    for model in &report.models {
        for check in &model.checks {
            let level = match check.verdict {
                Verdict::Holds => continue,
                Verdict::Inconclusive => "warning",
                Verdict::FallsShort => "error",
            };
            text += &format!("::{level} title=relstab check::{}: {}\n", escape(&model.path), escape(&sentence(check)));
        }
        for Finding { code, severity, text: what, .. } in concerns(model) {
            let fails = severity == Severity::Wrong && !model.allowed.contains(&code);
            let (level, path) = (if fails { "error" } else { "warning" }, escape(&model.path));
            text += &format!("::{level} title=relstab check::{path}: {} ({code})\n", escape(&what));
        }
        if let Some(error) = &model.error {
            text += &format!("::error title=relstab check::{}: {}\n", escape(&model.path), escape(error));
        }
    }
    text
}

fn outcome(model: &Checked) -> String {
    match (model.verdict, &model.error) {
        (Some(verdict), None) | (Some(verdict @ Verdict::FallsShort), _) => verdict.to_string(),
        _ => "could not tell".to_owned(),
    }
}

fn sentence(check: &Check) -> String {
    format!("{} {}, {}: {}", check.limit.quantity, measured(check), bound(&check.limit), check.verdict)
}

fn bound(limit: &Limit) -> String {
    match limit.bound {
        Bound::Max(max) => format!("at most {}", number(limit.quantity, max)),
        Bound::Min(min) => format!("at least {}", number(limit.quantity, min)),
    }
}

fn measured(check: &Check) -> String {
    let quantity = check.limit.quantity;
    match (check.low, check.high) {
        (Some(low), Some(high)) => ranged(quantity, check.value, low, high),
        _ => format!("{} (the law has no interval)", number(quantity, check.value)),
    }
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

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Holds => Tone::Good,
        Verdict::Inconclusive => Tone::Unsure,
        Verdict::FallsShort => Tone::Bad,
    }
}
