//! What `relstab check` found: for a terminal, for a pull request, for a CI server.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::conditions::all;
use super::document::{Block, Document, Line, Table, Text, Tone, columns};
use super::{markdown, significant};
use crate::check::{Check, Checked, Quantity, Report, Verdict};
use crate::event::Measurement;

/// For people on a terminal.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for model in &report.models {
        text += &format!("{}: {}\n", model.path, outcome(model));
        for check in &model.checks {
            let Check { limit, verdict, .. } = check;
            let name = limit.quantity.to_string();
            text += &format!(
                "  {name:<16} {:<28} at most {:<8} {verdict}\n",
                measured(check),
                number(limit.quantity, limit.max)
            );
        }
        if let Some(error) = &model.error {
            text += &format!("  {error}\n");
        }
    }
    text
}

/// A table for a pull request or a job's summary.
#[must_use]
pub fn markdown(report: &Report) -> String {
    markdown::text(&Document { title: title(report), blocks: vec![verdicts(report)] }, 3)
}

/// The verdicts, and what the networks were measured with.
#[must_use]
pub fn document(report: &Report) -> Document {
    let records: Vec<&Measurement> = report.models.iter().filter_map(|model| model.measurement.as_ref()).collect();
    let blocks = [verdicts(report)].into_iter().chain(all(&records)).collect();
    Document { title: title(report), blocks }
}

fn title(report: &Report) -> Line {
    let against = report.baseline.iter().flat_map(|baseline| [" against ".into(), Text::name(baseline)]);
    [Text::from("relstab check")].into_iter().chain(against).collect()
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
                number(quantity, check.limit.max).into(),
                Text::Verdict(tone(check.verdict), check.verdict.to_string()),
            ]);
        }
        if let Some(error) = &model.error {
            let untold = Text::Verdict(Tone::Unsure, "could not tell".to_owned());
            rows.push(vec![Text::name(&model.path), "".into(), Text::words(error), "".into(), untold]);
        }
    }
    let columns = columns(&["network", "quantity", "measured", "at most", "verdict"], &["at most"]);
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
            suite.add_test_case(case(
                &format!("{} <= {}", check.limit.quantity, check.limit.max),
                status,
                &sentence(check),
            ));
        }
        if let Some(error) = &model.error {
            suite.add_test_case(case("measured", TestCaseStatus::non_success(NonSuccessKind::Error), error));
        }
        all.add_test_suite(suite);
    }
    all.to_string().map_err(|error| error.to_string())
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
    let quantity = check.limit.quantity;
    format!("{quantity} {}, at most {}: {}", measured(check), number(quantity, check.limit.max), check.verdict)
}

fn measured(check: &Check) -> String {
    let number = |value| number(check.limit.quantity, value);
    match (check.low, check.high) {
        (Some(low), Some(high)) => format!("{} [{}, {}]", number(check.value), number(low), number(high)),
        _ => format!("{} (the law has no interval)", number(check.value)),
    }
}

fn number(quantity: Quantity, value: f64) -> String {
    match quantity {
        Quantity::RF | Quantity::DF | Quantity::GF => significant(value),
        Quantity::PredictedError | Quantity::ProbeError => super::percent(value),
        Quantity::Regression => format!("{:+.1}%", 100.0 * value),
    }
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Holds => Tone::Good,
        Verdict::Inconclusive => Tone::Unsure,
        Verdict::FallsShort => Tone::Bad,
    }
}
